"""Links between model and loss, and a check of the model outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wf.declarations.task import Link
from wf.errors import DataError, UsageError
from wf.registry import Registry
from wf_base import tree
from wf_base.data import IN_PLACE
from wf_base.task import TaskRuntime
from wf_base.tree import Tree
from wf_fitting.tasks import tasks_of


class LinkedLoss(nn.Module):
    """A loss with links before it.

    Args:
        loss: A module or function of (predictions, targets).
        links: The declaration and function of each link.
        single_logit: Whether the model gives one logit per sample, ``[N, 1]``, but the loss takes ``[N]``.
        scaled: Transforms the dataset's targets before the first link; None if they are unchanged.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        links: Sequence[tuple[Link, Callable[[Tensor], Tensor]]],
        *,
        single_logit: bool = False,
        scaled: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.figures = getattr(loss, "figures", None)
        self.links = tuple(link.name for link, _ in links)
        self.given = next((link.gives for link, _ in links if link.of == "loss"), None)
        """The form of the figure that a link makes from the loss's; None without such a link."""
        self._single_logit = single_logit
        self._predictions, self._targets, self._loss = (
            [change for link, change in links if link.of == of] for of in ("predictions", "targets", "loss")
        )
        if scaled is not None:
            self._targets.insert(0, scaled)

    @property
    def reduction(self) -> str:
        """The reduction of the inner loss, or the result of a link."""
        return str(self.given or getattr(self.loss, "reduction", "mean"))

    def total_weight(self, targets: Tensor) -> Any:
        """The inner loss's, for unlinked targets; a link that takes the plain mean needs none."""
        weigh = None if self.given else getattr(self.loss, "total_weight", None)
        return weigh(targets) if callable(weigh) else None

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of linked predictions and targets."""
        for change in self._predictions:
            predictions = change(predictions)
        if self._single_logit:
            predictions = predictions.flatten()
        for change in self._targets:
            targets = change(targets)
        loss = self.loss(predictions, targets)
        for change in self._loss:
            loss = change(loss)
        return loss


def link_loss(
    loss: Any, names: Sequence[str], registry: Registry, values: Mapping[str, Any], *, single_logit: bool = False
) -> Any:
    """The loss with its links; the loss itself if there are none.

    A loss with ``reduction="none"`` cannot be backpropagated: it gets the link that takes the mean.

    Args:
        loss: A module or function of (predictions, targets).
        names: The names of the links.
        registry: Where they are looked up.
        values: The run values, for the parameters of links.
        single_logit: Whether the model gives one logit per sample, ``[N, 1]``, but the loss takes ``[N]``.

    Raises:
        UsageError: If there is no such link, or it needs a value that the run does not have.
    """
    links = [tasks_of(registry).link(name) for name in names]
    if (reduction := getattr(loss, "reduction", None)) == "none":
        links += [link for link in tasks_of(registry).links if link.fits("loss", reduction) and link.gives == "mean"][
            :1
        ]
    task = values.get("outputs")
    scaled = task.scaled if task is not None and task.target_transforms else None
    if not links and not single_logit and scaled is None:
        return loss
    changes = [(link, loaded(link, registry, values)) for link in links]
    return LinkedLoss(loss, changes, single_logit=single_logit, scaled=scaled)


def loaded(link: Link, registry: Registry, values: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """A link's function, with its run values filled in.

    Raises:
        UsageError: If it needs a value that the run does not have.
    """
    function = registry.find("link", registry.own_choice("link", link.name)).load()
    wanted = list(inspect.signature(function).parameters)[1:]
    if lacks := [name for name in wanted if values.get(name) is None]:
        raise UsageError(f"link '{link.name}' needs the run value '{lacks[0]}', which this run does not have")
    return partial(function, **{name: values[name] for name in wanted}) if wanted else function


def _dtype_hint(inputs: Tree, error: Exception) -> str:
    if not isinstance(inputs, Tensor) or inputs.dtype == torch.get_default_dtype() or "type" not in str(error):
        return ""
    return f"\n  inputs are {inputs.dtype}: let the dataset give floats (inputs.float()), as most models take"


def try_model(model: nn.Module, inputs: Tree, names: Mapping[str, str]) -> Tree:
    """The model outputs for a few samples, in evaluation mode; the model and the random generators are unchanged
    afterwards.

    Args:
        model: The model.
        inputs: ``[N, ...]``, or a tree of such.
        names: The names of model and dataset, for messages.

    Raises:
        UsageError: If the model does not accept the inputs.
    """
    check_taken(model, inputs, names)
    versions = [(leaf, leaf._version) for _, leaf in tree.leaves(inputs)]
    was_training, state = model.training, torch.get_rng_state()
    model.eval()
    try:
        with torch.no_grad():  # in inference mode a lazy layer or a cache would create untrainable tensors
            outputs = tree.call(model, inputs)
    except (UsageError, DataError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        if isinstance(error, (KeyError, AttributeError)) and isinstance(inputs, Tensor):
            raise
        shape = f"of shape {list(inputs.shape)}" if isinstance(inputs, Tensor) else tree.words(inputs)
        raise UsageError(
            f"model '{names['model']}' cannot take inputs {shape} of dataset "
            f"'{names['dataset']}'\n  {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            f"{_dtype_hint(inputs, error)}"
        ) from error
    finally:
        model.train(was_training)
        torch.set_rng_state(state)
    if any(leaf._version != version for leaf, version in versions):
        raise UsageError(IN_PLACE.format(f"model '{names['model']}'"))
    return outputs


def check_taken(model: nn.Module, inputs: Tree, names: Mapping[str, str]) -> None:
    """Refuse a dict of inputs with a key that the model's forward does not take, or without one that it needs.

    Raises:
        UsageError: Naming the key, and the inputs that the model takes.
    """
    if not isinstance(inputs, Mapping):
        return
    try:
        params = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # not written in Python
        return
    by_name = [one for one in params if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    takes, who = [one.name for one in by_name], f"model '{names['model']}'"
    if not any(one.kind is one.VAR_KEYWORD for one in params):
        wrong = next((key for key in inputs if key not in takes), None)
        if wrong is not None:
            raise UsageError(
                f"{who} takes no input '{wrong}': its forward takes {', '.join(takes) or 'nothing by name'}\n"
                f"  dataset '{names['dataset']}' gives {', '.join(map(str, inputs))}: remove it there, or let the "
                "model take it"
            )
    lacks = next((one.name for one in by_name if one.default is one.empty and one.name not in inputs), None)
    if lacks is not None:
        raise UsageError(
            f"{who} needs an input '{lacks}', but dataset '{names['dataset']}' gives {', '.join(map(str, inputs))}\n"
            "  let the dataset give it, or give the parameter of forward a default"
        )


def check_outputs(
    model: nn.Module, inputs: Tree, task: TaskRuntime, shape: Sequence[int | None], names: Mapping[str, str]
) -> int | None:
    """Try the model on a few samples before step 1; the model and the random generators are unchanged afterwards.

    Args:
        model: The model.
        inputs: ``[N, ...]``, or a tree of such.
        task: The task, which checks the outputs.
        shape: The required output shape for one sample: ``[num_outputs]``, or ``[num_outputs, H, W]`` for masks.
        names: The names of model and dataset, for messages.

    Returns:
        The number of outputs, if known.

    Raises:
        UsageError: If the shape is different, or the model does not accept the inputs.
    """
    return task.check_outputs(try_model(model, inputs, names), tree.length(inputs), shape, names)
