"""Progress on standard error."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf import Epochs, Every, Loop, Steps
from wf.errors import UsageError
from wf_tracking.display.progress import Progress
from wf_tracking.display.text import figure, rate

FIRST: Any = SimpleNamespace(rank=0)


class Trainer:
    """A loss that shrinks, at a pace."""

    def __init__(self, pause_sec: float = 0.0) -> None:
        self.pause_sec, self.num = pause_sec, 0

    def train_step(self, batch: Any) -> float:
        self.num += 1
        time.sleep(self.pause_sec)
        return 1 / self.num


class Evaluator:
    """Figures of every kind."""

    def evaluate(self, split: str) -> Mapping[str, Any]:
        return {"loss": 0.398, "accuracy": 0.871, "recall": [0.1, 0.2], "num_errors": 12}


def lines_of(capsys: pytest.CaptureFixture[str], until: Any, batches: int = 4, **options: Any) -> list[str]:
    """The lines of a run, without the last one, the totals."""
    settings = {name: options.pop(name) for name in ("interval_sec", "max_lines") if name in options}
    trainer = Trainer(options.pop("pause_sec", 0.0))
    hooks = [Progress(options.pop("strategy", FIRST), **settings), *options.pop("hooks", [])]
    data = [SimpleNamespace(size=1)] * batches
    Loop(trainer, options.pop("evaluator", Evaluator()), hooks=hooks, **options).run(data, until)
    captured = capsys.readouterr()
    assert captured.out == ""
    *lines, totals = captured.err.splitlines() or [""]
    assert not lines or re.match(r"\d+ (epoch|step)s? in [\d.]+ m?s, [\d,]+ samples/s", totals)
    return lines


def test_an_epoch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, Epochs(10), final_splits=["test"])
    assert len(lines) == 10
    pattern = r"epoch  3/10  loss 0\.0962  validation loss 0\.3980  accuracy 0\.8710  num_errors 12  [\d.]+ ms( \*)?"
    assert re.fullmatch(pattern.replace("0962", r"\d+"), lines[2])
    assert lines[-1].startswith("epoch 10/10  loss ")


def test_every_evaluated_split_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of(capsys, Epochs(1), eval_splits=["validation", "test"])
    assert "  validation loss 0.3980  accuracy 0.8710  " in line
    assert "  test loss 0.3980  accuracy 0.8710  " in line


def test_the_loss_of_a_line_is_that_of_its_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, Epochs(2), batches=2, evaluator=None)
    assert [line.split("  ")[:2] for line in lines] == [["epoch 1/2", "loss 0.7500"], ["epoch 2/2", "loss 0.2917"]]


def test_many_short_epochs_print_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, Epochs(200), batches=1)
    shown = [int(line.split("/")[0].split()[1]) for line in lines]
    assert shown == [1, *range(10, 201, 10)]


@given(num_epochs=st.integers(1, 400), max_lines=st.integers(1, 30))
def test_lines_are_evenly_spaced_and_include_first_and_last_epoch(num_epochs: int, max_lines: int) -> None:
    shown: list[str] = []

    class Kept(Progress):
        def _print(self, line: str, style: str = "") -> None:
            shown.append(line)

    hook = Kept(FIRST, max_lines=max_lines)
    hook.on_run_start(loop := Loop(Trainer()))
    hook._ended.set()
    loop.until = Epochs(num_epochs)
    for loop.progress.epoch in range(num_epochs):
        hook.on_epoch_end(loop)
    epochs = [int(line.split("/")[0].split()[1]) for line in shown]
    assert (epochs[0], epochs[-1]) == (1, num_epochs)
    assert min(num_epochs, max_lines) <= len(epochs) <= max_lines + 1
    gaps = [later - earlier for earlier, later in itertools.pairwise(epochs[1:])]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_slow_epoch_prints_lines_at_the_interval(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, Epochs(1), batches=6, pause_sec=0.05, interval_sec=0.12)
    assert 2 <= len(lines) <= 4
    assert re.fullmatch(r"epoch 1/1  batch \d/6  loss [\d.]+  [\d.]+ steps/s  [\d.]+ m?s left", lines[0])


def test_a_run_of_steps_counts_steps(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, Steps(10), batches=4)
    assert [line.partition("  loss")[0] for line in lines] == ["step  4/10", "step  8/10", "step 10/10"]
    assert all("validation loss" in line for line in lines[:2])


def test_evaluations_within_an_epoch_have_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, Epochs(1), batches=6, eval_every=Every(2, "steps"), log_every=1)
    assert [line.split("  ")[:2] for line in lines] == [
        *[["epoch 1/1", "batch 2/6"], ["epoch 1/1", "batch 4/6"], ["epoch 1/1", "batch 6/6"]],
        ["epoch 1/1", "loss 0.4083"],
    ]


class StopAt:
    """Stops a run, or breaks it, in an epoch."""

    def __init__(self, epoch: int, error: Exception | None = None) -> None:
        self.epoch, self.error = epoch, error

    def on_epoch_end(self, run: Loop) -> None:
        if run.progress.epoch == self.epoch:
            if self.error:
                raise self.error
            run.stop("enough")


def test_a_stopped_run_shows_its_last_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, Epochs(200), batches=1, hooks=[StopAt(13)])
    assert [line.split("/")[0] for line in lines] == ["epoch   1", "epoch  10", "epoch  14"]


def test_a_broken_run_shows_its_last_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError):
        lines_of(capsys, Epochs(200), batches=1, hooks=[StopAt(13, RuntimeError("broken"))])
    assert capsys.readouterr().err.splitlines()[-1].startswith("epoch  14/200")


def test_only_the_first_process_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys, Epochs(2), strategy=SimpleNamespace(rank=1)) == []


def test_progress_does_not_listen_to_steps() -> None:
    from wf.engine.events import listeners

    assert listeners("on_step_end", [Progress(FIRST)]) == ()


@pytest.mark.parametrize("options", [{"interval_sec": 0.0}, {"max_lines": 0}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be larger than 0"):
        Progress(FIRST, **options)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(0.412, "0.4120"), (1763.9, "1764"), (12.5, "12.50"), (0.0, "0.000"), (-0.5, "-0.5000"), (7, "7")],
        *[
            (112821534720.0, "1.128e+11"),
            (0.00001, "1.000e-05"),
            (29411.2, "29411"),
            (999999.9, "1.000e+06"),
            (float("nan"), "nan"),
        ],
    ],
)
def test_figures_have_four_digits(value: float, text: str) -> None:
    assert figure(value) == text


def test_rates() -> None:
    assert [rate(value) for value in (831.4, 4.2, 0.4)] == ["831 steps/s", "4.2 steps/s", "2.5 s/step"]


SCRIPT = """
import logging, os, sys, time
from types import SimpleNamespace
from wf import Epochs, Loop
from wf_tracking.display.progress import Progress

