"""The default evaluator."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from wf import FromRun
from wf.engine.figures import LOSS, declared, joined, plain, terms
from wf.engine.leaving import EvaluationLeft
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base import BaseTrainer, Batch, Metric, Outcome, TaskRuntime, Term, tree
from wf_base.data import ServedData
from wf_base.random import TrainStream
from wf_base.training.modes import evaluated
from wf_base.training.objective import Weights, added, outcome_of
from wf_base.tree import Tree


class DefaultEvaluator:
    """Loss and metrics over a split, in inference mode, accumulated on the device and read once.

    The training generators and the modes of the model's modules are restored.

    Args:
        model: The model as it is trained.
        loss: Called with (predictions, targets); returns a scalar, or a dict of scalars, which are summed. None if
            the run has no loss; then the trainer's `compute_loss` is used, if it has one.
        metrics: By name.
        metric_forms: The form of predictions that each metric expects.
        outputs: Converts predictions to these forms.
        data: The run's splits.
        strategy: Lets several processes share a split.
        trainer: The run's trainer.
        average: ``sample``: the loss is the mean over samples (over their weights for a weighted loss);
            ``batch``: the mean of the losses of the run's batches, where the short last batch has the same weight, and
            a batch without counted targets has none.
        batch_size: Batch size of the model's forward, of all processes together; None for four times the run's, since
            without gradients there is room for more, or the run's if inputs are a tree. A multiple of the run's if
            `average` is ``batch``; several processes then take the run's.

    Raises:
        UsageError: For an invalid batch size.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Any] | None,
        metrics: dict[str, Metric],
        metric_forms: dict[str, str],
        outputs: TaskRuntime,
        data: ServedData,
        strategy: Strategy,
        trainer: Annotated[Any, FromRun("trainer")] = None,
        average: Literal["sample", "batch"] = "sample",
        batch_size: int | None = None,
    ) -> None:
        whole = data.collates or data.spec.input_shape is None
        num_processes = strategy.world_size
        self._batch_size = _check_batch_size(batch_size, data.batch_size, average, num_processes, whole=whole)
        self._part_size = -(-data.batch_size // num_processes)
        self._model: nn.Module = strategy.bare(model)  # the DDP wrapper would wait for processes that have finished
        self._data, self._strategy = data, strategy
        self._together = getattr(strategy, "mesh", None) is not None
        self._objective: Any = _objective(self._model, loss, trainer, outputs, bool(metrics))
        self._metrics = [(name, metric_forms.get(name, "raw"), metric) for name, metric in metrics.items()]
        self._outputs, self._average = outputs, average
        self._stateful = [part for part in (self._model, loss) if isinstance(part, nn.Module)]
        self.figures = _figures(self._objective, loss, metrics)
        """Its figures, as far as known, so that a monitor can be checked before the first step."""
        self.fraction = 0.0
        """How much of the split is evaluated, for progress displays."""
        self.between_batches: Callable[[], None] = lambda: None
        """Called before each batch; the loop sets it to leave the evaluation of an interrupted run."""

    def evaluate(self, split: str) -> dict[str, Any]:
        """The loss and every metric over `split`, as plain numbers.

        Raises:
            UsageError: For an unknown split.
            EvaluationLeft: If the run was interrupted; model and loss are as before.
        """
        stream = TrainStream()
        generators = stream.state_dict()
        self._share_buffers()
        buffers = self._copied_buffers()
        try:
            with evaluated(self._model), self._without_graph():
                figures = self._accumulate(split)
        except EvaluationLeft:
            _put_back(buffers)
            raise
        finally:
            stream.load_state_dict(generators)
        return _read(figures)

    def preview(self, split: str) -> dict[str, Any]:
        """The figures of two batches of `split`, for their names; without side effects.

        Raises:
            UsageError: For an unknown split.
        """
        stream = TrainStream()
        before, python, numbers = stream.state_dict(), random.getstate(), np.random.get_state()
        buffers = self._copied_buffers()
        try:
            with evaluated(self._model), self._without_graph():
                return _read(self._accumulate(split, num_batches=2))
        finally:
            stream.load_state_dict(before)
            random.setstate(python)
            np.random.set_state(numbers)
            _put_back(buffers)
            for _, _, metric in self._metrics:
                metric.reset()

    def _without_graph(self) -> AbstractContextManager[None]:
        """Inference mode; not where FSDP would use the memory that it takes then in training steps."""
        return torch.no_grad() if self._together else torch.inference_mode()

    def _copied_buffers(self) -> list[tuple[Tensor, Tensor]]:
        """The buffers of model and loss, each with a copy."""
        return [(buffer, buffer.clone()) for module in self._stateful for buffer in module.buffers()]

    def _share_buffers(self) -> None:
        """Copy the first process's buffers (running means) to all, like DDP training steps and checkpoints."""
        if self._strategy.world_size == 1:
            return
        with torch.no_grad():
            for buffer in self._model.buffers():
                buffer.copy_(self._strategy.gather(buffer.unsqueeze(0))[0])

    def _accumulate(self, split: str, num_batches: int | None = None) -> dict[str, Any]:
        """Every figure of the split, or of its first batches, still on the device."""
        terms = _Terms(self._average)
        for _, _, metric in self._metrics:
            metric.reset()
        self.fraction, share = 0.0, self._strategy.world_size / max(self._data.num_samples(split), 1)
        for batch in itertools.islice(self._batches(split), num_batches):
            self.between_batches()
            outputs = self._judge(batch, terms)
            if not batch.share:  # it keeps step with the other processes
                continue
            self._update_metrics(outputs, batch, split)
            self.fraction += batch.size * share
        figures = terms.figures(self._strategy)
        for name, _, metric in self._metrics:
            metric.sync(self._strategy)
            figures[name] = metric.compute()
        return figures

    def _batches(self, split: str) -> Iterator[Batch]:
        """The batches of a split; of several processes each gets as many."""
        if self._strategy.world_size == 1:
            return self._data.batches(split, self._batch_size)
        return self._data.batches(split, self._batch_size, even=True)

    def _judge(self, batch: Batch, terms: _Terms) -> Tree:
        """Add the loss of a batch, in parts as in training, because it may depend on the size; returns outputs."""
        objective, size, counts = self._objective, self._part_size, batch.share / self._strategy.world_size
        if objective is None:
            return tree.call(self._model, batch.inputs)
        outputs = objective.forward(batch.inputs)
        if batch.size <= size:
            terms.add(objective.score(outputs, batch), objective.weights(batch), batch.size, counts)
            return outputs
        if isinstance(objective, _ByTrainer):  # its loss does not take these outputs
            for part in batch.split(size):
                terms.add(objective.score(None, part), objective.weights(part), part.size)
            return outputs
        _check_divides(outputs, batch.size)
        for own, part in zip(tree.split(outputs, size), batch.split(size), strict=True):
            terms.add(objective.score(own, part), objective.weights(part), part.size)
        return outputs

    def _update_metrics(self, predictions: Tree, batch: Batch, split: str) -> None:
        forms: dict[str, Any] = {}
        classes = self._outputs.classes(batch.targets)
        for _, form, metric in self._metrics:
            if form not in forms:
                forms[form] = self._outputs.read(predictions, form)
            if hasattr(metric, "update_samples"):
                metric.update_samples(forms[form], classes, batch.sample_ids, split)
            else:
                metric.update(forms[form], classes)


class _Terms:
    """The terms of the loss over a split, each as a weighted mean.

    Args:
        average: See `DefaultEvaluator`.
    """

    def __init__(self, average: str) -> None:
        self._average = average
        self._values: dict[str, list[Tensor]] = {}
        self._weights: dict[str, list[Tensor]] = {}
        self._factors: dict[str, Tensor | float] = {}

    def add(self, outcome: Outcome, weights: Weights | None, size: int, counts: float = 1.0) -> None:
        """Add the outcome of a batch, or of the part of one that this process has.

        Args:
            outcome: The outcome.
            weights: The weight of each term, if that is not the number of samples.
            size: The number of samples.
            counts: The process's share of the batch; 0 if its samples are another process's.
        """
        for name, term in outcome.terms.items():
            plain_weight = counts if self._average == "batch" else size if counts else 0
            own = (weights or {}).get(name, term.weight)
            value, weight = self._weighed(term, own, plain_weight, counts)
            self._values.setdefault(name, []).append(value)
            self._weights.setdefault(name, []).append(weight)
            self._factors[name] = term.factor

    def figures(self, strategy: Strategy) -> dict[str, Any]:
        """The loss over the batches of all processes, and its terms if they have names."""
        if not self._values:
            return {}
        each = [torch.stack(found[name]) for name in self._values for found in (self._values, self._weights)]
        sums = iter(strategy.sum(each if self._average == "batch" else [own.sum() for own in each]))
        means = {name: _mean(next(sums), next(sums)) for name in self._values}
        named = {} if means.keys() == {LOSS} else {f"{LOSS}/{name}": mean for name, mean in means.items()}
        return {LOSS: added((means[name], self._factors[name]) for name in means), **named}

    def _weighed(self, term: Term, own: Tensor | float | None, plain: float, counts: float) -> tuple[Tensor, Tensor]:
        """A term times its weight, and the weight; `own` is its own weight, `plain` that of a term without one."""
        value = _wide(term.value)
        weight = torch.full_like(value, plain)  # `new_tensor` would copy from the host, which then waits
        if term.reduction == "sum":
            return value if counts else torch.zeros_like(value), weight
        if own is not None and counts:
            weight = _wide(own.to(value.device)) if isinstance(own, Tensor) else torch.full_like(value, own)
        # A batch whose targets are all ignored has the loss 0 / 0.
        return torch.where(weight == 0, 0.0, value) * weight, weight


def _put_back(buffers: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Give buffers their copied values."""
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)


def _mean(sums: Tensor, weights: Tensor) -> Tensor:
    """The mean over a split, or the mean of the means of its batches ``[B]``, without those that have no weight."""
    if not sums.ndim:
        return sums / weights
    counted = weights != 0
    return torch.where(counted, sums / weights, 0.0).sum() / counted.sum()


class _ByTrainer:
    """Evaluates a trainer's `compute_loss`, if the run has no loss.

    Args:
        model: The model without the strategy's wrapper.
        trainer: Its attribute `model` is temporarily set to this one.
        judged: Whether the run has metrics on the model outputs, in addition to the loss.
    """

    def __init__(self, model: nn.Module, trainer: Any, judged: bool) -> None:
        self._model, self._trainer, self._judged = model, trainer, judged
        self.weights = getattr(trainer, "weights", lambda _: None)

    def forward(self, inputs: Tree) -> Tree:
        """The outputs for metrics; None without metrics, because the trainer calls the model itself."""
        return tree.call(self._model, inputs) if self._judged else None

    def score(self, outputs: Tree, batch: Batch) -> Outcome:
        """The terms computed by the trainer."""
        trained, self._trainer.model = self._trainer.model, self._model
        try:
            return outcome_of(self._trainer.compute_loss(batch))
        finally:
            self._trainer.model = trained


def _objective(
    model: nn.Module, loss: Callable[[Any, Any], Any] | None, trainer: Any, task: TaskRuntime, judged: bool
) -> Any:
    """The objective that computes the loss of a split; None if the run has none."""
    if loss is not None or not task.needs_loss:
        objective = task.bind(model, loss)
        return objective if hasattr(objective, "score") else None
    computes = getattr(type(trainer), "compute_loss", None)
    return _ByTrainer(model, trainer, judged) if computes not in (None, BaseTrainer.compute_loss) else None


def _figures(objective: Any, loss: Any, metrics: Mapping[str, Any]) -> dict[str, bool | None]:
    """The figures of an evaluation: the loss with its terms, and the declared figures of each metric."""
    found = {} if objective is None else {LOSS: False, **terms(loss)}
    for name, metric in metrics.items():
        said = declared(metric)
        found |= {f"{name}*": None} if said is None else {joined(name, key): larger for key, larger in said.items()}
    return found


def _check_divides(outputs: Tree, size: int) -> None:
    """Refuse outputs that cannot be split into parts."""
    if tree.first_leaf(outputs) is None or any(not leaf.ndim or len(leaf) != size for _, leaf in tree.leaves(outputs)):
        raise UsageError(
            f"the model returns {tree.words(outputs)} for {size} samples, which cannot be divided into the run's "
            "batches\n  evaluate in batches of the run's size: remove --evaluator.batch_size"
        )


def _check_batch_size(asked: int | None, of_run: int, average: str, num_processes: int, *, whole: bool) -> int:
    """The batch size of the model's forward; `whole` batches are not split."""
    size = (of_run if whole else 4 * of_run) if asked is None else asked
    if average == "batch" and num_processes > 1:
        size = of_run  # in a larger batch a process could not tell which samples belong to which batch
    if 1 <= size < num_processes:
        raise UsageError(f"the evaluator's batch_size is {size}, of {num_processes} processes together; make it larger")
    if size < 1 or (average == "batch" and size % of_run):
        wanted = f"a multiple of the run's, {of_run}" if average == "batch" else "at least 1"
        raise UsageError(f"the evaluator's batch_size is {size}; it must be {wanted}")
    return size


def _wide(tensor: Tensor) -> Tensor:
    """In double precision if the device supports it, so that means over many batches are accurate."""
    return tensor if tensor.device.type == "mps" else tensor.to(torch.float64)


def _read(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as plain numbers: the one place where the host waits for the device.

    Raises:
        UsageError: For a metric that returns something else.
    """
    read: dict[str, Any] = {}
    for metric, value in figures.items():
        for name, numbers in _named(metric, value, metric):
            if name in read:
                raise UsageError(f"metric '{metric}' returns the figure '{name}', which already exists")
            read[name] = numbers
    return read


def _named(name: str, value: Any, metric: str) -> Iterator[tuple[str, Any]]:
    """A figure by name, or several by key, see `wf.engine.figures.joined`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _named(joined(name, str(key)), item, metric)
    else:
        yield name, _numbers(value, metric)


def _numbers(value: Any, metric: str) -> Any:
    """A number, or a list of them."""
    try:
        return plain(value)
    except TypeError as error:
        raise UsageError(
            f"metric '{metric}' gave {value!r:.40} of type {type(value).__name__}, which is not a figure\n"
            "  compute() must return a number, a tensor or a list of them, or a dict of these by name; "
            "nan if there is no value"
        ) from error
