"""``wf compare``: tiny grids, interruptions of every kind, and errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("compare")  # one worker makes the comparisons that these tests copy

IRIS = ("--dataset", "iris", "--epochs", 3, "--repeats", 2)
TINY = (*IRIS, "--model", "linear")
ROWS = ("--vary", "optimizer=adam,sgd")

KILL = '''
import os, signal, time
from wf import Hook

class Kill(Hook):
    """Kills a process, once, in the third run that gets here."""

    def on_step_end(self, run) -> None:
        if run.progress.step == 9 and not os.path.exists("killed"):
            open("got-here", "a").write("x")
            if os.path.getsize("got-here") == 3:
                open("killed", "w").close()
                os.kill(os.WHOM(), signal.SIGKILL)
                time.sleep(1)  # so that this step is still on when the parent's end is seen
'''

KILLED = (*TINY, *ROWS, "--hook", "+kill.py:Kill", "--checkpoint-every", "3steps", "--name", "c")

NETS = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_features: int, num_outputs: int):
        super().__init__(nn.Flatten(), nn.Linear(num_features, num_outputs))

class Crash(Net):
    def forward(self, inputs):
        if len(inputs) > 3 and self.training:
            raise RuntimeError("boom")
        return super().forward(inputs)

class Broken(Net):
    def __init__(self, num_features: int, num_outputs: int):
        raise RuntimeError("boom")
"""

Compare = Callable[..., Any]


@pytest.fixture
def compare(wf: Any, folder: Path) -> Compare:
    """Compares tiny rows; `name` is the name of the comparison."""

    def run(*more: object, name: str = "c", code: int = 0) -> Any:
        tiny = [word for word in TINY if word not in ("--repeats", 2)] if "--repeats" in more else TINY
        result = wf("compare", *tiny, *ROWS, "--name", name, *more)
        assert result.code == code, result.stderr
        return result

    return run


