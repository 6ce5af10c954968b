"""Runs the command line hundreds of times: one process imports torch once and forks for each run.

A fresh process needs seconds to import torch, a fork of this one milliseconds. The two talk in lines of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

PRELOAD = ("torch", "torch._dynamo", "torch.utils.data", "sklearn.datasets", "wf_base", "wf_cli.main")
WARM = (
    *("pydantic", "zoneinfo", "encodings.utf_8_sig", "matplotlib.figure", "matplotlib.backends.backend_agg"),
    *("torch.utils.tensorboard", "wf_data.inputs"),
    *(
        "wf_cli.listing.fits",
        "wf_cli.listing.listing",
        "wf_run.cli.afterwards",
        "wf_run.cli.running",
        "wf_watch.cli.runs",
    ),
    *("wf_compare.cli", "wf_durability.cli.replay", "wf_durability.cli.resuming", "wf_export.cli"),
)
"""What is imported as well before a run that warms the server, beside every built-in component."""
HUGE = 2 << 20
"""The bytes of a huge page."""
COLLAPSE = 25
"""MADV_COLLAPSE of Linux."""


@dataclass(frozen=True)
class Result:
    """How one run of the command line ended."""

    code: int
    stdout: str
    stderr: str
    left: bool = False
    """Whether a process that it had started was still there."""

    def json(self) -> Any:
        """Standard output, read as JSON."""
        return json.loads(self.stdout)


class ForkServer:
    """The test's side. The server starts with the first run, and again after an interrupted run.

    Args:
        python: The interpreter; by default the test's own.
        warm: The arguments of a run that the server makes and evaluates itself first, in a folder that is removed. What
            it has imported and cached, a fork need not repeat: a small run then takes a third of the time.
    """

    def __init__(self, python: Path | None = None, warm: Sequence[str] = ()) -> None:
        self._python, self._warm = str(python or sys.executable), [*warm]
        self._server: subprocess.Popen[str] | None = None

    def run(
        self,
        args: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        processes: int = 1,
        *,
        forks: bool = False,
    ) -> Result:
        """Run `wf` with `args`.

        Args:
            args: The command line without `wf`.
            cwd: Its working directory.
            env: Its whole environment.
            timeout: Seconds until the run and its children are killed.
            processes: The number of processes, each with its rank in the environment, as torchrun starts them. When
                one fails, the others are stopped and the code is 1.
            forks: Whether a process that `wf` starts by ``python -P -m MODULE`` and waits for is a fork as well.

        Raises:
            TimeoutError: If it was killed, with its output so far.
        """
        try:
            request = {"args": list(args), "cwd": str(cwd), "env": dict(env), "timeout": timeout}
            reply = self._ask({**request, "processes": processes, "forks": forks})
        except BaseException:
            self.close()
            raise
        result = Result(reply["code"], reply["stdout"], reply["stderr"], reply["left"])
        if reply["timed_out"]:
            raise TimeoutError(f"wf {' '.join(args)}: killed after {timeout:g} s\n{result.stdout}\n{result.stderr}")
        return result

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.kill()
            self._server.communicate()
            self._server = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._server is None:
            self._server = subprocess.Popen(
                [self._python, "-P", __file__, *self._warm], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(request), file=self._server.stdin, flush=True)
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server died with code {self._server.wait()}")
        reply: dict[str, Any] = json.loads(line)
        return reply


def serve() -> None:
    """The server: for each request on standard input, fork, wait, and answer on standard output."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a stray print must not look like a reply
    for module in PRELOAD:
        with contextlib.suppress(ImportError):  # the run itself reports it
            importlib.import_module(module)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # a pool of threads would not survive the fork
    if warm := sys.argv[1:]:
        _import_everything()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for words in (warm, ["evaluate", "latest"]):
                assert _main(words) == 0, f"wf {' '.join(words)} failed"
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page of older objects
    _collapse()
    for line in sys.stdin:
        print(json.dumps(_serve_one(json.loads(line))), file=replies, flush=True)


