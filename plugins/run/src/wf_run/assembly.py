"""Making the parts of a run and wiring them to each other, in a fixed order.

Strategy (for its device), dataset, transforms, model, `strategy.prepare(model)`, loss, optimizer, scheduler, metrics,
trainer, evaluator, checkpointer, hooks. Each step adds to `values` what the later ones may ask for by name.
"""

from __future__ import annotations

import inspect
import json
import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.declarations.task import Task
from wf.discovery.guard import Guard
from wf.discovery.known import index
from wf.engine.cadence import Every
from wf.engine.events import listeners
from wf.engine.figures import LOSS, SPLITS, TRAIN, Monitor
from wf.engine.watching import Sources, expect
from wf.errors import DataError, PluginError, UsageError, unknown
from wf.protocols import Checkpointer, Stateful
from wf.registry import Registry
from wf.resolver import RUN
from wf.splits import parse_split
from wf.traits import HookTraits, LossTraits, ModelTraits, SchedulerTraits, TransformTraits
from wf_base.data import Dataset, TensorSamples, split_dataset
from wf_base.directions import declared_directions, directions
from wf_base.metric import as_metric
from wf_base.parts import Parts
from wf_base.random import own_stream, stream_key
from wf_base.streams import Stream
from wf_base.task import make_task
from wf_building.builder import Builder, Built, name_of_live
from wf_data.fingerprint import of_dataset, of_tensors
from wf_data.given import as_dataset, batching_of
from wf_data.serving import RunData
from wf_data.transforming import is_joint
from wf_fitting import links as compatibility
from wf_fitting.checking import check as check_fit
from wf_fitting.parts import Known, Samples, gives_targets
from wf_fitting.tasks import tasks_of
from wf_run.description import NAMES, Description, read_description, read_sample_ids
from wf_run.directory.kept import load_kept
from wf_run.directory.rundir import RunDirectory, claim
from wf_run.parts.device import choose_device
from wf_run.parts.groups import KEYS, Grouping, Made, regroup, shown
from wf_run.parts.initial import put_into, read_weights
from wf_run.parts.links import check_outputs, link_loss
from wf_run.parts.optimizers import param_groups, shown_traits
from wf_run.parts.own_samples import OwnSamples
from wf_run.parts.precision import autocast_forward, make_scaler
from wf_run.parts.trial import check_smallest_batch
from wf_run.parts.unused import unused_parameters
from wf_run.plan import MAKE_BATCH, own_choices, parts_of, with_changes
from wf_run.runfile import RunFile, load, on_error_of, options_of
from wf_storage.folders import data_dir

KEPT = (
    *("batch_size", "accumulate", "targets", "num_outputs"),
    *("steps_per_epoch", "total_steps", "total_epochs", "directions"),
)
"""The run values that the run's directory keeps beside what it learned from its data."""

TARGET_STEPS, MAX_EPOCHS = 1000, 200
"""A run that says no length gets about so many steps, but at most so many epochs."""


