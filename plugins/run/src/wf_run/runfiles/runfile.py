"""The run file: one TOML document that describes a whole run.

It is a plain nested dict: general keys, one table per kind with ``use``, arrays of tables where several are allowed.
`load` reads and checks one, `merge` overrides it by another (the command line), `dump` writes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, time
from pathlib import Path
from typing import Any

from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.engine.cadence import Every
from wf.errors import UsageError, closest, unknown
from wf.parameters import NULL, convert
from wf.splits import parse_split
from wf.typed import plain
from wf_building.checked import Checked
from wf_run.declared.kinds import ON_ERROR
from wf_run.directory.made_with import owner_missing
from wf_run.runfiles import lists
from wf_run.runfiles.layers import Layer, layers_of
from wf_run.runfiles.references import is_reference, put_back, resolve
from wf_run.runfiles.said import SAID, Place, Said, laid_over, said_in, with_said, without_said

RunFile = dict[str, Any]

VARIANT = "variant"
"""The key of the tables with which `wf compare` overrides the rest of a run file, one after another."""


OF_LINE = ("name", "run_dir", "processes", "max_restarts", "folds", "resume_if_there", "quiet", "dry_run")
"""Options of ``wf run`` that are no keys, because they belong to one call and not to the run."""


class UnknownKeyError(UsageError):
    """A key that neither wf nor a loaded plugin declares."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def load(path: Path) -> RunFile:
    """Read a run file, and resolve its references to environment variables that are set.

    Raises:
        UsageError: If it is missing, not TOML, or has an unknown key or a wrong structure.
    """
    document, variants = load_variants(path)
    if variants:
        raise UsageError(_for_several(path, f"train one: wf run {path}", [name for name, _ in variants]))
    return without_said(resolve(document, lenient=True))


def folders_of(path: Path) -> tuple[Path, ...]:
    """The folders for a run file's relative paths: its ``code/`` and its own."""
    return path.parent / "code", path.parent


def load_variants(*paths: Path) -> tuple[RunFile, list[tuple[str, RunFile]]]:
    """Read run files, each overriding the previous one and those it extends.

    A file may have ``[[variant]]`` tables, each of which overrides the rest. The last file with any counts.

    Returns:
        The run file without them, and the variants with their names (``name``, else "variant 1" and so on). Both carry
        their origins, see `wf_run.runfiles.said`.

    Raises:
        UsageError: As `load`, also for a variant.
    """
    layers = layers_of(paths)
    is_open = any(layer.document.get("plugins") for layer in layers)
    base: RunFile = {}
    variants: list[tuple[str, RunFile]] = []
    for layer in layers:
        with naming_owner(layer.file, layer.place):
            own = {key: value for key, value in layer.document.items() if key != VARIANT}
            document = _checked(own, is_open=is_open)
            tables = layer.document.get(VARIANT, [])
            if not isinstance(tables, list):
                raise UsageError(f"{VARIANT} is an array of tables: write [[{VARIANT}]]")
        variants = [_variant(number, one, layer, is_open=is_open) for number, one in enumerate(tables, 1)] or variants
        _check_variant_names([name for name, _ in variants], layer.file)
        plugins = list(dict.fromkeys([*base.get("plugins", []), *document.get("plugins", [])]))
        base, notes = merge(base, {**document, SAID: Said(places=layer.places(document), files=(layer.file,))})
        base = with_said(base, notes=(*said_in(base).notes, *(f"{layer.file}: {note}" for note in notes)))
        if plugins:
            base["plugins"] = plugins
    return base, variants


def choose_variant(path: Path, variants: Sequence[tuple[str, RunFile]], name: str | None) -> RunFile:
    """The overrides of one variant; empty if there are none.

    Args:
        path: The file with the variants, for messages.
        variants: As `load_variants` returns them.
        name: The variant's name.

    Raises:
        UsageError: For an unknown variant, or if the file has variants and none is named.
    """
    names = [one for one, _ in variants]
    if name is None:
        if variants:
            raise UsageError(_for_several(path, "choose one:", names))
        return {}
    if not variants:
        raise UsageError(f"{path} has no [[{VARIANT}]] tables, so there is no variant '{name}'")
    if name not in names:
        raise UsageError(unknown("variant", name, names, of=str(path)))
    return dict(variants)[name]


def _for_several(path: Path, advice: str, names: Sequence[str]) -> str:
    first, *others = [f"'{name}'" if " " in name else name for name in names]
    return (
        f"{path} has [[{VARIANT}]] tables: it is for several runs\n"
        f"  {advice} --variant {', or '.join([first, *others])}\n"
        f"  compare them: wf compare {path}"
    )


@contextmanager
def naming_owner(file: Path, place: Callable[[Place], str] | None = None) -> Iterator[None]:
    """Add file and line to errors about a run file, or the plugin of a key that is no longer known."""
    try:
        yield
    except UsageError as error:
        key = getattr(error, "key", None)
        gone = owner_missing(file, error.key) if isinstance(error, UnknownKeyError) else None
        raise gone or UsageError(f"{place((key,)) if place and key else file}: {error}") from error


