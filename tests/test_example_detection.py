"""A third-party package, `examples/plugins/wf-example-detection`, uses every hook and public names only."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
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
from wf_base import sample_uniform, stream
from wf_kit import check_plugin

SOURCE = ROOT / DETECTION / "src"
PLUGIN = "wf_example_detection.plugin"
SETTINGS: dict[str, Any] = {"plugins": [PLUGIN], "seed": 3, "batch_size": 16, "quiet": True, "save": False}
FILE = f"""
import sys

sys.path.insert(0, {str(SOURCE)!r})
from wf_example_detection.plugin import *
"""
OPTIONS = ("-p", "detection.py", "--dataset", "drawings", "--batch-size", 16, "--lr", 0.003, "--seed", 3)

NAMES = (
    ("tasks", "shape-detection"),
    ("links", "found-boxes"),
    ("datasets", "drawings"),
    ("transforms", "flip-boxes"),
    ("models", "grid-detector"),
    ("metrics", "shape-map"),
    ("anchor-generators", "squares"),
    ("values", "anchors"),
    ("rules", "finds-boxes"),
    ("conditions", "drawings"),
    ("readers", "bitmaps"),
    ("commands", "show-boxes"),
)
"""What the package brings, by the plurals of the kinds."""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(SOURCE)
    (tmp_path / "detection.py").write_text(FILE)


def flat(state: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([state[name].flatten() for name in sorted(state)])


def test_the_example_has_the_bits_of_a_hand_written_loop() -> None:
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
    assert {
        "train/shape-map",
        "validation/shape-map",
        "test/shape-map",
        "test/shape-map-50",
        "test/shape-map-recall",
    } <= set(run.metrics)
    assert "validation/loss" not in run.metrics, "in evaluations the model predicts and computes no losses"
    assert run.plan["monitor"] == "validation/shape-map", "as the task says"
    assert "underfitting: train shape-map" in run.loop.notes["fit"]


def test_an_invalid_drawing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from wf_example_detection import dataset as module

    drawn = module.drawn
    wrong = {"boxes": torch.tensor([[4.0, 4.0, 4.0, 9.0]]), "labels": torch.tensor([1])}
    monkeypatch.setattr(module, "drawn", lambda number: (drawn(number)[0], wrong) if number == 5 else drawn(number))
    with pytest.raises(DataError, match=r"sample 5: a box has no area: \[4.0, 4.0, 4.0, 9.0\]"):
        wf_api.run(**SETTINGS, dataset={"use": "drawings", "num_train": 16, "num_held_out": 4}, epochs=1)


@pytest.mark.exhaustive
def test_the_example_passes_the_conformance_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / DETECTION)  # its pyproject.toml names the dataset for its detector
    results = check_plugin(PLUGIN, registry=Registry.discover([PLUGIN]))
    kinds = {result.component.partition("/")[0] for result in results}
    declared = {"task", "link", "value", "command", "rule", "condition", "reader"}
    assert kinds == {"dataset", "transform", "model", "metric", "anchor-generator"} | declared
    assert not [f"{result.check}: {result.message}" for result in results if result.status == "failed"]
    passed = {result.check for result in results if result.status == "passed"}
    assert {"run", "metric-processes", "model-gradients", "dataset-spec", "task-trains"} <= passed


@pytest.mark.exhaustive
@pytest.mark.timeout(300)
def test_shuffled_boxes_are_not_learned() -> None:
    dataset = {"use": "drawings", "num_train": 400, "shuffled": True}
    optimizer, scheduler = {"use": "adam", "lr": 0.003}, {"use": "one-cycle"}
    run = wf_api.run(**SETTINGS, dataset=dataset, epochs=8, optimizer=optimizer, scheduler=scheduler)
    assert run.metrics["test/shape-map-50"] <= 0.1


@pytest.mark.exhaustive
def test_keep_best_keeps_the_highest_map(wf: Any, tmp_path: Path) -> None:
    options = ("--dataset.num_train", 64, "--dataset.num_held_out", 16, "--epochs", 3, "--keep", "best")
    done = wf("run", *OPTIONS, *options, "--name", "x")
    assert done.code == 0, done.stderr
    assert "warning" not in done.stderr
    found = {one["epoch"]: one["shape-map"] for one in records(tmp_path / "runs/x", "eval", "validation")}
    assert manifest(tmp_path / "runs/x")["metrics"]["validation/shape-map"] == max(found.values())


@pytest.mark.exhaustive
def test_accumulation_and_processes_give_the_weights_of_the_whole_batch(wf: Any, ranks: Any, tmp_path: Path) -> None:
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
    shared = ranks(*options, "--batch-size", 16, "--strategy", "ddp", "--name", "shared")
    for done in (whole, parts, shared):
        assert done.code == 0, done.stderr
    torch.manual_seed(3)
    begun = flat(GridDetector(num_classes=2).state_dict())
    wanted, figures = flat(weights(tmp_path / "runs/whole")), manifest(tmp_path / "runs/whole")["metrics"]
    for name in ("parts", "shared"):
        off = flat(weights(tmp_path / "runs" / name)) - wanted
        assert off.norm() < 1e-5 * (wanted - begun).norm(), name
        found = manifest(tmp_path / "runs" / name)["metrics"]
        assert found["test/shape-map"] == pytest.approx(figures["test/shape-map"], abs=1e-3)


def test_transforms_that_do_not_move_boxes_are_refused(wf: Any) -> None:
    refused = wf("run", *OPTIONS, "--transform", "flip")
    assert refused.code == 2
    assert "it moves the pixels of images, but not the shapes targets of the dataset" in refused.stderr
    assert "flip" in wf("list", "transforms", "--fits", "segmentation").stdout


def test_contributed_kind_and_setting_change_runs_and_predictions(wf: Any, tmp_path: Path) -> None:
    short = ("--dataset.num_train", 16, "--dataset.num_held_out", 4, "--epochs", 1, "--model.width", 2, "--quiet")
    chosen = ("--anchor-generator", "rectangles", "--anchor-generator.size", 6, "--min-score", 0.0)
    _picture(tmp_path / "a.bmp")
    for name, words in (("plain", ()), ("all", chosen), ("none", (*chosen[:-1], 1.0))):
        done = wf("run", *OPTIONS, *short, *words, "--name", name)
        assert done.code == 0, done.stderr
    plain, chosen_too = (tomllib.loads((tmp_path / f"runs/{name}/run.toml").read_text()) for name in ("plain", "all"))
    assert chosen_too["anchor-generator"] == {"use": "rectangles", "size": 6.0, "ratios": [0.5, 1.0, 2.0]}
    assert plain["anchor-generator"] == {"use": "squares", "sizes": [4.0]}, (
        "the default generator, because the detector needs anchors"
    )
    assert (plain["min_score"], chosen_too["min_score"]) == (0.05, 0)
    one, three = (len(weights(tmp_path / "runs" / name)["places.bias"]) for name in ("plain", "all"))
    assert three == 3 * one
    for name, is_found in (("all", True), ("none", False)):
        (found,) = json.loads(wf("predict", name, "a.bmp", "-p", "detection.py", "--json").stdout)
        assert bool(found["label"]) is is_found, "the minimum score of the run applies"
    refused = wf("predict", "all", "a.wav", "-p", "detection.py")
    assert refused.code == 2
    assert ".bmp" in refused.stderr


def test_models_that_find_no_boxes_are_refused(wf: Any) -> None:
    refused = wf("run", *OPTIONS, "--model", "mlp")
    assert refused.code == 2
    assert (
        "shape-detection needs a model that outputs shapes, this one outputs raw\n  models that fit: grid-detector"
        in refused.stderr
    )
    listed = wf("list", "models", "--fits", "drawings", "-p", "detection.py").stdout
    assert "grid-detector" in listed
    assert "mlp" not in listed


def test_show_boxes_refuses_other_runs(wf: Any, tmp_path: Path) -> None:
    assert wf("run", "--dataset", "iris", "--steps", 2, "--quiet", "--name", "x").code == 0
    for words, code, message in (
        (("x",), 4, "the model: inputs of shape [1, 3, 48, 48]; the run takes [N, 4]"),
        (("y",), 4, "there is no run directory 'y'"),
        (("x", "none.png"), 4, "'none.png' cannot be read as an image"),
        (("x", "--num", 0), 2, "--num"),
    ):
        done = wf("show-boxes", *words, "-p", "detection.py")
        assert (done.code, message in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "boxes").exists()


def _picture(place: Path) -> None:
    """Write a drawing that no run has seen."""
    from PIL import Image

    from wf_example_detection.dataset import drawn

    Image.fromarray(drawn(100_000)[0].permute(1, 2, 0).numpy()).save(place)


@pytest.mark.exhaustive
def test_a_run_killed_within_an_epoch_ends_with_the_same_bits(wf: Any, tmp_path: Path) -> None:
    options = ("--dataset.num_train", 96, "--dataset.num_held_out", 8, "--epochs", 2, "--workers", 2)
    options += ("--checkpoint-every", "3steps", "--kill-at", 5, "--name", "proof")
    proved = wf("prove-resume", *OPTIONS, *options, forks=True)
    assert proved.code == 0, proved.stdout + proved.stderr
    assert "killed after step 5, resumed from step 3" in proved.stdout


@pytest.mark.exhaustive
@pytest.mark.xdist_group("wheels")
@pytest.mark.timeout(300)
def test_the_wheel_works_and_uninstalling_leaves_nothing(wheels: dict[str, Path], tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(*(wheels[name] for name in FOLDERS), wheels["wf-example-detection"])
    seen = environment.plugins()["wf-example-detection"]
    assert (seen["version"], seen["status"]) == ("0.1.0", "ok")
    options = ("--dataset", "drawings", "--dataset.num_train", "400", "--epochs", "8", "--lr", "0.003")
    options += ("--scheduler", "one-cycle", "--batch-size", "16", "--keep", "best")
    ran = json.loads(environment.wf("run", *options, "--name", "x", "--json"))
    assert ran["status"] == "done"
    assert manifest(environment.folder / "work" / ran["run_dir"])["metrics"]["test/shape-map-50"] >= 0.8

    _finds_and_draws(environment)
    _commands_know_the_package(environment)
    _another_dataset_version_is_not_resumed(environment)
    run_pip("uninstall", "-y", "-q", "wf-example-detection", python=environment.python)
    _nothing_is_left(environment)


def _finds_and_draws(environment: Environment) -> None:
    """Predict a file read by the dataset and one read by the package's reader, and draw both."""
    from PIL import Image

    from wf_example_detection.dataset import drawn

    own, work = drawn(100_000)[1], environment.folder / "work"
    for name in ("drawing.png", "bitmap.bmp"):
        _picture(work / name)
    (found,) = json.loads(environment.wf("predict", "x", "drawing.png", "--json"))
    sure = [one for one in found["label"] if one["score"] > 0.3]
    assert len(own["labels"]) / 2 < len(sure) < 2 * len(own["labels"])
    assert {"class", "score", "box"} == set(sure[0])
    for name in ("drawing.png", "bitmap.bmp"):
        assert json.loads(environment.wf("predict", "x", name)) == found["label"]
    said = environment.wf("show-boxes", "x", "drawing.png", "bitmap.bmp", "--into", "seen")
    assert said.split() == ["seen/drawing.png", "seen/bitmap.png"]
    pictures = [Image.open(work / place) for place in said.split()]
    assert pictures[0].tobytes() == pictures[1].tobytes()
    plain = Image.open(work / "drawing.png").resize(pictures[0].size, Image.Resampling.NEAREST)
    assert plain.tobytes() != pictures[0].tobytes()
    assert environment.wf("show-boxes", "x", "--num", "2").split() == ["boxes/drawing-0.png", "boxes/drawing-1.png"]


