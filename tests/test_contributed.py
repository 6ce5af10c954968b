"""A plugin's kind, run value and setting, on the command line and in run files."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

PLUGIN = '''
import torch
from torch import nn
from wf import Component, Hook, Kind, Param, RunValue, hookimpl


class Grid:
    """Boxes around each place.

    Args:
        num_classes: Classes of the boxes.
        size: Their side, in pixels.
    """

    def __init__(self, num_classes: int, size: float = 2.0) -> None:
        self.size, self.num_classes = size, num_classes
        self.noise = torch.rand(2).tolist()


class Net(nn.Module):
    """A linear model that is told of anchors."""

    def __init__(self, num_features: int, num_outputs: int, anchor_generator: Grid, num_anchors: int) -> None:
        super().__init__()
        self.layer = nn.Linear(num_features, num_outputs)
        print(f"size {anchor_generator.size:g}, {num_anchors} anchors")

    def forward(self, inputs):
        return self.layer(inputs.flatten(1))


def num_anchors(anchor_generator: Grid):
    yield 2 * anchor_generator.num_classes
    print("closed")


@hookimpl
def wf_kinds():
    return [Kind(name="anchor-generator", summary="makes the anchors (initial boxes) of a detector")]


@hookimpl
def wf_values():
    return [RunValue(name="num_anchors", type="int", summary="boxes at each place", provider=num_anchors)]


@hookimpl
def wf_settings():
    return [Param(name="patience_sec", type=float, default=1.5, help="How long to wait.")]


class Waiting(Hook):
    """Says how long it waits."""

    def __init__(self, patience_sec: float) -> None:
        print(f"waits {patience_sec:g} s")


@hookimpl
def wf_components():
    return [
        Component("anchor-generator", "grid", Grid, "a grid of boxes"),
        Component("anchor-generator", "fine", Grid, "a fine grid"),
        Component("model", "anchored", Net, "a linear model with anchors"),
        Component("hook", "waiting", Waiting, "waits"),
    ]
'''
GRID = ("--anchor-generator", "grid")
SHORT = ("--dataset", "iris", "--steps", 3, "--device", "cpu", "--quiet")


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    (tmp_path / "anchors.py").write_text(PLUGIN)
    return "anchors.py"


def test_contributions_on_the_command_line(wf: Any, plugin: str, tmp_path: Path) -> None:
    chosen = ("--model", "anchored", "--anchor-generator", "grid", "--anchor-generator.size", 9)
    done = wf("run", "-p", plugin, *chosen, *SHORT, "--name", "a", "--hook", "+waiting", "--patience-sec", 4)
    assert done.code == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line[:4] in ("size", "wait", "clos")] == [
        "size 9, 6 anchors",
        "waits 4 s",
        "closed",
    ]
    document = tomllib.loads((tmp_path / "runs/a/run.toml").read_text())
    assert document["anchor-generator"] == {"use": "grid", "size": 9.0}
    assert document["patience_sec"] == 4.0
    for again in (("evaluate", "a"), ("run", "runs/a/run.toml", "--name", "b", *SHORT[2:])):
        done = wf(*again, "-p", plugin)
        assert done.code == 0, done.stderr
        assert "size 9, 6 anchors" in done.stdout
    assert (tmp_path / "runs/b/run.toml").read_text() == (tmp_path / "runs/a/run.toml").read_text()
    left_out = wf("evaluate", "a", "-p", "no:anchors")
    assert (left_out.code, "of this run came from plugin 'anchors', which is not loaded" in left_out.stderr) == (
        3,
        True,
    )
    text = wf("run", "-p", plugin, "--help").stdout
    assert "--anchor-generator NAME" in text
    assert "--patience-sec VALUE" in text
    assert "--anchor-generator" not in wf("run", "--help").stdout


def test_contributions_in_a_run_file_that_names_the_plugin(wf: Any, plugin: str, tmp_path: Path) -> None:
    head, tables = 'plugins = ["anchors.py"]\npatience_sec = 2', '[model]\nuse = "anchored"\n[anchor-generator]'
    (tmp_path / "run.toml").write_text(f'{head}\n{tables}\nuse = "grid"\nsize = 5\n')
    done = wf("run", "run.toml", *SHORT)
    assert done.code == 0, done.stderr
    assert "size 5, 6 anchors" in done.stdout
    done = wf("run", "run.toml", *SHORT, "--anchor-generator.size", 3)
    assert done.code == 2
    assert "if a plugin in the run file declares this kind, name the plugin with -p as well" in done.stderr
    done = wf("run", "run.toml", *SHORT, "--anchor-generator.size", 3, "-p", plugin)
    assert "size 3, 6 anchors" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--model", "anchored"),
            "model 'anchored' needs 'anchor_generator', which this run does not know\n"
            "  name one: --anchor-generator NAME (available: fine, grid)",
        ),
        (GRID, "anchor-generator is given, but nothing in this run takes one"),
        (("--anchor-generator", "gird"), "unknown anchor-generator 'gird'\n  did you mean 'grid'?"),
        (
            ("--anchor-generator.size", "x", "--model", "anchored", "--anchor-generator", "grid"),
            "option 'size' wants float, not 'x'",
        ),
        (("--patience-sec", "long"), "the run: option 'patience_sec' wants float, not 'long'"),
    ],
)
def test_invalid_contributed_options_are_refused(
    wf: Any, plugin: str, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = wf("run", "-p", plugin, *words, *SHORT)
    assert (done.code, message in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of processes for which the plugin is installed."""
    site = tmp_path / "site"
    (site / "wf_anchors-0.3.0.dist-info").mkdir(parents=True)
    (site / "anchored.py").write_text(PLUGIN)
    (site / "wf_anchors-0.3.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: wf-anchors\nVersion: 0.3.0\n"
    )
    (site / "wf_anchors-0.3.0.dist-info/entry_points.txt").write_text("[wf.plugins]\nmain = anchored\n")
    return {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}


