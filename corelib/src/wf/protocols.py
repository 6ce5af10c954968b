"""Protocols of the loop's parts. Each says who calls it and why.

A part may have any of the loop's events (`wf.engine.events.Hook`) as methods too: the supervised trainer steps
epoch schedulers in its ``on_epoch_end``. Parts and hooks that have ``state_dict`` and ``load_state_dict``
are saved in checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable


class AnyBatch(Protocol):
    """A batch, as far as the loop is concerned."""

    @property
    def size(self) -> int:
        """The number of samples in it."""


@runtime_checkable
class TrainData(Protocol):
    """The train split, served in batches. Called by the loop, once an epoch."""

    @property
    def num_batches(self) -> int | None:
        """Batches in an epoch, None when that is not known."""

    def epoch(self, epoch: int, start: int = 0) -> Iterable[AnyBatch]:
        """The batches of one epoch in their order, a function of the seed and `epoch`, from batch `start` on."""


class Trainer(Protocol):
    """One training step. Called by the loop, once per batch.

    It may have ``read(losses) -> list[float]``, called at sync points to read many losses in one transfer,
    ``before_update``, a tuple that the loop fills with the hooks' ``on_gradients_ready``, and ``parts``, a dict of what
    checkpoints hold of it, such as optimizers of its own. Its class may have a static
    method ``prepare_model(model, ...)``, called with the bare model and those of the trainer's options that it names,
    before the strategy gets the model and the optimizer its parameters: what it freezes is not trained. It may return
    the modules that stay in evaluation mode, as a list.

    One that makes its samples itself, in an environment or by a generator, has a method ``make_batch()`` that gives the
    next batch: a run of it has no dataset. Its class may then have a static method ``run_values(...)``, called with
    those of the trainer's options that it names before the model is made: it gives what it knows of its samples, as
    ``{"input_shape": (4,), "num_outputs": 2, "steps_per_epoch": 100}``.

    One that takes the run value `accumulate` gets the batches of an update as one batch and may compute it in parts of
    `batch_size`; one that takes `scaler` scales the loss by it where that is not None. Without them ``--accumulate``
    and ``--precision fp16`` are refused.
    """

    def train_step(self, batch: Any) -> Any:
        """Make one update from one batch.

        Returns:
            The loss before the update, a scalar that stays on its device: `float(loss)` is called at sync points.
            Or a dict of such scalars: the loss as ``loss``, what it consists of as ``loss/NAME``, and other figures.
            All but the loss are recorded as means, and can be monitored as ``train/loss/NAME`` and ``train/NAME``;
            an attribute ``figures`` says which there are, see `wf.engine.figures.declared`.
        """


class Evaluator(Protocol):
    """One evaluation. Called by the loop at its cadence and at the end."""

    def evaluate(self, split: str) -> Mapping[str, Any]:
        """The figures of one split by metric name, plain numbers (a list for one value per class).

        It must leave the training generator as it found it. An attribute ``figures`` says which there are, see
        `wf.engine.figures.declared`. Where their names are not all known, it may have ``preview(split)``, which gives
        the figures of two batches and leaves no trace: the loop calls it before step 1 where a run decides by one
        of them.
        """


class Checkpointer(Protocol):
    """Durable state. Called by the loop at its cadence, at the end and before a stop."""

    def save(
        self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]
    ) -> str | Future[str]:
        """Commit `state` and return its place, or copy it and return a future of its place.

        A place stands for a checkpoint that is durable. After this has returned, the state changes. The loop asks for
        one checkpoint at a time, and training goes on while a future is not done.

        Args:
            state: The result of `Loop.state_dict`: tensors and plain values.
            progress: The position in the run.
            metrics: The last figures, as ``{"validation/loss": 0.1}``.

        Raises:
            SaveError: If it cannot be written, here or from the future; the run may continue without it.
        """

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        """The state of the checkpoint `which`: ``latest``, ``best`` or one's name.

        Raises:
            NothingSavedError: If there is no checkpoint; a resumed run then starts over.
        """


@runtime_checkable
class Stateful(Protocol):
    """Something with state to save: a module, an optimizer, a hook."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> Any: ...


class Modes(Protocol):
    """A second set of weights beside the trained ones, for evaluation and checkpoints. Called by the loop.

    It begins a run with the former, and changes to the latter for evaluations and checkpoints and at the end.
    """

    def to_train(self) -> None:
        """Put the weights that are trained into the model, as they were to the bit."""

    def to_eval(self) -> None:
        """Put the weights that are judged and kept into the model."""


class Strategy(Protocol):
    """Where and how the run is carried out. Called by the experiment and, at sync points, by the loop.

    One of several processes may have ``unused_parameters``, which is set before `prepare`: the names of the parameters
    that got no gradient when the model was tried on a few samples.
    """

    @property
    def device(self) -> Any:
        """The `torch.device` of this process."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    def prepare(self, model: Any) -> Any:
        """The model to train: on its device, wrapped if several processes share the work."""

    def bare(self, model: Any) -> Any:
        """The model inside the result of `prepare`; checkpoints hold its keys."""

    def agree(self, flag: bool) -> bool:
        """True on every process when it is true on any."""

    def sum(self, tensors: Sequence[Any]) -> Sequence[Any]:
        """Each tensor summed over the processes."""

    def gather(self, tensor: Any) -> Any:
        """The tensors of all processes, concatenated along the first axis; their lengths may differ."""

    def close(self) -> None:
        """Release the resources that `prepare` took."""
