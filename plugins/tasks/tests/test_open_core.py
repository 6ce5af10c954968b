"""No file outside this package contains the names of tasks or forms of targets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
LIBRARIES = tuple(f"plugins/{name}" for name in ("base", "fitting", "processes", "storage"))
FOLDERS = (*LIBRARIES, "corelib", "cli", "plugins/tracking", "plugins/training", "plugins/compare", "plugins/kit")
NAMES = {"class_index", "one_hot", "multilabel", "binary", "classification", "regression", "segmentation", "embeddings"}
ALLOWED = {
    "plugins/base/src/wf_base/__init__.py": {"class_index"},  # the name of a function
    "plugins/base/src/wf_base/data/__init__.py": {"class_index"},  # the same
    "plugins/kit/src/wf_kit/reference.py": {"class_index"},  # a default that a run of the kit overrides
}


def texts(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_core_knows_no_task_and_no_form_of_targets() -> None:
    found = {
        file.relative_to(ROOT).as_posix(): names
        for folder in FOLDERS
        for file in sorted((ROOT / folder / "src").rglob("*.py"))
        if (names := NAMES & set(texts(file)))
    }
    assert found == ALLOWED