@pytest.fixture(scope="module")
def compared_runs(fork_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a comparison named `c`, as `compare` makes it."""
    place = tmp_path_factory.mktemp("made")
    result = fork_server.run(["compare", *map(str, (*TINY, *ROWS)), "--name", "c", "--quiet"], place, os.environ, 60)
    assert result.code == 0, result.stderr
    return place / "runs"


@pytest.fixture(scope="module")
def straight(fork_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an undisturbed comparison named `c` with the hook of `KILL`."""
    place = tmp_path_factory.mktemp("straight")
    (place / "kill.py").write_text(KILL)
    (place / "killed").touch()
    result = fork_server.run(["compare", *map(str, KILLED), "--quiet"], place, os.environ, 60)
    assert result.code == 0, result.stderr
    return place


@pytest.fixture
def trained(compared_runs: Path, folder: Path) -> Path:
    """As `made`, a copy for each test; gives the comparison's directory."""
    return Path(shutil.copytree(compared_runs, folder / "runs", symlinks=True)) / "c"


def cells(folder: Path, name: str) -> list[Path]:
    """The run directories of a comparison."""
    return sorted(path.parent for path in (folder / "runs" / name).glob("*/seed-*/run.toml"))


def contents(folder: Path, name: str) -> dict[str, bytes]:
    """The results that must not depend on interruptions: figures, run files and weights of every run."""
    found = {}
    for cell in cells(folder, name):
        last = sorted(path for path in (cell / "checkpoints").iterdir() if re.fullmatch(r"step-\d+", path.name))[-1]
        for file in (cell / "metrics.jsonl", cell / "run.toml", last / "tensors.safetensors"):
            found[file.relative_to(folder / "runs" / name).as_posix()] = file.read_bytes().replace(
                str(folder).encode(), b""
            )
    return found


def manifest(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    return read


def is_over(path: Path) -> bool:
    """Whether a run is over; its run file is written a moment before its manifest."""
    return (path / "manifest.json").exists() and manifest(path)["status"] != "running"


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """A record without its times."""
    return {
        **record,
        "directory": None,
        "jobs": None,
        "rows": [
            {**row, "seconds": None, "runs": [{**run, "run_dir": None, "seconds": None} for run in row["runs"]]}
            for row in record["rows"]
        ],
    }


def test_a_grid_is_trained_and_compared(compare: Compare, folder: Path) -> None:
    result = compare("--vary", "lr=0.01,0.1", "--json", name="grid")
    record = result.json()
    assert [row["name"] for row in record["rows"]] == ["adam, lr 0.01", "adam, lr 0.1", "sgd, lr 0.01", "sgd, lr 0.1"]
    assert record["rows"][3]["settings"] == {"optimizer": "sgd", "lr": "0.1"}
    assert (record["by"], record["larger_is_better"], record["confidence"]) == ("validation/accuracy", True, 0.95)
    for row in record["rows"]:
        assert [run["repeat"] for run in row["runs"]] == ["seed 42", "seed 43"]
        values = [manifest(folder / run["run_dir"])["metrics"]["validation/accuracy"] for run in row["runs"]]
        assert row["mean"] == pytest.approx(sum(values) / 2)
        assert [run["value"] for run in row["runs"]] == values
    table = json.loads((folder / "runs/grid/table.json").read_text())
    assert table == {**record, "status": "done"}
    assert len(cells(folder, "grid")) == 8


def test_repeating_the_command_trains_only_the_missing_runs(compare: Compare, wf: Any, folder: Path) -> None:
    first = compare("--repeats", 1)
    before = {cell: (cell / "manifest.json").stat().st_mtime_ns for cell in cells(folder, "c")}
    again = compare("--repeats", 1)
    assert again.stdout == first.stdout
    assert again.stderr == ""
    more = compare("--repeats", 2)
    assert "2 of 4 runs were already finished" in more.stderr
    assert {cell: (cell / "manifest.json").stat().st_mtime_ns for cell in before} == before
    assert len(cells(folder, "c")) == 4
    line = [str(word) for word in TINY if word not in ("--repeats", 2)]
    assert wf("run", *line, "--optimizer", "sgd", "--seed", 43, "--name", "single", "--quiet").code == 0
    cell, single = folder / "runs/c/sgd/seed-43", folder / "runs/single"
    for file in ("metrics.jsonl", "run.toml"):
        assert (cell / file).read_bytes() == (single / file).read_bytes(), "a cell equals a plain wf run"
    assert [row["num"] for row in compare("--repeats", 1, "--json").json()["rows"]] == [1, 1]
    place = folder / "runs/c/manifest.json"
    place.write_text(place.read_text().replace('"wf-optimizers": "', '"wf-optimizers": "99.'))
    refused = compare("--repeats", 3, code=2).stderr
    assert "wf-optimizers 99." in refused
    assert "--name NAME" in refused


@pytest.mark.parametrize(
    ("whom", "how", "jobs"),
    [
        ("getpid", "SIGKILL", 1),
        pytest.param("getppid", "SIGKILL", 2, marks=pytest.mark.exhaustive),
        ("getppid", "SIGTERM", 1),
    ],
)
def test_an_interrupted_comparison_resumes_to_the_same_result(
    wf: Any, folder: Path, straight: Path, whom: str, how: str, jobs: int
) -> None:
    """After kill -9 of a run's process, or kill -9 or a signal to the command, all equals an undisturbed comparison."""
    (folder / "kill.py").write_text(KILL.replace("WHOM", whom).replace("SIGKILL", how))
    broken = wf("compare", *KILLED, "--jobs", jobs)
    if whom == "getpid":
        assert broken.code == 0
        assert "killed by SIGKILL; restarted" in broken.stderr
    else:
        assert broken.code == {"SIGKILL": -9, "SIGTERM": 143}[how]
        assert "Traceback" not in broken.stderr
        for cell in cells(folder, "c"):  # without its parent a run saves a checkpoint and stops, or is done
            wait_for(lambda place=cell: is_over(place))  # type: ignore[misc]  # bound at once
        states = {cell: manifest(cell) for cell in cells(folder, "c")}
        done = {cell: state for cell, state in states.items() if state["status"] == "done"}
        begun = [cell for cell, state in states.items() if state["status"] == "interrupted"]
        assert done
        assert begun
        for cell in begun:
            (cell / "mark").touch()
        (listed,) = wf("runs", "--json").json()
        assert listed["status"] == {"SIGKILL": "killed", "SIGTERM": "interrupted"}[how]
        assert (listed["num_runs"], listed["num_done"]) == (4, len(done))
        if how == "SIGTERM":
            assert "wf compare --resume runs/c" in broken.stderr
            assert manifest(folder / "runs/c")["status"] == "interrupted"
            assert "interrupted: stopped by SIGTERM" in wf("compare", "c").stdout
        assert wf("compare", "--resume", "c").code == 0
        assert {cell: manifest(cell) for cell in done} == done, "finished runs are left unchanged"
        assert all((cell / "mark").exists() for cell in begun), "started runs continue instead of starting over"
    assert (folder / "killed").exists()
    assert contents(folder, "c") == contents(straight, "c")
    ours, theirs = (json.loads((place / "runs/c/table.json").read_text()) for place in (folder, straight))
    assert without_times(ours) == without_times(theirs)


def test_the_default_name_depends_on_the_rows_and_their_code(wf: Any, folder: Path) -> None:
    nets = folder / "nets.py"
    nets.write_text(NETS)
    line = ("compare", *IRIS, "--repeats", 1, "--vary", "model=nets.py:Net,linear", "--quiet")
    first, again = wf(*line), wf(*line, "--by", "test/accuracy")
    assert (first.code, again.code) == (0, 0), first.stderr + again.stderr
    (only,) = (folder / "runs").glob("compare-iris-model-*")
    nets.write_text(NETS + "# changed\n")
    shutil.rmtree(only / "linear/seed-42")
    changed = wf("compare", "--resume", only)
    assert changed.code == 2
    assert re.search(r"different code in .*/nets.py", changed.stderr)
    assert wf(*line).code == 0
    assert len(list((folder / "runs").glob("compare-iris-model-*"))) == 2, "changed code is another comparison"


def test_a_diverging_run_is_shown_and_the_others_are_trained(wf: Any, folder: Path) -> None:
    line = ("compare", *TINY, "--vary", "loss=ce,my.py:bad,focal", "--name", "c")
    result = wf(*line)
    assert result.code == 5, result.stderr
    assert re.search(r"my.py:bad, seed 42, 43: diverged: ", result.stdout)
    assert "2/2" in result.stdout
    assert "0/2" in result.stdout
    state = manifest(folder / "runs/c")
    assert (state["status"], state["reason"]) == ("diverged", "2 of 6 runs diverged")
    again = wf(*line, "--json")
    assert again.code == 5
    assert again.stderr == "", "a run that diverged is not trained again"
    assert [run["status"] for run in again.json()["rows"][1]["runs"]] == ["diverged", "diverged"]


def test_a_failing_run_is_shown_and_retried(wf: Any, folder: Path) -> None:
    (folder / "nets.py").write_text(NETS)
    line = ("compare", *IRIS, "--vary", "model=linear,nets.py:Crash", "--name", "c")
    result = wf(*line)
    assert result.code == 1, result.stderr
    assert "nets.py:Crash, seed 42, 43: failed: RuntimeError: boom" in result.stdout
    log = (folder / "runs/c/nets.py-Crash/seed-42.log").read_text()
    assert "Traceback" in log
    again = wf(*line)
    assert again.code == 1
    assert "2 of 4 runs were already finished" in again.stderr
    assert manifest(folder / "runs/c")["status"] == "failed"


def test_a_run_that_is_over_its_time_is_not_restarted_and_resumes_by_the_next_command(wf: Any, folder: Path) -> None:
    line = ("compare", *IRIS, "--epochs", "1000000", "--max-time", "1s", "--vary", "model=linear,mlp", "--name", "c")
    result = wf(*line, "--repeats", "1")
    assert result.code == 6, result.stderr
    assert "restarted" not in result.stderr
    assert re.search(r"linear, seed 42: failed: stopped after step [\d,]+: max_time 1s is over", result.stdout)
    before = manifest(folder / "runs/c/linear/seed-42")["steps"]
    wf(*line, "--repeats", "1")
    assert manifest(folder / "runs/c/linear/seed-42")["steps"] > before


def test_rows_that_cannot_be_built_are_refused_together(wf: Any, folder: Path) -> None:
    (folder / "nets.py").write_text(NETS)
    result = wf("compare", *IRIS, "--vary", "model=linear,nets.py:Broken,net.py:Net", "--name", "c")
    assert result.code == 1
    assert "nets.py:Broken: RuntimeError: boom" in result.stderr
    assert result.stderr.count("net.py:Net: model 'net-net' gives shape [2, 10]") == 1
    *_, told = result.stderr.partition("these rows cannot be trained\n")
    assert [line for line in told.splitlines() if not line.startswith(("  nets.py", "  net.py", "    "))] == []
    assert result.stderr.count("gives shape") == 1
    assert not (folder / "runs").exists()


def test_the_reason_that_a_row_cannot_be_trained_is_printed_once(wf: Any, folder: Path) -> None:
    result = wf("compare", *IRIS, "--vary", "model=linear,net.py:Net", "--quiet")
    assert result.code == 2
    assert result.stderr.startswith("wf: these rows cannot be trained\n  net.py:Net: model 'net-net' gives shape")


def test_variants_of_a_run_file_become_rows(wf: Any, folder: Path) -> None:
    (folder / "grid.toml").write_text(
        'epochs = 2\n[dataset]\nuse = "iris"\n[model]\nuse = "linear"\n[optimizer]\nuse = "adam"\nlr = 0.1\n'
        '[[variant]]\nname = "as it is"\n[[variant]]\nname = "slow"\noptimizer = { lr = 0.001 }\n'
        '[[variant]]\nbatch_size = 8\n[variant.optimizer]\nuse = "sgd"\n'
    )
    line = ("compare", "grid.toml", "--repeats", 1, "--vary", "loss=ce,focal", "--json", "--name", "c")
    result = wf(*line)
    assert result.code == 0, result.stderr
    names = [row["name"] for row in result.json()["rows"]]
    assert names == [f"{name}, {loss}" for name in ("as it is", "slow", "variant 3") for loss in ("ce", "focal")]
    files = [(folder / "runs/c" / name / "run.toml").read_text() for name in ("as-it-is-ce", "slow-ce", "variant-3-ce")]
    assert [re.findall(r"^lr = (.*)$", text, re.MULTILINE) for text in files] == [["0.1"], ["0.001"], ["0.01"]]
    assert "batch_size = 8" in files[2]
    refused = wf("run", "grid.toml")
    assert refused.code == 2
    assert "wf compare grid.toml" in refused.stderr


def test_dry_run_writes_nothing(compare: Compare, folder: Path) -> None:
    result = compare("--dry-run")
    assert result.stdout.splitlines()[:2] == ["adam", "sgd"]
    assert "4 runs" in result.stderr
    record = compare("--dry-run", "--json", "--quiet").json()
    assert (record["status"], record["directory"]) == ("dry-run", None)
    assert [row["settings"] for row in record["rows"]] == [{"optimizer": "adam"}, {"optimizer": "sgd"}]
    assert record["rows"][0]["runs"] == [{"repeat": "seed 42"}, {"repeat": "seed 43"}]
    assert not (folder / "runs").exists()


def test_folds(wf: Any, folder: Path) -> None:
    result = wf("compare", *[word for word in TINY if word not in ("--repeats", 2)], *ROWS, "--folds", 3, "--json")
    assert result.code == 0, result.stderr
    repeats = [run["repeat"] for run in result.json()["rows"][0]["runs"]]
    assert repeats == [f"seed 42 fold {fold}/3" for fold in (1, 2, 3)]


def test_finished_runs_are_compared(wf: Any, folder: Path) -> None:
    for optimizer in ("adam", "sgd"):
        for seed in (1, 2):
            line = [str(word) for word in TINY if word not in ("--repeats", 2)]
            name = f"{optimizer}-{seed}"
            done = wf("run", *line, "--optimizer", optimizer, "--seed", seed, "--name", name, "--quiet")
            assert done.code == 0, done.stderr
    result = wf("compare", "adam-1", "runs/adam-2", "sgd-1", "sgd-2", "--json")
    assert result.code == 0, result.stderr
    rows = result.json()["rows"]
    assert [row["name"] for row in rows] == ["adam", "sgd"]
    assert rows[1]["difference"]["num"] == 2
    trained = wf("compare", *TINY, *ROWS, "--seed", 1, "--name", "c", "--json").json()["rows"]
    assert [row["difference"] for row in trained] == [row["difference"] for row in rows]
    alone = wf("compare", "adam-1", "sgd-2")
    assert alone.code == 0
    assert "sgd: not compared, it has no seed in common with 'adam'" in alone.stdout
    assert wf("compare", "c", "--json").json()["rows"] == trained


def test_finished_runs_on_different_data_are_refused(wf: Any, folder: Path) -> None:
    for dataset in ("iris", "wine"):
        assert wf("run", "--dataset", dataset, "--epochs", 1, "--name", dataset, "--quiet").code == 0
    result = wf("compare", "iris", "wine")
    assert result.code == 2
    assert "different data" in result.stderr


def test_comparing_different_losses_is_refused_before_training(wf: Any, folder: Path) -> None:
    result = wf("compare", *TINY, "--vary", "loss=ce,focal", "--by", "validation/loss")
    assert result.code == 2
    assert "ce" in result.stderr
    assert "--by validation/accuracy" in result.stderr
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--vary", "optimiser=adam,sgd"], ["did you mean 'optimizer'"]),
        (["--vary", "optimizer=adam,adamm"], ["unknown optimizer 'adamm'", "in row 'adamm'"]),
        (["--vary", "optimizer=adam,Adam"], ["are identical"]),
        (["same.toml"], ["two variants with the name 'a'"]),
        (["--vary", "seed=1,2"], ["--repeats"]),
        (["--vary", "fold=1/5,2/5"], ["--folds"]),
        (["--vary", "epochs=1,2", "--epochs", "3"], ["both --epochs and --vary epochs"]),
        (["--vary", "optimizer.lr=1,2", "--optimizer.lr", "3"], ["both --optimizer.lr and --vary"]),
        (["--vary", "dataset=iris,wine"], ["different data"]),
        (["--dataset", "iris", "--vary", "metric=accuracy,f1"], ["'accuracy' and 'f1' differ only in their metrics"]),
        (["--vary", "optimizer=adam,sgd", "--by", "validation/acc"], ["did you mean 'validation/accuracy'"]),
        (["--vary", "optimizer=adam,sgd", "--repeats", "0"], ["--repeats must be an integer of at least 1"]),
        (["--vary", "optimizer=adam,sgd", "--jobs", "two"], ["--jobs must be an integer"]),
        (["--resume", "nothing"], ["there is no run directory 'nothing'"]),
        (["same.toml", "nothing"], ["give run files, or finished runs"]),
        (["nothing"], ["there is no run directory 'nothing'"]),
        (["nothing", "--epochs", "3", "--loss.gamma", "1"], ["--epochs, --loss.gamma", "cannot be changed"]),
    ],
)
def test_invalid_comparisons_are_refused(wf: Any, folder: Path, line: Sequence[str], words: list[str]) -> None:
    (folder / "same.toml").write_text('[[variant]]\nname = "a"\n[[variant]]\nname = "a"\nbatch_size = 8\n')
    result = wf("compare", *line)
    assert result.code in (2, 4)
    assert "Traceback" not in result.stderr
    assert [word for word in words if word not in result.stderr] == [], result.stderr
    assert not (folder / "runs").exists()


