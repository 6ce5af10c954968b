"""The JSON Schema of run files, from the installed plugins: for completion, help and checks in editors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from wf.declarations.component import REQUIRED, Param
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.declarations.values import VALUES
from wf.discovery.entry import Entry
from wf.errors import WfError
from wf.parameters import NULL, allows_none, takes_several
from wf.registry import Registry
from wf_run.runfiles.layers import EXTENDS
from wf_run.runfiles.runfile import VARIANT

DRAFT = "http://json-schema.org/draft-07/schema#"
REFERENCE = {"$ref": "#/definitions/reference"}
_OTHER_NAME = {"type": "string", "pattern": r"[:/@.\$]", "description": "Your own code, path.py:Attr; NAME@PLUGIN."}
_ANY_NAME = {"type": "string", "description": "A file or folder; your own code, path.py:Attr; NAME@PLUGIN."}
_CHANGE = {
    "type": "string",
    "pattern": r"^(\+|no:|set:).",
    "description": "+NAME adds to the inherited list, no:NAME removes from it, set:NAME sets options.",
}


def schema(registry: Registry) -> dict[str, Any]:
    """The JSON Schema of a run file.

    Args:
        registry: The plugins whose components and settings are in it.
    """
    keys: dict[str, Any] = {param.name: _general(param) for param in GENERAL.values()}
    definitions: dict[str, Any] = {"reference": {"type": "string", "pattern": r"\$\{[^{}]+\}"}}
    for kind in KINDS.of_runs:
        definitions[kind] = _component(kind, registry)
        one: dict[str, Any] = {"$ref": f"#/definitions/{kind}"}
        several = {"items": one, "if": {"not": {"type": "array"}}, "then": one, "description": KINDS[kind].summary}
        keys[kind] = several if KINDS[kind].several else one
    files = {"type": "string"}
    extends = {"anyOf": [files, {"type": "array", "items": files}], "description": "Files that this one overrides."}
    variant = {
        "type": "object",
        "properties": {"name": {"type": "string", "description": "What --variant takes."}, **keys},
        "additionalProperties": False,
    }
    summary = "Runs of this file: each table overrides the rest."
    return {
        "$schema": DRAFT,
        "title": "wf run file",
        "type": "object",
        "properties": {
            EXTENDS: extends,
            **keys,
            VARIANT: {"type": "array", "items": variant, "description": summary},
        },
        "additionalProperties": False,
        "definitions": definitions,
    }


def _general(param: Param) -> dict[str, Any]:
    """A general key."""
    found = _typed(param.type)
    if param.choices:
        found = {"enum": list(param.choices)}
    if found.get("type") == "integer":
        ends = {"minimum": param.least, "maximum": param.most}
        found |= {name: end for name, end in ends.items() if end is not None}
    return _with_help(found, param)


def _component(kind: str, registry: Registry) -> dict[str, Any]:
    """The table of a component, or its name alone."""
    entries = sorted(registry.entries(kind), key=lambda entry: entry.component.name)
    members = list(_members(kind, registry))
    described = {entry.component.name: entry.component.summary for entry in entries}
    described |= dict.fromkeys((alias for entry in entries for alias in entry.component.aliases), "another name")
    described |= {name: summary for name, summary in members if name not in described}
    names = {"enum": list(described), "x-taplo": {"docs": {"enumValues": list(described.values())}}}
    use = {
        "anyOf": [names, _ANY_NAME if kind == "dataset" else _OTHER_NAME, *([_CHANGE] if KINDS[kind].several else [])],
        "description": f"Which {kind}: {KINDS[kind].summary}.",
    }
    extra = KINDS[kind].keys
    options = {entry.component.name: _options(entry) for entry in entries}
    return {
        "type": ["string", "object"],
        "description": KINDS[kind].summary,
        "properties": {"use": use, **_together(options), **extra},
        "allOf": [
            {"if": {"type": "string"}, "then": use},
            *(
                {
                    "if": {
                        "properties": {"use": {"enum": [entry.component.name, *entry.component.aliases]}},
                        "required": ["use"],
                    },
                    "then": {
                        "properties": {"use": {}, **options[entry.component.name], **extra},
                        "additionalProperties": _others(entry),
                    },
                }
                for entry in entries
                if not registry.is_ambiguous(entry.component)
            ),
        ],
        **({"required": ["use"]} if KINDS[kind].several else {}),
    }


def _members(kind: str, registry: Registry) -> Iterator[tuple[str, str]]:
    """The names in catalogues, with one line per family; their options are not described."""
    for catalogue, _ in registry.catalogues(kind):
        yield from ((f"{catalogue.prefix}/{name}", catalogue.summary) for name in catalogue.usable())


def _together(options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Every option that any component of a kind has, for editors that complete before they check the name."""
    owners: dict[str, dict[str, list[str]]] = {}
    for component, own in options.items():
        for name, found in own.items():
            owners.setdefault(name, {}).setdefault(found.get("description", ""), []).append(component)
    return {
        name: {"description": "\n".join(f"{', '.join(who)}: {text}".rstrip(": ") for text, who in texts.items())}
        for name, texts in owners.items()
    }


