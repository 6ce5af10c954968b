"""Initial weights: a plain state_dict from a file, or the weights of a run. Only tensors are unpickled."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from wf.errors import DataError, UsageError, unknown
from wf_base.training.heads import head_parameters
from wf_run.bundle.folder import WEIGHTS, BundleFolder
from wf_run.directory.rundir import RunDirectory

FORMATS = (".safetensors", ".pt", ".pth")
_SHOWN = 5
Weights = dict[str, Tensor]


def read_weights(
    place: str, folders: Sequence[Path], read_run: Callable[[RunDirectory], tuple[Any, str]]
) -> tuple[Weights, str]:
    """The weights in a file, a run directory or a bundle.

    Args:
        place: A file with one of the endings `FORMATS`, a bundle, a run directory, or its name below ``runs/``.
        folders: Where a relative path is looked up when it is not below the working directory.
        read_run: Returns the model's weights of a run, and the checkpoint that they come from.

    Returns:
        The tensors by name, and a description of their source.

    Raises:
        DataError: If it does not exist, or its content does not match its ending.
        UsageError: For an unknown ending, or a file that is not a plain state_dict.
    """
    path = Path(place).expanduser()
    file = next((one for one in (path, *(folder / path for folder in folders)) if one.is_file()), None)
    if file is not None:
        return _checked(_read_file(file), str(file)), str(file)
    if path.suffix in FORMATS:
        raise DataError(f"there is no file '{place}' to take weights from")
    if (bundle := BundleFolder.find(path)) is not None:
        return bundle.tensors(WEIGHTS), str(bundle.path)
    directory = RunDirectory.open(place)
    weights, checkpoint = read_run(directory)
    return _checked(weights, str(directory.path)), f"checkpoint {checkpoint} of {directory.path}"


@dataclass(frozen=True)
class Taken:
    """The result of loading weights into a model."""

    num: int
    """The loaded tensors."""
    drawn: tuple[str, ...]
    """The tensors of the model that keep their random values."""
    left: tuple[str, ...]
    """The skipped weights, each with its shape."""

    def describe(self) -> str:
        """The result, for messages."""
        words = [f"{self.num:,} tensors taken"]
        words += [f"randomly initialized: {', '.join(_first(self.drawn))}"] if self.drawn else []
        words += [f"left out: {', '.join(_first(self.left))}"] if self.left else []
        return "; ".join(words)


def mapped(weights: Weights, rules: Sequence[str], source: str) -> Weights:
    """Rename weights to the names in a model.

    Args:
        weights: The tensors by their own names.
        rules: ``OLD=NEW``, applied in this order: in names that begin with OLD, that prefix is replaced by NEW, once
            per rule.
        source: Their source, for messages.

    Raises:
        UsageError: For a rule of another form, a prefix that no name has, or two tensors with the same new name.
    """
    pairs = []
    for rule in rules:
        old, equals, new = rule.partition("=")
        if not equals:
            raise UsageError(f"init_map: '{rule}' is not of the form OLD=NEW; 'module.=' removes a prefix")
        if not any(name.startswith(old) for name in weights):
            raise UsageError(unknown("beginning of a name", old, _tops(weights), f"init_map, of {source}"))
        pairs.append((old, new))
    found: Weights = {}
    for name, tensor in weights.items():
        old, new = next(((old, new) for old, new in pairs if name.startswith(old)), ("", ""))
        now = f"{new}{name.removeprefix(old)}"
        if now in found:
            raise UsageError(f"init_map: two tensors from {source} would be called '{now}'")
        found[now] = tensor
    return found


def put_into(model: nn.Module, weights: Mapping[str, Tensor], source: str, without: Sequence[str] = ()) -> Taken:
    """Load weights into a model, all except excluded ones and a head of a different shape.

    Args:
        model: The model.
        weights: The tensors by the names of the model's `state_dict`.
        source: Their source, for messages.
        without: Names of modules or parameters, of the model or of the weights, that are not loaded.

    Returns:
        The loaded and the skipped weights.

    Raises:
        UsageError: Naming missing and unexpected tensors, shape mismatches and values that are not finite; the model
            is then unchanged.
    """
    wanted = model.state_dict()
    for name in without:
        if not _below([name], [*wanted, *weights]):
            raise UsageError(unknown("module", name, _tops([*wanted, *weights]), "of init_without"))
    kept = _below(without, wanted)
    given = {name: weights[name] for name in weights if not _below(without, [name])}
    asked = {name: wanted[name] for name in wanted if name not in kept}
    missing = [name for name in asked if name not in given]
    unexpected = [name for name in given if name not in asked]
    different = [name for name in asked if name in given and not _fits(given[name], asked[name])]
    if different and not missing and not unexpected and {*different} <= head_parameters(model) < {*asked}:
        kept, different = [*kept, *different], []
    if missing or unexpected or different:
        lines = [
            *_first([f"missing: {_told(name, asked[name])}" for name in missing]),
            *_first([f"unexpected: {_told(name, given[name])}" for name in unexpected]),
            *_first(
                f"shape mismatch: {_told(name, given[name])}, the model has {_form(asked[name])}" for name in different
            ),
            *_advice(asked, given, [*missing, *unexpected, *different]),
        ]
        raise UsageError("\n  ".join([f"the weights from {source} do not fit the model", *lines]))
    parameters = [name for name, _ in model.named_parameters(remove_duplicate=False)]  # a buffer may be a mask of -inf
    if broken := [name for name in parameters if name in given and not _is_finite(given[name])]:
        raise UsageError(f"the weights from {source} are not finite: {', '.join(_first(broken))}")
    model.load_state_dict({**given, **{name: wanted[name] for name in kept}})
    left = [*(name for name in kept if name in weights), *(name for name in weights if name not in {*wanted, *given})]
    shapes = (f"{name} {list(weights[name].shape)}" for name in left)
    return Taken(len(wanted) - len(kept), tuple(f"{name} {list(wanted[name].shape)}" for name in kept), tuple(shapes))


def _advice(asked: Mapping[str, Tensor], given: Mapping[str, Tensor], wrong: Sequence[str]) -> list[str]:
    """Advice for weights that do not fit: their names have a wrapper's prefix, or a layer differs."""
    prefix = next(iter(given), "").partition(".")[0] + "."
    if all(name.startswith(prefix) for name in given) and any(name.removeprefix(prefix) in asked for name in given):
        wrapper = {"module.": " (added by DataParallel)", "_orig_mod.": " (added by torch.compile)"}
        return [
            f"all names begin with '{prefix}'{wrapper.get(prefix, '')}; remove it: --init-map {prefix}=",
        ]
    fitting = [name for name in asked if name in given and name not in wrong]
    if not fitting:
        return []
    layers = dict.fromkeys(_layer(name, fitting) for name in wrong)
    return [f"keep the random weights of these layers: --init-without {','.join(layers)}"]


