"""A run imports only the modules that it uses, checked in a fresh interpreter."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    *("torchvision", "sklearn", "scipy", "matplotlib", "pandas", "PIL", "tensorboard", "rich", "griffe"),
    *("torchmetrics", "optuna", "timm", "datasets", "transformers", "IPython"),
)
CODE = """
import os, sys
from wf_cli.main import main

def run(*words):
    try:
        code = main(["run", *words, "--steps", "2", "--quiet"])
    except SystemExit as stop:
        code = stop.code
    assert code in (0, None), code
    print("MODULES", *sys.modules)

os.chdir(sys.argv[1])
run("--dataset", "synthetic", "--loss", "focal", "--optimizer", "sgd")
run(sys.argv[2], "--dataset.root", ".", "--dataset.download", "false")
"""


def write_idx(file: Path, shape: tuple[int, ...]) -> None:
    size = 1
    for length in shape:
        size *= length
    header = struct.pack(f">2xBB{len(shape)}I", 8, len(shape), *shape)
    file.write_bytes(header + bytes(index % 10 for index in range(size)))


@pytest.mark.exhaustive  # a process that imports torch and trains twice
def test_a_run_imports_only_what_it_uses(tmp_path: Path) -> None:
    for part, num in (("train", 640), ("t10k", 100)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", (num, 28, 28))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", (num,))
    example = Path(__file__).parents[1] / "examples" / "r3_fashion_mnist.toml"
    done = subprocess.run([sys.executable, "-P", "-c", CODE, tmp_path, example], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("MODULES")]
    assert len(seen) == 2
    for modules, run in zip(seen, ("synthetic data", "Fashion-MNIST"), strict=True):
        assert "torch" in modules
        assert [name for name in HEAVY if name in modules] == [], f"a run on {run} imports more than it uses"
    assert "pydantic" not in seen[0], "it takes 60 ms, and no option has to be converted"
