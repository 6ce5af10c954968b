"""A component's options: from its declaration, or from its target's signature and docstring.

One source feeds ``--loss.gamma``, ``wf show``, validation and the resolved run file.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import re
import types
import typing
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from wf.declarations.component import REQUIRED, Catalogue, Component, FromRun, Nested, Param
from wf.declarations.values import VALUES
from wf.discovery.distributions import check_readable
from wf.errors import PluginError, UsageError, article, unknown
from wf.typed import Repeated, as_wanted, last_of

MAX_FLOAT = 3.4028234663852886e38
"""The largest number of float32, which models compute in."""

NULL = "@null"
"""None, as run files and the command line write it."""


def parameters(component: Component, load: Callable[[], Callable[..., Any]]) -> tuple[Param, ...]:
    """The options of a component.

    Args:
        component: Its declaration; `params` there wins.
        load: Returns the object with its signature; called only if the declaration does not list the options.
    """
    params = component.params
    if params is None:
        target = load()
        num_args = 0 if component.like else len(component.args)
        params = from_signature(target, skip=num_args + (2 if is_function_loss(component, target) else 0))
    _check_inject(component, params)
    check_run_values(component, params)
    return tuple(_with_source(param, component.inject) for param in params)


_KNOWN: WeakKeyDictionary[Callable[..., Any], tuple[Any, dict[int, tuple[Param, ...]]]] = WeakKeyDictionary()
"""The options of each class and function inspected so far, with its docstring and code at that time."""


def from_signature(target: Callable[..., Any], skip: int = 0) -> tuple[Param, ...]:
    """The options that a callable's signature, annotations and docstring say.

    A run asks for the options of a component a dozen times, so each class and function is inspected once.

    Args:
        target: A class or function.
        skip: The number of leading parameters that are not options.
    """
    if not (inspect.isclass(target) or inspect.isfunction(target)):
        return _from_signature(target, skip)
    code = getattr(target.__init__ if inspect.isclass(target) else target, "__code__", None)
    state = (target.__doc__, code)  # a program may change these
    before, known = _KNOWN.get(target, (None, {}))
    if before != state:
        known = {}
        _KNOWN[target] = (state, known)
    if skip not in known:
        known[skip] = _from_signature(target, skip)
    return known[skip]


def _from_signature(target: Callable[..., Any], skip: int) -> tuple[Param, ...]:
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # a builtin without a signature
        return ()
    hints = annotations_of(target)
    help_texts = docstring_params(target)
    named = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    return tuple(
        _param(parameter, hints.get(parameter.name, parameter.annotation), help_texts.get(parameter.name, ""))
        for parameter in named[skip:]
    )


def annotations_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Resolved annotations; an annotation that cannot be resolved (imported only for type checkers) stays as text."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        annotations, names = getattr(function, "__annotations__", {}), getattr(function, "__globals__", {})
        return {name: _hint(annotation, names) for name, annotation in annotations.items()}


def docstring_params(target: Callable[..., Any]) -> dict[str, str]:
    """The parameter descriptions in the docstring of a function, or of a class and its `__init__`, each on one line."""
    import docstring_parser  # 10 ms, and only where options are shown or read

    texts = [target.__doc__]
    if inspect.isclass(target):
        texts.append(target.__init__.__doc__)
    found: dict[str, str] = {}
    for text in filter(None, texts):
        with contextlib.suppress(docstring_parser.ParseError):
            for param in docstring_parser.parse(text).params:
                found.setdefault(param.arg_name, " ".join((param.description or "").split()))
    return found


def is_function_loss(component: Component, target: Callable[..., Any]) -> bool:
    """Whether the target is the loss itself, called with (predictions, targets), and not a factory."""
    if component.call != "auto":
        return component.call == "function"
    if component.kind != "loss" or not inspect.isfunction(target):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    first = list(inspect.signature(target).parameters.values())[len(component.args) :][:2]
    required = [one for one in first if one.default is one.empty and one.kind in positional]
    names = [one.name for one in required]
    return len(names) == 2 and (names[0] not in VALUES or names == ["outputs", "targets"])


def convert(param: Param, value: Any, owner: str) -> Any:
    """The value converted to the option's type; as the factory receives it.

    Args:
        param: The option.
        value: From the command line, a run file or Python. A value typed on a command line stays text if the option
            takes text and no numbers: ``2021`` may be the name of a column.
        owner: The owner of the option, for messages: ``loss 'focal'``.

    Raises:
        UsageError: When the value does not fit, with the expected type, its choices and the option's description.
    """
    value = without_null(value)
    if value is None and param.default is None:  # whatever the annotation says
        return None
    value = as_wanted(_joined(param, value, owner), param.type)
    filled = VALUES.get(param.source or "")
    if filled and not filled.is_written and _is_written(value):
        what = filled.type
        raise UsageError(f"{owner}: '{param.name}' is filled in by the run ({what}); leave it out")
    try:
        return _checked(param, _validate(param.type, value))
    except ValueError as error:
        raise UsageError(_explain_misfit(param, value, owner, error)) from None


def without_null(value: Any) -> Any:
    """The value with "@null" as None, in lists and tables too."""
    if isinstance(value, str):
        return None if value == NULL else value
    if type(value) is list:
        return [without_null(item) for item in value]
    if type(value) is dict:
        return {key: without_null(item) for key, item in value.items()}
    return value


def _joined(param: Param, value: Any, owner: str) -> Any:
    """The value of a repeated option: all values if it takes a list, else the last one."""
    if not isinstance(value, Repeated):
        return value
    if param.kind is None and takes_list(param.type):
        return [item for one in value for item in (one if isinstance(one, list) else [one])]
    return last_of(value, f"{owner}: '{param.name}'")


def _is_written(value: Any) -> bool:
    """Whether a value can come from a run file or a command line."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_is_written, value))
    return isinstance(value, (bool, int, float, str, dict))


