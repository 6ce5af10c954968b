"""How a trained model can be rebuilt: from components, from code, from an exported graph, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wf.declarations.general import GENERAL
from wf.discovery.modules import is_path
from wf.protocols import Stateful
from wf.traits import DatasetTraits
from wf_base.reading import Reader
from wf_building.built import LIVE
from wf_data.transforms.step import Step
from wf_run.assembly import Assembly
from wf_run.providers.data.transforms import transform_of
from wf_run.runfiles.references import put_back
from wf_run.runfiles.runfile import RunFile

By = Literal["components", "code", "exported graph", "weights only"]
OF_TRAINING = ("optimizer", "scheduler", "hook", "checkpointer", "strategy", "sampler")
"""Kinds whose components a trained model does not need."""
IN_GRAPH = ("model", "transform", "trainer")
"""Kinds that an exported graph stands for."""
OWN_KEYS = ("seed", "precision", "batch_size", "targets", "links", "monitor", "keep", "plugins")
"""The general keys that concern a trained model, besides plugins' settings that the run used."""


@dataclass(frozen=True, kw_only=True)
class Rebuild:
    """How a model is rebuilt."""

    by: By
    why: str = ""
    """The code that is needed, or the reason why the model cannot be rebuilt."""
    lacks: str = ""
    """The kind of the component that cannot be rebuilt."""
    target_transforms: Sequence[int] = ()
    """The transforms of targets, by their numbers in the run file, which a graph does not have."""

    @property
    def words(self) -> str:
        """The message at the start of a run."""
        if self.by == "weights only":
            help = "give it: wf.load_model(RUN, model=...)" if self.lacks == "model" else "wf.load_model will refuse it"
            return f"warning: the bundle will have weights only: {self.why}\n  {help}"
        if self.by == "exported graph":
            return f"bundle: an exported graph of the model, because {self.why}"
        return f"bundle: rebuilt from {self.by}{f', {self.why}' if self.why else ''}"


def document_of(parts: Assembly) -> RunFile:
    """The run file for the trained model, without the parts that only training needs."""
    plan = put_back(parts.plan)  # values from the environment stay there
    taken = parts.values.asked_by
    kept = {
        key: value
        for key, value in plan.items()
        if key not in OF_TRAINING and (key not in GENERAL or key in OWN_KEYS or key in taken)
    }
    kept["plugins"] = [name for name in plan["plugins"] if name in _plugins(parts)]
    if _is_live(kept.get("trainer")):
        del kept["trainer"]  # it only trains; for a trainer that changes the model see `rebuild_of`
    return kept


def _plugins(parts: Assembly) -> set[str]:
    """The modules of the plugins that provide the trained model, its task or its reader."""
    task, kinds = parts.values["run.task"], {"model", "transform", "trainer", *parts.builder.on_demand.made}
    entries = [entry for entry in parts.builder.made if entry.component.kind in kinds]
    if task is not None:
        entries.append(parts.registry.find("task", parts.registry.own_choice("task", task.name)))
    if isinstance(parts.reader, Reader) and (dataset := parts.entry("dataset")) is not None:
        entries.append(dataset)
    return {entry.plugin.module for entry in entries if entry.plugin is not None}


def rebuild_of(parts: Assembly) -> Rebuild:
    """How the trained model of a run can be rebuilt."""
    document = document_of(parts)
    if obstacle := _obstacle(parts, document):
        steps = [one for one in parts.data.steps if one.table]
        of_targets = [at for at, one in enumerate(steps) if one.of_targets]
        again = not any(text.startswith(LIVE) for at in of_targets for text in texts(steps[at].table))
        in_graph = obstacle[0] in IN_GRAPH and again and parts.data.inputs is not None
        by: By = "exported graph" if in_graph else "weights only"
        return Rebuild(by=by, lacks=obstacle[0], why=obstacle[1], target_transforms=of_targets)
    needed = {key: value for key, value in document.items() if key not in ("dataset", "loss", "metric", "evaluator")}
    own = sorted({_shown(name) for name in texts(needed) if _is_code(name, parts)})
    if own:
        return Rebuild(by="code", why=f"which must be trusted on other machines: {', '.join(own)}")
    return Rebuild(by="components")


def _obstacle(parts: Assembly, document: Mapping[str, Any]) -> tuple[str, str] | None:
    """The kind whose component cannot be rebuilt, and the reason as text; None if all can."""
    for kind in ("model", "transform", *(kind for kind in document if kind in parts.builder.on_demand.made)):
        for name in texts(document.get(kind, ())):
            if name.startswith(LIVE):
                return kind, f"{kind} {name.removeprefix(LIVE).rpartition(':')[2]} is an object of a Python session"
    if _is_live(parts.plan["trainer"]) and hasattr(parts.values["trainer"], "prepare_model"):
        return "trainer", "the trainer, which prepares the model, is an object of a Python session"
    for built in parts.several("transform"):
        has_fit = hasattr(built.value, "fit") and not isinstance(built.value, Stateful)
        if has_fit and not Step.of(0, *transform_of(built, None)).train_only:
            return "transform", f"transform '{built.name}' is fitted, but has no state_dict and load_state_dict"
    own = parts.data.own_transforms
    if own and len(_own_transforms(parts)) != len(own):
        return "transform", "the dataset's own transforms cannot be made by its reader, see Dataset.transforms"
    return None


def _own_transforms(parts: Assembly) -> Sequence[Any]:
    """The dataset's own transforms, as its declared reader makes them."""
    traits = parts.traits("dataset") if "dataset" in parts.plan else None
    reader = parts.reader
    if not (isinstance(traits, DatasetTraits) and traits.reader and isinstance(reader, Reader)):
        return ()
    return tuple(getattr(reader, "transforms", tuple)())


def texts(value: Any) -> Iterator[str]:
    """All strings in a value, keys excluded."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from texts(one)


def _is_code(text: str, parts: Assembly) -> bool:
    """Whether a string in a run file names code outside of installed plugins."""
    if text in parts.plan["plugins"]:
        return is_path(text)
    head, colon, attribute = text.rpartition(":")
    if not colon or not attribute.isidentifier():
        return False
    return (is_path(head) and Path(head).suffix == ".py") or any(
        entry.plugin is None and entry.component.target_name == text for entry in parts.builder.made
    )


def _shown(name: str) -> str:
    """The name of code without its folder on this machine."""
    head, colon, attribute = name.rpartition(":")
    return f"{Path(head).name}:{attribute}" if colon and is_path(head) else Path(name).name


def _is_live(table: Any) -> bool:
    use = table.get("use") if isinstance(table, Mapping) else table
    return isinstance(use, str) and use.startswith(LIVE)
