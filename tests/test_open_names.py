"""Only files of `plugins/tasks` test for the names of its tasks and forms."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace import ROOT

from wf.registry import Registry
from wf_base import Batch
from wf_tasks.plugin import wf_links, wf_tasks

OWN_WORDS = {
    "datasets": "the option `task` of a file's reader says how its columns are read",
    "huggingface": "the same",
    "torchvision": "families of the library's models",
}
"""The plugins that compare words of their own which are among the names."""


OTHER_WORDS = {
    "accuracy": "what other tools call acc",
    "default": "a field of declarations",
    "mean": "a reduction of losses",
    "precision": "a general key of run files",
    "progress": "where a run is, in its checkpoints",
    "safetensors": "a package, which has this name",
    "step": "what the loop counts",
    "sum": "a reduction of losses",
    "text": "what messages call a value that is no number",
    "tensorboard": "a package that is installed under another name",
}
"""Words in the core that happen to be names of components."""


def names() -> set[str]:
    """All tasks and forms of targets and predictions of wf's tasks and links, and forms that metrics read."""
    found = {"labels"}
    for task in wf_tasks():
        found |= {task.name, *task.targets, *task.predictions, *task.reads}
    for link in wf_links():
        found |= {*link.takes, link.gives} if link.of != "loss" else set()
    return found - {"raw"}  # it stands for itself, see wf.traits


NAMES = names()


def texts(node: ast.AST) -> Iterator[ast.Constant]:
    """The names in a part of a file."""
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value in NAMES:
            yield one


def attributes(tree: ast.AST) -> set[ast.AST]:
    """Texts that name attributes: of a module (`__all__`) or of an object."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        is_all = isinstance(node, ast.Assign) and any(getattr(one, "id", "") == "__all__" for one in node.targets)
        if is_all or (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr")):
            found |= set(ast.walk(node))
    return found


def compared(tree: ast.AST) -> Iterator[ast.Constant]:
    """The strings in comparisons and look-ups."""
    for node in ast.walk(tree):
        is_get = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get"
        if isinstance(node, (ast.Compare, ast.MatchValue)) or is_get:
            own = {one for part in ast.walk(node) if isinstance(part, ast.Subscript) for one in ast.walk(part.slice)}
            yield from (one for one in texts(node) if one not in own)  # a string in brackets is a look-up in a table


def files(folder: str) -> list[Path]:
    """The source files below a folder."""
    return sorted((ROOT / folder).glob("src/**/*.py"))


@pytest.mark.parametrize(
    "folder", ["corelib", "cli", "plugins/base", "plugins/fitting", "plugins/processes", "plugins/storage"]
)
def test_the_core_contains_no_task_or_target_name(folder: str) -> None:
    found = []
    for file in files(folder):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        own = attributes(tree)
        rows = (one for one in texts(tree) if one not in own and one.value not in Batch._fields)
        found += [f"{file.relative_to(ROOT)}:{one.lineno} {one.value}" for one in rows]
    assert not found


def test_plugins_do_not_test_for_task_or_target_names() -> None:
    assert {"class_index", "binary", "multilabel", "mask", "real", "probs", "log_probs", "regression"} <= NAMES
    found = []
    for plugin in sorted(path.name for path in (ROOT / "plugins").iterdir() if path.is_dir()):
        for file in files(f"plugins/{plugin}") if plugin not in ("tasks", *OWN_WORDS) else ():
            rows = compared(ast.parse(file.read_text(encoding="utf-8")))
            found += [f"{file.relative_to(ROOT)}:{one.lineno} {one.value}" for one in rows]
    assert not found


def test_the_core_contains_no_component_name() -> None:
    kinds = Registry.discover(only_builtin=True)
    components = {entry.component.name for entry in kinds.entries()} - OTHER_WORDS.keys()
    assert {"focal", "supervised", "directory", "digits", "adam"} <= components
    found = []
    for file in [*files("corelib"), *files("plugins/base"), *files("plugins/fitting")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                chosen = set(re.findall(r"--[a-z]+ ([a-z0-9-]+)", node.value)) & components
                if node.value in components or chosen:
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.value[:60]}")
    assert not found
