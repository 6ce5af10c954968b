"""Python's side: the same names, tables and errors as the command line; live objects besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import wf
from wf.api import read
from wf.errors import UsageError
from wf.plugins import Plugin
from wf.registry import Registry


class Options:
    def __init__(self, name: str, kind: str = "a") -> None:
        self.name, self.kind = name, kind


REGISTRY = Registry(
    [
        Plugin(
            name="ours",
            distribution="ours",
            version="1",
            module="m",
            status="ok",
            components=(wf.Component("loss", "mine", Options, aliases=("my",)),),
        )
    ]
)


@pytest.mark.parametrize("kind", ["loss", "losses", "Loss"])
def test_create(kind: str) -> None:
    made = wf.create(kind, "My", registry=REGISTRY, name="n", kind="k")
    assert (made.name, made.kind) == ("n", "k")


@pytest.mark.parametrize(
    ("kind", "name", "options", "words"),
    [
        ("lose", "mine", {}, "unknown kind 'lose'"),
        ("loss", "mein", {}, "unknown loss 'mein'"),
        ("loss", "mine", {}, "needs option 'name'"),
        ("loss", "mine", {"name": 5}, "wants str"),
        ("loss", "mine", {"nam": "x"}, "did you mean 'name'"),
    ],
)
def test_create_wrong(kind: str, name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        wf.create(kind, name, registry=REGISTRY, **options)
    assert words in str(caught.value)


def test_the_environment_decides_which_plugins_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WF_DISABLE_PLUGIN_AUTOLOAD", "1")
    assert Registry.discover().plugins == ()
    with pytest.raises(UsageError, match="unknown loss 'mse'"):
        wf.create("loss", "mse")
    monkeypatch.delenv("WF_DISABLE_PLUGIN_AUTOLOAD")
    assert "wf-losses" in {plugin.name for plugin in Registry.discover().plugins}


def test_read(tmp_path: Path) -> None:
    assert read(None) == ({}, ())
    assert read({"hook": "progress"})[0] == {"hook": [{"use": "progress"}]}
    (tmp_path / "run.toml").write_text('plugins = ["mine.py", "module.of.theirs"]\n')
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").touch()
    document, folders = read(tmp_path / "run.toml")
    assert document["plugins"] == [str(tmp_path / "code" / "mine.py"), "module.of.theirs"]
    assert folders == (tmp_path / "code", tmp_path)


def test_names_of_the_package() -> None:
    assert all(hasattr(wf, name) for name in wf.__all__)
    with pytest.raises(AttributeError, match="module 'wf' has no attribute 'tran'"):
        _ = wf.tran  # type: ignore[attr-defined]  # the mistake


def test_build_refuses_what_there_is_not() -> None:
    with pytest.raises(UsageError, match="unknown key 'optimiser'\n  did you mean 'optimizer'"):
        wf.build(optimiser="adam")
    with pytest.raises(UsageError, match="both epochs and steps"):
        wf.build(epochs=1, steps=1)


def test_a_run_of_live_objects(tmp_path: Path) -> None:
    import torch
    from torch import nn

    x = torch.linspace(0, 1, 20).unsqueeze(1)
    done = wf.run(
        dataset=(x, 2 * x),
        model=nn.Linear(1, 1),
        loss=lambda predictions, targets: (predictions - targets).abs().mean(),
        optimizer={"use": torch.optim.SGD, "lr": 0.1},
        metric=[],
        hook=[],
        steps=7,
        batch_size=4,
        run_dir=tmp_path / "run",
    )
    assert done.loop.progress.step == 7
    assert not done.repeatable
    text = (tmp_path / "run" / "run.toml").read_text()
    assert text.startswith("# This run used live objects")
    assert [record["step"] for record in done.history if record["event"] == "train"][-1] == 7
    with pytest.raises(UsageError, match="exists already"):
        wf.run(dataset=(x, x), model=nn.Linear(1, 1), steps=1, run_dir=tmp_path / "run")


def test_a_resumed_run_has_the_records_of_an_uninterrupted_one(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"hook": [], "metric": [], "log_every": 3, "eval_every": "5steps", "batch_size": 256}
    whole = wf.run(steps=17, run_dir=tmp_path / "whole", scheduler={"use": "step", "step_size": 2}, **settings)
    wf.run(steps=8, run_dir=tmp_path / "parts", scheduler={"use": "step", "step_size": 2}, **settings)
    from wf.api import reopen

    resumed = reopen(tmp_path / "parts", None, steps=17).fit(resume=True)
    assert resumed.metrics == whole.metrics
    names = ("whole", "parts")
    assert len({(tmp_path / name / "metrics.jsonl").read_bytes() for name in names}) == 1