def _commands_know_the_package(environment: Environment) -> None:
    """Help, lists, ``wf show`` and ``wf check`` know the package."""
    assert re.search(r"show-boxes +Draw the boxes that a run's detector finds", environment.wf("--help"))
    text = environment.wf("run", "--help")
    assert "--anchor-generator NAME" in text
    assert "--min-score VALUE" in text
    for kind, name in NAMES:
        assert name in environment.wf("list", kind), kind
        assert name in environment.wf("show", kind, name), kind
    shutil.copy(
        ROOT / DETECTION / "pyproject.toml", environment.folder / "work"
    )  # names the dataset for its components
    checked = environment.wf("check", "wf-example-detection")
    assert re.search(r"13 components: \d+ passed, \d+ skipped", checked)
    environment.pytest(shutil.copytree(ROOT / DETECTION / "tests", environment.folder / "tests"))


def _another_dataset_version_is_not_resumed(environment: Environment) -> None:
    """With another edition of the drawings, as in a later release, resuming a run is refused."""
    short = ("--dataset", "drawings", "--dataset.num_train", "16", "--dataset.num_held_out", "4")
    chosen = ("--anchor-generator", "squares", "--anchor-generator.sizes", "[4, 8]", "--min-score", "0.1")
    environment.wf("run", *short, *chosen, "--epochs", "1", "--name", "short", "--quiet")
    (file,) = environment.folder.glob("lib/python*/site-packages/wf_example_detection/dataset.py")
    file.write_text(file.read_text().replace("EDITION = 1", "EDITION = 2"))
    longer = ("resume", "short", "--epochs", "2", "--allow-drift", "plugin-code")
    refused = environment.wf(*longer, code=2)
    assert (
        "drawings: was 1, is 2\n    other samples give other gradients\n    install the wf-example-detection" in refused
    )
    assert "--allow-drift drawings" in refused
    environment.wf(*longer[:-1], "plugin-code,drawings", "--quiet")
    environment.wf("run", "--dataset", "iris", "--epochs", "1", "--quiet", "--name", "other")
    run = manifest(environment.folder / "work/runs/short")
    assert (run["status"], run["epochs"]) == ("done", 2)
    assert "drawings" in {one["name"] for drift in run["drift"] for one in drift["differences"]}


