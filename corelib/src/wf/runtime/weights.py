"""Weights as a file that other programs read; `wf.runtime.initial` reads them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from wf.errors import UsageError


def save_weights(model: nn.Module, file: Path) -> None:
    """Write the model's state_dict: ``.safetensors``, or ``.pt`` and ``.pth`` as torch.save writes it.

    Raises:
        UsageError: For another ending, with the ones that are known.
    """
    if file.suffix not in (".safetensors", ".pt", ".pth"):
        raise UsageError(f"'{file}': the ending says the format\n  available: .safetensors, .pt, .pth")
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, file)
    else:
        torch.save(state, file)