def _checked(param: Param, value: Any) -> Any:
    """The value, unless it is a number out of range."""
    if isinstance(value, float) and math.isfinite(value) and abs(value) > MAX_FLOAT:
        raise ValueError(f"a number of at most {MAX_FLOAT:.3g}, the largest in float32")
    filled = VALUES.get(param.source or "")
    if filled and filled.is_count and isinstance(value, int) and value < 1:
        raise ValueError(f"a number of at least 1: {filled.summary}")
    return value


def with_names(params: Sequence[Param], names: Iterable[str]) -> tuple[Param, ...]:
    """The options of a component, with the option for any name replaced by one for each given name.

    Args:
        params: The options that the component declares.
        names: The names of the options that were given.
    """
    if not any(param.any_name for param in params):
        return tuple(params)
    fixed = {param.name for param in params if not param.any_name}
    return tuple(
        one
        for param in params
        for one in (
            [replace(param, name=name, any_name=False) for name in names if name not in fixed]
            if param.any_name
            else [param]
        )
    )


def check_known(names: Sequence[str], params: Sequence[Param], owner: str, prefix: str = "") -> None:
    """Refuse a name that is not an option.

    Raises:
        UsageError: With the closest options.
    """
    known = [param.name for param in with_names(params, names)]
    for name in names:
        if name not in known:
            message = unknown("option", name, known, of=owner, hint="" if known else "it has no options")
            raise UsageError(f"{message}\n  see: wf show {prefix}" if prefix else message)


