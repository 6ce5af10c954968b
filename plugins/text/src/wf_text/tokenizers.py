"""A kind of this package's own: tokenizers make tokens of text, and text of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Protocol

import numpy as np

from wf import FromRun
from wf.errors import DataError, UsageError
from wf_base.text import most_frequent, tokenize

MASK_NAME = "<mask>"
"""What a dataset calls the token of the mask in its vocabulary."""


class Tokenizer(Protocol):
    """What a component of the kind must have.

    It may have more: `learn(texts)`, called once with pieces of all texts where `vocabulary` is empty; `encode_bytes`,
    called instead of `encode` with what a file holds, so that files need not be UTF-8; and `end`, a token that the
    dataset puts behind each text. One that learns takes the run value `learned`, and is as it was where that is given.

    For texts that are classified: `padding`, the token that fills up batches, and `mask`, the token in place of one to
    be guessed (a dataset adds what is not there); `around`, the tokens before and behind each text, a pair of lists;
    and ``encode_words(words)``, called instead of `encode` for a text that comes in words: a list of tokens for each.
    `learn` of one that has it is given such texts as lists of words.
    """

    @property
    def vocabulary(self) -> Sequence[str]:
        """One name a token, for people. Its length is the number of tokens."""
        ...

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a text.

        Raises:
            DataError: For a text that cannot be told in its tokens; `UnknownCharacterError` says where.
        """
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        ...


class UnknownCharacterError(DataError):
    """A character that the vocabulary lacks.

    Args:
        character: The character.
        position: Its place in the text.
        num: The characters of the vocabulary.
        where: The text in words.
    """

    def __init__(self, character: str, position: int, num: int, where: str = "the text") -> None:
        super().__init__(
            f"{where}: character {character!r} (U+{ord(character):04X}) is none of the {num} characters that the run "
            "learned\n  leave it out, or train with tokens for any text: --tokenizer bytes"
        )
        self.character, self.position, self.num = character, position, num

    def __reduce__(self) -> tuple[Any, ...]:
        return UnknownCharacterError, (self.character, self.position, self.num)

    def at(self, where: str) -> UnknownCharacterError:
        """The same, with the place in words."""
        return UnknownCharacterError(self.character, self.position, self.num, where)


class Bytes:
    """One token a byte of UTF-8: 256 of them, and files may hold anything."""

    vocabulary: Sequence[str] = tuple(chr(byte) if 32 < byte < 127 else f"<{byte:02x}>" for byte in range(256))

    def encode(self, text: str) -> Sequence[int]:
        """The bytes of a text."""
        return self.encode_bytes(text.encode("utf-8"))

    def encode_bytes(self, data: bytes) -> Sequence[int]:
        """The bytes, as an array of uint8."""
        found: Any = np.frombuffer(data, np.uint8)
        return found  # type: ignore[no-any-return]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text; where bytes make no character, it has U+FFFD."""
        return bytes(tokens).decode("utf-8", errors="replace")


class Characters:
    """One token a character, in the order of their code points; the vocabulary is what occurs in the texts.

    Args:
        learned: What the run learned when it began; None while it begins.
    """

    def __init__(self, learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None) -> None:
        known = () if learned is None else learned["vocabulary"]
        self.vocabulary: Sequence[str] = tuple(one for one in known if len(one) == 1)  # a dataset may have added some

    def learn(self, texts: Iterable[str]) -> None:
        """Take the characters that occur in texts for the vocabulary."""
        found: set[str] = set()
        for text in texts:
            found.update(text)
        self.vocabulary = tuple(sorted(found))

    def encode(self, text: str) -> Sequence[int]:
        """The places of the characters in the vocabulary, as an array."""
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
    """One token a word in lower case or a single sign; the vocabulary is the most frequent ones of the texts.

    Those that are not in it are one token, the unknown.

    Args:
        size: The tokens of the vocabulary at most, with padding and the unknown.
        min_count: How often a word must occur to be in it.
        learned: What the run learned when it began; None while it begins.

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
            self._know([word for word in learned["vocabulary"] if word != MASK_NAME])  # which a dataset added

    def learn(self, texts: Iterable[str | Sequence[str]]) -> None:
        """Take the most frequent words of texts for the vocabulary; a list of words is taken as it is."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(tokenize(text) if isinstance(text, str) else [word.lower() for word in text])
        self._know(most_frequent(counts, self._size, self._min_count))

    def encode(self, text: str) -> Sequence[int]:
        """The place of each word and sign in the vocabulary; 1 is the unknown."""
        return [self._places.get(word, 1) for word in tokenize(text)]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """One token a word, whatever signs it has."""
        return [[self._places.get(word.lower(), 1)] for word in words]

    def decode(self, tokens: Sequence[int]) -> str:
        """The words, with blanks between them."""
        return " ".join(self.vocabulary[token] for token in tokens)

    def _know(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = tuple(vocabulary)
        self._places = {word: place for place, word in enumerate(self.vocabulary)}


def with_token(names: Sequence[str], token: int | None, name: str) -> tuple[tuple[str, ...], int]:
    """A vocabulary in which a token has a name of its own, and that token; it is added where there is none.

    Args:
        names: The vocabulary.
        token: The tokenizer's own; None where it has none.
        name: What people and the run know it by.
    """
    if token is not None:
        return (*names[:token], name, *names[token + 1 :]), token
    return (tuple(names), names.index(name)) if name in names else ((*names, name), len(names))


def _points(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32)
