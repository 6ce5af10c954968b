"""What stands between model, loss and metrics: links, and predictions read as labels or probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wf.errors import DataError, UsageError
from wf.runtime.data import IN_PLACE


class LinkedLoss(nn.Module):
    """A loss with links before it.

    Args:
        loss: A module or function of (predictions, targets).
        links: Names from `wf.compatibility.LINKS`.
        num_classes: For one-hot.
        single_logit: The model gives one logit a sample, ``[N, 1]``, and the loss takes ``[N]``.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        links: Sequence[str],
        num_classes: int | None,
        *,
        single_logit: bool = False,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.links = tuple(links)
        self._single_logit = single_logit
        self._num_classes = num_classes
        self._predictions = [_PREDICTIONS[link] for link in links if link in _PREDICTIONS]

    @property
    def reduction(self) -> str:
        """How the loss within reduces; ``mean`` where a link takes the mean."""
        return "mean" if "mean" in self.links else getattr(self.loss, "reduction", "mean")

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of linked predictions and targets."""
        for change in self._predictions:
            predictions = change(predictions)
        if self._single_logit:
            predictions = predictions.flatten()
        loss = self.loss(predictions, self._targets(targets))
        return loss.mean() if "mean" in self.links else loss

    def _targets(self, targets: Tensor) -> Tensor:
        if "one-hot" in self.links:
            assert self._num_classes is not None
            return functional.one_hot(targets, self._num_classes).to(torch.get_default_dtype())
        return targets.to(torch.get_default_dtype()) if "binary" in self.links else targets


def link_loss(loss: Any, links: Sequence[str], num_classes: int | None, *, single_logit: bool = False) -> Any:
    """The loss with its links; the loss itself where nothing stands before it.

    A loss with ``reduction="none"`` cannot be backpropagated: it gets the link ``mean``.
    """
    links = [*links, "mean"] if getattr(loss, "reduction", None) == "none" else list(links)
    if not links and not single_logit:
        return loss
    return LinkedLoss(loss, links, num_classes, single_logit=single_logit)


def total_weight(loss: Any, targets: Tensor) -> Tensor | None:
    """What a loss that does not average over samples divides by, None where it averages over samples."""
    if isinstance(loss, LinkedLoss) and "mean" in loss.links:  # whatever it weighs by, the link takes the plain mean
        return None
    inner = loss.loss if isinstance(loss, LinkedLoss) else loss
    weigh = getattr(inner, "total_weight", None)
    return weigh(targets) if callable(weigh) else None


class Outputs:
    """Reads what a model gives out as labels or as probabilities.

    Args:
        targets: The dataset's, see `wf.traits`.
        predictions: What the model gives: ``raw``, ``logits``, ``log_probs``, ``probs``, ``embeddings``, from which
            neither labels nor probabilities can be read, or ``real`` where it was trained to give the targets' zeros
            and ones themselves (by mse, say).
        single_logit: Two classes are told by one logit (targets of the loss are ``binary``).
    """

    def __init__(self, targets: str, predictions: str, *, single_logit: bool) -> None:
        self.targets, self.predictions, self.single_logit = targets, predictions, single_logit

    def read(self, predictions: Tensor, form: str) -> Tensor:
        """Predictions in the form ``raw``, ``labels`` or ``probs`` that a metric wants; see `MetricTraits`."""
        if form == "raw" or self.targets == "real":
            return predictions
        return self.labels(predictions) if form == "labels" else self.probs(predictions)

    def labels(self, predictions: Tensor) -> Tensor:
        """int64 ``[N]`` predicted classes, or 0/1 ``[N, C]`` for multilabel."""
        if self.targets == "multilabel":
            return (predictions > self._threshold()).to(torch.int64)
        if self.single_logit:
            return (predictions.flatten() > self._threshold()).to(torch.int64)
        return predictions.argmax(1)

    def probs(self, predictions: Tensor) -> Tensor:
        """float ``[N, C]``; a single logit p becomes the columns 1-p and p."""
        if self.targets == "multilabel" or self.single_logit:
            chances = self._chances(predictions)
            if self.targets == "multilabel":
                return chances
            return torch.stack([1 - chances.flatten(), chances.flatten()], dim=1)
        if self.predictions == "probs":
            return predictions
        return predictions.exp() if self.predictions == "log_probs" else predictions.softmax(1)

    def names(self, predictions: Tensor, class_names: Sequence[str]) -> list[Any] | None:
        """The class names of predictions ``[N, ...]``, None for a regression and for embeddings.

        One name a sample; for multilabel a list of those that hold, with a probability above 0.5; for masks rows of
        names, one a pixel.
        """
        if self.targets == "real" or self.predictions == "embeddings":
            return None
        names, indices = class_names or ("0", "1"), self.labels(predictions).tolist()
        if self.targets == "multilabel":
            return [[name for name, holds in zip(names, row, strict=True) if holds] for row in indices]
        return _named(indices, names)

    def classes(self, targets: Tensor) -> Tensor:
        """The dataset's targets as metrics get them: int64 classes for binary ones."""
        return targets.flatten().to(torch.int64) if self.targets == "binary" else targets

    def _chances(self, predictions: Tensor) -> Tensor:
        if self.predictions == "probs":
            return predictions
        return predictions.clamp(0, 1) if self.predictions == "real" else predictions.sigmoid()

    def _threshold(self) -> float:
        return 0.5 if self.predictions in ("probs", "real") else 0.0


