"""The files of a user's folder, and checks of a refusal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forkserver import ForkServer

FILES = {
    "house.csv": "size,rooms,price\n" + "".join(f"{n},{n % 4},{2 * n + 1}\n" for n in range(40)),
    "city.csv": "size,city,price\n" + "".join(f"{n},{['Rome', 'Oslo'][n % 2]},{n}\n" for n in range(40)),
    "empty.csv": "",
    "net.py": """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_features: int, outs: int = 10):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(num_features, outs))

    def forward(self, inputs):
        return self.layers(inputs)

class Broken(nn.Module):
    def __init__(self):
        raise RuntimeError("boom")

class Crash(Net):
    def forward(self, inputs):
        if len(inputs) > 3 and self.training:
            raise RuntimeError("boom")
        return super().forward(inputs)
""",
    "my.py": '''
from torch.nn.functional import cross_entropy

def times(predictions, targets, factor: float = 1.0):
    """Cross-entropy times a factor.

    Args:
        factor: What it is multiplied by.
    """
    return factor * cross_entropy(predictions, targets)

def bad(predictions, targets):
    return predictions.sum() * float("nan")
''',
    "plug.py": """
import sys
from pathlib import Path

from wf import Component, hookimpl

sys.path.insert(0, str(Path(__file__).parent))

@hookimpl
def wf_components():
    return [
        Component("loss", "mine", "my_losses:Loss", summary="a loss whose module is broken"),
        Component("model", "raiser", "plug_parts:make", summary="a model that cannot be made"),
    ]
""",
    "plug_parts.py": "def make(num_outputs: int):\n    raise RuntimeError('boom')\n",
    "my_losses.py": "import no_such_package_of_anybody\n",
    "broken.py": "import no_such_package_of_anybody\n",
    "no_toml.toml": "epochs = = 3\n",
    "typo.toml": "epocs = 3\n",
    "below.toml": '[loss]\nuse = "focal"\nepochs = 3\n',
    "focal.toml": 'epochs = 1\n[loss]\nuse = "focal"\ngamma = 3.0\n',
    "a_file": "",
}

Tree = dict[str, bytes | None]


def tree(folder: Path) -> Tree:
    """Every file below a folder with its content, without bytecode."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working directory of `wf` in these tests, with a user's files in it."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def snapshot(folder: Path) -> Callable[[], Tree]:
    return lambda: tree(folder)


@pytest.fixture
def refused(wf: Any, folder: Path) -> Callable[..., str]:
    """Runs a command that must be refused: with this code, one message with these words, and nothing written."""

    def run(line: str, code: int, *words: str) -> str:
        before = tree(folder)
        result = wf(*line.split())
        assert result.code == code, result.stderr
        assert result.stdout == ""
        assert result.stderr.startswith("wf: ")
        assert "Traceback" not in result.stderr
        assert [word for word in words if word not in result.stderr] == [], result.stderr
        assert tree(folder) == before
        return str(result.stderr)

    return run


@pytest.fixture(scope="session")
def runs_of_one(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `runs` with a finished run, named `done`."""
    place = tmp_path_factory.mktemp("finished")
    result = fork_server.run(["run", "--epochs", "1", "--quiet", "--name", "done"], place, os.environ, 60)
    assert result.code == 0, result.stderr
    return place / "runs"


@pytest.fixture
def finished(runs_of_one: Path, folder: Path) -> Path:
    """The directory of a finished run, named `done`: a copy for each test."""
    return Path(shutil.copytree(runs_of_one, folder / "runs", symlinks=True)) / "done"
