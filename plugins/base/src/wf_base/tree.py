"""Inputs and targets as trees: a tensor, or a dict, tuple or list of trees.

A single tensor is a tree of one leaf, and costs one call: torch's pytree takes 40 times as long. Samples that differ
in size, such as images, are `Rows`: a list with one tree per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wf.errors import UsageError

Tree = Any
"""A tensor, or a dict, tuple or list of trees. Anything else (None, a string) is unchanged."""


def map_leaves(change: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """A tree of the same structure, with a function applied to each tensor.

    Args:
        change: Called with a leaf, and with the leaves of `others` in the same place.
        tree: Its tensors are changed.
        others: Trees of the same structure.
    """
    if isinstance(tree, Tensor):
        return change(tree, *others)
    if isinstance(tree, Mapping):
        return {key: map_leaves(change, one, *(other[key] for other in others)) for key, one in tree.items()}
    if isinstance(tree, (tuple, list)):
        return like(tree, [map_leaves(change, *zipped) for zipped in zip(tree, *others, strict=True)])
    return tree


def leaves(tree: Tree, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Each tensor with its path: ``""`` for a single tensor, else keys and positions as in ``views/0``."""
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, (Mapping, tuple, list)):
        for key, one in children(tree):
            yield from leaves(one, f"{path}/{key}" if path else str(key))


def children(tree: Mapping[str, Tree] | Sequence[Tree]) -> Iterator[tuple[Any, Tree]]:
    """The trees in a dict, tuple or list, with their keys or positions."""
    yield from tree.items() if isinstance(tree, Mapping) else enumerate(tree)


def first_leaf(tree: Tree) -> Tensor | None:
    """The first tensor, or None."""
    return tree if isinstance(tree, Tensor) else next((leaf for _, leaf in leaves(tree)), None)


def at(tree: Tree, path: str) -> Tree:
    """The leaf or subtree at a path from `leaves`.

    Raises:
        KeyError: If there is none.
    """
    if not path:
        return tree
    key, _, rest = path.partition("/")
    found = {str(own): one for own, one in children(tree)} if isinstance(tree, (Mapping, tuple, list)) else {}
    return at(found[key], rest)


def with_leaf(tree: Tree, path: str, leaf: Tree) -> Tree:
    """The same tree with another leaf at a path."""
    if not path:
        return leaf
    key, _, rest = path.partition("/")
    changed = {own: with_leaf(one, rest, leaf) if str(own) == key else one for own, one in children(tree)}
    return changed if isinstance(tree, Mapping) else like(tree, list(changed.values()))


class Rows(list[Tree]):
    """One tree per sample, for samples of different sizes that cannot be stacked.

    If the inputs are `Rows`, a model gets them as one argument.
    """


def length(tree: Tree) -> int:
    """The number of samples of a tree with leaves ``[N, ...]`` or `Rows`, from its first leaf."""
    if isinstance(tree, Rows):
        return len(tree)
    if isinstance(tree, (Mapping, tuple, list)):
        return next((num for _, one in children(tree) if (num := length(one))), 0)
    leaf = first_leaf(tree)
    return 0 if leaf is None else len(leaf)


def select(tree: Tree, indices: Tensor) -> Tree:
    """The samples at `indices`, int64, of leaves ``[N, ...]``."""
    return map_leaves(lambda leaf: leaf.index_select(0, indices), tree)


def split(tree: Tree, size: int) -> Iterator[Tree]:
    """Leaves ``[N, ...]`` and `Rows` in parts of `size` samples; the last one may be smaller."""
    if isinstance(tree, Tensor):
        yield from tree.split(size)
        return
    for begin in range(0, length(tree), size):
        yield part(tree, begin, begin + size)


def part(tree: Tree, begin: int, end: int) -> Tree:
    """The samples ``[begin, end)`` of leaves ``[N, ...]`` and of `Rows`."""
    if isinstance(tree, (Tensor, Rows)):
        return Rows(tree[begin:end]) if isinstance(tree, Rows) else tree[begin:end]
    if isinstance(tree, Mapping):
        return {key: part(one, begin, end) for key, one in tree.items()}
    return like(tree, [part(one, begin, end) for one in tree]) if isinstance(tree, (tuple, list)) else tree


