"""Draws the pictures of the tutorial into docs/pictures/: `python docs/pictures.py` trains its runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
RUNS = {
    "line": ([EXAMPLES / "r0_line.toml", "--epochs", 200], {"predictions": "line.svg"}),
    "large": ([EXAMPLES / "r1_autograd.toml", "--lr", 0.01], {"loss": "diverging.svg"}),
    "clothes": (
        [EXAMPLES / "r3_fashion_mnist.toml", "--epochs", 2],
        {"confusion": "clothes.svg", "worst": "worst.png"},
    ),
    "lenet": (
        [EXAMPLES / "r4_lenet.toml", "--loss", "focal", "--optimizer", "rmsprop", "--epochs", 5],
        {"loss": "lenet.svg"},
    ),
    "plain": ([EXAMPLES / "r4_imbalanced.toml", "--loss", "ce"], {"confusion": "rare.svg"}),
}
"""The options of each run, and its plots by the files that they become."""


def main() -> None:
    """Train each run, and copy its plots."""
    made = ROOT / "docs" / "pictures"
    made.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, (options, plots) in RUNS.items():
            wf(folder, "run", *options, "--name", name, "--quiet")
            for plot, file in plots.items():
                wf(folder, "plot", name, "--format", Path(file).suffix[1:])
                shutil.copy(Path(folder) / "runs" / name / "plots" / f"{plot}{Path(file).suffix}", made / file)


def wf(folder: str, *words: object) -> None:
    """Run a command of wf."""
    subprocess.run([sys.executable, "-m", "wf_cli", *map(str, words)], cwd=folder, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
