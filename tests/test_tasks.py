"""Every kind of targets from the data to the figures, and data at the edges."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import wf as api
from wf.errors import DataError, UsageError
from wf_base import Dataset, TensorSamples

X = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
BINARY, CLASSES = (X[:, 0] > 0).float(), (X[:, 0] > 0).long() + (X[:, 1] > 1).long()
NAMES = ("a", "b", "c")


class Segment(nn.Module):
    """One class a pixel."""

    def __init__(self, num_channels: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(num_channels, num_outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)  # type: ignore[no-any-return]  # torch's calls give Any


class Whole(nn.Sequential):
    """One class for the whole image."""

    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(num_features, num_outputs))


def data(targets: Any, kind: Any, names: tuple[str, ...] = NAMES, inputs: Tensor = X) -> Dataset:
    return Dataset(train=TensorSamples(inputs, targets), targets=kind, class_names=names)


def fit(**settings: Any) -> Any:
    plain = {"epochs": 20, "batch_size": 16, "lr": 1e-2, "hook": ["divergence-guard", "fit-verdict"]}
    merged = {**plain, **settings}
    rate = {"use": "adam", "lr": merged.pop("lr")}
    return api.run(save=False, quiet=True, optimizer=rate, **merged)


@pytest.mark.parametrize("loss", ["bce", "bce-logits", "focal", {"use": "focal", "alpha": 0.5}])
@pytest.mark.parametrize("dataset", ["breast-cancer", "binary"])
def test_two_classes_as_indices_and_as_zeros_and_ones(dataset: str, loss: Any) -> None:
    """As class indices (a link reduces them to one logit) and as a dataset of zeros and ones."""
    if dataset == "breast-cancer" and loss != "focal" and not isinstance(loss, str):
        loss = {"use": "focal", "alpha": [0.5, 0.5]}  # it keeps the two logits
    source: Any = dataset if dataset == "breast-cancer" else data(BINARY, "binary", ())
    metrics = ["accuracy", "auroc", "f1", "recall", "confusion-matrix"]
    exp = fit(dataset=source, loss=loss, metric=metrics, epochs=10)
    assert exp.metrics["test/accuracy"] > 0.85
    assert exp.metrics["test/auroc"] > 0.9
    assert np.sum(exp.metrics["test/confusion-matrix"]) == exp.data.num_samples("test")
    assert len(exp.labels(exp.predict("test"))) == exp.data.num_samples("test")


@pytest.mark.parametrize("loss", ["bce", "bce-logits", "focal", "mse"])
def test_multilabel_targets(loss: str) -> None:
    exp = fit(dataset=data((X[:, :3] > 0).float(), "multilabel"), loss=loss, metric=["accuracy", "f1", "auroc"])
    assert exp.metrics["test/accuracy"] > 0.8
    assert exp.metrics["test/auroc"] > 0.9


@pytest.mark.parametrize("loss", ["ce", "focal", "weighted-ce", {"use": "ce", "ignore_index": 2}])
def test_mask_targets(loss: Any) -> None:
    images = torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    masks = (images[:, 0] > 0.3).long() + (images[:, 0] > 0.7).long()
    source = data(masks, "mask", inputs=images)
    exp = fit(dataset=source, model=Segment, loss=loss, metric=["accuracy", "confusion-matrix"], epochs=40, lr=0.1)
    assert exp.metrics["train/loss"] < exp.history[0]["loss"]
    assert np.sum(exp.metrics["test/confusion-matrix"]) == exp.data.num_samples("test") * 36
    assert exp.metrics["test/accuracy"] > 0.5
    with pytest.raises(
        UsageError, match="mask targets need one prediction per pixel, the model returns one per sample"
    ):
        fit(dataset=source, model="mlp")
    with pytest.raises(UsageError, match=r"gives shape \[2, 3\] .* needs \[2, 3, 6, 6\]"):
        fit(dataset=source, model=Whole)


@pytest.mark.parametrize(("ignored", "options"), [(-100, {}), (255, {"ignore_index": 255})])
def test_ignored_targets_do_not_count(ignored: int, options: dict[str, int]) -> None:
    """They count neither in the loss nor in a metric; other class indices out of range are refused."""
    classes = CLASSES.clone()
    classes[::3] = ignored
    settings: dict[str, Any] = {"metric": [{"use": "accuracy", **options}], "epochs": 5}
    exp = fit(dataset=data(classes, "class_index"), loss={"use": "ce", **options}, **settings)
    samples = exp.data.samples("train")
    counted = samples.targets != ignored
    with torch.inference_mode():
        outputs = exp.model.eval()(samples.inputs)[counted]
    loss = nn.functional.cross_entropy(outputs, samples.targets[counted])
    assert exp.metrics["train/loss"] == pytest.approx(loss.item(), rel=1e-6)
    right = outputs.argmax(1) == samples.targets[counted]
    assert exp.metrics["train/accuracy"] == pytest.approx(right.double().mean().item())
    assert sum(exp.data.spec.class_counts) == counted.sum()
    with pytest.raises(DataError, match="do not fit 3 classes"):
        fit(dataset=data(classes, "class_index"), loss={"use": "ce", "ignore_index": 7})


def test_one_hot_targets() -> None:
    exp = fit(dataset=data(nn.functional.one_hot(CLASSES, 3).float(), "one_hot"), loss="ce")
    assert (exp.predict("test").argmax(1) == exp.data.samples("test").targets.argmax(1)).double().mean() > 0.6


@pytest.mark.parametrize("loss", ["ce", "weighted-ce", "focal"])
def test_reduction_none_trains_on_the_mean_and_says_so(loss: str) -> None:
    exp = fit(dataset=data(CLASSES, "class_index"), loss={"use": loss, "reduction": "none"}, epochs=2)
    assert any("reduction=none" in message for message in exp.messages)
    samples = exp.data.samples("test")
    with torch.inference_mode():
        each = exp.loop.trainer.loss.loss(exp.model.eval()(samples.inputs), samples.targets)
    assert exp.metrics["test/loss"] == pytest.approx(each.mean().item(), rel=1e-6)


@pytest.mark.parametrize(("split", "splits"), [("80/0/20", ["train", "test"]), ("80/20", ["train", "validation"])])
def test_a_split_with_no_share(split: str, splits: list[str]) -> None:
    exp = fit(dataset="iris", split=split, epochs=2)
    assert list(exp.data.splits) == splits
    assert not [message for message in exp.messages if message.startswith("warning")]
    assert {name.partition("/")[0] for name in exp.metrics} == set(splits)


def test_monitors_without_evaluations_are_refused() -> None:
    with pytest.raises(UsageError, match="no split is evaluated while it trains"):
        fit(dataset="iris", split="80/0/20", keep="best")
    with pytest.raises(UsageError, match="it waits for validation/loss, but the run evaluates nothing"):
        fit(dataset="iris", split="80/0/20", scheduler="plateau")
    with pytest.raises(UsageError, match="did you mean 'validation/accuracy'"):
        fit(dataset="iris", scheduler={"use": "plateau", "monitor": "validation/acuracy", "mode": "max"})


@pytest.mark.parametrize("num", [1, 2, 3, 7])
def test_very_few_samples_train(num: int) -> None:
    exp = fit(dataset=(X[:num], X[:num, :1]), epochs=2)
    assert math.isfinite(exp.metrics["train/loss"])
    missing = [split for split in ("validation", "test") if split not in exp.data.splits]
    assert [m for m in exp.messages if "too few" in m] == [
        f"warning: too few samples for a {split} split" for split in missing
    ]


def test_a_class_with_one_sample_is_for_training() -> None:
    classes = torch.tensor([0] * 20 + [1])
    exp = fit(dataset=(X[:21], classes), metric=["accuracy", "recall", "auroc"], epochs=2)
    assert exp.data.spec.class_counts == (14, 1)
    assert math.isnan(exp.metrics["test/auroc"])


@pytest.mark.parametrize("batch_size", ["full", 1000])
def test_one_batch_an_epoch(batch_size: Any) -> None:
    exp = fit(dataset="iris", batch_size=batch_size, epochs=3)
    assert exp.loop.progress.step == 3


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_equal_seeds_give_equal_metrics(seed: int) -> None:
    first, second = (fit(dataset="iris", seed=seed, epochs=2).metrics for _ in range(2))
    assert first == second


def test_double_precision() -> None:
    single = fit(dataset=(X, X[:, :1]), epochs=2).metrics
    assert fit(dataset=(X.double(), X[:, :1].double()), epochs=2).metrics == single
    assert fit(dataset=(X.double().numpy(), X[:, :1].double().numpy()), epochs=2).metrics == single


def test_a_lazy_layer_can_be_trained() -> None:
    class Lazy(nn.Sequential):
        def __init__(self, num_outputs: int) -> None:
            super().__init__(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(num_outputs))

    assert fit(dataset="iris", model=Lazy).metrics["test/accuracy"] > 0.8


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="only one class"):
        fit(dataset=(X, torch.zeros(90, dtype=torch.int64)))


def test_runs_are_the_same_for_any_number_of_workers(wf: Any, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for label in ("left", "right"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = generator.integers(0, 120, (9, 9, 3), dtype=np.uint8)
            pixels[:, : 4 if label == "left" else -5 :] += np.uint8(100) if label == "left" else np.uint8(0)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    plan = ("--dataset", "photos/", "--transform", "flip", "--transform", "crop", "--epochs", 2, "--batch-size", 6)
    for workers in (0, 2):
        name = f"w{workers}"
        done = wf("run", *plan, "--workers", workers, "--log-every", 1, "--name", name, "--quiet", timeout=110)
        assert done.code == 0, done.stderr
    one, other = (tmp_path / "runs" / name / "metrics.jsonl" for name in ("w0", "w2"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(("shape", "task", "metric"), [((60,), "auto", "accuracy"), ((60, 3), "classification", "f1")])
def test_npz_files_of_two_classes_and_labels(
    wf: Any, tmp_path: Path, shape: tuple[int, ...], task: str, metric: str
) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4))
    y = (x[:, : shape[1] if len(shape) > 1 else 1] > 0).astype(np.int64).reshape(shape)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    for loss in ("bce", "bce-logits", "focal"):
        options = ("--dataset", "data.npz", "--dataset.task", task, "--loss", loss, "--metric", metric)
        done = wf("run", *options, "--epochs", 30, "--lr", 1e-2, "--quiet", "--json")
        assert done.code == 0, done.stderr
        assert done.json()["metrics"][f"train/{metric}"] > 0.9
