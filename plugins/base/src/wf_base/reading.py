"""One way in for inputs: what read a dataset's samples reads the files given to ``wf predict``, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from wf.errors import DataError
from wf_base.tree import Tree


@runtime_checkable
class Reader(Protocol):
    """Reads files of inputs as a dataset's own samples were read.

    A dataset component gives the one that read its samples: `wf_base.Dataset.reader`. The run keeps its description,
    and ``wf predict RUN FILE`` makes it again from that alone, without the dataset: ``Class(**description)``. Which
    class it is, the component's declaration says, never the run directory: ``DatasetTraits(reader="module:Class")``. A
    parameter that the description does not give is the run value of that name, such as a `tokenizer`.
    """

    endings: tuple[str, ...]
    """The files that it reads, in lower case: ``(".csv", ".tsv")``."""

    def description(self) -> Mapping[str, Any]:
        """All that it learned from the data: columns and their order, categories, fill values, dtype, size of images.

        Plain JSON: texts, numbers, booleans, None, lists, and dicts with texts as keys. A number that is not finite
        has no place in it.
        """
        ...

    def read(self, path: Path) -> Tree:
        """The inputs in a file, ``[N, ...]`` or a tree of such, just as the dataset's samples hold them.

        That is before wf divides the bytes of images by 255, and before the run's transforms. Columns of targets may be
        there or not; they are left out.

        Raises:
            DataError: For a file that is missing or damaged, or that holds what the samples could not have held: a
                category or a column that was not learned, a missing value where none is filled in. The message says
                where: line and column.
        """
        ...


@runtime_checkable
class RecordReader(Reader, Protocol):
    """A reader that takes rows as programs have them, too: `TrainedModel.predict`, JSON lines, parquet, a server."""

    def fields(self) -> Sequence[Mapping[str, Any]]:
        """The columns of a row in the order of training.

        Each has ``name`` and ``type`` (``number``, ``category``, ``date``, ``text`` or ``image``), and what else is
        known of it: ``unit``, ``values`` of categories, ``missing``, ``unseen``. It is plain JSON.
        """
        ...

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Tree:
        """The inputs of rows that are given as dicts by column, one sample a row; as `read` gives those of a file.

        Args:
            records: The rows, whatever other keys they have. An image is a path, the bytes of its file, or one of
                Pillow's.
            where: What they come from, for messages.
            first: The number of the first row, for messages.

        Raises:
            DataError: As `read`.
        """
        ...


@runtime_checkable
class PartReader(Reader, Protocol):
    """A reader of files that may be larger than the memory."""

    def parts(self, path: Path, stream: BinaryIO | None = None) -> Iterator[Tree]:
        """The inputs of a file as `read` gives them, some thousands of samples at a time.

        Args:
            path: The file.
            stream: What is read in its place, as standard input; then `path` is its name in messages.

        Raises:
            DataError: As `read`, when the samples are reached.
        """
        ...


@runtime_checkable
class LabelledReader(Reader, Protocol):
    """A reader of files that have columns of targets beside the inputs, for ``wf evaluate RUN --data FILE``."""

    def labelled(
        self, path: Path, choose: Callable[[Sequence[str]], Sequence[str]]
    ) -> Iterator[tuple[Tree, Mapping[str, Sequence[Any]]]]:
        """The inputs of a file, some thousands of samples at a time, and the cells of the target columns.

        Args:
            path: The file.
            choose: Given the file's columns, names those of the targets.

        Raises:
            DataError: As `read`, when the samples are reached.
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
