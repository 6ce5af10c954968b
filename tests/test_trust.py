"""No command runs code of a run directory before it is allowed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from wf.registry import Registry

pytestmark = pytest.mark.xdist_group("trust")  # one worker makes the run that these tests share

EVIL = """
import os
open(os.environ["WORK"] + "/RAN", "w").close()
from torch import nn

class Net(nn.Module):
    def __init__(self, num_features: int, num_outputs: int):
        super().__init__()
        self.linear = nn.Linear(num_features, num_outputs)

    def forward(self, inputs):
        return self.linear(inputs.flatten(1))

class H: pass

from wf import hookimpl

@hookimpl
def wf_components():
    return []
"""

LINES: dict[str, tuple[tuple[str, int], ...]] = {
    "run": (
        ("run got/run.toml --dry-run", 2),
        ("run got/run.toml --print-config", 2),
        ("run got/run.toml --help", 2),
        ("run got/run.toml --model linear --run-dir other", 2),
        ("run --dataset iris --init-from got --dry-run", 0),
    ),
    "explain": (("explain got/run.toml", 2), ("explain got/run.toml --help", 2)),
    "resume": (("resume got --epochs 2", 2),),
    "compare": (("compare got copied", 2), ("compare got/run.toml --vary lr=1,2 --dry-run", 2)),
    "replay": (("replay got --run-dir again", 2),),
    "prove-resume": (("prove-resume got/run.toml --kill-at 1 --run-dir proof", 2),),
    "runs": (("runs .", 0),),
    "list": (("list losses", 0),),
    "show": (("show focal", 0),),
    "list-plugins": (("list-plugins", 0),),
    "doctor": (),
    "schema": (("schema", 0), ("schema --output got.json", 0)),
    "evaluate": (("evaluate got", 2),),
    "predict": (("predict got test", 2),),
    "export": (("export got out.pt", 2),),
    "plot": (("plot got", 2),),
    "generate": (("generate got --prompt a", 2),),
    "report": (("report got --output got.html", 0),),
    "watch": (("watch got", 0),),
    "find-lr": (("find-lr got/run.toml", 2),),
    "find-batch-size": (("find-batch-size got/run.toml", 2),),
    "new-plugin": (("new-plugin got-plugin", 0),),
    "check": (("check loss/mse", 0),),
}
"""Each verb's lines on a directory that brings code, with their exit codes; `wf doctor` opens no run directory."""


@pytest.fixture(scope="module")
def finished_run(fork_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    words = ["run", "--dataset", "iris", "--epochs", "1", "--run-dir", "got", "--quiet"]
    result = fork_server.run(words, folder, {**os.environ, "OMP_NUM_THREADS": "1"}, 120)
    assert result.code == 0, result.stderr
    return folder / "got"


@pytest.fixture
def got(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A foreign run directory with a hook and a plugin."""
    monkeypatch.setenv("WORK", str(tmp_path))
    place = shutil.copytree(finished_run, tmp_path / "got")
    (place / "code").mkdir()
    (place / "code" / "evil.py").write_text(EVIL)
    text = (place / "run.toml").read_text()
    text = text.replace('use = "fit-verdict"', 'use = "evil.py:H"', 1)
    (place / "run.toml").write_text(re.sub(r"^plugins = .*", 'plugins = ["evil.py"]', text, flags=re.MULTILINE))
    shutil.copytree(place, tmp_path / "copied")
    return place


def test_every_command_is_tried() -> None:
    assert sorted(LINES) == Registry.discover(only_builtin=True).names("command")


@pytest.mark.parametrize(("line", "code"), [line for lines in LINES.values() for line in lines])
def test_no_command_runs_untrusted_code(wf: Any, got: Path, tmp_path: Path, line: str, code: int) -> None:
    result = wf(*line.split())
    assert not (tmp_path / "RAN").exists()
    assert result.code == code, result.stderr
    assert "Traceback" not in result.stderr
    if code == 2 and not line.startswith("compare got copied"):
        assert "evil.py:H" in result.stderr
        assert f"the whole command: wf {line} --trust " in result.stderr


def test_trust_with_the_checksum_runs_the_code(wf: Any, got: Path, tmp_path: Path) -> None:
    refused = wf("evaluate", "got")
    [checksum] = set(re.findall(r"--trust ([0-9a-f]{64})", refused.stderr))
    (got / "run.toml").write_text((got / "run.toml").read_text().replace('use = "evil.py:H"', 'use = "fit-verdict"', 1))
    assert wf("evaluate", "got", "--trust", checksum).code == 2  # the checksum is of other code
    assert not (tmp_path / "RAN").exists()
    [checksum] = set(re.findall(r"--trust ([0-9a-f]{64})", wf("evaluate", "got").stderr))
    assert wf("evaluate", "got", env={"WF_TRUST": checksum}).code == 0
    assert (tmp_path / "RAN").exists()
    assert wf("evaluate", "got", "--trust", "12").code == 2
    assert wf("evaluate", "got", "--trust").code == 2


@pytest.mark.parametrize("line", ["--only-builtin", "-p no:evil"])
def test_excluded_plugins_stay_excluded_in_a_trusted_run(wf: Any, got: Path, tmp_path: Path, line: str) -> None:
    text = (got / "run.toml").read_text()
    (got / "run.toml").write_text(text.replace('use = "evil.py:H"', 'use = "fit-verdict"', 1))
    [checksum] = set(re.findall(r"--trust ([0-9a-f]{64})", wf("evaluate", "got").stderr))
    assert wf("evaluate", "got", "--trust", checksum, *line.split()).code == 0
    assert wf("evaluate", "got", *line.split()).code == 0  # excluded code needs no permission
    assert wf("evaluate", "got", "--trust", checksum, env={"WF_PLUGINS_ALLOW": "builtin"}).code == 0
    assert not (tmp_path / "RAN").exists()


def test_allow_lists_apply_to_run_files_but_not_the_command_line(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "exp.toml").write_text('plugins = ["evil.py"]\n[dataset]\nuse = "iris"\n')
    env = {"WORK": str(tmp_path), "WF_PLUGINS_ALLOW": "builtin"}
    assert wf("run", "exp.toml", "--dry-run", "--quiet", env=env).code == 0
    assert wf("run", "exp.toml", "--dry-run", "--only-builtin", env={**env, "WF_PLUGINS_ALLOW": None}).code == 0
    assert not (tmp_path / "RAN").exists()
    assert wf("run", "exp.toml", "--dry-run", "--quiet", "-p", "evil.py", env=env).code == 0
    assert (tmp_path / "RAN").exists()


def test_a_local_run_is_trusted_except_for_weights_of_user_checkpointers(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(EVIL + "\nfrom wf_durability.checkpointer import DirectoryCheckpointer as C\n")
    env = {"WORK": str(tmp_path), "WF_STATE_DIR": str(tmp_path / "state")}
    line = "run --dataset iris --model net.py:Net --checkpointer net.py:C --epochs 1 --quiet --run-dir mine"
    result = wf(*line.split(), env=env)
    assert result.code == 0, result.stderr
    (tmp_path / "net.py").unlink()
    assert wf("evaluate", "mine", env=env).code == 0
    (tmp_path / "RAN").unlink()
    result = wf("run", "--dataset", "iris", "--model", "linear", "--init-from", "mine", "--dry-run", env=env)
    assert result.code == 2
    assert "wf export mine FILE.safetensors" in result.stderr
    assert wf("evaluate", "mine", env={**env, "WF_STATE_DIR": str(tmp_path / "other")}).code == 2
    assert not (tmp_path / "RAN").exists()
