"""Further validation sets: samples of other datasets that a run evaluates besides its own splits."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from wf.errors import DataError
from wf_base import tree
from wf_base.data import Dataset, Samples, TensorSamples


def samples_of(own: Dataset) -> Samples:
    """The samples to evaluate: the validation split, else the test split, else all."""
    return next(one for one in (own.validation, own.test, own.train) if one is not None)


def words(name: str) -> str:
    """A split or a set, by its split name, for messages: ``validation set 'night'``."""
    _, slash, own = name.partition("/")
    return f"validation set '{own}'" if slash else f"{name} split"


def check_alike(sets: Mapping[str, Dataset], dataset: Dataset, train: Samples) -> None:
    """Refuse a set whose form differs from the train samples'.

    Args:
        sets: The sets by their split names.
        dataset: The run's dataset.
        train: The train split.

    Raises:
        DataError: Naming the difference.
    """
    for name, own in sets.items():
        if own.targets != dataset.targets:
            raise _differs(name, "targets", str(own.targets), str(dataset.targets))
        classes, known = list(own.class_names), list(dataset.class_names)
        if classes != known[: len(classes)]:
            hint = "\n  its samples would be misjudged: give the set the same classes, in the same order"
            raise _differs(name, "classes", _listed(classes), _listed(known), hint)
        if list(own.vocabulary) != list(dataset.vocabulary):
            raise _differs(name, "tokens", f"{len(own.vocabulary):,}", f"other {len(dataset.vocabulary):,}")
        samples = samples_of(own)
        if isinstance(samples, TensorSamples) and isinstance(train, TensorSamples) and dataset.collate is None:
            for what in ("inputs", "targets"):
                found, wanted = (
                    {path: _form(leaf) for path, leaf in tree.leaves(getattr(one, what))} for one in (samples, train)
                )
                if found != wanted:
                    raise _differs(name, what, _forms(found), _forms(wanted))


def _differs(name: str, what: str, own: str, wanted: str, hint: str = "") -> DataError:
    return DataError(f"{words(name)}: its {what} are {own}, in training {wanted}{hint}")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:10]) or "without names"
    return f"{shown}, ..." if len(names) > 10 else shown


def _form(leaf: Tensor) -> str:
    return f"{str(leaf.dtype).removeprefix('torch.')} {list(leaf.shape[1:])}"


def _forms(found: Mapping[str, str]) -> str:
    return ", ".join(f"{path} {form}" if path else form for path, form in found.items()) or "none"
