"""A trained model that takes raw inputs, with everything the run learned; the data are not needed."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from wf.blame import FAILURES, blame, naming_culprit
from wf.declarations.general import GENERAL, value_settings
from wf.declarations.values import VALUES
from wf.discovery.entry import Entry
from wf.discovery.modules import describe
from wf.errors import DataError, PluginError, UsageError, WfError
from wf.protocols import Stateful
from wf.registry import Registry
from wf.traits import DatasetTraits
from wf.typed import finite
from wf_base import tree
from wf_base.data import as_default
from wf_base.random import own_stream
from wf_base.reading import Reader
from wf_base.task import TaskRuntime, names_of
from wf_base.training.modes import evaluated
from wf_base.training.parts import Parts
from wf_base.tree import Tree
from wf_building.builder import Builder
from wf_building.built import LIVE, Built, origin_of
from wf_building.defaults import default_of, missing
from wf_building.resolver import Resolver
from wf_data import arrays
from wf_data.inputs import Form, Read, check_form, example_of, leaves_of, numbers_of, read_inputs
from wf_data.named import NamedReader
from wf_data.transforms.step import Step
from wf_run.bundle import schema
from wf_run.description import Description
from wf_run.directory.kept import KEPT, load_chosen
from wf_run.directory.rundir import RunDirectory
from wf_run.parts.device import choose_device
from wf_run.parts.links import link_loss
from wf_run.parts.precision import autocast_forward, default_dtype, dtype_named, products_in
from wf_run.providers.data.transforms import transform_of
from wf_run.providers.metrics import form_of_metric, metric_of
from wf_run.providers.training.trainer import prepare_for_trainer
from wf_run.runfiles.runfile import own_table
from wf_run.using.judging import SPLIT, GivenData, Labelled, labelled_of
from wf_run.using.raw import Part, inputs_of, parts_of
from wf_storage.folders import data_dir

OWN = "transform/dataset-"
"""The name of the dataset's own transforms in checkpoints, followed by their number."""


class TrainedModel(nn.Module):
    """The model of a run with its preprocessing, so that it takes raw inputs.

    Args:
        model: The model.
        inputs: The form of the dataset's samples.
        steps: The dataset's own transforms and the run's, fitted, in their order.
    """

    def __init__(self, model: nn.Module, inputs: Form, steps: Sequence[Step] = ()) -> None:
        super().__init__()
        self.model = model
        """The bare model."""
        self.inputs = inputs
        """The form of its inputs, the dataset's samples; None if unknown."""
        self.steps = tuple(steps)
        """The dataset's transforms and the run's, without those only for training. Transforms of targets are skipped
        before the model; their inverse is applied after it."""
        self.dtype = torch.get_default_dtype()
        """torch's default dtype in the run: the model's precision."""
        self._of: Trained | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state without the reader of raw inputs: a copy is only a module."""
        return {**self.__dict__, "_of": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainedModel:
        made = type(self)(copy.deepcopy(self.model, memo), self.inputs, copy.deepcopy(self.steps, memo))
        made.dtype, made._of = self.dtype, self._of
        return made.train(self.training)

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """A record for each sample of raw inputs: rows as dicts, arrays in the columns' order, images, texts.

        Args:
            inputs: As `Trained.raw` takes them.

        Returns:
            See `Trained.answers`.

        Raises:
            DataError: For inputs unlike those of training.
        """
        if self._of is None:
            raise UsageError(
                "this copy of a trained model cannot read raw inputs: use the one that wf.load_model returned"
            )
        return self._of.answers(self._of.predict(self._of.raw(inputs), self))

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # of any overload
        """The model's own state, with the names that ``wf export`` writes."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights into the model."""
        return self.model.load_state_dict(state_dict, *args, **kwargs)

    def prepare(self, inputs: Tree) -> Tree:
        """The model's inputs for raw inputs ``[N, ...]``.

        Raises:
            DataError: For inputs whose structure, shape or dtype differs from the dataset's samples.
        """
        if self.inputs is not None:
            check_form(self.inputs, inputs, "the model")
        with default_dtype(self.dtype):
            return self.ready(inputs)

    def ready(self, inputs: Tree) -> Tree:
        """As `prepare`, without any checks, so that torch can trace it."""
        if self.inputs is not None:
            inputs = numbers_of(self.inputs, inputs)
        for step in self.steps:
            if step.of_targets:
                continue
            inputs = tree.map_leaves(as_default, inputs) if step.train_only else step.apply(inputs, None)[0]
        return tree.map_leaves(as_default, inputs)

    def finish(self, outputs: Tree) -> Tree:
        """Model outputs in the units of the dataset's targets."""
        for step in reversed(self.steps):
            outputs = step.transform.inverse(outputs) if step.of_targets else outputs
        return outputs

    def forward(self, *inputs: Tree, **named: Tree) -> Any:
        """The model outputs for raw inputs ``[N, ...]``, as the dataset's samples hold them.

        A tree of inputs is passed as one argument, or as the model itself takes it: a dict by name, a tuple by
        position. Rows, arrays and images are accepted as by `predict`.
        """
        lone = not named and len(inputs) == 1 and not (isinstance(self.inputs, tuple) and len(self.inputs) == 1)
        given = named or (inputs[0] if lone else inputs)
        if self._of is not None and tree.first_leaf(given) is None:
            given = self._of.raw(given)
        with default_dtype(self.dtype):
            return self.finish(tree.call(self.model, self.prepare(given)))


