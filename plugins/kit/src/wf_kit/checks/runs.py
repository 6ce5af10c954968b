"""Checks of every component in a real run, and of loop parts when a run stops or fails."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from wf.blame import blamed
from wf.declarations.kinds import KINDS
from wf.engine.events import EVENTS, listeners
from wf.protocols import Stateful
from wf.traits import LossTraits
from wf_base.shards import whole_state
from wf_charts import PlotTraits
from wf_kit.checks.states import saved
from wf_kit.kit import ALL_KINDS, Defect, NotChecked, Subject, check, expect, told
from wf_kit.making import as_by_torchrun, makes_its_samples, settings
from wf_run.directory.recorder import Recorder
from wf_run.experiment import Experiment
from wf_run.planning.plan import prepare
from wf_run.runfiles.runfile import load
from wf_run.views.choosing import RUN

LOOP = ("trainer", "evaluator", "checkpointer", "hook", "strategy")
FAULT = "failure planted by the kit"
STOP_AT = 7
"""In the middle of the second epoch, which has five steps."""
BEFORE = (
    *("made", "loss-finite", "model-forward", "optimizer-descends", "scheduler-rates", "metric-traits"),
    *("transform-shape", "dataset-spec", "trainer-step", "evaluator-pure", "checkpointer-exact", "strategy-alone"),
    "hook-events",
)


@check("run", ALL_KINDS, after=BEFORE, fix="run it yourself: wf run with this component, --epochs 2")
def run(subject: Subject) -> None:
    """It takes part in a short run with finite losses, and rebuilding from the run's file gives the same file."""
    if not KINDS[subject.kind].of_runs or (isinstance(subject.traits, PlotTraits) and subject.traits.of != RUN):
        raise NotChecked("no run is made of its kind")
    if subject.kind in KINDS.on_demand and not subject.run:
        wanted = f'[tool.wf.check.run."{subject}"] model = "NAME"'
        raise NotChecked(f"nothing in the kit's own run uses it; name a part that does: {wanted}")
    with _folder() as folder:
        with _experiment(subject, folder) as experiment:
            experiment.fit()
            losses = [record["loss"] for record in experiment.history if "loss" in record]
            expect(losses, "no step was taken")
            wrong = [loss for loss in losses if not math.isfinite(loss)]
            expect(not wrong, f"{len(wrong)} of {len(losses)} losses of its run are not finite")
        if experiment.repeatable:
            _check_file(subject, folder / "run" / "run.toml")


@check("run-resumes", *LOOP, after=("made", "run"), fix="put everything that the next step depends on into state_dict")
def run_resumes(subject: Subject) -> None:
    """A run that is stopped in the middle of an epoch and resumed ends with the bits of an uninterrupted one."""
    with _folder() as folder, _experiment(subject, folder, epochs=3) as experiment:
        straight = _state(experiment.fit())
    with _folder() as folder:
        with _experiment(subject, folder, stop_at=STOP_AT, epochs=3) as experiment:
            experiment.fit()
        with _experiment(subject, folder, stop_at=STOP_AT, epochs=3) as experiment:
            resumed = _state(experiment.fit(resume=True))
    for name, wanted in straight.items():
        expect(resumed.get(name) == wanted, f"after a stop and a resume, {name} differs from an uninterrupted run")


@check(
    "run-errors",
    *LOOP,
    after=("made", "run"),
    fix="let errors through; catch only what you can handle, and re-raise the rest",
)
def run_errors(subject: Subject) -> None:
    """Errors of parts that it calls end the run unchanged; its own errors have a note with its plugin's name."""
    if makes_its_samples(subject) and all(param.source != "loss" for param in subject.params):
        raise NotChecked("it takes no loss that could raise")
    with _folder() as folder, _experiment(subject, folder, loss=_failing()) as experiment:
        judges = subject.kind == "evaluator"
        error = _error_of(lambda: experiment.evaluate("validation") if judges else experiment.fit())
        if error is None and subject.kind in ("trainer", "evaluator"):
            raise NotChecked("it does not call the loss, so errors of the loss do not reach it")
        _expect_error(error)
        if subject.kind in ("trainer", "evaluator"):
            _expect_name(subject, error)
    if subject.kind == "hook":
        _check_hook(subject)


