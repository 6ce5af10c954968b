"""`wf check` on the command line; test_checks.py tests the checks themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = '''
import torch.nn.functional as F
from wf import Component, hookimpl
from wf.traits import LossTraits


def good(predictions, targets):
    """The mean absolute error."""
    return F.l1_loss(predictions, targets)


def bad(predictions, targets, scale: float = 1.0):
    """Takes the logarithm of a softmax.

    Args:
        predictions: Of the model.
        targets: Of the dataset.
        scale: A factor.
    """
    print("hello")
    return scale * F.nll_loss(predictions.softmax(1).log(), targets)


@hookimpl
def wf_components():
    return [
        Component("loss", "good", good, "of a test", traits=LossTraits(predictions="real", targets=("real",))),
        Component("loss", "bad", bad, "of a test", traits=LossTraits(predictions="logits", targets=("class_index",))),
    ]
'''
REASON = "it is for small scores"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(PLUGIN)
    return tmp_path


def test_check_a_plugin(wf: Any, mine: Path) -> None:
    done = wf("check", "mine", "-p", "mine.py")
    assert done.code == 1
    bad, good = done.stdout.split("loss good ")
    assert bad.startswith("loss bad (mine): 1")
    assert "  failed   loss-extreme" in bad
    assert "the value is inf" in bad
    assert "work on logits" in bad
    assert good.startswith("(mine): 1")
    assert "failed" not in good.partition("\n\n")[0]
    assert "  skipped  2 checks" in good
    assert "a single-file plugin may contain its components: light, fast" in " ".join(good.split())
    assert "\n2 components: " in good
    assert "hello" not in done.stdout


def test_check_as_json(wf: Any, mine: Path) -> None:
    done = wf("check", "loss", "bad", "-p", "mine.py", "--json")
    assert done.code == 1
    report = json.loads(done.stdout)
    assert set(report) == {"results", "passed", "failed", "skipped"}
    assert report["failed"] == 1
    [failed] = [result for result in report["results"] if result["status"] == "failed"]
    assert (failed["component"], failed["check"]) == ("loss/bad", "loss-extreme")
    assert set(failed) == {"component", "check", "status", "message", "fix"}
    assert len(report["results"]) == report["passed"] + report["failed"] + report["skipped"]


@pytest.mark.parametrize("name", ["loss-extreme", "loss/bad:loss-extreme"])
def test_skip_with_a_reason(wf: Any, mine: Path, name: str) -> None:
    done = wf("check", "mine", "-p", "mine.py", "--skip", f"{name}={REASON}")
    assert done.code == 0, done.stdout
    assert f"skipped loss-extreme {REASON}" in " ".join(done.stdout.split())
    assert done.stderr == ""


def test_skip_in_settings(wf: Any, mine: Path) -> None:
    text = f'"loss/bad:loss-extreme" = "{REASON}"\n"loss/good:model-eval" = "x"\n"loss/else:summary" = "x"\n'
    (mine / "pyproject.toml").write_text(f"[tool.wf.check.skip]\n{text}")
    done = wf("check", "mine", "-p", "mine.py")
    assert done.code == 0, done.stdout
    assert f"skipped loss-extreme {REASON}" in " ".join(done.stdout.split())
    assert done.stderr == "wf: warning: the skip of 'loss/good:model-eval' has no effect here\n"


def test_settings_name_no_code(wf: Any, mine: Path) -> None:
    (mine / "evil.py").write_text("open('RAN', 'w').close()\n")
    (mine / "pyproject.toml").write_text('[tool.wf.check.run."loss/good"]\nmodel = "evil.py:Net"\n')
    done = wf("check", "loss/good", "-p", "mine.py")
    assert "settings cannot name code" in done.stdout + done.stderr
    assert not (mine / "RAN").exists()


def test_skip_that_skips_nothing_is_reported(wf: Any, mine: Path) -> None:
    done = wf("check", "good", "-p", "mine.py", "--skip", "model-eval=x")
    assert done.code == 0
    assert done.stderr == "wf: warning: the skip of 'model-eval' has no effect here\n"


def test_component_options_on_the_command_line(wf: Any, mine: Path) -> None:
    assert "is inf" in wf("check", "bad", "-p", "mine.py").stdout
    assert "is nan" in wf("check", "bad", "-p", "mine.py", "--loss.scale", "nan").stdout


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["god"], 2, "did you mean 'good'"),
        (["loss", "god"], 2, "did you mean 'good'"),
        (["wf-loses"], 2, "did you mean 'wf-losses'"),
        (["good", "--skip", "los-pure=x"], 2, "did you mean 'loss-pure'"),
        (["good", "--skip", "loss-pure"], 2, "the reason is missing"),
        (["good", "--skip", "loss-pure="], 2, "the reason is missing"),
        (["mine", "--loss.scale", "2"], 2, "applies to one loss, but 2 are checked"),
        (["bad", "--loss.scal", "2"], 2, "did you mean 'scale'"),
        (["good", "--metric.x", "2"], 2, "--metric.NAME.OPTION"),
        ([], 2, "Missing argument"),
        (["broken", "-p", "broken.py"], 3, "no_such_package"),
        (["loss", "nosuch.py:f"], 2, "there is no file 'nosuch.py'"),
        (["loss", "mine.py:god"], 2, "did you mean 'good'"),
        (["bad", "--loss.scale", "abc"], 2, "'scale' wants float"),
        (["./mine.py"], 2, "wf check mine -p ./mine.py"),
        (["."], 2, "check it by name: pip install ."),
        (["folder"], 2, "check it by name: pip install ./folder"),
        (["numpy"], 2, "'numpy' is installed but no plugin"),
        (["wf-core"], 2, "'wf-core' is installed but no plugin"),
    ],
)
def test_invalid_arguments_are_refused(wf: Any, mine: Path, args: list[str], code: int, message: str) -> None:
    (mine / "broken.py").write_text("import no_such_package\n")
    (mine / "folder").mkdir()
    done = wf("check", *args, "-p", "mine.py")
    assert (done.code, done.stdout) == (code, "")
    assert message in done.stderr


def test_check_user_code(wf: Any, mine: Path) -> None:
    done = wf("check", "loss", "mine.py:good")
    assert done.code == 0, done.stdout
    assert done.stdout.startswith("loss mine-good (own code): ")


def test_check_a_user_hook(wf: Any, mine: Path) -> None:
    (mine / "stop_at.py").write_text(
        'class StopAt:\n    """Ends the run."""\n\n    def on_evaluation_end(self, run, split, metrics):\n'
        "        if metrics['loss'] < 0:\n            run.stop('enough')\n"
    )
    done = wf("check", "hook", "stop_at.py:StopAt")
    assert done.code == 0, done.stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["scheduler", "step"], "--scheduler.step_size 10"),
        (["transform", "pad"], "--transform.pad.pixels 10"),  # or its other option, as its own message says
        pytest.param(["scheduler", "multistep"], "--scheduler.milestones '[10]'", marks=pytest.mark.exhaustive),
        pytest.param(
            ["transform", "normalize"],
            "--transform.normalize.mean '[0.5]' --transform.normalize.std '[0.5]'",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_a_required_option_without_a_value_is_skipped(wf: Any, words: list[str], line: str) -> None:
    done = wf("check", *words)
    assert done.code == 0, done.stdout
    assert f"set a value: {line}" in " ".join(done.stdout.split())


def test_a_required_option_with_a_value(wf: Any) -> None:
    assert "skipped" not in wf("check", "step", "--scheduler.step_size", 10).stdout
    assert (
        "transform pad (wf-datasets 0.1.0): 15 passed, 1 skipped"
        in wf("check", "pad", "--transform.pad.pixels", 10).stdout
    )
    assert wf("check", "pad", "--transform.pad.pixels", -1).code == 1


def test_unknown_names_are_refused_without_torch() -> None:
    code = (
        "import sys\nfrom wf_cli.main import main\n"
        "try:\n    main(['check', 'focl'])\nexcept SystemExit as stop:\n    assert stop.code == 2, stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "did you mean 'focal'" in done.stderr
