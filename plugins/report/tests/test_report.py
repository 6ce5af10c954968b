"""``wf report``: the runs on the page, notes on incomplete runs, and third-party sections."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from wf_report.axes import Axis

SECTION = """
from wf import Component, hookimpl
from wf_charts import Section, SectionTraits, Text


@hookimpl
def wf_components():
    return [
        Component("report-section", "greeting", Greeting, "greets", traits=SectionTraits(order=1)),
        Component("report-section", "faulty", Faulty, "fails"),
    ]


class Greeting:
    def section(self, content):
        return Section(title="Greeting", blocks=[Text(text=f"<b>{len(content.runs)}</b> runs")])


class Faulty:
    def section(self, content):
        raise RuntimeError("it is out of order")
"""


def texts(file: Path) -> str:
    """The visible text, without style and script."""
    text = re.sub(r"<(style|script)>.*?</\1>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", text))


def test_one_run(trained_copy: Path, wf: Any) -> None:
    done = wf("report", "flowers")
    assert (done.code, done.stdout.startswith("report.html: 1 run, ")) == (0, True)
    seen = texts(trained_copy / "report.html")
    for words in (
        "flowers",
        "Confusion matrix",
        "setosa",
        "torch",
        "wf replay runs/flowers",
        "Worst samples",
        "lr = 0.05",
    ):
        assert words in seen
    assert not re.search(
        r"https?:", re.sub("http://www.w3.org/2000/svg", "", (trained_copy / "report.html").read_text(encoding="utf-8"))
    )


def test_the_same_runs_give_the_same_page(trained_copy: Path, wf: Any) -> None:
    pages = []
    for name in ("a.html", "b.html"):
        wf("report", "flowers", "-o", name)
        pages.append((trained_copy / name).read_bytes())
    assert pages[0] == pages[1]


def test_runs_with_different_metrics_and_unfinished_ones(trained_copy: Path, wf: Any) -> None:
    done = wf("report", "flowers", "patients", "killed", "-o", "all.html", "--title", "Mixed <runs>")
    assert done.code == 0, done.stderr
    seen = texts(trained_copy / "all.html")
    for words in ("Mixed <runs>", "mae", "accuracy", "The runs are not compared with each other", "Residuals"):
        assert words in seen
    assert "killed: killed, its process is gone" in seen
    assert "Not drawn: confusion, roc, precision-recall, calibration, worst: " in seen


def test_damaged_and_strange_directories(trained_copy: Path, wf: Any) -> None:
    broken = shutil.copytree(trained_copy / "runs" / "flowers", trained_copy / "runs" / "broken")
    (broken / "manifest.json").write_text("{")
    (broken / "run.toml").write_bytes(b"\xff = ")
    (broken / "metrics.jsonl").unlink()
    done = wf("report", "broken", "flowers")
    assert done.code == 0, done.stderr
    assert "manifest.json cannot be read" in done.stderr
    assert "damaged" in texts(trained_copy / "report.html")
    done = wf("report", "nothing")
    assert done.code == 4
    assert "there is no run directory 'nothing'" in done.stderr
    (trained_copy / "empty").mkdir()
    assert wf("report", "empty").code == 4


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (("flowers", "-o", "runs"), 2, "runs is a folder"),
        (("flowers", "-o", "none/page.html"), 4, "there is no folder none"),
        (("flowers", "--no-plots", "--plot", "roc"), 2, "choose one"),
        ((), 2, "Missing argument"),
    ],
)
def test_bad_input_gives_one_message_and_writes_nothing(
    trained_copy: Path, wf: Any, line: Any, code: int, said: str
) -> None:
    done = wf("report", *line)
    assert done.code == code
    assert said in done.stderr
    assert not list(trained_copy.glob("*.html"))


def test_names_are_escaped(trained_copy: Path, wf: Any) -> None:
    rows = "\n".join(
        f"{number % 7},{number % 5},{['<script>alert(1)</script>', 'b&c'][number % 2]}" for number in range(40)
    )
    (trained_copy / "table.csv").write_text(f"x,y,kind\n{rows}\n")
    wf("run", "--dataset", "table.csv", "--dataset.target", "kind", "--epochs", "1", "--quiet", "--name", 'a "q" <i>')
    done = wf("report", 'a "q" <i>')
    assert done.code == 0, done.stderr
    page = (trained_copy / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<i>" not in page.replace("<i></i>", "")
    assert "<script>alert(1)</script>" in texts(trained_copy / "report.html")


def test_a_comparison_has_a_forest_plot_with_its_figures(trained_copy: Path, wf: Any) -> None:
    line = ("--dataset", "iris", "--model", "linear", "--epochs", "2", "--vary", "optimizer=adam,sgd", "--repeats", "2")
    table = wf("compare", *line, "--name", "both", "--quiet", "--json").json()
    done = wf("report", "both")
    assert (done.code, done.stdout.startswith("report.html: 4 runs")) == (0, True)
    page = (trained_copy / "report.html").read_text(encoding="utf-8")
    assert page.count('class="interval"') == 3  # two means and a difference
    values = {float(value) for value in re.findall(r'data-value="([^"]+)"', page)}
    means = [row["mean"] for row in table["rows"]]
    assert {*means, table["rows"][1]["difference"]["mean"]} <= values
    assert "adam/seed-42" in page
    assert "Plots</a>" in page
    assert "Confusion matrix" not in page  # none of its runs was named
    assert page.count('<label class="c0 line">') == page.count('<figure id="chart-') - 2  # an entry per row
    recorded = [
        json.loads(one) for one in (trained_copy / "runs/both/adam/seed-42/metrics.jsonl").read_text().splitlines()
    ]
    means = [one["epoch_loss"] for one in recorded if "epoch_loss" in one]
    drawn = re.search(
        r'<figure[^>]*data-name="train/loss">.*?data-name="adam/seed-42" data-points="([^"]*)"', page, re.S
    )
    assert drawn is not None
    assert [float(point.split(",")[1]) for point in drawn[1].split()] == pytest.approx(means, rel=1e-5)


def test_third_party_sections_including_a_failing_one(trained_copy: Path, wf: Any) -> None:
    (trained_copy / "own.py").write_text(SECTION)
    done = wf("report", "flowers", "--no-plots", "-p", "own.py")
    assert done.code == 3
    assert "section 'faulty' of own failed: RuntimeError: it is out of order" in done.stderr
    page = (trained_copy / "report.html").read_text(encoding="utf-8")
    assert page.index("Greeting") < page.index(">Runs<")
    assert "&lt;b&gt;1&lt;/b&gt; runs" in page
    assert "section &#39;faulty&#39; of own failed" in page
    assert "Confusion" not in page


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.12, 0.31, [0.15, 0.2, 0.25, 0.3]), (-30, 30, [-20, 0, 20])],
)
def test_axis_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert Axis.of((low, high), 0, 100).ticks(5) == pytest.approx(expected)


def test_ticks_of_a_logarithmic_axis_are_decades() -> None:
    axis = Axis.of((0.002, 30), 100, 0, is_log=True)
    assert axis.ticks(5) == [0.01, 0.1, 1, 10]
    assert (axis(0.002), axis(30)) == (100, 0)
    assert Axis.of((5, 5), 0, 1)(5) == 0.5