def test_a_name_that_is_taken_is_refused(wf: Any, compare: Compare, folder: Path, trained: Path) -> None:
    (trained / "adam/seed-42").rename(folder / "runs/d")
    assert "not a comparison" in compare(name="d", code=2).stderr
    assert "different rows" in compare("--batch-size", 8, code=2).stderr


def test_a_damaged_run_is_reported_and_retrained(compare: Compare, wf: Any, folder: Path, trained: Path) -> None:
    before = wf("compare", "c")
    (trained / "adam/seed-43/manifest.json").write_text('{"status"')
    shown = wf("compare", "c")
    assert shown.code == 4
    assert "unknown: only 1 of 2 runs of 'adam' exist." in shown.stdout
    assert "adam, seed 43: damaged: runs/c/adam/seed-43/manifest.json cannot be read" in shown.stdout
    assert "1 of 4 runs are not finished; to train them: wf compare --resume runs/c" in shown.stdout
    again = compare()
    assert "3 of 4 runs were already finished" in again.stderr
    assert figures(again.stdout) == figures(before.stdout)
    file = trained / "manifest.json"
    text = file.read_text()
    for damaged, word in (
        (text.replace('"schema": 1', '"schema": 2'), "layout 2"),
        ("{}", "not a comparison"),
        ("{", "read"),
    ):
        file.write_text(damaged)
        refused = wf("compare", *TINY, *ROWS, "--name", "c")
        assert refused.code in (2, 4)
        assert "Traceback" not in refused.stderr
        assert word in refused.stderr
    file.write_text(text.replace('"figures"', '"figs"'))
    assert "damaged: figures missing" in compare(code=4).stderr


