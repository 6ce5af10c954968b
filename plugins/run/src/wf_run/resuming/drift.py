"""Comparison of a run's recorded conditions with the current ones, and the effect of each difference on its bits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from wf.declarations.conditions import CONDITIONS, Condition, Level
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.errors import UsageError, unknown
from wf_run.declared.settings import FORMAT

ALL = "all"
"""The name that allows every difference."""
_ABSENT = "not there"


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A condition that has changed."""

    name: str
    level: Level
    before: str
    """The old value, for messages."""
    now: str
    """The current value."""

    def __str__(self) -> str:
        return f"{self.name}: was {self.before}, is {self.now}"


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Drift]:
    """Each condition that differs between two manifests, in the order of `CONDITIONS`.

    Conditions missing from one of them are not compared: see `unknown_in`.
    """
    old, new = facts(before), facts(now)
    if "run-file" in old and "run-file" in new:
        said = old["run-file"].setdefault("format", format_before(before))
        new["run-file"].setdefault("format", said)
    chosen = {"components", "plugin-versions", "plugin-code"}  # their set is determined by the run file
    for name in chosen & old.keys() & new.keys():
        old[name], new[name] = _shared(old[name], new[name]), _shared(new[name], old[name])
    for part in now.get("components", ()):
        name = _title(part)
        if old.get("components", {}).get(name) in _former_classes(part):
            old["components"][name] = new["components"][name]
    return [
        Drift(name=condition.name, level=_level(condition, before, now), before=one, now=other)
        for condition in CONDITIONS.values()
        if condition.name in old and condition.name in new
        for one, other in _differing(old[condition.name], new[condition.name])
    ]


def check(before: Mapping[str, Any], now: Mapping[str, Any], allowed: Collection[str], place: str) -> list[Drift]:
    """The changed conditions that are allowed.

    Args:
        before: The manifest of the run.
        now: The same fields of this process.
        allowed: Names of conditions that may differ, or `ALL`.
        place: The run directory, for the message.

    Raises:
        UsageError: Naming every difference that is an error and is not allowed.
    """
    check_names(allowed)
    found = compare(before, now)
    refused = [drift for drift in found if drift.level == "error" and not is_allowed(drift.name, allowed)]
    if refused:
        raise UsageError(refusal(refused, place))
    return found


def check_names(allowed: Collection[str]) -> None:
    """Refuse a name that ``--allow-drift`` does not know.

    Raises:
        UsageError: With the available names.
    """
    for name in allowed:
        if name not in (ALL, *(condition.name for condition in CONDITIONS.values())):
            raise UsageError(
                unknown("name for --allow-drift:", name, [ALL, *(one.name for one in CONDITIONS.values())])
            )


def is_allowed(name: str, allowed: Collection[str]) -> bool:
    """Whether a condition may differ."""
    return ALL in allowed or name in allowed


def refusal(refused: Sequence[Drift], place: str) -> str:
    """Why a run cannot resume: all differences, how to undo them, and how to continue anyway."""
    known = CONDITIONS
    names = list(dict.fromkeys(drift.name for drift in refused))
    lines = [f"run {place} cannot be resumed exactly: these conditions have changed"]
    for name in names:
        lines += [str(drift) for drift in refused if drift.name == name]
        lines += [f"  {text}" for text in (known[name].means, known[name].fix) if text]
    return "\n  ".join([*lines, f"or resume anyway, which the manifest will record: --allow-drift {','.join(names)}"])


def refusal_of_data(found: Sequence[Drift], place: str) -> str:
    """Why a run is not evaluated on the current data."""
    known = CONDITIONS["dataset"]
    lines = [f"run {place} is not evaluated: the data have changed since it began", *map(str, found)]
    lines += ["  other samples have other splits, and train samples may be in the test split", f"  {known.fix}"]
    return "\n  ".join([*lines, f"or predict for a file of inputs: wf predict {place} FILE"])


def unknown_in(manifest: Mapping[str, Any]) -> list[str]:
    """The conditions missing from a manifest of an older wf."""
    said = facts(manifest)
    return [condition.name for condition in CONDITIONS.values() if condition.name not in (*said, "state")]


