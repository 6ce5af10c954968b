"""Trials in their database: drawing, resuming, reporting once, and a lost database."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wf.errors import DataError, UsageError
from wf_tune.engine.pruners import Hyperband, Median, No, Wilcoxon
from wf_tune.engine.searchers import CMAES, QMC, TPE, Grid, Random
from wf_tune.space import Space, parse
from wf_tune.trials import Trials, of_file, of_line, shown, without_password

SPACE = Space(
    [
        parse("optimizer=adam,sgd"),
        parse("optimizer.lr=log(1e-4,1)"),
        parse("optimizer.momentum=uniform(0,0.9)"),
        parse("batch_size=int(8,64)"),
    ],
    lambda kind, name: {"adam": ("lr",), "sgd": ("lr", "momentum")}[name],
)
SEARCHERS: dict[str, Callable[[], Any]] = {
    "tpe": lambda: TPE(startup_trials=2),
    "tpe, together": lambda: TPE(startup_trials=2, multivariate=True),
    "cma-es": lambda: CMAES(startup_trials=1),
    "random": Random,
    "qmc": QMC,
}


def new_trials(file: Path, *, first: dict[str, Any] | None = None, larger: bool = True) -> Trials:
    if not file.exists():
        file.write_bytes(b"")
    trials = Trials(of_file(file), "one")
    trials.create({"of": "this test"}, larger_is_better=larger, first=first, total=50)
    return Trials(of_file(file), "one")


def figure(point: Any) -> float:
    return (1.0 if point["optimizer"] == "adam" else 0.5) - float(point["optimizer.lr"])


def carry_out(trials: Trials, searcher: Any, number: int, space: Space = SPACE) -> list[dict[str, Any]]:
    """Trials without training."""
    pruner = No().make()
    while (
        taken := trials.take(space, draws := searcher.make(7, len(trials.all()), space), pruner, "me", number)
    ) is not None:
        trials.tell(taken, "complete", draws, value=figure(taken.point), status="done")
    return [dict(one.point) for one in trials.all()]


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_search_that_was_interrupted_goes_on_with_the_same_draws(name: str, tmp_path: Path) -> None:
    searcher = SEARCHERS[name]()
    straight = carry_out(new_trials(tmp_path / "straight.db"), searcher, 8)
    broken = new_trials(tmp_path / "broken.db")
    carry_out(broken, searcher, 3)
    again = carry_out(Trials(of_file(tmp_path / "broken.db"), "one"), SEARCHERS[name](), 8)
    assert again == straight
    assert len({tuple(point.items()) for point in straight}) == 8
    assert all(("optimizer.momentum" in point) == (point["optimizer"] == "sgd") for point in straight)


def test_cma_es_refuses_a_space_without_enough_numbers() -> None:
    space = Space([parse("optimizer=adam,sgd"), parse("batch_size=int(8,64)")], lambda *_: ())
    with pytest.raises(UsageError, match="two or more numbers that every trial has, and this search has 1"):
        CMAES().make(1, 0, space)


def test_a_grid_has_every_combination_once(tmp_path: Path) -> None:
    space = SPACE.on_grid(2)
    found = carry_out(new_trials(tmp_path / "grid.db"), Grid(points=2), 4 + 8, space)
    assert {tuple(point.items()) for point in found} == {tuple(point.items()) for point in space.points()}
    assert len(found) == 12


def test_the_first_trial_has_the_requested_settings(tmp_path: Path) -> None:
    first = {"optimizer": "sgd", "optimizer.lr": 0.5, "optimizer.momentum": 0.25, "batch_size": 8}
    assert carry_out(new_trials(tmp_path / "first.db", first=first), Random(), 2)[0] == first


def test_an_interrupted_trial_is_resumed_with_its_settings(tmp_path: Path) -> None:
    trials = new_trials(tmp_path / "one.db")
    begun = trials.take(SPACE, Random().make(1, 0, SPACE), No().make(), "me", 5)
    assert begun is not None
    again = Trials(of_file(tmp_path / "one.db"), "one")
    [running] = again.all()
    assert (running.state, running.worker) == ("running", "me")
    taken = again.take_up(0, SPACE, Random().make(99, 99, SPACE), No().make(), "me")
    assert taken.point == begun.point
    assert again.tell(taken, "complete", Random().make(1, 0, SPACE), value=0.5, status="done")
    assert not again.tell(
        taken, "complete", Random().make(1, 0, SPACE), value=0.6, status="done"
    )  # a result is recorded once
    assert [one.value for one in again.all()] == [0.5]


def test_trials_end_when_there_are_enough(tmp_path: Path) -> None:
    trials = new_trials(tmp_path / "one.db")
    assert trials.take(SPACE, Random().make(1, 0, SPACE), No().make(), "me", 1) is not None
    assert trials.take(SPACE, Random().make(1, 1, SPACE), No().make(), "me", 1) is None
    assert len(trials.all()) == 1


def _pruned(tmp_path: Path, pruner: Any, good: list[float], bad: list[float]) -> int | None:
    """The number of reports after which a bad trial is ended, following five good ones."""
    trials, draws = new_trials(tmp_path / "one.db"), Random().make(1, 0, SPACE)
    for _ in range(5):
        one = trials.take(SPACE, draws, pruner, "me", 10)
        assert one is not None
        for step, value in enumerate(good, 1):
            trials.report(one, step, value, pruner)
        trials.tell(one, "complete", draws, value=sum(good) / len(good), status="done")
    last = trials.take(SPACE, draws, pruner, "me", 10)
    assert last is not None
    for step, value in enumerate(bad, 1):
        if trials.report(last, step, value, pruner):
            trials.tell(last, "pruned", draws, status="pruned")
            assert trials.all()[-1].value == value
            return step
    return None


@pytest.mark.parametrize(
    ("pruner", "after"),
    [(No(), None), (Median(), 1), (Median(warmup=3), 3), (Median(startup_trials=6), None), (Wilcoxon(), 4)],
)
def test_a_pruner_ends_a_bad_trial(pruner: Any, after: int | None, tmp_path: Path) -> None:
    good, bad = [0.9, 0.91, 0.92, 0.93, 0.94, 0.95], [0.1, 0.12, 0.11, 0.13, 0.12, 0.1]
    assert _pruned(tmp_path, pruner.make(), good, bad) == after


@pytest.mark.parametrize("pruner", [Median(), Wilcoxon()])
def test_a_pruner_leaves_the_best_trial_alone(pruner: Any, tmp_path: Path) -> None:
    assert _pruned(tmp_path, pruner.make(), [0.5] * 6, [0.9, 0.91, 0.92, 0.93, 0.94, 0.95]) is None


def test_hyperband_ends_some_of_many_trials(tmp_path: Path) -> None:
    trials, draws, pruner = (
        new_trials(tmp_path / "one.db"),
        Random().make(1, 0, SPACE),
        Hyperband(least=1, most=9).make(),
    )
    ended = []
    for number in range(12):
        one = trials.take(SPACE, draws, pruner, "me", 12)
        assert one is not None
        values = {step: number % 4 + 0.01 * step for step in range(1, 10)}
        after = next((step for step, value in values.items() if trials.report(one, step, value, pruner)), None)
        state = "complete" if after is None else "pruned"
        trials.tell(one, state, draws, value=values[9], status="done")
        ended.append(after)
    assert None in ended
    assert any(after is not None for after in ended)


def test_a_repeated_report_is_ignored(tmp_path: Path) -> None:
    trials, draws, pruner = new_trials(tmp_path / "one.db"), Random().make(1, 0, SPACE), No().make()
    one = trials.take(SPACE, draws, pruner, "me", 1)
    assert one is not None
    trials.report(one, 1, 0.5, pruner)
    trials.report(one, 1, 0.75, pruner)  # from a run that was resumed from an earlier checkpoint
    assert trials.reports(one) == {1: 0.5}


def test_a_deleted_database_is_an_error_and_is_not_recreated(tmp_path: Path) -> None:
    trials = new_trials(tmp_path / "one.db")
    carry_out(trials, Random(), 2)
    (tmp_path / "one.db").unlink()
    trials.release()  # as after every trial
    with pytest.raises(DataError, match=r"one\.db cannot be used: the file is gone"):
        trials.all()
    assert not (tmp_path / "one.db").exists()


def test_a_deleted_database_of_the_users_own_is_not_recreated(tmp_path: Path) -> None:
    file = tmp_path / "own.db"
    url = of_line(f"sqlite:///{file}")
    assert not Trials.has(url, "one")
    assert not file.exists()
    Trials(url, "one").create({}, larger_is_better=True, first=None, total=2)
    assert Trials.has(url, "one")
    trials = Trials(url, "one")
    file.unlink()
    trials.release()
    with pytest.raises(DataError, match=r"own\.db cannot be used: the file is gone"):
        trials.all()
    assert not file.exists()


def test_the_file_of_a_database_is_found_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert of_line("sqlite:///own.db") == f"sqlite:///{tmp_path}/own.db"
    assert of_line("sqlite+pysqlite:///own.db") == f"sqlite:///{tmp_path}/own.db"
    assert of_line("postgresql+psycopg://me:pass%40word@host/db") == "postgresql+psycopg://me:pass%40word@host/db"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is in memory and ends with its process"):
        of_line(url)


def test_two_searches_of_one_name_are_refused(tmp_path: Path) -> None:
    new_trials(tmp_path / "one.db")
    with pytest.raises(UsageError, match="already has a search named 'one'"):
        new_trials(tmp_path / "one.db")


def test_an_unknown_search_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    new_trials(tmp_path / "one.db")
    with pytest.raises(DataError, match=r"there is no search 'ome' in .*\n  available: one"):
        Trials(of_file(tmp_path / "one.db"), "ome").all()


@pytest.mark.parametrize("url", ["nonsense", "oracel://host/db", "postgresql+nodriver://host/db"])
def test_an_invalid_database_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not the URL of a supported database"):
        Trials(url, "one")


def test_passwords_are_not_shown() -> None:
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/none"
    assert shown(url) == "postgresql+psycopg://me:***@127.0.0.1:1/none"
    assert without_password(url) == "postgresql+psycopg://me@127.0.0.1:1/none"
    with pytest.raises(DataError) as caught:
        Trials(url, "one").all()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TPE(startup_trials=-1), "startup_trials is -1; it must be at least 0"),
        (lambda: CMAES(population=1), "population is 1"),
        (lambda: CMAES(sigma=2), "sigma is 2"),
        (lambda: Grid(points=1), "points is 1"),
        (lambda: QMC(sequence="sobel"), "choose from sobol, halton"),  # type: ignore[arg-type]  # as users do
        (lambda: Median(interval=0), "interval is 0"),
        (lambda: Hyperband(factor=1), "factor is 1"),
        (lambda: Hyperband(least=4, most=2), "most is 2"),
        (lambda: Wilcoxon(p=1), "p is 1"),
    ],
)
def test_an_option_out_of_range_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_forked_process_has_no_connection_to_the_database(tmp_path: Path) -> None:
    def opened() -> list[str]:
        links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        return [link for link in links if link == str(tmp_path / "fork.db")]

    trials = new_trials(tmp_path / "fork.db")
    trials.all()
    assert opened()
    if not (child := os.fork()):
        os._exit(len(opened()))
    assert os.waitpid(child, 0)[1] == 0
    assert not opened()  # those of the parent are closed, too, and opened again on demand
    assert trials.all() == []
