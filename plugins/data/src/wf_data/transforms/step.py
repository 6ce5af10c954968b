"""Applies a run's transforms: to all inputs, to one leaf of them, or to inputs and targets together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from wf.errors import UsageError, unknown
from wf_base import tree
from wf_base.tree import Rows, Tree
from wf_data.inputs import Form, leaves_of

_DIMS = {"image": 3, "video": 4}
"""The number of dimensions of a sample, by the kind of samples that a transform takes."""


@dataclass(frozen=True)
class Step:
    """One of the run's transforms.

    A transform is called with inputs ``[N, ...]``, and in training, if it has an attribute ``num_draws``, with uniform
    draws from [0, 1) ``[N, num_draws]``; for samples that differ in size, `Rows`, once per sample. If its attribute
    ``joint`` is true, it is called with inputs and targets before the draws, and returns both; `Rows` are passed as a
    whole, and the targets are None when a trained model gets only inputs. If it has a method ``on_masks``, this is
    called with the same draws for each leaf of the targets that has the size of the image.

    If its attribute ``of`` is ``"targets"``, it changes the targets that the loss gets, and has a method ``inverse``
    for the model outputs; see `wf_base.TaskRuntime.target_transforms`. Its ``fit`` gets the train targets.

    If ``joint`` is ``"batch"``, it mixes the samples of an update, only in training: it is called with inputs,
    targets, partners and a generator before the draws, and returns inputs and targets. The partners are a pair of
    inputs and targets, one row per sample: the row of another sample of the update, taken from all its parts and all
    processes. The generator is a function of (seed, epoch, update, transform), and the same in all processes.
    """

    position: int
    """Its position among all transforms, the dataset's first; it determines the draws."""
    transform: Any
    train_only: bool = False
    """Whether it is skipped in evaluations and predictions; random ones always are."""
    leaf: str | None = None
    """The path of the leaf that it changes, such as ``image`` or ``views/0``; None for the inputs as a whole."""
    takes: str = "any"
    """The samples that it takes, see `wf.traits.TransformTraits`."""
    table: Mapping[str, Any] = field(default_factory=dict)
    """Its table in the run file; empty for the dataset's transforms."""

    @classmethod
    def of(cls, position: int, transform: Any, train_only: bool, *more: Any) -> Step:
        """A step; random transforms are only for training."""
        return cls(position, transform, train_only or mixes(transform) or _num_draws(transform) > 0, *more)

    @property
    def num_draws(self) -> int:
        """The number of random numbers that it takes per sample."""
        return _num_draws(self.transform)

    @property
    def mixes(self) -> bool:
        """Whether it mixes the samples of an update."""
        return mixes(self.transform)

    @property
    def joint(self) -> bool:
        """Whether it changes inputs and targets together."""
        return is_joint(self.transform)

    @property
    def of_targets(self) -> bool:
        """Whether it changes the targets before the loss, rather than inputs."""
        return is_of_targets(self.transform)

    def fit(self, inputs: Tree) -> None:
        """Let it learn from all train inputs."""
        self.transform.fit(inputs if self.leaf is None else tree.at(inputs, self.leaf))

    def apply(
        self, inputs: Tree, targets: Tree, draws: Tensor | None = None, transform: Any = None
    ) -> tuple[Tree, Tree]:
        """The transformed inputs and targets.

        Args:
            inputs: ``[N, ...]``.
            targets: ``[N, ...]``; None if only inputs are known.
            draws: The draws of a random transform in training.
            transform: A copy of it to call instead.
        """
        apply = self.transform if transform is None else transform
        more = () if draws is None else (draws,)
        if self.joint:
            return _pair(apply(inputs, targets, *more), apply)
        own = inputs if self.leaf is None else tree.at(inputs, self.leaf)
        if hasattr(apply, "on_masks") and targets is not None:
            targets = tree.map_leaves(
                lambda leaf: apply.on_masks(leaf, *more) if _is_mask(leaf, own) else leaf, targets
            )
        changed = _by_row(apply, own, more) if isinstance(own, Rows) else apply(own, *more)
        return (changed if self.leaf is None else tree.with_leaf(inputs, self.leaf, changed)), targets

    def mix(
        self,
        inputs: Tree,
        targets: Tree,
        partners: tuple[Tree, Tree],
        generator: torch.Generator,
        draws: Tensor | None = None,
        transform: Any = None,
    ) -> tuple[Tree, Tree]:
        """The inputs and targets mixed by it.

        Args:
            inputs: ``[N, ...]``.
            targets: ``[N, ...]``.
            partners: Inputs and targets ``[N, ...]`` of each sample's partner.
            generator: The random generator.
            draws: The draws of a random transform.
            transform: A copy of it to call instead.
        """
        apply = self.transform if transform is None else transform
        return _pair(apply(inputs, targets, partners, generator, *(() if draws is None else (draws,))), apply)

    def placed(self, form: Form) -> Step:
        """The step with the leaf that it changes, if only one is possible.

        Args:
            form: The form of the inputs, see `wf_data.inputs.form_of`.

        Raises:
            UsageError: If there is no such leaf, or several are possible and none is named.
        """
        if self.of_targets:
            if self.leaf is not None:
                raise UsageError(f"{self.name} changes the targets\n  leave out leaf = '{self.leaf}'")
            return self
        leaves = [leaf for leaf in leaves_of(form) if leaf.path]
        known = {leaf.path: len(leaf.shape) for leaf in leaves}
        if self.joint:
            if self.leaf is not None:
                raise UsageError(f"{self.name} takes inputs and targets as a whole\n  leave out leaf = '{self.leaf}'")
            return self
        if not known:
            if self.leaf is not None:
                raise UsageError(f"{self.name}: inputs are one tensor, without a leaf '{self.leaf}'\n  leave it out")
            return self
        if self.leaf is not None:
            if self.leaf not in known:
                raise UsageError(unknown("leaf", self.leaf, known, of=f"the inputs, for {self.name}"))
            return self
        fit = [path for path, dims in known.items() if dims == _DIMS.get(self.takes, dims)]
        if len(fit) > 1:  # integers are tokens or categories
            numbers = [leaf.path for leaf in leaves if leaf.is_bytes or leaf.dtype.is_floating_point]
            fit = [path for path in fit if path in numbers] or fit
        if len(fit) != 1:
            use = self.table.get("use", "NAME")
            raise UsageError(
                f"{self.name} changes one leaf of the inputs, but these have several: {', '.join(known)}\n"
                f"  name it: --transform.{use}.leaf {next(iter(fit or known))}"
            )
        return replace(self, leaf=fit[0])

    @property
    def name(self) -> str:
        """Its kind and name, for messages."""
        return f"transform '{self.table.get('use', type(self.transform).__name__)}'"