def check_outputs(
    model: nn.Module, inputs: Tensor, targets: str, shape: Sequence[int] | None, names: Mapping[str, str]
) -> int:
    """Try the model on a few samples before step 1; it and the random generators stay as they are.

    Args:
        model: The model.
        inputs: ``[N, ...]``.
        targets: What the loss gets.
        shape: What the model must give for one sample: ``[num_outputs]``, or ``[num_outputs, H, W]`` for masks; None
            for an embedding, which may have any number of outputs.
        names: Of model and dataset, for messages.

    Returns:
        How many outputs it gives.

    Raises:
        UsageError: When it gives another shape, or does not take the inputs.
    """
    was_training, state, version = model.training, torch.get_rng_state(), inputs._version
    model.eval()
    try:
        with torch.no_grad():  # inference mode would leave a lazy layer or a cache with tensors that cannot be trained
            outputs = model(inputs)
    except (UsageError, DataError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UsageError(
            f"model '{names['model']}' cannot take inputs of shape {list(inputs.shape)} of dataset "
            f"'{names['dataset']}'\n  {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    finally:
        model.train(was_training)
        torch.set_rng_state(state)
    if inputs._version != version:
        raise UsageError(IN_PLACE.format(f"model '{names['model']}'"))
    if not isinstance(outputs, Tensor):
        raise UsageError(f"model '{names['model']}' gives {type(outputs).__name__}, not a tensor")
    got = list(outputs.shape)
    if shape is None:
        if len(got) != 2 or got[0] != len(inputs):
            raise UsageError(
                f"model '{names['model']}' gives shape {got} for {len(inputs)} samples\n"
                "  the loss wants embeddings, one row a sample"
            )
        return got[1]
    wanted = [len(inputs), *shape]
    if got != wanted and not (targets == "binary" and got == wanted[:1]):
        what = f"{shape[0]} classes" if targets in ("class_index", "one_hot", "mask") else f"{shape[0]} output(s)"
        raise UsageError(
            f"model '{names['model']}' gives shape {got} for {len(inputs)} samples; dataset '{names['dataset']}' "
            f"with {what} needs {wanted}\n  "
            "leave the number of outputs to wf (a parameter num_outputs), or set it right"
        )
    return shape[0]


def _named(indices: list[Any], names: Sequence[str]) -> list[Any]:
    """Names in the place of indices, however deep these are nested."""
    return [_named(index, names) if isinstance(index, list) else names[index] for index in indices]


_PREDICTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "log-softmax": lambda predictions: predictions.log_softmax(1),
    "softmax": lambda predictions: predictions.softmax(1),
    "sigmoid": lambda predictions: predictions.sigmoid(),
    "log": lambda predictions: predictions.log(),
}