def _check_hook(subject: Subject) -> None:
    """Check that an error in its first event carries its name."""
    with _folder() as folder, _experiment(subject, folder) as experiment:
        hook = experiment.loop.hooks[-1]
        event = next(event for event in EVENTS if listeners(event, [hook]))
        with mock.patch.object(hook, event, side_effect=RuntimeError(FAULT), autospec=True):
            error = _error_of(experiment.fit)
        _expect_error(error)
        _expect_name(subject, error)


def _failing() -> Any:
    """A loss that fails in code without a plugin, so that the error is attributed to its caller."""

    def loss(predictions: Any, targets: Any) -> Any:
        """Only the signature is used."""

    return mock.create_autospec(loss, side_effect=RuntimeError(FAULT))


def _error_of(act: Callable[[], object]) -> BaseException | None:
    try:
        act()
    except Exception as error:
        return error
    return None


def _expect_error(error: BaseException | None) -> None:
    """Check that the run ended with the planted error, and with no other error from the component."""
    if error is None:
        raise Defect("it swallows an error: the run continues")
    expect(FAULT in str(error), f"the error was replaced by another, {told(error)}")
    notes = [note for note in getattr(error, "__notes__", []) if "failed too" in note]
    expect(not notes, f"its own on_exception fails: {'; '.join(notes)}")


def _expect_name(subject: Subject, error: BaseException | None) -> None:
    plugin = subject.entry.plugin
    names = [subject.use.rpartition(":")[0]] if plugin is None else [plugin.name, plugin.distribution or plugin.module]
    assert error is not None
    expect(any(name in blamed(error) for name in names), f"its error does not name its plugin: {told(error)}")


@contextlib.contextmanager
def _experiment(subject: Subject, folder: Path, *, stop_at: int | None = None, **changes: Any) -> Iterator[Experiment]:
    """A real run in a folder, ready to be fitted."""
    given = settings(subject, **changes)
    tasks = [entry.component.traits for entry in subject.registry.entries("task")]
    special = [form for task in tasks for form in getattr(task, "predictions", ())]
    if _wants(subject) in special and "model" not in subject.run:
        raise NotChecked(
            f'the kit has no model of {_wants(subject)}; name one: [tool.wf.check.run."{subject}"] model = "NAME"'
        )
    if stop_at is not None:
        given["hook"] = [{"use": "kit-stop@wf-kit", "step": stop_at}, *given["hook"]]
    with (
        as_by_torchrun(subject),
        contextlib.chdir(folder),
        Experiment(prepare(given, subject.registry), subject.registry, run_dir=folder / "run") as experiment,
    ):
        yield experiment


def _wants(subject: Subject) -> str:
    return subject.traits.predictions if isinstance(subject.traits, LossTraits) else ""


def _check_file(subject: Subject, file: Path) -> None:
    with (
        as_by_torchrun(subject),
        Experiment(prepare(load(file), subject.registry), subject.registry, save=False) as again,
    ):
        pass
    expect(
        again.run_file() == file.read_text(encoding="utf-8"),
        "rebuilt from its run.toml, the run writes a different one",
    )


def _state(experiment: Experiment) -> dict[str, bytes]:
    """The final state of a run, by name, as in a checkpoint."""
    loop = experiment.loop
    hooks = [hook for hook in loop.hooks if not isinstance(hook, Recorder)]
    parts = {**loop.parts, **{type(part).__name__: part for part in (loop.trainer, *hooks)}}
    states = {
        f"the state of {name}": dict(part.state_dict()) for name, part in parts.items() if isinstance(part, Stateful)
    }
    figures = {"the evaluated figures": loop.metrics, "the position": asdict(loop.progress)}
    return {name: saved(whole_state(state)) for name, state in {**states, **figures}.items()}


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)
