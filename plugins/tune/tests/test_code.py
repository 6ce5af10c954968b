"""The code of a search: user's files with their imports, packages of plugins, versions."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wf.errors import UsageError
from wf_compare import training
from wf_compare.training import Setting
from wf_run.resuming import sources
from wf_run.runfiles.runfile import load
from wf_tune.code import check_code, warm_up

PLUGIN = """
from wf import Component, hookimpl


@hookimpl
def wf_components():
    return [Component("optimizer", "slow", "slow_wf:slow", "small steps")]


def slow(params):
    import torch

    return torch.optim.SGD(params, lr=1e-3)
"""
NET = """
import helper_wf
import torch


def net(num_features, num_classes):
    return torch.nn.Linear(num_features, num_classes)
"""
RUN = """
dataset = "iris"
[model]
use = "net.py:net"
[optimizer]
use = "slow"
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Writes the user's code and a distribution, and returns the code of a search with them."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(training, "_REGISTRIES", {})
    (tmp_path / "search.toml").write_text(RUN)

    def write(version: str = "1", plugin: str = PLUGIN, helper: str = "") -> dict[str, Any]:
        training._REGISTRIES.clear()
        sources._local.cache_clear()
        info = tmp_path / "slow-1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: slow\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[wf.plugins]\nmain = slow_wf\n")
        (tmp_path / "slow_wf.py").write_text(plugin)
        (tmp_path / "helper_wf.py").write_text(helper)
        (tmp_path / "net.py").write_text(NET)
        importlib.invalidate_caches()
        sys.modules.pop("slow_wf", None)
        return warm_up([(load(tmp_path / "search.toml"), [tmp_path])], Setting(folders=(tmp_path,)))

    return write


def test_the_same_code_is_recorded_alike(code: Callable[..., dict[str, Any]]) -> None:
    before = code()
    assert [one["file"] for one in before["code"]] == ["helper_wf.py", "net.py"]
    assert {(one["kind"], one["distribution"], one["version"]) for one in before["components"]} >= {
        ("optimizer", "slow", "1"),
        ("model", None, None),
    }
    assert code() == before
    said: list[str] = []
    check_code({"conditions": before}, code(), Path("runs/x"), said.append)
    assert said == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"helper": "SIZE = 3"}, "code: was helper_wf.py"),
        ({"plugin": PLUGIN + "\n"}, "plugin-code: was slow_wf"),
    ],
)
def test_other_code_is_refused(changed: dict[str, str], words: str, code: Callable[..., dict[str, Any]]) -> None:
    before = code()
    with pytest.raises(UsageError, match="the code is not that with which the search was started") as caught:
        check_code({"conditions": before}, code(**changed), Path("runs/x"), pytest.fail)
    assert words in str(caught.value)
    assert "start a new search: --name NAME" in str(caught.value)


def test_another_version_with_the_same_code_is_told(code: Callable[..., dict[str, Any]]) -> None:
    before = code()
    said: list[str] = []
    check_code({"conditions": before}, code("2"), Path("runs/x"), said.append)
    assert said == ["warning: plugin-versions: was optimizer slow 1, is 2"]


def test_a_search_without_a_record_of_its_conditions_is_compared_by_its_files(
    code: Callable[..., dict[str, Any]],
) -> None:
    now = code()
    files = {f"folder/{one['file']}": one["sha256"] for one in now["code"]}
    check_code({"code": files}, now, Path("runs/x"), pytest.fail)
    with pytest.raises(UsageError, match=r"code: was net\.py"):
        check_code({"code": {**files, "folder/net.py": "0" * 64}}, now, Path("runs/x"), pytest.fail)
