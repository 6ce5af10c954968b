"""A custom dataset in a single file: wf run ... --dataset examples/imbalanced.py:digits."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from wf_base import Dataset, TensorSamples


def digits(rare: int = 8, num_rare: int = 5) -> Dataset:
    """Handwritten digits; one digit is rare in the train split and as frequent as the others in the test split.

    Args:
        rare: The rare digit.
        num_rare: Number of its samples that are kept for training, of about 120.

    Returns:
        Inputs float32 ``[N, 1, 8, 8]`` from 0 to 1, targets ``class_index``. The last 597 samples are the test split.
    """
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().div_(16).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    is_train = torch.arange(len(labels)) < 1200
    surplus = torch.nonzero(is_train & (labels == rare)).flatten()[num_rare:]
    kept = is_train.clone()
    kept[surplus] = False
    return Dataset(
        train=TensorSamples(images[kept], labels[kept]),
        test=TensorSamples(images[~is_train], labels[~is_train]),
        targets="class_index",
        class_names=[str(digit) for digit in range(10)],
    )
