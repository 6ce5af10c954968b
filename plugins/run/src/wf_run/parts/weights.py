"""Weights as a file that other programs read; `wf_run.parts.initial` reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from wf.errors import UsageError
from wf_storage import files


def save_weights(model: nn.Module, file: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the model's state_dict: ``.safetensors``, or ``.pt`` and ``.pth`` as torch.save writes it.

    Args:
        model: The model.
        file: Where.
        metadata: Texts for the header of a ``.safetensors`` file; the other formats hold tensors alone.

    Raises:
        UsageError: For another ending, with the ones that are known.
        OSError: When it cannot be written; a file that was there is as it was.
    """
    if file.suffix not in (".safetensors", ".pt", ".pth"):
        raise UsageError(f"'{file}': the ending says the format\n  available: .safetensors, .pt, .pth")
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    if file.suffix == ".safetensors":
        from safetensors.torch import save

        content = save(state, dict(metadata or {}))
    else:
        stream = BytesIO()
        torch.save(state, stream)
        content = stream.getvalue()
    _replace(file.resolve(), content)


def _replace(file: Path, content: bytes) -> None:
    """Write a file as a whole or not at all: one that was there stays until the new one is on the disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".tmp-{os.getpid()}-{file.name}")
    try:
        files.write_file(temporary, [content])
        files.rename(temporary, file)
    finally:
        if temporary.exists():
            files.remove(temporary)