class Assembly:
    """The parts of a run.

    Args:
        plan: The run file, as `wf_run.plan.prepare` gives it.
        registry: Where names are looked up.
        run_dir: The run directory; None for one of its own, which is made below ``runs/``.
        default_name: What that one is called; by default after date, dataset, loss and optimizer.
        subfolder: Of the default run directory, for one of several runs that belong together.
        save: Whether anything is written; False makes no checkpointer and no run directory.
        folders: Where relative paths of the run file are looked up when they are not below the working directory.
        quiet: Leave out the progress hook.
        initialize: Take the weights that the run file's ``init_from`` names; False where a checkpoint's will follow.
        learned_in: The directory of the run that this is, where it has begun before: its data are read as they were.
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        registry: Registry,
        *,
        run_dir: Path | None,
        default_name: str = "",
        subfolder: str,
        save: bool,
        folders: Sequence[Path],
        quiet: bool,
        initialize: bool = True,
        learned_in: Path | None = None,
    ) -> None:
        self.registry = registry
        self.messages: list[str] = []
        """What was decided for the user, in words."""
        self.built: dict[str, Built | list[Built]] = {}
        """What was made, by kind."""
        self.groups: list[tuple[str, Made]] = []
        """The groups of parameters that the run file asks for, each with the optimizer's name."""
        self._asked = plan
        self.resumes_exactly = True
        """Whether the samples are for certain the same ones when the run is resumed."""
        self._dataset: Dataset | None = None
        """What the dataset gave, until its checksum is made."""
        self._fingerprint: dict[str, str] = {}
        self.init_from: dict[str, str] | None = None
        """Where the first weights came from, and their checksum; None for those that were drawn."""
        self._before = None if learned_in is None else read_description(learned_in)
        self._ids_before = {} if learned_in is None else read_sample_ids(learned_in)
        self.stateful_samples: Stateful | None = None
        """The train samples, where they have a state."""
        self.plan: RunFile = dict(plan)
        """The run file; when all is made it says everything."""
        self.eval_every, self.checkpoint_every = self._every("eval_every"), self._every("checkpoint_every")
        self.builder = Builder(
            registry,
            {"seed": self.plan["seed"], "data_dir": data_dir(), "learned": self._before and self._before.learned},
            folders,
            self.plan,
            partial(own_stream, self.plan["seed"]),
        )
        self.values = self.builder.values
        self.values.update({name: self.plan[name] for name in GENERAL.contributed})
        self._make_strategy()
        self.give_up: Callable[[], object] = lambda: None
        """Removes the run directory that was made for a run without one, where nothing was put into it."""
        self.data: Any
        try:
            if "dataset" in self.plan:
                self._make_data()
            else:
                self._make_own_samples()
            self._know_data()
            self._choose_length()
            self._fit_together()
            self._make_model(initialize=initialize)
            self._make_loss()
            self._make_optimizer()
            self.run_dir = (run_dir or self._claim_run_dir(default_name) / subfolder) if save else None
            self.values["run_dir"] = self.run_dir
            self._make_judges()
            self.checkpointer = self._make("checkpointer") if save else None
            self._make_hooks(quiet=quiet)
            self.builder.check_all_asked()
            self._tell_of_settings()
            self._forget_unused()
            self.built |= self.builder.contributed
            if self.strategy.rank > 0:  # all drew the same first weights; what they draw from now on is their own
                torch.manual_seed(stream_key(self.plan["seed"], "train", self.strategy.rank))
        except BaseException:
            self.close()
            raise

    def _forget_unused(self) -> None:
        """Leave out plugins' settings that nobody set or took, and empty lists: the run can do without the plugins."""
        for name, param in GENERAL.contributed.items():
            if name not in self.values.asked_by and self.plan[name] == param.default:
                del self.plan[name]
        for name in KINDS.contributed:
            if self.plan.get(name) == []:
                del self.plan[name]

    def _tell_of_settings(self) -> None:
        """Warn of a plugin's setting that was set, and that nothing takes."""
        for name, param in GENERAL.contributed.items():
            if self.plan.get(name, param.default) != param.default and name not in self.values.asked_by:
                self.messages.append(f"warning: {name} is set, and nothing in this run takes it")

    def close(self) -> None:
        """End what serves data, leave the processes of the strategy, and a run directory that nothing was put into."""
        try:
            self.values.close()
            if hasattr(self, "data"):
                self.data.close()
        finally:
            self.give_up()
            self.strategy.close()

    @property
    def hooks(self) -> tuple[Any, ...]:
        """The hooks."""
        return tuple(built.value for built in self.several("hook"))

    def may_fail(self) -> list[Any]:
        """The hooks without which the run goes on when they fail."""
        return [built.value for built in self.several("hook") if self.on_error[built.name] == "disable"]

    def watching(self) -> frozenset[str]:
        """The names of the hooks that only tell, and without which the run goes on when they fail."""
        hooks = self.several("hook")
        return frozenset(hook.name for hook in hooks if _watches(hook) and self.on_error[hook.name] == "disable")

    def several(self, kind: str) -> list[Built]:
        """What was made of a kind of which there may be several."""
        made = self.built[kind]
        assert isinstance(made, list)
        return made

    def all(self) -> Iterator[Built]:
        """Everything that was made."""
        for made in self.built.values():
            yield from made if isinstance(made, list) else [made]

    def name(self, kind: str) -> str:
        """The name of the component of a kind."""
        made = self.built.get(kind)
        if isinstance(made, Built):
            return made.name
        use = self.plan[kind]["use"]
        entry = self.builder.entry(kind, use)
        return entry.component.name if entry else name_of_live(use)

    def monitor(self) -> Monitor:
        """The figure that decides what is best.

        Raises:
            UsageError: When it decides, or the user chose it, and no evaluation yields it; or when it decides and its
                direction is not known.
        """
        monitor = Monitor.read(self.plan["monitor"], self.values["directions"])
        splits = [split for split in self.plan["eval_splits"] if split in self.evaluated]
        sources = self._sources()
        decides = self.plan["keep"] == "best"
        own = self.task.default("monitor") if self.task else None
        matters = decides or self.plan["monitor"] not in (GENERAL["monitor"].default, own)
        of_steps = monitor.read_after(splits) is not None and sources.is_of_steps(monitor.figure)
        is_read = monitor.split in splits or of_steps
        if matters and not (is_read and sources.find(monitor.figure, splits) != "unknown"):
            known = [name for split in dict.fromkeys((*splits, TRAIN)) for name in sources.names(split, splits)]
            hint = ""
            if not splits:
                known = []
                hint = "no split is evaluated while it trains: see --eval-splits and --split, or --keep last"
            elif monitor.split in self.evaluated and not is_read:
                hint = f"'{monitor.split}' is not evaluated while the run trains: --eval-splits {monitor.split}"
            raise UsageError(unknown("figure in 'monitor':", monitor.figure, known, hint))
        if decides:
            monitor.direction("--monitor")
        self._check_watched(sources, splits)
        return monitor

    def figures(self) -> list[str]:
        """The figures of the run, and patterns for those whose names nobody says; see `wf.engine.watching.Sources`."""
        return self._sources().patterns(self.evaluated)

    def _sources(self) -> Sources:
        """Who gives which figures."""
        values, names = self.values, {id(built.value): f"hook '{built.name}'" for built in self.several("hook")}
        parts = (self.checkpointer, *self.hooks)
        return Sources(values["trainer"], values["evaluator"], parts, lambda part: names.get(id(part), "a part"))

    def _check_watched(self, sources: Sources, splits: Sequence[str]) -> None:
        """Refuse a figure that a scheduler or a hook is to watch and that nobody gives."""
        watching = [("scheduler", table) for table in (self.plan.get("scheduler"),) if table]
        for kind, table in [*watching, *(("hook", table) for table in self.plan.get("hook", ()))]:
            entry = self.builder.entry(kind, table["use"])
            if entry is None or not isinstance(table.get("monitor"), str):
                continue
            if any(param.name == param.source == "monitor" for param in self.builder.params(entry)):
                option = f"--hook.{entry.component.name}.monitor" if kind == "hook" else "--scheduler.monitor"
                owner = entry.component.name if kind == "hook" else "the scheduler"
                expect(Monitor.read(table["monitor"]), option, owner, sources, splits)

    def fingerprint(self) -> dict[str, str]:
        """The checksums of the dataset's samples, made once; see `wf_data.fingerprint`."""
        if self._dataset is not None:
            self._fingerprint, self._dataset = of_dataset(self._dataset), None
        return self._fingerprint

    def follows_length(self, kind: str, table: Any) -> bool:
        """Whether a component, or one nested in it, was given the run's length by the run."""
        if isinstance(table, (list, tuple)):
            return any(self.follows_length(kind, one) for one in table)
        if not isinstance(table, Mapping):
            return False
        entry = self.builder.entry(kind, table["use"])
        for param in self.builder.params(entry) if entry else ():
            if param.kind is not None and self.follows_length(param.kind, table.get(param.name)):
                return True
            if param.source in ("total_steps", "total_epochs") and param.name not in table:
                return True
        return False

    def _every(self, key: str) -> Every | None:
        return None if self.plan[key] is None else Every.parse(self.plan[key])

    def _take(self, kind: str, **values: Any) -> None:
        """Keep run values that the component of a kind, or the task, gives."""
        if kind == "task":
            title = f"task '{self.task.name}'" if self.task else "the dataset's targets"
        elif isinstance(made := self.built.get(kind), list):
            title = f"{kind}s {', '.join(repr(one.name) for one in made)}"
        else:
            title = f"{kind} '{self.name(kind)}'" if kind in self.plan else RUN
        self.values.take(title, values)

    def _make(self, kind: str) -> Any:
        """Make the component of a kind and put its resolved table into the plan."""
        made = self.builder.build(kind, self.plan[kind])
        self.built[kind], self.plan[kind] = made, made.table()
        return made.value

    def _make_many(self, kind: str, tables: Sequence[Any]) -> list[Built]:
        made = [self.builder.build(kind, table) for table in tables]
        names = [built.name for built in made]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice and kind != "transform":
            owners = {built.entry.provider for built in made if built.name == twice and built.entry}
            why = f", of {' and '.join(sorted(owners))}: a run has one {kind} of a name" if len(owners) > 1 else ""
            raise UsageError(f"{kind} '{twice}' is named twice{why}")
        self.built[kind], self.plan[kind] = made, [built.table() for built in made]
        return made

    def _make_transforms(self, asked: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The run's transforms, as `wf_data.serving.RunData` takes them."""
        made = self._make_many("transform", [own_table("transform", table) for table in asked])
        return [transform_of(built, table.get("leaf")) for built, table in zip(made, asked, strict=True)]

    def _make_strategy(self) -> None:
        self.values["device"], why = choose_device(self.plan["device"])
        self.strategy = self._make("strategy")
        self._take("strategy", strategy=self.strategy, device=self.strategy.device)
        if self.plan["device"] == "auto":
            self.messages.append(why)

    def _make_data(self) -> None:
        plan = self.plan
        made = self._make("dataset")
        dataset = self._dataset = as_dataset(made, self.name("dataset"), self.registry)
        for key, value in batching_of(made).items():
            if plan[key] != value:
                self.messages.append(f"{key} {plan[key]}, not {value} as in the dataset's DataLoader")
        name = self.name("dataset")
        self.reader = dataset.reader
        self._names = {field: tuple(getattr(dataset, field)) for field in NAMES}
        if self._before is not None:
            self._check_names(self._before.learned, dataset)
        self._keep_state_of(dataset.train, name)
        self.task = self._task_of(dataset, name)
        self._choose_judges(dataset.targets)
        self.outputs = make_task(
            self.registry,
            self.task,
            dataset.targets,
            class_names=dataset.class_names,
            ignore_index=_ignore_index(plan.get("loss") or {}),
        )
        """What the task does in this run; as the run value `outputs` when model and loss are known."""
        self._check_fit(
            transforms=True,
            task=self.task,
            targets=dataset.targets,
            num_classes=len(dataset.class_names) or None,
            samples=_samples_of(dataset),
            evaluated=tuple(plan["eval_splits"]),
        )
        if dataset.test is not None and plan["fold"] is None:
            self.messages.append(f"{name} has a test split of its own ({len(dataset.test):,} samples)")
        splits = split_dataset(
            dataset,
            plan["split"],
            plan["seed"],
            shuffle=plan["shuffle"],
            fold=_fold(plan["fold"]),
            ids=self._ids_of(dataset),
            task=self.outputs,
        )
        if self.outputs.num_classes is not None:
            self.values["num_classes"] = self.outputs.num_classes
        transforms = self._make_transforms(plan["transform"])
        self.data = RunData(
            dataset,
            splits,
            transforms,
            batch_size=None if plan["batch_size"] == "full" else plan["batch_size"],
            accumulate=plan["accumulate"],
            seed=plan["seed"],
            shuffle=plan["shuffle"],
            drop_last=plan["drop_last"],
            device=self.strategy.device,
            workers=plan["workers"],
            serve_from=plan["serve_from"],
            rank=self.strategy.rank,
            world_size=self.strategy.world_size,
            name=name,
            task=self.outputs,
        )
        self._take("dataset", data=self.data)
        if self.task is None:
            self.messages += [f"warning: {text}" for text in map(_moves_alone, self.several("transform")) if text]
        elif self.task.spatial:
            self.messages += [f"warning: {text}" for text in map(_may_move, self.several("transform")) if text]
        for table, step in zip(plan["transform"], self.data.steps[len(dataset.transforms) :], strict=True):
            table.update({} if step.leaf is None else {"leaf": step.leaf})
        self.messages += [self.data.describe(), *(f"warning: {text}" for text in self.data.warnings)]
        self.resumes_exactly = not isinstance(dataset.train, Stream) or dataset.train.exact
        if not self.resumes_exactly:
            self.messages.append(
                f"warning: dataset {name} is iterable: a run that is resumed skips the samples before, and is exact "
                "only where it yields the same ones each time (exact_resume: false in manifest.json)"
            )
        for split, share in zip(SPLITS, parse_split(plan["split"]), strict=True):
            if share and split not in self.data.splits:
                brought = split == "test" and dataset.validation is not None
                why = f"{name} brings a validation split but no" if brought else "too few samples for a"
                self.messages.append(f"warning: {why} {split} split")
        for split in plan["eval_splits"]:
            if split not in self.data.splits and split != "validation":
                self.data.samples(split)  # raises, naming the splits that are there

    def _make_own_samples(self) -> None:
        """Let the trainer make the samples: there is no dataset."""
        plan, name, entry = self.plan, self.name("trainer"), self.builder.entry("trainer", self.plan["trainer"]["use"])
        maker = entry.load() if entry else plan["trainer"]["use"]
        if not hasattr(getattr(maker, "func", maker), MAKE_BATCH):
            raise PluginError(f"trainer '{name}' says that it makes its samples, and has no method {MAKE_BATCH}")
        self.task = tasks_of(self.registry).named(plan["task"]) if plan["task"] else None
        self._check_used()
        if "use" not in plan.get("loss", {}):
            loss = self.task.default("loss") if self.task else None
            if loss is None or "loss" not in self._wanted_by("trainer"):
                self._may_lack_loss()
            else:
                plan["loss"] = {"use": self.registry.own_choice("loss", loss), **plan.get("loss", {})}
        plan["metric"] = with_changes("metric", plan.get("metric"), ())
        self.outputs = make_task(self.registry, self.task, None, ignore_index=_ignore_index(plan.get("loss") or {}))
        self.reader, self._names = None, dict.fromkeys(NAMES, ())
        known = _called_with_options(self.builder, plan["trainer"], "run_values") or {}
        self.data = OwnSamples(name, known, plan["batch_size"], self.outputs)
        self.values.update(self.data.known)
        self._make_transforms(plan["transform"])
        self.messages.append(self.data.describe())

    def _check_used(self) -> None:
        """Refuse a loss and metrics that neither the trainer nor an evaluator takes, where there is no dataset."""
        parts = [kind for kind in ("trainer", "evaluator") if kind in self.plan]
        entries = [self.builder.entry(kind, self.plan[kind]["use"]) for kind in parts]
        taken = {param.source for entry in entries if entry for param in self.builder.params(entry)}
        for kind, value, is_asked in (
            ("loss", "loss", "use" in self.plan.get("loss", {})),
            ("metric", "metrics", bool(self.plan.get("metric"))),
        ):
            if is_asked and value not in taken and None not in entries:
                names = " and ".join(f"{kind} '{self.name(kind)}'" for kind in parts)
                raise UsageError(
                    f"{names}: a {kind} would not be used, as '{value}' is not taken\n  leave out --{kind}"
                )

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The splits that the evaluator can be asked for; one that needs no data is asked for those of the plan."""
        if "dataset" in self.plan:
            return tuple(self.data.splits)
        return tuple(self.plan["eval_splits"]) if "evaluator" in self.plan else ()

    def _check_names(self, learned: Mapping[str, Any], dataset: Dataset) -> None:
        """Refuse data that have other classes or columns than those with which the run began.

        Raises:
            DataError: Naming what is missing and what is new.
        """
        now: dict[str, Any] = {"targets": dataset.targets, **self._names}
        for field, value in now.items():
            before = learned[field]
            if value == (before if field == "targets" else tuple(before)):
                continue
            what = field.replace("_", " ")
            lines = [f"dataset '{self.name('dataset')}': its {what} are not those that the run was trained with"]
            if field == "targets":
                lines.append(f"were {before}, are {value}")
            else:
                gone, new = [one for one in before if one not in value], [one for one in value if one not in before]
                lines += [f"not there any more: {', '.join(gone[:10])}"] if gone else []
                lines += [f"not there before: {', '.join(new[:10])}"] if new else []
                lines += ["they are in another order"] if not (gone or new) else []
            lines.append("put the data back as they were, or train anew")
            raise DataError("\n  ".join(lines))

    def _ids_of(self, dataset: Dataset) -> dict[str, Tensor] | None:
        """The sample ids with which the run began; None where it begins, or where the dataset lost some of them."""
        if self._before is None or isinstance(dataset.train, Stream):
            return None
        own = {name: ids for name, ids in self._ids_before.items() if getattr(dataset, name) is None or name == "train"}
        largest = max((int(ids.max()) for ids in own.values() if len(ids)), default=len(dataset.train))
        return self._ids_before if largest < len(dataset.train) else None

    def describe_data(self) -> Description:
        """What the run learned from its data, and what its model was made with."""
        outputs, values = self.values["outputs"], self.values
        return Description(
            spec=self.data.spec,
            inputs=self.data.inputs,
            target_names=self._names["target_names"],
            vocabulary=self._names["vocabulary"],
            reader=None if self.reader is None else dict(self.reader.description()),
            values={name: values[name] for name in KEPT if name in values},
            predictions=outputs.predictions,
            single_logit=outputs.single_logit,
            task=self.task.name if self.task else None,
        )

    def _keep_state_of(self, samples: Any, name: str) -> None:
        """Let samples that have a state be saved; each worker would have one of its own."""
        if not isinstance(samples, Stateful):
            return
        if self.plan["workers"]:
            raise UsageError(
                f"dataset '{name}' has a state (state_dict), of which each worker would change a copy\n"
                "  read it in the process that trains: --workers 0"
            )
        self.stateful_samples = samples

    def _task_of(self, dataset: Dataset, name: str) -> Task | None:
        """The task of the run; None where the dataset says nothing of its targets.

        Raises:
            UsageError: When no task has the dataset's targets.
        """
        said = self.plan["task"] or dataset.task
        loss = self._traits("loss") if "use" in self.plan.get("loss", {}) else None
        task = tasks_of(self.registry).named(said) if said else tasks_of(self.registry).of(dataset.targets, loss)
        if task is None and dataset.targets is not None:
            here = {plugin.distribution for plugin in self.registry.plugins}
            missing = [one for one in index() if "task" in one.names and one.distribution not in here]
            hint = "\n  ".join(
                f"{one.distribution} brings tasks and is not installed: {one.install}" for one in missing
            )
            raise UsageError(
                f"dataset '{name}': " + unknown("targets", dataset.targets, tasks_of(self.registry).forms, hint)
            )
        return task

    def _may_lack_loss(self) -> None:
        """Refuse a run without a loss where no task names one and the trainer takes one."""
        needs = make_task(self.registry, self.task, None).needs_loss
        if needs and "loss" in self._wanted_by("trainer"):
            if self.task is not None:
                raise UsageError(f"task '{self.task.name}' has no default loss\n  name one: --loss NAME")
            if "dataset" not in self.plan:
                raise UsageError(f"trainer '{self.name('trainer')}' takes a loss\n  name one: --loss NAME")
            raise UsageError(
                f"dataset '{self.name('dataset')}' does not say what its targets are, so no loss is chosen for it\n"
                "  name one: --loss NAME, or --loss path.py:Loss; or let the dataset say it: "
                "wf_base.Dataset(targets=...), or an attribute `classes` of a dataset of torch"
            )
        self.plan.pop("loss", None)

    def _choose_judges(self, targets: str | None) -> None:
        """Loss and metrics, where none is named."""
        task = self.task
        if "use" not in self.plan.get("loss", {}):
            if task is None or (name := task.default("loss")) is None:
                self._may_lack_loss()
            else:
                self.plan["loss"] = {"use": self.registry.own_choice("loss", name), **self.plan.get("loss", {})}
        defaults = () if task is None else tasks_of(self.registry).default_metrics(task, targets)
        metrics = own_choices(self.registry, "metric", defaults)
        self.plan["metric"] = with_changes("metric", self.plan.get("metric"), metrics)

    def _check_fit(self, *, transforms: bool, **known: Any) -> None:
        """Refuse all that does not fit by what is known by now, the fields of `wf_fitting.parts.Known`."""
        asked = dict(self.plan)
        if "dataset" in asked:
            asked["dataset"] = self._asked["dataset"]  # a live one has only a description in the plan by now
        parts = parts_of(asked, self.builder.entry, known.get("taken"))
        chosen = [part for part in parts if transforms or part.kind != "transform"]
        check_fit(chosen, Known(links=self.plan["links"], **known), self.registry)

    def _know_data(self) -> None:
        source = "dataset" if "dataset" in self.plan else "trainer"
        self._take(source, **self.data.spec.values())
        self.values.update(batch_size=self.data.batch_size, accumulate=self.plan["accumulate"])
        if self.data.num_batches is not None:
            self._take(source, steps_per_epoch=self.data.num_batches)

    def _choose_length(self) -> None:
        plan, num_batches = self.plan, self.data.num_batches
        if num_batches is None:
            self._choose_steps()
            return
        if plan["epochs"] is None and plan["steps"] is None:
            plan["epochs"] = max(1, min(MAX_EPOCHS, math.ceil(TARGET_STEPS / num_batches)))
            self.messages.append(f"epochs {plan['epochs']} (for about {TARGET_STEPS:,} steps; set it with --epochs)")
        total = plan["steps"] if plan["epochs"] is None else num_batches * plan["epochs"]
        self.values["total_steps"] = max(1, total)
        self.values["total_epochs"] = math.ceil(self.values["total_steps"] / num_batches)

    def _choose_steps(self) -> None:
        """The length of a run whose epochs have no end."""
        plan, name = self.plan, self.name("trainer")
        fix = "\n  count steps, or let the trainer say steps_per_epoch in its run_values"
        if plan["epochs"] is not None:
            raise UsageError(f"trainer '{name}' does not say how long an epoch is: --epochs {plan['epochs']}{fix}")
        for key, cadence in (("eval_every", self.eval_every), ("checkpoint_every", self.checkpoint_every)):
            if cadence is None or cadence.unit != "epochs" or (key == "eval_every" and "evaluator" not in plan):
                continue
            if plan[key] != GENERAL[key].default:
                raise UsageError(f"trainer '{name}' does not say how long an epoch is: {key} {plan[key]}{fix}")
            self.messages.append(f"warning: evaluated at the end alone: trainer {name} has no epochs; see --eval-every")
        if plan["steps"] is None:
            plan["steps"] = TARGET_STEPS
            self.messages.append(f"steps {plan['steps']:,} (set it with --steps)")
        self.values["total_steps"] = max(1, plan["steps"])

    def _fit_together(self) -> None:
        """Check that everything fits, now that all is known, and find the links that make it fit."""
        plan, spec = self.plan, self.data.spec
        self._check_fit(
            transforms=False,  # they have been applied
            task=self.task,
            targets=spec.targets,
            num_classes=spec.num_classes,
            trained=self._trained_targets(),
            samples=_samples_of_shape(spec.input_shape, tokens=spec.vocab_size is not None),
            taken=frozenset(name for name in self._wanted_by("trainer") if name is not None),
            evaluated=tuple(split for split in plan["eval_splits"] if split in self.evaluated),
        )
        model, loss = self._traits("model"), self._traits("loss") if "loss" in plan else None
        tasks = tasks_of(self.registry)
        targets, facts = self._trained_targets(), (spec.num_classes, model, loss, plan["links"])
        fit = trained = compatibility.resolve(targets or spec.targets, *facts, links=tasks.links)
        if targets is not None:
            assert isinstance(trained, compatibility.Fit)
            fit = compatibility.resolve_judged(spec.targets, *facts, links=tasks.links, trained=trained)
        assert isinstance(fit, compatibility.Fit)
        assert isinstance(trained, compatibility.Fit)
        self._links = {"trained": trained.links, "judged": fit.links}
        names = {kind: self.name(kind) for kind in ("dataset", "model", "loss") if kind in plan}
        links = list(dict.fromkeys((*trained.links, *fit.links)))
        for link in links:
            what = tasks.link(link).summary
            self.messages.append(f"link {link}: {what} (for {names['loss']}; --links [] turns it off)")
        unsaid = "dataset" not in plan or (
            self.task is not None and (spec.targets is None or "loss" not in plan)
        )  # the task checks what it needs
        warnings = dict.fromkeys((*trained.warnings, *fit.warnings))
        self.messages += [f"warning: {text}" for text in warnings if not unsaid]
        plan["links"] = links
        gives = model.predictions if isinstance(model, ModelTraits) else "raw"
        wanted = loss.predictions if isinstance(loss, LossTraits) else None
        self.outputs = self.outputs.fitted(fit.targets, gives, wanted)
        self._take("task", targets=fit.targets, outputs=self.outputs)
        self._know_num_outputs(self.outputs.num_outputs(spec))

    def _trained_targets(self) -> str | None:
        """The form of the targets in training, where transforms give others than the dataset's."""
        declared = [traits for built in self.several("transform") if gives_targets(traits := _traits_of(built))]
        return declared[-1].gives_targets if declared else None

    def _know_num_outputs(self, num_outputs: int | None) -> None:
        """Keep how many outputs the model gives, where that is known."""
        if num_outputs is not None:
            self._take("task", num_outputs=num_outputs)

    def _make_model(self, *, initialize: bool) -> None:
        torch.manual_seed(self.plan["seed"])
        model = self._make("model")
        if not isinstance(model, nn.Module):
            raise UsageError(f"model '{self.name('model')}' is {type(model).__name__}, not a torch.nn.Module")
        model.to(self.strategy.device)
        for part in model.children() if isinstance(model, Parts) else (model,):
            autocast_forward(part, self.plan["precision"], self.strategy.device)
        self._check_scopes()
        has_data = "dataset" in self.plan
        if has_data:
            self._try_model(model)
        if initialize and self.plan["init_from"] is not None:
            self._initialize(model, self.plan["init_from"])
        self._not_trained = prepare_for_trainer(self.builder, self.plan["trainer"], model)
        if initialize and has_data:
            self._check_smallest(model, self.data.num_kept)
        if has_data and self.strategy.world_size > 1 and hasattr(self.strategy, "unused_parameters"):
            self.strategy.unused_parameters = unused = unused_parameters(model, self.data.first("train"))
            if unused:
                self.messages.append(f"no gradient reaches {', '.join(unused)}: each step looks for such parameters")
        self._take("model", model=self.strategy.prepare(model))

    def _check_scopes(self) -> None:
        """Refuse several processes for several models: what one of them is called by would not share gradients."""
        if self.builder.scopes and self.strategy.world_size > 1:
            raise UsageError(
                f"trainer '{self.name('trainer')}' has several models, whose gradients several processes would not "
                "share\n  train in one process"
            )

    def _try_model(self, model: nn.Module) -> None:
        """Refuse a model that does not give what the task needs for the first samples."""
        names = {kind: self.name(kind) for kind in ("dataset", "model")}
        task, shape = self.outputs, (self.values.get("num_outputs"), *self.data.spec.mask_shape)
        self._know_num_outputs(check_outputs(model, self.data.first("train"), task, shape, names))
        self._check_resized(lambda inputs: check_outputs(model, inputs, task, shape, names))

    def check_folds(self, num_folds: int) -> None:
        """Refuse a cross-validation of which a later fold could not be trained, by the sizes of all of them."""
        assert self._dataset is not None
        plan = self.plan
        for fold in range(num_folds):
            splits = split_dataset(
                self._dataset,
                plan["split"],
                plan["seed"],
                shuffle=plan["shuffle"],
                fold=(fold, num_folds),
                task=self.outputs,
            )
            num = self.data.num_kept_of(len(splits.samples["train"]))
            self._check_smallest(self.strategy.bare(self.values["model"]), num, f" of fold {fold + 1}")

    def _check_smallest(self, model: nn.Module, num: int, where: str = "") -> None:
        """Refuse a last batch of one sample where it is reached and the model cannot be trained on it."""
        size = self.data.batch_size
        if (num % size or size) == 1 and self.values["total_steps"] >= self.data.num_batches:
            inputs, _ = self.data.as_trained()
            samples = f"{num:,} train samples{' of each process' if self.strategy.world_size > 1 else ''}{where}"
            check_smallest_batch(model, self._not_trained, inputs, samples, size, self.name("model"))

    def _check_resized(self, check: Callable[[Tensor], Any]) -> None:
        """Refuse transforms that change the size in training alone where the model does not take both sizes."""
        inputs, shapes = self.data.as_trained()
        evaluated = None if self.data.spec.input_shape is None else list(self.data.spec.input_shape)
        if not isinstance(inputs, Tensor) or list(inputs.shape[1:]) == evaluated:
            return
        try:
            check(inputs)
        except UsageError as error:
            made = self.several("transform")
            words = " and ".join(f"'{made[position].name}' (to {shape})" for position, shape in shapes.items())
            raise UsageError(
                f"transform {words} changes the shape of samples in training alone: evaluations have {evaluated}\n"
                f"  {error}\n  let it keep the shape, or add one that all splits go through"
            ) from error

    def initialize_anew(self) -> None:
        """Take the weights that ``init_from`` names, where they were left out for those of a checkpoint."""
        if self.plan["init_from"] is not None and self.init_from is None:
            self._initialize(self.strategy.bare(self.values["model"]), self.plan["init_from"])

    def _initialize(self, model: nn.Module, place: str) -> None:
        """Begin with the weights of a file or of another run."""
        weights, source = read_weights(place, self.builder.folders, self._weights_of)
        kept = put_into(model, weights, source, self.plan["init_without"])
        self.init_from = {"source": source, "weights": of_tensors(weights)}
        taken = len(model.state_dict()) - len(kept)
        rest = f"; as they are drawn: {', '.join(kept)}" if kept else ""
        self.messages.append(f"weights from {source} ({taken} tensors{rest})")

    def _weights_of(self, directory: RunDirectory) -> tuple[Any, str]:
        """The weights that another run kept, and which checkpoint has them."""
        document = load(directory.run_file)
        monitor = document.setdefault("monitor", GENERAL["monitor"].default)
        values = {
            "run_dir": directory.path,
            "monitor": Monitor.read(monitor).figure,
            "directions": {**directions(document, self.builder), **directory.directions},
        }
        nothing = Guard(
            place=str(directory.path),
            hint="weights are taken from a run without running its code: write them to a file, and begin with that\n"
            f"  wf export {directory.path} FILE.safetensors",
        )
        if ":" in document["checkpointer"]["use"]:
            nothing.check_target(document["checkpointer"]["use"])
        keeper = self.keeper(document["checkpointer"], values, self.registry.guarded(nothing))
        state, which = load_kept(keeper, document.get("keep", "last"))
        return state["parts"]["model"], which

    def keeper(
        self, table: Mapping[str, Any], values: Mapping[str, Any], registry: Registry | None = None
    ) -> Checkpointer:
        """The checkpointer of a table, for another run than this one."""
        builder = Builder(registry or self.registry, values, self.builder.folders)
        made: Checkpointer = builder.build("checkpointer", table).value
        return made

    def _make_loss(self) -> None:
        if "loss" not in self.plan:
            self.bare_loss = None
            self._take("trainer", loss=None)
            self._know_params()
            return
        loss = self.bare_loss = self._make("loss")
        if isinstance(loss, nn.Module):
            loss.to(self.strategy.device)
            self._check_shared(loss)
        linked = self._linked(self._links["trained"])
        self._take("loss", loss=linked)
        if given := getattr(linked, "given", None):
            name = linked.links[-1]
            self.messages.append(
                f"link {name}: reduction=none cannot be backpropagated, so the trainer takes the {given}"
            )
        self._know_params()

    def _linked(self, names: Sequence[str]) -> Any:
        """The loss with links before it."""
        single = self.outputs.single_logit
        return link_loss(self.bare_loss, names, self.registry, self.values, single_logit=single)

    def _know_params(self) -> None:
        """What is trained: the parameters of model and loss."""
        modules = [module for module in (self.values["model"], self.bare_loss) if isinstance(module, nn.Module)]
        params = [param for module in modules for param in module.parameters() if param.requires_grad]
        self._take("model", params=params, param_groups=param_groups(self.values["model"], params))

    def _check_shared(self, loss: nn.Module) -> None:
        """The strategy shares the model's gradients; a loss's own would drift apart."""
        if self.strategy.world_size > 1 and any(param.requires_grad for param in loss.parameters()):
            raise UsageError(
                f"loss '{self.name('loss')}' has parameters of its own, which several processes would not share\n"
                "  train in one process, or take a loss without any"
            )

    def _make_optimizer(self) -> None:
        """Optimizer and scheduler, where the trainer takes them."""
        plan, values = self.plan, self.values
        wanted = self._wanted_by("trainer")
        values.update(
            monitor=Monitor.read(plan["monitor"]).figure,
            directions=directions(plan, self.builder, declared_directions(plan, self.builder, self.bare_loss)),
            scheduler=None,
            scheduler_interval="epoch",
        )
        if "optimizer" in self.builder.scopes:
            self._make_optimizers()
        elif "optimizer" in wanted:
            asked, plan["optimizer"] = plan["optimizer"], own_table("optimizer", plan["optimizer"])
            optimizer, declared = self._make("optimizer"), self._traits("optimizer")
            traits = declared if declared is not None else shown_traits(optimizer)
            self._divide("optimizer", asked, self.built["optimizer"], self.strategy.bare(values["model"]))
            self._take("optimizer", optimizer=optimizer, optimizer_traits=traits)
            self._check_trained()
        else:
            plan.pop("optimizer", None)
        if not plan.get("scheduler"):
            return
        if "optimizer" in self.builder.scopes:
            raise UsageError(
                f"trainer '{self.name('trainer')}' has several optimizers, and scheduler '{self.name('scheduler')}' "
                "changes one\n  leave it out"
            )
        self._check_has_rate()
        scheduler = self._make("scheduler")
        self._take("scheduler", scheduler=scheduler)
        if self._is_live("scheduler") and getattr(scheduler, "optimizer", None) is not values["optimizer"]:
            raise UsageError(
                f"scheduler '{self.name('scheduler')}' is of another optimizer than the run's\n"
                "  give its optimizer to the run as well, or a function of `optimizer` that makes the scheduler"
            )
        traits = self._traits("scheduler")
        waits = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        default = "evaluation" if waits else "epoch"
        values["scheduler_interval"] = traits.interval if isinstance(traits, SchedulerTraits) else default
        if values["scheduler_interval"] == "epoch" and self.data.num_batches is None:
            raise UsageError(
                f"scheduler '{self.name('scheduler')}' counts epochs, and trainer '{self.name('trainer')}' does not "
                "say how long one is\n  use one that counts steps, or let its run_values say steps_per_epoch"
            )

    def _make_optimizers(self) -> None:
        """The optimizer of each scope, with the parameters of the model of that name, or of all."""
        model = self.strategy.bare(self.values["model"])
        for name in self.builder.scopes["optimizer"]:
            part = model[name] if isinstance(model, Parts) and name in model else model
            params = [param for param in part.parameters() if param.requires_grad]
            own = {"model": part, "params": params, "param_groups": param_groups(part, params)}
            self.builder.within[f"optimizer.{name}"] = own
        asked = {name: table for name, table in self.plan["optimizer"].items() if name != "use"}
        own = {name: own_table("optimizer", table) for name, table in asked.items()}
        self.plan["optimizer"] = {**self.plan["optimizer"], **own}
        self._take("optimizer", optimizers=self._make("optimizer"))
        made = self.built["optimizer"]
        assert isinstance(made, Built)
        for name, one in made.scopes.items():
            self._divide(f"optimizer.{name}", asked[name], one, self.builder.within[f"optimizer.{name}"]["model"])
            traits = _traits_of(one) or shown_traits(one.value)
            if traits.step != "plain" or traits.modes:
                raise UsageError(
                    f"optimizer.{name} '{one.name}' is stepped as '{traits.step}'{' and has modes' * traits.modes}: "
                    f"of trainer '{self.name('trainer')}' each has plain steps\n  use another, such as adam or sgd"
                )

    def _divide(self, owner: str, asked: Any, made: Built | list[Built], model: nn.Module) -> None:
        """Put the parameters of an optimizer into the groups that its table asks for, and say which these are."""
        grouping = Grouping.read(asked, owner)
        if grouping is None:
            return
        assert isinstance(made, Built)
        if made.entry is None:
            raise UsageError(f"{owner} is a finished object, which has its own groups of parameters")
        traits = made.entry.component.traits or shown_traits(made.value)
        found = regroup(made.value, grouping, traits, model, self.bare_loss, name=made.name, owner=owner)
        self.groups += [(owner, group) for group in found]
        self.messages += [f"{owner} group {group.describe()}" for group in shown(found)]
        table = self.plan["optimizer"] if owner == "optimizer" else self.plan["optimizer"][owner.partition(".")[2]]
        table.update({key: asked[key] for key in KEYS if key in asked})

    def _check_trained(self) -> None:
        """A live optimizer has the run's parameters; one that takes the model knows nothing of the loss's."""
        if self._is_live("optimizer"):
            self._check_live_optimizer()
        if self.values["optimizer_traits"].built_from != "model" or not isinstance(self.bare_loss, nn.Module):
            return
        if any(param.requires_grad for param in self.bare_loss.parameters()):
            raise UsageError(
                f"optimizer '{self.name('optimizer')}' trains the model alone, and loss '{self.name('loss')}' has "
                "parameters of its own\n  use an optimizer that takes parameters, such as adam"
            )

    def _is_live(self, kind: str) -> bool:
        made = self.built.get(kind)
        return isinstance(made, Built) and made.entry is None

    def _check_live_optimizer(self) -> None:
        """Refuse a live optimizer of other parameters, and say which of the run's it leaves alone."""
        groups = getattr(self.values["optimizer"], "param_groups", ())
        its = {id(param) for group in groups for param in group["params"]}
        own = [id(param) for param in self.values["params"]]
        if its - set(own):
            raise UsageError(
                f"optimizer '{self.name('optimizer')}' has parameters that are not among the model's\n"
                "  give it model.parameters() of the very model that the run is given, "
                'or let the run make it: optimizer={"use": torch.optim.SGD, "lr": 0.1}'
            )
        if left := len(own) - len(its):
            self.messages.append(f"warning: the optimizer has only {len(its)} of {len(own)} tensors; {left} stay")

    def _check_has_rate(self) -> None:
        """A scheduler changes a learning rate, and some optimizers find their step sizes themselves."""
        optimizer = self.values.get("optimizer")
        if any(group.get("lr") is None for group in getattr(optimizer, "param_groups", ())):
            raise UsageError(
                f"optimizer '{self.name('optimizer')}' has no learning rate that scheduler '{self.name('scheduler')}' "
                "could change\n  leave the scheduler out, or use an optimizer with a learning rate, such as adam"
            )

    def _make_judges(self) -> None:
        """Metrics, trainer and evaluator."""
        values = self.values
        metrics = self._make_many("metric", self.plan["metric"])
        self._check_forms(metrics)
        self._take(
            "metric",
            metrics={built.name: self._as_metric(built) for built in metrics},
            metric_forms={built.name: getattr(_traits_of(built), "predictions", "raw") for built in metrics},
        )
        if self.plan["accumulate"] > 1:
            self._need_from_trainer("accumulate", "add up the gradients of several batches", "--accumulate 1")
        values["scaler"] = make_scaler(self.plan["precision"], self.strategy.device)
        if values["scaler"] is not None:
            self._need_from_trainer("scaler", "scale the loss, as fp16 needs it", "--precision bf16")
        self._take("trainer", trainer=self._make("trainer"))
        if "dataset" not in self.plan:
            self.data.trainer = values["trainer"]
        if self._links["judged"] != self._links["trained"]:  # from here on all judge the dataset's own targets
            self._take("loss", loss=self._linked(self._links["judged"]))
        self._take("evaluator", evaluator=self._make("evaluator") if "evaluator" in self.plan else None)

    def _check_forms(self, metrics: Sequence[Built]) -> None:
        """Refuse metrics of labels or probabilities where nobody knows how to read them from what the model gives."""
        for built in metrics if self.task is None else ():
            form = getattr(_traits_of(built), "predictions", "raw")
            if form != "raw":
                raise UsageError(
                    f"metric '{built.name}' judges {form}, and dataset '{self.name('dataset')}' does not say what its "
                    "targets are, so none can be read from what the model gives\n  let the dataset say it: "
                    "wf_base.Dataset(targets=...); or use a metric of what the model gives"
                )

    def _needed_everywhere(self, hook: Built) -> bool:
        """Whether it changes gradients that several processes share."""
        return self.strategy.world_size > 1 and bool(listeners("on_gradients_ready", [hook.value]))

    def _as_metric(self, built: Built) -> Any:
        """A metric as the evaluator uses it, whoever made it."""
        if built.name == LOSS:
            raise UsageError("a metric named 'loss' would hide the loss among the figures\n  give it another name")
        larger = getattr(_traits_of(built), "larger_is_better", None)
        return as_metric(built.value, f"metric '{built.name}'", self.strategy.world_size, larger)

    def _make_hooks(self, *, quiet: bool) -> None:
        asked = self.plan["hook"]
        made = self._make_many("hook", [own_table("hook", table) for table in asked])
        self.on_error = {}
        for built, table, said in zip(made, self.plan["hook"], asked, strict=True):
            default = "disable" if _watches(built) and not self._needed_everywhere(built) else "stop"
            self.on_error[built.name] = policy = on_error_of(said, default)
            if policy != default:
                self._check_disable(built)
                table["on_error"] = policy
        if quiet:  # the run file says what was asked for, not what this terminal shows
            self.built["hook"] = [built for built in made if built.name != "progress"]

    def _check_disable(self, hook: Built) -> None:
        """A hook that changes gradients must not fall away in one process alone: the weights would drift apart."""
        if self.on_error[hook.name] == "disable" and self._needed_everywhere(hook):
            raise UsageError(
                f"hook '{hook.name}' changes the gradients: with several processes it cannot have "
                'on_error = "disable", or the weights could drift apart\n  let its failure end the run'
            )

    def _wanted_by(self, kind: str) -> set[str | None]:
        """The run values that the component of a kind takes."""
        entry = self.builder.entry(kind, self.plan[kind]["use"])
        return {param.source for param in self.builder.params(entry)} if entry else {"optimizer", "scheduler"}

    def _need_from_trainer(self, value: str, what: str, without: str) -> None:
        """Refuse a trainer that does not take a run value without which it cannot do what the run asks for."""
        if value not in self._wanted_by("trainer"):
            raise UsageError(
                f"trainer '{self.name('trainer')}' cannot {what}: it takes no '{value}'\n"
                f"  train with {without}, or with --trainer supervised"
            )

    def _traits(self, kind: str, use: Any = None) -> Any:
        entry = self.builder.entry(kind, self.plan[kind]["use"] if use is None else use)
        return entry.component.traits if entry else None

    def _claim_run_dir(self, name: str) -> Path:
        """Make the run directory of a run without one; the first process does, and the others hear its name."""
        claimed, error = None, None
        if self.strategy.rank == 0:
            try:
                claimed = claim(Path("runs") / (name or self._default_name()))
                self.give_up = weakref.finalize(self, claimed.give_up)  # also when it is never fitted
            except DataError as failure:
                error = failure
        name = self._of_the_first("" if claimed is None else claimed.path.name)
        if not name:
            raise error or DataError("process 0 could not make the run directory; its own message says why")
        return Path("runs") / name

    def of_the_first(self, figures: dict[str, Any]) -> dict[str, Any]:
        """Figures of the first process, on every process."""
        return dict(json.loads(self._of_the_first(json.dumps(figures))))

    def _of_the_first(self, text: str) -> str:
        """A text of the first process, on every process."""
        if self.strategy.world_size == 1:
            return text
        own = text.encode() if self.strategy.rank == 0 else b""
        found = self.strategy.gather(torch.tensor(list(own), dtype=torch.uint8, device=self.strategy.device))
        return bytes(found.tolist()).decode()

    def _default_name(self) -> str:
        last = self.name("optimizer" if "optimizer" in self.built else "trainer")
        date = datetime.now().strftime("%Y%m%d-%H%M%S")
        names = [self.name(kind) for kind in ("dataset", "loss") if kind in self.plan]
        return "-".join((date, *names, last)).replace("/", "-")


def prepare_for_trainer(builder: Builder, table: Mapping[str, Any], model: nn.Module) -> list[nn.Module]:
    """Let the trainer's class prepare the model, where it has `prepare_model`, see `wf.protocols.Trainer`.

    Returns:
        The parts that stay in evaluation mode, where it gives them.
    """
    stays = _called_with_options(builder, table, "prepare_model", model)
    return [*stays] if isinstance(stays, (list, tuple)) else []


def _called_with_options(builder: Builder, table: Mapping[str, Any], method: str, *given: Any) -> Any:
    """Call a static method of the trainer's class with those of the trainer's options that it names; None for none."""
    entry = builder.entry("trainer", table["use"])
    function = getattr(entry.load(), method, None) if entry else getattr(table["use"], method, None)
    if function is None or (entry is None and given):
        return None
    wanted = list(inspect.signature(function).parameters.values())[len(given) :]
    options = builder.options(entry, table, [param.name for param in wanted]) if entry else {}
    lacks = [param.name for param in wanted if param.default is param.empty and param.name not in options]
    if lacks:
        name = entry.component.name if entry else name_of_live(table["use"])
        raise UsageError(
            f"trainer '{name}' has no option '{lacks[0]}', which its {method} takes\n"
            f"  add it to the parameters of __init__, or give it a default in {method}"
        )
    return function(*given, **options)


def _samples_of(dataset: Dataset) -> Samples | None:
    """What the samples are before any transform, where it can be told without reading one."""
    train = dataset.train
    if not isinstance(train, TensorSamples) or not isinstance(train.inputs, Tensor) or dataset.collate is not None:
        return None
    return Samples.of_shape(train.inputs.shape[1:], tokens=bool(dataset.vocabulary))


def _samples_of_shape(shape: Sequence[int] | None, *, tokens: bool) -> Samples | None:
    return None if shape is None else Samples.of_shape(shape, tokens=tokens)


def _fold(text: str | None) -> tuple[int, int] | None:
    """Read ``2/5``, the second of five folds, as (1, 5)."""
    if text is None:
        return None
    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise UsageError(f"fold '{text}' is not of the form k/K, for example 2/5")
    return int(number) - 1, int(total)


def _traits_of(built: Built) -> Any:
    return built.entry.component.traits if built.entry else None


def _watches(built: Built) -> bool:
    """Whether a hook only tells."""
    traits = _traits_of(built)
    return isinstance(traits, HookTraits) and traits.watches


def _ignore_index(loss: Mapping[str, Any]) -> int:
    """The class index that the loss of a table leaves out; torch's default where it does not say."""
    value = loss.get("ignore_index", getattr(loss.get("use"), "ignore_index", -100))
    return value if isinstance(value, int) else -100


def _moves_alone(built: Built) -> str | None:
    """What to tell of a transform of images whose targets are of no known kind."""
    traits = _traits_of(built)
    if is_joint(built.value) or not isinstance(traits, TransformTraits) or not traits.moves:
        return None
    follow = (
        "masks follow, boxes and points do not" if hasattr(built.value, "on_masks") else "the targets do not follow"
    )
    return f"transform '{built.name}' moves the pixels of images: {follow}"


def _may_move(built: Built) -> str | None:
    """What to tell of a transform of images that have masks."""
    traits = _traits_of(built)
    if isinstance(traits, TransformTraits) and (traits.moves is not None or traits.masks or traits.joint):
        return None
    if hasattr(built.value, "on_masks") or is_joint(built.value):
        return None
    return (
        f"transform '{built.name}' does not say whether it moves pixels: the masks stay where they are\n"
        "  TransformTraits(moves=False) says that it does not"
    )


def own_table(kind: str, table: Any) -> Any:
    """A component's table without the keys that wf itself reads."""
    return {"use": table["use"], **options_of(kind, table)} if isinstance(table, Mapping) else table


def transform_of(built: Built, leaf: str | None) -> tuple[Any, ...]:
    """A transform as `wf_data.serving.RunData` takes it."""
    traits, table = _traits_of(built), {**built.table(), **({} if leaf is None else {"leaf": leaf})}
    takes = traits.inputs if isinstance(traits, TransformTraits) else "any"
    return built.value, is_train_only(built), leaf, takes, table


def is_train_only(built: Built) -> bool:
    """Whether a transform says that it is for training alone."""
    traits = _traits_of(built)
    return isinstance(traits, TransformTraits) and traits.train_only
