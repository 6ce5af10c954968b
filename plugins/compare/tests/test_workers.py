"""Processes: results, deaths and signals."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from wf.errors import InterruptedRun
from wf_compare import workers
from wf_compare.workers import MAX_DEATHS, Died, Pool, preload
from wf_processes.signals import STOPPING


def double(number: int) -> int:
    return 2 * number


def die(file: Path, times: int, how: int) -> str:
    """Die by a signal in the first attempts."""
    with file.open("a") as stream:
        stream.write("x")
    if len(file.read_text()) <= times:
        os.kill(os.getpid(), how)
        time.sleep(10)
    return "alive"


def wait_for_end(file: Path) -> None:
    """Write into a file that it began and how it ended."""

    def end(*_: Any) -> None:
        file.write_text("ended")
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    file.write_text("began")
    time.sleep(30)


def much(size: int) -> str:
    return "x" * size


def crash() -> None:
    sys.stderr.close()
    raise RuntimeError("boom")


def test_how_cuda_is_queried_is_a_matter_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "PYTORCH_NVML_BASED_CUDA_CHECK"
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(workers, "_added", set())
    for _ in range(2):  # a later pool finds the variable of the first one
        assert list(Pool(os.getenv, 1).run([(1, (name,))])) == [(1, None)]
        assert os.environ[name] == "1"
    monkeypatch.setattr(workers, "_added", set())
    monkeypatch.setenv(name, "1")  # the user's
    assert list(Pool(os.getenv, 1).run([(1, (name,))])) == [(1, "1")]


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_task_runs_once(jobs: int) -> None:
    pool: Pool[int] = Pool(double, jobs)
    found = list(pool.run((number, (number,)) for number in range(7)))
    assert sorted(found) == [(number, 2 * number) for number in range(7)]
    if jobs == 1:
        assert [task for task, _ in found] == list(range(7))


@pytest.mark.timeout(20)
def test_a_result_larger_than_a_pipe_comes_through() -> None:
    found = dict(Pool[int](much, 2).run([(1, (3_000_000,)), (2, (1,))]))
    assert {task: len(text) for task, text in found.items()} == {1: 3_000_000, 2: 1}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_task_whose_process_is_killed_is_restarted(tmp_path: Path, how: int) -> None:
    told: list[tuple[str, str]] = []
    pool: Pool[str] = Pool(die, 1, lambda task, why: told.append((task, why)))
    found = dict(pool.run([("a", (tmp_path / "a", 1, how)), ("b", (tmp_path / "b", 0, how))]))
    assert found == {"a": "alive", "b": "alive"}
    assert told == [("a", f"killed by {signal.Signals(how).name}")]


def test_a_task_that_dies_again_and_again_is_given_up(tmp_path: Path) -> None:
    pool: Pool[str] = Pool(die, 1)
    found = dict(pool.run([("a", (tmp_path / "a", 99, signal.SIGKILL)), ("b", (tmp_path / "b", 0, 0))]))
    assert found == {"a": Died("killed by SIGKILL"), "b": "alive"}
    assert len((tmp_path / "a").read_text()) == MAX_DEATHS


def test_a_process_that_ends_without_a_result_has_died() -> None:
    assert list(Pool[int](crash, 1).run([(1, ())])) == [(1, Died("ended with code 1"))]


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_stops_the_worker_processes(tmp_path: Path, number: int) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    before = signal.getsignal(number)

    def stop() -> None:
        while not all(file.exists() and file.read_text() == "began" for file in files):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop).start()
    with (
        pytest.raises(InterruptedRun) as error,
        closing(Pool[Path](wait_for_end, 2).run((file, (file,)) for file in files)) as results,
    ):
        list(results)
    assert error.value.exit_code == 128 + number
    assert [file.read_text() for file in files] == ["ended", "ended"]
    assert signal.getsignal(number) is before


def wait_for_more(file: Path) -> None:
    """End by SIGTERM when the file is gone, as a run that saves first."""
    signal.signal(signal.SIGTERM, lambda *_: file.with_suffix(".told").touch())
    file.touch()
    while file.exists():
        time.sleep(0.01)
    file.with_suffix(".ended").touch()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("numbers", "saves"),
    [
        ((signal.SIGINT, signal.SIGINT), False),
        ((signal.SIGTERM, signal.SIGINT), False),
        ((signal.SIGTERM, signal.SIGTERM), True),
    ],
)
def test_a_second_sigint_kills_the_worker_processes(tmp_path: Path, numbers: tuple[int, int], saves: bool) -> None:
    """Schedulers send several SIGTERM, which kill nobody."""
    file, told = tmp_path / "a", tmp_path / "a.told"

    def appears(one: Path) -> None:
        while not one.exists():
            time.sleep(0.01)

    def stop() -> None:
        appears(file)
        for number in numbers:
            os.kill(os.getpid(), number)
            appears(told)
        if saves:
            file.unlink()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(InterruptedRun), closing(Pool[Path](wait_for_more, 1).run([(file, (file,))])) as results:
        list(results)
    thread.join()
    assert (tmp_path / "a.ended").exists() is saves


def test_closing_the_results_early_ends_the_processes(tmp_path: Path) -> None:
    file, quick = tmp_path / "slow", tmp_path / "quick"
    pool: Pool[str] = Pool(_either, 2)
    with closing(pool.run([("slow", (file,)), ("quick", (quick,))])) as results:
        assert next(results) == ("quick", None)
    assert file.read_text() == "ended"


def _either(file: Path) -> None:
    if file.name == "slow":
        wait_for_end(file)
    while not file.with_name("slow").exists():
        time.sleep(0.01)


def test_preload_skips_modules_that_cannot_be_imported() -> None:
    sys.modules.pop("this", None)
    preload(["no_such_module_of_anybody", "colorsys"])
    assert "colorsys" in sys.modules


def ask_twice(number: int, ask: Any) -> list[Any]:
    return [ask(number), ask(number + 1)]


def ask_and_wait(file: Path, ask: Any) -> None:
    """Ask a question and note the answer; SIGTERM is deferred, as in a run."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    file.write_text(f"answered {ask('what')}")


def test_a_task_can_ask_questions_while_it_runs() -> None:
    pool: Pool[str] = Pool(ask_twice, 2, answer=lambda task, question: f"{task}{question}")
    assert dict(pool.run([("a", (1,)), ("b", (5,))])) == {"a": ["a1", "a2"], "b": ["b5", "b6"]}


@pytest.mark.timeout(20)
def test_a_task_whose_question_fails_does_not_hang_the_pool(tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("nobody knows")

    pool: Pool[str] = Pool(ask_and_wait, 1, answer=fail)
    with (
        pytest.raises(ValueError, match="nobody knows"),
        closing(pool.run([("a", (tmp_path / "a",))])) as results,
    ):
        next(results)
    assert (tmp_path / "a").read_text() == "answered None"


def test_tasks_are_drawn_lazily_when_a_process_is_free() -> None:
    ended: list[int] = []

    def tasks() -> Any:
        for number in range(4):
            assert ended == list(range(number))
            yield number, (number,)

    for number, _ in Pool[int](double, 1).run(tasks()):
        ended.append(number)
    assert ended == [0, 1, 2, 3]


def test_a_pool_calls_its_heartbeat_while_tasks_run() -> None:
    beats: list[int] = []
    pool: Pool[int] = Pool(time.sleep, 1, beat=lambda: beats.append(1), beat_sec=0.1)
    list(pool.run([(1, (0.5,))]))
    assert len(beats) > 1