def _options(entry: Entry) -> dict[str, Any]:
    """The options of a component that a run file may hold, including old names."""
    try:
        params = entry.params_unloaded() or entry.params()
    except WfError:  # it cannot be imported; `wf doctor` says why
        return {}
    found = {
        param.name: _with_help(_option(param), param) for param in params if _is_written(param) and not param.any_name
    }
    old = {name: found[new] for name, new in entry.component.deprecated_params.items() if new in found}
    return found | {name: {**one, "deprecated": True} for name, one in old.items()}


def _others(entry: Entry) -> Any:
    """The options whose names users choose; False if there are none."""
    return next((_option(param) for param in entry.component.params or () if param.any_name), False)


def _is_written(param: Param) -> bool:
    filled = VALUES.get(param.source or "")
    return filled is None or filled.is_written


def _option(param: Param) -> dict[str, Any]:
    if param.kind is None:
        return _typed(param.type)
    one: dict[str, Any] = {"$ref": f"#/definitions/{param.kind}"}
    found = {"type": "array", "items": one} if takes_several(param.type) else one
    return {"anyOf": [found, {"const": NULL}]} if allows_none(param.type) else found


def _typed(annotation: Any) -> dict[str, Any]:
    """The schema of an annotation's values; empty if pydantic has none."""
    from pydantic import PydanticUserError, TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError

    try:
        found = TypeAdapter(annotation).json_schema()
    except (PydanticUserError, PydanticSchemaGenerationError, TypeError, NameError):
        return {}
    return {} if "$defs" in found else _as_toml(found)


def _as_toml(value: Any) -> Any:
    """A pydantic schema converted to draft 7 for TOML, which has no null."""
    if isinstance(value, list):
        return [_as_toml(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "null":
        return {"const": NULL}
    found = {key: _as_toml(one) for key, one in value.items() if key not in ("title", "format")}
    if "prefixItems" in found:
        found["items"] = found.pop("prefixItems")
    return found


def _with_help(found: Mapping[str, Any], param: Param) -> dict[str, Any]:
    """A value's schema with its description, which also allows references."""
    text = param.help
    whole: dict[str, Any] = {"anyOf": [dict(found), REFERENCE]} if found else {}
    if text:
        whole["description"] = text
    if param.default is not REQUIRED and param.default is not None and _is_json(param.default):
        whole["default"] = param.default
    return whole


def _is_json(value: Any) -> bool:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return isinstance(value, (list, tuple)) and all(map(_is_json, value))
    return isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))


def text_of(registry: Registry) -> str:
    """The schema as JSON text."""
    return json.dumps(schema(registry), indent=1, default=str) + "\n"
