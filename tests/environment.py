"""Fresh virtual environments for the tests about installing."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workspace import run_pip


class Environment:
    """A fresh virtual environment that shares only the third-party packages of the test's environment.

    A path to the test's site-packages would leak wf's entry points, so it has a folder of links to everything
    in it that is not of this workspace.
    """

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.folder, self.python = folder, folder / "bin" / "python"
        self.third_party = folder / "third-party"
        self.third_party.mkdir()
        for entry in third_party_entries():
            link = self.third_party / entry.name
            if not link.exists():
                link.symlink_to(entry)
        site_packages = next(folder.glob("lib/python*/site-packages"))
        (site_packages / "third_party.pth").write_text(f"{self.third_party}\n")

    def install(self, *wheels: Path) -> None:
        """Install wheels without their dependencies; another version of the same distribution is replaced."""
        run_pip("install", "--no-deps", "--no-index", *map(str, wheels), python=self.python)

    def wf(self, *args: str, code: int = 0) -> str:
        """Run the console script in an empty working directory; returns its standard output."""
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        done = subprocess.run([self.folder / "bin" / "wf", *args], cwd=work, capture_output=True, text=True)
        assert done.returncode == code, f"wf {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout or done.stderr

    def plugins(self) -> dict[str, dict[str, Any]]:
        """The entry of each plugin in ``wf list-plugins``."""
        return {plugin["name"]: plugin for plugin in json.loads(self.wf("list-plugins", "--json"))}

    def pytest(self, folder: Path) -> str:
        """Run the tests in a folder, with warnings as errors; returns the output of pytest."""
        command = [self.python, "-m", "pytest", "-q", "-W", "error", "--rootdir", folder, folder]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def third_party_entries() -> Iterator[Path]:
    """The entries of the folders of installed distributions, without this workspace's and without path files."""
    for folder in {Path(str(found.locate_file(""))).resolve() for found in importlib.metadata.distributions()}:
        if any(folder.glob("pluggy-*.dist-info")) or any(folder.glob("torch-*.dist-info")):
            yield from (entry for entry in folder.iterdir() if not is_ours(entry.name))


def is_ours(name: str) -> bool:
    """Whether an entry of site-packages belongs to this workspace, or leads out of the folder."""
    return name in ("wf", "__pycache__") or name.startswith("wf_") or name.endswith(".pth")
