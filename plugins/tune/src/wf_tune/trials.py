"""The trials of a search, stored in Optuna's database."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakSet, finalize

import optuna
from optuna.exceptions import DuplicatedStudyError, OptunaError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from wf.engine.figures import is_number
from wf.errors import DataError, UsageError, closest
from wf_tune.space import Space, Value

HEARTBEAT_SEC = 30
"""Interval in seconds of the heartbeats of the trials that a machine trains."""
GRACE_SEC = 300
"""A trial without a heartbeat for this many seconds is restarted by another machine."""
_SURPLUS = "surplus"
"""The status of a trial beyond the total, started because two machines asked at the same time."""
_DEFINITION, _TOTAL = "wf:search", "wf:trials"
"""The study's user attributes for the definition of the search and its number of trials."""
_ENDED = "ended"
"""The trial's user attribute for how it ended."""
_POLL_SEC = 1.0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial as stored in the database."""

    number: int
    point: Mapping[str, Value]
    state: str
    """``running``, ``complete``, ``pruned`` or ``failed``."""
    value: float | None = None
    """The figure; for a pruned trial the figure of its last evaluation."""
    status: str = ""
    """How its runs ended: ``done``, ``diverged``, ``failed``, ..."""
    reason: str = ""
    seconds: float | None = None
    same_as: int | None = None
    """The number of an earlier trial with the same settings, whose figure this trial takes."""
    worker: str = ""
    """The directory that trains it."""
    run_dir: str = ""
    steps: Sequence[int] = ()
    """The reported evaluations."""
    id: int = field(repr=False)


class Trials:
    """The trials of a search.

    Args:
        url: The database.
        name: The name of its study.
    """

    def __init__(self, url: str, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.url, self.name, self.shown = url, name, shown(url)
        self._is_shared = not url.startswith("sqlite:")
        with self._reached(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the heartbeat is experimental
            beats: dict[str, Any] = {}
            if self._is_shared:
                beats = {
                    "heartbeat_interval": HEARTBEAT_SEC,
                    "grace_period": GRACE_SEC,
                    "heartbeat_stale_trial_callback": RetryHeartbeatStaleTrialCallback(),
                }
            if not self._is_shared and os.path.exists(self.shown):
                self.url = of_file(Path(self.shown))
            self._storage = RDBStorage(self.url, **beats)
        _engines.add(self._storage.engine)
        finalize(self, self._storage.engine.dispose)

    @classmethod
    def names(cls, url: str) -> list[str]:
        """The names of the searches in a database."""
        with cls(url, "")._reached():
            return sorted(optuna.get_all_study_names(cls(url, "")._storage))

    @classmethod
    def has(cls, url: str, name: str) -> bool:
        """Whether a database has a study; an SQLite file that is not there has none, and is not created."""
        return (not url.startswith("sqlite:") or os.path.exists(shown(url))) and cls(url, name).exists

    def release(self) -> None:
        """Close the connections to the database: the next access opens it again, and notices if it is gone."""
        self._storage.engine.dispose()

    @property
    def is_shared(self) -> bool:
        """Whether several machines can use the database."""
        return self._is_shared

    def create(
        self, definition: Mapping[str, Any], *, larger_is_better: bool, first: Mapping[str, Value] | None, total: int
    ) -> None:
        """Create the study.

        Args:
            definition: The definition of the search, for machines that join it.
            larger_is_better: The direction of the figure.
            first: The settings to try first.
            total: The number of trials.

        Raises:
            UsageError: If the database already has a study of this name.
        """
        direction = optuna.study.StudyDirection.MAXIMIZE if larger_is_better else optuna.study.StudyDirection.MINIMIZE
        try:
            with self._reached():
                study = optuna.create_study(storage=self._storage, study_name=self.name, direction=direction)
                study.set_user_attr(_TOTAL, total)
                study.set_user_attr(_DEFINITION, json.dumps(definition))
                if first is not None:
                    study.enqueue_trial(dict(first))
        except DuplicatedStudyError:
            raise UsageError(
                f"{self.shown} already has a search named '{self.name}'\n"
                f"  to join it: wf tune --join {self.shown} --name {self.name}\n"
                "  to start another one: --name NAME"
            ) from None

    @property
    def exists(self) -> bool:
        """Whether the database has the study."""
        with self._reached():
            return self.name in optuna.get_all_study_names(self._storage)

    @property
    def definition(self) -> dict[str, Any]:
        """The definition of the search.

        Raises:
            DataError: If the study is missing or was not created by ``wf tune``.
        """
        with self._reached():
            found = self._study.user_attrs.get(_DEFINITION)
        if found is None:
            raise DataError(f"study '{self.name}' in {self.shown} was not created by wf tune")
        return dict(json.loads(found))

    @property
    def total(self) -> int:
        """The number of trials on all machines together."""
        with self._reached():
            return int(self._study.user_attrs[_TOTAL])

    @total.setter
    def total(self, number: int) -> None:
        with self._reached():
            if self._study.user_attrs.get(_TOTAL) != number:
                self._study.set_user_attr(_TOTAL, number)

    def wait(self, say: Callable[[str], None]) -> bool:
        """Wait for the trials of other machines; returns whether one of them must be restarted here.

        A trial must be restarted if its machine has sent no heartbeat for `GRACE_SEC`.
        """
        told: list[int] = []
        while True:
            found = self.all()
            if any(one.state == "waiting" for one in found):
                return True
            running = [one.number for one in found if one.state == "running"]
            if not running:
                return False
            if told != running:
                told = running
                say(f"waiting for trial {', '.join(map(str, running))} on other machines")
            self.release()
            time.sleep(_POLL_SEC)
            with self._reached(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fail_stale_trials(self._study)

    @cached_property
    def _study(self) -> optuna.Study:
        with self._reached():
            names = optuna.get_all_study_names(self._storage)
            if self.name not in names:
                near = closest(self.name, names) or sorted(names)[:5]
                listed = f"available: {', '.join(near)}" if near else "it has no searches"
                raise DataError(f"there is no search '{self.name}' in {self.shown}\n  {listed}")
            return optuna.load_study(study_name=self.name, storage=self._storage)

    def all(self) -> list[Trial]:
        """The trials by number, without restarted and surplus ones."""
        with self._reached():
            found = self._study.get_trials(deepcopy=False)
        return [_trial(one) for one in found if _counts(one)]

    def take(self, space: Space, sampler: Any, pruner: Any, worker: str, total: int) -> Trial | None:
        """Start the next trial; returns None if the search has all its trials.

        Args:
            space: The search space.
            sampler: An Optuna sampler.
            pruner: An Optuna pruner.
            worker: The directory that trains it.
            total: The number of trials of the search.
        """
        with self._reached(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `beat` records the heartbeat; enqueued parameters may be out of range
            if self._is_shared:
                fail_stale_trials(self._study)
            found = [one for one in self._study.get_trials(deepcopy=False) if _counts(one)]
            waiting = any(one.state == TrialState.WAITING for one in found)
            if not waiting and len(found) >= total:
                return None
            self._study.sampler, self._study.pruner = sampler, pruner
            trial = self._study.ask()
            self._begin(trial, worker)
            if self._is_shared and not waiting:
                found = self._study.get_trials(deepcopy=False)
                before = [one for one in found if _counts(one) and one.number < trial.number]
                if len(before) >= total:  # another machine asked at the same time
                    trial.set_user_attr(_ENDED, {"status": _SURPLUS})
                    self._study.tell(trial, state=TrialState.FAIL)
                    return None
            space.suggest(trial)
            return _trial(self._storage.get_trial(trial._trial_id))

    def take_up(self, number: int, space: Space, sampler: Any, pruner: Any, worker: str) -> Trial:
        """Resume a trial; settings that it does not have yet are chosen."""
        with self._reached(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.sampler, self._study.pruner = sampler, pruner
            trial = optuna.Trial(self._study, self._one(number).id)
            self._begin(trial, worker)
            space.suggest(trial)
            return self._one(number)

    def _begin(self, trial: optuna.Trial, worker: str) -> None:
        trial.set_user_attr("worker", worker)
        if self._is_shared:
            self._storage.record_heartbeat(trial._trial_id)

    def beat(self, trials: Sequence[Trial]) -> None:
        """Record a heartbeat for these trials."""
        if not self._is_shared:
            return
        with self._reached():
            for one in trials:
                self._storage.record_heartbeat(one.id)

    def report(self, trial: Trial, step: int, value: float, pruner: Any) -> bool:
        """Report the figure of an evaluation or repeat; returns whether the trial should stop."""
        with self._reached(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.pruner = pruner
            asked = optuna.Trial(self._study, trial.id)
            if step not in asked._get_latest_trial().intermediate_values:
                asked.report(value, step)
            return asked.should_prune()

    def tell(self, trial: Trial, state: str, sampler: Any, *, value: float | None = None, **said: Any) -> bool:
        """Record how a trial ended; returns False if another machine has restarted it.

        Args:
            trial: The trial.
            state: ``complete``, ``pruned`` or ``failed``.
            sampler: An Optuna sampler, which may learn from the result.
            value: The figure of a complete trial.
            said: Further fields of `Trial`.
        """
        ended = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[state]
        with self._reached(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.sampler = sampler
            if self._storage.get_trial(trial.id).state != TrialState.RUNNING:
                return False
            self._storage.set_trial_user_attr(trial.id, _ENDED, said)
            self._study.tell(trial.number, value if state == "complete" else None, ended)
            return True

    def copy_reports(self, trial: Trial, other: Trial) -> None:
        """Copy the reported evaluations of another trial with the same settings."""
        with self._reached():
            found = self._storage.get_trial(other.id).intermediate_values
            for step, value in found.items():
                self._storage.set_trial_intermediate_value(trial.id, step, value)

    def reports(self, trial: Trial) -> dict[int, float]:
        """The reported figures by evaluation."""
        with self._reached():
            return dict(self._storage.get_trial(trial.id).intermediate_values)

    def importances(self) -> dict[str, float]:
        """The share of the figure's variance that each setting explains, largest first; empty if unknown.

        By fANOVA (Hutter et al. 2014, "An Efficient Approach for Assessing Hyperparameter Importance"), over the
        settings that all trials have. PED-ANOVA, Optuna's default, gave 59 % to two settings without effect after 30
        trials.
        """
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        with self._reached(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = get_param_importances(self._study, evaluator=FanovaImportanceEvaluator(seed=0))
            except (ValueError, RuntimeError):  # too few trials, or equal figures
                return {}
            return {name: float(value) for name, value in found.items()}

    def _one(self, number: int) -> Trial:
        return _trial(self._study.get_trials(deepcopy=False)[number])

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turn errors of the database into a `DataError` or `UsageError` that names it."""
        try:
            yield
        except DuplicatedStudyError:
            raise
        except (SQLAlchemyError, OptunaError, KeyError, OSError) as error:
            self.__dict__.pop("_study", None)
            if isinstance(error, ArgumentError | NoSuchModuleError):
                raise _not_a_url(self.url) from error
            raise DataError(f"the storage {self.shown} cannot be used: {_why(error, self.url)}") from error
        except ImportError as error:
            raise UsageError(
                f"the storage {self.shown} needs a driver that is not installed: {error}\n"
                "  for PostgreSQL: pip install 'psycopg[binary]'"
            ) from error


