"""A small GPT: Radford et al. (2019), *Language Models are Unsupervised Multitask Learners*."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from wf import FromRun
from wf.errors import UsageError

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, ``[N, heads, T, width / heads]``, of the tokens so far."""


class GPT(nn.Module):
    """Scores for the next token at each position: embeddings, layers of attention and a hidden layer each, and a head.

    The head shares the weights of the embedding. Weights are initialized as in GPT-2: with a standard deviation of
    0.02, and less for projections added to the residual stream.

    Args:
        vocab_size: The size of the vocabulary.
        layers: The number of layers.
        heads: Attention heads per layer.
        width: The embedding dimension; a multiple of `heads`.
        dropout: The dropout probability.
        context: The maximum number of tokens; by default those of a sample.
        input_shape: The shape of a sample, ``(T,)``.

    Raises:
        UsageError: For sizes that do not fit together.
    """

    def __init__(
        self,
        vocab_size: int,
        layers: int = 4,
        heads: int = 4,
        width: int = 128,
        dropout: float = 0.0,
        context: int | None = None,
        input_shape: Annotated[tuple[int, ...] | None, FromRun("input_shape")] = None,
    ) -> None:
        super().__init__()
        block = input_shape[0] if input_shape else 0
        self.context = context or block
        _check(layers=layers, heads=heads, width=width, context=self.context)
        if width % heads:
            raise UsageError(f"model option 'width' is {width}; it must be a multiple of heads, {heads}")
        if self.context < block:
            raise UsageError(f"model option 'context' is {context}, but samples have {block} tokens\n  leave it out")
        if not 0 <= dropout < 1:
            raise UsageError(f"model option 'dropout' is {dropout}; it must be from 0 to less than 1")
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(self.context, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                scale = 1 / math.sqrt(2 * layers) if name.endswith("project") else 1
                nn.init.normal_(module.weight, std=0.02 * scale)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Scores ``[N, T, vocab_size]`` for the token after each one.

        Args:
            tokens: int64 ``[N, T]``.
            cache: The state that `forward` stored for previous tokens, an empty list at first; these tokens are
                appended.

        Raises:
            UsageError: For more tokens than `context`.
        """
        begin = cache[0][0].shape[2] if cache else 0
        end = begin + tokens.shape[1]
        if end > self.context:
            raise UsageError(f"there are {end} tokens, but the model takes at most {self.context}, its context")
        x = self.tokens(tokens) + self.positions(torch.arange(begin, end, device=tokens.device))
        x = self.dropout(x)
        for number, layer in enumerate(self.layers):
            x = layer(x, number, cache)
        scores: Tensor = self.head(self.norm(x))
        return scores


class Layer(nn.Module):
    """Attention and a hidden layer, each with a residual connection."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width, bias=False)
        self.attention = Attention(width, heads, dropout)
        self.norm_2 = nn.LayerNorm(width, bias=False)
        self.expand = nn.Linear(width, 4 * width, bias=False)
        self.project = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, number: int, cache: Cache | None) -> Tensor:
        """``[N, T, width]`` of the same."""
        x = x + self.dropout(self.attention(self.norm_1(x), number, cache))
        added: Tensor = x + self.dropout(self.project(F.gelu(self.expand(self.norm_2(x)))))
        return added


class Attention(nn.Module):
    """Scaled dot-product attention of each token to itself and previous ones."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self._heads, self._dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, number: int, cache: Cache | None) -> Tensor:
        """``[N, T, width]`` of the same; keys and values are stored at index `number` of the cache."""
        num, length, width = x.shape
        q, k, v = (
            part.view(num, length, self._heads, width // self._heads).transpose(1, 2)
            for part in self.qkv(x).split(width, dim=2)
        )
        if cache is not None:
            if number < len(cache):
                k, v = (torch.cat([old, new], dim=2) for old, new in zip(cache[number], (k, v), strict=True))
            cache[number : number + 1] = [(k, v)]
        mask = None
        if k.shape[2] > length > 1:  # several tokens after cached ones
            mask = torch.ones(length, k.shape[2], dtype=torch.bool, device=x.device).tril(k.shape[2] - length)
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self._dropout if self.training else 0.0,
            is_causal=mask is None and length > 1,
        )
        out: Tensor = self.project(y.transpose(1, 2).reshape(num, length, width))
        return out


def _check(**sizes: int) -> None:
    for option, size in sizes.items():
        if size < 1:
            raise UsageError(f"model option '{option}' is {size}; it must be at least 1")