class GraphModel(TrainedModel):
    """A model that is an exported graph, which has the transforms of inputs in it; see `wf_run.bundle.graph`."""

    before: Sequence[Mapping[str, Any]] = ()
    """What comes before the model, as `Trained.preprocessing` says it."""

    def ready(self, inputs: Tree) -> Tree:
        """The inputs as they are."""
        return inputs


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
        network._of = self

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
            path: A table, JSON lines or parquet, or a folder with a folder of images for each class.
            targets: The target columns; by default the columns used in training.

        Returns:
            The figures by name, and the number of samples.

        Raises:
            DataError: For a file without such columns, or values unlike those of training.
            UsageError: If the run has no evaluator, or its targets cannot be read from columns.
        """
        if "evaluator" not in self.plan:
            raise UsageError("this run has no evaluator\n  train with one: --evaluator NAME")
        task, network, builder = self.description.outputs(self._builder.registry), self.network, self._builder
        task.target_transforms = tuple(step.transform for step in network.steps if step.of_targets)
        known = self.plan.get("dataset", {}).get("target", ())
        of_run = [known] if isinstance(known, str) else list(known)
        found = labelled_of(path, self.description, task, self.reader, targets, of_run)
        parts = (Labelled(network.prepare(one.inputs), one.targets) for one in found)
        device, spec = builder.values["device"], self.description.spec
        data = GivenData(spec, self.description.values["batch_size"], task, parts, device)
        with (
            naming_culprit(builder.registry.plugins),
            products_in(self.plan["precision"], device),
            default_dtype(network.dtype),
            builder.values.within(self._judged_by(task, data)),
        ):
            evaluator = builder.build("evaluator", self.plan["evaluator"]).value
            figures = dict(evaluator.evaluate(SPLIT))
        return figures, data.num

    def _judged_by(self, task: TaskRuntime, data: GivenData) -> dict[str, Any]:
        """The run values that an evaluator takes besides the model."""
        builder, values = self._builder, dict[str, Any]()
        values |= {"outputs": task, "data": data, "loss": None}
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
            made = [builder.build("metric", own_table("metric", table)) for table in self.plan.get("metric", ())]
        values["metrics"] = {one.name: metric_of(one, 1) for one in made}
        values["metric_forms"] = {one.name: form_of_metric(one) for one in made}
        return values

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
            others = self._file_readers()
            known = (*arrays.ENDINGS, *others, *(self.reader.endings if self.reader else ()))
            if isinstance(self._reader, WfError) and path.suffix.lower() not in known:
                raise self._reader
            return read_inputs(path, self.reader, self.description.inputs, others)

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

    def _file_readers(self) -> dict[str, Read]:
        """The readers of plugins, by the ending of the files."""
        registry, found = self._builder.registry, dict[str, dict[str, Entry]]()
        for entry in registry.entries("reader"):
            for ending in entry.component.traits.endings:
                found.setdefault(ending, {})[entry.component.name] = entry
        return {ending: partial(_read_by, registry, entries) for ending, entries in found.items()}

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


def open_trained(
    directory: RunDirectory,
    description: Description,
    document: Mapping[str, Any],
    registry: Registry,
    folders: Sequence[Path] = (),
    checkpoint: str = KEPT,
    model: nn.Module | None = None,
) -> Trained:
    """The model of a run directory with its weights, without its data or dataset.

    Args:
        directory: The run directory.
        description: The description of its data.
        document: Its run file.
        registry: Where names are looked up.
        folders: Where relative paths of the run file are looked up.
        checkpoint: ``kept``, ``latest``, ``best`` or a checkpoint's name, see `wf_run.directory.kept`.
        model: The module for the weights, if the run file's model cannot be rebuilt.

    Raises:
        DataError: If no such checkpoint is intact.
        UsageError: If a component cannot be built, or a fitted transform has no saved state.
    """

    def load(builder: Builder, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        checkpointer = builder.build("checkpointer", plan["checkpointer"]).value
        saved: Mapping[str, Any] = load_chosen(checkpointer, checkpoint, plan["keep"])[0]["parts"]
        return saved

    return made_again(directory.path, directory.manifest, description, document, registry, folders, load, model)


Load = Callable[[Builder, Mapping[str, Any]], Mapping[str, Any]]
"""A function of the run's builder and plan that returns the states of the parts, by their names in checkpoints."""


