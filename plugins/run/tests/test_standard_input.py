"""Standard input of ``wf predict`` and ``wf evaluate``: its format is recognised by its first bytes."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wf
from wf.errors import DataError
from wf_datasets.images.image_reader import ImageReader
from wf_run.using.raw import standard_input


def saved(write: Any) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("given", "ending"),
    [
        (b"PAR1\x15\x04\x15\x20", ".parquet"),
        (saved(lambda file: np.save(file, np.ones(3))), ".npy"),
        (saved(lambda file: np.savez(file, x=np.ones(3))), ".npz"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", ".jpg"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", ".webp"),
        (b"PAR1,BMI\n1,2\n", ".csv"),
        (b"BMI,age\n1,2\n", ".csv"),
        (b"BZh,GIF89a\n1,2\n", ".csv"),
        (b'\n{"a": 1}\n', ".jsonl"),
        (b"", ".csv"),
    ],
)
def test_the_format_is_that_of_the_first_bytes(monkeypatch: pytest.MonkeyPatch, given: bytes, ending: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(given))))  # type: ignore[arg-type]  # raw enough
    path, stream = standard_input(ImageReader((8, 8), 3))
    assert path.name == f"stdin{ending}"
    assert stream.read() == given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "compressed (gzip)\n  unpack it: gzip -dc FILE"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "zstd -dc"),
        (zipped("xl/workbook.xml"), "a zip archive that begins with 'xl/workbook.xml'"),
        ("a,b\n1,2\n".encode("utf-16"), "text in UTF-16"),
        (b"\x7fELF\x02\x01\x01\x00", "binary, in an unknown format"),
    ],
)
def test_compressed_and_unknown_data_are_refused(monkeypatch: pytest.MonkeyPatch, given: bytes, message: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(given))))  # type: ignore[arg-type]  # raw enough
    with pytest.raises(DataError, match="standard input is") as raised:
        standard_input(None)
    assert message in str(raised.value)


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_predictions_for_arrays_and_parquet(tmp_path: Path, form: str) -> None:
    x = np.random.default_rng(0).normal(size=(60, 2))
    rows = [f"{a},{b},{int(a > 0)}" for a, b in x.tolist()]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *rows]))
    data = {"use": "csv", "path": str(tmp_path / "t.csv"), "target": "y"}
    if form == "npz":
        given = saved(lambda file: np.savez(file, x=x[:5].astype(np.float32)))
    else:
        arrow = pytest.importorskip("pyarrow.parquet")
        table = pytest.importorskip("pyarrow").table({"a": x[:5, 0], "b": x[:5, 1]})
        given = saved(lambda file: arrow.write_table(table, file))
    wf.run(dataset=data, model="linear", epochs=1, quiet=True, run_dir=tmp_path / "run")

    def predicted(given: bytes) -> subprocess.CompletedProcess[bytes]:
        words = [sys.executable, "-P", "-m", "wf_cli", "predict", str(tmp_path / "run"), "-"]
        return subprocess.run(words, input=given, capture_output=True, check=False)

    whole, cut = predicted(given), predicted(given[:100])
    assert (whole.returncode, cut.returncode) == (0, 4), (whole.stderr, cut.stderr)
    assert len(whole.stdout.splitlines()) == 5
    assert f"stdin.{form} cannot be read" in cut.stderr.decode()


def test_evaluating_samples_from_standard_input(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 2))
    rows = [f"{a},{b},{int(a > 0)}" for a, b in x.tolist()]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *rows]))
    data = {"use": "csv", "path": str(tmp_path / "t.csv"), "target": "y"}
    wf.run(dataset=data, model="linear", epochs=1, quiet=True, run_dir=tmp_path / "run")

    def evaluated(file: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-P", "-m", "wf_cli", "evaluate", str(tmp_path / "run"), "--data", file, "--json"]
        return subprocess.run(words, input=given, capture_output=True, check=False, text=True)

    from_file, piped = evaluated(str(tmp_path / "t.csv")), evaluated("-", (tmp_path / "t.csv").read_text())
    assert (from_file.returncode, piped.returncode) == (0, 0), piped.stderr
    expected, found = json.loads(from_file.stdout), json.loads(piped.stdout)
    assert found == {**expected, "data": "-"}
    assert found["samples"] == 60
    without = evaluated("-", "a,b\n1,2\n")
    assert without.returncode == 4
    assert "stdin.csv" in without.stderr
    assert str(Path(tempfile.gettempdir())) not in without.stderr.replace(str(tmp_path), "")
