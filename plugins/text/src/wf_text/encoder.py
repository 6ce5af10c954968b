"""A small transformer encoder, with heads for texts, for words and for masked tokens: Devlin et al. (2019), *BERT*."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from wf import FromRun
from wf.errors import UsageError

LONGEST = 512
"""The maximum number of tokens of a text, if the dataset does not give it."""


class Encoder(nn.Module):
    """Contextual embeddings of tokens.

    Args:
        vocab_size: The size of the vocabulary.
        layers: The number of layers; 0 for the embeddings alone.
        heads: Attention heads per layer.
        width: The embedding dimension; a multiple of `heads`.
        dropout: The dropout probability.
        context: The maximum number of tokens.

    Raises:
        UsageError: For sizes that do not fit together.
    """

    def __init__(self, vocab_size: int, layers: int, heads: int, width: int, dropout: float, context: int) -> None:
        super().__init__()
        _check(layers, heads, width, dropout, context)
        self.context = context
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """``[N, T, width]``.

        Args:
            input_ids: int64 ``[N, T]``.
            attention_mask: 1 for tokens and 0 for padding, which no token attends to; None without padding.

        Raises:
            UsageError: For more tokens than `context`.
        """
        length = input_ids.shape[1]
        if length > self.context:
            raise UsageError(f"a text has {length} tokens, but the model takes at most {self.context}, its context")
        x = self.tokens(input_ids) + self.positions(torch.arange(length, device=input_ids.device))
        x = self.dropout(x)
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        found: Tensor = self.norm(x)
        return found


class Layer(nn.Module):
    """Attention and a hidden layer, each with a residual connection."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self._heads, self._dropout = heads, dropout
        self.norm_1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``[N, T, width]`` from the same shape; `mask` is bool ``[N, 1, 1, T]``."""
        num, length, width = x.shape
        q, k, v = (
            part.view(num, length, self._heads, width // self._heads).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).split(width, dim=2)
        )
        dropout = self._dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        x = x + self.dropout(self.project(y.transpose(1, 2).reshape(num, length, width)))
        added: Tensor = x + self.dropout(self.contract(F.gelu(self.expand(self.norm_2(x)))))
        return added


class TextClassifier(nn.Module):
    """Scores for the classes of each text: an encoder, the mean over its tokens, and a linear layer.

    Args:
        vocab_size: The size of the vocabulary.
        num_outputs: The number of classes.
        layers: Layers of the encoder; 0 for a bag of embeddings.
        heads: Attention heads per layer.
        width: The embedding dimension; a multiple of `heads`.
        dropout: The dropout probability.
        context: The maximum number of tokens; by default the dataset's maximum.
        dataset_facts: The dataset's facts about its texts.

    Raises:
        UsageError: For sizes that do not fit together.
    """

    def __init__(
        self,
        vocab_size: int,
        num_outputs: int,
        layers: int = 2,
        heads: int = 4,
        width: int = 128,
        dropout: float = 0.1,
        context: int | None = None,
        dataset_facts: Annotated[Mapping[str, Any] | None, FromRun("dataset_facts")] = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(vocab_size, layers, heads, width, dropout, longest(context, dataset_facts))
        self.head = nn.Linear(width, num_outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """``[N, num_outputs]``."""
        x = self.encoder(input_ids, attention_mask)
        if attention_mask is None:
            means = x.mean(1)
        else:
            counted = attention_mask.unsqueeze(2).to(x.dtype)
            means = (x * counted).sum(1) / counted.sum(1).clamp(min=1)
        scores: Tensor = self.head(means)
        return scores


class TokenClassifier(nn.Module):
    """Scores for the tags of each token: an encoder and a linear layer.

    Args:
        vocab_size: The size of the vocabulary.
        num_outputs: The number of tags.
        layers: Layers of the encoder.
        heads: Attention heads per layer.
        width: The embedding dimension; a multiple of `heads`.
        dropout: The dropout probability.
        context: The maximum number of tokens; by default the dataset's maximum.
        dataset_facts: The dataset's facts about its texts.

    Raises:
        UsageError: For sizes that do not fit together.
    """

    def __init__(
        self,
        vocab_size: int,
        num_outputs: int,
        layers: int = 2,
        heads: int = 4,
        width: int = 128,
        dropout: float = 0.1,
        context: int | None = None,
        dataset_facts: Annotated[Mapping[str, Any] | None, FromRun("dataset_facts")] = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(vocab_size, layers, heads, width, dropout, longest(context, dataset_facts))
        self.head = nn.Linear(width, num_outputs)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, word_mask: Tensor | None = None
    ) -> Tensor:
        """``[N, T, num_outputs]``; `word_mask` is only used by the task."""
        scores: Tensor = self.head(self.encoder(input_ids, attention_mask))
        return scores


class MaskedLM(nn.Module):
    """Scores for the token at each position: an encoder, a hidden layer, and a head with the weights of the embedding.

    Args:
        vocab_size: The size of the vocabulary.
        layers: Layers of the encoder.
        heads: Attention heads per layer.
        width: The embedding dimension; a multiple of `heads`.
        dropout: The dropout probability.
        context: The maximum number of tokens; by default the dataset's maximum.
        dataset_facts: The dataset's facts about its texts.

    Raises:
        UsageError: For sizes that do not fit together.
    """

    def __init__(
        self,
        vocab_size: int,
        layers: int = 2,
        heads: int = 4,
        width: int = 128,
        dropout: float = 0.1,
        context: int | None = None,
        dataset_facts: Annotated[Mapping[str, Any] | None, FromRun("dataset_facts")] = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(vocab_size, layers, heads, width, dropout, longest(context, dataset_facts))
        self.hidden = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size)
        self.head.weight = self.encoder.tokens.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """``[N, T, vocab_size]``."""
        scores: Tensor = self.head(self.norm(F.gelu(self.hidden(self.encoder(input_ids, attention_mask)))))
        return scores


def longest(context: int | None, facts: Mapping[str, Any] | None) -> int:
    """The maximum number of tokens of a model.

    Args:
        context: The requested number.
        facts: The dataset's facts: `max_tokens` of its texts.

    Raises:
        UsageError: If it is smaller than the dataset's.
    """
    has = int((facts or {}).get("max_tokens", 0))
    if context is not None and context < has:
        raise UsageError(
            f"model option 'context' is {context}, but texts may have {has} tokens\n"
            f"  truncate them: --dataset.max_tokens {context}; or leave it out"
        )
    return has or LONGEST if context is None else context


def _check(layers: int, heads: int, width: int, dropout: float, context: int) -> None:
    if layers < 0:
        raise UsageError(f"model option 'layers' is {layers}; it must be at least 0")
    for option, size in {"heads": heads, "width": width, "context": context}.items():
        if size < 1:
            raise UsageError(f"model option '{option}' is {size}; it must be at least 1")
    if width % heads:
        raise UsageError(f"model option 'width' is {width}; it must be a multiple of heads, {heads}")
    if not 0 <= dropout < 1:
        raise UsageError(f"model option 'dropout' is {dropout}; it must be from 0 to less than 1")
