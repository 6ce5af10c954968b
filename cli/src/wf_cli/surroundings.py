"""What wf stands on: the interpreter, wf itself, torch and its accelerators, the folders that it writes to.

One finding for each thing that was looked at. Nothing of it ends with an exception, and torch is not imported here but
in a process of its own, so that even one that crashes is only a finding.
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
from wf.distributions import (
    DamagedMetadataError,
    check_readable,
    core_version,
    is_within,
    supported_range,
)
from wf.known import CORE, how_to_install
from wf.modules import describe
from wf_storage.folders import data_dir, names_in

Level = Literal["ok", "note", "problem"]
TIMEOUT_SEC = 120.0
"""How long a process that imports torch may take."""
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
    """What was found out about one thing."""

    level: Level
    """``ok``; ``note``: it works, and is worth knowing; ``problem``: something does not work."""
    check: str
    """What was looked at: a key of `wf_cli.examining.CHECKS`."""
    subject: str
    """On what: a plugin, a name, a file."""
    message: str
    fix: str | None = None
    """What would probably help."""


def python() -> Finding:
    """The interpreter and the platform."""
    message = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(level="ok", check="python", subject=platform.python_implementation(), message=message)


def wf_itself() -> Finding:
    """The version of wf-core: that of the code, and that which its metadata says."""
    installed, reinstall = core_version(), how_to_install(CORE, "--force-reinstall --no-deps")
    if installed is None:
        message = "its metadata is not there, so no plugin's range of versions can be checked"
        return Finding(level="problem", check="wf", subject=CORE, message=message, fix=reinstall)
    if installed != wf.__version__:
        message = f"the code is {wf.__version__}, its metadata says {installed}"
        return Finding(level="problem", check="wf", subject=CORE, message=message, fix=reinstall)
    return Finding(level="ok", check="wf", subject=CORE, message=installed)


def torch() -> Iterator[Finding]:
    """Whether torch can be imported, is of a supported version, and computes on each accelerator."""
    try:
        check_readable()
    except DamagedMetadataError as damage:  # not torch's own fault
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
            fix = "use wf as somebody who may run its Python"
        yield Finding(level="problem", check="torch", subject="torch", message=f"it cannot be imported: {why}", fix=fix)
        return
    if is_within(found["version"], allowed):
        yield Finding(level="ok", check="torch", subject="torch", message=found["version"])
    else:
        message = f"{found['version']} is installed, and wf supports {allowed}"
        fix = f"pip install 'torch{allowed}'"
        yield Finding(level="problem", check="torch", subject="torch", message=message, fix=fix)
    for device, title, error in found["devices"]:
        if error:
            message, fix = f"{title}: {error}", "install a torch built for this device and its driver, or --device cpu"
            yield Finding(level="problem", check="accelerator", subject=device, message=message, fix=fix)
        else:
            yield Finding(level="ok", check="accelerator", subject=device, message=title)
    if not found["devices"]:
        yield Finding(level="ok", check="accelerator", subject="cpu", message="there is none, runs use the CPU")


def in_a_process(code: str, *args: str) -> tuple[Any, str]:
    """What a fresh interpreter prints on its last line, read as JSON; or None, and why there is nothing."""
    command = [sys.executable, "-P", "-c", code, *args]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_SEC, check=False)
    except subprocess.TimeoutExpired:
        return None, f"no answer after {TIMEOUT_SEC:g} s"
    except OSError as error:
        return None, f"{sys.executable} {NO_START}: {describe(error)}"
    if done.returncode < 0:
        return None, f"the process was ended by signal {-done.returncode}"
    if done.returncode or not done.stdout.strip():
        said = done.stderr.strip().splitlines()
        return None, said[-1] if said else f"the process ended with code {done.returncode} and said nothing"
    return json.loads(done.stdout.splitlines()[-1]), ""


def data_folder() -> Finding:
    """The folder of downloaded datasets."""
    folder, chosen = data_dir(), bool(os.environ.get("WF_DATA_DIR"))
    other = "set WF_DATA_DIR to a folder that can be written to"
    if folder.is_dir():
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        message = f"holds {_some(names)}" if names else "holds no dataset"
        if not os.access(folder, os.W_OK):
            return _folder("note", "data-folder", folder, f"{message}; nothing can be written into it", other)
        return _folder("ok", "data-folder", folder, message)
    if not _can_be_made(folder):
        return _folder("problem", "data-folder", folder, "is not there and cannot be made", other)
    if chosen:
        fix = "is WF_DATA_DIR spelt right? the first download makes the folder"
        return _folder("note", "data-folder", folder, "is not there yet", fix)
    return _folder("ok", "data-folder", folder, "is not there yet; the first download makes it")


def runs_folder() -> Finding:
    """The folder of run directories, below the working directory."""
    try:
        folder = Path("runs").absolute()
    except FileNotFoundError:
        message = "the working directory is gone"
        return _folder("problem", "runs-folder", Path("runs"), message, "work in a folder that is there")
    if folder.is_dir() and os.access(folder, os.W_OK):
        number = len(names_in(folder))
        return _folder("ok", "runs-folder", folder, f"holds {number} run{'' if number == 1 else 's'}")
    if not folder.is_dir() and _can_be_made(folder):
        return _folder("ok", "runs-folder", folder, "is not there yet; the first run makes it")
    message = "nothing can be written into it" if folder.is_dir() else "is not there and cannot be made"
    return _folder("problem", "runs-folder", folder, message, "work in another folder, or name one: --run-dir DIR")


def _folder(level: Level, check: str, folder: Path, message: str, fix: str | None = None) -> Finding:
    return Finding(level=level, check=check, subject=str(folder), message=message, fix=fix)


def _can_be_made(folder: Path) -> bool:
    """Whether nothing stands in the place of a folder, and it could be made there."""
    if folder.exists():
        return False
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    return above.is_dir() and os.access(above, os.W_OK)


def _some(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
