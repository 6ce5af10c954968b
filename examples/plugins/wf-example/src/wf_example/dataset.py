"""The simplest form of a dataset: a pair of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

X = (0.5, 14, 15, 28, 11, 8, 3, -4, 6, 13, 21)
Y = (35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4)


def points() -> tuple[Tensor, Tensor]:
    """Eleven points near a line.

    Returns:
        Inputs float32 ``[11, 1]`` and targets float32 ``[11, 1]``.
    """
    return torch.tensor(X).unsqueeze(1), torch.tensor(Y).unsqueeze(1)