def type_name(annotation: Any) -> str:
    """An annotation as users read it: ``float``, ``list[int]``, ``mean|sum|none``, ``float or null``."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        kind = nested_kind(annotation)
        if kind is None:
            return type_name(args[0])
        return f"list[{kind}]" if takes_several(annotation) else f"{article(kind)} {kind}"
    if origin is typing.Literal:
        return "|".join(str(arg) for arg in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if arg is type(None) else type_name(arg) for arg in args)
    if annotation in (Any, inspect.Parameter.empty):
        return "any"
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, list):  # the arguments of a Callable
        return f"[{', '.join(map(type_name, annotation))}]"
    if origin is not None:
        inner = ", ".join("..." if arg is Ellipsis else type_name(arg) for arg in args)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return str(getattr(annotation, "__name__", annotation))


def nested_kind(annotation: Any) -> str | None:
    """The kind of component that a parameter is itself, by its annotation."""
    return marker.kind if (marker := _marker(annotation, Nested)) else None


def takes_list(annotation: Any) -> bool:
    """Whether a list is among the values of an annotation."""
    if typing.get_origin(annotation) is typing.Annotated:
        return takes_list(typing.get_args(annotation)[0])
    if _is_union(annotation):
        return any(map(takes_list, typing.get_args(annotation)))
    origin = typing.get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, Collection) and not issubclass(origin, (str, bytes, Mapping))


def takes_several(annotation: Any) -> bool:
    """Whether a parameter that is itself a component takes a list of them."""
    args = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return typing.get_origin(args[0]) is list
    return _is_union(annotation) and any(map(takes_several, args))


def allows_none(annotation: Any) -> bool:
    """Whether None is among the values of an annotation."""
    if isinstance(annotation, str):
        return "None" in re.split(r"\W+", annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation is None or type(None) in typing.get_args(annotation)


def _check_inject(component: Component, params: Sequence[Param]) -> None:
    """Refuse a misspelt name in a declaration's `inject`, which would silently do nothing."""
    names = [param.name for param in params]
    for name in component.inject:
        if name not in names:
            raise PluginError(unknown("option", name, names, of=f"inject of {component.kind} '{component.name}'"))


def check_run_values(component: Component | Catalogue, params: Sequence[Param]) -> None:
    """Refuse an unknown run value.

    Args:
        component: The component with `inject`.
        params: Its options, as far as they are known.

    Raises:
        PluginError: With the parameter that asks for it, and the closest run values.
    """
    if not (component.inject or params):
        return
    owner = f"{component.kind} '{component.prefix if isinstance(component, Catalogue) else component.name}'"
    wanted = [(f"inject of {owner}", source) for source in component.inject.values()]
    wanted += [(f"{owner}, option '{param.name}'", param.source) for param in params if param.source is not None]
    for of, source in wanted:
        if source not in VALUES:
            raise PluginError(unknown("run value", source, VALUES, of=of))


def _with_source(param: Param, inject: Mapping[str, str]) -> Param:
    source = inject.get(param.name)
    if source is None and param.default is REQUIRED and param.name in VALUES:
        source = param.name
    if source is None or source == param.source:
        return param
    return Param(
        name=param.name, type=param.type, default=param.default, help=param.help, kind=param.kind, source=source
    )


def _param(parameter: inspect.Parameter, annotation: Any, help_text: str) -> Param:
    filled = _marker(annotation, FromRun)
    if filled and not _is_union(annotation):
        annotation = typing.get_args(annotation)[0]
    return Param(
        name=parameter.name,
        type=Any if annotation is parameter.empty else annotation,
        default=REQUIRED if parameter.default is parameter.empty else parameter.default,
        help=help_text,
        kind=nested_kind(annotation),
        source=filled.source if filled else None,
    )


_Marker = typing.TypeVar("_Marker")


def _marker(annotation: Any, kind: type[_Marker]) -> _Marker | None:
    """The mark of an annotation, or of a member of a union; None without one."""
    args = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return next((extra for extra in args[1:] if isinstance(extra, kind)), None)
    return next((found for arg in args if (found := _marker(arg, kind))), None) if _is_union(annotation) else None


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _hint(annotation: Any, names: dict[str, Any]) -> Any:
    try:
        holder = types.SimpleNamespace(__annotations__={"it": annotation})
        return typing.get_type_hints(holder, globalns=names, include_extras=True)["it"]
    except Exception:  # evaluating a plugin's annotation may raise anything
        return annotation


