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
    method ``prepare_model(model, ...)``, called with the bare model and the trainer's options named by its parameters,
    before the strategy gets the model and the optimizer its parameters: frozen parameters are not trained. It may
    return a list of modules that stay in evaluation mode.

    A trainer that makes its samples itself, in an environment or with a generator, has a method ``make_batch()`` that
    returns the next batch; its runs have no dataset. Its class may then have a static method ``run_values(...)``,
    called before the model is made with the trainer's options named by its parameters: it returns run values that
    describe the samples, as ``{"input_shape": (4,), "num_outputs": 2, "steps_per_epoch": 100}``.

    A trainer that takes the run value `accumulate` gets all batches of an update as one batch, and may compute it in
    parts of `batch_size` samples; a trainer that takes `scaler` scales the loss with it unless it is None. Without
    them ``--accumulate`` and ``--precision fp16`` are refused.
    """

    def train_step(self, batch: Any) -> Any:
        """Make one update from one batch.

        Returns:
            The loss before the update, a scalar that stays on its device: `float(loss)` is called at sync points.
            Or a dict of such scalars: the loss as ``loss``, its terms as ``loss/NAME``, and other figures.
            All but the loss are recorded as means, and can be monitored as ``train/loss/NAME`` and ``train/NAME``;
            an attribute ``figures`` declares them, see `wf.engine.figures.declared`.
        """


class Evaluator(Protocol):
    """One evaluation. Called by the loop at its cadence and at the end."""

    def evaluate(self, split: str) -> Mapping[str, Any]:
        """The figures of one split by metric name, plain numbers (a list for one value per class).

        It must leave the random generators of training unchanged. An attribute ``figures`` declares the figures, see
        `wf.engine.figures.declared`. If not all names are known in advance, it may have ``preview(split)``, which
        returns the figures of two batches and changes nothing: the loop calls it before step 1 if a part decides by
        one of them.

        An evaluation may take longer than a run that is interrupted has. If the evaluator has an attribute
        ``between_batches``, such as ``staticmethod(lambda: None)``, the loop sets it to a function to be called before
        each batch, by several processes equally often. It raises an exception to leave the evaluation, after which
        state, modes and random generators must be as before: a resumed run evaluates the split from the beginning.
        """


class Checkpointer(Protocol):
    """Durable state. Called by the loop at its cadence, at the end and before a stop.

    One that can save tensors that are divided among processes has ``save_shards(state, progress, metrics, strategy)``
    and ``load_shards(which, strategy)`` as well, which all processes call together, see `Strategy`. What those have
    saved `load` gives to one process alone, with whole tensors.
    """

    def save(
        self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]
    ) -> str | Future[str]:
        """Commit `state` and return its place, or copy it and return a future of its place.

        A returned place means that the checkpoint is durable. Training changes the state as soon as this returns, also
        while a future is pending. The loop asks for one checkpoint at a time.

        Args:
            state: The result of `Loop.state_dict`: tensors and plain values.
            progress: The position in the run.
            metrics: The last figures, as ``{"validation/loss": 0.1}``.

        Raises:
            SaveError: If it cannot be written, raised here or by the future; the run may continue without it.
        """

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        """The state of the checkpoint `which`: ``latest``, ``best`` or a checkpoint's name.

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

    A run begins with the trained weights; the loop switches to the second set for evaluations and checkpoints and at
    the end.
    """

    def to_train(self) -> None:
        """Put the trained weights back into the model, bit for bit."""

    def to_eval(self) -> None:
        """Put the weights that are evaluated and kept into the model."""


class Strategy(Protocol):
    """Where and how the run is carried out. Called by the experiment and, at sync points, by the loop.

    A strategy with several processes may have an attribute ``unused_parameters``, set before `prepare`: the names of
    the parameters that got no gradient when the model was tried on a few samples.

    One whose processes each hold a part of the model has ``mesh``, the `DeviceMesh` of all of them, and ``host_group``,
    a process group for messages in the background. All processes then call the model together, in evaluations as well,
    and save and load together; see `Checkpointer`. It may have ``build(make, restored=...)``, which returns the model
    that ``make()`` makes, in some processes possibly on torch's meta device: only those with values try the model, and
    `prepare` gives the others theirs. ``built_whole`` says why it could not do so, and ``awaits_values`` that no
    process has values, because the model will be `restored` from a checkpoint.
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
