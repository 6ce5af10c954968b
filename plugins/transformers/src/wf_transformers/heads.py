"""The heads of transformers' models: scores for the next token, masked tokens, tags, or classes of texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import transformers
from torch import Tensor, nn
from transformers.models.auto import modeling_auto

from wf_text.plugin import MASKED, NEXT, TAGS


@dataclass(frozen=True)
class Head:
    """A kind of model by its outputs."""

    words: str
    auto: Any
    """The class that builds it from a configuration or a folder."""
    names: Mapping[str, Any]
    """The architectures that have it."""
    lora: str
    """Its task type in peft."""


CAUSAL = Head(
    "causal language model",
    transformers.AutoModelForCausalLM,
    modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "CAUSAL_LM",
)
OF_TARGETS = {
    NEXT: CAUSAL,
    MASKED: Head(
        "masked language model",
        transformers.AutoModelForMaskedLM,
        modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "FEATURE_EXTRACTION",
    ),
    TAGS: Head(
        "model for token classification",
        transformers.AutoModelForTokenClassification,
        modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        "TOKEN_CLS",
    ),
}
"""The models by the targets of the run."""
TEXT = Head(
    "model for text classification",
    transformers.AutoModelForSequenceClassification,
    modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "SEQ_CLS",
)


class Headed(nn.Module):
    """A model of transformers that is called with a batch of padded texts.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, word_mask: Tensor | None = None
    ) -> Tensor:
        """Its scores: ``[N, num_outputs]`` for texts, else ``[N, T, num_outputs or vocab_size]``.

        Args:
            input_ids: int64 ``[N, T]``.
            attention_mask: 1 for tokens and 0 for padding.
            word_mask: A mask of the tokens that begin a word; only the task uses it.
        """
        scores: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return scores
