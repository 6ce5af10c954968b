"""The distributions of the workspace, and building their wheels; shared by the tests about installing.

``requirements.txt`` and ``requirements-ecosystem.txt`` list the distributions; everything else follows from them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _folders(requirements: str) -> dict[str, str]:
    """The distributions that a file of requirements installs from this checkout, each with its folder."""
    text = (ROOT / requirements).read_text(encoding="utf-8")
    folders = re.findall(r"^-e \./([\w/-]+)", text, re.MULTILINE)
    projects = [tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8")) for folder in folders]
    return {project["project"]["name"]: folder for project, folder in zip(projects, folders, strict=True)}


FOLDERS = _folders("requirements.txt")
ADAPTER_FOLDERS = _folders("requirements-ecosystem.txt")
LIBRARIES = (
    "wf-core",
    "wf-base",
    "wf-building",
    "wf-catalogues",
    "wf-charts",
    "wf-data",
    "wf-fitting",
    "wf-processes",
    "wf-signatures",
    "wf-state",
    "wf-storage",
)
"""The distributions that bring nothing by name."""
PLUGINS = tuple(name for name in FOLDERS if name not in LIBRARIES)
ADAPTERS = tuple(ADAPTER_FOLDERS)
"""The plugins of other people's libraries."""
EXAMPLE = "examples/plugins/wf-example"
DETECTION = "examples/plugins/wf-example-detection"


def import_name(distribution: str) -> str:
    """The import name of a distribution's package."""
    return "wf" if distribution == "wf-core" else distribution.replace("-", "_")


def build_wheels(folders: Iterable[str], into: Path) -> dict[str, Path]:
    """Build the wheel of each distribution separately and without a network."""
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(into)]
    run_pip("wheel", *offline, *(str(ROOT / folder) for folder in folders))
    return {path.name.split("-")[0].replace("_", "-"): path for path in into.glob("*.whl")}


def run_pip(*args: str, python: Path | None = None) -> None:
    """Run pip, for another environment if its `python` is given."""
    target = [] if python is None else ["--python", str(python)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *target, *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
