"""Weights to begin with: a plain state_dict from a file, or those that a run kept. Nothing is unpickled but tensors."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from wf.errors import DataError, UsageError
from wf.rundir import RunDirectory

FORMATS = (".safetensors", ".pt", ".pth")
_SHOWN = 5
Weights = dict[str, Tensor]


def read_weights(
    place: str, folders: Sequence[Path], read_run: Callable[[RunDirectory], tuple[Any, str]]
) -> tuple[Weights, str]:
    """The weights in a file or a run directory.

    Args:
        place: A file with one of the endings `FORMATS`, a run directory, or its name below ``runs/``.
        folders: Where a relative path is looked up when it is not below the working directory.
        read_run: Gives the model's weights of a run, and which of its checkpoints they come from.

    Returns:
        The tensors by name, and where they come from in words.

    Raises:
        DataError: When it is not there, or is not what its ending says.
        UsageError: For another ending, or a file that is no plain state_dict.
    """
    path = Path(place).expanduser()
    file = next((one for one in (path, *(folder / path for folder in folders)) if one.is_file()), None)
    if file is not None:
        return _checked(_read_file(file), str(file)), str(file)
    if path.suffix in FORMATS:
        raise DataError(f"there is no file '{place}' to take weights from")
    directory = RunDirectory.open(place)
    weights, checkpoint = read_run(directory)
    return _checked(weights, str(directory.path)), f"checkpoint {checkpoint} of {directory.path}"


def put_into(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a model, every one of them.

    Raises:
        UsageError: Naming what is missing, what is too much, whose shape differs and what is not finite; the model is
            then as it was.
    """
    wanted = model.state_dict()
    missing = [f"missing: {_told(name, wanted[name])}" for name in wanted if name not in weights]
    unexpected = [f"unexpected: {_told(name, weights[name])}" for name in weights if name not in wanted]
    different = [
        f"of another form: {_told(name, weights[name])}, the model has {_form(wanted[name])}"
        for name in wanted
        if name in weights and not _fits(weights[name], wanted[name])
    ]
    if missing or unexpected or different:
        lines = [line for lines in (missing, unexpected, different) for line in _first(lines)]
        raise UsageError("\n  ".join([f"the weights from {source} do not fit the model", *lines]))
    parameters = [name for name, _ in model.named_parameters(remove_duplicate=False)]  # a buffer may be a mask of -inf
    if broken := [name for name in parameters if name in weights and not _is_finite(weights[name])]:
        raise UsageError(f"the weights from {source} are not finite: {', '.join(_first(broken))}")
    model.load_state_dict(dict(weights))


def _read_file(file: Path) -> Any:
    if file.suffix in FORMATS and not file.stat().st_size:
        raise DataError(f"'{file}' is empty")
    if file.suffix not in FORMATS:
        raise UsageError(f"'{file}': the ending says the format of the weights\n  available: {', '.join(FORMATS)}")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of what is refused below in clear words
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"'{file}' holds more than tensors, or is damaged; what a pickle says is not carried out\n"
            f"  save the weights alone: torch.save(model.state_dict(), '{file.name}')"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, SafetensorError, zipfile.BadZipFile) as error:
        raise DataError(f"'{file}' cannot be read: {str(error).splitlines()[0] if str(error) else error!r}") from error


def _checked(weights: Any, source: str) -> Weights:
    """The weights, where they are a plain state_dict: tensors by name."""
    if not isinstance(weights, Mapping):
        raise UsageError(f"'{source}' holds {type(weights).__name__}, not a state_dict: tensors by name")
    other = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if other:
        inside = [name for name in other if isinstance(weights[name], Mapping)]
        hint = f"\n  save what is under {inside[0]!r} in a file of its own" if inside else ""
        raise UsageError(f"'{source}' is no plain state_dict: {other[0]!r} is {type(weights[other[0]]).__name__}{hint}")
    for name, tensor in weights.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            kind = "meta" if tensor.is_meta else "quantized" if tensor.is_quantized else str(tensor.layout)
            raise UsageError(f"'{source}' is no plain state_dict: {name!r} is a tensor of the kind {kind}")
    return {str(name): value for name, value in weights.items()}


def _fits(given: Tensor, wanted: Tensor) -> bool:
    """Floating-point numbers may be of another precision, they are converted."""
    kind = given.dtype == wanted.dtype or (given.is_floating_point() and wanted.is_floating_point())
    return kind and given.shape == wanted.shape


def _is_finite(tensor: Tensor) -> bool:
    wide = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # float8 cannot be asked
    return bool(torch.isfinite(wide).all())


def _told(name: str, tensor: Tensor) -> str:
    return f"{name} {_form(tensor)}"


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
