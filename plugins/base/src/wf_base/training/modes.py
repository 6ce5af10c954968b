"""Models temporarily in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Within the context `model` is in evaluation mode; afterwards each module is in its previous mode.

    ``model.train()`` would also switch modules that stay in evaluation mode during training, such as frozen ones.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
