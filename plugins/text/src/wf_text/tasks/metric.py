"""Metrics of tokens: perplexity, accuracy, and the F1 of entities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from wf_base import Metric


class Perplexity(Metric):
    """e to the mean negative log likelihood of a token, over all tokens of the split.

    Args:
        ignore_index: Targets of this value are ignored.
    """

    figures: ClassVar[dict[str, bool | None]] = {"": False}

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self._ignore_index = ignore_index

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with scores ``[N, T, V]`` and int64 tokens ``[N, T]``."""
        scores, wanted = predictions.flatten(0, -2), targets.flatten()
        each = F.cross_entropy(scores.float(), wanted, ignore_index=self._ignore_index, reduction="none")
        self.add("sum", each.double().sum())
        self.add("count", (wanted != self._ignore_index).sum())

    def compute(self) -> Tensor:
        """The perplexity, 0-d."""
        return (self.total("sum") / self.total("count")).exp()


class TokenAccuracy(Metric):
    """The accuracy over tokens that are not ignored.

    Args:
        ignore_index: Targets of this value are ignored.
    """

    figures: ClassVar[dict[str, bool | None]] = {"": True}

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self._ignore_index = ignore_index

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with scores ``[N, T, C]`` and int64 classes ``[N, T]``."""
        counted = targets != self._ignore_index
        self.add("right", ((predictions.argmax(-1) == targets) & counted).sum())
        self.add("count", counted.sum())

    def compute(self) -> Tensor:
        """The share, 0-d."""
        return self.total("right").double() / self.total("count")


class EntityF1(Metric):
    """F1 of entities. An entity is a span of words; it counts as correct if its words and its type are correct.

    Tags are a prefix and a type, ``B-PER``, and ``O`` for no entity: IOB (1 and 2), IOE or IOBES. Entities are
    delimited as by the script conlleval of CoNLL-2000, which seqeval also follows. Only first tokens of words count.

    Args:
        class_names: The tags.
        ignore_index: Targets of this value are ignored.
    """

    figures: ClassVar[dict[str, bool | None]] = {"": True, "/precision": True, "/recall": True}

    def __init__(self, class_names: Sequence[str], ignore_index: int = -100) -> None:
        super().__init__()
        self._tags, self._ignore_index = [_divided(name) for name in class_names], ignore_index

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Update with scores ``[N, T, C]`` and int64 tags ``[N, T]``; the host waits for them."""
        hits = found = there = 0
        for guesses, wanted in zip(predictions.argmax(-1).tolist(), targets.tolist(), strict=True):
            counted = [place for place, tag in enumerate(wanted) if tag != self._ignore_index]
            guessed, right = (set(entities([self._tags[row[place]] for place in counted])) for row in (guesses, wanted))
            hits, found, there = hits + len(guessed & right), found + len(guessed), there + len(right)
        for name, number in (("hits", hits), ("found", found), ("there", there)):
            self.add(name, torch.tensor(number, device=targets.device))

    def compute(self) -> dict[str, Tensor]:
        """F1, precision and recall over all entities; 0 for a division by zero."""
        hits, found, there = (self.total(name).double() for name in ("hits", "found", "there"))
        return {
            "": 2 * hits / (found + there).clamp(min=1),
            "/precision": hits / found.clamp(min=1),
            "/recall": hits / there.clamp(min=1),
        }


def entities(tags: Sequence[tuple[str, str]]) -> Iterator[tuple[str, int, int]]:
    """The entities of a text: type, first word, and the word after the last.

    Args:
        tags: Prefix and type of each word's tag.
    """
    begin, before = 0, ("O", "")
    for place, tag in enumerate([*tags, ("O", "")]):
        if before[0] != "O" and (before[0] in "ES" or tag[0] in "BSO" or before[1] != tag[1]):
            yield before[1], begin, place
        if tag[0] != "O" and (before[0] in "OES" or tag[0] in "BS" or before[1] != tag[1]):
            begin = place
        before = tag


def _divided(name: str) -> tuple[str, str]:
    """Prefix and type of a tag; consecutive equal tags without a prefix are one entity."""
    prefix, dash, kind = name.partition("-")
    if name == "O":
        return "O", ""
    return (prefix, kind) if dash and prefix in ("B", "I", "E", "S") else ("I", name)
