"""Tasks in a run: their base class, and their creation for a run."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from wf.declarations.task import Task
from wf.errors import DataError
from wf.registry import Registry
from wf_fitting.tasks import tasks_of

if TYPE_CHECKING:
    from wf_base.training.objective import Objective

Numbers = Sequence[int] | Tensor
"""The indices of samples in their dataset, one per row."""


class TaskRuntime:
    """Base class of a task's behaviour: everything about targets and predictions. The defaults leave everything open.

    A task overrides what it knows. It is created for a run, before any sample is read, and again for predictions, from
    the run directory.

    Args:
        targets: The form of the dataset's targets; None if the form has no name.
        predictions: The form of the model outputs, see `fitted`.
        single_logit: Whether two classes share a single output, see `fitted`.
        class_names: The dataset's class names.
        ignore_index: A class index that the loss ignores; it need not be a valid class.
        vocabulary: The dataset's vocabulary, one entry per token; empty if inputs are not tokens.
    """

    any_size = False
    """Whether the targets of samples may differ in size; used for samples that are read one by one."""
    collate: Callable[[list[Any]], Any] | None = None
    """Method that makes ``(inputs, targets)`` from a list of samples; None stacks them. A dataset's `collate` takes
    precedence."""
    target_transforms: Sequence[Any] = ()
    """The fitted transforms of targets; each has an ``inverse`` for the model outputs. The run's loss gets transformed
    targets. Everything else converts the model outputs back with `in_units`: metrics through `read`, predictions,
    plots. A trainer with its own loss transforms its targets with `scaled`."""
    needs_loss = True
    """Whether its runs have a loss; False if its models compute their own, see `bind`."""

    unit: str | None = None
    """The unit of throughput besides samples: ``tokens``; see `units`."""

    def __init__(
        self,
        targets: str | None = None,
        predictions: str = "raw",
        *,
        single_logit: bool = False,
        class_names: Sequence[str] = (),
        ignore_index: int = -100,
        vocabulary: Sequence[str] = (),
    ) -> None:
        self.targets, self.predictions, self.single_logit = targets, predictions, single_logit
        self.class_names, self.ignore_index = tuple(class_names), ignore_index
        self.vocabulary = tuple(vocabulary)

    # the data

    @classmethod
    def recognizes(cls, targets: Tensor) -> dict[str, Any] | None:
        """Recognize undeclared targets, from a pair of arrays or a dataset of torch.

        Args:
            targets: int64 or floating ``[N, ...]``: all targets if they are in memory, else the first one.

        Returns:
            The fields `targets` and, for classes, `class_names` of `wf_base.Dataset`; None if the targets are not of
            this task.

        Raises:
            DataError: For targets that could be of this task but are ambiguous; the message tells how to declare them.
        """
        return None

    def check_dataset(self, name: str) -> None:
        """Refuse a dataset that cannot be of this task, before a sample is read.

        Raises:
            DataError: Naming the dataset and what to do.
        """

    def check_split(self, targets: Any, where: str) -> None:
        """Refuse the targets of a split in memory if nothing can be learnt from them.

        Raises:
            DataError: Naming the split.
        """

    def check(self, inputs: Any, targets: Any, ids: Numbers, where: str) -> None:
        """Refuse samples whose targets do not fit this task: once for samples in memory, else a batch at a time.

        Args:
            inputs: ``[N, ...]``, or a tree of such.
            targets: ``[N, ...]``, or a tree of such.
            ids: The numbers of the samples.
            where: Dataset and split in words.

        Raises:
            DataError: Naming the first wrong sample and its value, see `at`.
        """

    def served(self, targets: Any) -> Any:
        """The targets of a batch that was read from samples, in this task's shape."""
        return targets

    def strata(self, targets: Any) -> Tensor | None:
        """int64 ``[N]``: the class of each sample in memory, for stratified splits; None without classes."""
        return None

    def targets_in(self, columns: Mapping[str, Sequence[Any]], where: str, first: int = 1) -> Any:
        """The targets ``[N, ...]`` from the columns of a file; called by ``wf evaluate RUN --data FILE``.

        Args:
            columns: The cells by column, as strings, numbers or booleans; None for a missing cell.
            where: The file, for messages.
            first: The number of the first row, for messages.

        Raises:
            DataError: For cells that are not valid targets of the run.
            NotImplementedError: If targets of this task cannot be read from columns.
        """
        raise NotImplementedError

    @property
    def num_classes(self) -> int | None:
        """The run value `num_classes`; None without classes."""
        return len(self.class_names) or None

    def facts(self, target: Any) -> dict[str, Any]:
        """Facts from one sample's target: ``num_targets``, the number of its columns, and ``mask_shape``, the ``(H,
        W)`` of a mask."""
        return {}

    def class_counts(self, targets: Tensor) -> tuple[int, ...] | None:
        """The run value `class_counts`: how often each class occurs in the train split; None if classes are not
        counted."""
        return None

    def warnings(self, targets: Any) -> Iterator[str]:
        """Warnings about the train split's targets, in memory."""
        return iter(())

    # model and loss

    def fitted(self, given: str | None, gives: str, wanted: str | None) -> Self:
        """Learn how the run has fitted model and loss together.

        Args:
            given: The form of the targets that the loss gets, after links; None for an unnamed form.
            gives: The form of predictions that the model declares.
            wanted: The form that the loss declares; None if unknown.
        """
        made = copy.copy(self)
        made.predictions = gives
        return made

    def num_outputs(self, spec: Any) -> int | None:
        """The run value `num_outputs`: the number of model outputs per sample; None if unknown.

        Args:
            spec: The run's facts about its data, see `wf_base.data.Spec`.
        """
        return None

    def check_outputs(
        self, outputs: Any, num: int, shape: Sequence[int | None], names: Mapping[str, str]
    ) -> int | None:
        """Check a model's outputs for a few samples, before step 1.

        Args:
            outputs: The outputs.
            num: The samples.
            shape: The required shape per sample, starting with `num_outputs`.
            names: The names of model and dataset, for messages.

        Returns:
            The number of outputs per sample; None if unknown.

        Raises:
            UsageError: Naming the actual and the required shape.
        """
        return shape[0] if shape else None

    def bind(self, model: Any, loss: Any) -> Objective:
        """The objective, requested once by the trainer and once by the evaluator, each with its own model.

        A task whose models compute their losses in training returns an objective with `weights` and `step`; if that is
        not a `wf_base.training.objective.Judge`, evaluations have no loss.

        Args:
            model: The model as it is trained, or without the strategy's wrapper.
            loss: The run's loss; None if it has none.
        """
        from wf_base.training.objective import Supervised  # imports this module

        return Supervised(model, loss)

    # metrics and predictions

    def scaled(self, targets: Any) -> Any:
        """Targets as the loss gets them."""
        for transform in self.target_transforms:
            targets = transform(targets)
        return targets

    def in_units(self, outputs: Any) -> Any:
        """The model outputs, in the units of the dataset's targets."""
        for transform in reversed(self.target_transforms):
            outputs = transform.inverse(outputs)
        return outputs

    def read(self, predictions: Any, form: str) -> Any:
        """Predictions in the form that a metric takes, called by the evaluator batch by batch; see `MetricTraits`."""
        return self.in_units(predictions)

    def classes(self, targets: Any) -> Any:
        """Targets as metrics get them, called by the evaluator batch by batch."""
        return targets

    def trimmed(self, outputs: Any, inputs: Any) -> Any:
        """The outputs of a batch without padding, called for predictions batch by batch.

        Args:
            outputs: The model outputs for the batch.
            inputs: The model inputs.

        Returns:
            The outputs of the same samples; `wf_base.tree.Rows` if they differ in size.
        """
        return outputs

    def names(self, predictions: Any, class_names: Sequence[str]) -> list[Any] | None:
        """A readable form of predictions ``[N, ...]``, one entry per sample; None to show the outputs themselves.

        Called by ``wf predict`` and `Experiment.labels`. Further parameters of an override are run values by name,
        such as a `tokenizer`.
        """
        return None

    def probabilities(self, predictions: Any, class_names: Sequence[str]) -> list[Any] | None:
        """The probability of each class by its name, one dict per sample; None if the outputs are not probabilities.

        Where a sample has several labels, such as a tag for each word, it is a list of dicts, one a label. Called by
        ``wf predict`` and `TrainedModel.predict`.

        Args:
            predictions: ``[N, ...]``.
            class_names: The dataset's class names.
        """
        return None

    def draw(self, inputs: Any, predictions: Any, class_names: Sequence[str]) -> list[Any] | None:
        """Predictions drawn into their inputs, one Pillow image per sample; None if there is nothing to draw.

        Called by ``wf predict --draw``.

        Args:
            inputs: ``[N, ...]`` on the CPU, as the dataset's samples hold them.
            predictions: The model outputs for them.
            class_names: The dataset's class names.
        """
        return None

    def units(self, inputs: Any, targets: Any) -> Any:
        """The number of `unit` in a batch, an int or 0-d tensor; called by hook `throughput` after each update."""
        raise NotImplementedError

    # the verdict on a fit

    @property
    def judged_by(self) -> tuple[str, ...]:
        """The figures by which a fit is judged, the most informative first; called at the end of a run."""
        return ("loss",)

    def error(self, figure: str, value: float, larger_is_better: bool) -> float:
        """A figure of `judged_by` as an error: 0 for a perfect model.

        Args:
            figure: Its name.
            value: Its value.
            larger_is_better: The declared direction.
        """
        return 1 - value if larger_is_better else value

    def counts(self, figure: str) -> bool:
        """Whether a figure is the share of correct answers.

        The standard error of such a share follows from the number of samples, and it does not show a model's
        confidence.
        """
        return False

    def baseline(self, figure: str, train: Any, targets: Any, spec: Any) -> float | None:
        """The `error` of the best predictor that ignores the inputs, for a figure of `judged_by` other than the loss.

        Args:
            figure: Its name.
            train: The targets of the train split, which such a predictor knows; None if they are not in memory.
            targets: The targets that it is judged on; None if they are not in memory.
            spec: The run's facts about its data.

        Returns:
            None if unknown.
        """
        return None

    def constants(self, train: Any, spec: Any) -> list[Tensor]:
        """The outputs of such predictors for each sample, in the form of the model outputs; the loss judges them."""
        return []

    def supposed(self, spec: Any) -> Tensor | None:
        """Targets like the train split's, as far as known, for use when those are not in memory."""
        return None

    # the plots

    def is_line(self, spec: Any) -> bool:
        """Whether the model outputs can be drawn as a line: one number, over inputs of one number.

        Args:
            spec: The run's facts about its data.
        """
        return False

    # the conformance kit

    def example(self, num: int = 24, seed: int = 0, input_shape: Sequence[int] | None = None) -> Any:
        """A `wf_base.Dataset` of made-up samples to test losses, models, metrics and the task itself with.

        Args:
            num: The number of train samples.
            seed: Seed of the random numbers.
            input_shape: The shape of one input, if the task leaves that open.

        Raises:
            NotImplementedError: If the task has none.
        """
        raise NotImplementedError

    def right(self, targets: Any) -> Any:
        """The ``raw`` predictions of an always correct model for the targets of an example.

        Raises:
            NotImplementedError: If the task has none.
        """
        raise NotImplementedError

    def as_form(self, scores: Any, form: str) -> Any:
        """Scores, such as those of `right`, as predictions of another form."""
        return scores

    def wrong_form(self, predictions: Any) -> str | None:
        """Why predictions do not have the form that the model declares; None if they do.

        Raises:
            NotImplementedError: If any numbers have that form.
        """
        raise NotImplementedError


