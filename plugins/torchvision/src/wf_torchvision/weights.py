"""Pretrained weights: their location, download, and required images."""

from __future__ import annotations

import contextlib
import logging
import pickle
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.models.vision_transformer import interpolate_embeddings

from wf.errors import DataError, UsageError, unknown
from wf_storage.downloads import timeout

_log = logging.getLogger("wf.torchvision")  # below "wf": told unless the run is quiet
_DENSE = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")
"""Names of densenet's layers in its files, which torch no longer allows; as in torchvision's densenet.py."""


@dataclass(frozen=True)
class Source:
    """A source of weights."""

    title: str
    path: Path
    weights: Any = None
    """torchvision's entry (a WeightsEnum); None for an unknown file."""


def entries(name: str) -> Mapping[str, Any]:
    """torchvision's floating-point weights for a model, by name."""
    found: Mapping[str, Any] = get_model_weights(name.removeprefix("quantized_")).__members__
    return found


DEFAULT = "default"
"""The value of option `weights` for torchvision's newest weights."""


def find(name: str, weights: Path | None) -> Source | None:
    """The source for the option `weights` of a model; None for random weights.

    Raises:
        UsageError: For a name that no weights of the model have.
        DataError: For a missing file.
    """
    if weights is None:
        return None
    known = entries(name)
    if str(weights) == DEFAULT:
        return _published(known["DEFAULT"])
    word = str(weights).rpartition("_Weights.")[2]
    if word in known:
        return _published(known[word])
    if weights.is_file():
        same = [one for one in known.values() if Path(one.url).name == weights.name]
        return Source(f"file '{weights}'", weights, same[0] if same else None)
    if weights.suffix or len(weights.parts) > 1:
        raise DataError(f"no file '{weights}' with weights\n  set it with --model.weights")
    hint = "or a file: --model.weights ./weights.pth"
    raise UsageError(unknown("weights", str(weights), [DEFAULT, *known], hint, of=f"model 'torchvision/{name}'"))


def wanted(name: str, weights: str) -> Any:
    """The requirements of weights on images, torchvision's preset, and the name of the weights that it belongs to. For
    an unknown file these are the default weights; None for a model without any.
    """
    entry = entry_of(name, weights) or entries(name).get("DEFAULT")
    return None if entry is None else (entry.transforms(), str(entry))


def entry_of(name: str, weights: str) -> Any:
    """torchvision's entry for the option `weights` of a model, whether or not they are downloaded; None for a file."""
    known = entries(name)
    same = [one for one in known.values() if Path(one.url).name == Path(weights).name]
    word = "DEFAULT" if weights == DEFAULT else weights.rpartition("_Weights.")[2]
    return known.get(word) or next(iter(same), None)


def load(name: str, source: Source, image_size: int) -> MutableMapping[str, Tensor]:
    """The state_dict of a source, for a model that takes images of `image_size`.

    Raises:
        DataError: If it is not found, cannot be downloaded, or is damaged.
    """
    if not source.path.is_file():
        _download(source)
    state = _read(source)
    for key in list(state):
        if match := _DENSE.match(key):
            state[match.group(1) + match.group(2)] = state.pop(key)
    if name.startswith("vit_") and "encoder.pos_embedding" in state:
        patch_size = int(name.rpartition("_")[2])
        interpolate_embeddings(image_size, patch_size, state)
    return state


def put_into(model: nn.Module, state: Mapping[str, Tensor], source: Source) -> None:
    """Load a state_dict that must fit.

    Raises:
        DataError: If it does not fit, with the differences.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        shown = "\n  ".join(line if len(line) < 160 else f"{line[:157]}..." for line in lines)
        raise DataError(f"{source.title} does not fit {type(model).__name__}\n  {shown}") from error


def say(source: Source, num_theirs: int, num_outputs: int, family: str) -> None:
    """Report the loaded weights, and the preprocessing that they need."""
    head = (
        "as it is"
        if num_theirs == num_outputs
        else f"reinitialized ({num_theirs:,} outputs there, {num_outputs:,} here)"
    )
    _log.info("pretrained: %s; last layer %s", source.title, head)
    if source.weights is None:
        return
    wanted = source.weights.transforms()
    size = wanted.crop_size if hasattr(wanted, "crop_size") else wanted.resize_size
    pixels, what = "x".join(map(str, [*size, *size][:2])), "videos" if family == "video" else "images"
    numbers = f"mean {list(wanted.mean)}, std {list(wanted.std)}"
    option = f": --transform torchvision/preset --transform.torchvision/preset.weights {source.weights}"
    text = "they were trained on %s of %s, normalized by %s%s"
    _log.info(text, what, pixels, numbers, option if family == "segmentation" else "")


def _published(weights: Any) -> Source:
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    return Source(f"weights {weights}", path, weights)


def _download(source: Source) -> None:
    """Download to torch.hub's folder, verified by the hash in the file's name; messages go to standard error."""
    url, folder = source.weights.url, source.path.parent
    size = source.weights.meta.get("_file_size")
    print(f"{source.title} are not on this machine: downloading {size} MB to {folder}", file=sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr), timeout():
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(source.path), _hash_of(source.path), progress=sys.stderr.isatty())
    except (OSError, RuntimeError, EOFError) as error:  # URLError is an OSError
        why = str(error).strip() or type(error).__name__
        raise DataError(
            f"{source.title} were not found and could not be downloaded: {why}\n"
            f"  looked for:\n    {source.path}\n"
            "  what to do:\n"
            f"    fetch {url}\n"
            "    on another machine and put it there, or name the file: --model.weights FILE\n"
            "    set TORCH_HOME to a folder that has it as hub/checkpoints/NAME\n"
            "    train from scratch: leave --model.weights out"
        ) from error


def _hash_of(path: Path) -> str | None:
    match = re.search(r"-([a-f0-9]*)\.", path.name)
    return match.group(1) if match else None


def _read(source: Source) -> MutableMapping[str, Tensor]:
    """A plain state_dict, or one under the key that training scripts use; only tensors are unpickled."""
    try:
        if source.path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(source.path)
        else:
            found = torch.load(source.path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{source.path} is damaged, or not a file with weights: {str(error).splitlines()[0]}\n  fetch it again"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, MutableMapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(f"{source.path} holds no state_dict (names and tensors), but {type(found).__name__}")
    return found
