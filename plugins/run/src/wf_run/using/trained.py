"""A trained model that takes raw inputs, with everything the run learned; the data are not needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from wf.blame import naming_culprit
from wf.declarations.task import Task
from wf.errors import UsageError, WfError
from wf.protocols import Stateful
from wf.typed import finite
from wf_base import tree
from wf_base.reading import Reader
from wf_base.task import TaskRuntime, names_of
from wf_base.training.modes import evaluated
from wf_base.tree import Tree
from wf_building.builder import Builder
from wf_building.defaults import default_of, missing
from wf_data import arrays
from wf_data.inputs import check_form, example_of, leaves_of, read_inputs
from wf_data.named import NamedReader
from wf_run.bundle import schema
from wf_run.description import Description
from wf_run.parts.device import current
from wf_run.parts.links import link_loss
from wf_run.parts.precision import default_dtype, products_in
from wf_run.providers.metrics import form_of_metric, metric_of
from wf_run.runfiles.runfile import own_table
from wf_run.using import judging
from wf_run.using.judging import SPLIT, GivenData, Labelled, labelled_of
from wf_run.using.network import GraphModel, TrainedModel
from wf_run.using.plugin_readers import file_readers
from wf_run.using.raw import RECORDS, Part, inputs_of, parts_of, takes_rows

_LOG = logging.getLogger("wf")


class Trained:
    """The model of a run, with conversions of raw inputs and outputs.

    Args:
        network: The model with its preprocessing.
        description: The description of the run's data.
        plan: The resolved run file.
        builder: Looks up names.
        reader: The dataset's reader, or the reason why it cannot be made; None without one.
        loss_state: The state of the loss, if it has one.
    """

    def __init__(
        self,
        network: TrainedModel,
        description: Description,
        plan: Mapping[str, Any],
        builder: Builder,
        reader: Reader | WfError | None = None,
        loss_state: Mapping[str, Any] | None = None,
    ) -> None:
        self.network, self.description, self.plan = network, description, plan
        self._builder, self._reader, self._loss_state = builder, reader, loss_state
        network.conversions = self

    def predict(self, inputs: Tree, network: TrainedModel | None = None) -> Tree:
        """The model outputs for raw inputs ``[N, ...]``, in evaluation mode, on the CPU.

        Args:
            inputs: As the dataset's samples hold them, or as converted by `raw`.
            network: A copy of the model with its preprocessing; the model itself by default.

        Raises:
            DataError: For inputs of another shape or kind than the dataset's samples.
        """
        network = network or self.network
        if network.inputs is not None:
            check_form(network.inputs, inputs, "predict")
        device = self._builder.values["device"]
        with (
            evaluated(network),
            torch.inference_mode(),
            current(device),
            products_in(self.plan["precision"], device),
            default_dtype(network.dtype),
            naming_culprit(self._builder.registry.plugins),
        ):
            parts = tree.split(inputs, self.description.values["batch_size"])
            prepared = (tree.to(network.prepare(part), device) for part in parts)
            outputs = tree.gathered(
                (self.task.trimmed(tree.call(network.model, one), one), tree.length(one)) for one in prepared
            )
            outputs = network.finish(outputs)
        return tree.map_leaves(lambda leaf: leaf.cpu().clone(), outputs)

    def labels(self, predictions: Tree) -> list[Any] | None:
        """The class names of predictions, as `wf_base.TaskRuntime.names` gives them."""
        return names_of(self.task, predictions, self.description.spec.class_names, self.need)

    @cached_property
    def task(self) -> TaskRuntime:
        """The task that reads the model outputs.

        Raises:
            UsageError: If no plugin declares the task any longer.
        """
        return self.description.outputs(self._builder.registry)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the outputs; empty without classes."""
        return self.description.spec.class_names

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Its inputs and outputs, as JSON: see `wf_run.bundle.schema`."""
        inputs = schema.inputs_of(self.description, self.reader)
        return {"inputs": inputs, "outputs": schema.outputs_of(self.description)}

    @cached_property
    def reader(self) -> Any:
        """The dataset's reader; without it, a reader of named numbers if samples are vectors of these, else None."""
        if self._reader is not None and not isinstance(self._reader, WfError):
            return self._reader
        names, form = schema.flat_names(self.description), self.description.inputs
        return NamedReader(names, form.dtype) if names and self._reads_by_name() else None

    def _reads_by_name(self) -> bool:
        """Whether the numbers of a sample are named columns of a row."""
        said = (self.description.reader or {}).get("columns")
        if not isinstance(said, list):
            return self.description.reader is None
        return all(isinstance(one, Mapping) and set(one) == {"name"} for one in said)

    def raw(self, inputs: Any, where: str = "rows") -> Tree:
        """Convert raw inputs to inputs ``[N, ...]`` for `predict`.

        Args:
            inputs: A dict by column or a list of such; a pandas table; an array or list of rows in the columns' order;
                Pillow images, the bytes of image files, or their paths; strings; or tensors as the dataset's samples
                hold them.
            where: Their origin, for messages.

        Raises:
            DataError: For inputs unlike those of training.
            UsageError: If the run cannot read such inputs.
        """
        columns = [str(one["name"]) for one in self.schema["inputs"]["columns"]]
        with naming_culprit(self._builder.registry.plugins):
            return inputs_of(inputs, self.description.inputs, self.reader, columns, where)

    def answers(self, outputs: Tree) -> list[dict[str, Any]]:
        """Model outputs as readable records, one per sample.

        Returns:
            ``label``, the class or the labels that hold, left out of a regression and of embeddings; ``probabilities``
            by class, where the task has some, a list where a sample has several labels; ``values`` by target column
            of a regression whose columns have names; and ``output``,
            what the model gave.
        """
        rows, labels = tree.rows(outputs), self.labels(outputs)
        chances = self.task.probabilities(outputs, self.class_names)
        names = self.description.target_names
        found: list[dict[str, Any]] = []
        for number, row in enumerate(rows):
            one: dict[str, Any] = {} if labels is None else {"label": labels[number]}
            if chances is not None:
                one["probabilities"] = chances[number]
            if names and isinstance(row, list) and len(row) == len(names):
                one["values"] = dict(zip(names, row, strict=True))
            found.append({**one, "output": row})
        return found

    def evaluate(self, path: Path, targets: Sequence[str] = ()) -> tuple[dict[str, Any], int]:
        """The loss and the metrics of the run for the samples of a file, processed in parts.

        Args:
            path: A file like the training file, where the reader reads its targets, too; else a table, JSON lines or
                parquet, or a folder with a folder of images for each class.
            targets: The target columns; by default the columns used in training.

        Returns:
            The figures by name, and the number of samples.

        Raises:
            DataError: For a file without such columns, or values unlike those of training.
            UsageError: If the targets of the run cannot be read from columns.
        """
        task, network, builder = self.description.outputs(self._builder.registry), self.network, self._builder
        table = self.plan.get("evaluator") or {"use": default_of(builder.registry, "evaluator")}
        if table["use"] is None:
            raise missing(builder.registry, "evaluator")
        task.target_transforms = tuple(step.transform for step in network.steps if step.of_targets)
        known = self.plan.get("dataset", {}).get("target", ())
        of_run = [known] if isinstance(known, str) else list(known)
        device, spec, size = builder.values["device"], self.description.spec, self.description.values["batch_size"]
        with naming_culprit(builder.registry.plugins), default_dtype(network.dtype):
            dataset = judging.dataset_of(path, self.description, self.reader, targets)
        if dataset is None:
            found = labelled_of(path, self.description, task, self.reader, targets, of_run)
        else:
            found = judging.parts_of(dataset, self.description, task, path, size, self.plan["seed"])
        parts = (Labelled(*network.prepared(one.inputs, one.targets)) for one in found)
        data = GivenData(spec, size, task, parts, device)
        facts = {**spec.facts, **(dataset.facts if dataset is not None else {})}
        with (
            naming_culprit(builder.registry.plugins),
            current(device),
            products_in(self.plan["precision"], device),
            default_dtype(network.dtype),
            builder.values.within(self._judged_by(task, data, facts)),
        ):
            figures = dict(builder.build("evaluator", table).value.evaluate(SPLIT))
        return figures, data.num

    def _judged_by(self, task: TaskRuntime, data: GivenData, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The run values that an evaluator takes besides the model."""
        builder, values = self._builder, dict[str, Any]()
        values |= {"outputs": task, "data": data, "loss": None, **({"dataset_facts": facts} if facts else {})}
        with builder.values.within(values):
            if "loss" in self.plan:
                loss = builder.build("loss", self.plan["loss"]).value
                if isinstance(loss, nn.Module):
                    loss.to(builder.values["device"])
                    if self._loss_state:
                        loss.load_state_dict(self._loss_state)
                links, single = self.description.links, self.description.single_logit
                links = tuple(self.plan["links"]) if links is None else links
                values["loss"] = link_loss(loss, links, builder.registry, builder.values, single_logit=single)
            elif isinstance(self.network, GraphModel) and task.needs_loss:
                _LOG.warning("the loss is not computed: it was your own code, which a bundle with a graph has not")
            tables = self.plan.get("metric") or self._usual_metrics()
            made = [builder.build("metric", own_table("metric", table)) for table in tables]
        values["metrics"] = {one.name: metric_of(one, 1) for one in made}
        values["metric_forms"] = {one.name: form_of_metric(one) for one in made}
        return values

    def _usual_metrics(self) -> list[dict[str, str]]:
        """The default metrics of the task, for a bundle that has none."""
        name = self.description.task
        task = None if name is None else self._builder.registry.find("task", name).component.traits
        return [{"use": one} for one in (task.default_names("metric") if isinstance(task, Task) else ())]

    def example(self, num: int = 4, seed: int = 0) -> Tree:
        """Made-up inputs ``[N, ...]`` with the form of the samples, to try or to trace a model.

        Raises:
            UsageError: If the form of the samples is unknown.
        """
        if self.description.inputs is None:
            raise UsageError("the form of this run's inputs is not known: its trainer made them")
        return example_of(self.description.inputs, num, torch.Generator().manual_seed(seed))

    def need(self, name: str) -> Any:
        """A run value by name, as the components of the run get it: `vocab_size`, or a plugin's, such as `tokenizer`.

        Raises:
            UsageError: If it has no provider without the run's data.
        """
        values = self._builder.values
        if not values.provides(name):
            raise UsageError(f"run value '{name}' is not known without the run's data, and no plugin provides it")
        return values.need(name)

    def draw(self, inputs: Tree, predictions: Tree) -> list[Any]:
        """Pictures of predictions for raw inputs ``[N, ...]``, one per sample.

        Raises:
            UsageError: If the task of the run draws none.
        """
        return drawn(self.task, inputs, predictions, self.class_names)

    def read(self, path: Path) -> Tree:
        """The inputs in a file, exactly as the run's samples hold them; see `wf_data.inputs.read_inputs`."""
        if self.description.inputs is None:
            raise UsageError(
                f"'{path}' cannot be read: the run had no dataset, and its trainer did not declare the shape of its "
                "inputs\n"
                "  return input_shape from its run_values, or call wf.load_model(RUN) with tensors"
            )
        with naming_culprit(self._builder.registry.plugins):
            others = file_readers(self._builder.registry)
            known = (*arrays.ENDINGS, *others, *(self.reader.endings if self.reader else ()))
            if isinstance(self._reader, WfError) and path.suffix.lower() not in known:
                raise self._reader
            rows = RECORDS if takes_rows(self.description.inputs, self.reader) else ()
            return read_inputs(path, self.reader, self.description.inputs, others, rows)

    def parts(self, path: Path, stream: BinaryIO | None = None) -> Iterator[Part]:
        """The inputs in a file, some thousands of samples at a time if its reader supports it.

        Args:
            path: The file; its ending determines the format.
            stream: Read instead of the file, such as standard input.

        Raises:
            DataError: As `read`, raised when the samples are reached.
        """
        parts = parts_of(path, self.description.inputs, self.reader, self.read, stream)
        while True:
            with naming_culprit(self._builder.registry.plugins):
                part = next(parts, None)
            if part is None:
                return
            yield part

    def preprocessing(self) -> list[dict[str, Any]]:
        """The preprocessing as JSON: each transform with its options and fitted values."""
        paths = [leaf.path for leaf in leaves_of(self.network.inputs) if leaf.is_bytes]
        steps: list[dict[str, Any]] = [{"use": "uint8 / 255", **({"leaf": path} if path else {})} for path in paths]
        if isinstance(self.network, GraphModel):
            return [*steps, *map(dict, self.network.before)]
        for step in self.network.steps:
            if not step.train_only:
                steps.append({**(step.table or {"use": type(step.transform).__name__}), **_fitted(step.transform)})
        return steps


def drawn(task: TaskRuntime, inputs: Tree, predictions: Tree, class_names: Sequence[str]) -> list[Any]:
    """Pictures of predictions, as the task draws them.

    Raises:
        UsageError: If it draws none.
    """
    pictures = task.draw(inputs, predictions, class_names)
    if pictures is None:
        raise UsageError(f"{type(task).__name__.lower()} cannot draw predictions into its inputs\n  leave out --draw")
    return pictures


def _fitted(transform: Any) -> dict[str, Any]:
    """Fitted values as JSON."""
    state = transform.state_dict() if isinstance(transform, Stateful) else {}
    return {"fitted": finite(dict(state))} if state else {}
