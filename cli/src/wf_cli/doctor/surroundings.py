"""Checks of wf's environment: the interpreter, wf itself, torch and its accelerators, the folders that it writes to.

Each check yields findings and never raises. torch is imported in a separate process, so that even a crash of torch
becomes a finding.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import wf
from wf.discovery.distributions import (
    DamagedMetadataError,
    check_readable,
    core_version,
    is_within,
    supported_range,
)
from wf.discovery.known import CORE, how_to_install
from wf.discovery.modules import describe
from wf.terminal import plural
from wf_storage.folders import data_dir, names_in

Level = Literal["ok", "note", "problem"]
TIMEOUT_SEC = 120.0
"""Time limit for the process that imports torch."""
NO_START = "cannot be started"
PROBE = """
import json, torch
devices = []
if torch.cuda.is_available():
    devices += [(f"cuda:{n}", torch.cuda.get_device_name(n)) for n in range(torch.cuda.device_count())]
if torch.backends.mps.is_available():
    devices.append(("mps", "Metal"))
found = []
for device, title in devices:
    try:
        (torch.ones(8, device=device) + 1).sum().item()
        found.append((device, title, None))
    except Exception as error:
        found.append((device, title, f"{type(error).__name__}: {error}"))
print(json.dumps({"version": torch.__version__, "devices": found}))
"""
"""Imports torch, and computes on each accelerator."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check."""

    level: Level
    """``ok``; ``note``: works, but may surprise; ``problem``: something does not work."""
    check: str
    """The check: a key of `wf_cli.doctor.examining.CHECKS`."""
    subject: str
    """Its subject: a plugin, a name, a file."""
    message: str
    fix: str | None = None
    """A suggested fix."""


def python() -> Finding:
    """The interpreter and the platform."""
    message = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(level="ok", check="python", subject=platform.python_implementation(), message=message)


def wf_itself() -> Finding:
    """The version of wf-core, in its code and in its metadata."""
    installed, reinstall = core_version(), how_to_install(CORE, "--force-reinstall --no-deps")
    if installed is None:
        message = "its metadata is missing, so the version ranges of plugins cannot be checked"
        return Finding(level="problem", check="wf", subject=CORE, message=message, fix=reinstall)
    if installed != wf.__version__:
        message = f"the code is {wf.__version__}, its metadata says {installed}"
        return Finding(level="problem", check="wf", subject=CORE, message=message, fix=reinstall)
    return Finding(level="ok", check="wf", subject=CORE, message=installed)


def torch() -> Iterator[Finding]:
    """Whether torch can be imported, has a supported version, and computes on each accelerator."""
    try:
        check_readable()
    except DamagedMetadataError as damage:  # not torch's fault
        message, _, fix = str(damage).partition("\n  try: ")
        yield Finding(level="problem", check="torch", subject="torch", message=message, fix=fix)
        return
    allowed = supported_range("torch", "wf-base")
    found, why = in_a_process(PROBE)
    if found is None:
        fix = "pip install --force-reinstall torch"
        if "No module named 'torch'" in why:
            fix = f"pip install 'torch{allowed}'"
        elif NO_START in why:
            fix = "run wf as a user who may execute its Python"
        yield Finding(level="problem", check="torch", subject="torch", message=f"cannot be imported: {why}", fix=fix)
        return
    if is_within(found["version"], allowed):
        yield Finding(level="ok", check="torch", subject="torch", message=found["version"])
    else:
        message = f"{found['version']} is installed, but wf supports {allowed}"
        fix = f"pip install 'torch{allowed}'"
        yield Finding(level="problem", check="torch", subject="torch", message=message, fix=fix)
    for device, title, error in found["devices"]:
        if error:
            message, fix = f"{title}: {error}", "install a torch built for this device and its driver, or --device cpu"
            yield Finding(level="problem", check="accelerator", subject=device, message=message, fix=fix)
        else:
            yield Finding(level="ok", check="accelerator", subject=device, message=title)
    if not found["devices"]:
        yield Finding(level="ok", check="accelerator", subject="cpu", message="no accelerator, runs use the CPU")


def in_a_process(code: str, *args: str) -> tuple[Any, str]:
    """Run code in a new interpreter; returns its last output line, parsed as JSON, or None and the reason."""
    command = [sys.executable, "-P", "-c", code, *args]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_SEC, check=False)
    except subprocess.TimeoutExpired:
        return None, f"no answer after {TIMEOUT_SEC:g} s"
    except OSError as error:
        return None, f"{sys.executable} {NO_START}: {describe(error)}"
    if done.returncode < 0:
        return None, f"the process was killed by signal {-done.returncode}"
    if done.returncode or not done.stdout.strip():
        said = done.stderr.strip().splitlines()
        return None, said[-1] if said else f"the process ended with code {done.returncode} without output"
    return json.loads(done.stdout.splitlines()[-1]), ""


def data_folder() -> Finding:
    """The folder of downloaded datasets."""
    folder, chosen = data_dir(), bool(os.environ.get("WF_DATA_DIR"))
    other = "set WF_DATA_DIR to a writable folder"
    if folder.is_dir():
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        message = f"contains {_some(names)}" if names else "contains no dataset"
        if not os.access(folder, os.W_OK):
            return _folder("note", "data-folder", folder, f"{message}; not writable", other)
        return _folder("ok", "data-folder", folder, message)
    if not _can_be_made(folder):
        return _folder("problem", "data-folder", folder, "does not exist and cannot be created", other)
    if chosen:
        fix = "check the spelling of WF_DATA_DIR; the first download creates the folder"
        return _folder("note", "data-folder", folder, "does not exist yet", fix)
    return _folder("ok", "data-folder", folder, "does not exist yet; the first download creates it")


def runs_folder() -> Finding:
    """The folder of run directories, below the working directory."""
    try:
        folder = Path("runs").absolute()
    except FileNotFoundError:
        message = "the working directory no longer exists"
        return _folder("problem", "runs-folder", Path("runs"), message, "change to a folder that exists")
    if folder.is_dir() and os.access(folder, os.W_OK):
        number = len(names_in(folder))
        return _folder("ok", "runs-folder", folder, f"contains {plural(number, 'run')}")
    if not folder.is_dir() and _can_be_made(folder):
        return _folder("ok", "runs-folder", folder, "does not exist yet; the first run creates it")
    message = "not writable" if folder.is_dir() else "does not exist and cannot be created"
    return _folder("problem", "runs-folder", folder, message, "change to another folder, or choose one: --run-dir DIR")


def _folder(level: Level, check: str, folder: Path, message: str, fix: str | None = None) -> Finding:
    return Finding(level=level, check=check, subject=str(folder), message=message, fix=fix)


def _can_be_made(folder: Path) -> bool:
    """Whether a folder does not exist yet and could be created."""
    if folder.exists():
        return False
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    return above.is_dir() and os.access(above, os.W_OK)


def _some(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
