"""`pip install ./` at the top, and releases of all distributions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from workspace import ADAPTER_FOLDERS, FOLDERS, ROOT, build_wheels

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def requirements(wheel: Path) -> list[str]:
    """The requirements of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return re.findall(r"^Requires-Dist: (.*)$", archive.read(name).decode(), re.MULTILINE)


def test_the_top_level_distribution_depends_on_the_whole_checkout(tmp_path: Path) -> None:
    wheel = build_wheels(["."], tmp_path)["wf-all"]
    assert sorted(requirements(wheel)) == sorted(
        f"{name} @ {(ROOT / folder).as_uri()}" for name, folder in FOLDERS.items()
    )


def test_a_release_pins_the_distributions_of_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WF_RELEASE", "1")
    wheel = build_wheels(["."], tmp_path)["wf-all"]
    assert sorted(requirements(wheel)) == sorted(f"{name}=={VERSION}" for name in FOLDERS)


@pytest.mark.parametrize("folder", [*FOLDERS.values(), *ADAPTER_FOLDERS.values()])
def test_all_distributions_have_the_same_version(folder: str) -> None:
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION


@pytest.mark.exhaustive
def test_pip_resolves_the_top_level_distribution() -> None:
    words = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-build-isolation", "-c", "constraints.txt", "."]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    (found,) = re.findall(r"^Would install (.*)$", done.stdout, re.MULTILINE)
    assert found.split() == sorted(f"{name}-{VERSION}" for name in ("wf-all", *FOLDERS))