def lost(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The conditions in a manifest whose plugins are no longer installed."""
    return [name for name in before.get("conditions", {}) if name not in now.get("conditions", {})]


def record(found: Sequence[Drift], step: int, at: str) -> dict[str, Any]:
    """The manifest entry of a run that resumed under changed conditions."""
    return {"step": step, "at": at, "differences": [asdict(drift) for drift in found]}


def facts(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The conditions in a manifest, as values by name; "" is the name of a single value."""
    plain = {
        name: _values(manifest.get("conditions", {}), name) if one.target else _values(manifest, name.replace("-", "_"))
        for name, one in CONDITIONS.items()
    }
    found: dict[str, dict[str, Any] | None] = {
        **plain,
        "run-file": _settings(manifest["run_file"]) if "run_file" in manifest else None,
        "code": _code(manifest["code"]) if "code" in manifest else None,
        "components": _components(manifest, _class_of),
        "device": _values(manifest, "device", lambda name: str(name).partition(":")[0]),
        "torch": _values(manifest.get("versions", {}), "torch", lambda version: ".".join(str(version).split(".")[:2])),
        "torch-build": _version(manifest, "torch"),
        "plugin-versions": _components(manifest, lambda part: part["version"]),
        **{name: _version(manifest, name) for name in ("wf", "python", "numpy")},
    }
    return {name: values for name, values in found.items() if values is not None}


def format_before(manifest: Mapping[str, Any]) -> int:
    """The format of a run's file that says none; with one process both mean the same."""
    return 1 if manifest.get("world_size", 1) > 1 else FORMAT


def _values(manifest: Mapping[str, Any], key: str, read: Callable[[Any], Any] = lambda value: value) -> Any:
    """A field of the manifest as values by name; None if missing."""
    if key not in manifest:
        return None
    value = read(manifest[key])
    return value if isinstance(value, dict) else {"": value}


def _version(manifest: Mapping[str, Any], name: str) -> Any:
    return _values(manifest.get("versions", {}), name)


def _components(manifest: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any] | None:
    if "components" not in manifest:
        return None
    return {_title(part): read(part) for part in manifest["components"]}


def _title(part: Mapping[str, Any]) -> str:
    return f"{part['kind']} {part['name']}"


def _former_classes(part: Mapping[str, Any]) -> list[str]:
    """The classes that a component had in other plugins, in the form of `_class_of`."""
    return [f"{target.rpartition(':')[2]} of {plugin}" for plugin, target in part.get("moved_from", {}).items()]


def _class_of(part: Mapping[str, Any]) -> str:
    """A component's class or function, without its module, which may have moved, and its plugin."""
    name = str(part["target"]).rpartition(":")[2]
    return f"{name} of {part['plugin']}" if part.get("plugin") else name


def _code(files: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The checksums of files by their names before they were copied."""
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(file["file"].replace(f"-{file['sha256'][:8]}", ""), []).append(file["sha256"][:12])
    return {name: " ".join(sorted(sums)) for name, sums in found.items()}


def _settings(document: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a run file that must not change, flat, such as ``optimizer.lr``."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        declared: Any = KINDS.get(key) or GENERAL.get(key)
        if declared is None or not declared.may_change:
            flat.update(_flat(key, value))
    return flat


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat(f"{path}.{key}", one)
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) and "use" in one for one in value):
        names = [_bare(one["use"]) for one in value]
        yield path, names
        for number, one in enumerate(value):
            numbered = f"-{number + 1}" if names.count(names[number]) > 1 else ""
            for key in one.keys() - {"use"}:
                yield from _flat(f"{path}.{names[number]}{numbered}.{key}", one[key])
    else:
        yield path, _bare(value) if path.endswith(".use") else value


def _bare(use: Any) -> str:
    """A component's name; its provider is a separate condition."""
    return str(use) if ":" in str(use) else str(use).partition("@")[0]


def _level(condition: Condition, before: Mapping[str, Any], now: Mapping[str, Any]) -> Level:
    """How much a difference matters in this run.

    Threads only prepare the data where an accelerator computes, and other processes have another number of them. The
    number of processes decides about the batches in run files of format 1.
    """
    shared_otherwise = before.get("world_size", 1) != now.get("world_size", 1)
    if condition.name == "threads" and (shared_otherwise or not str(now.get("device")).startswith("cpu")):
        return "warning"
    if condition.name == "world-size" and before.get("run_file", {}).get("format", format_before(before)) == 1:
        return "error"
    return condition.level


def _shared(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key in other}


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The values that differ, for messages."""
    for key in dict.fromkeys((*old, *new)):
        if not _alike(old.get(key, _ABSENT), new.get(key, _ABSENT)) and not (key not in old and _is_default(key, new)):
            name = f"{key} " if key else ""
            yield f"{name}{_shown(old.get(key, _ABSENT))}", _shown(new.get(key, _ABSENT))


def _alike(one: Any, other: Any) -> bool:
    """Whether values are equal, or paths of the same file, whose contents are a separate condition."""
    if (
        isinstance(one, str)
        and isinstance(other, str)
        and (PurePath(one).is_absolute() or PurePath(other).is_absolute())
    ):
        return PurePath(one).name == PurePath(other).name
    return bool(one == other)


def _is_default(key: str, new: Mapping[str, Any]) -> bool:
    """Whether a key of a run file is new in this version of wf or of a plugin."""
    if key in GENERAL:
        return bool(new[key] == GENERAL[key].default)
    kind, _, option = key.partition(".")
    return kind in KINDS and option not in ("", "use")


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
