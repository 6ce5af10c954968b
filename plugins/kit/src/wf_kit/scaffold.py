"""Writes a new plugin package from templates, with checked names, completely or not at all."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import keyword
import os
import shutil
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import Version

from wf.declarations.declared import DECLARATIONS, plurals
from wf.declarations.kinds import KINDS
from wf.discovery.known import index
from wf.errors import DataError, UsageError

WIDTH = 88
"""Line length of generated Python: the default of formatters."""

FILES = {
    ".github/workflows/release.yml": "release.yml.tmpl",
    ".github/workflows/tests.yml": "tests.yml.tmpl",
    ".gitignore": "gitignore.tmpl",
    "README.md": "README.md.tmpl",
    "pyproject.toml": "pyproject.toml.tmpl",
    "src/$package/__init__.py": "init.py.tmpl",
    "src/$package/plugin.py": "plugin.py.tmpl",
    "src/$package/py.typed": "",
    "tests/test_conformance.py": "test_conformance.py.tmpl",
}
"""Files of every package, with their templates."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """The example component of a kind in a new package."""

    kind: str
    name: str
    target: str
    """``module:Attr``, in the package."""
    summary: str
    run: str = ""
    """Options of ``wf run`` that use it; for a command its own arguments; empty if other components ask for it."""
    traits: str = ""
    """Traits as Python code, empty if its kind has none."""
    traits_from: str = "wf.traits"
    """The module that has the traits."""
    needs: tuple[str, ...] = ()
    """The distributions that it imports, besides wf-core."""
    fields: tuple[str, ...] = ()
    """Further fields of a declaration that is not a component, as Python code."""

    @property
    def module(self) -> str:
        """Its module."""
        return self.target.partition(":")[0]

    @property
    def line(self) -> str:
        """The command that uses it, after ``wf``."""
        if self.kind == "command":
            return self.name
        return f"run {self.run}" if self.run else f"show {self.kind} {self.name}"


@dataclass(frozen=True)
class Package:
    """A package that was written."""

    name: str
    """The normalized name of the distribution."""
    folder: Path
    files: tuple[str, ...]
    examples: tuple[Example, ...]

    @property
    def import_name(self) -> str:
        """The import name."""
        return import_name(self.name)


def new_package(name: str, kinds: Sequence[str], folder: Path | None = None) -> Package:
    """Write a plugin package with one component of each kind.

    Args:
        name: The distribution name; the import name is derived from it.
        kinds: Names from `wf.declarations.kinds.KINDS`.
        folder: The destination, by default a folder with that name in the working directory. It must be new or empty.

    Raises:
        UsageError: For a name that cannot be used, or a folder that is not empty.
        DataError: If it cannot be written. Nothing is left behind.
    """
    name = check_name(name)
    folder = Path(name) if folder is None else folder
    if _is_taken(folder):
        raise UsageError(f"{folder} exists and is not an empty folder\n  choose another one: --output DIR")
    examples = [example for example in read_examples() if example.kind in kinds]
    texts = render(name, examples)
    _write(texts, folder)
    return Package(name, folder, tuple(texts), tuple(examples))


def _is_taken(folder: Path) -> bool:
    try:
        return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:  # the name is too long, or the folder is not readable
        raise DataError(f"cannot write {folder}: {error.strerror}\n  choose another folder: --output DIR") from error


def check_name(name: str) -> str:
    """Normalize the name of a distribution.

    Raises:
        UsageError: If it cannot be the name of a new distribution and package.
    """
    try:
        name = canonicalize_name(name, validate=True)
    except InvalidName as error:
        raise UsageError(
            f"'{name}' cannot be the name of a distribution\n"
            "  use letters, digits and '-', with a letter or digit at both ends; the folder is --output DIR"
        ) from error
    package = import_name(name)
    if not package.isidentifier() or keyword.iskeyword(package):
        raise UsageError(
            f"'{name}' would be imported as '{package}', which is not a valid Python name\n  choose another name"
        )
    if name in _reserved():
        raise UsageError(f"'{name}' is the name of a known package\n  choose another name")
    version = _installed_version(name)
    if version is not None:
        raise UsageError(f"'{name}' {version} is already installed\n  choose another name, or: pip uninstall {name}")
    found = importlib.util.find_spec(package)
    if found is not None and found.origin is not None:
        raise UsageError(f"'{name}' would be imported as '{package}', which already exists\n  choose another name")
    return name


def import_name(name: str) -> str:
    """The import name of a distribution, given its normalized name."""
    return name.replace("-", "_")


def read_examples() -> list[Example]:
    """The example of each kind, in the order of `wf.declarations.kinds.KINDS`, non-components last."""
    tables = tomllib.loads(_read("kinds.toml"))
    return [Example(kind=kind, **tables[kind]) for kind in (*KINDS, *DECLARATIONS) if kind in tables]


def render(name: str, examples: Sequence[Example]) -> dict[str, str]:
    """The files of a package, by path.

    Args:
        name: The normalized distribution name.
        examples: Its components.
    """
    package = import_name(name)
    values = {
        "name": name,
        "package": package,
        "summary": _summary(examples),
        "imports": _imports(examples),
        "hooks": "\n".join(_hooks(examples, package)),
        "rows": "\n".join(_row(example) for example in examples),
        **_versions(importlib.metadata.version("wf-core"), [name for one in examples for name in one.needs]),
    }
    sources = dict(FILES)
    for example in examples:
        sources[f"src/$package/{example.module}.py"] = f"{example.module}.py.tmpl"
        sources[f"tests/test_{example.module}.py"] = f"test_{example.module}.py.tmpl"
    texts = {path: _read(source) if source else "" for path, source in sorted(sources.items())}
    return {Template(path).substitute(values): Template(text).substitute(values) for path, text in texts.items()}


def _versions(core: str, needs: Iterable[str]) -> dict[str, str]:
    """Requirements of a package on wf's distributions: the current minor version."""
    version = Version(core)
    lowest, following = (f"{version.major}.{minor}" for minor in (version.minor, version.minor + 1))
    needed = sorted({"wf-base", "wf-core", *needs})
    return {"lowest": lowest, "dependencies": ", ".join(f'"{name}>={lowest},<{following}"' for name in needed)}