_PLAIN = (bool, int, float, str, type(None))
"""Types whose values pydantic would leave unchanged; importing pydantic takes 60 ms."""


@cache
def _adapter(annotation: Any) -> Any:
    """The converter for an annotation; None for an annotation that accepts everything."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter  # 60 ms, and only where a value is converted
    from pydantic.warnings import ArbitraryTypeWarning
    from pydantic_core import SchemaError

    _check_installed()
    for config in (
        ConfigDict(arbitrary_types_allowed=True),
        None,
    ):  # some types have a configuration of their own
        with contextlib.suppress(PydanticUserError, SchemaError), warnings.catch_warnings():
            warnings.simplefilter("ignore", ArbitraryTypeWarning)  # the annotation is not a type
            return TypeAdapter(annotation, config=config)
    return None


@cache
def _check_installed() -> None:
    """Report a broken environment before pydantic searches for its own plugins, which it does once."""
    check_readable()


def _validate(annotation: Any, value: Any) -> Any:
    if annotation is Any or isinstance(annotation, str):
        return value
    if _fits_plainly(annotation, value):
        return list(value) if isinstance(value, list) else value
    try:
        adapter = _adapter(annotation)
    except TypeError:  # it cannot be hashed
        return value
    converted = value if adapter is None else adapter.validate_python(value)
    if _takes_for_number(value, converted):
        raise ValueError("a number, not true or false")
    return converted


def _fits_plainly(annotation: Any, value: Any) -> bool:
    """Whether a value has exactly the wanted type, one of a few plain types, so that no conversion is needed."""
    choices = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    if type(value) is list:
        inner = [typing.get_args(choice)[0] for choice in choices if typing.get_origin(choice) is list]
        return bool(inner) and all(_fits_plainly(inner[0], item) for item in value)
    return type(value) in _PLAIN and type(value) in choices


def _takes_for_number(value: Any, converted: Any) -> bool:
    """Whether a boolean, at any depth, was converted to 1 or 0."""
    if isinstance(value, bool):
        return isinstance(converted, (int, float)) and not isinstance(converted, bool)
    if isinstance(value, (list, tuple)) and isinstance(converted, (list, tuple)):
        return any(map(_takes_for_number, value, converted))
    if isinstance(value, dict) and isinstance(converted, dict):
        return any(_takes_for_number(value[key], converted[key]) for key in value.keys() & converted.keys())
    return False


def _explain_misfit(param: Param, value: Any, owner: str, error: ValueError) -> str:
    lines = [f"{owner}: option '{param.name}' wants {type_name(param.type)}, not {value!r}"]
    choices = _choices(param.type)
    if choices and isinstance(value, str):
        lines = [unknown(f"{param.name}", value, choices, of=owner)]
    elif choices:
        lines.append(f"available: {', '.join(choices)}")
    elif hasattr(error, "errors"):
        lines += sorted({detail["msg"] for detail in error.errors()})[:2]
    else:
        lines.append(str(error))
    if takes_list(param.type) and not isinstance(value, (list, tuple)) and value is not None:
        lines += _list_hint(param, value)
    elif param.type is str and isinstance(value, (bool, int, float)):
        lines.append(f"to have it as text put it in quotes: '\"{str(value).lower()}\"'")
    if param.help:
        lines.append(f"{param.name}: {param.help}")
    return "\n  ".join(lines)


def _list_hint(param: Param, value: Any) -> list[str]:
    """How to write a list: of this value if that fits, else of the default's elements."""
    import json  # for a message alone

    for example in ([value], param.default):
        if isinstance(example, (list, tuple)) and example:
            with contextlib.suppress(ValueError):
                _validate(param.type, list(example))
                return [f"write a list, for example '{json.dumps(list(example))}'"]
    return []


def _choices(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return [str(arg) for arg in typing.get_args(annotation)]
    if _is_union(annotation):
        return [choice for arg in typing.get_args(annotation) for choice in _choices(arg)]
    return []
