"""The model of a run as a torch module that has its preprocessing in it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from wf.errors import UsageError
from wf_base import tree
from wf_base.data import as_default
from wf_base.tree import Tree
from wf_data.inputs import Form, check_form, numbers_of
from wf_data.transforms.step import Step
from wf_run.parts.precision import default_dtype


class Conversions(Protocol):
    """Converts raw inputs and the outputs for a model; called by `TrainedModel`, and implemented by
    `wf_run.using.trained.Trained`.
    """

    def raw(self, inputs: Any) -> Tree:
        """Raw inputs as the dataset's samples hold them, ``[N, ...]``."""

    def predict(self, inputs: Tree, network: TrainedModel) -> Tree:
        """The model outputs for inputs ``[N, ...]``."""

    def answers(self, outputs: Tree) -> list[dict[str, Any]]:
        """Outputs as readable records, one per sample."""


class TrainedModel(nn.Module):
    """The model of a run with its preprocessing, so that it takes raw inputs.

    Args:
        model: The model.
        inputs: The form of the dataset's samples.
        steps: The dataset's own transforms and the run's, fitted, in their order.
    """

    def __init__(self, model: nn.Module, inputs: Form, steps: Sequence[Step] = ()) -> None:
        super().__init__()
        self.model = model
        """The bare model."""
        self.inputs = inputs
        """The form of its inputs, the dataset's samples; None if unknown."""
        self.steps = tuple(steps)
        """The dataset's transforms and the run's, without those only for training. Transforms of targets are skipped
        before the model; their inverse is applied after it."""
        self.dtype = torch.get_default_dtype()
        """torch's default dtype in the run: the model's precision."""
        self.conversions: Conversions | None = None
        """Reads raw inputs; None in a copy that is only a module."""

    def __getstate__(self) -> dict[str, Any]:
        """The state without the reader of raw inputs: a copy is only a module."""
        return {**self.__dict__, "conversions": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainedModel:
        made = type(self)(copy.deepcopy(self.model, memo), self.inputs, copy.deepcopy(self.steps, memo))
        made.dtype, made.conversions = self.dtype, self.conversions
        return made.train(self.training)

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """A record for each sample of raw inputs: rows as dicts, arrays in the columns' order, images, texts.

        Args:
            inputs: As `Trained.raw` takes them.

        Returns:
            See `Trained.answers`.

        Raises:
            DataError: For inputs unlike those of training.
        """
        if self.conversions is None:
            raise UsageError(
                "this copy of a trained model cannot read raw inputs: use the one that wf.load_model returned"
            )
        return self.conversions.answers(self.conversions.predict(self.conversions.raw(inputs), self))

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # of any overload
        """The model's own state, with the names that ``wf export`` writes."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights into the model."""
        return self.model.load_state_dict(state_dict, *args, **kwargs)

    def prepare(self, inputs: Tree) -> Tree:
        """The model's inputs for raw inputs ``[N, ...]``.

        Raises:
            DataError: For inputs whose structure, shape or dtype differs from the dataset's samples.
        """
        return self.prepared(inputs, None)[0]

    def prepared(self, inputs: Tree, targets: Tree) -> tuple[Tree, Tree]:
        """As `prepare`, with the targets, which a transform such as resizing may change together with the inputs."""
        if self.inputs is not None:
            check_form(self.inputs, inputs, "the model")
        with default_dtype(self.dtype):
            return self.both_ready(inputs, targets)

    def ready(self, inputs: Tree) -> Tree:
        """As `prepare`, without any checks, so that torch can trace it."""
        return self.both_ready(inputs, None)[0]

    def both_ready(self, inputs: Tree, targets: Tree) -> tuple[Tree, Tree]:
        """As `ready`, with the targets."""
        if self.inputs is not None:
            inputs = numbers_of(self.inputs, inputs)
        for step in self.steps:
            if step.of_targets:
                continue
            if step.train_only:
                inputs = tree.map_leaves(as_default, inputs)
            else:
                inputs, targets = step.apply(inputs, targets)
        return tree.map_leaves(as_default, inputs), targets

    def finish(self, outputs: Tree) -> Tree:
        """Model outputs in the units of the dataset's targets."""
        for step in reversed(self.steps):
            outputs = step.transform.inverse(outputs) if step.of_targets else outputs
        return outputs

    def forward(self, *inputs: Tree, **named: Tree) -> Any:
        """The model outputs for raw inputs ``[N, ...]``, as the dataset's samples hold them.

        A tree of inputs is passed as one argument, or as the model itself takes it: a dict by name, a tuple by
        position. Rows, arrays and images are accepted as by `predict`.
        """
        lone = not named and len(inputs) == 1 and not (isinstance(self.inputs, tuple) and len(self.inputs) == 1)
        given = named or (inputs[0] if lone else inputs)
        if self.conversions is not None and tree.first_leaf(given) is None:
            given = self.conversions.raw(given)
        with default_dtype(self.dtype):
            return self.finish(tree.call(self.model, self.prepare(given)))


class GraphModel(TrainedModel):
    """A model that is an exported graph, which has the transforms of inputs in it; see `wf_run.bundle.graph`."""

    before: Sequence[Mapping[str, Any]] = ()
    """What comes before the model, as `Trained.preprocessing` says it."""

    def both_ready(self, inputs: Tree, targets: Tree) -> tuple[Tree, Tree]:
        """Inputs and targets as they are."""
        return inputs, targets
