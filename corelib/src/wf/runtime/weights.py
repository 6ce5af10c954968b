"""Weights as a file that other programs read; `wf.runtime.initial` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from wf.errors import UsageError


def save_weights(model: nn.Module, file: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the model's state_dict: ``.safetensors``, or ``.pt`` and ``.pth`` as torch.save writes it.

    Args:
        model: The model.
        file: Where.
        metadata: Texts for the header of a ``.safetensors`` file; the other formats hold tensors alone.

    Raises:
        UsageError: For another ending, with the ones that are known.
    """
    if file.suffix not in (".safetensors", ".pt", ".pth"):
        raise UsageError(f"'{file}': the ending says the format\n  available: .safetensors, .pt, .pth")
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, file, dict(metadata or {}))
    else:
        torch.save(state, file)