def names_of(
    task: TaskRuntime, predictions: Any, class_names: Sequence[str], need: Callable[[str], Any]
) -> list[Any] | None:
    """Readable predictions, see `TaskRuntime.names`.

    Args:
        task: The task.
        predictions: The model outputs.
        class_names: One per class.
        need: Returns a run value by its name.
    """
    wanted = list(inspect.signature(task.names).parameters)[2:]
    return task.names(predictions, class_names, **{name: need(name) for name in wanted})


def at(wrong: Tensor, values: Tensor, ids: Numbers) -> str:
    """The first sample with a wrong value, and that value, for the end of a message."""
    if not wrong.ndim or len(wrong) != len(ids):  # from a tree that a dataset collated
        return f"\n  the first one: {values[wrong].flatten()[0].tolist()}, in the samples from {int(ids[0])} on"
    rows = wrong.flatten(1).any(1) if wrong.ndim > 1 else wrong
    row = int(rows.nonzero()[0])
    value = values[row] if wrong.ndim < values.ndim else values[row][wrong[row]].flatten()[0]
    return f"\n  the first one: sample {int(ids[row])}, {value.tolist()}"


def within(tensor: Tensor, num: int) -> bool:
    """Whether all values are from 0 to `num` - 1."""
    if not tensor.numel():
        return True
    low, high = torch.aminmax(tensor)
    return bool(low >= 0) and bool(high < num)