def _summary(examples: Sequence[Example]) -> str:
    """The kinds in words: "Losses", "Losses and optimizers", ..."""
    plural_of = {kind: plural for plural, kind in plurals().items()}
    kinds = [plural_of[example.kind] for example in examples]
    return " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]])).capitalize()


def _imports(examples: Sequence[Example]) -> str:
    """The imports of ``plugin.py``."""
    classes = sorted({_class(example.kind) for example in examples})
    lines = [_import("wf", [*classes, "hookimpl"])]
    for module in sorted({example.traits_from for example in examples if example.traits}):
        own = [one for one in examples if one.traits and one.traits_from == module]
        lines.append(_import(module, sorted({one.traits.partition("(")[0] for one in own})))
    return "\n".join(lines)


def _import(module: str, names: Sequence[str]) -> str:
    """An import statement, on several lines if too long."""
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "\n    ".join([f"from {module} import (", *(f"{name}," for name in names)]) + "\n)"


def _hooks(examples: Sequence[Example], package: str) -> Iterator[str]:
    """The functions of ``plugin.py``."""
    for kind in ("component", *DECLARATIONS):
        own = [
            example for example in examples if (example.kind if example.kind in DECLARATIONS else "component") == kind
        ]
        if own:
            listed = "".join(_declaration(example, package) for example in own)
            yield (
                f"\n@hookimpl\ndef wf_{kind}s() -> list[{_class(kind)}]:\n"
                f'    """The {kind}s of this package."""\n    return [\n{listed}    ]\n'
            )


def _declaration(example: Example, package: str) -> str:
    """The declaration of a component or non-component in ``plugin.py``."""
    if example.kind in DECLARATIONS:
        target = "provider" if example.kind == "value" else "target"
        named = {"name": example.name, target: f"{package}.{example.target}", "summary": example.summary}
        fields = [f'{name}="{value}"' for name, value in named.items()]
        listed = textwrap.indent(",\n".join([*fields, *example.fields]), " " * 12)
        return f"        {_class(example.kind)}(\n{listed},\n        ),\n"
    arguments = [f'"{example.kind}"', f'"{example.name}"', f'"{package}.{example.target}"']
    arguments.append(f'summary="{example.summary}"')
    if example.traits:
        arguments.append(f"traits={example.traits}")
    listed = textwrap.indent(",\n".join(arguments), " " * 12)
    return f"        Component(\n{listed},\n        ),\n"


def _class(kind: str) -> str:
    """The class that declares a kind."""
    return DECLARATIONS[kind].__name__ if kind in DECLARATIONS else "Component"


def _row(example: Example) -> str:
    return f"| {example.kind} `{example.name}` | {example.summary} | `wf {example.line}` |"


def _read(template: str) -> str:
    return files("wf_kit").joinpath("templates", template).read_text(encoding="utf-8")


def _reserved() -> set[str]:
    """The distributions of wf, and the known plugins."""
    return {"wf", "wf-core", "wf-cli", "wf-kit", *(known.distribution for known in index())}


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _write(texts: Mapping[str, str], folder: Path) -> None:
    """Write all files into a folder, or none: they are first completed in a folder beside it."""
    folder = folder.absolute()
    temporary = folder.parent / f".{folder.name}.{os.getpid()}"
    try:
        for path, text in texts.items():
            file = temporary / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        if folder.exists():  # empty, and perhaps the working directory: it must stay the same folder
            for entry in temporary.iterdir():
                entry.rename(folder / entry.name)
        else:
            temporary.rename(folder)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror}\n  choose another folder: --output DIR") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
