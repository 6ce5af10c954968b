"""``wf run``: options, value syntax, run files, output streams and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wf.errors import UsageError
from wf_run.cli.running import from_line

Config = Callable[..., dict[str, Any]]

QUICK = ("--epochs", "1", "--quiet")


@pytest.fixture
def config(wf: Any, folder: Path) -> Config:
    """The resolved run file of a line."""

    def resolve(line: str) -> dict[str, Any]:
        result = wf("run", *line.split(), "--print-config", "--quiet")
        assert (result.code, result.stderr) == (0, ""), result.stderr
        return tomllib.loads(result.stdout)

    return resolve


def uses(tables: list[dict[str, Any]]) -> list[str]:
    return [table["use"] for table in tables]


# The command line.


@pytest.mark.parametrize(
    ("line", "kind", "expected"),
    [
        ("--loss focal --loss.gamma 3", "loss", {"use": "focal", "gamma": 3.0}),
        ("--loss focal --loss.gamma=3 --loss.alpha @null", "loss", {"gamma": 3.0, "alpha": "@null"}),
        ("--loss cross-entropy", "loss", {"use": "ce"}),
        ("--loss focal@wf-losses", "loss", {"use": "focal"}),
        ("--model.hidden [16,8]", "model", {"use": "mlp", "hidden": [16, 8]}),
        ("--optimizer sgd --optimizer.momentum 0.9 --optimizer.nesterov --lr 1e-3", "optimizer", {"nesterov": True}),
        ("--optimizer sgd --lr 0.5", "optimizer", {"use": "sgd", "lr": 0.5}),
        ("--lr 0.5", "optimizer", {"use": "adam", "lr": 0.5}),
        ("--dataset random --dataset.noise=0.5 --dataset.num-samples 64", "dataset", {"noise": 0.5, "num_samples": 64}),
        ("--dataset house.csv --dataset.target price", "dataset", {"use": "csv", "target": "price"}),
        (
            "--scheduler linear-warmup --scheduler.num_steps 5 --scheduler.then cosine --scheduler.then.min_lr 1e-5",
            "scheduler",
            {"use": "linear-warmup", "num_steps": 5, "then": {"use": "cosine", "min_lr": 1e-5}},
        ),
    ],
)
def test_options_of_components(config: Config, line: str, kind: str, expected: dict[str, Any]) -> None:
    table = config(line)[kind]
    assert {name: table[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "--epochs 3 --batch-size 64 --seed 7 --no-shuffle",
            {"epochs": 3, "batch_size": 64, "seed": 7, "shuffle": False},
        ),
        ("--steps 30 --batch-size full --shuffle", {"steps": 30, "batch_size": "full", "shuffle": True}),
        ("--split 60/20/20 --fold 2/5 --device cpu", {"split": "60/20/20", "fold": "2/5", "device": "cpu"}),
        ("--eval-every 20steps --eval-splits validation,test", {"eval_splits": ["validation", "test"]}),
        ("--eval-splits ['test']", {"eval_splits": ["test"]}),
        ("--checkpoint-every 2epochs --log-every 5", {"checkpoint_every": "2epochs", "log_every": 5}),
        ("--checkpoint-every @null --workers 1", {"checkpoint_every": "@null", "workers": 1}),
        ("--keep best --monitor validation/accuracy", {"keep": "best", "monitor": "validation/accuracy"}),
        ("--loss nll --links log-softmax", {"links": ["log-softmax"]}),
        ("--loss nll --links @null", {"links": ["log-softmax"]}),
    ],
)
def test_general_options(config: Config, line: str, expected: dict[str, Any]) -> None:
    resolved = config(line)
    assert {name: resolved.get(name, "@null") for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "hooks"),
    [
        ("", ["learning-rate-log", "divergence-guard", "fit-verdict", "progress"]),
        (
            "--hook +gradient-clip",
            ["learning-rate-log", "divergence-guard", "fit-verdict", "progress", "gradient-clip"],
        ),
        ("--hook no:fit-verdict --hook no:progress", ["learning-rate-log", "divergence-guard"]),
        ("--hook early-stopping", ["early-stopping"]),
        ("--hook early-stopping --hook +plots", ["early-stopping", "plots"]),
    ],
)
def test_hooks_are_added_removed_or_replaced(config: Config, line: str, hooks: list[str]) -> None:
    assert uses(config(line)["hook"]) == hooks


def test_option_of_one_hook(config: Config) -> None:
    hooks = config("--hook +early-stopping --hook.early-stopping.patience 3")["hook"]
    assert next(table for table in hooks if table["use"] == "early-stopping")["patience"] == 3


def test_metrics_replace_the_default(config: Config) -> None:
    assert uses(config("--metric f1 --metric recall")["metric"]) == ["f1", "recall"]
    assert uses(config("--metric +f1")["metric"]) == ["accuracy", "f1"]


def test_contradicting_lengths_and_learning_rates_are_refused() -> None:
    with pytest.raises(UsageError, match="both --epochs and --steps"):
        from_line({"epochs": "1", "steps": "1"}, {}, None)
    with pytest.raises(UsageError, match=r"both --lr and --optimizer\.lr"):
        from_line({}, {"optimizer": {"lr": 1}}, "2")


# Run files.


def test_command_line_over_file(wf: Any, folder: Path) -> None:
    result = wf("run", "focal.toml", "--loss.gamma", 1, "--batch-size", 16, "--print-config")
    document = tomllib.loads(result.stdout)
    assert (document["epochs"], document["loss"]["gamma"], document["batch_size"]) == (1, 1.0, 16)
    assert result.stderr == ""


def test_another_component_drops_the_options_of_the_file(wf: Any, folder: Path) -> None:
    result = wf("run", "focal.toml", "--loss", "ce", "--print-config")
    assert result.stderr == "wf: loss ce replaces focal of the run file; its options are dropped: gamma\n"
    assert tomllib.loads(result.stdout)["loss"]["use"] == "ce"


def test_printed_run_file_repeats_the_run(wf: Any, folder: Path) -> None:
    line = ("--loss", "focal", "--optimizer", "sgd", "--lr", "0.1", "--scheduler", "cosine", "--metric", "f1")
    line += ("--transform", "standardize", "--seed", "7", *QUICK)
    first = wf("run", *line, "--json").json()
    (folder / "printed.toml").write_text(wf("run", *line, "--print-config").stdout)
    again = wf("run", "printed.toml", "--json", "--quiet").json()
    assert again["metrics"] == first["metrics"]
    assert again["run_dir"] != first["run_dir"]


def test_run_file_of_a_run_repeats_it_bit_for_bit(wf: Any, finished: Path, folder: Path) -> None:
    result = wf("run", "runs/done/run.toml", "--name", "again", "--quiet")
    assert result.code == 0, result.stderr
    for file in ("run.toml", "metrics.jsonl", "checkpoints/step-00000040/tensors.safetensors"):
        assert (folder / "runs/again" / file).read_bytes() == (finished / file).read_bytes()


def test_run_file_with_a_plugin_beside_it_works_from_elsewhere(wf: Any, folder: Path) -> None:
    (folder / "good.py").write_text(
        "import torch\nfrom wf import Component, hookimpl\n"
        "class Loss(torch.nn.CrossEntropyLoss):\n    def __init__(self):\n        super().__init__()\n"
        "@hookimpl\ndef wf_components():\n    return [Component('loss', 'good', Loss)]\n"
    )
    (folder / "good.toml").write_text('plugins = ["good.py"]\nepochs = 1\n[loss]\nuse = "good"\n')
    (folder / "elsewhere").mkdir()
    result = wf("run", "../good.toml", "--quiet", "--name", "x", cwd=folder / "elsewhere")
    assert result.code == 0, result.stderr
    assert (folder / "elsewhere/runs/x/code/good.py").exists()
    assert wf("evaluate", "x", cwd=folder / "elsewhere").code == 0


# User data and code.


def test_user_model_and_loss(wf: Any, folder: Path) -> None:
    line = ("run", "--model", "net.py:Net", "--loss", "my.py:times", *QUICK, "--json")
    once = wf(*line).json()
    twice = wf(*line, "--loss.factor", 2).json()
    assert once["metrics"]["test/accuracy"] > 0.3
    assert twice["metrics"]["test/loss"] > 1.5 * once["metrics"]["test/loss"]
    assert (folder / once["run_dir"] / "code/net.py").read_text() == (folder / "net.py").read_text()


def test_table_and_folder_of_images(wf: Any, folder: Path) -> None:
    metrics = wf("run", "--dataset", "house.csv", "--dataset.target", "price", *QUICK, "--json").json()["metrics"]
    assert {"test/loss", "test/mae", "test/r2"} <= set(metrics)

    from PIL import Image

    for name, shade in (("dark", 20), ("light", 220)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (8, 8), shade + number).save(folder / "photos" / name / f"{number}.png")
    result = wf("run", "--dataset", "photos/", *QUICK, "--json")
    assert result.code == 0, result.stderr
    assert "test/accuracy" in result.json()["metrics"]


def test_a_regression_dataset_selects_loss_and_metrics(config: Config) -> None:
    resolved = config("--dataset diabetes")
    assert (resolved["loss"]["use"], uses(resolved["metric"])) == ("mse", ["mae", "r2"])


# Output.


def test_result_as_json_and_progress_on_standard_error(wf: Any, folder: Path) -> None:
    result = wf("run", "--epochs", 2, "--name", "x", "--json")
    record = result.json()
    assert list(record) == ["run_dir", "status", "epochs", "steps", "metrics"]
    assert (record["run_dir"], record["status"], record["epochs"], record["steps"]) == ("runs/x", "done", 2, 80)
    splits = ("train", "validation", "test")
    assert set(record["metrics"]) == {f"{split}/{name}" for split in splits for name in ("loss", "accuracy")}
    assert "wf: dataset digits (train 1,259, validation 270, test 268), model mlp, loss ce" in result.stderr
    assert "wf: device cpu" in result.stderr or "wf: device cuda" in result.stderr
    assert "epoch 2/2" in result.stderr


def test_result_for_reading(wf: Any, folder: Path) -> None:
    result = wf("run", *QUICK, "--name", "x", env={"COLUMNS": "80"})
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["loss", "accuracy"]
    assert [line.split()[0] for line in lines[1:4]] == ["train", "validation", "test"]
    assert "weights        last step (40)" in lines
    assert lines[-1] == "run directory  runs/x"
    assert all(len(line) <= 80 for line in lines)
    assert (folder / "runs/latest/manifest.json").samefile(folder / "runs/x/manifest.json")


def test_folds(wf: Any, folder: Path) -> None:
    result = wf("run", "--folds", 3, "--epochs", 1, "--json", "--name", "k")
    record = result.json()
    assert list(record) == ["run_dir", "status", "epochs", "steps", "metrics", "folds", "missing"]
    assert (record["run_dir"], record["status"], len(record["folds"])) == ("runs/k", "done", 3)
    mean = sum(fold["test/accuracy"] for fold in record["folds"]) / 3
    assert record["metrics"]["test/accuracy"] == pytest.approx(mean)
    assert "wf: fold 3/3" in result.stderr
    assert sorted(path.name for path in (folder / "runs/k").glob("fold-*")) == ["fold-1", "fold-2", "fold-3"]
    table = wf("run", "--folds", 2, *QUICK)
    assert table.stderr == ""
    assert [line.split()[0] for line in table.stdout.splitlines()[:5]] == ["fold", "1", "2", "mean", "std"]


@pytest.mark.parametrize("extra", [(), ("--folds", "3"), ("--name", "x"), ("--model", "net.py:Net")])
def test_dry_run_writes_nothing(wf: Any, snapshot: Callable[[], Any], extra: tuple[str, ...]) -> None:
    before = snapshot()
    record = wf("run", "--loss", "focal", "--dry-run", "--json", *extra).json()
    assert (record["run_dir"], record["status"], record["steps"]) == (None, "dry-run", 2)
    assert set(record["metrics"]) == {"validation/loss", "validation/accuracy"}
    assert "nothing was written" in wf("run", "--dry-run", "--quiet", *extra).stdout
    assert snapshot() == before


def test_printing_the_run_file_writes_nothing(wf: Any, snapshot: Callable[[], Any]) -> None:
    before = snapshot()
    assert wf("run", "--print-config", "--name", "x").code == 0
    assert snapshot() == before


def test_warnings_are_printed_in_quiet_runs(wf: Any, folder: Path) -> None:
    result = wf("run", "--model", "net.py:Net", "--loss", "my.py:times", *QUICK, "--dry-run")
    assert result.stderr.startswith("wf: warning: ")


# Help.


def test_help_explains_the_chosen_components(wf: Any, folder: Path) -> None:
    plain = wf("run", "--help").stdout
    text = wf("run", "--loss", "focal", "--hook", "+early-stopping", "--help").stdout
    assert text.startswith(plain.rstrip("\n"))
    assert "[mlp, lstm for tokens, or the task's]" in plain
    assert "loss focal: " in text
    assert "--loss.gamma  float, default 2.0" in text
    assert "--hook.early-stopping.patience  int" in text
    assert "--loss.factor" in wf("run", "--help", "--loss", "my.py:times").stdout
    assert "--hook.my.py:times.factor" in wf("run", "--help", "--hook", "my.py:times").stdout
    assert "--hook.my.py:times.factor" in wf("show", "hook", "my.py:times").stdout
    assert "--loss.gamma" in wf("run", "focal.toml", "--help").stdout
    assert "--dataset.target" in wf("run", "--dataset", "house.csv", "--help").stdout


def test_help_for_a_wrong_name_is_an_error(wf: Any) -> None:
    result = wf("run", "--loss", "focl", "--help")
    assert (result.code, result.stdout) == (2, "")
    assert "did you mean 'focal'?" in result.stderr


def test_every_option_is_in_the_help_once(wf: Any) -> None:
    from wf.declarations.general import GENERAL
    from wf.declarations.kinds import KINDS

    text = wf("run", "--help").stdout.partition("\nComponents:")[2]
    for name in {*KINDS.of_runs, *GENERAL} - {"plugins", "format"}:
        assert text.count(f"\n  --{name.replace('_', '-')} ") == 1, name
    for section in ("Length and data:", "Evaluation and checkpoints:", "Output:"):
        assert f"\n{section}\n" in text


# Other ends.


def test_diverging_run(wf: Any, folder: Path) -> None:
    result = wf("run", "--loss", "my.py:bad", "--name", "bad", *QUICK, "--json")
    assert (result.code, result.stdout) == (5, "")
    assert "not finite" in result.stderr
    assert "runs/bad/metrics.jsonl" in result.stderr
    assert "Traceback" not in result.stderr
    manifest = json.loads((folder / "runs/bad/manifest.json").read_text())
    assert manifest["status"] == "diverged"
    assert "not finite" in manifest["reason"]


STOP = """
import os
from wf import Hook

