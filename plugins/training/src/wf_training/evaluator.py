"""The default evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from wf.errors import UsageError
from wf.figures import LOSS
from wf.protocols import Strategy
from wf.runtime import Metric
from wf.runtime.links import Outputs, total_weight
from wf.runtime.modes import evaluated
from wf.runtime.serving import RunData


class DefaultEvaluator:
    """Loss and metrics over a split, in inference mode, accumulated on the device and read once.

    The training generators and the modes of the model's modules are left as they were.

    Args:
        model: The model as it is trained.
        loss: Called with (predictions, targets).
        metrics: By name.
        metric_forms: The form of predictions that each metric wants.
        outputs: Reads predictions in these forms.
        data: The run's splits.
        strategy: Where several processes share a split.
        average: ``sample``: the loss is the mean over samples (over their weights for a weighted loss);
            ``batch``: the mean of the losses of the run's batches, the last short one included with the same weight.
        batch_size: Samples that the model is given at once; None for four times the run's, since without gradients
            there is room for more. A multiple of the run's where `average` is ``batch``.

    Raises:
        UsageError: For a batch size that cannot be.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        metrics: dict[str, Metric],
        metric_forms: dict[str, str],
        outputs: Outputs,
        data: RunData,
        strategy: Strategy,
        average: Literal["sample", "batch"] = "sample",
        batch_size: int | None = None,
    ) -> None:
        self._batch_size = _check_batch_size(batch_size, data.batch_size, average)
        self._model: nn.Module = strategy.bare(model)  # what DDP adds would wait for processes that are done
        self._loss, self._data, self._strategy = loss, data, strategy
        self._metrics = [(name, metric_forms.get(name, "raw"), metric) for name, metric in metrics.items()]
        self._outputs, self._average = outputs, average
        self.figures = (LOSS, *metrics)
        """The names of what it gives, so that a monitor can be looked at before the first step."""

    def evaluate(self, split: str) -> dict[str, Any]:
        """The loss and every metric over `split`, as plain numbers.

        Raises:
            UsageError: When there is no such split.
        """
        generators = _generators()
        self._share_buffers()
        try:
            with evaluated(self._model), torch.inference_mode():
                figures = self._accumulate(split)
        finally:
            _restore(generators)
        return _read(figures)

    def _share_buffers(self) -> None:
        """Give every process the first one's buffers (running means), as a training step of DDP and a checkpoint do."""
        if self._strategy.world_size == 1:
            return
        with torch.no_grad():
            for buffer in self._model.buffers():
                buffer.copy_(self._strategy.gather(buffer.unsqueeze(0))[0])

    def _accumulate(self, split: str) -> dict[str, Any]:
        """Every figure of the split, still on the device."""
        weighted: list[Tensor] = []
        weights: list[Tensor] = []
        for _, _, metric in self._metrics:
            metric.reset()
        for batch in self._data.batches(split, self._batch_size):
            predictions = self._model(batch.inputs)
            for loss, weight in self._weigh(predictions, batch.targets):
                weighted.append(loss)
                weights.append(weight)
            self._update_metrics(predictions, batch.targets)
        totals = [torch.stack(weighted).sum(), torch.stack(weights).sum()]
        loss_sum, weight_sum = self._strategy.sum(totals)
        figures: dict[str, Any] = {"loss": loss_sum / weight_sum}
        for name, _, metric in self._metrics:
            metric.sync(self._strategy)
            figures[name] = metric.compute()
        return figures

    def _weigh(self, predictions: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Losses times their weights, and the weights, of batches as in training: some losses depend on the size."""
        size = self._data.batch_size
        for outputs, wanted in zip(predictions.split(size), targets.split(size), strict=True):
            loss = _wide(self._loss(outputs, wanted))
            weight = loss.new_tensor(1.0 if self._average == "batch" else len(wanted))
            if getattr(self._loss, "reduction", "mean") == "sum":
                yield loss, weight
                continue
            own = total_weight(self._loss, wanted) if self._average == "sample" else None
            if own is not None:
                weight = _wide(own)
                loss = torch.where(weight == 0, 0.0, loss)  # a batch without a counted target has the loss 0 / 0
            yield loss * weight, weight

    def _update_metrics(self, predictions: Tensor, targets: Tensor) -> None:
        forms: dict[str, Tensor] = {}
        classes = self._outputs.classes(targets)
        for _, form, metric in self._metrics:
            if form not in forms:
                forms[form] = self._outputs.read(predictions, form)
            metric.update(forms[form], classes)


def _check_batch_size(asked: int | None, of_run: int, average: str) -> int:
    size = 4 * of_run if asked is None else asked
    if size < 1 or (average == "batch" and size % of_run):
        wanted = f"a multiple of the run's, {of_run}" if average == "batch" else "at least 1"
        raise UsageError(f"the evaluator's batch_size is {size}; it must be {wanted}")
    return size


def _wide(tensor: Tensor) -> Tensor:
    """In double precision where the device has it, so that a mean over many batches loses nothing."""
    return tensor if tensor.device.type == "mps" else tensor.to(torch.float64)


def _read(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as plain numbers: the one place where the host waits for the device.

    Raises:
        UsageError: For a metric that gives something else.
    """
    read: dict[str, Any] = {}
    for metric, value in figures.items():
        for name, numbers in _named(metric, value, metric):
            if name in read:
                raise UsageError(f"metric '{metric}' gives the figure '{name}', which is there already")
            read[name] = numbers
    return read


def _named(name: str, value: Any, metric: str) -> Iterator[tuple[str, Any]]:
    """A figure by its name, or several, each with its key behind a dash."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _named(f"{name}-{key}", item, metric)
    else:
        yield name, _numbers(value, metric)


def _numbers(value: Any, metric: str) -> Any:
    """A number, or a list of them, of a tensor, an array or what is one already."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, (list, tuple)):
        return [_numbers(item, metric) for item in plain]
    if isinstance(plain, (bool, int, float)):
        return plain
    raise UsageError(
        f"metric '{metric}' gave {value!r:.40} of type {type(value).__name__}, which is no figure\n"
        "  compute() gives a number, a tensor or a list of them, or a dict of these by name; "
        "nan where there is none"
    )


def _generators() -> list[Tensor]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state())
    return states


def _restore(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])