def cat(trees: Sequence[Tree]) -> Tree:
    """Concatenate trees of one structure: leaves ``[N, ...]``, and `Rows`."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat(list(trees))
    if isinstance(first, Rows):
        return Rows(row for one in trees for row in one)
    if isinstance(first, Mapping):
        return {key: cat([one[key] for one in trees]) for key in first}
    return like(first, [cat(same) for same in zip(*trees, strict=True)]) if isinstance(first, (tuple, list)) else first


def gathered(batches: Iterable[tuple[Tree, int]]) -> Tree:
    """The outputs of a model for several batches as one tree, leaves ``[N, ...]``, or as `Rows` if sizes differ.

    Args:
        batches: The outputs for each batch, and its number of samples.

    Raises:
        UsageError: If the outputs cannot be divided into samples.
    """
    found = list(batches)
    if all(isinstance(outputs, Rows) for outputs, _ in found):
        return cat([outputs for outputs, _ in found])
    forms = [[(path, leaf.ndim, leaf.shape[1:]) for path, leaf in leaves(outputs)] for outputs, _ in found]
    lead = all(leaf.ndim and len(leaf) == size for outputs, size in found for _, leaf in leaves(outputs))
    if lead and all(form and form == forms[0] for form in forms):
        return cat([outputs for outputs, _ in found])
    return Rows(row for outputs, size in found for row in _rows(outputs, size))


def rows(tree: Tree) -> list[Any]:
    """Model outputs as JSON values, one per sample."""
    if isinstance(tree, Tensor):
        return list(tree.tolist())
    if not isinstance(tree, Rows):
        tree = _rows(tree, length(tree))
    return [_plain(row) for row in tree]


def _rows(outputs: Tree, size: int) -> list[Tree]:
    found = [leaf for _, leaf in leaves(outputs)]
    if isinstance(outputs, (tuple, list)) and len(outputs) == size and not hasattr(outputs, "_fields"):
        return list(outputs)
    if not found or any(not leaf.ndim or len(leaf) != size for leaf in found):
        raise UsageError(
            f"the model gives {words(outputs)} for {size} samples, which cannot be divided into samples\n"
            "  return tensors whose first axis is the samples, or a list with one item per sample"
        )
    return [map_leaves(lambda leaf, row=row: leaf[row], outputs) for row in range(size)]


def _plain(tree: Tree) -> Any:
    """A tree as JSON values."""
    if isinstance(tree, Tensor):
        return tree.tolist()
    if isinstance(tree, Mapping):
        return {str(key): _plain(one) for key, one in tree.items()}
    return [_plain(one) for one in tree] if isinstance(tree, (tuple, list)) else tree


def call(model: Callable[..., Any], inputs: Tree) -> Any:
    """Call a model: a dict is passed as keyword arguments, a tuple or list as positional arguments.

    `Rows` are passed as one argument.
    """
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) and not isinstance(inputs, Rows) else model(inputs)


def to(tree: Tree, device: torch.device) -> Tree:
    """A tree with its tensors on a device."""
    return map_leaves(lambda leaf: leaf.to(device), tree)


def words(tree: Tree) -> str:
    """The form of a tree, for messages: ``{tokens: int64 [32, 20], lengths: int64 [32]}``."""
    if isinstance(tree, Tensor):
        return f"{str(tree.dtype).removeprefix('torch.')} {list(tree.shape)}"
    if isinstance(tree, Mapping):
        return f"{{{', '.join(f'{key}: {words(one)}' for key, one in tree.items())}}}"
    if isinstance(tree, (tuple, list)):
        shown = [words(one) for one in tree[:4]]
        return f"({', '.join(shown)}{f', ... {len(tree)} in all' if len(tree) > len(shown) else ''})"
    return "None" if tree is None else f"a {type(tree).__name__}"


def like(tree: tuple[Any, ...] | list[Any], items: list[Any]) -> Any:
    """Items in a tuple or list of the same type as another."""
    if hasattr(tree, "_fields"):  # a named tuple
        return type(tree)(*items)
    return tuple(items) if isinstance(tree, tuple) else Rows(items) if isinstance(tree, Rows) else items
