"""Continues a text token by token."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from wf.errors import UsageError


def generate(
    model: nn.Module,
    tokens: Tensor,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    cached: bool = True,
) -> Iterator[int]:
    """Continue tokens with a language model, each drawn by its probability given all previous ones.

    If the text is longer than the model's `context`, the model sees its end.

    Args:
        model: Returns scores ``[1, T, V]`` for tokens ``[1, T]``. If its `forward` has a parameter `cache`, a list, it
            stores its state of previous tokens there, and gets only the new ones.
        tokens: int64 ``[T]``, at least one.
        max_new_tokens: The number of tokens to generate.
        temperature: The divisor of scores; 0 takes the most likely token.
        top_k: The number of most likely tokens to draw from; None for all.
        generator: The random generator, on the CPU.
        cached: Whether the cache is used.

    Raises:
        UsageError: For invalid settings.
    """
    _check(tokens, max_new_tokens, temperature, top_k)
    context = getattr(model, "context", None)
    caches = cached and "cache" in inspect.signature(model.forward).parameters
    cache: list[Any] = []
    given = tokens[None]
    fresh = given[:, -context:] if context else given
    for _ in range(max_new_tokens):
        if caches and (context is None or given.shape[1] <= context):
            scores = model(fresh, cache=cache)[0, -1]
        else:  # positions are counted from the first visible token, so the cache is no longer valid
            scores = model(given[:, -context:] if context else given)[0, -1]
        token = _drawn(scores.float().cpu(), temperature, top_k, generator)
        yield token
        fresh = torch.tensor([[token]], device=given.device)
        given = torch.cat([given, fresh], dim=1)


def _drawn(scores: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> int:
    """Draw a token by its scores ``[V]``."""
    if temperature == 0:
        return int(scores.argmax())
    scores = scores / temperature
    if top_k is not None and top_k < len(scores):
        scores = scores.masked_fill(scores < scores.topk(top_k).values[-1], -torch.inf)
    return int(torch.multinomial(scores.softmax(-1), 1, generator=generator))


def _check(tokens: Tensor, max_new_tokens: int, temperature: float, top_k: int | None) -> None:
    if not len(tokens):
        raise UsageError("there is no token to continue: give a prompt, --prompt TEXT")
    if max_new_tokens < 1:
        raise UsageError(f"--max-new-tokens is {max_new_tokens}; it must be at least 1")
    if not temperature >= 0:
        raise UsageError(f"--temperature is {temperature}; it must be at least 0")
    if top_k is not None and top_k < 1:
        raise UsageError(f"--top-k is {top_k}; it must be at least 1")
