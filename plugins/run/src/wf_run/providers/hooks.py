"""The hooks."""

from __future__ import annotations

from typing import Any

from wf.engine.events import listeners
from wf.errors import UsageError
from wf.protocols import Strategy
from wf.traits import HookTraits
from wf_building.built import Built
from wf_run.run_build import RunBuild, traits_of
from wf_run.runfiles.runfile import on_error_of, own_table


def hooks(run: RunBuild, strategy: Strategy) -> tuple[Any, ...]:
    """The hooks, with their failure policies."""
    asked = run.plan["hook"]
    if (left_out := run.left_out.get("hook")) and run.before is None:
        names = ", ".join(left_out)
        run.messages.append(
            f"the hooks are those that the run names, without the usual {names} (--hook +NAME adds to them)"
        )
    made = run.make_many("hook", [own_table("hook", table) for table in asked])
    for built, table, said in zip(made, run.plan["hook"], asked, strict=True):
        needed = strategy.world_size > 1 and bool(listeners("on_gradients_ready", [built.value]))
        default = "disable" if watches(built) and not needed else "stop"
        run.on_error[built.name] = policy = on_error_of(said, default)
        if policy != default:
            if policy == "disable" and needed:
                raise UsageError(
                    f"hook '{built.name}' changes the gradients: with several processes it cannot have "
                    'on_error = "disable", or the weights could drift apart\n  let its failure end the run'
                )
            table["on_error"] = policy
    if run.quiet:  # the run file keeps the hook, only this terminal does not show it
        run.built["hook"] = made = [built for built in made if built.name != "progress"]
    return tuple(built.value for built in made)


def watches(built: Built) -> bool:
    """Whether a hook only observes."""
    traits = traits_of(built)
    return isinstance(traits, HookTraits) and traits.watches