def _check_variant_names(names: Sequence[str], file: Path) -> None:
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise UsageError(
            f"{file} has two variants with the name '{twice}'\n  give each [[{VARIANT}]] a name of its own"
        )


def _variant(number: int, table: Any, layer: Layer, *, is_open: bool) -> tuple[str, RunFile]:
    below = (VARIANT, str(number - 1))
    if not isinstance(table, Mapping):
        raise UsageError(f"{layer.place(below)}: {VARIANT} is an array of tables: write [[{VARIANT}]]")
    name = str(table.get("name", f"{VARIANT} {number}"))
    try:
        document = _checked({key: value for key, value in table.items() if key != "name"}, is_open=is_open)
    except UsageError as error:
        where = layer.place((*below, getattr(error, "key", "")))
        raise UsageError(f"{where}: {VARIANT} {number} ('{name}'): {error}") from error
    return name, {**document, SAID: Said(places=layer.places(document, below))}


def _checked(document: Mapping[str, Any], *, is_open: bool) -> RunFile:
    """Check a run file after reading; with `is_open` plugins that are not loaded yet may add keys."""
    _check_names(document)
    return check(document, loaded=not is_open)


def check(document: Mapping[str, Any], *, loaded: bool = True) -> RunFile:
    """A copy of a run file with checked keys, tables and general values; components' options are checked later.

    Args:
        document: The run file.
        loaded: Whether the plugins that it names are loaded, so that every kind and setting is known.

    Raises:
        UsageError: For an unknown key, a table of the wrong shape or a general value that does not fit.
    """
    checked: RunFile = {}
    for key, value in document.items():
        with _about(key):
            checked[key] = _check_key(key, value, loaded=loaded)
    if checked.get("epochs") is not None and checked.get("steps") is not None:
        raise UsageError("both epochs and steps are given; use one of them")
    if checked.get("init_without") and not checked.get("init_from"):
        raise UsageError("init_without excludes layers from init_from, which is not given")
    accumulate = checked.get("accumulate", 1)
    if checked.get("batch_size") == "full" and isinstance(accumulate, int) and accumulate > 1:
        raise UsageError(
            f"accumulate is {accumulate} and batch_size is full: an epoch has one batch\n"
            "  give batch_size the number of samples that fit into memory"
        )
    return checked


@contextmanager
def _about(key: str) -> Iterator[None]:
    """Attach the key of the run file to an error about it."""
    try:
        yield
    except UsageError as error:
        vars(error).setdefault("key", key)
        raise


def _check_key(key: str, value: Any, *, loaded: bool) -> Any:
    """The checked value of one key of a run file."""
    if key in GENERAL:
        return check_general(key, value)
    if key in KINDS.several:
        return [_table(key, table) for table in (value if isinstance(value, list) else [value])]
    if key in KINDS.of_runs:
        return _table(key, value)
    if not loaded or (key == SAID and isinstance(value, Said)):
        return value
    known, hint = [*GENERAL, *KINDS.of_runs], ""
    if key == "lr":
        hint = "it is an option of the optimizer: [optimizer] lr = ..."
    elif key in OF_LINE:
        hint = f"it is an option of the command line: wf run --{key.replace('_', '-')}"
        if key == "processes":
            hint += "\n  in Python torchrun starts the processes: torchrun --nproc-per-node N SCRIPT"
    elif not closest(key, known):
        hint = 'if a plugin declares it, name the plugin: plugins = ["NAME"], or -p NAME'
    raise UnknownKeyError(key, unknown("key", key, known, hint))


def check_general(key: str, value: Any) -> Any:
    """A general value, converted.

    Raises:
        UsageError: If it does not fit.
    """
    if is_reference(value):
        return value
    declared = GENERAL[key]
    value = convert(declared, value, "the run")
    if declared.choices and value not in declared.choices:
        raise UsageError(unknown(f"value of '{key}':", str(value), declared.choices))
    if key == "batch_size" and isinstance(value, str) and value != "full":
        value = int(value) if value.isdecimal() else value
        if isinstance(value, str):
            raise UsageError(f"batch_size must be a whole number of at least 1, or full, not '{value}'")
    if key in ("eval_every", "checkpoint_every") and value is not None:
        _check_cadence(key, value)
    if isinstance(value, int) and not isinstance(value, bool):
        if declared.least is not None and value < declared.least:
            raise UsageError(f"{key} must be at least {declared.least}, not {value}")
        if declared.most is not None and value > declared.most:
            hint = "\n  install a newer wf" if key == "format" else ""
            raise UsageError(f"{key} must be at most {declared.most}, not {value}{hint}")
    if key == "split":
        parse_split(value)
    return value


def _check_cadence(key: str, value: int | str) -> None:
    try:
        cadence = Every.parse(value)
    except UsageError as error:
        raise UsageError(f"{key}: {error}") from error
    if key == "eval_every" and cadence.unit == "minutes":
        raise UsageError(f"{key} is {value}; it counts epochs or steps: 1epochs, 500steps")


