"""The trainer that captures its whole step in a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from wf import FromRun
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base import Batch, TaskRuntime, tree
from wf_base.tree import Tree
from wf_training.trainer import SupervisedTrainer

if TYPE_CHECKING:
    from wf import Loop

WARM_UP = 3
"""Steps before the capture, in which libraries and the optimizer allocate their buffers."""

OPTIMIZERS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.SGD)
"""Optimizers whose update can be captured with a changing learning rate."""

Step = Callable[[Tree, Tree], Tensor | dict[str, Tensor]]

_INSTEAD = "train with --trainer supervised"
_PLACES = ("capturable", "fused")
"""The options of optimizers that determine where they count and compute."""


class GraphedTrainer(SupervisedTrainer):
    """Trains like the supervised trainer, with forward, loss, backward and update captured once as a CUDA graph.

    Then a step is one launch, which makes small models faster, because Python takes longer than their
    kernels. The first three steps, batches of another size (the last one of an epoch), and the first three after a
    checkpoint was loaded are plain. Adam, AdamW and RMSprop run with ``capturable`` and SGD with ``fused``, which
    compute on the device instead of in Python, so the last bits differ from the supervised trainer.

    Inputs and targets may be trees of tensors ``[N, ...]``; samples of different sizes are refused. The terms of the
    loss are fixed at the capture.

    Args:
        model: The model, prepared for training. It must not read values on the host (``.item()``, ``if tensor``), and
            only its inputs, weights, buffers and torch's generator may change from step to step.
        loss: Called with (predictions, targets); returns a scalar, or a dict of scalars, under the same restrictions.
            None if the task's models compute their own.
        optimizer: One of `OPTIMIZERS`.
        scheduler: Stepped after each update, epoch or evaluation; None for a constant learning rate.
        scheduler_interval: ``step``, ``epoch`` or ``evaluation``.
        monitor: The figure for a scheduler with interval ``evaluation``, unless it has its own `monitor`.
        device: A CUDA device.
        batch_size: The size of captured batches.
        strategy: Must be a single process.
        freeze: As for the supervised trainer.
        channels_last: As for the supervised trainer.
        input_shape: The shape of a sample.
        task: Defines the objective; None for the loss of the model outputs.
        restored: Whether the run's weights will be loaded to be used, on any device: what cannot be captured is refused
            only when it trains.

    Raises:
        UsageError: For a run that cannot be captured.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Any] | None,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler | None,
        scheduler_interval: str,
        monitor: str,
        device: torch.device,
        batch_size: int,
        strategy: Annotated[Strategy | None, FromRun("strategy")] = None,
        freeze: str | list[str] | None = None,
        channels_last: bool = False,
        input_shape: Annotated[tuple[int, ...] | None, FromRun("input_shape")] = None,
        task: Annotated[TaskRuntime | None, FromRun("outputs")] = None,
        restored: Annotated[bool, FromRun("restored")] = False,
    ) -> None:
        if not restored:
            _check(device, strategy, optimizer)
        super().__init__(
            model,
            loss,
            optimizer,
            scheduler,
            scheduler_interval,
            monitor,
            strategy=strategy,
            freeze=freeze,
            channels_last=channels_last,
            input_shape=input_shape,
            task=task,
        )
        self._batch_size, self._device, self._strategy = batch_size, torch.device(device), strategy
        self._rates = [torch.zeros((), device=next(model.parameters()).device) for _ in optimizer.param_groups]
        self._filled: list[float | None] = [None] * len(self._rates)
        self._stream: torch.cuda.Stream | None = None
        """The stream of plain steps and of the capture; of a new one for each, torch would keep the memory of all."""
        self._captured: _Captured | None = None
        self._num_plain = 0
        self._given: list[dict[str, Any]] = []
        """Where the optimizer computes by its options, and thus by its state: as for the supervised trainer."""
        if not restored:
            self._compute_on_device()
        optimizer.register_state_dict_post_hook(self._as_given)
        optimizer.register_load_state_dict_post_hook(self._begin_anew)

    def on_run_start(self, run: Loop) -> None:
        """See the supervised trainer.

        Raises:
            UsageError: If a hook listens to gradients, or if a run that was built to be used cannot be captured.
        """
        super().on_run_start(run)
        if not self._given:
            _check(self._device, self._strategy, self.optimizer)
            self._compute_on_device()
        if self.before_update:
            raise UsageError(
                "a hook listens to on_gradients_ready, as gradient-clip does, and a captured graph runs no Python\n"
                f"  remove the hook, or {_INSTEAD}"
            )

    def train_step(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        """Make one update.

        Args:
            batch: Inputs and targets ``[N, ...]``, or trees of such, on the model's device.

        Returns:
            The loss before the update, 0-d, detached, on its device; if it has several terms, these too, by name.

        Raises:
            UsageError: If the step cannot be captured.
        """
        _check_dense(batch.inputs, batch.size, "inputs")
        _check_dense(batch.targets, batch.size, "targets")
        self._fill_rates()
        if self._captured is None and self._num_plain >= WARM_UP and batch.size == self._batch_size:
            self._captured = _Captured(self._step, batch, self._fixed(), self._beside())
        if self._captured is not None and self._captured.fits(batch):
            self._check_fixed(self._captured.fixed)
            loss = self._captured.replay(batch)
        else:
            self._num_plain += batch.size == self._batch_size
            with _on(self._beside()):
                loss = self._step(batch.inputs, batch.targets)
        if self._each_step is not None:
            self._each_step.step()
        return loss

    def _beside(self) -> torch.cuda.Stream:
        """The stream for plain steps and the capture, as required before a capture: autograd remembers the stream."""
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        return self._stream

    def _step(self, inputs: Tree, targets: Tree) -> Tensor | dict[str, Tensor]:
        """The captured step, which only sees a batch's inputs and targets."""
        self.optimizer.zero_grad(set_to_none=True)
        found = self.gradients(Batch(inputs, targets, None, None, tree.length(inputs)))
        with self._rates_on_device():
            self.optimizer.step()
        return found

    def _fill_rates(self) -> None:
        for number, group in enumerate(self.optimizer.param_groups):
            if group["lr"] != self._filled[number]:
                self._rates[number].fill_(group["lr"])
                self._filled[number] = group["lr"]

    @contextmanager
    def _rates_on_device(self) -> Iterator[None]:
        """Let the optimizer read its learning rates from tensors on the device, as a graph must."""
        groups = self.optimizer.param_groups
        values = [group["lr"] for group in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate
        try:
            yield
        finally:
            for group, value in zip(groups, values, strict=True):
                group["lr"] = value

    def _fixed(self) -> list[dict[str, Any]]:
        """The optimizer's options except learning rates, which are fixed at the capture."""
        names = self.optimizer.defaults.keys() - {"lr"}
        return [{name: group[name] for name in names} for group in self.optimizer.param_groups]

    def _check_fixed(self, captured: list[dict[str, Any]]) -> None:
        for before, now in zip(captured, self._fixed(), strict=True):
            if before != now:
                changed = ", ".join(sorted(name for name in now if now[name] != before[name]))
                raise UsageError(
                    f"the optimizer's {changed} changed during training, but is fixed in a captured graph\n"
                    f"  schedules that cycle the momentum do that: --scheduler.cycle_momentum false, or {_INSTEAD}"
                )

    def _compute_on_device(self) -> None:
        """Set the options with which an update can be captured, and move Adam's counters of steps to the weights.

        Raises:
            UsageError: For an option that excludes them.
        """
        groups = self.optimizer.param_groups
        self._given = [{name: group[name] for name in _PLACES if name in group} for group in groups]
        for group in groups:
            if "capturable" in group:
                group["capturable"] = True
            elif group["foreach"]:
                raise UsageError(f"SGD is captured with its fused kernel: remove --optimizer.foreach, or {_INSTEAD}")
            else:
                group["fused"] = True
        for weight, state in self.optimizer.state.items():
            if "step" in state:
                state["step"] = torch.as_tensor(state["step"], dtype=torch.float32, device=weight.device)

    def _as_given(self, _optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Let a checkpoint say the options of the run, so that another trainer can go on with it, also on a CPU."""
        for group, given in zip(state["param_groups"], self._given, strict=False):
            group.update(given)

    def _begin_anew(self, _optimizer: torch.optim.Optimizer) -> None:
        """Discard the graph, which would update a state that the optimizer no longer has.

        The loaded state may be of the supervised trainer, whose optimizer counts on the host.
        """
        self._captured, self._num_plain = None, 0
        if self._given:
            self._compute_on_device()


class _Captured:
    """A step as a graph, and its input tensors.

    Args:
        step: Called once with inputs and targets, for the capture; nothing is computed then.
        batch: A batch with the shapes and dtypes of those to come.
        fixed: The options that are fixed in the graph.
        stream: The stream of the plain steps before, on the device of the graph.

    Raises:
        UsageError: If the step cannot be captured.
    """

    def __init__(self, step: Step, batch: Batch, fixed: list[dict[str, Any]], stream: torch.cuda.Stream) -> None:
        self.fixed, self._stream = fixed, stream
        self._held = tree.map_leaves(torch.empty_like, (batch.inputs, batch.targets))
        self._form = _form(self._held)
        self._figures: Tensor | dict[str, Tensor]
        self._capture(step)

    def _capture(self, step: Step) -> None:
        self._graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, which write checkpoints or load data, may make calls that a capture must not.
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._figures = step(*self._held)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            cause = str(_first(error)).partition("\n")[0]
            raise UsageError(
                f"the step cannot be captured as a CUDA graph: {cause}\n"
                f"  the model, the loss or the optimizer reads values on the host; {_INSTEAD}"
            ) from error

    def fits(self, batch: Batch) -> bool:
        """Whether the batch has the leaves, of the shapes and dtypes, that were captured."""
        return _form((batch.inputs, batch.targets)) == self._form

    def replay(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        """Run the step on a batch; returns its loss, or all of its terms, in new tensors."""
        tree.map_leaves(_fill, self._held, (batch.inputs, batch.targets))
        self._launch()
        copied: Tensor | dict[str, Tensor] = tree.map_leaves(torch.clone, self._figures)
        return copied

    def _launch(self) -> None:
        self._graph.replay()


def _fill(held: Tensor, value: Tensor) -> Tensor:
    return held.copy_(value, non_blocking=True)


def _form(own: Tree) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shape and dtype of each leaf."""
    return {path: (leaf.shape, leaf.dtype) for path, leaf in tree.leaves(own)}


def _check_dense(own: Tree, size: int, what: str) -> None:
    """Refuse inputs that a graph cannot read from fixed memory.

    Raises:
        UsageError: Naming the leaf.
    """
    if own is None or (isinstance(own, Tensor) and own.ndim and len(own) == size):
        return
    if isinstance(own, (Mapping, tuple, list)):
        for key, one in tree.children(own):
            _check_dense(one, size, f"{what}/{key}")
        return
    raise UsageError(
        f"trainer 'graphed' captures steps of tensors [N, ...], but in a batch of {size} samples {what} is "
        f"{tree.words(own)}\n  {_INSTEAD}, which takes samples of different sizes"
    )


@contextmanager
def _on(stream: torch.cuda.Stream) -> Iterator[None]:
    """Compute on a stream, after the work before and before the work that follows."""
    present = torch.cuda.current_stream(stream.device)
    stream.wait_stream(present)
    with torch.cuda.stream(stream):
        yield
    present.wait_stream(stream)


def _first(error: BaseException) -> BaseException:
    """The original error: ending a failed capture raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _check(device: torch.device, strategy: Strategy | None, optimizer: torch.optim.Optimizer) -> None:
    """Refuse a run whose steps cannot be captured."""
    if torch.device(device).type != "cuda":
        raise UsageError(f"trainer 'graphed' captures CUDA graphs, but the device is {device}\n  {_INSTEAD}")
    if strategy is not None and (strategy.world_size > 1 or getattr(strategy, "mesh", None) is not None):
        raise UsageError(f"trainer 'graphed' captures the step of one process\n  {_INSTEAD}, or --strategy local")
    if type(optimizer) not in OPTIMIZERS:
        known = ", ".join(kind.__name__ for kind in OPTIMIZERS)
        raise UsageError(
            f"the update of {type(optimizer).__name__} cannot be captured as a CUDA graph\n"
            f"  supported: {known}; or {_INSTEAD}"
        )
