"""Models in evaluation mode, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """`model` is in evaluation mode; afterwards each module is in the mode in which it was.

    ``model.train()`` would put those into training mode that are kept in evaluation mode while the others train, such
    as frozen ones.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
