"""Where the samples of a run are served from, and how a batch gets to the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

from wf.errors import UsageError
from wf.terminal import plural
from wf_base import tree
from wf_base.data import Batch, Samples, TensorSamples, floats
from wf_base.streams import Stream
from wf_base.tree import Tree

Place = Literal["memory", "device", "loader", "stream"]
"""``memory``: slices of tensors in host memory; ``device``: of tensors on the device; ``loader``: torch's DataLoader
reads sample by sample; ``stream``: the training process reads in order."""

HELD = ("memory", "device")
"""The places of tensors, which are served as slices."""

COMFORTABLE = 0.25
"""The share of a device's free memory that samples may take by default; model, optimizer and activations come later."""


def choose_places(
    asked: str,
    samples: Mapping[str, Samples],
    device: torch.device,
    name: str = "dataset",
    *,
    collated: bool = False,
) -> dict[str, Place]:
    """Where each split is served from.

    Args:
        asked: ``auto``, ``memory``, ``device`` or ``loader``. ``auto`` serves samples in memory from there, or from a
            CUDA device if they take at most a quarter of its free memory.
        samples: The splits.
        device: The device for batches.
        name: The dataset's name, for messages.
        collated: Whether the dataset's own `collate` makes batches, so that samples are read one by one.

    Raises:
        UsageError: If the choice is not possible.
    """
    natural = {split: _natural(one, collated=collated) for split, one in samples.items()}
    if "stream" in natural.values() and asked != "auto":
        raise UsageError(
            f"dataset '{name}' is a stream, which the training process reads in order: it cannot be served from "
            f"{asked}\n  leave --serve-from out"
        )
    outside = [split for split, place in natural.items() if place == "loader"]
    if outside and asked in ("memory", "device"):
        raise UsageError(
            f"dataset '{name}' is not in memory ({', '.join(outside)}): its samples are read when they are needed, so "
            f"they cannot be served from {asked}\n"
            "  leave --serve-from out, or use --serve-from loader"
        )
    if asked == "loader":
        return dict.fromkeys(samples, "loader")
    held: Place = "device" if _on_device(asked, _num_bytes(samples), device) else "memory"
    return {split: held if place == "memory" else place for split, place in natural.items()}


def _natural(samples: Samples, *, collated: bool) -> Place:
    if isinstance(samples, Stream):
        return "stream"
    return "memory" if isinstance(samples, TensorSamples) and not collated else "loader"


def _num_bytes(samples: Mapping[str, Samples]) -> int:
    """The bytes of all samples that are in memory."""
    return sum(one.nbytes for one in samples.values() if isinstance(one, TensorSamples))


def check_streams(
    samples: Mapping[str, Samples], name: str, *, workers: int, collates: bool, has_sampler: bool
) -> None:
    """Refuse settings that streams, which yield samples themselves in their own order, would not use.

    Args:
        samples: The splits.
        name: The dataset's name, for messages.
        workers: The number of processes that load samples.
        collates: Whether the dataset collates its own batches.
        has_sampler: Whether the dataset has a sampler.

    Raises:
        UsageError: If a split is a stream and one of them is given.
    """
    if not any(isinstance(one, Stream) for one in samples.values()):
        return
    if workers:
        raise UsageError(
            f"a stream is read in order by the training process: {workers} workers would be unused\n"
            "  leave --workers out"
        )
    for what, asked in (("collate", collates), ("sampler", has_sampler)):
        if asked:
            raise UsageError(
                f"dataset '{name}' is a stream, which makes its own batches in its own order: its {what} would not "
                "be used\n"
                "  leave it out, and let the stream yield finished samples; or give samples with len() and [i]"
            )


def describe_places(places: Mapping[str, Place], sizes: Mapping[str, int], device: torch.device, workers: int) -> str:
    """The choice, in words."""
    words = {
        "memory": "in memory, served as slices"
        + (", the next batch copied while one is trained on" if device.type == "cuda" else ""),
        "device": f"held on {device}, served as slices",
        "loader": f"loaded by torch's DataLoader, {workers or 'no'} worker{'' if workers == 1 else 's'}",
        "stream": "read in order as a stream",
    }
    totals: dict[Place, int] = {}
    for split, place in places.items():
        totals[place] = totals.get(place, 0) + sizes[split]
    parts = [f"{plural(num, 'sample')} {words[place]}" for place, num in totals.items()]
    unused = f" ({workers} workers are unused)" if workers and "loader" not in places.values() else ""
    return f"data: {'; '.join(parts)}{unused}"


def delivered(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Move batches from host memory to the device, uint8 images as floats; for CUDA the next batch is copied ahead."""
    if device.type == "cuda":
        yield from _copied_ahead(batches, device)
        return
    for batch in batches:
        yield batch.changed(lambda inputs: tree.to(floats(inputs), device), lambda targets: tree.to(targets, device))


def _on_device(asked: str, size: int, device: torch.device) -> bool:
    """Whether samples in memory are moved to the device, which is useless without separate device memory."""
    if asked == "memory" or (asked == "auto" and device.type != "cuda"):
        return False
    if device.type != "cuda":
        raise UsageError(
            f"device {device.type} has no separate memory, so samples cannot be served from there\n"
            "  leave --serve-from out, or train on CUDA: --device cuda"
        )
    free, _ = torch.cuda.mem_get_info(device)
    if asked == "device" and size > free:
        raise UsageError(
            f"the samples take {size / 1e6:,.0f} MB, and {device} has {free / 1e6:,.0f} MB free\n"
            "  leave --serve-from out, or use --serve-from memory"
        )
    return asked == "device" or size <= COMFORTABLE * free


def _copied_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Copy each batch on a separate CUDA stream, while the previous one is computed.

    A copy from pinned memory does not make the host wait. Torch's allocators, including the one for pinned memory,
    reuse a block only when the copy is complete and, with `record_stream`, the computing stream has finished with it.
    """
    copies = torch.cuda.Stream(device)

    def copy(batch: Batch) -> Batch:
        with torch.cuda.stream(copies):
            return batch.changed(lambda inputs: floats(_sent(inputs, device)), lambda targets: _sent(targets, device))

    coming = next(batches, None)
    ahead = None if coming is None else copy(coming)
    while ahead is not None:
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copies)
        for _, leaf in tree.leaves((ahead.inputs, ahead.targets)):
            leaf.record_stream(computing)
        present, coming = ahead, next(batches, None)
        ahead = None if coming is None else copy(coming)
        yield present


def _sent(inputs: Tree, device: torch.device) -> Tree:
    return tree.map_leaves(lambda leaf: _pinned(leaf).to(device, non_blocking=True), inputs)


def _pinned(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_pinned() else tensor.pin_memory()
