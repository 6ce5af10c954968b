"""Samples and datasets: the results of dataset components."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from wf.errors import DataError
from wf_base import tree
from wf_base.data.conversion import as_float
from wf_base.reading import Reader
from wf_base.tree import Tree


class Samples(Protocol):
    """A map-style dataset: ``len()`` and ``[i] -> (input, target)``, as `torch.utils.data.Dataset` has them.

    Input and target are trees: a tensor, array or number, or a dict, tuple or list of trees. Unless the dataset has a
    `collate`, the samples of a batch are stacked leaf by leaf. `TensorSamples` and `Stream` are handled separately.
    While a sample is read the global generators are seeded for it; a class that draws nothing says ``draws = False``,
    which saves that, and so does a `collate`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class TensorSamples:
    """Samples held in memory; they are served as slices.

    Args:
        inputs: ``[N, ...]``, or a dict, tuple or list of such trees. uint8 images are served as float32 divided by 255,
            a batch at a time; in a tree, only leaves ``[N, C, H, W]`` are images.
        targets: ``[N, ...]``, see `wf.traits`, or a tree; None for samples without targets.

    Raises:
        DataError: When two leaves differ in length.
    """

    inputs: Tree
    targets: Tree

    def __post_init__(self) -> None:
        if isinstance(self.inputs, Tensor) and isinstance(self.targets, Tensor):
            if len(self.inputs) != len(self.targets):
                raise DataError(f"{len(self.inputs)} inputs but {len(self.targets)} targets")
            return
        _check_lengths(self.inputs, self.targets)

    def __len__(self) -> int:
        first = self.inputs if isinstance(self.inputs, Tensor) else tree.first_leaf(self.inputs)
        assert first is not None
        return len(first)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        inputs, targets = (tree.map_leaves(lambda leaf: leaf[index], own) for own in (self.inputs, self.targets))
        lone = isinstance(inputs, Tensor)
        return tree.map_leaves(lambda leaf: as_float(leaf) if lone or leaf.ndim > 2 else leaf, inputs), targets

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors."""
        return sum(leaf.nbytes for _, leaf in tree.leaves((self.inputs, self.targets)))


def _check_lengths(inputs: Tree, targets: Tree) -> None:
    """Refuse samples whose leaves differ in length, or that have no leaves."""
    found = dict(tree.leaves({"inputs": inputs, "targets": targets}))
    if not any(path == "inputs" or path.startswith("inputs/") for path in found):
        raise DataError(f"the samples have no input tensors: inputs are {tree.words(inputs)}")
    lengths = {path: len(leaf) if leaf.ndim else None for path, leaf in found.items()}
    (first, length), *others = lengths.items()
    for path, own in ((first, length), *others):
        if own is None:
            raise DataError(f"{path} is a tensor without dimensions; its first must be the samples")
        if own != length:
            raise DataError(
                f"{first} has {length} samples, {path} has {own}: the first axis of every leaf is the samples"
            )


def collated(collate: Callable[[list[Any]], Any], samples: Sequence[Any]) -> Any:
    """The batch that a `collate` makes of samples, with its method `each` before if it has one; see `Dataset`."""
    each = getattr(collate, "each", None)
    return collate([*samples] if each is None else [each(sample) for sample in samples])


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The result of a dataset component. A pair of tensors ``(inputs, targets)`` is accepted, too.

    Raises:
        DataError: When the train split is empty.
    """

    train: Samples
    """All samples, or those for training where `test` is given."""
    targets: str | None = None
    """The form of its targets, see ``wf list tasks``. None for any other form, of which wf knows nothing and checks
    little: the run must name its loss, and metrics get the model outputs."""
    task: str | None = None
    """Its task; None for the task that has such targets."""
    validation: Samples | None = None
    test: Samples | None = None
    class_names: Sequence[str] = ()
    """One per class; required for class_index, one_hot, multilabel and mask."""
    feature_names: Sequence[str] = ()
    """One per input column, where inputs are vectors."""
    vocabulary: Sequence[str] = ()
    """One per token, where inputs are tokens: int64 ``[N, T]``, padded with 0 at their ends, or a dict with such a leaf
    ``input_ids``; see `wf_base.text`."""
    target_names: Sequence[str] = ()
    """One per target column of a regression."""
    target_tensor: Tensor | None = field(default=None, repr=False)
    """int64 ``[N]``: the class of each train sample where `train` holds no tensors, for stratified splits."""
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Further facts about its samples, as JSON values: the run value `dataset_facts`, which the run keeps for
    predictions. They are for models and metrics that know this kind of dataset."""
    reader: Reader | None = field(default=None, repr=False)
    """The reader of the inputs, if they came from files; it also reads the files given to ``wf predict``."""
    transforms: Sequence[Any] = field(default=(), repr=False)
    """Transforms that its inputs need before all others, in training and in prediction; they are fitted on the train
    split. For predictions the reader's method ``transforms()`` makes them again, and their saved state is loaded."""
    collate: Callable[[list[Any]], Any] | None = field(default=None, repr=False)
    """Makes ``(inputs, targets)`` of a list of samples that cannot be stacked: it pads them, or keeps lists.

    It is called once per batch, in the process that read the samples. Its draws from the global generators of torch,
    Python or NumPy are determined by the seed, the epoch and the first sample, so they change with the division into
    batches and processes. If it has a method ``each(sample)``, it gets the results of that, called for each sample
    first, whose draws are determined by the seed, the epoch and the sample alone."""
    sampler: Iterable[int] | None = field(default=None, repr=False)
    """The order of an epoch, if it is neither sequential nor random: the numbers of train samples. It is iterated anew
    in each epoch, with torch's global generator seeded for that epoch."""

    def __post_init__(self) -> None:
        if len(self.train) == 0:
            raise DataError("the dataset has no samples")

    @property
    def num_classes(self) -> int | None:
        """The number of classes, None for a regression."""
        return len(self.class_names) or None
