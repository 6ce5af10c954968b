"""Further validation sets: datasets with names that the user chooses: ``[validation.night]``.

Their figures belong to the validation split: ``validation/night/accuracy``. They are computed whenever that split is
evaluated, so everything that reads figures (monitor, early stopping, records, comparisons) can use them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wf.engine.figures import LOSS, declared
from wf.errors import UsageError
from wf.protocols import Evaluator
from wf.registry import Registry
from wf_run.parts.data.dataset_file import read_dataset_file

VALIDATION = "validation"
"""The kind, its run value, and the split whose figures they are."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*\Z")


def sets(**datasets: Any) -> dict[str, Any]:
    """Further validation sets, each evaluated with the validation split: its figures are ``validation/NAME/...``.

    The run's transforms, fitted on its train split, are applied to them. A set that names the run's dataset, or none,
    inherits the dataset's options unless it sets them itself.

    Returns:
        The datasets by name.

    Raises:
        UsageError: For a name that no figure can have.
    """
    for name in datasets:
        if not _NAME.match(name) or name == LOSS:
            raise UsageError(
                f"'{name}' cannot be the name of a validation set, which is a part of its figures: validation/NAME/loss"
                "\n  use letters, digits, - and _, and not 'loss' alone"
            )
    return datasets


def path_of(name: str) -> str:
    """The split name of a set: ``validation/night``."""
    return f"{VALIDATION}/{name}"


def name_in(split: str) -> str:
    """The set that a split's name refers to; empty for a split of the dataset."""
    head, slash, name = split.partition("/")
    return name if slash and head == VALIDATION else ""


def names_of(table: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names of the sets in the run file's table."""
    return tuple(name for name in table or () if name != "use")


def rows(names: Sequence[str]) -> tuple[str, ...]:
    """The rows of a table of figures: the splits, with the sets after validation."""
    return ("train", VALIDATION, *map(path_of, names), "test")


def completed(table: Mapping[str, Any], dataset: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """The run file's table with the options that each set takes from the dataset.

    Args:
        table: The table ``[validation]``.
        dataset: The table ``[dataset]``, with its file already resolved.
        registry: Where names are looked up.

    Raises:
        UsageError: For a dataset without a set name.
    """
    use = table.get("use", "")
    if isinstance(use, str) and ":" not in use and not registry.has(VALIDATION, use.partition("@")[0]):
        raise UsageError(
            f"validation set '{use}' has no name, which its figures need: validation/NAME/loss\n"
            f"  give it one: --validation.NAME {use}"
        )
    own = {name: dict(one) if isinstance(one, Mapping) else {"use": one} for name, one in table.items()}
    return {name: table["use"] if name == "use" else _with_options(one, dataset, registry) for name, one in own.items()}


def _with_options(table: dict[str, Any], dataset: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    if "use" in table:
        read_dataset_file(table, registry)
    use = table.get("use", dataset["use"])
    return {**dataset, **table} if isinstance(use, str) and use == dataset["use"] else table


class WithSets:
    """An evaluator that evaluates the named sets along with the validation split.

    Args:
        evaluator: Evaluates a set or a split.
        names: The names of the sets.
        has_split: Whether the dataset also has a validation split.
    """

    def __init__(self, evaluator: Evaluator, names: Sequence[str], *, has_split: bool) -> None:
        self._evaluator, self._names, self._has_split = evaluator, tuple(names), has_split
        if hasattr(evaluator, "preview"):
            self.preview = self._preview
        said = declared(evaluator)
        self.figures = None if said is None else {**said, **in_sets(said, names)}
        """The evaluator's figures, and those of the sets."""

    def evaluate(self, split: str) -> dict[str, Any]:
        """The figures of a split or a set; for validation also the figures of each set, such as ``night/loss``."""
        return self._all(self._evaluator.evaluate, split)

    def _preview(self, split: str) -> dict[str, Any]:
        return self._all(self._evaluator.preview, split)  # type: ignore[attr-defined]  # it was seen to have one

    def _all(self, evaluate: Any, split: str) -> dict[str, Any]:
        if split != VALIDATION:
            return dict(evaluate(split))
        found = dict(evaluate(split)) if self._has_split else {}
        for name in self._names:
            found |= in_sets(evaluate(path_of(name)), [name])
        return found


def in_sets(figures: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The figures by their names in each set: ``night/loss``."""
    return {f"{name}/{figure}": value for name in names for figure, value in figures.items()}