@dataclass(frozen=True, kw_only=True)
class GraphOf:
    """An exported graph, for the model and the transforms of inputs of a run."""

    read: Callable[[torch.device], nn.Module]
    """Gives the graph as a module on a device."""
    target_transforms: tuple[int, ...]
    """The transforms of targets, by their numbers in the run file: these are not in the graph."""


def made_again(
    place: Path,
    manifest: Mapping[str, Any],
    description: Description,
    document: Mapping[str, Any],
    registry: Registry,
    folders: Sequence[Path],
    load: Load,
    model: nn.Module | None = None,
    graph: GraphOf | None = None,
) -> Trained:
    """A trained model from its parts: a run directory's, or a bundle's.

    Args:
        place: Its directory.
        manifest: Its manifest.
        description: The description of the run's data.
        document: Its run file, with at least the needed components.
        registry: Where names are looked up.
        folders: Where relative paths of the run file are looked up.
        load: Returns the states.
        model: The module for the weights, if the model cannot be rebuilt; None builds the run file's model.
        graph: The exported graph to take in the place of the model and the transforms of inputs.

    Raises:
        UsageError: If a component cannot be built, or a fitted transform has no saved state.
    """
    plan = {**{name: param.default for name, param in GENERAL.items()}, **document}
    values = {"seed": plan["seed"], "data_dir": data_dir(), "run_dir": place, "monitor": plan["monitor"]}
    values["restored"] = True
    values |= {name: plan[name] for name in value_settings()}
    values |= {**description.spec.values(), **description.values, "learned": description.learned}
    device = values["device"] = choose_device(plan["device"])[0]
    builder = Builder(registry, values, folders, dict(plan), partial(own_stream, plan["seed"]))
    dtype = dtype_named(manifest.get("precision", {}).get("default_dtype"))
    with naming_culprit(registry.plugins), default_dtype(dtype):
        strategy = default_of(registry, "strategy")  # one process, however it was trained
        if strategy is None:
            raise missing(registry, "strategy")
        builder.values["strategy"] = builder.build("strategy", {"use": strategy}).value
        saved = load(builder, plan)
        if graph is not None:
            model = graph.read(device)
        elif model is None:
            _refuse_live(plan["model"]["use"], place)
            torch.manual_seed(plan["seed"])
            model = builder.build("model", plan["model"]).value
            if not isinstance(model, nn.Module):
                raise UsageError(f"model '{plan['model']['use']}' is {type(model).__name__}, not a torch.nn.Module")
            model.to(device)
            for part in model.children() if isinstance(model, Parts) else (model,):
                autocast_forward(part, plan["precision"], device)
            if "trainer" in plan:
                prepare_for_trainer(builder, plan["trainer"], model)
        if graph is None:
            model.to(device).load_state_dict(saved["model"])
        builder.values["model"] = model
        reader = _reader(builder, str(plan["dataset"]["use"]), description) if "dataset" in plan else None
        own = () if graph else _own_transforms(reader, saved)
        tables = dict(enumerate(plan.get("transform", [])))
        if graph is not None:
            tables = {number: tables[number] for number in graph.target_transforms}
        steps = _steps(own, _transforms(builder, tables, saved))
        if description.inputs is not None:
            steps = [step.placed(description.inputs) for step in steps]
        network = (GraphModel if graph else TrainedModel)(model, description.inputs, steps)
        if isinstance(network, GraphModel):
            network.before = _before(manifest, saved)
    return Trained(network.eval(), description, plan, builder, reader, saved.get("loss"))


def _refuse_live(use: Any, place: Path) -> None:
    """Refuse a model that came from a Python session, with advice."""
    if isinstance(use, str) and use.startswith(LIVE):
        raise UsageError(
            f"model: this run used a live object ({use.removeprefix(LIVE)}), which cannot be rebuilt from its file\n"
            f"  give one: wf.load_model({str(place)!r}, model=...)"
        )


def drawn(task: TaskRuntime, inputs: Tree, predictions: Tree, class_names: Sequence[str]) -> list[Any]:
    """Pictures of predictions, as the task draws them.

    Raises:
        UsageError: If it draws none.
    """
    pictures = task.draw(inputs, predictions, class_names)
    if pictures is None:
        raise UsageError(f"{type(task).__name__.lower()} cannot draw predictions into its inputs\n  leave out --draw")
    return pictures


