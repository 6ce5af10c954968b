"""The indexes belong to the installed timm, and are read without importing it."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest

from wf_timm.index import INDEXES


@pytest.mark.parametrize("file", INDEXES)
def test_index_is_up_to_date(file: str) -> None:
    kept = files("wf_timm").joinpath(file).read_text(encoding="utf-8")
    assert kept == INDEXES[file](), "regenerate it: python -m wf_timm.index"


def test_listing_imports_neither_torch_nor_timm() -> None:
    code = """
import sys
from wf_timm.plugin import wf_components
names = [name for catalogue in wf_components() for name in catalogue.names()]
print(len(names) > 1400, [name for name in sys.modules if name.startswith(("torch", "timm", "numpy"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"
