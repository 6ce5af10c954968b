"""Files and folders at URLs, in the memory of fsspec."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image

from wf.errors import DataError, UsageError
from wf_datasets.images.image_folder import image_folder
from wf_datasets.npz import npz
from wf_datasets.tables.csv_file import csv_file
from wf_storage.remote import copied, url_of

TABLE = b"a,b,price\n" + b"".join(b"%d,%d,%d.5\n" % (n, n * n % 7, 3 * n) for n in range(30))


@pytest.fixture
def memory_fs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("WF_DATA_DIR", str(tmp_path / "kept"))
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


@pytest.mark.parametrize("url", ["memory://x/house.csv", Path("memory://x/house.csv")])
def test_a_remote_table_is_copied_once(memory_fs: Any, tmp_path: Path, url: Any) -> None:
    memory_fs.pipe("/x/house.csv", TABLE)
    (tmp_path / "house.csv").write_bytes(TABLE)
    one, other = csv_file(url, "price"), csv_file(tmp_path / "house.csv", "price")
    assert torch.equal(one.train.inputs, other.train.inputs)
    assert len(list((tmp_path / "kept" / "files").rglob("house.csv"))) == 1
    csv_file(url, "price")
    assert len(list((tmp_path / "kept" / "files").rglob("house.csv"))) == 1


def test_a_file_that_changes_is_copied_again(memory_fs: Any) -> None:
    memory_fs.pipe("/x/a.csv", b"one")
    assert copied("memory://x/a.csv").read_bytes() == b"one"
    memory_fs.pipe("/x/a.csv", b"another")
    assert copied("memory://x/a.csv").read_bytes() == b"another"


def test_arrays_and_a_file_url(memory_fs: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2), np.float32), y=np.array([0, 1, 0, 1]))
    memory_fs.pipe("/x/a.npz", (tmp_path / "a.npz").read_bytes())
    for url in ("memory://x/a.npz", f"file://{tmp_path}/a.npz"):
        assert len(npz(Path(url)).train) == 4
    assert len(list((tmp_path / "kept").rglob("a.npz"))) == 1  # a local file is read in place


def test_a_folder_of_images(memory_fs: Any, tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/deep/1.png"):
        file = tmp_path / "here" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((5, 5, 3), len(name), np.uint8)).save(file)
        memory_fs.pipe(f"/photos/{name}", file.read_bytes())
    one, other = (image_folder(place, image_size=4) for place in (Path("memory://photos"), tmp_path / "here"))
    assert one.class_names == other.class_names == ["cat", "dog"]
    assert one.train.identity() == other.train.identity()


def test_unusable_urls_are_refused(memory_fs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"no file 'memory://x/nothing\.csv'"):
        csv_file(Path("memory://x/nothing.csv"), "price")
    with pytest.raises(UsageError, match="fsspec supports"):
        copied("nowhere://x/a.csv")
    with pytest.raises(DataError, match=r"needs another package: .*\n  pip install ossfs"):
        copied("oss://x/a.csv")
    memory_fs.pipe("/x/a.csv", b"one")
    monkeypatch.setenv("WF_DATA_DIR", os.devnull)
    with pytest.raises(DataError, match="set WF_DATA_DIR"):
        copied("memory://x/a.csv")


def test_a_failed_copy_leaves_no_file(memory_fs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory_fs.pipe("/x/a.csv", b"one")

    def half(_: str, to: str) -> None:
        Path(to).write_bytes(b"o")
        raise OSError("the network is gone")

    monkeypatch.setattr(type(memory_fs), "get_file", lambda self, path, to: half(path, to))
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(DataError, match="tried 5 times: the network is gone"):
        copied("memory://x/a.csv")
    assert not list((tmp_path / "kept").rglob("*a.csv*"))


def test_a_file_name_with_a_colon_is_not_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:").mkdir()
    (tmp_path / "odd:" / "x.csv").write_bytes(TABLE)
    assert url_of(Path("odd:/x.csv")) is None
