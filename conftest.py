"""Fixtures for the tests of all distributions."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest
from forkserver import ForkServer, Result

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: gradients differ in bits between one thread and two


class Wf(Protocol):
    """Runs `wf ARGS...`, in the test's `tmp_path` unless `cwd` says otherwise.

    `env` adds to the environment; None takes a variable away.
    """

    def __call__(
        self,
        *args: object,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        timeout: float = 180,
    ) -> Result: ...


def _environment(changes: Mapping[str, str | None] | None) -> dict[str, str]:
    plain = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120", "FORCE_COLOR": None}
    config = str(Path(tempfile.gettempdir()) / "wf-tests-config")  # nobody's own settings
    plain |= {"XDG_CONFIG_HOME": config, "WF_PLUGINS_ALLOW": None}
    merged = {**os.environ, **plain, **(changes or {})}
    return {name: value for name, value in merged.items() if value is not None}


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def wf(fork_server: ForkServer, tmp_path: Path) -> Wf:
    """The command line in a fork of a process that has torch already: for all but the few tests about processes."""

    def run(
        *args: object, cwd: Path | None = None, env: Mapping[str, str | None] | None = None, timeout: float = 180
    ) -> Result:
        return fork_server.run([str(arg) for arg in args], cwd or tmp_path, _environment(env), timeout)

    return run


@pytest.fixture
def wf_process(tmp_path: Path) -> Wf:
    """The command line as a process of its own, as a user starts it.

    torch computes in one thread unless `env` takes OMP_NUM_THREADS away.
    """

    def run(
        *args: object, cwd: Path | None = None, env: Mapping[str, str | None] | None = None, timeout: float = 180
    ) -> Result:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "wf_cli", *map(str, args)],
            cwd=cwd or tmp_path,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run