def options_of(kind: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The component's own options in a table: all but ``use`` and the keys that wf reads, see `wf.Kind.keys`."""
    reserved = KINDS[kind].keys if kind in KINDS else ()
    return {name: value for name, value in table.items() if name != "use" and name not in reserved}


def own_table(kind: str, table: Any) -> Any:
    """A component's table without the keys that wf itself reads."""
    if not isinstance(table, Mapping):
        return table
    own = {"use": table["use"], **options_of(kind, table)}
    return table.with_table(own) if isinstance(table, Checked) else own


def on_error_of(table: Mapping[str, Any], default: str = ON_ERROR[0]) -> str:
    """The failure policy of a table's hook, one of `ON_ERROR`.

    Raises:
        UsageError: For another value.
    """
    value = table.get("on_error", default)
    if value not in ON_ERROR:
        raise UsageError(unknown("value of 'on_error'", str(value), ON_ERROR, of=f"hook '{table['use']}'"))
    return str(value)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> tuple[RunFile, list[str]]:
    """Override `base` (a run file) by `over` (the command line).

    A kind whose `use` changes loses the options of the old component. Lists of components are merged by
    `wf_run.runfiles.lists`.

    Returns:
        The merged run file, and messages about the merge.
    """
    merged: RunFile = dict(base)
    notes: list[str] = []
    if over.get("epochs") is not None:
        merged.pop("steps", None)
    if over.get("steps") is not None:
        merged.pop("epochs", None)
    for key, value in over.items():
        if key in KINDS.several:
            merged[key] = lists.laid_over(merged.get(key), value)
        elif key in KINDS:
            merged[key] = _merge_table(key, merged.get(key, {}), value, notes)
        else:
            merged[key] = value
    if SAID in base or SAID in over:
        merged[SAID] = laid_over(base, over, merged)
    return merged, notes


def dump(document: Mapping[str, Any], comment: str = "") -> str:
    """A run file as TOML text: general keys, then one table per kind; None is written as "@null".

    Args:
        document: The run file. General keys that are None, and None by default, are left out.
        comment: Lines to put at the top.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    document = put_back(document)
    for key, param in GENERAL.items():
        if key in document and not (document[key] is None and param.default is None):
            lines.append(f"{key} = {_toml(document[key])}")
    lines += [f"{kind} = []" for kind in KINDS.several if document.get(kind) == []]
    for kind in KINDS:
        value = document.get(kind)
        for table in value if isinstance(value, list) else [value] if value else []:
            lines += ["", f"[[{kind}]]" if kind in KINDS.several else f"[{kind}]"]
            lines += [f"{_toml_key(name)} = {_toml(option)}" for name, option in table.items()]
    return "\n".join(lines) + "\n"


def _merge_table(kind: str, old: Any, new: Any, notes: list[str]) -> Any:
    if not isinstance(new, Mapping) or not isinstance(old, Mapping):
        return new
    if "use" in new and new["use"] != old.get("use", new["use"]):
        dropped = [name for name in old if name != "use"]
        if dropped:
            notes.append(
                f"{kind} {new['use']} replaces {old['use']} of the run file; "
                f"its options are dropped: {', '.join(dropped)}"
            )
        return dict(new)
    merged = dict(old)
    for name, value in new.items():  # each goes to the end: if an option is given under two names, the later one counts
        merged[name] = _merge_option(f"{kind}.{name}", merged.pop(name, None), value, notes)
    return merged


def _merge_option(path: str, old: Any, new: Any, notes: list[str]) -> Any:
    """One option; one that is itself a component keeps its own options as long as its `use` stays."""
    if isinstance(old, Mapping) and "use" in old and isinstance(new, str) and new != NULL:
        new = {"use": new}
    if isinstance(new, Mapping) and isinstance(old, str) and "use" not in new:
        old = {"use": old}
    nested = isinstance(old, Mapping) and "use" in old and isinstance(new, Mapping)
    return _merge_table(path, old, new, notes) if nested else new


def _check_names(document: Mapping[str, Any]) -> None:
    """Refuse components that only Python can hold: anything but a name."""
    for kind in KINDS.keys() & document.keys():
        value = document[kind]
        with _about(kind):
            if isinstance(value, list) and kind not in KINDS.several:
                raise UsageError(f"a run has one {kind}: write [{kind}] instead of [[{kind}]], and name one")
            for table in value if isinstance(value, list) else [value]:
                use = table.get("use", "") if isinstance(table, Mapping) else table
                if not isinstance(use, str):
                    raise UsageError(f'{kind}: {use!r} is not a name; write use = "NAME"')


def _table(kind: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return {"use": value}
    if "use" not in value and kind in KINDS.several:
        raise UsageError(f"a table [[{kind}]] without 'use': name the {kind}, use = \"NAME\"")
    return dict(value)


def _toml(value: Any) -> str:
    """One value on one line."""
    import tomli_w

    if value is None:
        return f'"{NULL}"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml_key(str(key))} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    value = plain(value) if isinstance(value, (bool, int, float, str, date, time)) else str(value)
    return tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")


def _toml_key(key: str) -> str:
    import tomli_w

    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")
