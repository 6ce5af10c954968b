"""The weights of the bare model, as safetensors or written by torch.save."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from wf.errors import UsageError
from wf_export.formats.source import Source


class StateDict:
    """The state_dict written by ``torch.save``; it contains only tensors."""

    in_graph = False

    def write(self, source: Source, file: Path) -> str:
        """Write the file."""
        state = _state(source)
        torch.save(state, file)
        return _words(state)

    def outputs(self, source: Source, file: Path) -> None:
        """Compare the weights that are read back."""
        _check_equal(_state(source), torch.load(file, weights_only=True))

    def use(self, source: Source, file: Path) -> list[str]:
        """Usage with the user's own module."""
        return ["import torch", f'model.load_state_dict(torch.load("{file}"))  # model: your torch.nn.Module']


class SafeTensors:
    """The state_dict as a file of safetensors, with metadata."""

    in_graph = False

    def write(self, source: Source, file: Path) -> str:
        """Write the file."""
        from safetensors.torch import save

        state = _state(source)
        file.write_bytes(save(state, source.metadata(in_graph=False)))
        return _words(state)

    def outputs(self, source: Source, file: Path) -> None:
        """Compare the weights that are read back."""
        from safetensors.torch import load_file

        _check_equal(_state(source), load_file(file))

    def use(self, source: Source, file: Path) -> list[str]:
        """Usage with the user's own module."""
        return [
            "from safetensors.torch import load_file",
            f'model.load_state_dict(load_file("{file}"))  # model: your torch.nn.Module',
        ]


def _state(source: Source) -> dict[str, Tensor]:
    state = source.network.model.state_dict()
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def _words(state: dict[str, Tensor]) -> str:
    return f"{sum(tensor.numel() for tensor in state.values()):,} numbers"


def _check_equal(state: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    same = state.keys() == found.keys() and all(
        tensor.dtype == found[name].dtype and torch.equal(tensor.nan_to_num(), found[name].nan_to_num())
        if tensor.is_floating_point()
        else torch.equal(tensor, found[name])
        for name, tensor in state.items()
    )
    if not same:
        raise UsageError("the weights read back from the file differ from those written")
