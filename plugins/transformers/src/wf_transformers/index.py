"""Writes the index of the architectures anew: ``python -m wf_transformers.index``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from wf_catalogues.members import index_text
from wf_transformers import models

VOCABULARY, TOKENS = 11, 8


def works(name: str) -> bool:
    """Whether sizes alone make a model of an architecture that is small, and sees no token before its turn."""
    if name == models.AUTO:
        return True
    sizes: dict[str, Any] = {"layers": 2, "heads": 2, "width": 16}
    try:
        with torch.device("meta"):
            made = models.build(name, VOCABULARY, (TOKENS,), **sizes)
        if sum(param.numel() for param in made.parameters()) > 3_000_000:  # a size is called by another name
            return False
        torch.manual_seed(0)
        made = models.build(name, VOCABULARY, (TOKENS,), **sizes)
        tokens = torch.randint(VOCABULARY, (2, TOKENS))
        scores = made(tokens)
        torch.nn.functional.cross_entropy(scores.flatten(0, 1), tokens.flatten()).backward()
        whole = scores.shape == (2, TOKENS, VOCABULARY) and all(
            param.grad is not None for param in made.parameters() if param.requires_grad
        )
        other = torch.cat([tokens[:, :5], (tokens[:, 5:] + 1) % VOCABULARY], dim=1)
        with torch.no_grad():
            before, after = (made.eval()(one)[:, :5] for one in (tokens, other))
        return whole and torch.allclose(before, after, atol=1e-5)
    except Exception:  # each architecture raises what it likes
        return False


def text() -> str:
    """The text of the index."""
    found = {name: works(name) for name in models.names()}
    rows = [(name, "" if fine else "refused", "" if fine else models.NEEDS_FOLDER) for name, fine in found.items()]
    return index_text("transformers", "wf_transformers.index", rows)


if __name__ == "__main__":
    Path(__file__).with_name("models.txt").write_text(text(), encoding="utf-8")
