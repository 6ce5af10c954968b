"""The strategy, which determines the device of this process."""

from __future__ import annotations

from wf.errors import UsageError
from wf.protocols import Strategy
from wf_building.defaults import SEVERAL, default_of
from wf_processes.together import num_processes
from wf_run.parts.device import choose_device
from wf_run.run_build import RunBuild


def strategy(run: RunBuild) -> Strategy:
    """The strategy, built for the device in the run file, and the device that it chose."""
    chosen, why = choose_device(run.plan["device"])
    with run.values.within({"device": chosen}):
        made: Strategy = run.make("strategy")
    run.values.at_close(made.close)
    if num_processes() > 1 and made.world_size == 1:
        several = default_of(run.registry, "strategy", SEVERAL)
        raise UsageError(
            f"strategy '{run.name('strategy')}' is for one process, and {num_processes()} were started\n"
            f"  name one for several: --strategy {several or 'NAME'}"
        )
    run.take("strategy", device=made.device)
    if run.plan["device"] == "auto":
        run.messages.append(why)
    return made
