"""Text as tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import wf
from wf.errors import DataError
from wf_base import Dataset, TensorSamples
from wf_base.text import PADDING, UNKNOWN, encode, make_vocabulary, tokenize


def test_tokens_are_words_and_signs() -> None:
    assert tokenize("Don't stop, Ada!  42\u00e9") == ["don't", "stop", ",", "ada", "!", "42\u00e9"]
    assert tokenize(" \n") == []


def test_vocabulary_is_sorted_by_frequency() -> None:
    texts = [["b", "a", "c"], ["b", "a"], ["b"]]
    assert make_vocabulary(texts, 10) == [PADDING, UNKNOWN, "b", "a", "c"]
    assert make_vocabulary(texts, 3) == [PADDING, UNKNOWN, "b"]
    assert make_vocabulary(texts, 10, min_count=2) == [PADDING, UNKNOWN, "b", "a"]


def test_encode_pads_and_cuts() -> None:
    tokens = encode([["b", "x"], [], ["a", "b", "a"]], [PADDING, UNKNOWN, "a", "b"], 2)
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [[3, 1], [0, 0], [2, 3]]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_a_large_vocabulary_loses_nothing(texts: list[str]) -> None:
    tokens = [tokenize(text) for text in texts]
    vocabulary = make_vocabulary(tokens, 1000)
    length = max(map(len, tokens), default=0)
    read = [[vocabulary[place] for place in row if place] for row in encode(tokens, vocabulary, length).tolist()]
    assert read == tokens


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(6, 3), r"tokens must be int64 \[N, T\], not torch.float32 \[4, 3\]"),
        (torch.full((6, 3), 4), "tokens from 4 to 4 do not fit a vocabulary of 4"),
        (torch.full((6, 3), -1), "tokens from -1 to -1 do not fit"),
    ],
)
def test_tokens_that_do_not_fit_the_vocabulary(inputs: Any, message: str) -> None:
    samples = TensorSamples(inputs, torch.tensor([0, 1] * 3))
    data = Dataset(train=samples, targets="class_index", class_names=("x", "y"), vocabulary=("p", "u", "a", "b"))
    with pytest.raises(DataError, match=message):
        wf.build(dataset=data, model="lstm", save=False)
