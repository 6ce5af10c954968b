"""300 installed plugins with 10,000 components: listing and looking up are fast."""

from __future__ import annotations

from pathlib import Path

import pytest
from stopwatch import seconds
from workspace import ROOT

from wf.discovery.modules import import_module

LIMIT_SEC = 0.5
LIMIT_MB = 100

benchmark = import_module(str(ROOT / "benchmarks" / "registry_scale.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    benchmark.install(folder, 300, 10_000)
    return folder


@pytest.mark.alone
@pytest.mark.parametrize(
    ("args", "expected"),
    [(["list-plugins"], "wf-scale-0299  1.0  ok"), (["show", "loss", "wf-scale-0007-607"], "--loss.gamma  float")],
)
def test_commands_stay_fast_with_many_plugins(site: Path, args: list[str], expected: str) -> None:
    assert expected in benchmark.run(args, site).stdout
    assert seconds(lambda: benchmark.run(args, site)) < LIMIT_SEC
    assert benchmark.peak_mb(args, site) < LIMIT_MB
