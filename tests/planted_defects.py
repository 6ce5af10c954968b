"""A correct component of every kind, and for every check of the conformance kit one that must fail it.

The only list of them: plugins/kit/tests/test_checks.py sees each defect caught by its check alone, and docs/generate.py
makes the table of docs/conformance.md from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import click
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR

from wf import Command, Component, Condition, FileReader, Hook, Link, Loop, Rule, Task, Verdict
from wf.declarations.component import of_declaration
from wf.declarations.values import RunValue
from wf.errors import DataError, UsageError
from wf.traits import (
    DatasetTraits,
    LossTraits,
    MetricTraits,
    ModelTraits,
    OptimizerTraits,
    SchedulerTraits,
    TrainerTraits,
    TransformTraits,
)
from wf_base import Batch, Dataset, Metric, TensorSamples
from wf_base.task import TaskRuntime
from wf_charts import PlotTraits
from wf_data.serving import RunData
from wf_export.traits import ExporterTraits
from wf_fitting.parts import Facts, Part
from wf_state import codec
from wf_tasks.regression import Regression

Reduction = Literal["mean", "sum", "none"]

# ---------------------------------------------------------------- datasets


def _samples(num: int, seed: int) -> TensorSamples:
    inputs = torch.randn(num, 4, generator=torch.Generator().manual_seed(seed))
    return TensorSamples(inputs, torch.arange(num) % 3)


def clusters(num_samples: int = 24) -> Dataset:
    """Made-up points of three classes.

    Args:
        num_samples: For training; half as many more are for the test.
    """
    return Dataset(
        train=_samples(num_samples, 0),
        test=_samples(num_samples // 2, 1),
        targets="class_index",
        class_names=("a", "b", "c"),
        feature_names=("w", "x", "y", "z"),
    )


def two_names(num_samples: int = 24) -> Dataset:
    """Two class names for three classes.

    Args:
        num_samples: For training.
    """
    return replace(clusters(num_samples), class_names=("a", "b"))


def drawn_anew(num_samples: int = 24) -> Dataset:
    """Inputs drawn from torch's global generator.

    Args:
        num_samples: For training.
    """
    data = clusters(num_samples)
    return replace(data, train=TensorSamples(torch.randn(num_samples, 4), torch.arange(num_samples) % 3))


def overlapping(num_samples: int = 24) -> Dataset:
    """Its test split is a part of its train split.

    Args:
        num_samples: For training.
    """
    data = clusters(num_samples)
    return replace(data, test=TensorSamples(data.train.inputs[:9], data.train.targets[:9]))  # type: ignore[attr-defined]


# ---------------------------------------------------------------- transforms


class Jitter:
    """Subtracts the train mean, and adds a little noise.

    Args:
        width: Of the noise.
    """

    num_draws = 1

    def __init__(self, width: float = 0.1) -> None:
        self.width, self.mean = width, torch.zeros(())

    def fit(self, inputs: Tensor) -> None:
        """Measure the train split."""
        self.mean = inputs.mean()

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """The inputs, moved."""
        return inputs - self.mean + self.width * self.noise(inputs, draws)

    def noise(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """One number a sample."""
        return draws.reshape(-1, *(1,) * (inputs.ndim - 1))

    def state_dict(self) -> dict[str, Tensor]:
        """The mean."""
        return {"mean": self.mean}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore it."""
        self.mean = state["mean"]


class Shrinking(Jitter):
    """Also drops the last column, in training alone.

    Args:
        width: Of the noise.
    """

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        return super().__call__(inputs, draws)[..., :-1]


class OwnDraws(Jitter):
    """Draws its noise from torch's global generator.

    Args:
        width: Of the noise.
    """

    def noise(self, inputs: Tensor, draws: Tensor) -> Tensor:
        return torch.rand_like(inputs)


class BatchMean(Jitter):
    """Subtracts the mean of the batch.

    Args:
        width: Of the noise.
    """

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        return super().__call__(inputs - inputs.mean(), draws)


class Forgetful(Jitter):
    """Saves its mean, and does not restore it.

    Args:
        width: Of the noise.
    """

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        pass


