"""Parsing of arguments that click cannot parse: ``--loss.gamma 2``, and ``-p`` anywhere on the command line."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wf.declarations.kinds import KINDS
from wf.errors import UsageError, unknown
from wf.typed import Repeated, last_of, typed

ADD, REMOVE, SET = "+", "no:", "set:"
"""The prefixes of a component's name that add it to a list, remove it, or set its options."""

EVERYWHERE = (
    ("-p MODULE|FILE", "Load a plugin that is not installed; repeatable."),
    ("-p no:NAME", "Disable a plugin; it is not imported."),
    ("--trust SHA256", "Run the code in a run directory with this checksum; repeatable."),
    ("--only-builtin", "Load only the plugins that come with wf."),
    ("--strict", "End with code 3 if any plugin cannot be loaded."),
    ("--traceback", "Show the traceback of errors."),
)
"""Options of every command, with their help."""


@dataclass
class Everywhere:
    """Values of the options of every command."""

    plugins: list[str] = field(default_factory=list)
    trust: list[str] = field(default_factory=list)
    only_builtin: bool = False
    strict: bool = False
    traceback: bool = False


def take_everywhere(args: Sequence[str], *, strict: bool = True) -> tuple[Everywhere, list[str]]:
    """Extract the options of `EVERYWHERE` from the arguments; returns their values and the remaining arguments.

    Args:
        args: The arguments.
        strict: Whether to refuse ``-p`` or ``--trust`` without a value; false during completion.

    Raises:
        UsageError: If a value is missing.
    """
    found, rest = Everywhere(), []
    words = iter(args)
    for word in words:
        if word in ("-p", "--plugin"):
            value = next(words, None)
            if value is not None:
                found.plugins.append(value)
            elif strict:
                raise UsageError(f"{word} needs a module, a file or no:NAME after it")
        elif word.startswith("-p") and not word.startswith("--") and len(word) > 2:
            found.plugins.append(word[2:])
        elif word.startswith("--plugin="):
            found.plugins.append(word.partition("=")[2])
        elif word == "--trust":
            value = next(words, None)
            if value is not None:
                found.trust.append(value)
            elif strict:
                raise UsageError("--trust needs a SHA-256 checksum after it")
        elif word.startswith("--trust="):
            found.trust.append(word.partition("=")[2])
        elif word == "--only-builtin":
            found.only_builtin = True
        elif word == "--strict":
            found.strict = True
        elif word == "--traceback":
            found.traceback = True
        elif word == "--":
            rest += [word, *words]
        else:
            rest.append(word)
    return found, rest


def take_options(args: Sequence[str], kinds: Container[str] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Extract every ``--KIND.OPTION VALUE``; returns them as a run file, and the remaining arguments.

    A boolean option without a value means true: ``--optimizer.nesterov``. An option that is given more than once
    gets a list of its values; later code knows whether the option takes a list.

    Args:
        args: The arguments.
        kinds: The kinds whose options are extracted; None for all.

    Raises:
        UsageError: For an unknown kind, or for an option without its component's name if the kind may have several.
    """
    document: dict[str, Any] = {}
    rest: list[str] = []
    seen: set[str] = set()
    words = list(args)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        is_option = name.startswith("--") and "." in name
        if not is_option or (kinds is not None and name[2:].partition(".")[0] not in kinds):
            rest.append(word)
            continue
        if equals:
            placed = parse_value(value)
        else:
            placed = parse_value(words.pop(0)) if words and not _is_option(words[0]) else True
        path = name[2:].replace("-", "_")
        _place(document, name[2:], placed, again=path in seen)
        seen.add(path)
    for kind in KINDS.several:
        if kind in document:
            document[kind] = [{"use": f"{SET}{name}", **options} for name, options in document[kind].items()]
    return document, rest


def parse_value(text: str) -> Any:
    """Parse a value as TOML if possible, else return the string; dates and times stay strings.

    Numbers and booleans keep their text, see `wf.typed`.
    """
    import tomllib  # not for wf --help

    try:  # brackets rule out comments and further lines
        document = tomllib.loads(f"values = [{text}]", parse_float=lambda number: typed(float(number), number))
    except tomllib.TOMLDecodeError:
        return text
    values = document.pop("values")
    if document or len(values) != 1 or text.rstrip().endswith(","):
        return text
    return typed(values[0], text.strip()) if isinstance(values[0], (int, float, str, list, dict)) else text


def tables_of(kind: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Convert ``--hook a --hook +b --hook no:c`` to a list in the form of a run file.

    Raises:
        UsageError: If names with and without a sign are mixed.
    """
    chosen = [name for name in names if not name.startswith((ADD, REMOVE))]
    if chosen and any(name.startswith(REMOVE) for name in names):
        raise UsageError(
            f"--{kind} {chosen[0]} replaces the whole list, so there is nothing to remove\n"
            f"  to add to the defaults: --{kind} +{chosen[0]}"
        )
    return [{"use": name} for name in names]


def _is_option(word: str) -> bool:
    return word.startswith("--") or (len(word) == 2 and word[0] == "-" and word[1].isalpha())


def _place(document: dict[str, Any], path: str, value: Any, *, again: bool) -> None:
    """Store a value at ``kind.option`` or ``kind.name.option``; a repeated option collects its values."""
    kind, *keys = path.split(".")
    if kind not in KINDS:
        hint = "if a plugin in the run file declares this kind, name the plugin with -p as well"
        hint = f"in option --{path}; options are written --KIND.OPTION\n  {hint}"
        raise UsageError(unknown("kind", kind, KINDS, hint))
    if kind in KINDS.several:
        name, keys = _split_name(kind, keys)
        table = document.setdefault(kind, {}).setdefault(name, {})
    else:
        table = document.setdefault(kind, {})
    *outer, last = (key.replace("-", "_") for key in keys)
    for key in outer:
        inner = _one(table.get(key), key)
        table[key] = table = inner if isinstance(inner, dict) else {} if inner is None else {"use": inner}
    inner = table.get(last)
    if again and isinstance(inner, dict) and "use" in inner and isinstance(value, str):
        inner["use"] = _one(Repeated([inner["use"], value]), last)
    elif again:
        given = inner if isinstance(inner, Repeated) else Repeated([inner])
        table[last] = Repeated([*given, value])
    elif isinstance(inner, dict) and not isinstance(value, Mapping):
        inner["use"] = value
    else:
        table[last] = value


def _one(value: Any, option: str) -> Any:
    """The name of a nested component: the last one, if several are given."""
    return last_of(value, f"'{option}'") if isinstance(value, Repeated) else value


def _split_name(kind: str, keys: list[str]) -> tuple[str, list[str]]:
    """Split into the component's name, which contains dots if it is ``path.py:Attr``, and the path of the option."""
    end = next((index for index, key in enumerate(keys) if ":" in key), 0) + 1
    if len(keys) <= end:
        raise UsageError(
            f"--{'.'.join((kind, *keys))}: a run may have several {kind}s, so name one of them\n"
            f"  write: --{kind}.NAME.OPTION VALUE"
        )
    return ".".join(keys[:end]), keys[end:]
