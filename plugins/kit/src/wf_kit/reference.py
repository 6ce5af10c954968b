"""The other parts of a run around the component under test, each in its simplest form.

The kit has its own, so that its results depend on no other plugin. They are ordinary components, declared below as
in any plugin, and looked up by name: ``kit-model@wf-kit``.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wf import Component, FromRun
from wf.discovery.plugins import Plugin
from wf.engine.figures import LOSS
from wf.errors import DataError
from wf.protocols import Strategy
from wf.traits import ModelTraits, OptimizerTraits, TrainerTraits
from wf_base import Batch, Dataset, Metric, TensorSamples, tree
from wf_base.task import TaskRuntime, task_of
from wf_base.training.objective import outcome_of, total_weight
from wf_data.serving import RunData
from wf_kit import samples
from wf_state import codec

PLAIN = OptimizerTraits()


def dataset(
    targets: str = "class_index",
    input_shape: list[int] = [5],  # noqa: B006 - only read
    tokens: bool = False,
) -> Dataset:
    """Twenty-four synthetic samples.

    Args:
        targets: The form of its targets.
        input_shape: The shape of one input.
        tokens: Whether inputs are tokens.
    """
    task = task_of(targets)
    made: Dataset = task.example(input_shape=None if task.any_size else input_shape)
    if not tokens:
        return made
    assert isinstance(made.train, TensorSamples)
    train = TensorSamples(samples.tokens(tuple(input_shape), len(made.train)), made.train.targets)
    return replace(made, train=train, vocabulary=samples.VOCABULARY)


class Model(nn.Module):
    """Dropout and one linear layer over the flattened input, or over each pixel where targets are masks.

    Args:
        input_shape: Shape of one sample.
        num_outputs: Number of outputs per sample.
        data: The run's data: whether there is one prediction per pixel.
    """

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int, data: RunData) -> None:
        super().__init__()
        dense = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs))
        self.layers = nn.Sequential(
            nn.Dropout(0.2), nn.Conv2d(input_shape[0], num_outputs, 1) if data.spec.mask_shape else dense
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores ``[N, num_outputs]``, or ``[N, num_outputs, H, W]``."""
        scores: Tensor = self.layers(inputs.to(torch.get_default_dtype()))  # tokens are read as numbers
        return scores


def loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy for class indices, squared error for everything else; averages over samples."""
    if not targets.is_floating_point():
        return functional.cross_entropy(predictions, targets)
    return functional.mse_loss(predictions, targets)


def adam(params: list[nn.Parameter], lr: float = 0.01) -> torch.optim.Adam:
    """Adam, whose steps stay small for any data.

    Args:
        params: The parameters to train.
        lr: Learning rate.
    """
    return torch.optim.Adam(params, lr=lr)


def step(
    optimizer: Any, protocol: str, loss_of: Callable[[], Tensor], ready: Sequence[Callable[[], None]] = ()
) -> Tensor:
    """One update by an optimizer's step protocol; returns the loss before it.

    Args:
        optimizer: The optimizer.
        protocol: See `wf.traits.OptimizerTraits`.
        loss_of: Computes the loss.
        ready: Called when new gradients are available.
    """
    losses: list[Tensor] = []

    def backward() -> Tensor:
        optimizer.zero_grad()
        value = loss_of()
        value.backward(create_graph=protocol == "create_graph")
        for listen in ready:
            listen()
        losses.append(value)
        return value

    if protocol != "closure":
        backward()
    if protocol in ("closure", "two_step"):
        optimizer.step(backward)
    else:
        optimizer.step()
    return losses[0]


class Trainer:
    """Forward, loss, backward, step, by any step protocol.

    Args:
        model: The model.
        loss: Called with (predictions, targets); None if the task's models compute their own.
        optimizer: Has the parameters.
        scheduler: Stepped after each update, epoch or evaluation.
        scheduler_interval: The interval of its steps.
        monitor: The figure for a scheduler that watches evaluations.
        outputs: The task, which defines the objective.
        optimizer_traits: The optimizer's step protocol.
    """

    before_update: Sequence[Callable[[], None]] = ()

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor] | None,
        optimizer: torch.optim.Optimizer,
        scheduler: Any | None,
        scheduler_interval: str,
        monitor: str,
        outputs: TaskRuntime,
        optimizer_traits: Annotated[OptimizerTraits, FromRun("optimizer_traits")] = PLAIN,
    ) -> None:
        self.model, self.optimizer, self.protocol = model, optimizer, optimizer_traits.step
        self._objective = outputs.bind(model, loss)
        self._scheduler, self._interval, self._monitor = scheduler, scheduler_interval, monitor

    def train_step(self, batch: Batch) -> Tensor:
        """Make one update."""

        def loss_of() -> Tensor:
            return self._objective.step(batch).loss

        value = step(self.optimizer, self.protocol, loss_of, self.before_update).detach()
        self._step_scheduler("step")
        return value

    def on_run_start(self, run: Any) -> None:
        """Switch the model to training."""
        self.model.train()

    def on_evaluation_end(self, run: Any, split: str, metrics: Mapping[str, Any]) -> None:
        """Step a scheduler that watches evaluations."""
        if self._interval == "evaluation" and not run.finished and self._monitor.startswith(f"{split}/"):
            self._step_scheduler("evaluation", run.metrics[self._monitor])

    def on_epoch_end(self, run: Any) -> None:
        """Step a scheduler that counts epochs."""
        self._step_scheduler("epoch")

    def _step_scheduler(self, interval: str, *figure: float) -> None:
        if self._scheduler is not None and self._interval == interval:
            self._scheduler.step(*figure)


class Evaluator:
    """Loss and metrics over a split.

    Args:
        model: The model.
        loss: Called with (predictions, targets); None if the task's models compute their own.
        metrics: By name.
        metric_forms: The form of predictions that each metric expects.
        outputs: Converts predictions to these forms.
        data: The run's splits.
        strategy: Returns the bare model.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor] | None,
        metrics: dict[str, Metric],
        metric_forms: dict[str, str],
        outputs: TaskRuntime,
        data: RunData,
        strategy: Strategy,
    ) -> None:
        self._model, self._loss, self._data = strategy.bare(model), loss, data
        self._metrics, self._forms, self._outputs = metrics, metric_forms, outputs

    def evaluate(self, split: str) -> dict[str, Any]:
        """The figures of a split."""
        for metric in self._metrics.values():
            metric.reset()
        with _evaluating(self._model), torch.inference_mode():
            losses = [self._judge(batch) for batch in self._data.batches(split)]
        figures = {name: _plain(metric.compute()) for name, metric in self._metrics.items()}
        if self._loss is None:
            return figures
        means = []
        for terms in zip(*losses, strict=True):  # the same one of each batch
            total, weight = (sum(part) for part in list(zip(*terms, strict=True))[:2])
            means.append(total / weight * terms[-1][2])
        return {"loss": sum(means), **figures}

    def _judge(self, batch: Batch) -> list[tuple[float, float, float]]:
        """Of each term its value times its weight, the weight, and its factor."""
        predictions = tree.call(self._model, batch.inputs)
        for name, metric in self._metrics.items():
            metric.update(self._outputs.read(predictions, self._forms[name]), self._outputs.classes(batch.targets))
        if self._loss is None:
            return []
        own = total_weight(self._loss, batch.targets)
        weights = own if isinstance(own, Mapping) else {} if own is None else {LOSS: own}
        found = []
        for name, term in outcome_of(self._loss(predictions, batch.targets)).terms.items():
            weight = float(weights.get(name, batch.size))
            found.append((float(term.value) * weight, weight, float(term.factor)))
        return found