def _import_everything() -> None:
    for module in WARM:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    registry = importlib.import_module("wf.registry").Registry.discover(only_builtin=True)
    for entry in registry.entries():
        entry.load()
        entry.params_unloaded()  # parses its source


def _collapse() -> None:
    """Move the memory of this process into huge pages, whose tables a fork copies in a third of the time.

    A kernel that has none, or none free, leaves the memory as it is.
    """
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, _, _, inode, *_ = line.split()
        if rights.startswith("rw") and inode == "0":
            first, end = (int(number, 16) for number in place.split("-"))
            for start in range(-(-first // HUGE) * HUGE, end - HUGE + 1, HUGE):
                madvise(start, HUGE, COLLAPSE)


def _serve_one(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pids = [_fork({**request, "env": {**request["env"], **env}}, out, err) for env in _ranks(request["processes"])]
        code = _wait(pids, request["timeout"])
        left = [pid for pid in pids if _kill_all(pid)]  # processes that the run left, or the run itself
        timed_out = code is None
        if code is None:
            code = -signal.SIGKILL
            for pid in pids:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        ended = {"code": code, "timed_out": timed_out, "left": bool(left)}
        return {**ended, "stdout": _content(out), "stderr": _content(err)}


def _kill_all(group: int) -> bool:
    """Kill a process and its children; False if none was left."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _ranks(processes: int) -> list[dict[str, str]]:
    """The environment that torchrun sets for each process; empty for a single one."""
    if processes == 1:
        return [{}]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    sizes = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    return [{"RANK": str(rank), "LOCAL_RANK": str(rank), **sizes, **place} for rank in range(processes)]


def _fork(request: dict[str, Any], out: IO[bytes], err: IO[bytes]) -> int:
    pid = os.fork()
    if pid == 0:
        _child(request, out, err)
    return pid


def _wait(pids: list[int], timeout: float) -> int | None:
    """Their exit code; None if they did not end in time."""
    deadline, running, code = time.monotonic() + timeout, [*pids], 0
    while running and time.monotonic() < deadline:
        for pid in running:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
        else:
            time.sleep(0.002)
            continue
        running.remove(pid)
        ended = os.waitstatus_to_exitcode(status)
        if ended and not code:
            code = ended if len(pids) == 1 else 1
            time.sleep(0.1 if running else 0)  # the others may be ending, too: torchrun polls at this interval
            for other in running:
                os.kill(other, signal.SIGTERM)
            deadline = min(deadline, time.monotonic() + 30)
    if running and not code:
        return None
    for pid in running:  # it did not end after it was stopped
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return code


def _child(request: dict[str, Any], out: IO[bytes], err: IO[bytes]) -> None:
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["wf", *request["args"]]
        if request["forks"]:
            subprocess.run = _run_in_a_fork  # type: ignore[assignment]  # for the calls that wf makes
        code = _main(request["args"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run_in_a_fork(
    command: list[str], *, stdin: int, stdout: int, check: bool
) -> subprocess.CompletedProcess[str]:  # what wf gives
    """``subprocess.run`` for ``python -P -m MODULE ARGS``, in a fork of this process, which has imported torch."""
    python, safe, option, module, *args = command
    assert (python, safe, option, stdin, check) == (sys.executable, "-P", "-m", subprocess.DEVNULL, False), command
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(stdout, 1)
            sys.argv = [module, *args]
            code = _code_of(importlib.import_module(module).main)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _main(args: list[str]) -> int:
    return _code_of(importlib.import_module("wf_cli.main").main, args)


def _code_of(main: Callable[..., Any], *args: Any) -> int:
    """The exit code of ``sys.exit(main(*args))``."""
    try:
        code = main(*args)
    except SystemExit as stop:
        code = stop.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
    return code if isinstance(code, int) else int(code is not None)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


if __name__ == "__main__":
    serve()
