"""A run, built and ready: what can be done with it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import wf_base  # noqa: F401 - first: it says what keeps torch from being imported

# isort: split
import torch
from torch import nn

from wf.blame import FAILURES, naming_culprit
from wf.declarations.conditions import CONDITIONS
from wf.engine.cadence import Epochs, Every, Steps
from wf.engine.figures import Figures
from wf.engine.loop import Loop
from wf.errors import (
    DataError,
    InterruptedRun,
    NothingSavedError,
    SaveError,
    UsageError,
    WfError,
)
from wf.protocols import Stateful, Strategy
from wf.registry import Registry
from wf_base import tree
from wf_base.random import TrainStream
from wf_base.task import names_of
from wf_base.training.modes import evaluated
from wf_base.tree import Tree
from wf_building.builder import Built
from wf_building.resolver import Resolver
from wf_processes.failures import advice, is_memory, reason_of, status_of
from wf_processes.signals import STOPPING, signals_stop
from wf_processes.together import telling_others
from wf_run import memory, trust
from wf_run.api import read
from wf_run.assembly import Assembly
from wf_run.bundle.rebuild import rebuild_of
from wf_run.bundle.writing import Outcome, write_bundle
from wf_run.description import FILE
from wf_run.directory.hook_failures import HookFailures
from wf_run.directory.kept import load_chosen
from wf_run.directory.lock import locked
from wf_run.directory.rundir import Recorder, RunDirectory
from wf_run.directory.save_failures import SaveFailures
from wf_run.parts.determinism import deterministic
from wf_run.parts.groups import Made
from wf_run.parts.optimizers import OptimizerModes
from wf_run.parts.precision import check_tf32, default_dtype, products_in
from wf_run.resuming import again, drift
from wf_run.resuming.collective import collective
from wf_run.resuming.conditions import conditions_of, keys_of, own_files
from wf_run.resuming.restoring import check_records, check_restored, check_savable
from wf_run.runfiles.references import resolve
from wf_run.runfiles.runfile import RunFile, dump
from wf_run.runfiles.said import naming_place, without_said
from wf_run.time_limit import TimeLimitReached, limited, seconds_of
from wf_run.trained import OWN, PLOTS, Trained, TrainedModel, drawn

_LOG = logging.getLogger("wf")


class Experiment:
    """A run, every component made and wired.

    What it does ends the processes that it started for that. In a ``with`` block, `close` is called at its end.

    Args:
        plan: The run file, as `wf_run.plan.prepare` gives it.
        registry: Where names are looked up.
        run_dir: The run directory; None for one of its own below ``runs/``, which is made at once, so that no other
            process takes it, and removed when the run does not begin.
        default_name: What that one is called, numbered where it is taken; by default after date, dataset, loss and
            optimizer.
        subfolder: Of the default run directory, for one of several runs that belong together.
        save: Whether anything is written; False makes no checkpointer and no run directory.
        folders: Where relative paths of the run file are looked up when they are not below the working directory.
        quiet: Leave out the progress hook.
        initialize: Take the weights that the run file's ``init_from`` names; False where a checkpoint's will follow.
        learned_in: The directory of the run that this is, where it has begun before: its data are read as they were.
        restored: Whether `restore` will be called, so that models need not look for pretrained weights.
        resume_if_there: Let `fit` go on with the run that is in `run_dir`, where there is one.

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
                seconds_of(plan["max_time"])  # or it is refused
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
        self._recorder = Recorder(None)
        self._drift: list[drift.Drift] = []
        self._at_work = False
        self._trains_on_from: int | None = None
        self.restored = ""
        """The checkpoint that `restore` loaded."""
        rank = None if self.strategy.world_size == 1 else self.strategy.rank
        self._failures = HookFailures(self._parts.built, self._parts.on_error, rank, self._parts.watching())
        self._save_failures = SaveFailures(self.plan["on_checkpoint_error"])
        self._modes = self._make_modes()
        self._rebuild = rebuild_of(self._parts)
        if self.run_dir is not None and initialize and self._rebuild.by != "components":
            self.messages.append(self._rebuild.words)
        try:
            self.loop = self._make_loop()
            """The loop that trains it."""
        except BaseException:
            self.close()
            raise

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
        """The choices that wf made for the user, in words."""
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
        """Where and how it runs."""
        return self._parts.strategy  # type: ignore[no-any-return]  # made by name

    @property
    def run_dir(self) -> Path | None:
        """The run directory, None where nothing is written."""
        return self._parts.run_dir

    @property
    def model(self) -> nn.Module:
        """The model, without the strategy's wrapper."""
        return self.strategy.bare(self._parts.values["model"])  # type: ignore[no-any-return]  # a protocol of Any

    @property
    def history(self) -> list[dict[str, Any]]:
        """The records of ``metrics.jsonl`` so far."""
        return self._recorder.records

    @property
    def metrics(self) -> dict[str, Any]:
        """The last figures of each split, as ``test/accuracy``."""
        return self.loop.metrics

    @property
    def figures(self) -> list[str]:
        """The figures that it will have, as ``test/accuracy``, and patterns as ``train/loss/*`` for names that nobody
        says before there are some."""
        return self._parts.figures()

    @property
    def disabled_hooks(self) -> list[dict[str, Any]]:
        """The hooks that failed and without which the run went on, as ``manifest.json`` has them."""
        return self._failures.disabled

    @property
    def repeatable(self) -> bool:
        """Whether the run file alone repeats the run: it uses no live objects."""
        return all(built.repeatable for built in self._parts.all())

    @property
    def total_steps(self) -> int:
        """The updates of the whole run."""
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
        """The run values, who provides them and who asked for them."""
        return self._parts.values

    def made(self) -> Mapping[str, Built | list[Built]]:
        """The components of the run by kind; a list where there may be several."""
        return self._parts.built

    @property
    def groups(self) -> Sequence[tuple[str, Made]]:
        """The groups of parameters that the run file asks for, each with the name of its optimizer."""
        return self._parts.groups

    def run_file(self) -> str:
        """The resolved run file as TOML."""
        live = "" if self.repeatable else "This run used live objects: it cannot be repeated from this file alone."
        return dump(self._parts.plan, live)

    def fit(self, *, resume: bool = False, allow_drift: Collection[str] = ()) -> Experiment:
        """Train until the run file's length is reached; the run directory is made first.

        Args:
            resume: Go on from the newest checkpoint of the run directory.
            allow_drift: Names of conditions (`wf.declarations.conditions`) that may differ from those of the run, or
                ``all``.

        Returns:
            Itself.

        Raises:
            DivergedError: When a loss is not finite.
            InterruptedRun: On SIGINT, SIGTERM or SIGHUP, after a checkpoint was committed.
            UsageError: When the run's state cannot be saved, the run would not go on as it began, or another process
                trains in the run directory.
        """
        with telling_others():
            self._fit_alone(resume=resume, allow_drift=allow_drift)
        return self

    def _fit_alone(self, *, resume: bool, allow_drift: Collection[str]) -> None:
        """As `fit`; other processes hear nothing of what fails."""
        refuse_inference_mode()
        if self._there is not None and not resume:
            again.check_same(self, self._there)
            if again.is_done(self, self._there):
                again.show_done(self, self._there)
                self._recorder.records = self._there.records()
                return
            resume = True
        self._check_together(resume=resume)
        check_tf32(self.plan["precision"], self.strategy.device)
        failure = None if resume else self._failure_of_state()
        with (
            self._working(),
            signals_stop(self._stop_by_signal, at_once=self.strategy.world_size == 1) as received,
            self._held_directory(resume=resume) as directory,
            limited(self.plan.get("max_time"), self._stop_by_time) as is_over,
        ):
            self._fit(directory, received, is_over, failure, resume=resume, allow_drift=allow_drift)

    def _check_together(self, *, resume: bool) -> None:
        """All processes resume a run, or none does."""
        if self.strategy.world_size > 1 and self.strategy.agree(resume) and self.strategy.agree(not resume):
            one, other = ("a run", "none") if resume else ("no run", "one")
            raise UsageError(
                f"process {self.strategy.rank} finds {one} in {self.run_dir}, and another process {other}"
                "\n  the processes of a run need one file system"
            )

    def dry_run(self) -> dict[str, Any]:
        """Train two steps and evaluate once; writes nothing. Returns the figures."""
        loop, data = self.loop, self.data
        splits = [name for name in self.plan["eval_splits"] if name in self.splits] or self.splits[-1:]
        loop.checkpointer, loop.eval_every, loop.final_splits = None, Every(2, "steps"), tuple(splits)
        check_tf32(self.plan["precision"], self.strategy.device)
        with self._working():
            loop.run(data, Steps(2))
        return self.metrics

    def evaluate(self, split: str = "test") -> dict[str, Any]:
        """The evaluator's figures for one split with the current weights, without those of hooks.

        Raises:
            UsageError: If there is no such split, or nothing to evaluate.
        """
        if self._parts.evaluator is None:
            raise UsageError(
                f"trainer '{self.name('trainer')}' makes its samples itself, and the run has no evaluator\n"
                "  train it with one that needs no data: --evaluator NAME"
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
        """Its model with the transforms before it, for raw inputs."""
        parts = self._parts
        network = TrainedModel(self.model, self.data.inputs, self.data.steps)
        return Trained(network, parts.describe_data(), self.plan, parts.builder, parts.reader)

    def labels(self, predictions: Tree) -> list[Any] | None:
        """The class names of predictions ``[N, ...]``, None for a regression and for embeddings.

        One name a sample; for multilabel a list of those that hold, with a probability above 0.5; for masks rows of
        names, one a pixel.
        """
        values = self._parts.values
        return names_of(values["outputs"], predictions, self.data.class_names, values.need)

    def draw(self, split: str, predictions: Tree) -> list[Any]:
        """Pictures of the predictions for a split, one a sample.

        Raises:
            UsageError: Where the task of the run draws none.
        """
        samples, outputs = self.data.samples(split), self._parts.values["outputs"]
        inputs = tree.Rows(samples[number][0] for number in range(len(samples)))
        return drawn(outputs, inputs, predictions, self.data.class_names)

    def plot(self, format: str = "svg") -> list[Path]:
        """Draw the curves of the run into ``plots/`` of its directory; returns the files.

        Args:
            format: ``svg`` or ``png``.

        Raises:
            UsageError: When nothing has been written yet.
        """
        if self.run_dir is None or not (self.run_dir / "manifest.json").exists():
            raise UsageError("there is nothing to plot yet: fit the run first, with a run directory")
        plots = self._parts.registry.own_choice("hook", PLOTS)
        return list(self._parts.builder.build("hook", {"use": plots, "format": format}).value.draw())

    def check_data(self) -> None:
        """Refuse to judge a run by other data than those with which it began.

        Raises:
            UsageError: With the checksums, as `fit` says them of a run that goes on.
        """
        assert self.run_dir is not None
        before = RunDirectory.open(self.run_dir).manifest.get("dataset")
        if before is None:
            _LOG.warning("run %s does not say on which data it was trained, so they are not compared", self.run_dir)
            return
        found = drift.compare({"dataset": before}, {"dataset": self._parts.fingerprint()})
        if found:
            raise UsageError(drift.refusal_of_data(found, str(self.run_dir)))

    def restore(self, which: str = "latest") -> Experiment:
        """Put back a checkpoint's weights: model, loss and fitted transforms.

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

    def _make_loop(self) -> Loop:
        parts, plan, values = self._parts, self._parts.plan, self._parts.values
        monitor = parts.monitor()
        return Loop(
            values["trainer"],
            parts.evaluator,
            collective(parts.checkpointer, parts.strategy),
            parts.hooks,
            log_every=plan["log_every"],
            eval_every=parts.eval_every,
            eval_splits=[name for name in plan["eval_splits"] if name in parts.evaluated],
            final_splits=parts.evaluated,
            checkpoint_every=parts.checkpoint_every,
            keep=plan["keep"],
            monitor=monitor.figure,
            larger_is_better=monitor.larger_is_better,
            parts=self._saved_parts(),
            agree=bool if parts.strategy.world_size == 1 else parts.strategy.agree,
            name_of=self._failures.name_of,
            hook_failed=self._failures,
            watches=self._failures.watches,
            save_failed=self._save_failures,
            modes=self._modes,
            of_first=parts.of_the_first,
        )

    def _make_modes(self) -> Any:
        """Separate evaluation weights: a `Modes` with a state, or None."""
        values = self._parts.values
        traits = values.get("optimizer_traits")
        found: list[tuple[str, Any]] = []
        if traits is not None and traits.modes:
            found = [(f"optimizer '{self.name('optimizer')}'", OptimizerModes(values["optimizer"]))]
        found += [
            (f"hook '{built.name}'", built.value.modes)
            for built in self._parts.several("hook")
            if getattr(built.value, "modes", None) is not None
        ]
        if len(found) > 1:
            names = " and ".join(name for name, _ in found)
            raise UsageError(f"{names} both say which weights are judged and kept\n  leave out all but one of them")
        return found[0][1] if found else None

    @contextmanager
    def _working(self) -> Iterator[None]:
        """In the run's precision; errors name the plugin whose code raised them, and no process lives on."""
        within, self._at_work = self._at_work, True
        try:
            precision = products_in(self.plan["precision"], self.strategy.device)
            kernels = deterministic(on=self.plan.get("deterministic", False))
            with precision, kernels, default_dtype(self._dtype), self._naming_culprit():
                yield
        finally:
            self._at_work = within
            if not within:
                self.data.close()

    def _naming_culprit(self) -> AbstractContextManager[None]:
        return naming_culprit(self._parts.registry.plugins)

    def _saved_parts(self) -> dict[str, Stateful]:
        """The contents of a checkpoint besides the loop's state."""
        values, loss = self._parts.values, self._parts.bare_loss
        saved: dict[str, Any] = {"model": self.model, "random": TrainStream()}
        saved |= {name: values[name] for name in ("optimizer", "scheduler", "scaler") if values.get(name) is not None}
        saved |= {f"optimizer/{name}": one for name, one in values.get("optimizers", {}).items()}
        if isinstance(loss, nn.Module) and loss.state_dict():
            saved["loss"] = loss
        if self._modes is not None:
            saved["modes"] = self._modes
        if self._parts.stateful_samples is not None:
            saved["dataset"] = self._parts.stateful_samples
        saved |= self._parts.builder.states(self.model.modules())
        for number, own in enumerate(self._parts.data.own_transforms):
            saved[f"{OWN}{number}"] = own
        for number, built in enumerate(self._parts.several("transform")):
            if isinstance(built.value, Stateful):
                saved[f"transform/{number}-{built.name}"] = built.value
        return saved

    def _failure_of_state(self) -> BaseException | None:
        """Refuse a run whose state must be saved but cannot; returns the error of a part, which ends the run."""
        if self.loop.checkpointer is None:
            return None
        try:
            check_savable(self.loop, self._parts.may_fail())
        except FAILURES as error:
            if isinstance(error, WfError):
                raise
            return error
        return None

    def _put_back(self, state: Mapping[str, Any], directory: RunDirectory | None, allowed: Collection[str]) -> None:
        """Restore a checkpoint, verify it, and record changed conditions."""
        self.loop.load_state_dict(state, partial=drift.is_allowed("state", allowed))
        self.loop.ended = state.get("ended")
        found = [*self._drift, *check_restored(self.loop, state, allowed)]
        if directory is None or not found:
            return
        for one in found:
            _LOG.warning("%s", one)
        before = directory.manifest.get("drift", [])
        directory.update_manifest(drift=[*before, drift.record(found, self.loop.progress.step, _now())])

    def _saved_state(self, allow_drift: Collection[str]) -> Mapping[str, Any] | None:
        """The newest checkpoint; None where the run ended before its first one.

        Raises:
            UsageError: When the run was made under other conditions, or is to become longer or shorter and its
                optimizer or scheduler follows its length, or its records are not those of the checkpoint.
            DataError: When the run is done and its checkpoints are gone.
        """
        assert self.run_dir is not None
        assert self.loop.checkpointer is not None
        manifest, now = RunDirectory.open(self.run_dir).manifest, self._parts.values["total_steps"]
        before, fixed = manifest.get("total_steps"), self._follow_length()
        if before not in (None, now) and fixed:
            done = manifest.get("status") == "done"
            verb = "follows" if len(fixed) == 1 else "follow"
            raise UsageError(
                f"{' and '.join(fixed)} {verb} the run's length, {before:,} steps, and cannot be stretched to {now:,}"
                + ("" if done else f"\n  go on to the end it has: wf resume {self.run_dir}")
                + f"\n  train anew: wf run {self.run_dir / 'run.toml'} --epochs N --name NAME"
            )
        drift.check_names(allow_drift)
        if not self._parts.resumes_exactly:
            _LOG.warning("dataset %s is iterable: the samples before are skipped", self.name("dataset"))
        try:
            state = self.loop.checkpointer.load("latest")
        except NothingSavedError as error:
            if manifest.get("status") == "done":
                raise DataError(
                    f"there is nothing to go on from: run {self.run_dir} is done, and its checkpoints are gone"
                    f"\n  train anew: wf run {self.run_dir / 'run.toml'} --name NAME"
                ) from error
            free = [name for name in CONDITIONS if name != "dataset"]
            drift.check(manifest, conditions_of(self._parts), [*free, *allow_drift], str(self.run_dir))
            _LOG.warning("%s; it begins anew, under the conditions of now", error)
            self._parts.initialize_anew()
            return None
        conditions = conditions_of(self._parts)
        self._drift = drift.check(manifest, conditions, allow_drift, str(self.run_dir))
        if unknown := drift.unknown_in(manifest):
            _LOG.warning("the run does not say what it was made under, so it is not compared: %s", ", ".join(unknown))
        if lost := drift.lost(manifest, conditions):
            _LOG.warning("no plugin here reads these conditions, so they are not compared: %s", ", ".join(lost))
        check_records(self.run_dir / "metrics.jsonl", state, allow_drift)
        return self._to_train_on(manifest, state)

    def _to_train_on(self, manifest: Mapping[str, Any], state: Mapping[str, Any]) -> Mapping[str, Any]:
        """The state without the end that a part of the run decided on, where the user asks for more than that."""
        step, ended = state["progress"]["step"], state.get("ended")  # which older checkpoints do not have
        is_asked = manifest.get("status") == "done" or manifest.get("total_steps") != self._parts.values["total_steps"]
        if ended is None or not (is_asked or manifest.get("trains_on_from") == step):
            return state
        _LOG.info("the run had ended: %s; it trains on from step %s", ended, f"{step:,}")
        self._trains_on_from = step
        return {**state, "ended": None}

    def _follow_length(self) -> list[str]:
        """The parts that depend on the length of the run, in words."""
        kinds = [kind for kind in ("optimizer", "scheduler") if self._parts.follows_length(kind, self.plan.get(kind))]
        return [f"{kind} '{self.name(kind)}'" for kind in kinds]

    def _stop_by_signal(self, reason: str) -> None:
        """End after the present step. The checkpoint is what matters now: a last evaluation is left to the resumed run.

        Several processes must take part in an evaluation together, and a signal may reach only one of them.
        """
        if self.strategy.world_size == 1:
            self.loop.final_splits = ()
        self.loop.stop(reason, for_good=False)

    def _raise_signal(self, received: Sequence[signal.Signals]) -> None:
        """End as interrupted where any of the processes got a signal."""
        for number in STOPPING:
            if self.strategy.agree(number in received[:1]):
                raise InterruptedRun(f"stopped by {number.name} after step {self.loop.progress.step}", number)

    def _stop_by_time(self, reason: str) -> bool:
        """End after the present step as a signal would; False where the run is through with its steps."""
        until, progress = self._until(), self.loop.progress
        if (progress.step if isinstance(until, Steps) else progress.epoch) >= until.num:
            return False
        self._stop_by_signal(reason)
        return True

    def _raise_time_limit(self, stopped: bool) -> None:
        """End as interrupted where the time of any process was over before the run was."""
        limit = self.plan.get("max_time")
        if limit is not None and self.strategy.agree(stopped):
            raise TimeLimitReached(f"stopped after step {self.loop.progress.step:,}: max_time {limit} is over")

    def _until(self) -> Epochs | Steps:
        return Steps(self.plan["steps"]) if self.plan["steps"] is not None else Epochs(self.plan["epochs"])

    def _until_words(self) -> str:
        until = self._until()
        unit = "step" if isinstance(until, Steps) else "epoch"
        return f"{until.num} {unit}{'' if until.num == 1 else 's'}"

    def _fit(
        self,
        directory: RunDirectory | None,
        received: Sequence[signal.Signals],
        is_over: Callable[[], bool],
        failure: BaseException | None,
        *,
        resume: bool,
        allow_drift: Collection[str],
    ) -> None:
        """Train, or end at once with the `failure` that a part has raised already."""
        state = self._saved_state(allow_drift) if resume else None  # before the directory is changed: it may refuse
        if directory is not None:
            self._begin(directory, resume=resume)
        self._save_failures.begin(directory)
        step = self.loop.progress.step if state is None else state["progress"]["step"]
        try:
            self._recorder = Recorder(directory.path if directory else None, self._save_failures)
            self.loop.hooks = (*self._parts.hooks, self._recorder)
            self._failures.begin(self.loop, directory, step)
            with telling_others(), self._naming_culprit():
                if failure is not None:
                    raise failure
                if state is not None:
                    self._put_back(state, directory, allow_drift)
                elif resume:
                    self._recorder.load_state_dict(Recorder(None).state_dict())
                self.loop.run(self.data, self._until())
                self._raise_signal(received)
                self._raise_time_limit(is_over())
        except BaseException as error:
            self._note_failure(directory, error)
            if isinstance(error, InterruptedRun):
                self.strategy.agree(False)  # when one process leaves torchrun ends the others, which may be writing
            raise
        finally:
            self._recorder.close()
        self._write_bundle(directory)
        self._note_end(directory, "done", self.loop.stop_reason or f"{self._until_words()} done")

    def _write_bundle(self, directory: RunDirectory | None) -> None:
        """Write ``bundle/``; the run is done without it, too."""
        if directory is None:
            return
        loop = self.loop
        made = Outcome(
            rebuild=self._rebuild,
            states=loop.parts,
            metrics=self.metrics,
            steps=loop.progress.step,
            epochs=loop.progress.epoch,
            best=loop.keep == "best" and loop.best is not None,
        )
        try:
            write_bundle(self._parts, directory, made)
        except (SaveError, UsageError) as error:
            _LOG.warning("the run is done, and its bundle could not be written: %s", error)

    @contextmanager
    def _held_directory(self, *, resume: bool) -> Iterator[RunDirectory | None]:
        """The run directory, locked; None where this process writes none."""
        if self.run_dir is None or self.strategy.rank != 0:
            yield None
            return
        if resume:
            directory = RunDirectory.open(self.run_dir)
            with locked(directory.lock_file):
                yield directory
        else:
            with RunDirectory.begin(self.run_dir) as directory:
                yield directory

    def _begin(self, directory: RunDirectory, *, resume: bool) -> None:
        directory.write_run_file(self.run_file())
        length = {"total_steps": self._parts.values["total_steps"], "follow_length": self._follow_length()}
        started: dict[str, Any] = {} if resume else {"started": _now(), "repeatable": self.repeatable}
        if self._parts.init_from is not None:  # also if a resumed run starts over
            started["init_from"] = self._parts.init_from
        if self._trains_on_from is not None:
            started["trains_on_from"] = self._trains_on_from
        made = self._manifest(directory)
        trust.record(directory.path, [_source(directory)], self._parts.registry)
        directory.update_manifest(status="running", reason=None, **length, **started, **made)
        if not (directory.path / FILE).exists():  # otherwise the run was resumed
            self._parts.describe_data().write(directory.path, self.data.sample_ids)

    def _manifest(self, directory: RunDirectory) -> dict[str, Any]:
        return {
            **conditions_of(self._parts),
            **({"keys": keys} if (keys := keys_of(self._parts)) else {}),
            "samples": {one: self.data.num_samples(one) for one in (*self.data.splits, *self.data.sets)},
            "served_from": self.data.places,
            "exact_resume": self._parts.resumes_exactly,
            "code": [directory.keep_code(file) for file in own_files(self._parts)],
            "rebuild": self._rebuild.by,
        }

    def _note_failure(self, directory: RunDirectory | None, error: BaseException) -> None:
        """Say what can be done, and write down how the run ended; the disk that may be full must not hide why."""
        if is_memory(error):
            error.add_note(memory.remedies(error, self.plan, self.loop, self.strategy.device, self._options("model")))
        elif advice(error):
            error.add_note(advice(error))
        try:
            self._note_end(directory, status_of(error), reason_of(error))
        except DataError as another:
            error.add_note(f"nor could the end of the run be written down: {another}")

    def _options(self, kind: str) -> list[str]:
        """The options of the component of a kind that it might be given."""
        entry = self._parts.entry(kind)
        return [param.name for param in self._parts.builder.params(entry)] if entry else []

    def _note_end(self, directory: RunDirectory | None, status: str, reason: str) -> None:
        if directory is None:
            return
        progress = self.loop.progress
        directory.update_manifest(
            status=status,
            reason=reason,
            ended=_now(),
            epochs=progress.epoch,
            steps=progress.step,
            metrics=self.metrics,
            recorded=self.loop.recorded,
            notes=self.loop.notes,
            rollbacks=self.loop.rollbacks,
            failed_saves=self._save_failures.failed,
        )


def refuse_inference_mode() -> None:
    """Refuse to build a run, or to train, where torch keeps no track of what gradients need.

    Raises:
        UsageError: Saying what to leave out.
    """
    if torch.is_inference_mode_enabled():
        raise UsageError(
            "nothing can be trained inside torch.inference_mode(), where tensors have no gradients\n"
            "  leave the block before the run is built"
        )


def _source(directory: RunDirectory) -> trust.Source:
    """The run file of a directory, and the folders for its relative paths."""
    document, folders = read(directory.run_file)
    return resolve(document, lenient=True), folders


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
