"""Where two states differ, bit for bit and type for type."""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf_base.shards import is_sharded, like, local

ABSENT = "not there"
"""The mark of a missing value in a difference."""
_NOTHING = object()
_SHOWN = 40
"""The most characters of a value in a message."""


@dataclass(frozen=True)
class Difference:
    """One value that is not the same in two states."""

    path: str
    """Where, as ``optimizer.state.0.exp_avg``."""
    before: str
    """The value in the first state, for messages."""
    after: str
    """The value in the second."""

    def __str__(self) -> str:
        return f"{self.path}: {self.before}, now {self.after}"


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """Every value that is not the same in two states of the types that `wf_state.codec` holds.

    Tensors are the same with one dtype, shape and content, to the bit, wherever they lie; of those that are divided
    among processes, this process's parts, also where only one of the two states is divided. Mappings are the same
    whatever their order. A container without a counterpart is one difference.
    """
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        before, after = like(before, after), like(after, before)
    if type(before) is not type(after) and not (isinstance(before, Tensor) and isinstance(after, Tensor)):
        yield Difference(path or "state", *_words(before, after))
    elif isinstance(before, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key, _NOTHING), after.get(key, _NOTHING), _below(path, key))
    elif isinstance(before, (list, tuple, deque)):
        for number, (one, other) in enumerate(zip_longest(before, after, fillvalue=_NOTHING)):
            yield from differences(one, other, _below(path, number))
    elif not _same(before, after):
        yield Difference(path or "state", *_words(before, after))


def num_values(state: Any) -> int:
    """How many values a state holds: the tensors, numbers and words in it."""
    if isinstance(state, Mapping) and not isinstance(state, Counter):
        return sum(map(num_values, state.values()))
    return sum(map(num_values, state)) if isinstance(state, (list, tuple, deque)) else 1


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor):
        return _form(before) == _form(after) and torch.equal(_bits(before), _bits(after))
    if isinstance(before, (np.ndarray, np.generic)):
        return (before.dtype, before.shape, before.tobytes()) == (after.dtype, after.shape, after.tobytes())
    if isinstance(before, float):
        return struct.pack("d", before) == struct.pack("d", after)
    if isinstance(before, complex):
        return _same(before.real, after.real) and _same(before.imag, after.imag)
    return bool(before == after)


def _form(tensor: Tensor) -> tuple[Any, ...]:
    """The dtype, the shape, and the shape of the part that is here."""
    return tensor.dtype, tensor.shape, local(tensor).shape


def _bits(tensor: Tensor) -> Tensor:
    """The content as bytes, so that NaN equals itself and the two zeros differ."""
    return local(tensor).detach().cpu().resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8)


def _words(before: Any, after: Any) -> tuple[str, str]:
    """Both values for messages; for two tensors of the same shape and dtype their distance."""
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return _word(before), _word(after)
    if _form(before) != _form(after):
        return _word(before), _word(after)
    before, after = local(before), local(after)
    changed = _bits(before).reshape(-1, before.element_size()) != _bits(after).reshape(-1, before.element_size())
    count = int(changed.any(dim=1).sum())
    return _word(before), f"{count:,} of {before.numel():,} numbers differ{_apart(before, after)}"


def _apart(before: Tensor, after: Tensor) -> str:
    if not before.is_floating_point():
        return ""
    return f", by up to {(before.detach().cpu().double() - after.detach().cpu().double()).abs().max().item():.3g}"


def _word(value: Any) -> str:
    if value is _NOTHING:
        return ABSENT
    if isinstance(value, Tensor):
        words = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
        return f"{words}, divided among processes" if is_sharded(value) else words
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
