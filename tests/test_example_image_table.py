"""The example of an image beside a table: a plugin of one file that trains, predicts and names what is wrong."""

import csv
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wf_run.description import read_sample_ids

EXAMPLE = Path(__file__).parents[1] / "examples" / "image_and_table.py"


def test_trains_and_predicts_from_a_file(wf: Any, tmp_path: Path) -> None:
    with (tmp_path / "houses.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "area", "price"])
        for number in range(24):
            Image.new("RGB", (20, 20), (number * 10, 90, 90)).save(tmp_path / f"{number}.png")
            table.writerow([f"{number}.png", number, 100 * number])
    data = ("--dataset", "image-table", "--dataset.path", "houses.csv", "--dataset.target", "price")
    parts = ("--model", "two-towers", "--transform", "standardize", "--transform.standardize.leaf", "numbers")
    losses = ("--loss", "sum", "--loss.parts", '["mse", "l1"]', "--transform", "+standardize-targets")
    line = ("run", "-p", EXAMPLE, *data, *parts, *losses, "--epochs", 3, "--quiet", "--run-dir", "run", "--json")
    done = wf(*line)
    assert done.code == 0, done.stderr
    figures = done.json()["metrics"]
    assert {"test/loss/mse", "test/loss/l1", "test/mae"} <= set(figures)
    assert figures["test/mae"] > 10 * figures["test/loss/l1"], "it is in the unit of the price"
    predicted = wf("predict", "run", "houses.csv")
    assert len(predicted.stdout.splitlines()) == 24, predicted.stderr
    lines = (tmp_path / "houses.csv").read_text().splitlines(keepends=True)
    ids = read_sample_ids(tmp_path / "run")["test"].tolist()
    (tmp_path / "test.csv").write_text("".join([lines[0], *(lines[1 + number] for number in ids)]))
    judged = wf("evaluate", "run/bundle", "-p", EXAMPLE, "--data", "test.csv", "--json")
    assert judged.code == 0, judged.stderr
    own = {name.removeprefix("data/"): value for name, value in judged.json()["metrics"].items()}
    assert own == pytest.approx(
        {name[5:]: value for name, value in figures.items() if name.startswith("test/")}, rel=1e-5
    )
    for old, new, message in (
        ("5.png", "gone.png", "line 7, column 'image': 'gone.png' is not an image"),
        ("3.png,3", "3.png,three", "line 5, column 'area': 'three' is not a number"),
        ("image,area", "image,size", "there is no column 'area'"),
    ):
        text = (tmp_path / "houses.csv").read_text().replace(f"\n{old}", f"\n{new}", 1).replace(old, new, 1)
        (tmp_path / "wrong.csv").write_text(text)
        wrong = wf("predict", "run", "wrong.csv")
        assert wrong.code == 4
        assert message in wrong.stderr
