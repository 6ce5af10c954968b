"""The indexes belong to the installed torchvision, and are read without importing it."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest

from wf_torchvision.index import INDEXES


@pytest.mark.parametrize("file", INDEXES)
def test_index_is_up_to_date(file: str) -> None:
    kept = files("wf_torchvision").joinpath(file).read_text(encoding="utf-8")
    assert kept == INDEXES[file](), "regenerate it: python -m wf_torchvision.index"


def test_listing_imports_neither_torch_nor_torchvision() -> None:
    code = """
import sys
from wf_torchvision.plugin import wf_components
names = [name for one in wf_components() if hasattr(one, "names") for name in one.names()]
print(len(names) > 200, [name for name in sys.modules if name.startswith(("torch", "numpy"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"
