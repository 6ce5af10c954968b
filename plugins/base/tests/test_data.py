from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wf.errors import DataError, UsageError
from wf_base import Dataset, TensorSamples, sample_uniform, stream
from wf_base.data import class_index, fold_parts, split_dataset, stratified_parts


def dataset(classes: list[int], **given: Any) -> Dataset:
    targets = torch.tensor(classes)
    names = [str(index) for index in range(max(classes) + 1)]
    samples = TensorSamples(torch.arange(len(classes)).unsqueeze(1).float(), targets)
    return Dataset(train=samples, targets="class_index", class_names=names, **given)


LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80)


@given(LABELS, st.integers(0, 2**63 - 1), st.booleans())
def test_split_is_a_partition_with_every_class_in_proportion(classes: list[int], seed: int, shuffle: bool) -> None:
    labels = torch.tensor(classes)
    parts = stratified_parts((0.7, 0.15, 0.15), len(classes), labels, stream(seed, "split") if shuffle else None)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(classes)))
    for part, share in zip(parts, (0.7, 0.15, 0.15), strict=True):
        assert part.tolist() == sorted(part.tolist())
        counts = Counter(labels[part].tolist())
        assert all(abs(counts[value] - share * count) < 1 for value, count in Counter(classes).items())


@given(LABELS.filter(lambda classes: len(classes) >= 4), st.integers(2, 4), st.integers(0, 99))
def test_folds_are_a_partition_with_every_class_even(classes: list[int], num_folds: int, seed: int) -> None:
    labels, tests = torch.tensor(classes), []
    for fold in range(num_folds):
        train, test = fold_parts(fold, num_folds, len(classes), labels, stream(seed, "split"))
        assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(classes)))
        tests.append(Counter(labels[test].tolist()))
    for value in set(classes):
        counts = [test[value] for test in tests]
        assert sum(counts) == classes.count(value)
        assert max(counts) - min(counts) <= 1


def test_no_shuffling_takes_the_first_samples_for_training() -> None:
    splits = split_dataset(dataset([0, 0, 0, 0, 1, 1, 1, 1]), "50/25/25", 0, shuffle=False)
    found = {name: indices.tolist() for name, indices in splits.indices.items()}
    assert found == {"train": [0, 1, 4, 5], "validation": [2, 6], "test": [3, 7]}


def test_a_given_split_is_kept_and_the_rest_is_divided() -> None:
    own = TensorSamples(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))
    splits = split_dataset(dataset([0, 1] * 17, test=own), "70/15/15", 0, shuffle=True)
    assert splits.samples["test"] is own
    assert (len(splits.samples["train"]), len(splits.samples["validation"])) == (28, 6)


def test_very_few_samples_all_go_to_train() -> None:
    splits = split_dataset(dataset([0, 1, 2]), "70/15/15", 0, shuffle=True)
    assert list(splits.samples) == ["train"]
    with pytest.raises(UsageError, match="choose from 2 to 3"):
        split_dataset(dataset([0, 1, 2]), "70/15/15", 0, shuffle=True, fold=(0, 4))


def test_empty_and_unequal_data_are_refused() -> None:
    with pytest.raises(DataError, match="no samples"):
        Dataset(train=TensorSamples(torch.zeros(0, 1), torch.zeros(0, 1)), targets="real")
    with pytest.raises(DataError, match="3 inputs but 2 targets"):
        TensorSamples(torch.zeros(3, 1), torch.zeros(2, 1))


def test_class_index_sorts_numbers_as_numbers() -> None:
    indices, names = class_index([10, 9, 10])
    assert (indices.tolist(), names) == ([1, 0, 1], ["9", "10"])
    assert class_index(["b", "a"])[1] == ["a", "b"]


def test_draws_are_uniform_and_depend_on_the_sample_alone() -> None:
    ids = torch.arange(20_000)
    draws = sample_uniform(3, 1, ids, 2)
    assert draws.shape == (20_000, 2)
    assert 0 <= draws.min() < draws.max() < 1
    assert draws.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.01)
    assert draws.var(0).tolist() == pytest.approx([1 / 12, 1 / 12], abs=0.002)
    assert torch.equal(sample_uniform(3, 1, ids[[7, 3]], 2), draws[[7, 3]])
    others = [sample_uniform(4, 1, ids, 2), sample_uniform(3, 2, ids, 2), sample_uniform(3, 1, ids, 2, transform=1)]
    for other in [*others, draws.flip(1)]:
        correlation = torch.corrcoef(torch.stack([draws[:, 0], other[:, 0]]))[0, 1]
        assert abs(correlation.item()) < 0.03
