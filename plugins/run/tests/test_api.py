"""The Python interface: names, tables and errors as on the command line, and live objects."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import wf
from wf.discovery.plugins import Plugin
from wf.errors import UsageError
from wf.registry import Registry
from wf_run.runfiles.reading import read


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
def test_create_builds_a_component(kind: str) -> None:
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
def test_create_refuses_invalid_arguments(kind: str, name: str, options: dict[str, Any], words: str) -> None:
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


def test_read_run_files_and_keywords(tmp_path: Path) -> None:
    assert read(None) == ({}, ())
    assert read({"hook": "progress"})[0] == {"hook": [{"use": "progress"}]}
    (tmp_path / "run.toml").write_text('plugins = ["mine.py", "module.of.theirs"]\n')
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").touch()
    document, folders = read(tmp_path / "run.toml")
    assert document["plugins"] == [str(tmp_path / "code" / "mine.py"), "module.of.theirs"]
    assert folders == (tmp_path / "code", tmp_path)


def test_public_names_exist() -> None:
    assert all(hasattr(wf, name) for name in wf.__all__)
    with pytest.raises(AttributeError, match="module 'wf' has no attribute 'tran'"):
        _ = wf.tran  # type: ignore[attr-defined]  # the mistake


def test_build_refuses_unknown_and_contradicting_keys() -> None:
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
    from wf_run.api import reopen

    resumed = reopen(tmp_path / "parts", None, steps=17).fit(resume=True)
    assert resumed.metrics == whole.metrics
    names = ("whole", "parts")
    assert len({(tmp_path / name / "metrics.jsonl").read_bytes() for name in names}) == 1


class Spread:
    """A user-defined metric without declarations that returns named figures."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def update(self, predictions: Any, targets: Any) -> None:
        self.values.append(float((predictions - targets).abs().mean()))

    def compute(self) -> dict[str, float]:
        return {"of-all": max(self.values)}


def build_spread(tmp_path: Path, **settings: Any) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    x = torch.linspace(0, 1, 40).unsqueeze(1)
    common: dict[str, Any] = {"hook": [], "metric": [Spread], "epochs": 6, "run_dir": tmp_path / "run", "quiet": True}
    common |= {"dataset": (x, 2 * x), "model": nn.Linear(1, 1), "loss": "l1", "keep": "best"}
    return wf.build(optimizer={"use": "sgd", "lr": 1.0}, **{**common, **settings})


@pytest.mark.parametrize(("said", "best"), [("min", min), ("max", max)])
def test_the_best_by_a_monitor_with_a_given_direction(tmp_path: Path, said: str, best: Any) -> None:
    done = build_spread(tmp_path, monitor=f"validation/spread-of-all:{said}").fit()
    values = [record["spread-of-all"] for record in done.history[:-3] if record["event"] == "eval"]
    assert len(set(values)) > 1
    assert done.loop.best == best(values) == done.metrics["validation/spread-of-all"]


@pytest.mark.parametrize(
    ("monitor", "words"),
    [
        ("validation/spread-of-all", "not known whether a larger 'validation/spread-of-all' is better"),
        ("validation/Spred-of-all:min", "unknown figure in 'monitor': 'validation/Spred-of-all'"),
        ("train/loss", "'train' is not evaluated while the run trains: --eval-splits train"),
        ("val/loss", "not of the form SPLIT/FIGURE"),
    ],
)
def test_unusable_monitors_are_refused_before_the_first_step(tmp_path: Path, monitor: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_spread(tmp_path, monitor=monitor)
    assert words in str(caught.value)


def live(**settings: Any) -> Any:
    """A run of one step of live objects."""
    import torch

    x = torch.linspace(0, 1, 20).unsqueeze(1)
    common: dict[str, Any] = {"dataset": (x, 2 * x), "loss": "l1", "metric": [], "hook": [], "steps": 2}
    return wf.run(save=False, quiet=True, **{**common, **settings})


def test_live_optimizers_and_optimizer_factories() -> None:
    import torch
    from torch import nn

    net = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    before = net.weight.detach().clone()
    done = live(model=net, optimizer=optimizer, scheduler=schedule, eval_every="1steps")
    assert not torch.equal(net.weight, before)
    assert (done.repeatable, schedule.last_epoch) == (False, 2)
    sgd = functools.partial(torch.optim.SGD, momentum=0.9)
    made = live(model=functools.partial(nn.Linear, 1, 1), optimizer={"use": sgd, "lr": 0.1}, transform=[nn.Identity()])
    assert made.loop.progress.step == 2
    with pytest.raises(UsageError, match="parameters that are not among the model's"):
        live(model=nn.Linear(1, 1), optimizer=optimizer)
    with pytest.raises(UsageError, match="belongs to another optimizer than the run's"):
        live(model=nn.Linear(1, 1), scheduler=schedule)


def test_live_objects_are_accepted_for_protocol_parameters() -> None:
    import torch

    strategy = wf.create("strategy", "local", device=torch.device("cpu"))
    assert wf.create("hook", "progress", strategy=strategy).strategy is strategy


def test_a_derived_trainer_need_not_repeat_inherited_options() -> None:
    from torch import nn

    from wf_training.trainer import SupervisedTrainer

    class Own(SupervisedTrainer):
        def __init__(
            self, model: Any, loss: Any, optimizer: Any, scheduler: Any, scheduler_interval: str, monitor: str
        ) -> None:
            super().__init__(model, loss, optimizer, scheduler, scheduler_interval, monitor)

    assert live(model=nn.Linear(1, 1), trainer=Own).loop.progress.step == 2


def test_a_registered_object_target_is_repeatable() -> None:
    from torch import nn

    def cubic(predictions: Any, targets: Any) -> Any:
        return (predictions - targets).abs().pow(3).mean()

    plugin = Plugin(name="own", distribution=None, version=None, module="own", status="ok")
    named = dataclasses.replace(plugin, components=(wf.Component("loss", "cubic", cubic),))
    registry = Registry([*Registry.discover().plugins, named])
    parts = wf.build(dataset="diabetes", loss="cubic", registry=registry, save=False)
    assert parts.repeatable
    assert not wf.build(dataset="diabetes", loss=cubic, model=nn.Linear(10, 1), save=False).repeatable


@pytest.mark.parametrize("verb", ["build", "fit"])
def test_nothing_is_trained_in_inference_mode(verb: str) -> None:
    settings: dict[str, Any] = {"dataset": "iris", "epochs": 1, "save": False, "quiet": True}
    run = wf.build(**settings) if verb == "fit" else None
    with torch.inference_mode(), pytest.raises(UsageError, match=r"nothing can be trained inside torch\.inference"):
        wf.build(**settings) if run is None else run.fit()
    if run is not None:
        run.close()


@pytest.mark.parametrize(
    ("autoload", "words"), [("0", "unknown optimizer 'nowhere'"), ("1", "no trainer is installed")]
)
def test_run_file_keys_are_known_in_a_fresh_process(autoload: str, words: str, tmp_path: Path) -> None:
    """Keys are known before any plugin is loaded, also if none is installed."""
    code = "import wf; wf.build(dataset='iris', optimizer='nowhere', epochs=1)"
    environment = {**os.environ, "WF_DISABLE_PLUGIN_AUTOLOAD": autoload}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert f"UsageError: {words}" in done.stderr
