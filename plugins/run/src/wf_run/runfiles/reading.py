"""Reads run files as a user gives them: paths, several of them, or a dict; their plugins are located."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.discovery.modules import is_path, locate
from wf.errors import UsageError
from wf_run.runfiles.references import is_reference
from wf_run.runfiles.runfile import (
    RunFile,
    check,
    choose_variant,
    folders_of,
    load_variants,
    merge,
)
from wf_run.runfiles.said import said_in, with_said

if TYPE_CHECKING:
    pass

RunFiles = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""The path of a run file, or several, each overriding the previous one."""


def read(source: RunFiles | Mapping[str, Any] | None, variant: str | None = None) -> tuple[RunFile, Sequence[Path]]:
    """A run file and the folders in which its relative paths are looked up: its own and its ``code/``.

    Args:
        source: A path, several paths, each overriding the previous one, or a nested dict; None for no run file.
        variant: Which ``[[variant]]`` of the run files.
    """
    if variant is not None and (source is None or isinstance(source, Mapping)):
        raise UsageError(f"there is no run file that could have the variant '{variant}'")
    if source is None:
        return {}, ()
    if isinstance(source, Mapping):
        return check(source), ()
    paths = [Path(source)] if isinstance(source, (str, os.PathLike)) else [Path(one) for one in source]
    document, variants, folders = read_variants(*paths)
    chosen = choose_variant(paths[-1], variants, variant) if paths else {}
    if chosen:
        document, notes = merge(document, chosen)
        document = with_said(document, notes=(*said_in(document).notes, *notes))
    return document, folders


def read_variants(*paths: Path) -> tuple[RunFile, list[tuple[str, RunFile]], Sequence[Path]]:
    """As `read`, for run files that may have ``[[variant]]`` tables; returns the variants with their names."""
    document, variants = load_variants(*paths)
    files = said_in(document).files
    folders = tuple(dict.fromkeys(folder for file in reversed(files) for folder in folders_of(file)))
    located = [(name, _with_plugins(variant, folders)) for name, variant in variants]
    return _with_plugins(document, folders), located, folders


def _with_plugins(document: RunFile, folders: Sequence[Path]) -> RunFile:
    """A run file whose plugins are found."""
    if "plugins" not in document:
        return document
    if found := next(filter(is_reference, document["plugins"]), None):
        raise UsageError(f"plugins: '{found}' is a reference, and plugins are loaded before these are followed")
    return {**document, "plugins": [_located(name, folders) for name in document["plugins"]]}


def _located(name: str, folders: Sequence[Path]) -> str:
    """A plugin's file, searched in the folders if it is not below the working directory."""
    return str(locate(Path(name), folders)) if is_path(name) and not Path(name).expanduser().exists() else name
