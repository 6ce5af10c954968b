"""Pretrained weights of timm: their choice, and messages if they cannot be loaded."""

from __future__ import annotations

import contextlib
import logging
import pickle
import re
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models import get_pretrained_cfg, load_state_dict
from timm.models._registry import list_pretrained
from torch import Tensor

from wf.errors import DataError, UsageError, WfError, unknown

HUB = "huggingface.co"
_MISSING = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)
"""Errors of loading weights: no network, no file, a damaged file."""


def tags(name: str) -> list[str]:
    """The weights that timm has for a model, by tag."""
    return sorted({found.partition(".")[2] for found in list_pretrained(f"{name}.*")} - {""})


DEFAULT = "default"
"""The value of option `weights` for timm's default weights."""


def pretrained_options(name: str, weights: Path | None) -> dict[str, Any]:
    """The arguments of `timm.create_model` for the option `weights`.

    Raises:
        UsageError: For a model without weights, or a tag that it does not have.
        DataError: For a missing file, or one without weights.
    """
    if weights is None:
        return {"model_name": name}
    known = tags(name)
    if str(weights) == DEFAULT:
        config = get_pretrained_cfg(name)
        if config is None or not config.has_weights:
            raise UsageError(f"model 'timm/{name}': timm has no weights for it\n  leave weights out, or give a file")
        return {"model_name": name, "pretrained": True}
    if str(weights) in known:
        return {"model_name": f"{name}.{weights}", "pretrained": True}
    if weights.is_file():
        return {"model_name": name, "pretrained": True, "pretrained_cfg_overlay": _from_file(name, weights)}
    if weights.suffix in (".pth", ".pt", ".bin", ".safetensors") or len(weights.parts) > 1:
        raise DataError(f"no file '{weights}' with weights\n  set it with --model.weights")
    hint = "or a file: --model.weights ./weights.safetensors"
    raise UsageError(unknown("weights", str(weights), [DEFAULT, *known], hint, of=f"model 'timm/{name}'"))


@contextlib.contextmanager
def trying_to_load(name: str, weights: Path | None) -> Iterator[None]:
    """Add advice to errors about missing weights.

    Raises:
        DataError: With the searched places.
    """
    try:
        if weights is None:
            yield
            return
        with _offline_unless_reachable(), _refusing_misfits(name, weights):
            yield
    except WfError:
        raise
    except _MISSING as error:
        assert weights is not None
        if weights.is_file():
            why = "\n  ".join(line.strip()[:160] for line in str(error).splitlines()[:3])
            raise DataError(f"file '{weights}' does not fit model 'timm/{name}'\n  {why}") from error
        raise DataError(_missing(name, weights, error)) from error


class _Missing(logging.Filter):
    """Records timm's messages about missing tensors; warnings pass."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show the record."""
        found = re.match(r"Missing keys \((.*)\) discovered", record.getMessage())
        self.names += found.group(1).split(", ") if found else []
        return record.levelno >= logging.WARNING


@contextlib.contextmanager
def _refusing_misfits(name: str, weights: Path) -> Iterator[None]:
    """Refuse weights that do not fit: with another head timm loads only what fits, even if that is nothing."""
    logger, missing = logging.getLogger("timm.models._builder"), _Missing()
    before = logger.level
    logger.addFilter(missing)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeFilter(missing)
        logger.setLevel(before)
    lost = [one for one in missing.names if not one.startswith(_heads(name))]
    if lost:
        what = f"file '{weights}'" if str(weights) != DEFAULT else "weights"
        raise DataError(f"{what} does not fit model 'timm/{name}'\n  it has no {', '.join(lost[:4])}, ...")


def _heads(name: str) -> tuple[str, ...]:
    """The names of the layers that timm reinitializes for another number of classes."""
    config = get_pretrained_cfg(name)
    heads = config.classifier if config is not None else None
    return tuple(heads) if isinstance(heads, (list, tuple)) else (heads or "head",)


@contextlib.contextmanager
def _offline_unless_reachable() -> Iterator[None]:
    """Use only the hub client's cache without a network: otherwise it would retry five times, for a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable() -> bool:
    if urllib.request.getproxies():
        return True
    try:
        socket.create_connection((HUB, 443), timeout=5).close()
    except OSError:
        return False
    return True


def _from_file(name: str, path: Path) -> dict[str, Any]:
    """The options to load a file instead of timm's weights, with the number of outputs of its last layer."""
    try:
        state = load_state_dict(str(path), device="cpu", weights_only=True)
    except _MISSING as error:
        raise DataError(f"{path} is damaged, or not a file with weights: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path} holds no state_dict (names and tensors), but {type(state).__name__}")
    overlay: dict[str, Any] = {"state_dict": state, "custom_load": False, "label_offset": 0}
    first = f"{_heads(name)[0]}.weight"
    if first in state:
        overlay["num_classes"] = len(state[first])
    return overlay


def _missing(name: str, weights: Path, error: Exception) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    config: Any = get_pretrained_cfg(name if str(weights) == DEFAULT else f"{name}.{weights}")
    where = [f"    {HF_HUB_CACHE} ({config.hf_hub_id})"] if config.hf_hub_id else []
    if config.url:
        where.append(f"    {Path(torch.hub.get_dir()) / 'checkpoints' / Path(config.url).name}")
    fetch = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
    return "\n".join(
        [
            f"weights {name}.{config.tag} were not found and could not be downloaded",
            f"  {_first_sentence(str(error)) or type(error).__name__}",
            "  looked in:",
            *where,
            "  what to do:",
            f"    fetch the file of {fetch} on another machine, and name it: --model.weights FILE",
            "    set HF_HOME to a folder that has it",
            "    train from scratch: leave --model.weights out",
        ]
    )


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0].partition("\n")[0]
