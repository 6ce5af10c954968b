from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest

from wf.terminal import plural
from wf_cli.output import definitions, figures, number, paragraphs, print_json, table


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")


def test_table_aligns_columns_and_wraps_the_last() -> None:
    rows = [("name", "1.0", "a text that is far too long for one line of forty-two"), ("a", "", "short")]
    assert table(rows, indent="  ").splitlines() == [
        "  name  1.0  a text that is far too long",
        "             for one line of forty-two",
        "  a          short",
    ]
    assert table([]) == ""


def test_last_column_moves_below_when_the_others_fill_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert table([("ok", "x" * 50, "word " * 12), ("no", "y", "last")], indent="  ").splitlines() == [
        f"  ok  {'x' * 50}",
        f"      {' '.join(['word'] * 11)}",
        "      word",
        "  no  y",
        "      last",
    ]


def test_definitions_and_paragraphs_fit_the_terminal() -> None:
    text = definitions([("--loss.gamma  float", "word " * 20), ("--loss.x  int", "")], indent="  ")
    assert text.splitlines()[0] == "  --loss.gamma  float"
    assert text.splitlines()[-1] == "  --loss.x  int"
    assert all(len(line) <= 40 for line in text.splitlines())
    assert paragraphs("a\nb\n\nlist:\n    stays", indent=" ") == " a b\n\n list:\n     stays"


def test_figures_are_one_row_per_split_with_matrices_below() -> None:
    metrics = {"test/loss": 0.25, "train/loss": 29229.57897, "test/confusion": [[10, 0], [1, 9]], "train/nan": None}
    assert figures(metrics).splitlines() == [
        "          loss  nan",
        "train  29229.6    -",
        "test    0.2500    -",
        "",
        "test confusion",
        "  10  0",
        "   1  9",
    ]


def test_class_names_label_matrices_and_lists_of_the_last_split(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = {"train/m": [[9, 9], [9, 9]], "test/m": [[10, 0], [1, 9]], "train/recall": [0.5, 1.0], "test/loss": 1.0}
    assert figures(metrics, class_names=["cat", "aardvark"]).splitlines() == [
        "         loss",
        "train       -",
        "test   1.0000",
        "",
        "test m",
        "  true \\ predicted       cat  aardvark",
        "  cat                     10         0",
        "  aardvark                 1         9",
        "",
        "train recall",
        "         cat  aardvark",
        "      0.5000    1.0000",
    ]
    monkeypatch.setenv("COLUMNS", "40")
    many = figures({"test/m": [[1] * 8] * 8}, class_names=[f"class number {one}" for one in range(8)]).splitlines()
    assert all(len(line) <= 44 for line in many)
    assert many[-1].startswith("  class number 7")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (0.5, "0.5000"), (1e-5, "1e-05"), (123456.7, "123457"), (3, "3"), (None, "-"), (-2.5, "-2.5000")],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


def test_plural() -> None:
    assert [plural(1, "epoch"), plural(0, "epoch"), plural(5000, "step")] == ["1 epoch", "0 epochs", "5,000 steps"]


def test_json_has_null_for_non_finite_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"loss": float("nan"), "all": [float("inf"), 1.5]})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "all": [None, 1.5]}


PHASES = """
import sys
from wf_cli.output import begin_phase, echo, end_phase, tell

begin_phase("loading torch ...")
assert "torch" not in sys.modules
begin_phase("preparing data ...")
tell("short")
begin_phase("saving ...")
end_phase()
echo("result")
"""


def on_a_terminal(code: str, **environment: str) -> tuple[bytes, str]:
    """What a program writes to a pipe as its results, and to a terminal as its messages."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, **environment},
    )
    results = process.communicate(timeout=30)[0]
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # the other side is closed
        while chunk := os.read(ours, 4096):
            written += chunk
    os.close(ours)
    assert process.returncode == 0
    return results, written.decode()


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_phases_are_shown_on_a_terminal_and_erased(term: str) -> None:
    results, messages = on_a_terminal(PHASES, TERM=term)
    assert results == b"result\n"
    away, message = "\x1b[2K", "wf: short\r\n"
    shown = f"loading torch ...\r{away}preparing data ...\r{away}{message}saving ...\r{away}"
    assert messages == (message if term == "dumb" else shown)


LONG = """
from wf_cli.output import tell
tell("dataset iris, with a message of more than forty columns\\n"
     "and /a/path/of/more/than/forty/columns/is/in/one/piece\\n"
     "continue with: wf resume runs/of/more/than/forty/columns")
"""


def test_messages_fit_the_terminal_and_commands_stay_in_one_piece() -> None:
    assert on_a_terminal(LONG, COLUMNS="40")[1].split("\r\n") == [
        "wf: dataset iris, with a message of more",
        "  than forty columns",
        "  and",
        "    /a/path/of/more/than/forty/columns/is/in/one/piece",
        "  continue with: wf resume runs/of/more/than/forty/columns",
        "",
    ]


def test_messages_in_a_pipe_are_not_wrapped() -> None:
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 3


def test_phases_are_not_shown_in_a_pipe() -> None:
    done = subprocess.run([sys.executable, "-c", PHASES], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("result\n", "wf: short\n")