def _layer(name: str, fitting: Sequence[str]) -> str:
    """The largest module that contains a tensor but no fitting one."""
    parts = name.split(".")
    for end in range(1, len(parts)):
        module = ".".join(parts[:end])
        if not _below([module], fitting):
            return module
    return name


def _below(modules: Sequence[str], names: Iterable[str]) -> list[str]:
    """The tensors that are one of the modules, or part of one."""
    return [name for name in names if any(name == module or name.startswith(f"{module}.") for module in modules)]


def _tops(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _read_file(file: Path) -> Any:
    if file.suffix in FORMATS and not file.stat().st_size:
        raise DataError(f"'{file}' is empty")
    if file.suffix not in FORMATS:
        raise UsageError(f"'{file}': the ending says the format of the weights\n  available: {', '.join(FORMATS)}")
    try:
        _check_beginning(file)
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about files that are refused below with a clear message
            return torch.load(file, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"'{file}' holds more than tensors, or is damaged; pickled code is not run\n"
            f"  save the weights alone: torch.save(model.state_dict(), '{file.name}')"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, SafetensorError, zipfile.BadZipFile) as error:
        raise DataError(f"'{file}' cannot be read: {str(error).splitlines()[0] if str(error) else error!r}") from error


def _check_beginning(file: Path) -> None:
    """Refuse a file whose first bytes contradict its ending."""
    with file.open("rb") as stream:
        beginning = stream.read(64)
    if beginning.startswith(b"version https://git-lfs"):
        raise DataError(f"'{file}' is a pointer of Git LFS, not the weights themselves\n  fetch them: git lfs pull")
    if beginning.lstrip()[:5].lower() in (b"<html", b"<!doc"):
        raise DataError(f"'{file}' is a web page, not weights: the download was redirected")
    if file.suffix == ".safetensors" and beginning.startswith((b"PK\x03\x04", b"\x80\x02")):
        raise DataError(f"'{file}' is in the format of torch.save\n  give it the ending .pt")


def _checked(weights: Any, source: str) -> Weights:
    """The weights, after a check that they are a plain state_dict: tensors by name."""
    if not isinstance(weights, Mapping):
        raise UsageError(f"'{source}' holds {type(weights).__name__}, not a state_dict: tensors by name")
    other = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if other:
        inside = [name for name in other if isinstance(weights[name], Mapping)]
        hint = f"\n  save the entry {inside[0]!r} to a separate file" if inside else ""
        raise UsageError(
            f"'{source}' is not a plain state_dict: {other[0]!r} is {type(weights[other[0]]).__name__}{hint}"
        )
    for name, tensor in weights.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            kind = "meta" if tensor.is_meta else "quantized" if tensor.is_quantized else str(tensor.layout)
            raise UsageError(f"'{source}' is not a plain state_dict: {name!r} is a {kind} tensor")
    return {str(name): value for name, value in weights.items()}


def _fits(given: Tensor, wanted: Tensor) -> bool:
    """Whether shape and dtype fit; another floating-point precision is converted."""
    kind = given.dtype == wanted.dtype or (given.is_floating_point() and wanted.is_floating_point())
    return kind and given.shape == wanted.shape


def _is_finite(tensor: Tensor) -> bool:
    wide = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # isfinite does not support float8
    return bool(torch.isfinite(wide).all())


def _told(name: str, tensor: Tensor) -> str:
    return f"{name} {_form(tensor)}"


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _first(lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