def test_a_missing_run_is_reported_and_retrained(wf: Any, folder: Path, trained: Path) -> None:
    before = wf("compare", "c")
    shutil.rmtree(trained / "sgd/seed-42")
    shown = wf("compare", "c", "--json")
    assert shown.code == 4
    row = shown.json()["rows"][1]
    assert [run["status"] for run in row["runs"]] == ["missing", "done"]
    assert row["difference"]["verdict"] == "unknown"
    assert "only 1 of 2 runs of 'sgd' exist" in row["difference"]["why"]
    assert "1 of 4 runs are not finished" in shown.json()["notes"][0]
    again = wf("compare", "--resume", "c")
    assert again.code == 0
    assert figures(again.stdout) == figures(before.stdout)


def test_a_row_without_its_run_file_is_refused(wf: Any, folder: Path, trained: Path) -> None:
    (trained / "sgd/run.toml").unlink()
    for line in (["c"], ["--resume", "c"]):
        refused = wf("compare", *line)
        assert refused.code == 4
        assert "runs/c/sgd/run.toml is missing, so the settings of row 'sgd' are unknown" in refused.stderr
        assert "wf compare runs/c/*/ " in refused.stderr
    rows = (trained / "adam", trained / "sgd")
    assert wf("compare", *rows).code == 0
    (trained / "sgd/seed-42/run.toml").unlink()
    for places in (rows, (trained / "adam/seed-42", trained / "sgd/seed-42")):
        refused = wf("compare", *places)
        assert refused.code == 4
        assert "sgd/seed-42/run.toml is missing" in refused.stderr


