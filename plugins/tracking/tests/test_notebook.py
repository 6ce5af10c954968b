"""A run in a notebook, in a real kernel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import wf
from wf_tracking.display.notebook import curve_of_loss
from wf_tracking.drawing.history import curves

CELLS = (
    "import wf\nfrom wf import Hook\nrun = wf.run(dataset='iris', epochs=3, eval_every='1epochs', save=False)\nrun",
    "before = wf.build(dataset='iris', save=False, quiet=True)\nbefore",
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """The outputs of each cell."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    place: Path = tmp_path_factory.mktemp("notebook")
    nbclient.NotebookClient(book, timeout=170, resources={"metadata": {"path": str(place)}}).execute()
    return [cell["outputs"] for cell in book["cells"]]


def test_the_cell_shows_the_epochs_and_the_curve_in_place(outputs: list[list[dict[str, Any]]]) -> None:
    live, result = outputs[0][-2:]
    assert not [one for one in outputs[0] if "epoch 1/3" in str(one.get("text"))]
    assert (live["output_type"], result["output_type"]) == ("display_data", "execute_result")
    page = live["data"]["text/html"]
    assert re.findall(r"<td>(\d/3)</td>", page) == ["1/3", "2/3", "3/3"]
    assert re.search(r"3 epochs in .*, [\d,]+ parameters, \* best by validation/loss", page)
    assert "<th>validation accuracy</th>" in page
    (svg,) = re.findall(r"<svg.*?</svg>", page)
    lines = ElementTree.fromstring(svg).findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2  # train and validation


def test_a_run_has_an_html_representation(outputs: list[list[dict[str, Any]]]) -> None:
    page = outputs[0][-1]["data"]["text/html"]
    for words in ("dataset iris, model mlp", "3 epochs, 12 steps", "<b>fit</b>", "<th>accuracy</th>", "<td", "<svg"):
        assert words in page, words
    before = outputs[1][-1]["data"]["text/html"]
    assert "not trained yet" in before
    assert "<svg" not in before


def test_notes_are_escaped_in_html(tmp_path: Path) -> None:
    class Notes(wf.Hook):
        def on_run_end(self, run: wf.Loop) -> None:
            run.notes["<i>"] = "<script>alert()</script>"

    run = wf.run(dataset="iris", epochs=1, save=False, quiet=True, hook=["fit-verdict", Notes()])
    page = run._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_the_loss_curve_of_few_and_many_records() -> None:
    records: list[dict[str, Any]] = [
        {"event": "eval", "split": "validation", "epoch": 0, "step": step, "loss": value}
        for step, value in enumerate([None, 1.0, 1.0])
    ]
    assert curve_of_loss(curves([])) == ""
    assert curve_of_loss(curves(records[:2])) == ""
    ElementTree.fromstring(curve_of_loss(curves(records)))
    many = [{**records[1], "step": step} for step in range(5000)]
    assert len(curve_of_loss(curves(many))) < 20_000
