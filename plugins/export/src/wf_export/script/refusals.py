"""The reasons why a run cannot be written as a script, apart from its components."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from wf.traits import HookTraits
from wf_building.built import Built
from wf_export.script.components import several

WRITTEN: Mapping[str, Any] = {
    "precision": "fp32",
    "accumulate": 1,
    "init_from": None,
    "fold": None,
    "deterministic": False,
}
"""The general keys for which a script supports only these values."""


def refusals(experiment: Any, manifest: Mapping[str, Any]) -> Iterator[str]:
    """The settings and events of a run that no script repeats, in words.

    Args:
        experiment: The run, built anew.
        manifest: Its manifest.
    """
    plan = experiment.plan
    for key, value in WRITTEN.items():
        if plan.get(key, value) not in (value, None if value is False else value):
            yield f"{key} = {plan[key]!r}: a script supports only {key} = {value!r}"
    if manifest.get("world_size", 1) != 1:
        yield f"it was trained by {manifest['world_size']} processes: a script has only one"
    if manifest.get("rollbacks"):
        yield "it went back to a checkpoint after a loss that was not finite, which a script does not"
    if manifest.get("drift"):
        yield "it was resumed under changed conditions"
    made = experiment.made()
    if made.get("sampler"):
        yield f"sampler '{made['sampler'].name}': a script uses all samples in each epoch"
    trainer = made["trainer"]
    if trainer.entry is None or trainer.entry.component.name != "supervised":
        yield f"trainer '{trainer.name}': a script supports only trainer 'supervised'"
    for key, value in trainer.options.items():
        if value not in (None, False) and _default(trainer, key) != value:
            yield f"trainer option {key} = {value!r} is not written"
    if any(key in plan.get("optimizer", {}) for key in ("group", "layer_decay", "no_decay_norms")):
        yield "optimizer: groups of parameters are not written"
    for built in several(made.get("hook")):
        traits = built.entry.component.traits if built.entry else None
        known = isinstance(traits, HookTraits) and (traits.watches or traits.ends)
        if not known and (built.entry is None or built.entry.component.plain is None):
            yield f"hook '{built.name}': it may change the training, and is not supported"


def _default(built: Built, key: str) -> Any:
    assert built.entry is not None
    parameter = inspect.signature(built.entry.load()).parameters.get(key)
    return None if parameter is None else parameter.default