def figures(text: str) -> str:
    """A table without its times."""
    return " ".join(re.sub(r"\d+(\.\d+)? (ms|s)", "", text).split())


def test_help_explains_the_chosen_components(wf: Any, folder: Path) -> None:
    result = wf("compare", "--loss", "focal", "--help")
    assert result.code == 0
    for word in ("Comparison:", "--vary", "--jobs", "--loss.gamma"):
        assert word in result.stdout


def test_torchrun_is_refused(wf: Any, folder: Path) -> None:
    refused = wf("compare", *TINY, *ROWS, env={"WORLD_SIZE": "2"})
    assert refused.code == 2
    assert "without torchrun" in refused.stderr


def test_a_component_option_completes(folder: Path, wf: Any) -> None:
    env = {"_WF_COMPLETE": "bash_complete", "COMP_WORDS": "wf compare --loss focal --loss.", "COMP_CWORD": "4"}
    assert "--loss.gamma" in wf(env={**env, "PATH": os.environ["PATH"]}).stdout


def test_a_comparison_has_plots_by_its_figure_or_that_of_the_report(wf: Any, folder: Path, trained: Path) -> None:
    drawn = wf("plot", "c")
    assert (drawn.code, drawn.stdout.split()) == (
        0, ["runs/c/plots/means.svg", "runs/c/plots/differences.svg"]
    ), drawn.stderr  # fmt: skip
    by = json.loads((trained / "table.json").read_text())["by"]
    assert f"{by}: mean and 95 % interval" in (trained / "plots" / "means.svg").read_text()
    assert wf("report", "c", "--no-plots").code == 0
    assert f"{by}: mean and 95 % interval" in (folder / "report.html").read_text()
    assert wf("report", "c", "--no-plots", "--by", "test/loss").code == 0
    page = (folder / "report.html").read_text()
    assert "test/loss: mean and 95 % interval" in page
    assert f"{by}: mean and 95 % interval" not in page
    refused = wf("plot", "c", "--plot", "curves")
    assert (refused.code, "plot 'curves' draws a run, not a comparison" in refused.stderr) == (2, True)
