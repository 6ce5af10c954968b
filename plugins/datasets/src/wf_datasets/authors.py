"""Sentences of three authors."""

from __future__ import annotations

from importlib.resources import files

from wf.errors import UsageError
from wf_base import Dataset, TensorSamples, class_index
from wf_base.text import encode, make_vocabulary, tokenize


def authors(vocabulary_size: int = 2000, max_tokens: int = 32) -> Dataset:
    """Sentences by Lewis Carroll, John Milton and William Shakespeare, 700 each; the class is the author.

    From Alice's Adventures in Wonderland, Paradise Lost and As You Like It, all in the public domain. Tokens are words
    in lower case and single punctuation characters; the vocabulary is counted over all splits, without using the
    authors.

    Args:
        vocabulary_size: The size of the vocabulary, the most frequent tokens; all others are the unknown token. At
            least 3.
        max_tokens: Longer sentences are truncated.

    Returns:
        Inputs int64 ``[2100, max_tokens]``, tokens padded with 0; targets ``class_index``.

    Raises:
        UsageError: For an option out of range.
    """
    if vocabulary_size < 3 or max_tokens < 1:
        raise UsageError(
            f"authors: vocabulary_size is {vocabulary_size} and max_tokens {max_tokens}; they must be at least 3 and 1"
        )
    lines = files("wf_datasets").joinpath("authors.tsv").read_text(encoding="ascii").splitlines()
    names, texts = zip(*(line.split("\t") for line in lines if not line.startswith("#")), strict=True)
    tokens = [tokenize(text) for text in texts]
    vocabulary = make_vocabulary(tokens, vocabulary_size)
    targets, class_names = class_index(names)
    return Dataset(
        train=TensorSamples(encode(tokens, vocabulary, max_tokens), targets),
        targets="class_index",
        class_names=class_names,
        vocabulary=vocabulary,
    )
