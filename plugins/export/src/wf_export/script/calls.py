"""Components as calls: the expression that makes one in a script."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from wf.errors import UsageError
from wf_building.built import Built
from wf_export.script.source.modules import NotAlone
from wf_export.script.source.sources import Sources

_LINE = 88


def literal(value: Any) -> str:
    """A plain value as source.

    Raises:
        NotAlone: For any other value.
    """
    if isinstance(value, (str, Path)):
        return json.dumps(str(value), ensure_ascii=False)
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{literal(key)}: {literal(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    raise NotAlone(f"a value of type {type(value).__name__} cannot be written as source")


def call(name: str, arguments: Sequence[str], indent: str = "") -> str:
    """A call on one line, or with one argument per line if it would be too long."""
    line = f"{name}({', '.join(arguments)})"
    if len(indent) + len(line) <= _LINE and "\n" not in line:
        return line
    inner = ",\n".join(f"{indent}    {one}" for one in arguments)
    return f"{name}(\n{inner},\n{indent})"


def component(
    built: Built, sources: Sources, filled: Mapping[str, str], values: Mapping[str, Any], *, lenient: bool = False
) -> str:
    """The expression that makes a component.

    Args:
        built: The component, as it was made for the run.
        sources: Collects the needed sources.
        filled: Expressions for the run values that are objects of the script: the optimizer of a scheduler.
        values: The run values and facts that are numbers or texts.
        lenient: Whether options unknown to the plain version are left out, because its result is compared anyway.

    Raises:
        NotAlone: If it cannot be written.
    """
    entry = built.entry
    if entry is None:
        raise NotAlone("it was given as a finished object")
    target = entry.component.plain or _of_torch(built)
    if target is None:
        if entry.component.args:
            raise NotAlone("it is a member of a catalogue, made from another library")
        target = entry.component.target_name
    module, _, name = target.partition(":")
    owner = importlib.import_module(module) if "/" not in module and not module.endswith(".py") else None
    thing = getattr(owner, name) if owner is not None else entry.load()
    parameters = inspect.signature(thing).parameters
    if not lenient:
        _check_taken(built, parameters)
    found = {**values, **{key: value for key, value in built.options.items() if key in parameters}}
    arguments = {}
    for key, parameter in parameters.items():
        if key in filled:
            arguments[key] = filled[key]
        elif key in found:
            is_default = found[key] == parameter.default and isinstance(found[key], bool) == isinstance(
                parameter.default, bool
            )
            if not is_default or key == "lr":
                arguments[key] = literal(found[key])
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            raise NotAlone(f"its parameter '{key}' has no value that can be written down")
    defaults = {key: literal(one.default) for key, one in parameters.items() if _is_plain(one.default)}
    if owner is not None and (inlined := sources.inline(target, {**defaults, **arguments})) is not None:
        return inlined
    function = sources.need(target) if owner is not None else sources.copy(thing)
    first = next(iter(parameters), None)
    return call(function, [one if key == first else f"{key}={one}" for key, one in arguments.items()], "    ")


def _is_plain(value: Any) -> bool:
    try:
        literal(value)
    except NotAlone:
        return False
    return value is not inspect.Parameter.empty


def _of_torch(built: Built) -> str | None:
    """The torch class of a component, if it takes the same options."""
    cls = type(built.value)
    if not cls.__module__.startswith("torch.") or "_" in cls.__module__.rpartition(".")[2][:1]:
        return None
    if isinstance(built.value, nn.Module) and next(built.value.children(), None) is not None:
        return None
    if not set(built.options) <= set(inspect.signature(cls).parameters):
        return None
    parents = ("torch.nn", "torch.optim") if not cls.__module__.endswith("lr_scheduler") else (cls.__module__,)
    for parent in parents:
        if getattr(importlib.import_module(parent), cls.__name__, None) is cls:
            return f"{parent}:{cls.__name__}"
    return None


def _check_taken(built: Built, parameters: Mapping[str, Any]) -> None:
    """Refuse options with other values than the default that the plain version does not take."""
    assert built.entry is not None
    try:
        own = inspect.signature(built.entry.load()).parameters
    except (TypeError, ValueError):
        return
    for key, value in built.options.items():
        if key not in parameters and key in own and value != own[key].default:
            raise NotAlone(f"its option '{key}' is {value!r}, but the plain version has no such option")


def modules(module: nn.Module, indent: str = "    ") -> str | None:
    """The calls that make a module consisting of torch.nn's modules; None for others."""
    if type(module) is nn.Sequential:
        names = [name for name, _ in module.named_children()]
        inner = [modules(one, f"{indent}    ") for one in module]
        if names != [str(number) for number in range(len(names))] or None in inner:
            return None
        return call("nn.Sequential", [one for one in inner if one is not None], indent)
    cls = type(module)
    if getattr(nn, cls.__name__, None) is not cls or next(module.children(), None) is not None:
        return None
    try:
        written = ast.parse(f"f({module.extra_repr()})", mode="eval").body
        bound = inspect.signature(cls).bind(
            *(ast.literal_eval(one) for one in written.args),  # type: ignore[attr-defined]  # it is a call
            **{one.arg: ast.literal_eval(one.value) for one in written.keywords},  # type: ignore[attr-defined]
        )
    except (SyntaxError, ValueError, TypeError):
        return None
    arguments = []
    for key, value in bound.arguments.items():
        parameter = inspect.signature(cls).parameters[key]
        if isinstance(value, tuple) and len(set(value)) == 1 and "Conv" in cls.__name__:
            value = value[0]  # 3 for (3, 3)
        if parameter.default is parameter.empty:
            arguments.append(literal(value))
        elif value != parameter.default:
            arguments.append(f"{key}={literal(value)}")
    return f"nn.{cls.__name__}({', '.join(arguments)})"


def refusal(title: str, error: UsageError) -> str:
    """The reason why a component is not written, on one line."""
    return f"{title}: {str(error).splitlines()[0]}"