_engines: WeakSet[Engine] = WeakSet()


def _release_all() -> None:
    """Close all connections before a process is forked, which must not share them."""
    for engine in list(_engines):
        engine.dispose()


if hasattr(os, "register_at_fork"):  # not on every platform
    os.register_at_fork(before=_release_all)


def of_line(url: str) -> str:
    """The URL of a database as the user writes it, with the absolute path of an SQLite file.

    Raises:
        UsageError: If it is no URL, or that of a database in memory.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _not_a_url(url) from None
    if parsed.get_backend_name() != "sqlite" or str(parsed.database).startswith("file:"):
        return url
    if parsed.database in (None, "", ":memory:"):
        raise UsageError(f"the storage {url} is in memory and ends with its process\n  write sqlite:///FILE")
    return f"sqlite:///{os.path.abspath(str(parsed.database))}"


def shown(url: str) -> str:
    """The URL of a database with its password hidden; the path of an SQLite file."""
    if url.startswith("sqlite:"):
        return url.removeprefix("sqlite:///file:").removeprefix("sqlite:///").partition("?")[0]
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise _not_a_url(url) from None


def without_password(url: str) -> str:
    """The URL of a database without its password, to be written into a file."""
    return (
        url
        if url.startswith("sqlite:")
        else make_url(url)._replace(password=None).render_as_string(hide_password=False)
    )


def of_file(file: Path) -> str:
    """The URL of an existing SQLite file; a deleted file is not created again."""
    return f"sqlite:///file:{os.path.abspath(file)}?mode=rw&uri=true"


def _not_a_url(url: str) -> UsageError:
    scheme = url.partition(":")[0]
    return UsageError(
        f"the storage is not the URL of a supported database (it begins with '{scheme}')\n"
        "  write for example postgresql+psycopg://USER@HOST/DATABASE or sqlite:///FILE"
    )


def _why(error: Exception, url: str) -> str:
    if url.startswith("sqlite:///file:") and not os.path.exists(shown(url)):
        return "the file is gone"
    cause = error.__cause__ or getattr(error, "orig", None) or error
    origin = getattr(cause, "orig", None) or cause
    text = str(origin).strip().splitlines()
    words = text[0] if text else type(origin).__name__
    password = None if url.startswith("sqlite:") else make_url(url).password
    return words.replace(str(password), "***") if password else words


def _counts(one: FrozenTrial) -> bool:
    """Whether a trial counts: it was neither restarted under another number nor surplus."""
    if one.state != TrialState.FAIL:
        return True
    return one.user_attrs.get(_ENDED, {}).get("status") not in (None, _SURPLUS)


def _trial(one: FrozenTrial) -> Trial:
    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    said = one.user_attrs.get(_ENDED, {})
    return Trial(
        number=one.number,
        point=dict(one.params),
        state=names.get(one.state, "waiting" if one.state == TrialState.WAITING else "running"),
        value=one.value if one.values and is_number(one.values[0]) else None,
        status=str(said.get("status", "")),
        reason=str(said.get("reason", "")),
        seconds=said.get("seconds"),
        same_as=said.get("same_as"),
        worker=str(one.user_attrs.get("worker", "")),
        run_dir=str(said.get("run_dir", "")),
        steps=tuple(one.intermediate_values),
        id=one._trial_id,
    )
