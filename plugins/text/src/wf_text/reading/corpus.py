"""Converts the texts in files to tokens piece by piece, so that they may be larger than memory."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wf.errors import DataError, PluginError
from wf_base.reading import compression_of, unpacking
from wf_text.tokenizers import Tokenizer, UnknownCharacterError

_LOG = logging.getLogger("wf")

PIECE = 1 << 20
"""The approximate number of bytes read at once; a piece ends after a line."""
DIGEST = 16
"""The number of bytes of the checksum at the start of a token file."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Piece:
    """Some lines of a file."""

    file: Path
    data: bytes
    offset: int
    """Their offset in the file, in bytes."""
    line: int
    """The number of the first line, from 1."""

    @property
    def text(self) -> str:
        """The lines as text.

        Raises:
            DataError: If they are not UTF-8, with the offset of the first wrong byte.
        """
        return decoded(self.file, self.data, self.offset, "or train with bytes as tokens: --tokenizer bytes")


def decoded(file: Path, data: bytes, offset: int = 0, otherwise: str = "") -> str:
    """The text of some bytes of a file, without a byte order mark at its beginning.

    Args:
        file: The file.
        data: The bytes.
        offset: Their offset in it.
        otherwise: Further advice for bytes that are not UTF-8.

    Raises:
        DataError: If they are not UTF-8, with the offset of the first wrong byte.
    """
    packed = None if offset else compression_of(data)
    if packed is not None:
        raise DataError(f"'{file}' is compressed ({packed})\n  {unpacking(file.name, packed)}")
    try:
        return data.decode("utf-8-sig" if offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        wrong = error.start + (3 if offset == 0 and data.startswith(b"\xef\xbb\xbf") else 0)
        raise DataError(
            f"'{file}' is not UTF-8: byte 0x{data[wrong]:02x} at offset {offset + wrong:,}\n"
            f"  convert it (iconv -f latin1 -t utf-8){f', {otherwise}' if otherwise else ''}"
        ) from error


def find_files(path: Path, pattern: str = "*.txt") -> list[Path]:
    """The file at a path, or the files below a folder that match a pattern, in the order of their names.

    Raises:
        DataError: If the path does not exist, no file matches, or all files are empty.
    """
    if path.is_dir():
        found = sorted(file for file in path.rglob(pattern) if file.is_file())
        if not found:
            raise DataError(f"there is no file '{pattern}' in '{path}'\n  others: --dataset.pattern '*.md'")
    elif path.exists():
        found = [path]
    else:
        raise DataError(f"there is no file or folder '{path}'")
    full = [file for file in found if file.stat().st_size]
    for file in found:
        if not full:
            raise DataError(f"'{file}' is empty: there is nothing to learn from")
        if file not in full:
            _LOG.warning("'%s' is empty, and is left out", file)
    return full


def pieces(file: Path, size: int = PIECE) -> Iterator[Piece]:
    """A file in pieces of whole lines.

    Raises:
        DataError: If it cannot be read.
    """
    offset, line, held = 0, 1, b""
    try:
        with file.open("rb") as stream:
            while data := stream.read(size):
                held += data
                end = held.rfind(b"\n") + 1
                if end:
                    yield Piece(file, held[:end], offset, line)
                    offset, line, held = offset + end, line + held.count(b"\n", 0, end), held[end:]
    except OSError as error:
        raise DataError(f"cannot read '{file}': {error.strerror or error}") from error
    if held:
        yield Piece(file, held, offset, line)


def encoded(piece: Piece, tokenizer: Tokenizer) -> Array:
    """The tokens of a piece, int64.

    Raises:
        DataError: For text that is not UTF-8, or that the tokenizer cannot encode, with the position.
        PluginError: If the tokenizer returns invalid tokens.
    """
    of_bytes: Callable[[bytes], Sequence[int]] | None = getattr(tokenizer, "encode_bytes", None)
    try:
        found = np.asarray(of_bytes(piece.data) if of_bytes else tokenizer.encode(piece.text))
    except UnknownCharacterError as error:
        before = piece.text[: error.position]
        line, column = piece.line + before.count("\n"), error.position - before.rfind("\n")
        raise error.at(f"'{piece.file}', line {line}, column {column}") from error
    return checked(found, tokenizer, f"'{piece.file}'").astype(np.int64)


def checked(found: Array, tokenizer: Tokenizer, where: str) -> Array:
    """Check the tokens from a tokenizer.

    Raises:
        PluginError: If some are not in its vocabulary.
    """
    num = len(tokenizer.vocabulary)
    if found.size and (found.min() < 0 or found.max() >= num):
        wrong = int(found[(found < 0) | (found >= num)][0])
        raise PluginError(
            f"tokenizer {type(tokenizer).__name__} returned token {wrong} for {where}, but its vocabulary has {num}"
        )
    return found


def learn(files: Sequence[Path], tokenizer: Tokenizer) -> None:
    """Let a tokenizer that learns its vocabulary learn it from the files."""
    if not tokenizer.vocabulary and hasattr(tokenizer, "learn"):
        tokenizer.learn(piece.text for file in files for piece in pieces(file))


def tokens_of(files: Sequence[Path], tokenizer: Tokenizer) -> Iterator[Array]:
    """The tokens of all files in order; if the tokenizer has an `end`, it follows each file."""
    end = getattr(tokenizer, "end", None)
    for file in files:
        for piece in pieces(file):
            yield encoded(piece, tokenizer)
        if end is not None:
            yield np.array([end], np.int64)


def in_memory(files: Sequence[Path], tokenizer: Tokenizer) -> Array:
    """All tokens, int64."""
    return np.concatenate(list(tokens_of(files, tokenizer)))


@dataclass(frozen=True)
class TokenFile:
    """Tokens in a memory-mapped file: only the accessed parts are loaded."""

    path: Path
    dtype: str
    num: int
    digest: str

    def open(self) -> Array:
        """Open the tokens for reading."""
        return np.memmap(self.path, self.dtype, mode="r", offset=DIGEST, shape=(self.num,))


def on_disk(files: Sequence[Path], tokenizer: Tokenizer, folder: Path) -> TokenFile:
    """All tokens in a file of a folder; a file that was written for the same texts and tokenizer is reused.

    Raises:
        DataError: If it cannot be written.
    """
    stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    known = [stats, type(tokenizer).__qualname__, list(tokenizer.vocabulary)]
    name = hashlib.blake2b(json.dumps(known).encode(), digest_size=DIGEST).hexdigest()
    dtype = np.min_scalar_type(max(len(tokenizer.vocabulary) - 1, 0))
    path = folder / f"{name}.tokens"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, tokens_of(files, tokenizer), dtype)
        with path.open("rb") as stream:
            digest = stream.read(DIGEST).hex()
        return TokenFile(path, str(dtype), (path.stat().st_size - DIGEST) // dtype.itemsize, digest)
    except OSError as error:
        raise DataError(f"cannot write the tokens of {len(files)} files into {folder}: {error.strerror}") from error


def _write(path: Path, arrays: Iterator[Array], dtype: np.dtype[Any]) -> None:
    """Write tokens after their checksum, atomically."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            digest = hashlib.blake2b(digest_size=DIGEST)
            stream.write(bytes(DIGEST))
            for array in arrays:
                data = array.astype(dtype).tobytes()
                digest.update(data)
                stream.write(data)
            stream.seek(0)
            stream.write(digest.digest())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
