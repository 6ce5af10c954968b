"""The arithmetic of docs/scaling.md."""

from __future__ import annotations

import math

import pytest
from workspace import ROOT

from wf.discovery.modules import import_module

scaling = import_module(str(ROOT / "benchmarks" / "scaling.py"))


def test_the_page_shows_the_output_of_the_script(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["scaling.py"])
    scaling.main()
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").splitlines()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(printed) > 25
    assert not [line for line in printed if line not in page]


@pytest.mark.parametrize(("stall", "between"), [(1.0, 10_000.0), (8.0, 40_000.0), (380.0, 300_000.0)])
def test_youngs_interval_loses_least(stall: float, between: float) -> None:
    best = math.sqrt(2 * stall * between)
    losses = [scaling.lost(best * factor, stall, stall, 60.0, between) for factor in (0.5, 0.9, 1.0, 1.1, 2.0)]
    assert min(losses) == losses[2]
    restart_alone = scaling.lost(best, stall, stall, 60.0, between) - scaling.lost(best, stall, stall, 0.0, between)
    assert restart_alone == pytest.approx(60.0 / between)
