from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wf_base import Dataset, TensorSamples
from wf_data.fingerprint import of_dataset, of_tensors

INPUTS, TARGETS = torch.arange(12, dtype=torch.float32).reshape(6, 2), torch.zeros(6, 1)


def dataset(inputs: Tensor = INPUTS, targets: Tensor = TARGETS, **splits: Any) -> Dataset:
    return Dataset(train=TensorSamples(inputs, targets), targets="real", **splits)


class Files:
    """Samples that are not in memory."""

    def __init__(self, num: int) -> None:
        self.num = num

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raise AssertionError("a checksum must not read the samples")


class Named(Files):
    def __init__(self, *names: str) -> None:
        super().__init__(len(names))
        self.names = names

    def identity(self) -> list[str]:
        return list(self.names)


def test_fingerprints_depend_on_content_and_not_on_memory_layout() -> None:
    one = of_dataset(dataset())
    assert one == of_dataset(dataset(INPUTS.t().contiguous().t(), TARGETS.clone()))
    changed = INPUTS.clone()
    changed.view(torch.uint8)[3, 5] ^= 1
    others = [
        dataset(changed),
        dataset(INPUTS, TARGETS + 1),
        dataset(INPUTS.double()),
        dataset(INPUTS.reshape(6, 1, 2)),
    ]
    assert len({one["train"], *(of_dataset(other)["train"] for other in others)}) == 5


def test_each_given_split_has_its_own_fingerprint() -> None:
    found = of_dataset(dataset(test=TensorSamples(INPUTS + 1, TARGETS)))
    assert found.keys() == {"train", "test"}
    assert found["train"] == of_dataset(dataset())["train"] != found["test"]


def test_fingerprints_of_samples_on_disk() -> None:
    def train_fingerprint(samples: Any, targets: Tensor | None = None) -> str:
        return of_dataset(Dataset(train=samples, targets="class_index", target_tensor=targets))["train"]

    assert train_fingerprint(Files(3)) == train_fingerprint(Files(3)) != train_fingerprint(Files(4))
    assert train_fingerprint(Files(2), torch.tensor([0, 1])) != train_fingerprint(Files(2), torch.tensor([1, 0]))
    assert (
        train_fingerprint(Named("a", "b")) == train_fingerprint(Named("a", "b")) != train_fingerprint(Named("a", "c"))
    )


def test_fingerprints_of_weights_depend_on_names() -> None:
    assert of_tensors({"a": INPUTS}) != of_tensors({"b": INPUTS})