class Blend:
    """Weighted means of two samples, as a transform of whole updates."""

    joint = "batch"

    def __call__(
        self, inputs: Tensor, targets: Tensor, partners: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The means."""
        share = self.share(len(inputs), generator)
        return inputs * share + partners[0] * (1 - share), targets * share + partners[1] * (1 - share)

    def share(self, num: int, generator: torch.Generator) -> Tensor:
        """Of the sample itself."""
        return torch.rand((), generator=generator)


class BlendedAlone(Blend):
    """Draws a share for each sample of this process."""

    def share(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.rand(num, 1, generator=generator)


class BlendedAnew(Blend):
    """Draws from torch's global generator."""

    def share(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.rand(())


class BlendedInPlace(Blend):
    """Changes the partners."""

    def __call__(self, *given: Any) -> tuple[Tensor, Tensor]:
        inputs, targets = super().__call__(*given)
        given[2][0].zero_()
        return inputs, targets


class BlendedShorter(Blend):
    """Drops the last column."""

    def __call__(self, *given: Any) -> tuple[Tensor, Tensor]:
        inputs, targets = super().__call__(*given)
        return inputs[:, :-1], targets


class BlendedTwice(Blend):
    """Targets that add up to 2."""

    def __call__(self, *given: Any) -> tuple[Tensor, Tensor]:
        inputs, targets = super().__call__(*given)
        return inputs, 2 * targets


# ---------------------------------------------------------------- models


class Softmax(nn.Module):
    """A linear layer, dropout and a log-softmax.

    Args:
        input_shape: Shape of one sample.
        num_outputs: Number of outputs per sample.
        dropout: Share of the inputs that is left out in training.
    """

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = dropout
        self.layer = nn.Linear(torch.Size(input_shape).numel(), num_outputs)

    def scores(self, inputs: Tensor) -> Tensor:
        """Unbounded scores."""
        scores: Tensor = self.layer(F.dropout(inputs.flatten(1), self.dropout, self.training))
        return scores

    def forward(self, inputs: Tensor) -> Tensor:
        """Log-probabilities ``[N, num_outputs]``."""
        return self.scores(inputs).log_softmax(1)


class OneMore(Softmax):
    """Returns one output too many.

    Args:
        input_shape: Shape of one sample.
        num_outputs: Number of outputs per sample.
        dropout: Share of the inputs that is left out in training.
    """

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int, dropout: float = 0.1) -> None:
        super().__init__(input_shape, num_outputs + 1, dropout)


class Unnormalised(Softmax):
    """Declares log-probabilities, and returns scores.

    Args:
        input_shape: Shape of one sample.
        num_outputs: Number of outputs per sample.
        dropout: Share of the inputs that is left out in training.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scores(inputs)


class IdleLayer(Softmax):
    """Has a layer that it does not use.

    Args:
        input_shape: Shape of one sample.
        num_outputs: Number of outputs per sample.
        dropout: Share of the inputs that is left out in training.
    """

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int, dropout: float = 0.1) -> None:
        super().__init__(input_shape, num_outputs, dropout)
        self.idle = nn.Linear(2, 2)


class AlwaysDropout(Softmax):
    """Applies dropout in evaluation, too.

    Args:
        input_shape: Shape of one sample.
        num_outputs: Number of outputs per sample.
        dropout: Share of the inputs that is left out.
    """

    def scores(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.layer(F.dropout(inputs.flatten(1), self.dropout))
        return scores


class HiddenScale(Softmax):
    """Has a random scale that is neither parameter nor buffer.

    Args:
        input_shape: Shape of one sample.
        num_outputs: Number of outputs per sample.
        dropout: Share of the inputs that is left out in training.
    """

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int, dropout: float = 0.1) -> None:
        super().__init__(input_shape, num_outputs, dropout)
        self.scale = torch.rand(1) + 0.5

    def scores(self, inputs: Tensor) -> Tensor:
        return super().scores(inputs) * self.scale


def no_model(input_shape: tuple[int, ...], num_outputs: int) -> Callable[[Tensor], Tensor]:
    """A function instead of a module.

    Args:
        input_shape: Shape of one sample.
        num_outputs: Number of outputs per sample.
    """
    return lambda inputs: inputs.flatten(1)[:, :num_outputs]


# ---------------------------------------------------------------- losses


class CrossEntropy(nn.Module):
    """Softmax cross-entropy.

    Args:
        ignore_index: Targets with this value are ignored.
        reduction: How the losses of the targets are reduced.
    """

    def __init__(self, ignore_index: int = -100, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits ``[N, C, ...]`` and class indices ``[N, ...]``."""
        return F.cross_entropy(predictions, targets, ignore_index=self.ignore_index, reduction=self.reduction)

    def total_weight(self, targets: Tensor) -> Tensor:
        """The targets that count."""
        return (targets != self.ignore_index).sum()


class SumIsMean(CrossEntropy):
    """Returns the mean for `sum`.

    Args:
        ignore_index: Targets with this value are ignored.
        reduction: How the losses of the targets are reduced.
    """

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        loss = super().forward(predictions, targets)
        return loss / len(targets) if self.reduction == "sum" else loss


class CountsIgnored(CrossEntropy):
    """Divides by all targets, including ignored ones.

    Args:
        ignore_index: Targets with this value are ignored.
        reduction: How the losses of the targets are reduced.
    """

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        each = F.cross_entropy(predictions, targets, ignore_index=self.ignore_index, reduction="none")
        return {"none": each, "sum": each.sum(), "mean": each.mean()}[self.reduction]


def no_weight(predictions: Tensor, targets: Tensor) -> Tensor:
    """Declared as weighted, without total_weight."""
    return F.cross_entropy(predictions, targets)


def by_frequency(predictions: Tensor, targets: Tensor) -> Tensor:
    """Weights the classes without declaring it."""
    return F.cross_entropy(predictions, targets, weight=torch.tensor([1.0, 5.0, 20.0], dtype=predictions.dtype))


def absolute(predictions: Tensor, targets: Tensor) -> Tensor:
    """The mean absolute error."""
    return (predictions - targets).abs().mean()


def over_nothing(predictions: Tensor, targets: Tensor) -> Tensor:
    """Divides by the number of huge targets, which is 0."""
    return (predictions - targets).abs().sum() / (targets > 1e9).sum()


def half_detached(predictions: Tensor, targets: Tensor) -> Tensor:
    """A squared error of which autograd sees one factor."""
    error = predictions - targets
    return (error.detach() * error).mean()


def log_of_softmax(predictions: Tensor, targets: Tensor) -> Tensor:
    """Overflows and takes the logarithm of zero."""
    return F.nll_loss(predictions.softmax(1).log(), targets)


def far_from_zero(predictions: Tensor, targets: Tensor) -> Tensor:
    """Loses precision in half precision."""
    return ((predictions + 300) - (targets + 300)).abs().mean()


def clips_targets(predictions: Tensor, targets: Tensor) -> Tensor:
    """Changes the targets themselves."""
    return (predictions - targets.clamp_(-0.5, 0.5)).abs().mean()


def not_in_evaluation(predictions: Tensor, targets: Tensor) -> Tensor:
    """Fails in evaluations."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError("no gradient here")
    return absolute(predictions, targets)


def undescribed(predictions: Tensor, targets: Tensor, scale: float = 1.0) -> Tensor:
    """Has an option without a description."""
    return scale * absolute(predictions, targets)


def unannotated(predictions, targets, scale=1.0):  # type: ignore[no-untyped-def]
    """Has an option of any type.

    Args:
        predictions: Of the model.
        targets: Of the dataset.
        scale: A factor.
    """
    return scale * absolute(predictions, targets)


# ---------------------------------------------------------------- optimizers


class Momentum(torch.optim.Optimizer):
    """Gradient descent with momentum.

    Args:
        params: The parameters to train.
        lr: Learning rate.
    """

    def __init__(self, params: list[nn.Parameter], lr: float = 0.05) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(self.update(parameter), alpha=self.rate(group))

    def rate(self, group: Mapping[str, Any]) -> float:
        """The learning rate of a group."""
        return float(group["lr"])

    def memory(self, parameter: Tensor) -> dict[str, Any]:
        """The state of a parameter."""
        kept: dict[str, Any] = self.state[parameter]
        return kept

    def update(self, parameter: Tensor) -> Tensor:
        """The running sum of the gradients."""
        assert parameter.grad is not None
        kept = self.memory(parameter)
        kept["sum"] = 0.5 * kept["sum"] + parameter.grad if "sum" in kept else parameter.grad.clone()
        total: Tensor = kept["sum"]
        return total


class Ascent(Momentum):
    """Ascends the gradient.

    Args:
        params: The parameters to train.
        lr: Learning rate.
    """

    def rate(self, group: Mapping[str, Any]) -> float:
        return -super().rate(group)


class OwnMemory(Momentum):
    """Keeps its momentum outside its state.

    Args:
        params: The parameters to train.
        lr: Learning rate.
    """

    def __init__(self, params: list[nn.Parameter], lr: float = 0.05) -> None:
        self.kept: dict[int, dict[str, Any]] = {}
        super().__init__(params, lr)

    def memory(self, parameter: Tensor) -> dict[str, Any]:
        return self.kept.setdefault(id(parameter), {})


class OneRate(Momentum):
    """Uses one learning rate for all groups.

    Args:
        params: The parameters to train.
        lr: Learning rate.
    """

    def rate(self, group: Mapping[str, Any]) -> float:
        return float(self.defaults["lr"])


class Normalised(Momentum):
    """Divides by the norm of each gradient.

    Args:
        params: The parameters to train.
        lr: Learning rate.
    """

    def update(self, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad / parameter.grad.norm()


# ---------------------------------------------------------------- schedulers


def decay(optimizer: torch.optim.Optimizer, factor: float = 0.9) -> ExponentialLR:
    """Multiplies the learning rate by a factor each epoch.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        factor: That factor.
    """
    return ExponentialLR(optimizer, factor)


def below_zero(optimizer: torch.optim.Optimizer) -> LambdaLR:
    """Becomes negative after reaching zero.

    Args:
        optimizer: The optimizer whose learning rate it sets.
    """
    return LambdaLR(optimizer, lambda epoch: 1 - epoch / 5)


class Uncounted:
    """Halves the learning rate every third step, and does not save the count.

    Args:
        optimizer: The optimizer whose learning rate it sets.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer, self.count = optimizer, 0

    def step(self) -> None:
        """One step."""
        self.count += 1
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.5 if self.count % 3 == 0 else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


class Watching(Uncounted):
    """Needs a metric, but does not declare that it watches evaluations.

    Args:
        optimizer: The optimizer whose learning rate it sets.
    """

    def step(self, figure: float) -> None:  # type: ignore[override]
        super().step()


# ---------------------------------------------------------------- metrics


class Share(Metric):
    """The share of targets that are predicted right."""

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add labels and targets of the same shape."""
        self.add("right", (predictions == targets).sum())
        self.add("count", torch.tensor(targets.numel()))

    def compute(self) -> Tensor:
        """The share, 0-d."""
        return self.total("right") / self.total("count")


class TwoFigures(Share):
    """Returns two numbers, and declares a direction."""

    def compute(self) -> Tensor:
        return super().compute().repeat(2)


class Named(Share):
    """Two declared figures."""

    figures: ClassVar[dict[str, bool | None]] = {"": True, "wrong": False}

    def compute(self) -> Any:
        share = super().compute()
        return {"": share, "wrong": 1 - share}


class NamedMore(Named):
    """Returns a figure that it does not declare."""

    figures: ClassVar[dict[str, bool | None]] = {"": True}


class NamedLess(Named):
    """Declares a figure that it does not return."""

    figures: ClassVar[dict[str, bool | None]] = {"": True, "wrong": False, "odd": None}


class MeanOfBatches(Metric):
    """The mean of the shares of the batches, regardless of their sizes."""

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        self.append("share", (predictions == targets).float().mean().reshape(1))

    def compute(self) -> Tensor:
        return self.values("share").mean()


class KeepsLists(Metric):
    """The share of right targets, with lists that reset does not clear."""

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        self.append("right", (predictions == targets).float())

    def compute(self) -> Tensor:
        return self.values("right").mean()

    def reset(self) -> None:
        self._sums = {}


class AloneMetric(Metric):
    """Counts in attributes that are not synced between processes."""

    def __init__(self) -> None:
        super().__init__()
        self.right = self.count = 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        self.right += int((predictions == targets).sum())
        self.count += targets.numel()

    def compute(self) -> Tensor:
        return torch.tensor(self.right / self.count)

    def reset(self) -> None:
        self.right = self.count = 0


# ---------------------------------------------------------------- parts of the loop


class Trainer:
    """Forward, loss, backward, step.

    Args:
        model: The model.
        loss: Called with (predictions, targets).
        optimizer: Has the parameters.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], optimizer: torch.optim.Optimizer
    ) -> None:
        self.model, self.loss, self.optimizer = model, loss, optimizer

    def train_step(self, batch: Batch) -> Tensor:
        """Make one update."""
        loss = self.loss(self.model(batch.inputs), batch.targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return self.give(loss)

    def give(self, loss: Tensor) -> Tensor:
        """The returned loss."""
        return loss.detach()


class HoldsGraph(Trainer):
    """Returns the loss with its graph.

    Args:
        model: The model.
        loss: Called with (predictions, targets).
        optimizer: Has the parameters.
    """

    def give(self, loss: Tensor) -> Tensor:
        return loss


class Evaluator:
    """The mean loss of a split.

    Args:
        model: The model.
        loss: Called with (predictions, targets).
        outputs: Reads predictions.
        data: The run's splits.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], outputs: TaskRuntime, data: RunData
    ) -> None:
        self.model, self.loss, self.outputs, self.data = model, loss, outputs, data

    def evaluate(self, split: str) -> dict[str, float]:
        """The figures of a split."""
        state, was_training = torch.get_rng_state(), self.model.training
        self.model.eval()
        with torch.inference_mode():
            losses = [self.loss(self.model(batch.inputs), batch.targets) for batch in self.data.batches(split)]
        self.leave(was_training)
        torch.set_rng_state(state)
        return {"loss": torch.stack(losses).mean().item()}

    def leave(self, was_training: bool) -> None:
        """Restore the mode."""
        self.model.train(was_training)


class LeavesEval(Evaluator):
    """Leaves the model in evaluation mode.

    Args:
        model: The model.
        loss: Called with (predictions, targets).
        outputs: Reads predictions.
        data: The run's splits.
    """

    def leave(self, was_training: bool) -> None:
        pass


class Files:
    """Keeps each checkpoint in two files.

    Args:
        run_dir: The run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.folder = Path(run_dir) / "planted"

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> str:
        """Write a checkpoint."""
        document, tensors = codec.encode(dict(state))
        place = self.folder / f"{progress['step']:06}"
        place.mkdir(parents=True, exist_ok=True)
        save_file(tensors, place / "tensors")
        (place / "state").write_text(json.dumps(document))
        return str(place)

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        """Read a checkpoint."""
        found = sorted(file.parent for file in self.folder.glob("*/state"))
        chosen = [place for place in found if which in ("latest", place.name)]
        if not chosen:
            raise DataError(f"no checkpoint {which}")
        document = json.loads((chosen[-1] / "state").read_text())
        state: Mapping[str, Any] = codec.decode(document, load_file(chosen[-1] / "tensors"))
        return state


class ByReference(Files):
    """Keeps references to tensors, which keep changing.

    Args:
        run_dir: The run directory.
    """

    kept: ClassVar[dict[Path, dict[str, Any]]] = {}

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> str:
        self.kept.setdefault(self.folder, {})[f"{progress['step']:06}"] = state
        return "memory"

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        kept = self.kept.get(self.folder, {})
        if which != "latest" and which not in kept:
            raise DataError(f"no checkpoint {which}")
        state: Mapping[str, Any] = kept[max(kept) if which == "latest" else which]
        return state


class Swallows(Files):
    """Ignores errors in writing a checkpoint.

    Args:
        run_dir: The run directory.
    """

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> str:
        try:
            return super().save(state, progress, metrics)
        except UsageError:
            return ""


class Alone:
    """One process on the CPU."""

    device = torch.device("cpu")
    rank, world_size = 0, 1

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def bare(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def agree(self, flag: bool) -> bool:
        """The flag itself."""
        return flag

    def sum(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """The tensors themselves."""
        return list(tensors)

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def close(self) -> None:
        """Nothing to release."""


class Wraps(Alone):
    """Wraps the model, and returns the wrapper as the bare model."""

    def prepare(self, model: nn.Module) -> nn.Module:
        return nn.Sequential(model)


class CountEpochs(Hook):
    """Counts epochs, and lowers the learning rate with them.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        factor: For each epoch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, factor: float = 0.5) -> None:
        self.optimizer, self.factor, self.num_epochs = optimizer, factor, 0

    def on_epoch_end(self, run: Loop) -> None:
        """Count."""
        self.num_epochs += 1
        for group in self.optimizer.param_groups:
            group["lr"] = 0.1 * self.factor**self.num_epochs

    def state_dict(self) -> dict[str, Any]:
        """The count."""
        return {"num_epochs": self.num_epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self.num_epochs = state["num_epochs"]


class Misspelt(CountEpochs):
    """Listens to an event that does not exist.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        factor: For each epoch.
    """

    def on_epochs_end(self, run: Loop) -> None:
        """Never called."""


class CountsAnew(CountEpochs):
    """Starts counting at 0 after a resume.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        factor: For each epoch.
    """

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class FailsToo(CountEpochs):
    """Fails in on_exception.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        factor: For each epoch.
    """

    def on_exception(self, run: Loop, error: BaseException) -> None:
        """Fail."""
        raise OSError("nowhere to report to")


# ---------------------------------------------------------------- the lists

CLASSES = LossTraits(predictions="logits", targets=("class_index",))
NUMBERS = LossTraits(predictions="real", targets=("real",))


# ---------------------------------------------------------------- tasks and links


class Stars(Regression):
    """Two numbers of stars."""


class WholeStars(Stars):
    """Its example has integers, which it rejects."""

    def example_targets(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.ones(num, 2, dtype=torch.int64)


class OneMoreStar(Stars):
    """Needs one output too many for its targets."""

    def num_outputs(self, spec: Any) -> int | None:
        return int(spec.num_targets) + 1


def shine(predictions: Tensor) -> Tensor:
    """Scores as shares."""
    return predictions.sigmoid()


def shine_alone(predictions: Tensor) -> Tensor:
    """Scores as shares, without a gradient."""
    return predictions.sigmoid().detach()


_TASK = Task(name="planted", summary="the task of a test", target="planted_defects:Stars", targets=("stars",))
_LINK = Link(
    name="planted", summary="the link of a test", target="planted_defects:shine", takes=("raw",), gives="shine"
)


_VALUE = RunValue(name="planted", type="int", summary="the value of a test", provider="planted_defects:planted_value")


_RULE = Rule(name="planted", kind="hook", summary="the rule of a test", target="planted_defects:judge")
_CONDITION = Condition(
    name="planted",
    summary="the condition of a test",
    means="nothing",
    level="warning",
    target="planted_defects:planted_value",
)
_READER = FileReader(name="planted", summary="the reader of a test", endings=(".up",), target="planted_defects:read")


def judge(part: Part, known: Facts) -> Verdict:
    """Accept everything."""
    return Verdict(True)


def read(path: Path) -> Tensor:
    """Only zeros."""
    return torch.zeros(1, 4)


def planted_value(num_features: int) -> int:
    """A run value.

    Args:
        num_features: Filled in.
    """
    return num_features


def _component(kind: str, target: str, traits: Any = None, **fields: Any) -> Component:
    return Component(kind, "planted", f"planted_defects:{target}", f"the {kind} of a test", traits=traits, **fields)


_COMMAND = Command(name="planted", section="Tests", summary="the command of a test", target="planted_defects:greet")


@click.command()
def greet() -> None:
    """Greets."""


def no_command() -> None:
    """Not a command."""


class NoUse:
    """Has no `use`."""

    in_graph = False

    def write(self, source: Any, file: Path) -> str:
        """Write nothing."""
        return "nothing"

    def outputs(self, source: Any, file: Path) -> None:
        """Nothing."""


class NoSearch:
    """Draws nothing."""

    def charts(self) -> list[Any]:
        """Nothing."""
        return []


CORRECT: dict[str, Component] = {
    component.kind: component
    for component in (
        _component("dataset", "clusters", DatasetTraits(targets="class_index", inputs="vector")),
        _component("transform", "Jitter", TransformTraits(train_only=True, gives="same")),
        _component("model", "Softmax", ModelTraits(predictions="log_probs")),
        _component(
            "loss",
            "CrossEntropy",
            LossTraits(predictions="logits", targets=("class_index", "mask"), weighted=True),
            aliases=("planted-too",),
        ),
        _component("optimizer", "Momentum", OptimizerTraits()),
        _component("scheduler", "decay", SchedulerTraits(interval="epoch")),
        _component(
            "metric",
            "Share",
            MetricTraits(predictions="labels", targets=("class_index", "binary", "mask"), larger_is_better=True),
        ),
        _component("hook", "CountEpochs"),
        _component("trainer", "Trainer", TrainerTraits()),
        _component("evaluator", "Evaluator"),
        _component("checkpointer", "Files"),
        _component("strategy", "Alone"),
        of_declaration(_TASK),
        of_declaration(_LINK),
        of_declaration(_COMMAND),
        of_declaration(_VALUE),
        of_declaration(_RULE),
        of_declaration(_CONDITION),
        of_declaration(_READER),
    )
}
"""A component of every kind that passes everything."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A component with one defect, and the check that must find it."""

    check: str
    defect: str
    """In words, for the page."""
    component: Component
    source: str = ""
    """What else its plugin.py does."""
    beside: Component | None = None
    """What another plugin brings."""


def _planted(check: str, defect: str, target: str, traits: Any = None, **fields: Any) -> Planted:
    """A component like the correct one of its kind, except for its target or traits."""
    kind = check.partition("-")[0]
    right = CORRECT[kind]
    component = replace(right, target=f"planted_defects:{target}", traits=traits or right.traits, **fields)
    return Planted(check=check, defect=defect, component=component)


def _declared(check: str, defect: str, component: Component, **fields: Any) -> Planted:
    return Planted(check=check, defect=defect, component=component, **fields)


_BLENDED = TransformTraits(
    train_only=True, inputs="vector", gives="same", joint="batch", targets=("one_hot",), gives_targets="one_hot"
)
MIXING = {
    name: _component("transform", name, _BLENDED)
    for name in ("Blend", "BlendedAlone", "BlendedAnew", "BlendedInPlace", "BlendedShorter", "BlendedTwice")
}
"""Transforms that mix samples, the first one right."""

NAMED = {
    name: replace(CORRECT["metric"], target=f"planted_defects:{name}") for name in ("Named", "NamedMore", "NamedLess")
}
"""Metrics that declare their figures, the first one right."""

_MANY = LossTraits(predictions="logits", targets=("class_index",), weighted=True)
_MISSPELT = LossTraits(predictions="logits", targets=("class_indx",), weighted=True)
_LOSS = CORRECT["loss"]

PLANTED: tuple[Planted, ...] = (
    _declared("summary", "no summary", replace(_LOSS, summary="")),
    _declared("traits", "a loss without traits", replace(_LOSS, traits=None)),
    _declared("forms", "a misspelt form of targets", _component("loss", "CrossEntropy", _MISSPELT)),
    _declared("name", "a name that another plugin also has", _LOSS, beside=_LOSS),
    _declared("light", "`plugin.py` imports numpy", _LOSS, source="import numpy"),
    _declared("fast", "`plugin.py` takes 0.15 s", _LOSS, source="import time; time.sleep(0.15)"),
    _declared("loads", "a target that its module does not have", replace(_LOSS, target="planted_defects:Nothing")),
    _declared("docstring", "an option that is missing in the docstring", _component("loss", "undescribed", NUMBERS)),
    _declared("options", "an option without an annotation", _component("loss", "unannotated", NUMBERS)),
    _declared("made", "a function instead of a module", _component("model", "no_model", ModelTraits())),
    _planted("dataset-traits", "declares the wrong kind of targets", "clusters", DatasetTraits(targets="real")),
    _planted("dataset-spec", "two class names for three classes", "two_names"),
    _planted("dataset-deterministic", "draws from torch's global generator", "drawn_anew"),
    _planted("dataset-splits", "the test split is a part of the train split", "overlapping"),
    _planted("transform-traits", "random, but not declared as training-only", "Jitter", TransformTraits()),
    _planted("transform-shape", "an augmentation that changes the shape", "Shrinking"),
    _planted("transform-deterministic", "draws its noise from torch's global generator", "OwnDraws"),
    _planted("transform-batches", "subtracts the mean of the batch", "BatchMean"),
    _planted("transform-resumes", "does not restore its state", "Forgetful"),
    _planted("model-forward", "returns one output too many", "OneMore"),
    _planted("model-traits", "declares log-probabilities and returns scores", "Unnormalised"),
    _planted("model-gradients", "a layer that is not used", "IdleLayer"),
    _planted("model-eval", "dropout in evaluation as well", "AlwaysDropout"),
    _planted("model-resumes", "a random scale that is neither a parameter nor a buffer", "HiddenScale"),
    _planted("loss-traits", "declares weighted=True without total_weight", "no_weight", _MANY),
    _planted("loss-finite", "divides by a count that is 0", "over_nothing", NUMBERS),
    _planted("loss-gradient", "a factor is detached", "half_detached", NUMBERS),
    _planted("loss-extreme", "the logarithm of a softmax", "log_of_softmax", CLASSES),
    _planted("loss-reduction", "`sum` returns the mean", "SumIsMean"),
    _planted("loss-weight", "weights the classes without declaring it", "by_frequency", CLASSES),
    _planted("loss-ignore-index", "counts ignored targets in the divisor", "CountsIgnored"),
    _planted("loss-half-precision", "adds and subtracts 300", "far_from_zero", NUMBERS),
    _planted("loss-pure", "clips the targets in place", "clips_targets", NUMBERS),
    _planted("optimizer-traits", "declares modes that it does not have", "Momentum", OptimizerTraits(modes=True)),
    _planted("optimizer-descends", "ascends the gradient", "Ascent"),
    _planted("optimizer-resumes", "keeps its momentum outside of its state", "OwnMemory"),
    _planted("optimizer-groups", "uses one learning rate for all groups", "OneRate"),
    _planted("optimizer-gaps", "divides by the norm of a gradient, which may be zero", "Normalised"),
    _planted("scheduler-traits", "needs a metric although its interval is `epoch`", "Watching"),
    _planted("scheduler-rates", "learning rates below zero", "below_zero"),
    _planted("scheduler-resumes", "does not save its count", "Uncounted"),
    _planted("metric-traits", "returns two values and declares a direction", "TwoFigures"),
    _planted("metric-batches", "averages the values of the batches", "MeanOfBatches"),
    _planted("metric-reset", "reset() clears the sums and not the lists", "KeepsLists"),
    _planted(
        "metric-direction",
        "declares that smaller accuracy is better",
        "Share",
        MetricTraits(predictions="labels", targets=("class_index",), larger_is_better=False),
    ),
    _planted("metric-processes", "counts in plain attributes", "AloneMetric"),
    _planted("trainer-step", "returns the loss with its graph", "HoldsGraph"),
    _planted(
        "trainer-traits", "declares a step that it does not do", "Trainer", TrainerTraits(steps=("plain", "closure"))
    ),
    _planted("evaluator-pure", "leaves the model in evaluation mode", "LeavesEval"),
    _planted("checkpointer-exact", "stores tensors by reference", "ByReference"),
    _planted("checkpointer-refuses", "ignores that a state cannot be saved", "Swallows"),
    _planted("strategy-alone", "returns its wrapper as the model", "Wraps"),
    _planted("hook-events", "a misspelt event", "Misspelt"),
    _planted("task-example", "an example that the task itself rejects", "WholeStars"),
    _planted("task-trains", "`num_outputs` does not match the targets", "OneMoreStar"),
    _planted("link-applies", "detaches its result", "shine_alone"),
    _declared("exporter-methods", "no `use`", _component("exporter", "NoUse", ExporterTraits(endings=(".none",)))),
    _declared("plot-draws", "draws a `serach`", _component("plot", "NoSearch", PlotTraits(of="serach"))),
    _planted("command-help", "a plain function", "no_command"),
    _declared("run", "a loss that fails in evaluation", _component("loss", "not_in_evaluation", NUMBERS)),
    _declared("run-resumes", "a hook whose count restarts at 0", _component("hook", "CountsAnew")),
    _declared("run-errors", "a hook whose on_exception fails", _component("hook", "FailsToo")),
)
"""For every check a component that it must find wrong, and that every other check finds right."""