def _plain(figure: Any) -> Any:
    if isinstance(figure, Mapping):
        return {name: _plain(value) for name, value in figure.items()}
    return torch.as_tensor(figure).tolist()


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training, state = model.training, torch.get_rng_state()
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        torch.set_rng_state(state)


class Checkpointer:
    """Saves every checkpoint as two files.

    Args:
        run_dir: The run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._folder = Path(run_dir) / "kit-checkpoints"

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> str:
        """Write a checkpoint."""
        from safetensors.torch import save_file

        document, tensors = codec.encode(dict(state))
        place = self._folder / f"{progress['epoch']:04}-{progress['step']:06}"
        place.mkdir(parents=True, exist_ok=True)
        save_file(tensors, place / "tensors.safetensors")
        (place / "state.json").write_text(json.dumps(document), encoding="utf-8")
        return str(place)

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        """The newest checkpoint, or the one with the given name."""
        from safetensors.torch import load_file

        found = sorted(self._folder.glob("*/state.json"))
        chosen = [file for file in found if which in ("latest", file.parent.name)]
        if not chosen:
            raise DataError(f"no checkpoint '{which}' in {self._folder}")
        document = json.loads(chosen[-1].read_text(encoding="utf-8"))
        state: Mapping[str, Any] = codec.decode(document, load_file(chosen[-1].with_name("tensors.safetensors")))
        return state


class Stopper:
    """Stops the run after some steps.

    Args:
        step: The last step.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, run: Any) -> None:
        """Stop."""
        if run.progress.step == self.step:
            run.stop("stopped by the kit")


class OneProcess:
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

    def sum(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The tensors themselves."""
        return tensors

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def close(self) -> None:
        """Nothing to release."""


PLUGIN = Plugin(
    name="wf-kit",
    distribution=None,
    version=None,
    module="wf_kit.reference",
    status="ok",
    components=(
        Component("dataset", "kit-samples", "wf_kit.reference:dataset"),
        Component("model", "kit-model", "wf_kit.reference:Model", traits=ModelTraits()),
        Component("loss", "kit-loss", "wf_kit.reference:loss"),
        Component("hook", "kit-stop", "wf_kit.reference:Stopper"),
        Component("optimizer", "kit-adam", "wf_kit.reference:adam"),
        Component(
            "trainer",
            "kit-trainer",
            "wf_kit.reference:Trainer",
            traits=TrainerTraits(steps=("plain", "closure", "two_step", "create_graph")),
        ),
        Component("evaluator", "kit-evaluator", "wf_kit.reference:Evaluator"),
        Component("checkpointer", "kit-checkpointer", "wf_kit.reference:Checkpointer"),
        Component("strategy", "kit-process", "wf_kit.reference:OneProcess"),
    ),
)
"""The parts around a component; a registry with it can build a run without any other plugin."""