def _by_row(apply: Any, rows: Rows, more: tuple[Tensor, ...]) -> Rows:
    """Samples that differ in size, transformed one by one."""
    numbered = enumerate(rows)
    return Rows(apply(row.unsqueeze(0), *(own[place : place + 1] for own in more))[0] for place, row in numbered)


def is_joint(transform: Any) -> bool:
    """Whether a transform, or its class, changes inputs and targets together."""
    return bool(getattr(transform, "joint", False))


def is_of_targets(transform: Any) -> bool:
    """Whether a transform, or its class, changes the targets that the loss gets."""
    return getattr(transform, "of", None) == "targets"


def mixes(transform: Any) -> bool:
    """Whether a transform, or its class, mixes the samples of an update."""
    return bool(getattr(transform, "joint", False) == "batch")


def _pair(made: Any, transform: Any) -> tuple[Tree, Tree]:
    """The result of a joint transform."""
    if not isinstance(made, tuple) or len(made) != 2:
        raise UsageError(
            f"{type(transform).__name__} is joint, but returned {tree.words(made)}; it must return (inputs, targets)"
        )
    return made


def _is_mask(leaf: Tensor, image: Tree) -> bool:
    """Whether a leaf of the targets ``[N, ..., H, W]`` has a value for each pixel of the images ``[N, C, H, W]``."""
    pixels = isinstance(image, Tensor) and image.ndim == 4 and leaf.ndim > 2
    return pixels and leaf.shape[0] == image.shape[0] and leaf.shape[-2:] == image.shape[-2:]


def _num_draws(transform: Any) -> int:
    return int(getattr(transform, "num_draws", 0))