def _read_by(registry: Registry, entries: Mapping[str, Entry], path: Path) -> Tree:
    """The inputs that a plugin's reader finds in a file; `entries` are the readers for its ending, by name.

    Raises:
        UsageError: If several plugins read such files.
        PluginError: If it does not return tensors.
    """
    if len(entries) > 1:
        choices = " and ".join(f"'{name}' of {entry.provider}" for name, entry in entries.items())
        leave = " or ".join(f"-p no:{entry.provider}" for entry in entries.values())
        raise UsageError(f"several readers read files like '{path}': {choices}\n  leave one of them out: {leave}")
    entry = registry.find("reader", *entries)
    owner = f"reader '{entry.component.name}' of {origin_of(entry)}"
    try:
        found: Tree = entry.load()(path)
    except WfError:
        raise
    except FAILURES as error:
        blame(error, f"{owner}, reading {path}")
        raise
    if not isinstance(found, (Mapping, tuple, list)) and not hasattr(found, "shape"):
        raise PluginError(f"{owner} gave {type(found).__name__} for {path}; it must return the inputs, [N, ...]")
    return found


def _reader(builder: Builder, use: str, description: Description) -> Reader | WfError | None:
    """The dataset's reader, or the reason why it cannot be made; its class is named by the dataset's plugin.
    Parameters missing from its description are run values, such as a `tokenizer`.
    """
    if description.reader is None or ":" in use or use.startswith(LIVE):
        return None
    try:
        entry = builder.registry.find("dataset", use)
        traits = entry.component.traits
        if not isinstance(traits, DatasetTraits) or traits.reader is None:
            return None
        target: Any = traits.reader if isinstance(traits.reader, type) else entry.imported(traits.reader)
        try:
            made: Reader = target(**description.reader, **_of_run(target, description.reader, builder.values))
        except FAILURES as error:
            if isinstance(error, WfError):
                raise
            why = f"the run's description does not fit the reader {traits.reader}: {describe(error)}"
            raise DataError(why) from error
    except WfError as error:
        return error
    return made


def _of_run(target: Any, given: Mapping[str, Any], values: Resolver) -> dict[str, Any]:
    """The run values that a reader's class takes in addition to its description."""
    params = inspect.signature(target).parameters.values()
    wanted = [one.name for one in params if one.default is one.empty and one.name in VALUES and one.name not in given]
    return {name: values.need(name) for name in wanted if values.provides(name)}


def _own_transforms(reader: Reader | WfError | None, saved: Mapping[str, Any]) -> list[Any]:
    """The dataset's own transforms, applied before all others, made by its reader and with their states loaded."""
    names = [name for name in saved if name.startswith(OWN)]
    if not names:
        return []
    if isinstance(reader, WfError):
        raise reader
    found = list(getattr(reader, "transforms", tuple)())
    if len(found) != len(names):
        raise UsageError(
            "the dataset's own transforms are unknown without its data: its reader does not make them\n"
            "  the reader needs a method transforms(), see Dataset.transforms"
        )
    for number, own in enumerate(found):
        own.load_state_dict(saved[f"{OWN}{number}"])
    return found


def _steps(own: Sequence[Any], transforms: Sequence[tuple[Built, str | None]]) -> list[Step]:
    """The dataset's transforms and the run's, in the order in which they are applied."""
    given = [(one, False) for one in own] + [transform_of(built, leaf) for built, leaf in transforms]
    return [Step.of(position, *one) for position, one in enumerate(given)]


def _transforms(
    builder: Builder, tables: Mapping[int, Any], saved: Mapping[str, Any]
) -> list[tuple[Built, str | None]]:
    """The transforms of a run file, by their numbers in it, with their states, and the leaf that each one changes."""
    found = []
    for number, table in tables.items():
        built = builder.build("transform", own_table("transform", table))
        state = saved.get(f"transform/{number}-{built.name}")
        if state is not None:
            built.value.load_state_dict(state)
        elif hasattr(built.value, "fit") and _is_deterministic(built):
            raise UsageError(
                f"transform '{built.name}' was fitted, but no checkpoint has its state: it has no state_dict and "
                "load_state_dict\n"
                "  without them the model can be used only in the same process, right after fit()"
            )
        found.append((built, table.get("leaf")))
    return found


def _fitted(transform: Any) -> dict[str, Any]:
    """Fitted values as JSON."""
    state = transform.state_dict() if isinstance(transform, Stateful) else {}
    return {"fitted": finite(dict(state))} if state else {}


def _before(manifest: Mapping[str, Any], saved: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The preprocessing of a bundle by its names and its fitted values, without the transforms themselves."""
    states = {name.partition("-")[2]: state for name, state in saved.items() if name.startswith("transform/")}
    return [
        {"use": name, **({"fitted": finite(dict(states[name]))} if states.get(name) else {})}
        for name in manifest.get("transforms", ())
    ]


def _is_deterministic(built: Built) -> bool:
    """Whether a transform is also applied in evaluations."""
    return not Step.of(0, *transform_of(built, None)).train_only
