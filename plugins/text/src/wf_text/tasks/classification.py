"""The task of text classification in a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from wf_base import Dataset, TensorSamples
from wf_base.text import TOKENS
from wf_tasks.classification import Classification
from wf_text.reading.samples import MASK, num_tokens
from wf_text.tasks.tokenwise import WORDS_OF_EXAMPLE


class TextClassification(Classification):
    """One of several classes per text."""

    unit = "tokens"

    def units(self, inputs: Any, targets: Any) -> Any:
        """The number of tokens."""
        return num_tokens(inputs)

    def example(self, num: int = 24, seed: int = 0, input_shape: Sequence[int] | None = None) -> Dataset:
        """Sequences of tokens; the first token determines the class."""
        length = (input_shape or (6,))[0]
        tokens = torch.randint(1, 5, (num, length), generator=torch.Generator().manual_seed(seed))
        targets = self.example_indices(num)
        tokens[:, 0] = targets + 1
        return Dataset(
            train=TensorSamples({TOKENS: tokens, MASK: torch.ones_like(tokens)}, targets),
            targets="class_index",
            task="text-classification",
            class_names=[str(index) for index in range(self.example_classes)],
            vocabulary=WORDS_OF_EXAMPLE,
        )
