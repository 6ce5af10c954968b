"""mixup and cutmix: their formulas, and the runs that they fit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wf.errors import UsageError
from wf_datasets.transforms.mix import CutMix, MixUp
from wf_run.api import build

LABELS = torch.tensor([0, 1, 2, 2])
OTHERS = torch.tensor([2, 0, 1, 2])
SETTINGS: dict[str, Any] = {"save": False, "quiet": True, "epochs": 1, "batch_size": 50}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(value: float) -> Tensor:
    return torch.full((4, 2, 6, 9), value)


def rows(labels: Tensor) -> Tensor:
    return functional.one_hot(labels, 3).float()


def test_mixup_averages_inputs_and_classes_with_the_same_weight() -> None:
    inputs, targets = MixUp(3, alpha=1.0)(images(1.0), LABELS, (images(0.0), OTHERS), generator(1))
    share = inputs[0, 0, 0, 0]
    assert 0 < share < 1
    assert torch.equal(inputs, images(float(share)))
    torch.testing.assert_close(targets, rows(LABELS) * share + rows(OTHERS) * (1 - share))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixing_shares_follow_a_beta_distribution(alpha: float) -> None:
    mix = MixUp(3, alpha=alpha)
    shares = torch.tensor([mix.share(generator(seed)) for seed in range(3000)])
    assert abs(float(shares.mean()) - 0.5) < 0.03
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


def test_mixup_of_dict_inputs_and_soft_targets() -> None:
    inputs = {"image": images(1.0), "table": torch.ones(4, 3)}
    partners = {"image": images(0.0), "table": torch.zeros(4, 3)}
    mixed, targets = MixUp(3)(inputs, rows(LABELS), (partners, rows(OTHERS)), generator(1))
    assert mixed["image"].unique() == mixed["table"].unique()
    torch.testing.assert_close(targets.sum(1), torch.ones(4))


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_pastes_one_rectangle_and_weights_classes_by_area(seed: int) -> None:
    inputs, targets = CutMix(3)(images(1.0), LABELS, (images(0.0), OTHERS), generator(seed))
    assert all(torch.equal(inputs[0, 0], image) for image in inputs.flatten(0, 1))
    put_in = (inputs[0, 0] == 0).nonzero()
    area = 0 if not len(put_in) else int((put_in.max(0).values - put_in.min(0).values + 1).prod())
    assert len(put_in) == area, "a rectangle"
    torch.testing.assert_close(targets, rows(LABELS) * (1 - area / 54) + rows(OTHERS) * (area / 54))


def test_cutmix_pastes_the_drawn_share() -> None:
    """Where it is not cut off, the sides are W √(1 - λ) and H √(1 - λ)."""
    mix, large = CutMix(2), torch.zeros(1, 1, 200, 200)
    for seed in range(40):
        share = mix.share(generator(seed))
        assert share is not None
        mixed, targets = mix(large, torch.tensor([0]), (large + 1, torch.tensor([1])), generator(seed))
        side = 2 * (int(200 * math.sqrt(1 - share)) // 2)
        high, wide = mixed[0, 0].any(1).sum(), mixed[0, 0].any(0).sum()
        assert max(high, wide) <= side
        assert targets[0, 1] == pytest.approx(float(high * wide) / 200**2)
        inside = not (mixed[0, 0, [0, -1]].any() or mixed[0, 0, :, [0, -1]].any())
        assert not inside or high == wide == side


@pytest.mark.parametrize("mix", [MixUp(3, probability=0.0), CutMix(3, probability=0.0)])
def test_an_unmixed_update_has_one_hot_targets(mix: Any) -> None:
    inputs, targets = mix(images(1.0), LABELS, (images(0.0), OTHERS), generator(1))
    assert torch.equal(inputs, images(1.0))
    assert torch.equal(targets, rows(LABELS))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: MixUp(3, alpha=0.0), "mixup: alpha is 0.0; it must be a finite number above 0"),
        (lambda: CutMix(3, alpha=math.inf), "cutmix: alpha is inf"),
        (lambda: CutMix(3, probability=1.5), "cutmix: probability is 1.5; it must be from 0 to 1"),
        (lambda: mixed(MixUp(3), images(1.0).long()), r"mixup: inputs int64 \[4, 2, 6, 9\] are not floating-point"),
        (lambda: mixed(MixUp(3), images(1.0), LABELS - 1), "mixup: a sample without a class, target -1"),
        (lambda: mixed(MixUp(3), images(1.0), LABELS.reshape(4, 1)), r"targets int64 \[4, 1\] are not classes"),
        (lambda: mixed(CutMix(3), torch.ones(4, 5)), r"cutmix: inputs float32 \[4, 5\] are not images \[N, C, H, W\]"),
    ],
)
def test_invalid_options_and_inputs_of_mixing_are_refused(call: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()


def mixed(mix: Any, inputs: Tensor, targets: Tensor = LABELS) -> Any:
    return mix(inputs, targets, (inputs, targets), generator(0))


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (
            {"dataset": "digits", "transform": ["mixup"], "loss": "focal"},
            "loss 'focal' does not fit transform 'mixup'\n"
            "  the loss takes class_index or binary or multilabel or mask targets, "
            "but in training the transform produces one_hot\n"
            "  losses that fit: bce, bce-logits, ce, l1, mse, sum, torch/...",
        ),
        (
            {"dataset": "diabetes", "transform": ["standardize", "mixup"]},
            "transform 'mixup' does not fit dataset 'diabetes'\n"
            "  the transform takes class_index or one_hot targets but would get real\n",
        ),
        (
            {"dataset": "shapes", "transform": ["cutmix"]},
            "transform 'cutmix' does not fit dataset 'shapes'\n"
            "  the transform takes class_index or one_hot targets but would get mask\n",
        ),
        (
            {"dataset": "authors", "transform": ["mixup"]},
            "transform 'mixup' does not fit dataset 'authors'\n  the transform takes samples of numbers",
        ),
        (
            {"dataset": "iris", "transform": ["cutmix"]},
            "transform 'cutmix' does not fit dataset 'iris'\n  the transform takes image samples",
        ),
        (
            {"dataset": "breast-cancer", "transform": ["mixup"], "loss": "bce", "links": ["sigmoid"]},
            "loss 'bce' does not fit transform 'mixup'\n"
            "  the loss takes one_hot targets, the dataset has class_index, link 'one-hot' is off\n",
        ),
    ],
)
def test_runs_that_mixing_does_not_fit_are_refused(run: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(**SETTINGS, **run)
    assert str(caught.value).startswith(words)


def test_cross_entropy_trains_on_shares_and_evaluates_on_classes() -> None:
    with build(**SETTINGS, dataset="digits", transform=["mixup", "cutmix"], metric=["accuracy", "auroc"]) as run:
        batch = next(iter(run.data.epoch(0)))
        assert batch.targets.shape == (50, 10)
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(50))
        run.fit()
        outputs, (judged,) = run.predict("test"), run.data.batches("test", 500)
        wanted = functional.cross_entropy(outputs, judged.targets)
        right = float((outputs.argmax(1) == judged.targets).double().mean())
        figures = run.evaluate("test")
    assert figures["loss"] == pytest.approx(float(wanted), rel=1e-5)
    assert figures["accuracy"] == pytest.approx(right)


def test_a_loss_of_soft_targets_is_evaluated_on_one_hot_rows() -> None:
    """Two classes usually train one logit; when mixed they train two, also in evaluations."""
    options = {"dataset": "breast-cancer", "transform": ["standardize", "mixup"], "loss": "bce"}
    with build(**SETTINGS, **options) as run:
        run.fit()
        (judged,) = run.data.batches("test", 500)
        with torch.inference_mode():
            run.model.eval()
            chances = run.model(judged.inputs).sigmoid()
        wanted = functional.binary_cross_entropy(chances, functional.one_hot(judged.targets, 2).float())
        assert run.evaluate("test")["loss"] == pytest.approx(float(wanted), rel=1e-5)
        assert run.plan["links"] == ["sigmoid", "one-hot"]
    with build(**{**SETTINGS, **run.plan}) as again:
        assert again.plan["links"] == ["sigmoid", "one-hot"]