@pytest.mark.exhaustive
def test_contributions_of_installed_plugins_in_python(installed: dict[str, str], tmp_path: Path) -> None:
    """Keys of installed plugins are known before the first key is read, also in a fresh process."""
    (tmp_path / "run.toml").write_text(
        'patience_sec = 2\n[model]\nuse = "anchored"\n[anchor-generator]\nuse = "grid"\n'
    )
    say = "import sys, wf; short = dict(dataset='iris', steps=2, device='cpu', quiet=True)\n"
    for line, said in (
        ("wf.run('run.toml', run_dir='runs/a', hook=['waiting'], **short)", "waits 2 s"),
        ("wf.run(patience_sec=4, hook=['waiting'], save=False, **short)", "waits 4 s"),
        ("wf.load_model('runs/a')", "size 2, 6 anchors"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", say + line],
            cwd=tmp_path,
            env={**os.environ, **installed},
            capture_output=True,
            text=True,
        )
        assert said in done.stdout, done.stderr


def test_a_run_with_a_setting_of_a_removed_plugin(wf_process: Any, installed: dict[str, str], tmp_path: Path) -> None:
    """The plugin is named; a run that did not use it works without it."""
    done = wf_process("run", *SHORT, "--name", "set", "--patience-sec", 4, env=installed)
    assert done.code == 0, done.stderr
    for words in (("evaluate", "set"), ("run", "runs/set/run.toml"), ("resume", "set", "--epochs", 9)):
        done = wf_process(*words)
        assert (done.code, done.stderr.splitlines()) == (
            3,
            [
                "wf: key 'patience_sec' of this run came from wf-anchors 0.3.0, which is not loaded",
                "  the run: runs/set",
                "  try: install wf-anchors 0.3.0 from its original source",
            ],
        )


def test_compare_varies_a_contributed_kind(wf: Any, plugin: str) -> None:
    short = ("--dataset", "iris", "--steps", 3, "--repeats", 1, "--device", "cpu", "--quiet")
    done = wf("compare", "-p", plugin, "--model", "anchored", "--vary", "anchor-generator=grid,fine", *short)
    assert done.code == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line[:4] in ("grid", "fine")] == ["grid", "fine"]


def test_allow_drift_accepts_conditions_of_the_runs_plugins(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "moody.py").write_text(CONDITION)
    run = ("--dataset", "iris", "--epochs", 1, "--device", "cpu", "--quiet")
    assert wf("run", "-p", "moody.py", *run, "--name", "moody", env={"MOOD": "good"}).code == 0
    resume = ("resume", "moody", "--epochs", 2, "--quiet")
    refused = wf(*resume, env={"MOOD": "bad"})
    assert (refused.code, "--allow-drift mood" in refused.stderr) == (2, True), refused.stderr
    assert "did you mean 'mood'?" in wf(*resume, "--allow-drift", "moot", env={"MOOD": "bad"}).stderr
    done = wf(*resume, "--allow-drift", "mood", env={"MOOD": "bad"})
    assert done.code == 0, done.stderr
    assert "warning: mood: was good, is bad" in done.stderr


CONDITION = """
import os
from wf import Condition, hookimpl


def mood():
    return os.environ["MOOD"]


@hookimpl
def wf_conditions():
    return [Condition(name="mood", summary="of the day", means="nothing", level="error", target=mood)]
"""


def test_an_unknown_option_blames_the_plugin_that_failed_to_load(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_package_of_anybody\n" + PLUGIN)
    for words in (("--anchor-generator.size", 3), GRID):
        done = wf("run", "-p", "broken.py", *words, *SHORT)
        assert (done.code, "plugin 'broken' could not be loaded" in done.stderr) == (3, True), done.stderr


def test_an_unused_setting_gives_a_warning(wf: Any, plugin: str) -> None:
    done = wf("run", "-p", plugin, "--patience-sec", 4, *(word for word in SHORT if word != "--quiet"))
    assert done.code == 0
    assert "warning: patience_sec is set, but nothing in this run takes it" in done.stderr


def test_check_accepts_components_of_contributed_kinds(wf: Any, plugin: str) -> None:
    done = wf("check", "anchor-generator", "grid", "-p", plugin)
    assert done.code == 0, done.stdout
    assert "nothing in the kit's own run uses it; name a part that does" in " ".join(done.stdout.split())
