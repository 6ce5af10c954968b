"""What the workspace consists of, and how its wheels are built; shared by the tests about installing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLUGINS = tuple(
    f"wf-{name}"
    for name in (
        "cli",
        *("training", "losses", "optimizers", "models", "datasets", "metrics", "tracking"),
        *("tasks", "torch", "torchvision"),
    )
)
ADAPTERS = tuple(
    f"wf-{name}"
    for name in ("timm", "pytorch-optimizer", "torchmetrics", "smp", "kornia", "metric-learning", "huggingface")
)
"""The plugins of other people's libraries; `requirements-ecosystem.txt` installs them."""
FOLDERS = {
    "wf-core": "corelib",
    **{name: f"plugins/{name.removeprefix('wf-')}" for name in (*PLUGINS, "wf-kit", "wf-compare")},
    "wf-cli": "cli",
}
ADAPTER_FOLDERS = {name: f"plugins/{name.removeprefix('wf-')}" for name in ADAPTERS}
EXAMPLE = "examples/plugins/wf-example"
DETECTION = "examples/plugins/wf-example-detection"


def import_name(distribution: str) -> str:
    """The package that a distribution holds."""
    return "wf" if distribution == "wf-core" else distribution.replace("-", "_")


def build_wheels(folders: Iterable[str], into: Path) -> dict[str, Path]:
    """Build each distribution's wheel without any other one's help and without a network."""
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(into)]
    run_pip("wheel", *offline, *(str(ROOT / folder) for folder in folders))
    return {path.name.split("-")[0].replace("_", "-"): path for path in into.glob("*.whl")}


def run_pip(*args: str, python: Path | None = None) -> None:
    """Run pip, for another environment's `python` where one is given."""
    target = [] if python is None else ["--python", str(python)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *target, *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
