"""A stranger's task, `examples/plugins/wf-example-detection`, has what wf's own tasks have, by public names alone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from environment import Environment
from runs import manifest, records, weights
from torch import Tensor
from workspace import DETECTION, FOLDERS, ROOT, run_pip

import wf as wf_api
from wf.errors import DataError
from wf.registry import Registry
from wf.runtime import sample_uniform, stream
from wf_kit import check_plugin

SOURCE = ROOT / DETECTION / "src"
PLUGIN = "wf_example_detection.plugin"
SETTINGS: dict[str, Any] = {"plugins": [PLUGIN], "seed": 3, "batch_size": 16, "quiet": True, "save": False}
FILE = f"""
import sys

sys.path.insert(0, {str(SOURCE)!r})
from wf_example_detection.plugin import wf_components, wf_tasks
"""
OPTIONS = ("-p", "detection.py", "--dataset", "drawings", "--batch-size", 16, "--lr", 0.003, "--seed", 3)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(SOURCE)
    (tmp_path / "detection.py").write_text(FILE)


def flat(state: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([state[name].flatten() for name in sorted(state)])


def test_it_has_the_bits_of_a_hand_written_loop() -> None:
    from wf_example_detection.dataset import Drawings
    from wf_example_detection.model import GridDetector

    dataset = {"use": "drawings", "num_train": 40, "num_held_out": 8}
    run = wf_api.run(**SETTINGS, dataset=dataset, model={"use": "grid-detector", "width": 4}, epochs=2)
    torch.manual_seed(3)
    model, samples = GridDetector(num_classes=2, width=4).train(), Drawings(0, 40)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(2):
        for ids in torch.randperm(40, generator=stream(3, "order", epoch)).split(16):
            images, targets = [], []
            for index, draw in zip(ids.tolist(), sample_uniform(3, epoch, ids, 1).flatten().tolist(), strict=True):
                image, own = samples[index]
                x0, y0, x1, y1 = own["boxes"].unbind(1)
                if draw < 0.5:
                    image, own = image.flip(-1), {**own, "boxes": torch.stack([48 - x1, y0, 48 - x0, y1], 1)}
                images.append(image.float() / 255)
                targets.append(own)
            losses = model(torch.stack(images), targets)
            loss = 0.5 * losses["score"] + losses["middle"] + losses["size"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for name, wanted in model.state_dict().items():
        assert torch.equal(run.model.state_dict()[name], wanted), name
    assert {"train/map", "validation/map", "test/map", "test/map-50", "test/map-recall"} <= set(run.metrics)
    assert "validation/loss" not in run.metrics, "in evaluations the model finds, and computes no losses"
    assert run.plan["monitor"] == "validation/map", "as the task says"
    assert "underfitting: train map" in run.loop.notes["fit"]


def test_a_drawing_that_does_not_fit_its_task_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from wf_example_detection import dataset as module

    drawn = module.drawn
    wrong = {"boxes": torch.tensor([[4.0, 4.0, 4.0, 9.0]]), "labels": torch.tensor([1])}
    monkeypatch.setattr(module, "drawn", lambda number: (drawn(number)[0], wrong) if number == 5 else drawn(number))
    with pytest.raises(DataError, match=r"sample 5: a box has no area: \[4.0, 4.0, 4.0, 9.0\]"):
        wf_api.run(**SETTINGS, dataset={"use": "drawings", "num_train": 16, "num_held_out": 4}, epochs=1)


@pytest.mark.exhaustive
def test_it_keeps_to_what_wf_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / DETECTION)  # its pyproject.toml says which dataset its detector is for
    results = check_plugin(PLUGIN, registry=Registry.discover([PLUGIN]))
    kinds = {result.component.partition("/")[0] for result in results}
    assert kinds == {"dataset", "transform", "model", "metric", "task"}
    assert not [f"{result.check}: {result.message}" for result in results if result.status == "failed"]
    passed = {result.check for result in results if result.status == "passed"}
    assert {"run", "metric-processes", "model-gradients", "dataset-spec", "task-trains"} <= passed


@pytest.mark.exhaustive
@pytest.mark.timeout(300)
def test_of_boxes_of_other_drawings_it_learns_nothing() -> None:
    dataset = {"use": "drawings", "num_train": 400, "shuffled": True}
    optimizer, scheduler = {"use": "adam", "lr": 0.003}, {"use": "one-cycle"}
    run = wf_api.run(**SETTINGS, dataset=dataset, epochs=8, optimizer=optimizer, scheduler=scheduler)
    assert run.metrics["test/map-50"] <= 0.1


@pytest.mark.exhaustive
def test_the_best_weights_are_those_of_the_highest_map(wf: Any, tmp_path: Path) -> None:
    options = ("--dataset.num_train", 64, "--dataset.num_held_out", 16, "--epochs", 3, "--keep", "best")
    done = wf("run", *OPTIONS, *options, "--name", "x")
    assert done.code == 0, done.stderr
    assert "warning" not in done.stderr
    found = {one["epoch"]: one["map"] for one in records(tmp_path / "runs/x", "eval", "validation")}
    assert manifest(tmp_path / "runs/x")["metrics"]["validation/map"] == max(found.values())


@pytest.mark.exhaustive
def test_parts_and_processes_have_the_weights_of_the_whole(wf: Any, ranks: Any, tmp_path: Path) -> None:
    from wf_example_detection.model import GridDetector

    options = ("-p", "detection.py", "run", "--dataset", "drawings", "--dataset.num_train", 16)
    options += (
        "--dataset.num_held_out",
        9,
        "--epochs",
        1,
        "--optimizer",
        "sgd",
        "--lr",
        0.05,
        "--seed",
        3,
    )  # one step; float32 rounds by 1e-6 of it
    whole = wf(*options, "--batch-size", 16, "--name", "whole")
    parts = wf(*options, "--batch-size", 4, "--accumulate", 4, "--name", "parts")
    shared = ranks(*options, "--batch-size", 8, "--strategy", "ddp", "--name", "shared")
    for done in (whole, parts, shared):
        assert done.code == 0, done.stderr
    torch.manual_seed(3)
    begun = flat(GridDetector(num_classes=2).state_dict())
    wanted, figures = flat(weights(tmp_path / "runs/whole")), manifest(tmp_path / "runs/whole")["metrics"]
    for name in ("parts", "shared"):
        off = flat(weights(tmp_path / "runs" / name)) - wanted
        assert off.norm() < 1e-5 * (wanted - begun).norm(), name
        found = manifest(tmp_path / "runs" / name)["metrics"]
        assert found["test/map"] == pytest.approx(figures["test/map"], abs=1e-3)


def test_what_boxes_would_not_follow_is_refused(wf: Any) -> None:
    refused = wf("run", *OPTIONS, "--transform", "flip")
    assert refused.code == 2
    assert "it moves the pixels of images, and the boxes targets of the dataset would stay" in refused.stderr
    assert "flip" in wf("list", "transforms", "--fits", "segmentation").stdout


@pytest.mark.exhaustive
def test_killed_in_the_middle_of_an_epoch_it_ends_with_the_same_bits(wf: Any, tmp_path: Path) -> None:
    options = ("--dataset.num_train", 96, "--dataset.num_held_out", 8, "--epochs", 2, "--workers", 2)
    options += ("--checkpoint-every", "3steps", "--kill-at", 5, "--name", "proof")
    proved = wf("prove-resume", *OPTIONS, *options)
    assert proved.code == 0, proved.stdout + proved.stderr
    assert "killed after step 5, resumed from step 3" in proved.stdout


@pytest.mark.exhaustive
@pytest.mark.xdist_group("wheels")
@pytest.mark.timeout(300)
def test_installed_from_its_wheel_and_gone(wheels: dict[str, Path], tmp_path: Path) -> None:
    from PIL import Image

    from wf_example_detection.dataset import drawn

    environment = Environment(tmp_path / "venv")
    environment.install(*(wheels[name] for name in FOLDERS), wheels["wf-example-detection"])
    seen = environment.plugins()["wf-example-detection"]
    assert (seen["version"], seen["status"]) == ("0.1.0", "ok")
    assert "detection" in environment.wf("list", "tasks")
    options = ("--dataset", "drawings", "--dataset.num_train", "400", "--epochs", "8", "--lr", "0.003")
    options += ("--scheduler", "one-cycle", "--batch-size", "16", "--keep", "best")
    ran = json.loads(environment.wf("run", *options, "--name", "x", "--json"))
    assert ran["status"] == "done"
    assert manifest(environment.folder / "work" / ran["run_dir"])["metrics"]["test/map-50"] >= 0.8

    image, own = drawn(100_000)
    place = environment.folder / "work" / "drawing.png"
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(place)
    (found,) = json.loads(environment.wf("predict", "x", "drawing.png", "--json"))
    sure = [one for one in found["label"] if one["score"] > 0.3]
    assert len(own["labels"]) / 2 < len(sure) < 2 * len(own["labels"])
    assert {"class", "score", "box"} == set(sure[0])
    assert json.loads(environment.wf("predict", "x", "drawing.png")) == found["label"]

    shutil.copy(ROOT / DETECTION / "pyproject.toml", place.parent)  # says which dataset the detector is for
    checked = environment.wf("check", "wf-example-detection")
    assert re.search(r"5 components: \d+ passed", checked)
    environment.pytest(shutil.copytree(ROOT / DETECTION / "tests", environment.folder / "tests"))

    run_pip("uninstall", "-y", "-q", "wf-example-detection", python=environment.python)
    assert "wf-example-detection" not in environment.plugins()
    assert "detection" not in environment.wf("list", "tasks")
    environment.wf("run", "--dataset", "drawings", code=2)
