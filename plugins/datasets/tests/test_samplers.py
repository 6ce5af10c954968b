"""Samplers: the samples of an epoch, equality for any number of workers and after a resume, and errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from runs import weights
from torch.utils.data import TensorDataset, WeightedRandomSampler

import wf
from wf.errors import UsageError
from wf_base import Dataset
from wf_base.random import stream_key
from wf_datasets.samplers import Balanced, LengthGrouped, Weighted

UNEVEN = torch.tensor([0] * 12 + [1] * 5 + [3] * 3)


def test_balanced_draws_equally_many_of_each_class() -> None:
    torch.manual_seed(0)
    sampler = Balanced(UNEVEN)
    first, second = list(sampler), list(sampler)
    assert len(first) == len(sampler) == 20
    assert sorted(Counter(UNEVEN[first].tolist()).values()) == [6, 7, 7]
    assert first != second
    times = Counter(first)
    assert {times[one] for one in range(12)} <= {0, 1}, "no sample of a large class is drawn twice"
    assert {times[one] for one in range(12, 17)} <= {1, 2}, (
        "samples of a small class are drawn equally often, up to one"
    )
    assert {times[one] for one in range(17, 20)} <= {2, 3}
    assert len(list(Balanced(UNEVEN, num_samples=90))) == 90
    with pytest.raises(UsageError, match="num_samples is 2; there are 3 classes"):
        Balanced(UNEVEN, num_samples=2)


def test_weighted_equals_torchs_weighted_random_sampler() -> None:
    names = ["a", "b", "c", "d"]
    for options, by_class in (
        ({"weights": [1, 2, 5, 0]}, [1.0, 2.0, 5.0, 0.0]),
        ({"weights": {"d": 0, "a": 1, "b": 2, "c": 5}}, [1.0, 2.0, 5.0, 0.0]),
        ({}, [1 / 12, 1 / 5, 1.0, 1 / 3]),
        ({"power": 0}, [1.0] * 4),
    ):
        torch.manual_seed(3)
        mine = list(Weighted(UNEVEN, names, num_samples=50, **options))
        torch.manual_seed(3)
        each = [by_class[one] for one in UNEVEN.tolist()]
        assert mine == list(WeightedRandomSampler(each, 50))
    drawn = list(Weighted(UNEVEN, names, num_samples=6000))
    assert all(1800 < count < 2200 for count in Counter(UNEVEN[drawn].tolist()).values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": {"a": 1, "x": 2}}, "unknown class 'x' of sampler 'weighted'"),
        ({"weights": {"a": 1}}, "there is no weight for b"),
        ({"weights": [1, 2, 3]}, "3 weights for 2 classes"),
        ({"weights": [-1, 2]}, "at least 0"),
        ({"weights": [0, 0]}, "one of them above 0"),
        ({"num_samples": 0}, "at least 1"),
    ],
)
def test_invalid_weights_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Weighted(torch.tensor([0, 1, 1]), ["a", "b"], **options)


def photos(folder: Path) -> Path:
    for label, num in (("many", 20), ("few", 4)):
        for number in range(num):
            (folder / "train" / label).mkdir(parents=True, exist_ok=True)
            (folder / "val" / label).mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (8, 8), (10 * number, 200 * (label == "few"), 50))
            image.save(folder / "train" / label / f"{number}.png")
            image.save(folder / "val" / label / f"{number}.png")
    return folder


def test_an_epoch_follows_the_sampler_seeded_for_that_epoch() -> None:
    exp = wf.build(dataset="breast-cancer", sampler="balanced", save=False, quiet=True, batch_size=50)
    targets = exp.data.train_targets()
    for epoch in (0, 3):
        batches = list(exp.data.epoch(epoch))
        torch.manual_seed(stream_key(42, "order", epoch))
        ids = exp.data.sample_ids["train"][list(Balanced(targets))]
        assert torch.equal(torch.cat([batch.sample_ids for batch in batches]), ids)
        counts = torch.cat([batch.targets for batch in batches]).bincount()
        assert abs(int(counts[0] - counts[1])) <= 1
    ordered = torch.cat([batch.sample_ids for batch in exp.data.batches("train")])
    assert torch.equal(ordered, exp.data.sample_ids["train"]), "evaluations see each sample once"
    exp.close()


def test_sampled_images_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    found = []
    for workers in (0, 2):
        settings: dict[str, Any] = {"sampler": {"use": "weighted", "num_samples": 30}, "batch_size": 8, "quiet": True}
        dataset = {"use": "image-folder", "path": str(photos(tmp_path / "photos")), "image_size": 8}
        exp = wf.build(dataset=dataset, workers=workers, save=False, **settings)
        batches = [batch for epoch in (0, 1) for batch in exp.data.epoch(epoch)]
        found.append(torch.cat([batch.inputs for batch in batches]))
        assert sum(batch.size for batch in batches) == 60
        exp.close()
    assert torch.equal(*found)


def test_a_resumed_run_with_a_sampler_is_the_same(wf: Any, tmp_path: Path) -> None:
    plan = ("run", "--dataset", "breast-cancer", "--quiet", "--sampler", "weighted", "--transform", "+mixup")
    assert wf(*plan, "--epochs", 3, "--name", "whole").code == 0
    assert wf(*plan, "--epochs", 1, "--name", "half").code == 0
    resumed = wf("resume", "half", "--epochs", 3, "--quiet")
    assert resumed.code == 0, resumed.stderr
    one, other = (weights(tmp_path / "runs" / name) for name in ("whole", "half"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert 'use = "weighted"' in (tmp_path / "runs" / "whole" / "run.toml").read_text()


@pytest.mark.parametrize(("dataset", "words"), [("diabetes", "the targets are real"), ("shapes", "targets are mask")])
def test_balanced_needs_one_class_per_sample(dataset: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wf.build(dataset=dataset, sampler="balanced", save=False, quiet=True)


class Backwards:
    """A user-defined sampler."""

    def __iter__(self) -> Iterator[int]:
        yield from reversed(range(10))


def test_a_live_sampler_and_two_conflicting_samplers() -> None:
    pairs = TensorDataset(torch.arange(10.0).expand(2, 10).T, torch.arange(10) % 2)
    settings: dict[str, Any] = {"split": "100/0/0", "loss": "ce", "model": torch.nn.Linear(2, 2), "save": False}
    exp = wf.build(dataset=pairs, sampler=Backwards(), batch_size=4, quiet=True, **settings)
    assert [int(one) for batch in exp.data.epoch(0) for one in batch.inputs[:, 0]] == list(reversed(range(10)))
    exp.close()
    loader: Any = torch.utils.data.DataLoader(pairs, sampler=list(range(10)), batch_size=4)
    with pytest.raises(UsageError, match="has a sampler, which determines the order itself"):
        wf.build(dataset=loader, sampler=Backwards(), quiet=True, **settings)


def test_batches_have_samples_of_about_the_same_length() -> None:
    lengths = torch.arange(50).repeat(2)
    torch.manual_seed(0)
    sampler = LengthGrouped(lengths, 4)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == list(range(100)) == sorted(second)
    assert first != second
    spreads = [int(lengths[batch].max() - lengths[batch].min()) for batch in torch.tensor(first).split(4)]
    assert max(spreads) <= 3
    beginnings = [int(lengths[first[place]]) for place in range(0, 100, 4)]
    assert beginnings != sorted(beginnings)
    rest = list(LengthGrouped(lengths[:10], 4))
    assert lengths[rest[8:]].tolist() == [8, 9], "only the last batch is smaller"
    assert len(sampler) == 100
    with pytest.raises(UsageError, match="window is 0"):
        LengthGrouped(lengths, 4, window=0)


def test_length_grouped_uses_lengths_of_the_train_split() -> None:
    class Lines(TensorDataset):
        lengths = torch.arange(20)

    data = {"use": Dataset(train=Lines(torch.zeros(20, 2), torch.zeros(20, 1)), targets="real")}
    run = wf.build(dataset=data["use"], model="linear", sampler="length-grouped", batch_size=3, save=False)
    ids = run.data.sample_ids["train"]
    seen = torch.cat([batch.sample_ids for batch in run.data.epoch(0)])
    assert sorted(seen.tolist()) == sorted(ids.tolist())
    assert all(batch.sample_ids.max() - batch.sample_ids.min() <= 8 for batch in run.data.epoch(0))
    with pytest.raises(UsageError, match=r"samples cannot be grouped by length\n.*an attribute `lengths`"):
        wf.build(dataset="iris", sampler="length-grouped", save=False)
