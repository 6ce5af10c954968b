"""Predictions for the training file equal, to the bit, the predictions for its split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import wf
from wf_run.api import open_run

NUM = 24
RANDOM = np.random.default_rng(0)


def semicolon(folder: Path) -> tuple[Path, dict[str, Any]]:
    rows = [f" {index};{'paved' if index % 2 else 'gravel '};{index % 3 == 0};{index * 0.5}" for index in range(NUM)]
    return text(folder, "area;street;new;y", rows), {"target": "y", "categorical": "street"}


def filled(folder: Path) -> tuple[Path, dict[str, Any]]:
    rows = [f"{'' if index % 5 == 0 else index},NA,{index * 0.5}" for index in range(NUM - 1)]
    return text(folder, "a,b,y", [*rows, "3,4,5.5"]), {"target": "y", "missing": "mean"}


def times(folder: Path) -> tuple[Path, dict[str, Any]]:
    rows = [f"{1_700_000_000 + index},{index % 7},{'late' if index > 10 else 'early'}" for index in range(NUM)]
    return text(folder, "time,b,y", rows), {"target": "y"}


def text(folder: Path, head: str, rows: list[str]) -> Path:
    path = folder / "data.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def arrays(inputs: Any) -> Callable[[Path], tuple[Path, dict[str, Any]]]:
    def write(folder: Path) -> tuple[Path, dict[str, Any]]:
        np.savez(folder / "data.npz", pixels=inputs, y=np.arange(NUM) % 2)
        return folder / "data.npz", {"inputs": "pixels", **({"missing": "mean"} if np.isnan(inputs).any() else {})}

    return write


CASES: dict[str, Callable[[Path], tuple[Path, dict[str, Any]]]] = {
    "csv": semicolon,
    "csv filled": filled,
    "csv large": times,
    "npz table of bytes": arrays(RANDOM.integers(0, 99, (NUM, 4)).astype(np.uint8)),
    "npz images": arrays(RANDOM.integers(0, 255, (NUM, 6, 5)).astype(np.uint8)),
    "npz filled": arrays(np.where(RANDOM.random((NUM, 3, 2)) < 0.2, np.nan, RANDOM.random((NUM, 3, 2)))),
    "npz large filled": arrays(np.where(np.eye(NUM, 3), np.nan, 1e12 + RANDOM.integers(0, 255, (NUM, 3)))),
    "npz large": arrays(1e12 + RANDOM.integers(0, 255, (NUM, 3))),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_and_its_split_get_equal_predictions(tmp_path: Path, name: str) -> None:
    path, options = CASES[name](tmp_path)
    use = "npz" if path.suffix == ".npz" else "csv"
    ran = wf.run(
        dataset={"use": use, "path": str(path), **options},
        model="linear",
        transform=["standardize"] if "large" in name else [],
        epochs=1,
        split="100/0",
        shuffle=False,
        run_dir=tmp_path / "run",
        quiet=True,
    )
    assert torch.isfinite(ran.predict("train")).all()
    trained = open_run(tmp_path / "run")
    assert torch.equal(trained.predict(trained.read(path)), ran.predict("train"))


def test_image_files_and_their_split_get_equal_predictions(tmp_path: Path) -> None:
    for number in range(8):
        image = Image.fromarray(RANDOM.integers(0, 60000, (20, 14)).astype(np.uint16))
        place = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        image.save(place)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(RANDOM.integers(0, 255, (20, 14, 3)).astype(np.uint8)).save(
            place.with_suffix(".jpg"), exif=exif
        )
    ran = wf.run(
        dataset={"use": "image-folder", "path": str(tmp_path / "images"), "image_size": [8, 6], "channels": 1},
        model="linear",
        epochs=1,
        batch_size=1,
        split="100/0",
        shuffle=False,
        run_dir=tmp_path / "run",
        quiet=True,
    )
    trained = open_run(tmp_path / "run")
    files = [file for name in "ab" for file in sorted((tmp_path / "images" / name).iterdir())]
    outputs = torch.cat([trained.predict(trained.read(file)) for file in files])
    assert torch.equal(outputs, ran.predict("train"))
