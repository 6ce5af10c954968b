"""Searches of several machines, in a PostgreSQL that the test starts (Debian: apt-get install postgresql)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wf_tune.trials import Trials

REQUIRED = bool(os.environ.get("WF_REQUIRE_POSTGRESQL"))
PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))
SEARCH = (
    *("--dataset", "iris", "--model.hidden", "[4]", "--epochs", "1", "--device", "cpu"),
    *("--vary", "optimizer=adam,sgd", "--vary", "optimizer.lr=log(1e-3,1e-1)", "--searcher", "random"),
)
PASSWORD = "not-told"

pytestmark = [
    pytest.mark.skipif(PROGRAMS is None and not REQUIRED, reason="no PostgreSQL here: apt-get install postgresql"),
    pytest.mark.xdist_group("postgresql"),
]


def _as_other(command: list[str]) -> list[str]:
    """PostgreSQL does not run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.getuid() == 0 else command


class Server:
    """A database server for the test."""

    def __init__(self) -> None:
        assert PROGRAMS is not None
        self.folder = Path(tempfile.mkdtemp(prefix="wf-postgresql-"))
        (self.folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (self.folder, self.folder / "password"):
                shutil.chown(path, "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._data = self.folder / "data"
        options = [
            "-U",
            "me",
            "--auth=scram-sha-256",
            f"--pwfile={self.folder / 'password'}",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        self._run("initdb", "-D", str(self._data), *options)
        self.start()
        self.url = f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def _run(self, program: str, *args: str) -> None:
        command = _as_other([str(PROGRAMS / program), *args])  # type: ignore[operator]  # see __init__
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd="/")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()
    shutil.rmtree(made.folder)


def test_two_machines_share_the_trials(server: Server, wf: Any, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir(), other.mkdir()
    line = ["tune", *SEARCH, "--trials", "4", "--finalists", "1", "--final-repeats", "2", "--storage", server.url]
    joining = ["tune", "--join", server.url, "--name", "x"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    first = subprocess.Popen(
        [sys.executable, "-P", "-m", "wf_cli", *line, "--name", "x", "--json"],
        cwd=one,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    trials = Trials(server.url, "x")
    while not trials.exists or not any(trial.state == "running" for trial in trials.all()):
        assert first.poll() is None
    first.send_signal(signal.SIGSTOP)  # slow trials leave work for the other machine
    second = wf(*joining, cwd=other)
    first.send_signal(signal.SIGCONT)
    said, told = first.communicate(timeout=250)
    assert first.returncode == 0, told
    assert second.code == 0, second.stderr
    record = json.loads(said)
    assert [trial["state"] for trial in record["trials"]] == ["complete"] * 4
    places = [path.name for folder in (one, other) for path in (folder / "runs" / "x").glob("trial-*")]
    assert sorted(places) == [f"trial-{number}" for number in range(4)]  # each trial once, on either machine
    assert list((other / "runs" / "x").glob("trial-*"))
    assert record["final"]["table"]["rows"][0]["name"] == "defaults"
    assert not list((other / "runs" / "x").glob("final-*"))
    for folder in (one, other):
        assert PASSWORD not in (folder / "runs" / "x" / "manifest.json").read_text()
    assert PASSWORD not in told + second.stderr + second.stdout

    again = wf(*line, "--name", "x", cwd=tmp_path)  # resumed on a third machine
    assert again.code == 2
    assert "already has a search named 'x'\n  to join it: wf tune --join" in again.stderr
    assert PASSWORD not in again.stderr
    unknown = wf("tune", "--join", server.url, "--name", "y", cwd=tmp_path)
    assert (unknown.code, "there is no search 'y'" in unknown.stderr) == (4, True)


def test_a_trial_of_a_silent_machine_is_restarted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from wf_tune import trials as module
    from wf_tune.engine.pruners import No
    from wf_tune.engine.searchers import Random
    from wf_tune.space import Space, parse

    monkeypatch.setattr(module, "GRACE_SEC", 1)
    space = Space([parse("optimizer.lr=log(1e-3,1e-1)")], lambda *_: ())
    lost, here = Trials(server.url, "silent"), Trials(server.url, "silent")
    lost.create({"of": "this test"}, larger_is_better=True, first=None, total=1)
    draws, pruner = Random().make(1, 0, space), No().make()
    begun = lost.take(space, draws, pruner, "lost", 1)
    assert begun is not None
    assert here.take(space, draws, pruner, "here", 1) is None  # it has not been silent for long enough
    assert here.wait(lambda _: None)
    anew = here.take(space, draws, pruner, "here", 1)
    assert anew is not None
    assert (anew.point, anew.worker) == (begun.point, "here")
    assert not lost.tell(begun, "complete", draws, value=0.5, status="done")
    assert here.tell(anew, "complete", draws, value=0.25, status="done")
    assert [trial.value for trial in here.all()] == [0.25]


def test_a_lost_database_stops_the_search_until_it_is_resumed(server: Server, wf: Any, tmp_path: Path) -> None:
    line = ["tune", *SEARCH, "--trials", "3", "--finalists", "0", "--storage", server.url, "--name", "gone"]
    line += ["--pruner", "median", "--pruner.startup-trials", "9"]  # so that trials ask the pruner
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "wf_cli", *line],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "runs" / "gone" / "trial-1").exists():
        assert process.poll() is None
    server.stop()
    _, told = process.communicate(timeout=250)
    server.start()
    assert process.returncode == 4, told
    assert "cannot be used" in told
    assert "to continue, repeat the command or run: wf tune --resume runs/gone" in told
    assert PASSWORD not in told
    resumed = wf("tune", "--resume", "runs/gone", "--storage", server.url)
    assert resumed.code == 0, resumed.stderr
    assert "is resumed" in resumed.stderr
    assert [trial.state for trial in Trials(server.url, "gone").all()] == ["complete"] * 3
