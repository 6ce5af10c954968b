"""A process of ``wf prove-resume``: ``python -m wf_durability.cli.proving ORDER`` trains, and may kill itself."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wf.discovery.guard import Guard
from wf.errors import WfError
from wf.registry import Registry
from wf_cli.output import tell
from wf_cli.process import run_process
from wf_processes.signals import INTERRUPTED
from wf_processes.together import follow_launcher, is_launched, is_told
from wf_run.api import reopen
from wf_run.planning.plan import prepare
from wf_run.runfiles.reading import read


def train(order: Mapping[str, Any]) -> None:
    """Execute an order.

    Args:
        order: ``run_dir``; ``run_file``, the proof's own; ``resume``, whether to resume the run there; ``kill_at``,
            the step after which the process kills itself, or None; ``folders``, ``plugins``, ``of_run``,
            ``only_builtin``, and ``guard``, the fields of a `Guard`, or None. ``processes`` that train together each
            execute it.
    """
    from wf_run.experiment import Experiment

    run_dir = Path(order["run_dir"])
    guard = order["guard"] and Guard(**{**order["guard"], "targets": frozenset(order["guard"]["targets"])})
    registry = Registry.discover(
        dict.fromkeys(order["plugins"]),
        only_builtin=order["only_builtin"],
        of_run=order["of_run"],
        ask=(lambda _: guard) if guard else None,
    )
    document, folders = read(order["run_file"])
    if order["resume"]:
        experiment = reopen(run_dir, None, registry=registry, line=document, quiet=True)
    else:
        folders = [*folders, *map(Path, order["folders"])]
        experiment = Experiment(
            prepare(document, registry, folders), registry, run_dir=run_dir, folders=folders, quiet=True
        )
    with experiment:
        if order["kill_at"] is not None:
            _kill_after(experiment.loop, order["kill_at"], run_dir)
        experiment.fit(resume=order["resume"])


def _kill_after(loop: Any, step: int, run_dir: Path) -> None:
    """Make the process kill itself at the start of the first step after `step`, once there is a checkpoint.

    It waits for a checkpoint that is being written, so that the step of the kill determines where the run resumes.
    """
    train_step = loop.trainer.train_step

    def killing(batch: Any) -> Any:
        if loop.progress.step >= step:
            loop.wait_for_checkpoint()
            if any((run_dir / "checkpoints").glob("step-*")):
                os.kill(os.getpid(), signal.SIGKILL)
        return train_step(batch)

    loop.trainer.train_step = killing


def main() -> None:
    """Execute the order on the command line, in as many processes as it says; exits with the codes of `wf`."""
    order = json.loads(sys.argv[1])
    if order["processes"] > 1 and not is_launched():
        from wf_processes.launching import launch

        sys.exit(launch(sys.argv[1:], order["processes"], 0, tell, module=__spec__.name))
    follow_launcher()
    try:
        train(order)
    except WfError as error:
        if not is_told(error):
            tell(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)  # the command that started it says so


if __name__ == "__main__":
    run_process(main)