def _nothing_is_left(environment: Environment) -> None:
    """Nothing of the package is left, and references to it are refused with one clear message."""
    assert "wf-example-detection" not in environment.plugins()
    assert "show-boxes" not in environment.wf("--help")
    assert "unknown command 'show-boxes'" in environment.wf("show-boxes", "x", code=2)
    text = environment.wf("run", "--help")
    assert "anchor-generator" not in text
    assert "--min-score" not in text
    for kind, name in NAMES:
        if kind == "anchor-generators":
            assert "unknown kind 'anchor-generators'" in environment.wf("list", kind, code=2)
        else:
            assert name not in environment.wf("list", kind), kind
    assert "drawings" in environment.wf("run", "--dataset", "drawings", code=2)
    assert "--min-score" in environment.wf("run", "--min-score", "0.1", code=2)
    work = environment.folder / "work"
    for text, message in (
        ("min_score = 0.1\n", "unknown key 'min_score'"),
        ('[anchor-generator]\nuse = "squares"\n', "unknown key 'anchor-generator'"),
    ):
        (work / "own.toml").write_text(text)
        assert message in environment.wf("run", "own.toml", code=2)
    for words in (("resume", "short", "--epochs", "3"), ("evaluate", "short"), ("predict", "x", "drawing.png")):
        refused = environment.wf(*words, code=3)
        assert "of this run came from wf-example-detection 0.1.0, which is not loaded" in refused, words
        assert "Traceback" not in refused
    (work / "own.toml").unlink()
    assert "min_score" not in (work / "runs/other/run.toml").read_text(), "the setting was not used"
    environment.wf("resume", "other", "--epochs", "2")
    assert manifest(work / "runs/other")["epochs"] == 2


def test_two_processes_train_the_detector_like_one(wf: Any, ranks: Any, tmp_path: Path) -> None:
    """With one image for each in a batch, also where it has no objects, and one less in the last batch."""
    sizes = ("--dataset.num_train", 23, "--dataset.num_held_out", 5, "--model.width", 2, "--optimizer", "sgd")
    line = ("run", *OPTIONS, *sizes, "--batch-size", 2, "--epochs", 1, "--log-every", 1, "--quiet")
    for run, words in ((wf, ("--name", "one")), (ranks, ("--name", "two", "--strategy", "ddp"))):
        done = run(*line, *words)
        assert done.code == 0, done.stderr
    found, wanted = (
        {
            (record["event"], record["split"], record["step"], name): value
            for record in records(tmp_path / "runs" / run)
            for name, value in record.items()
            if isinstance(value, float)
        }
        for run in ("two", "one")
    )
    assert found == pytest.approx(wanted, rel=1e-4, nan_ok=True)
    assert {"shape-map", "loss/size"} <= {name for *_, name in found}
    two, one = (weights(tmp_path / "runs" / name) for name in ("two", "one"))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
