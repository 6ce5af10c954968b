"""The indexes of the catalogues match the pinned libraries, which need not be installed."""

from __future__ import annotations

import re

import pytest
from workspace import ROOT

INDEXES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob("plugins/*/src/wf_*/*.txt")
    if path.read_text(encoding="utf-8").startswith("# generated from")
)
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def test_indexes_are_found() -> None:
    assert len(INDEXES) >= 10


@pytest.mark.parametrize("index", INDEXES)
def test_indexes_are_of_the_pinned_version(index: str) -> None:
    first = (ROOT / index).read_text(encoding="utf-8").partition("\n")[0]
    found = re.fullmatch(r"# generated from (\S+) (\S+) by: python -m (wf_\w+)\.\w+", first)
    assert found, first
    assert {name.replace("_", "-").lower(): version for name, version in PINS.items()}[found[1]] == found[2]
    assert f"/{found[3]}/" in index
