"""Fast checksums that identify samples and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from wf_base import tree
from wf_base.data import Dataset, Samples, TensorSamples


def of_dataset(dataset: Dataset) -> dict[str, str]:
    """The checksum of the samples of each of a dataset's splits.

    Tensors are identified by their bytes, in a tree with the path of each leaf. Other samples are identified by the
    result of their method `identity` (a JSON value: names and sizes of files, targets), or without it by their number
    and targets.
    """
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    targets = {"train": dataset.target_tensor}
    return {split: of_samples(samples, targets.get(split)) for split, samples in splits.items() if samples is not None}


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """The checksum of tensors with their names, dtypes and shapes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def of_samples(samples: Samples, targets: Tensor | None = None) -> str:
    """The checksum of samples, see `of_dataset`.

    Args:
        samples: The samples.
        targets: Their targets, if known without reading samples.
    """
    if isinstance(samples, TensorSamples):
        return of_tensors(dict(tree.leaves({"inputs": samples.inputs, "targets": samples.targets})))
    identity = getattr(samples, "identity", None)
    known = identity() if identity is not None else [len(samples), None if targets is None else targets.tolist()]
    return hashlib.blake2b(json.dumps(known, default=str).encode(), digest_size=16).hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous()
    return flat.as_strided((flat.numel(),), (1,)).view(torch.uint8).numpy().data
