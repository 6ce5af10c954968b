"""Shell completion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def complete(wf: Any, line: str) -> list[str]:
    """The completions for a command line whose last word is being typed."""
    env = {"_WF_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    result = wf(env=env)
    assert (result.code, result.stderr) == (0, "")
    return [item.removeprefix("plain,") for item in result.stdout.splitlines() if item.startswith("plain,")]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("wf li", ["list", "list-plugins"]),
        ("wf run --loss fo", ["focal"]),
        ("wf run --epochs 3 --optimizer ada", ["adam", "adamw"]),
        ("wf run --hook +ea", ["+early-stopping"]),
        ("wf run --hook no:prog", ["no:progress"]),
        ("wf run --model torchv", ["torchvision/"]),
        ("wf run --model torchvision/resnet1", [f"torchvision/resnet{n}" for n in ("101", "152", "18")]),
        ("wf run --lo", ["--loss", "--log-every"]),
        ("wf run --loss focal --loss.g", ["--loss.gamma"]),
        ("wf run --optimizer.l", ["--optimizer.lr"]),
        ("wf run --hook +early-stopping --hook.ea", ["--hook.early-stopping."]),
        ("wf run --hook +early-stopping --hook.early-stopping.pat", ["--hook.early-stopping.patience"]),
        ("wf run --hook no:progress --hook +plots --hook.p", ["--hook.plots.", "--hook.progress."]),
        ("wf run --metric f1 --metric.", ["--metric.f1."]),
        ("wf run --transform.", []),
        ("wf run --loss.", []),
        ("wf run --loss nope --loss.", []),
        ("wf run --nope.gam", []),
        ("wf list mo", ["model"]),
        ("wf show foc", ["focal"]),
        ("wf show loss bc", ["bce", "bce-logits"]),
        ("wf nonsense --lo", []),
        ("wf run --los.gamma 2 --loss fo", ["focal"]),
        ("wf run -p", []),
    ],
)
def test_completion(wf: Any, line: str, offered: list[str]) -> None:
    assert complete(wf, line) == offered


def test_show_offers_kinds_and_names(wf: Any) -> None:
    offered = complete(wf, "wf show ")
    assert {"loss", "model", "focal", "adam", "torchvision/"} <= set(offered)
    assert len(offered) == len(set(offered))


def test_completion_loads_the_plugin_given_by_p(wf: Any, folder: Path) -> None:
    assert complete(wf, "wf run -p plug.py --loss mi") == ["mine"]
    assert complete(wf, "wf run -p broken.py --loss fo") == ["focal"]
    assert complete(wf, "wf run -p nothing.py --loss fo") == []
    assert complete(wf, "wf show -p nothing.py foc") == []


def test_run_names_are_completed(wf: Any, finished: Path) -> None:
    assert complete(wf, "wf evaluate ") == ["done", "latest"]
    assert complete(wf, "wf resume d") == ["done"]


def test_bash_completion_script_is_printed(wf: Any) -> None:
    assert "complete -o nosort -F" in wf(env={"_WF_COMPLETE": "bash_source"}).stdout