class Trainer:
    def train_step(self, batch):
        time.sleep(0.02)
        return 0.5

class Evaluator:
    def evaluate(self, split):
        return {"loss": 0.25} | {f"metric_{number}": 0.5 for number in range(int(sys.argv[1]))}

class Talk:
    def on_epoch_end(self, run):
        logging.getLogger("wf").warning("a warning")
        print("for standard output")
        if os.fork() == 0:
            sys.stderr.write("from a worker\\n")
            os._exit(0)
        os.wait()

Loop(Trainer(), Evaluator(), hooks=[Progress(SimpleNamespace(rank=0)), Talk()], log_every=5).run(
    [SimpleNamespace(size=1)] * 25, Epochs(3)
)
assert "rich" in sys.modules
"""


def run_on_terminal(num_metrics: int) -> tuple[str, str]:
    """The output of a run to a terminal of 80 columns, and to a pipe as standard output."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(num_metrics)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # the other side is closed
        pass
    out = process.communicate(timeout=30)[0].decode()
    os.close(ours)
    assert process.returncode == 0, written.decode()
    return written.decode(), out


def screen(written: str) -> list[str]:
    """The lines that remain on the terminal, without erased ones."""
    lines, row = [""], 0
    for token in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", written):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token == "\x1b[1A":
            row -= 1
        elif not token.startswith(("\x1b", "\r")):
            lines[row] += token
    return [line.rstrip() for line in lines if line.strip()]


def test_on_a_terminal_the_live_line_moves_and_leaves_only_the_lines_of_epochs() -> None:
    written, out = run_on_terminal(1)
    lines = screen(written)
    assert out.splitlines() == ["for standard output"] * 3
    heading = [line.split() for line in lines if re.match(r" +train|epoch +loss", line)]
    assert heading == [["train", "validation"], ["epoch", "loss", "loss", "metric_0", "time"]]
    epochs = [line for line in lines if re.fullmatch(r" +\d/3 +0\.5000 +0\.2500 +0\.5000 +\d+ ms( \*)?", line)]
    assert len(epochs) == 3
    assert len({line.index("0.5000") for line in epochs}) == 1
    assert re.fullmatch(r"3 epochs in [\d.]+ s, \d+ samples/s, \* best by validation/loss", lines[-1])
    assert lines.count("a warning") == 3
    assert sum("from a worker" in line for line in lines) == 3
    live = re.findall(
        r"\d+ %.*?loss 0\.5000  [\d.]+ steps/s  [\d.]+ m?s left", re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", written)
    )
    assert 5 <= len(live) <= 60  # 1.5 s at about 8 a second, and with each line


def test_on_a_terminal_nothing_is_wider_than_it() -> None:
    written, _ = run_on_terminal(9)
    lines = screen(written)
    assert max(len(line) for line in lines if "worker" not in line) <= 80
    assert sum("…" in line for line in lines) == 4  # three rows and their heading


def test_rich_is_not_imported_where_there_is_no_terminal() -> None:
    code = SCRIPT.replace('assert "rich" in', 'assert "rich" not in')
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code, "1"], capture_output=True, text=True, check=False, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stderr
    assert len(re.findall("^epoch", result.stderr, flags=re.MULTILINE)) == 3


class Curve:
    """A loss by its evaluation."""

    def __init__(self, values: list[float]) -> None:
        self.values = iter(values)

    def evaluate(self, split: str) -> Mapping[str, Any]:
        return {"loss": next(self.values)}


@pytest.mark.parametrize(
    ("best", "last"), [(13, r"epoch 13/40  .* \*"), (40, r"epoch 40/40  .* \*"), (1, r"epoch 40/40  .*s")]
)
def test_the_best_epoch_is_shown_and_marked(capsys: pytest.CaptureFixture[str], best: int, last: str) -> None:
    values = [1.0 + abs(epoch - best) for epoch in range(1, 41)]
    lines = lines_of(capsys, Epochs(40), batches=1, evaluator=Curve(values), max_lines=4)
    assert re.fullmatch(last, lines[-1])
    marked = [line for line in lines if line.endswith("s *")]
    assert marked[-1].startswith(f"epoch {best:2d}/40")


def test_a_stopped_run_marks_its_best_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"batches": 1, "evaluator": Curve([3.0, 2.0, 1.0, 2.0]), "max_lines": 1}
    lines = lines_of(capsys, Epochs(9), hooks=[StopAt(3)], **options)
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/9", "epoch 4/9", "epoch 3/9"]
    assert lines[-1].endswith("s *")
