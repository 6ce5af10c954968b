"""Readers of inputs: the reader of a dataset's samples also reads the files given to ``wf predict``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

from wf.errors import DataError
from wf_base.tree import Tree

if TYPE_CHECKING:
    from wf_base.data.samples import Dataset


COMMANDS = {"gzip": "gzip -dc", "zstd": "zstd -dc", "bzip2": "bzip2 -dc", "xz": "xz -dc", "zip": "unzip -p"}
"""The commands that unpack a file to standard output."""
ENDINGS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz", ".zip": "zip"}
"""The endings of compressed files."""
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "zip",
}


@runtime_checkable
class Reader(Protocol):
    """Reads files of inputs as a dataset's own samples were read.

    A dataset component returns the reader of its samples as `wf_base.Dataset.reader`. The run keeps its description,
    and ``wf predict RUN FILE`` makes it again from that alone, without the dataset: ``Class(**description)``. The
    class is named by the component's declaration, never by the run directory:
    ``DatasetTraits(reader="module:Class")``. A parameter missing from the description is the run value of that name,
    such as a `tokenizer`.

    A reader may have `target_columns`, the columns of the targets in files of samples, for ``wf evaluate RUN --data
    FILE``, where the dataset has no option `target` that names them.
    """

    endings: tuple[str, ...]
    """The endings of the files that it reads, in lower case: ``(".csv", ".tsv")``."""

    def description(self) -> Mapping[str, Any]:
        """Everything it learned from the data: columns and their order, categories, fill values, dtype, size of images.

        Plain JSON: texts, numbers, booleans, None, lists, and dicts with texts as keys. All numbers are finite.
        """
        ...

    def read(self, path: Path) -> Tree:
        """The inputs in a file, ``[N, ...]`` or a tree of such, exactly as the dataset's samples hold them.

        That is before wf divides uint8 images by 255, and before the run's transforms. Target columns are optional,
        and ignored.

        Raises:
            DataError: For a file that is missing or damaged, or that holds values unlike the training samples: an
                unknown category or column, or a missing value where none is filled in. The message gives line and
                column.
        """
        ...


@runtime_checkable
class RecordReader(Reader, Protocol):
    """A reader that also takes rows from programs: `TrainedModel.predict`, JSON lines, parquet, a server."""

    def fields(self) -> Sequence[Mapping[str, Any]]:
        """The columns of a row in the order of training.

        Each has ``name`` and ``type`` (``number``, ``category``, ``date``, ``text``, ``image``, ``list``), and further
        facts, if known: ``unit``, ``values`` of categories, ``missing``, ``unseen``; of a list ``of``, ``number`` or
        ``text``, and ``min_length``; ``example``, a value. It is plain JSON.
        """
        ...

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Tree:
        """The inputs from rows given as dicts by column, one sample per row, in the form that `read` returns.

        Args:
            records: The rows; further keys are ignored. An image is a path, the bytes of its file, or a Pillow image.
            where: The origin of the rows, for messages.
            first: The number of the first row, for messages.

        Raises:
            DataError: As `read`.
        """
        ...


@runtime_checkable
class PartReader(Reader, Protocol):
    """A reader of files that may be larger than the memory."""

    def parts(self, path: Path, stream: BinaryIO | None = None) -> Iterator[Tree]:
        """The inputs of a file as `read` returns them, some thousands of samples at a time.

        Args:
            path: The file.
            stream: Read instead of the file, such as standard input; then `path` is its name in messages.

        Raises:
            DataError: As `read`, raised when the samples are reached.
        """
        ...


@runtime_checkable
class LabelledReader(Reader, Protocol):
    """A reader of files with target columns besides the inputs, for ``wf evaluate RUN --data FILE``."""

    def labelled(
        self, path: Path, choose: Callable[[Sequence[str]], Sequence[str]]
    ) -> Iterator[tuple[Tree, Mapping[str, Sequence[Any]]]]:
        """The inputs of a file, some thousands of samples at a time, and the cells of the target columns.

        Args:
            path: The file.
            choose: Called with the file's columns; returns the names of the target columns.

        Raises:
            DataError: As `read`, raised when the samples are reached.
        """
        ...


@runtime_checkable
class DatasetReader(Reader, Protocol):
    """A reader of files like the training file, for ``wf evaluate RUN --data FILE`` where targets are not columns."""

    dataset_endings: tuple[str, ...]
    """The endings of the files that `dataset` reads, in lower case; ``/`` for a folder."""

    def dataset(self, path: Path, learned: Mapping[str, Any]) -> Dataset:
        """The samples of a file with their targets, in their order: the `train` of a dataset without other splits.

        Its `facts`, if any, replace the run's of the same names; the name of its split in them is ``data``.

        Args:
            path: The file.
            learned: The run value `learned`: ``reader``, ``targets``, ``class_names``, ``target_names`` and more.

        Raises:
            DataError: As `read`, and for targets that are not valid in the run.
        """
        ...


def image_in(record: Mapping[str, Any], where: str, row: int, column: str = "image") -> tuple[Any, str]:
    """The image of a row: a path, a stream of the file's bytes, or an image of Pillow; and its name in messages.

    The name of one with a path is empty.

    Raises:
        DataError: Where it has none.
    """
    value = record.get(column)
    if isinstance(value, str | Path):
        return Path(value), ""
    name = f"{where}, row {row}"
    if isinstance(value, bytes | bytearray):
        return BytesIO(value), name
    if hasattr(value, "convert"):
        return value, name
    raise DataError(
        f"{name}: '{column}' is {'missing' if value is None else type(value).__name__}\n"
        "  give a path, the bytes of an image file, or an image of Pillow"
    )


def compression_of(beginning: bytes) -> str | None:
    """The compression of a file that begins with some bytes; None if it is not compressed.

    Args:
        beginning: At least 16 bytes of it, if it has as many.
    """
    found = next((name for magic, name in _MAGIC.items() if beginning.startswith(magic)), None)
    is_text = all(byte >= 32 or byte in b"\t\n\r" for byte in beginning[:16]) and beginning[:16].isascii()
    return None if is_text else found


def unpacking(name: str, compression: str) -> str:
    """What to do about a compressed file, in words: a command that writes the plain file."""
    plain = next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), f"unpacked-{name}")
    return f"unpack it: {COMMANDS[compression]} {name} > {plain}"


def broken_link(path: Path) -> str | None:
    """A message about a symbolic link that leads to no file; None for anything else."""
    if not path.is_symlink() or path.exists():
        return None
    return f"'{path}' is a link to '{path.readlink()}', which does not exist or leads in a circle"
