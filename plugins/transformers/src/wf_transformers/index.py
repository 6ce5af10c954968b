"""Rewrites the index of the architectures: ``python -m wf_transformers.index``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wf_catalogues.members import index_text
from wf_text.plugin import NEXT
from wf_transformers import models
from wf_transformers.heads import CAUSAL, OF_TARGETS

VOCABULARY, TOKENS, CLASSES = 11, 8, 3
SIZES: dict[str, Any] = {"layers": 2, "heads": 2, "width": 16}
FACTS = {"max_tokens": TOKENS, "padding": 0}


def heads(name: str) -> list[str]:
    """The heads for which an architecture works when built from sizes alone, named as in `Head.lora`."""
    if name.startswith(models.PREFIX):
        return ["SEQ_CLS"] if _scores(name, None, "SEQ_CLS") else []
    return [
        head.lora
        for targets, head in OF_TARGETS.items()
        if (_sees_none_before_its_turn(name) if head is CAUSAL else _scores(name, targets, head.lora))
    ]


def works(name: str) -> bool:
    """Whether there are any."""
    return name.removeprefix(models.PREFIX) == models.AUTO or bool(heads(name))


def _made(name: str, targets: str | None) -> Any:
    causal = targets == NEXT
    more: dict[str, Any] = {} if causal else {"dataset_facts": FACTS, "num_outputs": CLASSES}
    models.heads_of = dict  # type: ignore[assignment]  # none is known to have others yet
    with torch.device("meta"):
        made = models.build(name, VOCABULARY, (TOKENS,), targets=targets, **SIZES, **more)
    if sum(param.numel() for param in made.parameters()) > 3_000_000:  # a size has another name
        raise ValueError("it is large")
    torch.manual_seed(0)
    return models.build(name, VOCABULARY, (TOKENS,), targets=targets, **SIZES, **more)


def _sees_none_before_its_turn(name: str) -> bool:
    """Whether it is a causal language model that trains."""
    try:
        made = _made(name, NEXT)
        tokens = torch.randint(VOCABULARY, (2, TOKENS))
        scores = made(tokens)
        torch.nn.functional.cross_entropy(scores.flatten(0, 1), tokens.flatten()).backward()
        other = torch.cat([tokens[:, :5], (tokens[:, 5:] + 1) % VOCABULARY], dim=1)
        with torch.no_grad():
            before, after = (made.eval()(one)[:, :5] for one in (tokens, other))
        whole = _is_whole(made, scores, (2, TOKENS, VOCABULARY), unused=0)
        return whole and torch.allclose(before, after, atol=1e-5)
    except Exception:  # architectures raise various errors
        return False


def _scores(name: str, targets: str | None, head: str) -> bool:
    """Whether it trains on padded texts, and padding changes nothing."""
    try:
        made = _made(name, targets)
        tokens = torch.randint(1, VOCABULARY, (2, TOKENS))
        tokens[1, 5:] = 0
        mask = (tokens > 0).to(torch.int64)
        scores = made(tokens, mask)
        scores.square().mean().backward()
        shape = {"SEQ_CLS": (2, CLASSES), "TOKEN_CLS": (2, TOKENS, CLASSES)}.get(head, (2, TOKENS, VOCABULARY))
        with torch.no_grad():
            padded, alone = made.eval()(tokens, mask)[1:], made(tokens[1:, :5], mask[1:, :5])
        if padded.ndim == 3:
            padded = padded[:, :5]
        return _is_whole(made, scores, shape) and torch.allclose(padded, alone, atol=1e-5)
    except Exception:  # likewise
        return False


def _is_whole(made: Any, scores: Tensor, shape: tuple[int, ...], unused: float = 0.25) -> bool:
    """Whether scores are valid, and gradients reach all parameters except a share, such as a pooler."""
    trained = [param for param in made.parameters() if param.requires_grad]
    return tuple(scores.shape) == shape and sum(param.grad is None for param in trained) <= unused * len(trained)


def write(folder: Path) -> None:
    """Write both files."""
    found = {name: heads(name) for name in models.names() if name.removeprefix(models.PREFIX) != models.AUTO}
    rows = []
    for name in models.names():
        fine = name not in found or found[name]
        group = "text" if name.startswith(models.PREFIX) else ""
        rows.append((name, group, "") if fine else (name, "refused", models.NEEDS_FOLDER))
    text = index_text("transformers", "wf_transformers.index", rows)
    able = [" ".join([name, *own]) for name, own in found.items() if own and not name.startswith(models.PREFIX)]
    (folder / "models.txt").write_text(text, encoding="utf-8")
    (folder / "heads.txt").write_text("\n".join([text.partition("\n")[0], *able]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent)
