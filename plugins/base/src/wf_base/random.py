"""Named random streams: init, order, augment, train. Never one shared global generator.

The order of an epoch is a function of (seed, epoch); a sample's augmentation is a function of
(seed, epoch, sample id). So seeking is O(1), and the number of workers does not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_MASK = (1 << 63) - 1


def stream(seed: int, name: str, *position: int) -> torch.Generator:
    """A CPU generator for one named stream at one position, independent of all others.

    Args:
        seed: The run's seed.
        name: The stream: ``order``, ``split``, ``init``, ...
        position: Where in the stream, e.g. the epoch.
    """
    return torch.Generator().manual_seed(stream_key(seed, name, *position))


@contextmanager
def own_stream(seed: int, name: str) -> Iterator[None]:
    """Context for making a run value: its provider's draws from torch's global generator use a separate stream.

    So a new value does not change other weights, and two equal providers draw different numbers.

    Args:
        seed: The run's seed.
        name: The value's name.
    """
    devices = range(torch.cuda.device_count())  # torch warns of several GPUs if they are not named
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream_key(seed, f"value/{name}"))
        yield


def sample_uniform(
    seed: int, epoch: int, sample_ids: Tensor, num_draws: int, transform: int = 0, *, name: str = "augment"
) -> Tensor:
    """Uniform draws for each sample of a batch, a function of the arguments and the number of the draw only.

    Args:
        seed: The run's seed.
        epoch: The epoch.
        sample_ids: int64 ``[N]``.
        num_draws: How many draws each sample gets.
        transform: The position of the transform among the run's, so that no two draw the same.
        name: The stream, as in `stream`.

    Returns:
        float32 ``[N, num_draws]`` in [0, 1) on the device of `sample_ids`. The mixing function is the finalizer of
        splitmix64 (Steele, Lea, Flood 2014).
    """
    key = torch.tensor(stream_key(seed, name, epoch, transform), dtype=torch.int64, device=sample_ids.device)
    draws = torch.arange(1, num_draws + 1, dtype=torch.int64, device=sample_ids.device)
    mixed = _mix(_mix(sample_ids.to(torch.int64) + key).unsqueeze(1) + draws * -7046029254386353131)
    return (_shift(mixed, 40) & 0xFFFFFF).to(torch.float32) / float(1 << 24)


def sample_seeds(seed: int, epoch: int, sample_ids: Tensor) -> Tensor:
    """A seed for each sample's own draws while it is read, a function of the arguments alone.

    Args:
        seed: The run's seed.
        epoch: The epoch; -1 outside training.
        sample_ids: int64 ``[N]``.

    Returns:
        int64 ``[N]``, from 0 on.
    """
    return _mix(sample_ids + stream_key(seed, "read", epoch)) & _MASK


def stream_key(seed: int, name: str, *position: int) -> int:
    """The seed of one stream at one position, from 0 on."""
    text = ":".join((str(seed), name, *(str(value) for value in position)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") & _MASK


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * -4658895280553007687
    bits = (bits ^ _shift(bits, 27)) * -7723592293110705685
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, count: int) -> Tensor:
    """A logical right shift; torch's is arithmetic."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


class TrainStream:
    """The state of torch's own generators, which dropout and the like draw from, for checkpoints."""

    def state_dict(self) -> dict[str, Any]:
        """The state of the CPU's generator and of each accelerator's."""
        states: dict[str, Any] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            states["cuda"] = torch.cuda.get_rng_state_all()
        return states

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the generators back."""
        torch.set_rng_state(state["cpu"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(list(state["cuda"]))
