"""A built run, and the operations on it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

import wf_base  # noqa: F401 - first: it says what keeps torch from being imported

# isort: split
import torch
from torch import nn

from wf.blame import naming_culprit
from wf.engine.cadence import Every, Steps
from wf.engine.events import listeners
from wf.engine.figures import Figures
from wf.engine.loop import Loop
from wf.errors import (
    UsageError,
)
from wf.protocols import Strategy
from wf.registry import Registry
from wf_base import tree
from wf_base.task import names_of
from wf_base.training.modes import evaluated
from wf_base.tree import Tree
from wf_building.builder import Builder
from wf_building.built import Built
from wf_building.resolver import Resolver
from wf_processes.together import telling_others
from wf_run.assembly import Assembly
from wf_run.directory.hook_failures import HookFailures
from wf_run.directory.kept import load_chosen
from wf_run.directory.rundir import RunDirectory
from wf_run.parts.anomalies import detecting
from wf_run.parts.determinism import deterministic
from wf_run.parts.device import current
from wf_run.parts.groups import Made
from wf_run.parts.precision import check_tf32, default_dtype, products_in
from wf_run.resuming import again, drift
from wf_run.runfiles.runfile import RunFile
from wf_run.runfiles.said import naming_place, without_said
from wf_run.summary import Summary, summarize
from wf_run.time_limit import seconds_of
from wf_run.training import Training
from wf_run.using.network import TrainedModel
from wf_run.using.trained import Trained, drawn
from wf_run.views.choosing import Drawn, fitting, write
from wf_run.views.page import page_of
from wf_run.views.plotting import draw

_LOG = logging.getLogger("wf")


class Experiment:
    """A run with all its components built and connected.

    Each operation ends the processes that it started. A ``with`` block calls `close` at its end.

    Args:
        plan: The run file, as `wf_run.planning.plan.prepare` gives it.
        registry: Where names are looked up.
        run_dir: The run directory; None for a new one below ``runs/``, which is created at once, so that no other
            process takes it, and removed if the run does not begin.
        default_name: The name of the new run directory, numbered if it is taken; by default made of date, dataset,
            loss and optimizer.
        subfolder: A subfolder of the new run directory, for one of several runs that belong together.
        save: Whether to write files; False makes no checkpointer and no run directory.
        folders: Where relative paths of the run file are looked up when they are not below the working directory.
        quiet: Leave out the progress hook.
        initialize: Load the weights that the run file's ``init_from`` names; False if a checkpoint is loaded later.
        learned_in: The directory of this run if it has begun before: the data are then read as they were.
        restored: Whether `restore` will be called, so that models need not look for pretrained weights.
        resume_if_there: Let `fit` resume the run in `run_dir`, if there is one.

    Raises:
        UsageError: For names, options, values or combinations that cannot work.
        DataError: When the data are missing or invalid.
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        registry: Registry,
        *,
        run_dir: Path | None = None,
        default_name: str = "",
        subfolder: str = "",
        save: bool = True,
        folders: Sequence[Path] = (),
        quiet: bool = False,
        initialize: bool = True,
        learned_in: Path | None = None,
        resume_if_there: bool = False,
        restored: bool = False,
    ) -> None:
        if initialize:
            refuse_inference_mode()
        if plan.get("max_time") is not None:
            with naming_place(plan):
                seconds_of(plan["max_time"])  # raises if it is invalid
        self._dtype = torch.get_default_dtype()
        there = again.run_in(run_dir) if resume_if_there and save else None
        kernels = deterministic(on=plan.get("deterministic", False))
        with telling_others(), naming_culprit(registry.plugins), naming_place(plan), kernels:
            self._parts = Assembly(
                plan,
                registry,
                run_dir=run_dir,
                default_name=default_name,
                subfolder=subfolder,
                save=save,
                folders=folders,
                quiet=quiet,
                initialize=initialize and there is None,
                learned_in=learned_in if there is None else there.path,
                restored=restored,
            )
        self._there = there
        self._at_work = False
        self.restored = ""
        """The checkpoint that `restore` loaded."""
        self.loop: Loop = self._parts.loop
        """The loop that trains it."""
        self._training = Training(self._parts, self._working)
        if self.run_dir is not None and initialize and self._training.rebuild.by != "components":
            self.messages.append(self._training.rebuild.words)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop data workers, and leave the strategy's process group."""
        self._parts.close()

    @property
    def plan(self) -> RunFile:
        """The resolved run file, as a dict."""
        return without_said(self._parts.plan)

    @property
    def messages(self) -> list[str]:
        """Messages about the choices that wf made for the user."""
        return self._parts.messages

    @property
    def data(self) -> Any:
        """The splits, served in batches."""
        return self._parts.data

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that can be evaluated."""
        return self._parts.evaluated

    @property
    def strategy(self) -> Strategy:
        """The strategy."""
        return self._parts.strategy  # type: ignore[no-any-return]  # made by name

    @property
    def run_dir(self) -> Path | None:
        """The run directory; None if nothing is written."""
        return self._parts.run_dir

    @property
    def model(self) -> nn.Module:
        """The model, without the strategy's wrapper."""
        return self.strategy.bare(self._parts.values["model"])  # type: ignore[no-any-return]  # a protocol of Any

    def _repr_html_(self) -> str:
        """The figures, the outcome, and the output of its hooks, for notebooks."""
        return page_of(self)

    def summary(self) -> Summary:
        """The model's layers with shapes, parameters and operations; changes neither random streams nor weights."""
        data = self.data
        batch = next(iter(data.batches("train", 1)), None) if data is not None and "train" in data.splits else None
        with self._working():
            return summarize(self.model, batch)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The records of ``metrics.jsonl`` so far."""
        return self._training.recorder.records

    @property
    def metrics(self) -> dict[str, Any]:
        """The last figures of each split, such as ``test/accuracy``."""
        return self.loop.metrics

    @property
    def figures(self) -> list[str]:
        """Its figures, such as ``test/accuracy``, and patterns such as ``train/loss/*`` for undeclared names."""
        return self._parts.figures()

    @property
    def disabled_hooks(self) -> list[dict[str, Any]]:
        """The failed hooks without which the run continued, as in ``manifest.json``."""
        failures: HookFailures = self._parts.values["run.hook_failures"]
        return failures.disabled

    @property
    def repeatable(self) -> bool:
        """Whether the run file alone repeats the run: it uses no live objects."""
        return self._parts.repeatable

    @property
    def total_steps(self) -> int:
        """The number of updates of the whole run."""
        return int(self._parts.values["total_steps"])

    def check_folds(self, num_folds: int) -> None:
        """Refuse a cross-validation with a fold that could not be trained, before training this one."""
        self._parts.check_folds(num_folds)

    def state_in(self, run_dir: Path) -> Mapping[str, Any]:
        """The newest state that another run of this run file saved in its directory."""
        return self._parts.keeper(run_dir).load("latest")

    def name(self, kind: str) -> str:
        """The display name of the component of a kind."""
        return self._parts.name(kind)

    @property
    def values(self) -> Resolver:
        """The run values, with their providers and askers."""
        return self._parts.values

    @property
    def builder(self) -> Builder:
        """The builder of its components."""
        return self._parts.builder

    @property
    def reader(self) -> Any:
        """The dataset's reader of files; None without one."""
        return self._parts.reader

    def made(self) -> Mapping[str, Built | list[Built]]:
        """The components of the run by kind; a list for kinds with several."""
        return self._parts.built

    @property
    def groups(self) -> Sequence[tuple[str, Made]]:
        """The groups of parameters that the run file asks for, each with the name of its optimizer."""
        return self._parts.groups

    def run_file(self, **changed: Any) -> str:
        """The resolved run file as TOML, with other values of some keys."""
        return self._parts.run_file(**changed)

    def fit(self, *, resume: bool = False, allow_drift: Collection[str] = (), hooks: Sequence[Any] = ()) -> Experiment:
        """Train until the run file's length is reached; the run directory is made first.

        Args:
            resume: Continue from the newest checkpoint of the run directory.
            allow_drift: Names of conditions (`wf.declarations.conditions`) that may differ from those of the run, or
                ``all``.
            hooks: Objects that listen to the loop besides the hooks of the run; the run file does not know them.

        Returns:
            Itself.

        Raises:
            DivergedError: If a loss is not finite.
            InterruptedRun: On SIGINT, SIGTERM or SIGHUP, after a checkpoint was committed.
            UsageError: If the run's state cannot be saved, the conditions of a resumed run differ, or another process
                trains in the run directory.
        """
        with telling_others():
            self._fit_alone(resume=resume, allow_drift=allow_drift, hooks=hooks)
        return self

    def _fit_alone(self, *, resume: bool, allow_drift: Collection[str], hooks: Sequence[Any]) -> None:
        """As `fit`, without telling other processes of a failure."""
        refuse_inference_mode()
        if self._there is not None and not resume:
            again.check_same(self, self._there)
            if again.is_done(self, self._there):
                again.show_done(self, self._there)
                self._training.recorder.records = self._there.records()
                return
            resume = True
        self._training.run(resume=resume, allow_drift=allow_drift, hooks=hooks)

    def dry_run(self) -> dict[str, Any]:
        """Train two steps and evaluate once, without writing anything. Returns the figures."""
        loop, data = self.loop, self.data
        splits = [name for name in self.plan["eval_splits"] if name in self.splits] or self.splits[-1:]
        loop.checkpointer, loop.eval_every, loop.final_splits = None, Every(2, "steps"), tuple(splits)
        check_tf32(self.plan["precision"], self.strategy.device)
        with self._working():
            loop.run(data, Steps(2))
        return self.metrics

    def try_steps(self, num: int, hooks: Sequence[Any]) -> Loop:
        """Train some steps with these hooks and the run's hooks that change gradients, without its other hooks.

        Nothing is evaluated or written. Returns the loop.
        """
        loop = self.loop
        loop.checkpointer, loop.eval_every, loop.final_splits, loop.keep = None, None, (), "last"
        changing = [hook for hook in self._parts.hooks if listeners("on_gradients_ready", [hook])]
        loop.hooks = (*changing, *hooks)
        check_tf32(self.plan["precision"], self.strategy.device)
        with self._working():
            return loop.run(self.data, Steps(num))

    def evaluate(self, split: str = "test") -> dict[str, Any]:
        """The evaluator's figures for one split with the current weights, without figures of hooks.

        Raises:
            UsageError: If there is no such split, or nothing to evaluate.
        """
        if self._parts.evaluator is None:
            raise UsageError(
                f"trainer '{self.name('trainer')}' makes its samples itself, and the run has no evaluator\n"
                "  name an evaluator that needs no data: --evaluator NAME"
            )
        with self._working():
            return Figures(self._parts.evaluator.evaluate(split), split, "the evaluator").values

    def predict(self, inputs: str | Tree = "test") -> Tree:
        """The model outputs for a split or for raw inputs, in evaluation mode, on the CPU.

        Args:
            inputs: A split's name, or inputs ``[N, ...]`` as the dataset's samples hold them; the run's transforms are
                applied to them.
        """
        if not isinstance(inputs, str):
            return self.trained().predict(inputs)
        batches, task = self.data.batches(inputs), self._parts.values["outputs"]
        with evaluated(self.model), torch.inference_mode(), self._working():
            outputs = tree.gathered(
                (task.trimmed(tree.call(self.model, batch.inputs), batch.inputs), batch.size) for batch in batches
            )
            outputs = task.in_units(outputs)
        return tree.map_leaves(lambda leaf: leaf.cpu().clone(), outputs)

    def trained(self) -> Trained:
        """Its model with the transforms, for raw inputs."""
        parts = self._parts
        network = TrainedModel(self.model, self.data.inputs, self.data.steps)
        return Trained(network, parts.describe_data(), self.plan, parts.builder, parts.reader)

    def labels(self, predictions: Tree) -> list[Any] | None:
        """The class names of predictions ``[N, ...]``; None for a regression and for embeddings.

        One name per sample; for multilabel a list of the classes with a probability above 0.5; for masks rows of
        names, one per pixel.
        """
        values = self._parts.values
        return names_of(values["outputs"], predictions, self.data.class_names, values.need)

    def draw(self, split: str, predictions: Tree) -> list[Any]:
        """Pictures of the predictions for a split, one per sample.

        Raises:
            UsageError: If the task of the run draws none.
        """
        samples, outputs = self.data.samples(split), self._parts.values["outputs"]
        inputs = tree.Rows(samples[number][0] for number in range(len(samples)))
        return drawn(outputs, inputs, predictions, self.data.class_names)

    def plot(self, format: str = "svg") -> list[Path]:
        """Draw all plots that fit the run's task into ``plots/`` of its directory; returns the files.

        Args:
            format: ``svg`` or ``png``.

        Raises:
            UsageError: If nothing has been written yet.
        """
        if self.run_dir is None or not (self.run_dir / "manifest.json").exists():
            raise UsageError("there is nothing to plot yet: fit the run first, with a run directory")
        drawn = self.draw_plots()
        for problem in (*drawn.missing, *drawn.broken):
            _LOG.warning("not drawn: %s", problem)
        return write(drawn.charts, self.run_dir, format)

    def draw_plots(self, names: Sequence[str] = ()) -> Drawn:
        """The charts of the run with its current weights.

        Args:
            names: The plots; empty for all that fit the run's task.
        """
        parts, values = self._parts, self._parts.values
        task = values.get("run.task")
        entries = fitting(parts.registry, task.name if task else None, names)
        data = None if values.get("run.served") is None else self.data
        tables = parts.plan.get("plot", [])
        return draw(parts.builder, entries, tables, data, self.model, around=self._working)

    def check_data(self) -> None:
        """Refuse to evaluate a run on other data than its own.

        Raises:
            UsageError: With the checksums, as when `fit` resumes a run.
        """
        assert self.run_dir is not None
        before = RunDirectory.open(self.run_dir).manifest.get("dataset")
        if before is None:
            _LOG.warning("run %s has no record of its data, so they are not compared", self.run_dir)
            return
        found = drift.compare({"dataset": before}, {"dataset": self._parts.fingerprint()})
        if found:
            raise UsageError(drift.refusal_of_data(found, str(self.run_dir)))

    def restore(self, which: str = "latest") -> Experiment:
        """Load a checkpoint's weights: model, loss and fitted transforms.

        Args:
            which: ``kept``, ``latest``, ``best`` or a checkpoint's name.

        Returns:
            Itself.
        """
        if self.loop.checkpointer is None:
            raise UsageError("this run was built without a checkpointer (save=False)")
        state, self.restored = load_chosen(self.loop.checkpointer, which, self.loop.keep)
        saved = state["parts"]
        for name, part in self.loop.parts.items():
            if name in saved and name.partition("/")[0] in ("model", "loss", "transform"):
                part.load_state_dict(saved[name])
        return self

    def _detecting(self) -> AbstractContextManager[None]:
        """The context for ``--detect-anomaly``."""
        fp16 = self._parts.values.get("scaler") is not None
        return detecting(self.loop, self.model, on=self.plan.get("detect_anomaly", False), forward_only=fp16)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Compute in the run's precision; name the plugin behind an error; end data workers afterwards."""
        within, self._at_work = self._at_work, True
        try:
            plugins = self._parts.registry.plugins
            device = current(self.strategy.device)
            precision = products_in(self.plan["precision"], self.strategy.device)
            kernels = deterministic(on=self.plan.get("deterministic", False))
            with device, precision, kernels, default_dtype(self._dtype), naming_culprit(plugins), self._detecting():
                yield
        finally:
            self._at_work = within
            if not within:
                self.data.close()


def refuse_inference_mode() -> None:
    """Refuse to build a run, or to train, inside ``torch.inference_mode()``.

    Raises:
        UsageError: With advice.
    """
    if torch.is_inference_mode_enabled():
        raise UsageError(
            "nothing can be trained inside torch.inference_mode(), where tensors have no gradients\n"
            "  build the run outside of that block"
        )