class Stop(Hook):
    def on_step_end(self, run) -> None:
        if run.progress.step == 6 and not os.path.exists("sent"):
            open("sent", "w").close()
            os.kill(os.getpid(), NUMBER)
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)]
)
def test_signal_ends_a_run_after_a_checkpoint(wf: Any, folder: Path, number: signal.Signals, code: int) -> None:
    """tests/test_resume.py sends a signal to a real process from outside."""
    (folder / "stop.py").write_text(STOP.replace("NUMBER", str(int(number))))
    plan = ("--dataset", "iris", "--epochs", 3, "--hook", "+stop.py:Stop", "--name", "long")
    stopped = wf("run", *plan, "--quiet")
    assert (stopped.code, stopped.stdout) == (code, "")
    assert stopped.stderr.startswith(f"wf: stopped by {number.name} after step ")
    assert "wf resume runs/long" in stopped.stderr
    manifest = json.loads((folder / "runs/long/manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    assert [path.name for path in (folder / "runs/long/checkpoints").glob("step-*")] == [f"step-{manifest['steps']:08}"]
    done = wf("resume", "long", "--epochs", manifest["epochs"] + 2, "--json", "--quiet").json()
    assert (done["status"], done["epochs"]) == ("done", manifest["epochs"] + 2)


@pytest.mark.alone
def test_main_job_is_accurate_and_fast(wf_process: Any, folder: Path) -> None:
    start = time.perf_counter()
    result = wf_process(
        "run", "--loss", "focal", "--optimizer", "adam", "--json", env={"OMP_NUM_THREADS": None}, timeout=100
    )
    seconds = time.perf_counter() - start
    assert result.code == 0, result.stderr
    assert result.json()["metrics"]["test/accuracy"] >= 0.96
    assert seconds < 15


EXECUTOR = """
from concurrent.futures import ThreadPoolExecutor
from wf import Hook

class Waiting(Hook):
    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1)

    def on_run_end(self, run) -> None:
        self.executor.submit(print, "worked").result()
"""


def test_an_idle_thread_of_a_component_does_not_block_exit(wf_process: Any, folder: Path) -> None:
    (folder / "own.py").write_text(EXECUTOR)
    done = wf_process("run", "--dataset", "iris", *QUICK, "--hook", "+own.py:Waiting", timeout=40)
    assert done.code == 0, done.stderr
    assert "worked" in done.stdout


def test_unknown_names_are_refused_without_importing_torch(folder: Path) -> None:
    """A wrong name is refused at once, before torch is imported."""
    code = (
        "import sys\nfrom wf_cli.main import main\n"
        "try:\n    main(['run', '--loss', 'focl'])\nexcept SystemExit as stop:\n    assert stop.code == 2\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, env={**os.environ})
