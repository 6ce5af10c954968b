"""Tokenizers, a kind declared by this package: they convert text to tokens, and tokens to text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Protocol

import numpy as np

from wf import FromRun
from wf.errors import DataError, UsageError
from wf_base.text import most_frequent, tokenize

MASK_NAME = "<mask>"
"""The name of the mask token in a dataset's vocabulary."""


class Tokenizer(Protocol):
    """The protocol of tokenizers.

    Optional members are `learn(texts)`, called once with pieces of all texts if `vocabulary` is empty; `encode_bytes`,
    called instead of `encode` with the bytes of a file, so that files need not be UTF-8; and `end`, a token that the
    dataset appends to each text. A tokenizer that learns takes the run value `learned`, and restores itself from it if
    given. For classified texts: `padding`, the padding token, and `mask`, the mask token (a dataset adds missing
    ones); `around`, the special tokens before and after each text, a pair of lists; and ``encode_words(words)``,
    called instead of `encode` for a text given as words: a list of tokens for each. Then `learn` gets such texts as
    lists of words.
    """

    @property
    def vocabulary(self) -> Sequence[str]:
        """One readable name per token. Its length is the number of tokens."""
        ...

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a text.

        Raises:
            DataError: For a text that cannot be encoded; `UnknownCharacterError` has the position.
        """
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        ...


class UnknownCharacterError(DataError):
    """A character that the vocabulary lacks.

    Args:
        character: The character.
        position: Its position in the text.
        num: The size of the vocabulary.
        where: A description of the text.
    """

    def __init__(self, character: str, position: int, num: int, where: str = "the text") -> None:
        super().__init__(
            f"{where}: character {character!r} (U+{ord(character):04X}) is not among the {num} characters that the "
            "run learned\n"
            "  leave it out, or train with a tokenizer for any text: --tokenizer bytes"
        )
        self.character, self.position, self.num = character, position, num

    def __reduce__(self) -> tuple[Any, ...]:
        return UnknownCharacterError, (self.character, self.position, self.num)

    def at(self, where: str) -> UnknownCharacterError:
        """The same error, with a description of the place."""
        return UnknownCharacterError(self.character, self.position, self.num, where)


class Bytes:
    """One token per byte of UTF-8: a vocabulary of 256, and files may contain anything."""

    vocabulary: Sequence[str] = tuple(chr(byte) if 32 < byte < 127 else f"<{byte:02x}>" for byte in range(256))

    def encode(self, text: str) -> Sequence[int]:
        """The bytes of a text."""
        return self.encode_bytes(text.encode("utf-8"))

    def encode_bytes(self, data: bytes) -> Sequence[int]:
        """The bytes, as an array of uint8."""
        found: Any = np.frombuffer(data, np.uint8)
        return found  # type: ignore[no-any-return]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text; invalid bytes become U+FFFD."""
        return bytes(tokens).decode("utf-8", errors="replace")


class Characters:
    """One token per character that occurs in the texts, in the order of code points.

    Args:
        learned: For a resumed run: its description; None for a new run.
    """

    def __init__(self, learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None) -> None:
        known = () if learned is None else learned["vocabulary"]
        # a dataset may have added special tokens
        self.vocabulary: Sequence[str] = tuple(one for one in known if len(one) == 1)

    def learn(self, texts: Iterable[str]) -> None:
        """Learn the vocabulary: the characters that occur in the texts."""
        found: set[str] = set()
        for text in texts:
            found.update(text)
        self.vocabulary = tuple(sorted(found))

    def encode(self, text: str) -> Sequence[int]:
        """The indices of the characters in the vocabulary, as an array."""
        known, points = _points("".join(self.vocabulary)), _points(text)
        places: Any = np.searchsorted(known, points).clip(max=max(len(known) - 1, 0))
        wrong = known[places] != points if len(known) else np.ones(len(points), bool)
        if wrong.any():
            first = int(wrong.argmax())
            raise UnknownCharacterError(text[first], first, len(known))
        return places  # type: ignore[no-any-return]

    def decode(self, tokens: Sequence[int]) -> str:
        """The characters."""
        return "".join(self.vocabulary[token] for token in tokens)


class Words:
    """One token per lower-case word or punctuation character; the vocabulary is the most frequent ones in the texts.
    All others are the unknown token.

    Args:
        size: The maximum size of the vocabulary, including padding and the unknown token.
        min_count: The minimum number of occurrences of a word in it.
        learned: For a resumed run: its description; None for a new run.

    Raises:
        UsageError: For an option out of range.
    """

    padding = 0

    def __init__(
        self,
        size: int = 20_000,
        min_count: int = 1,
        learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
    ) -> None:
        if size < 3 or min_count < 1:
            raise UsageError(
                f"tokenizer 'words': size is {size} and min_count {min_count}; they must be at least 3 and 1"
            )
        self._size, self._min_count = size, min_count
        self._places: dict[str, int] = {}
        self.vocabulary: Sequence[str] = ()
        if learned is not None:
            self._know([word for word in learned["vocabulary"] if word != MASK_NAME])  # added by a dataset

    def learn(self, texts: Iterable[str | Sequence[str]]) -> None:
        """Learn the vocabulary: the most frequent words of texts; a list of words is used unchanged."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(tokenize(text) if isinstance(text, str) else [word.lower() for word in text])
        self._know(most_frequent(counts, self._size, self._min_count))

    def encode(self, text: str) -> Sequence[int]:
        """The index of each word and punctuation character in the vocabulary; 1 is the unknown token."""
        return [self._places.get(word, 1) for word in tokenize(text)]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """One token per word, whatever characters it has."""
        return [[self._places.get(word.lower(), 1)] for word in words]

    def decode(self, tokens: Sequence[int]) -> str:
        """The words, with blanks between them."""
        return " ".join(self.vocabulary[token] for token in tokens)

    def _know(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = tuple(vocabulary)
        self._places = {word: place for place, word in enumerate(self.vocabulary)}


def with_token(names: Sequence[str], token: int | None, name: str) -> tuple[tuple[str, ...], int]:
    """A vocabulary in which a special token has its name, and that token; it is added if missing.

    Args:
        names: The vocabulary.
        token: The tokenizer's own token; None if it has none.
        name: Its name in the vocabulary.
    """
    if token is not None:
        return (*names[:token], name, *names[token + 1 :]), token
    return (tuple(names), names.index(name)) if name in names else ((*names, name), len(names))


def _points(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32)
