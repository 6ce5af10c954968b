"""Fixtures for the tests of all distributions."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest
from forkserver import ForkServer, Result
from hypothesis import settings
from workspace import ADAPTER_FOLDERS, ADAPTERS, PLUGINS

import wf_run  # noqa: F401  # declares the kinds of every run, as loading its plugin does
from wf.declarations.vocabulary import VOCABULARIES
from wf.discovery.distributions import is_installed
from wf.registry import Registry

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: gradients differ in bits between one thread and two
MEMORY = Path("/dev/shm")
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 8 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))  # runs sync their files: seconds on a busy disk


pytest_plugins = ["browsing", "user_folder"]
collect_ignore_glob = [f"{folder}/tests/*" for name, folder in ADAPTER_FOLDERS.items() if not is_installed(name)]
"""Adapters whose libraries are not here: `make test-all` runs their tests where they are."""
STATE = Path(tempfile.gettempdir()) / f"wf-tests-state-{os.getuid()}"
os.environ["WF_STATE_DIR"] = str(STATE)  # without the user's settings


class Wf(Protocol):
    """Runs `wf ARGS...`, in the test's `tmp_path` unless `cwd` says otherwise.

    `env` adds to the environment; None removes a variable.
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
    config = str(Path(tempfile.gettempdir()) / "wf-tests-config")  # without the user's settings
    plain |= {"XDG_CONFIG_HOME": config, "WF_PLUGINS_ALLOW": None, "WF_TRUST": None}
    merged = {**os.environ, **plain, **(changes or {})}
    return {name: value for name, value in merged.items() if value is not None}


@pytest.fixture(autouse=True)
def restored_vocabulary() -> Iterator[None]:
    """Forget the kinds, settings and run values that the plugins of a test have declared."""
    yield
    for words in VOCABULARIES.values():
        for owner in {words.owner(name) for name in words} - {*PLUGINS, *ADAPTERS}:
            words.remove(owner)


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer(warm=("run", "--epochs", "1", "--model.hidden", "[4]", "--quiet"))
    yield server
    server.close()


@pytest.fixture
def wf(fork_server: ForkServer, tmp_path: Path) -> Wf:
    """The command line in a fork of a process that has imported torch: for all tests except those about processes.

    With `forks`, the new processes of a command such as ``prove-resume`` are forks, too.
    """

    def run(
        *args: object,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        timeout: float = 180,
        forks: bool = False,
    ) -> Result:
        words = [str(arg) for arg in args]
        return fork_server.run(words, cwd or tmp_path, _environment(env), timeout, forks=forks)

    return run


@pytest.fixture
def ranks(fork_server: ForkServer, tmp_path: Path) -> Wf:
    """The command line in two forked processes that train together, with the environment that torchrun would set.

    It ends with code 1 when one of them fails; the other is stopped then.
    """

    def run(
        *args: object, cwd: Path | None = None, env: Mapping[str, str | None] | None = None, timeout: float = 110
    ) -> Result:
        words, environment = [str(arg) for arg in args], _environment({"GLOO_SOCKET_IFNAME": "lo", **(env or {})})
        return fork_server.run(words, cwd or tmp_path, environment, timeout, processes=2)

    return run


@pytest.fixture
def wf_process(tmp_path: Path) -> Wf:
    """The command line in a new process, as a user starts it.

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


def pytest_configure(config: pytest.Config) -> None:
    """Let property tests try a quarter of their examples where exhaustive tests are left out, and load all plugins."""
    sys.dont_write_bytecode = False  # modules of wf and of tests are compiled once, whatever the environment says
    settings.register_profile("whole", deadline=None)  # a busy machine is no failure
    settings.register_profile("sample", deadline=None, max_examples=25)
    settings.load_profile("sample" if "not exhaustive" in config.option.markexpr else "whole")
    Registry.discover()  # settings, run values and conditions are known from the plugins that declare them


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests first, so that no worker waits for the other one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("exhaustive") is None)


def pytest_collection_finish() -> None:
    """Write no bytecode during tests: many write a module twice in a second, and Python would use the old bytecode.

    What is there by now stays to the end, so that no collection of garbage need look through it.
    """
    gc.collect()
    gc.freeze()
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
