"""A run's components by name, before anything heavy is imported: defaults filled in, names checked.

Only what the dataset's own data tell (its targets, its number of samples) is left for `wf.runtime.experiment`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wf.compatibility import LINKS, dataset_targets, resolve
from wf.compatibility import check as check_fit
from wf.component import KINDS, MANY
from wf.errors import UsageError, unknown
from wf.parameters import check_known
from wf.registry import Entry, Registry
from wf.runfile import GENERAL, RunFile, apply_many, check
from wf.traits import DatasetTraits, LossTraits, ModelTraits, OptimizerTraits, TrainerTraits

DEFAULT_USE: dict[str, str] = {
    "dataset": "digits",
    "model": "mlp",
    "optimizer": "adam",
    "trainer": "supervised",
    "evaluator": "default",
    "checkpointer": "directory",
    "strategy": "local",
}
"""The component of each kind in a run that names none; loss, metrics and transforms follow the dataset."""

DEFAULT_HOOKS = ("learning-rate-log", "divergence-guard", "fit-verdict", "progress")


def prepare(document: Mapping[str, Any], registry: Registry) -> RunFile:
    """A run file made ready to be built, and refused here, before torch is imported, if its names cannot work.

    Args:
        document: What was read and merged.
        registry: Where names are looked up.

    Returns:
        The run file with every default that does not depend on the data.

    Raises:
        UsageError: For an unknown key or name, or components that cannot go together whatever the data.
    """
    plan = complete(document, registry)
    _check_step_protocol(plan, registry)
    _check_loss(plan, registry)
    return plan


def complete(document: Mapping[str, Any], registry: Registry) -> RunFile:
    """A run file with every default filled in that does not depend on the data.

    Raises:
        UsageError: For an unknown key or name.
    """
    plan = check({**{name: param.default for name, param in GENERAL.items()}, **_without_changes(document)})
    for kind in MANY:
        if isinstance(document.get(kind), Mapping):
            plan[kind] = _with_full_names(kind, document[kind], registry)
    for link in plan["links"] or ():
        if link not in LINKS:
            raise UsageError(unknown("link", link, LINKS))
    for kind, name in DEFAULT_USE.items():
        plan[kind] = {"use": name, **plan.get(kind, {})}
    _read_dataset_file(plan["dataset"], registry)
    traits = _traits(registry, "dataset", plan["dataset"]["use"])
    defaults = {"transform": traits.transforms if isinstance(traits, DatasetTraits) else (), "hook": DEFAULT_HOOKS}
    for kind, names in defaults.items():
        plan[kind] = with_changes(kind, plan.get(kind), names)
    check_names(plan, registry)
    return plan


def with_changes(kind: str, value: Any, defaults: tuple[str, ...]) -> Any:
    """A list of tables: the defaults where there is none, changed as the command line asks."""
    tables = [{"use": name} for name in defaults]
    if value is None:
        return tables
    if isinstance(value, Mapping):
        inherited = tables if value["inherit"] else []
        return apply_many(kind, [*inherited, *value["tables"]], value["remove"], value["options"])
    return value


def check_names(plan: Mapping[str, Any], registry: Registry) -> None:
    """Look up every name of a run, and the options of those that declare them, without importing a target.

    Raises:
        UsageError: For the first unknown one.
    """
    for kind in KINDS:
        value = plan.get(kind)
        if isinstance(value, Mapping) and "tables" in value:
            value = value["tables"]
        for table in value if isinstance(value, list) else [value] if value else []:
            use = table.get("use") if isinstance(table, Mapping) else table
            if not isinstance(use, str):
                continue
            component = registry.find(kind, use).component
            if component.params is not None:
                names = [name for name in table if name != "use"]
                check_known(names, component.params, f"{kind} '{component.name}'", f"{kind} {component.name}")


def data_dir() -> Path:
    """The user's data folder: WF_DATA_DIR, or ``wf`` in the user's cache folder."""
    if os.environ.get("WF_DATA_DIR"):
        return Path(os.environ["WF_DATA_DIR"]).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "wf"


def _check_loss(plan: Mapping[str, Any], registry: Registry) -> None:
    """Refuse a loss that cannot fit the dataset by their traits alone."""
    traits = _traits(registry, "loss", plan.get("loss", {}).get("use"))
    targets = dataset_targets(_traits(registry, "dataset", plan["dataset"]["use"]))
    model = _traits(registry, "model", plan["model"]["use"])
    if not isinstance(traits, LossTraits) or targets is None:
        return
    for num_classes in (2, 3):  # two classes may fit where more do not; only a misfit of both is certain
        known = model if isinstance(model, ModelTraits) else None
        if not isinstance(resolve(targets, num_classes, known, traits, plan.get("links")), list):
            return
    names = {kind: str(plan[kind]["use"]) for kind in ("dataset", "model", "loss")}
    check_fit(registry, targets, None, names, known, traits, {}, plan.get("links"))


def _with_full_names(kind: str, change: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """A change of a list with every alias as the name that it stands for, so that they can be compared."""
    options: dict[Any, dict[str, Any]] = {}
    for name, table in change["options"].items():
        options.setdefault(_full_name(kind, name, registry), {}).update(table)
    return {
        "inherit": change["inherit"],
        "tables": [{**table, "use": _full_name(kind, table["use"], registry)} for table in change["tables"]],
        "remove": [_full_name(kind, name, registry) for name in change["remove"]],
        "options": options,
    }


def _full_name(kind: str, name: Any, registry: Registry) -> Any:
    if not isinstance(name, str) or ":" in name or not registry.has(kind, name.partition("@")[0]):
        return name
    entry = registry.find(kind, name)
    full = entry.component.name
    return f"{full}@{entry.provider}" if registry.is_ambiguous(entry.component) else full


def _without_changes(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if not (isinstance(value, Mapping) and key in MANY)}


def _read_dataset_file(table: dict[str, Any], registry: Registry) -> None:
    """Let a file's name stand for the dataset that reads it: ``--dataset house.csv``."""
    use = table["use"]
    if not isinstance(use, str) or ":" in use:
        return
    path = Path(use).expanduser()
    name = f"{use.rstrip('/')}/" if path.is_dir() and not registry.has("dataset", use) else use
    entry: Entry | None = registry.for_file("dataset", name)
    if entry is None:
        if not registry.has("dataset", use) and path.suffix and ("/" in use or path.is_file()):
            endings = sorted(
                {end for e in registry.entries("dataset") for end in getattr(e.component.traits, "files", ())}
            )
            raise UsageError(f"no dataset reads files like '{use}'\n  known endings: {', '.join(endings)}")
        return
    table.update({"use": entry.component.name, "path": table.get("path", use)})


def _traits(registry: Registry, kind: str, use: Any) -> Any:
    return registry.find(kind, use).component.traits if isinstance(use, str) else None


def _check_step_protocol(plan: Mapping[str, Any], registry: Registry) -> None:
    trainer = _traits(registry, "trainer", plan["trainer"]["use"])
    optimizer = _traits(registry, "optimizer", plan["optimizer"]["use"])
    if not isinstance(trainer, TrainerTraits) or not isinstance(optimizer, OptimizerTraits):
        return
    if optimizer.step not in trainer.steps:
        fitting = [
            entry.component.name
            for entry in registry.entries("optimizer")
            if getattr(entry.component.traits, "step", "plain") in trainer.steps
        ]
        raise UsageError(
            f"optimizer '{plan['optimizer']['use']}' is stepped as '{optimizer.step}', which trainer "
            f"'{plan['trainer']['use']}' does not do\n  optimizers that fit: {', '.join(fitting)}"
        )