def make_task(registry: Registry, task: Task | None, targets: str | None, *args: Any, **facts: Any) -> TaskRuntime:
    """Create a task's runtime for a run; without a task, the base class.

    Args:
        registry: Where the task is looked up.
        task: Its declaration.
        targets: The form of the dataset's targets.
        *args: Further arguments of `TaskRuntime`.
        **facts: Further arguments of `TaskRuntime`.
    """
    if task is None:
        return TaskRuntime(targets, *args, **facts)
    made = registry.find("task", registry.own_choice("task", task.name)).load()(targets, *args, **facts)
    assert isinstance(made, TaskRuntime)
    return made


def recognized(targets: Tensor, registry: Registry | None = None) -> dict[str, Any]:
    """The form of targets, by the first task that recognizes them; empty if none does.

    Args:
        targets: See `TaskRuntime.recognizes`.
        registry: The registry with the tasks; None for the installed ones.
    """
    for entry in (registry or _installed()).entries("task"):
        task: Any = entry.load()
        found = task.recognizes(targets)
        if found is not None:
            return dict(found)
    return {}


@cache
def _installed() -> Registry:
    return Registry.discover()


def task_of(targets: str | None, *args: Any, **facts: Any) -> TaskRuntime:
    """The installed task for a form of targets, if no run names one.

    Raises:
        DataError: When no task has such targets.
    """
    registry = _installed()
    wants = args[0] if args else facts.get("predictions")
    task = tasks_of(registry).of(targets, predictions=wants) if targets is not None else None
    if task is None and targets is not None:
        known = ", ".join(tasks_of(registry).forms)
        raise DataError(f"no installed task has targets '{targets}'\n  available: {known}")
    return make_task(registry, task, targets, *args, **facts)
