"""Drawing runs: the plots of a task, third-party plots, and messages for plots that cannot be drawn."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wf as wf_package

OWN = '''
from wf import Component, hookimpl
from wf_charts import PlotTraits, Lines, Series


@hookimpl
def wf_components():
    return [
        Component("plot", "margin", Margin, "how sure the model is", traits=PlotTraits(tasks=("classification",))),
        Component("plot", "faulty", Faulty, "fails"),
    ]


class Margin:
    """The first and the second output.

    Args:
        outputs: The task.
    """

    splits = ("validation",)

    def __init__(self, outputs, scale: float = 1.0):
        self.task, self.scale, self.points = outputs, scale, []

    def update(self, seen):
        self.points += (self.scale * seen.outputs[:, 0]).tolist()

    def charts(self):
        series = [Series(name="margin", x=range(len(self.points)), y=self.points, mark="points")]
        return [Lines(name="margin", title=f"Margin x {self.scale:g}", series=series)]


class Faulty:
    """Fails."""

    def update(self, seen):
        raise RuntimeError("it is out of order")

    def charts(self):
        return []
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run."""
    path, before = tmp_path_factory.mktemp("plotting"), Path.cwd()
    os.chdir(path)
    try:
        (path / "own.py").write_text(OWN)
        wf_package.run(dataset="iris", model="linear", epochs=1, name="iris", quiet=True)
        yield path
    finally:
        os.chdir(before)


@pytest.fixture
def run_copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    shutil.copytree(folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path


FILES = ("loss", "metrics", "confusion", "roc", "precision-recall", "calibration", "worst")


def test_all_plots_of_the_task_are_drawn(run_copy: Path, wf: Any) -> None:
    done = wf("plot", "iris", "--format", "png")
    assert done.stdout.split() == [f"runs/iris/plots/{name}.png" for name in FILES]
    assert all((run_copy / line).read_bytes().startswith(b"\x89PNG") for line in done.stdout.split())


def test_the_worst_rows_are_in_the_units_of_the_data(run_copy: Path, wf: Any) -> None:
    shown = wf("plot", "iris", "--plot", "worst", "--terminal").stdout
    given = {int(number): row.tolist() for number, row in enumerate(wf_package.create("dataset", "iris").train.inputs)}
    found = re.findall(r"sample (\d+): .*\n\s+(.*)", shown)
    assert len(found) > 5
    for number, row in found:
        assert [float(cell.rsplit(" ", 1)[1]) for cell in row.split(", ")] == pytest.approx(
            given[int(number)], abs=0.01
        )


def test_plotting_in_the_terminal_writes_no_file(run_copy: Path, wf: Any) -> None:
    done = wf("plot", "iris", "--plot", "confusion", "--terminal")
    assert "setosa" in done.stdout
    assert "Confusion matrix of the test split" in done.stdout
    assert not (run_copy / "runs" / "iris" / "plots").exists()


def test_plots_of_another_task_and_unknown_plots_are_refused(run_copy: Path, wf: Any) -> None:
    done = wf("plot", "iris", "--plot", "residuals")
    assert done.code == 2
    assert "plot 'residuals' is for the tasks regression, and the run's is classification" in done.stderr
    for line in (("plot", "iris"), ("run", "--dataset", "iris", "--hook", "+plots", "--dry-run")):
        done = wf(*line, "--plot", "comparison-means")
        assert done.code == 2
        assert "plot 'comparison-means' draws a comparison, not a run" in done.stderr
    done = wf("plot", "iris", "--plot", "confusin")
    assert done.code == 2
    assert "did you mean 'confusion'" in done.stderr


def test_curves_are_drawn_without_data_or_weights(run_copy: Path, wf: Any) -> None:
    rows = "\n".join(f"{number % 7},{number % 5},{'ab'[number % 2]}" for number in range(40))
    (run_copy / "table.csv").write_text(f"x,y,kind\n{rows}\n")
    wf("run", "--dataset", "table.csv", "--dataset.target", "kind", "--epochs", "1", "--name", "table", "--quiet")
    (run_copy / "table.csv").unlink()
    done = wf("plot", "table")
    assert done.stdout.split() == ["runs/table/plots/loss.svg", "runs/table/plots/metrics.svg"]
    assert "not drawn: confusion, roc, precision-recall, calibration, worst: " in done.stderr
    assert "table.csv" in done.stderr
    shutil.rmtree(run_copy / "runs" / "iris" / "checkpoints")
    done = wf("plot", "iris")
    assert done.stdout.split() == ["runs/iris/plots/loss.svg", "runs/iris/plots/metrics.svg"]
    assert "checkpoint" in done.stderr
    done = wf("plot", "iris", "--plot", "roc")
    assert done.code == 4
    assert "nothing could be drawn" in done.stderr


def test_third_party_plots_including_a_failing_one(run_copy: Path, wf: Any) -> None:
    done = wf("plot", "iris", "-p", "own.py")
    assert done.code == 3
    assert done.stdout.split() == [f"runs/iris/plots/{name}.svg" for name in (*FILES, "margin")]
    assert "plot 'faulty' of own: RuntimeError: it is out of order" in done.stderr
    done = wf("plot", "iris", "-p", "own.py", "--plot", "margin", "--terminal")
    assert "Margin x 1" in done.stdout


def test_a_run_draws_the_plots_that_it_names_with_their_options(run_copy: Path, wf: Any) -> None:
    line = ["--dataset", "iris", "--model", "linear", "--epochs", "1", "--hook", "+plots", "-p", "own.py", "--quiet"]
    wf("run", *line, "--name", "own", "--plot", "margin", "--plot.margin.scale", "2")
    plots = run_copy / "runs" / "own" / "plots"
    assert [file.name for file in plots.iterdir()] == ["margin.svg"]
    assert "Margin x 2" in (plots / "margin.svg").read_text()
    assert "[[plot]]" in (run_copy / "runs" / "own" / "run.toml").read_text()
    done = wf("plot", "own", "--plot", "margin", "--terminal", "-p", "own.py")
    assert "Margin x 2" in done.stdout


def test_plots_in_a_run_change_nothing_in_it(run_copy: Path, wf: Any) -> None:
    line = ["--dataset", "iris", "--model", "mlp", "--epochs", "2", "--quiet"]
    wf("run", *line, "--name", "plain")
    wf("run", *line, "--name", "drawn", "--hook", "+plots")
    records = [(run_copy / "runs" / name / "metrics.jsonl").read_bytes() for name in ("plain", "drawn")]
    assert records[0] == records[1]
    assert len(list((run_copy / "runs" / "drawn" / "plots").iterdir())) == len(FILES)
