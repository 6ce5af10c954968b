"""Names of shards, their indexes, the order of an epoch, and reading."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wf.errors import DataError, UsageError
from wf.registry import Registry
from wf_datasets.images.image_reader import Form, read_image
from wf_kit import check_plugin
from wf_storage.remote import tried, url_of
from wf_webdataset.dataset import webdataset
from wf_webdataset.index import ShardIndex, index_of
from wf_webdataset.names import expanded, shards_of
from wf_webdataset.samples import Shards


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(level).integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(file, "png")
    return file.getvalue()


def packed(members: Sequence[tuple[str, bytes]]) -> bytes:
    """A tar file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def shard(first: int, num: int, label: Any = lambda number: f"{number % 2}") -> bytes:
    return packed(
        [
            member
            for number in range(first, first + num)
            for member in ((f"{number:04}.png", png(number)), (f"{number:04}.cls", label(number).encode()))
        ]
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards of 7, 5 and 8 samples."""
    for number, (first, num) in enumerate([(0, 7), (7, 5), (12, 8)]):
        (tmp_path / f"s-{number:02}.tar").write_bytes(shard(first, num))
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{8..11}.tar", ["a-8.tar", "a-9.tar", "a-10.tar", "a-11.tar"]),
        ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
        ("s3://b/{x,y}-{0..1}.tar", ["s3://b/x-0.tar", "s3://b/x-1.tar", "s3://b/y-0.tar", "s3://b/y-1.tar"]),
    ],
)
def test_brace_patterns_are_expanded(pattern: str, names: list[str]) -> None:
    assert expanded(pattern) == names


@pytest.mark.parametrize("pattern", ["a-{3..1}.tar", "a-{x}.tar", "a-{0..1.tar", "a-{0..{1}}.tar", "a}.tar"])
def test_malformed_brace_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"a-|a\}"):
        expanded(pattern)


def test_wildcards_and_shards_named_twice(folder: Path) -> None:
    assert shards_of(f"{folder}/s-*.tar") == [str(folder / f"s-0{number}.tar") for number in range(3)]
    with pytest.raises(DataError, match="no file"):
        shards_of(f"{folder}/t-*.tar")
    with pytest.raises(DataError, match="twice"):
        shards_of(f"{folder}/s-{{00,00}}.tar")


@pytest.mark.parametrize(
    ("path", "url"),
    [
        (Path("s3://bucket/x.csv"), "s3://bucket/x.csv"),
        ("s3://bucket/x.csv", "s3://bucket/x.csv"),
        (Path("file:///tmp/x.csv"), "file:///tmp/x.csv"),
        (Path("memory://x"), "memory://x"),
        ("simplecache::s3://bucket/x", "simplecache::s3://bucket/x"),
        ("x.csv", None),
        ("c:/x.csv", None),
        ("/a/b", None),
    ],
)
def test_url_of_recognises_urls(path: Path | str, url: str | None) -> None:
    assert url_of(path) == url


def test_samples_are_decoded_in_the_order_of_the_files(folder: Path) -> None:
    """In the order of the files, decoded like image files."""
    data = webdataset(f"{folder}/s-{{00..02}}.tar", image_size=8)
    assert (len(data.train), data.class_names, data.targets) == (20, ["0", "1"], "class_index")
    assert data.target_tensor is not None
    assert data.target_tensor.tolist() == [number % 2 for number in range(20)]
    for number in (0, 6, 7, 19):
        wanted = read_image(io.BytesIO(png(number)), Form((8, 8), 3, "crop"))
        assert torch.equal(data.train[number][0], wanted)
    assert isinstance(data.train, Shards)
    several = data.train.__getitems__([19, 3, 3, 8])
    assert all(torch.equal(one[0], data.train[number][0]) for one, number in zip(several, [19, 3, 3, 8], strict=True))


def test_remote_shards_are_read_at_once_for_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, num = fsspec.filesystem("memory"), 5
    for number in range(num):
        memory.pipe(f"/at-once/{number}.tar", shard(2 * number, 2))
    together = threading.Barrier(num, timeout=30)  # raises if they are read one after the other

    def read(*args: Any) -> ShardIndex:
        together.wait()
        return index_of(*args)

    monkeypatch.setattr("wf_webdataset.reading.index_of", read)
    found = webdataset(f"memory://at-once/{{0..{num - 1}}}.tar")
    assert isinstance(found.train, Shards)
    assert found.train._keys.tolist() == [f"{number:04}".encode() for number in range(2 * num)]


def test_remote_and_cached_shards_equal_local_ones(folder: Path, tmp_path: Path) -> None:
    there = fsspec.filesystem("memory")
    for number in range(3):
        there.pipe(f"/test/s-0{number}.tar", (folder / f"s-0{number}.tar").read_bytes())
    pattern = "s-{00..02}.tar"
    one = webdataset(f"{folder}/{pattern}", image_size=8).train
    for cache in (None, tmp_path / "copies", tmp_path / "copies"):
        other = webdataset(f"memory://test/{pattern}", image_size=8, cache=cache).train
        assert isinstance(one, Shards)
        assert isinstance(other, Shards)
        assert one.identity() == other.identity()
        assert all(torch.equal(one[number][0], other[number][0]) for number in range(20))
    assert len(list((tmp_path / "copies").glob("*/*.tar"))) == 3
    there.rm("/test", recursive=True)  # cached shards need no further requests
    assert torch.equal(other[19][0], one[19][0])
    assert len(list((tmp_path / "copies").glob("*.index.json"))) == 3


def test_json_targets_and_splits(tmp_path: Path) -> None:
    def member(number: int, label: Any) -> list[tuple[str, bytes]]:
        return [(f"x/{number}.JPG", png(number)), (f"x/{number}.json", json.dumps(label).encode())]

    for name, values in (("a", ["cat", "dog"]), ("b", ["dog", "cat"])):
        (tmp_path / f"{name}.tar").write_bytes(packed(member(0, values[0]) + member(1, values[1])))
    words: dict[str, Any] = {"target": "json", "image_size": 8}
    data = webdataset(f"{tmp_path}/a.tar", f"{tmp_path}/b.tar", **words)
    assert data.class_names == ["cat", "dog"]
    assert data.validation is not None
    assert [int(data.validation[number][1]) for number in range(2)] == [1, 0]
    with pytest.raises(UsageError, match="both"):
        webdataset(f"{tmp_path}/a.tar", f"{tmp_path}/a.tar", **words)
    (tmp_path / "c.tar").write_bytes(packed(member(0, {"y": 0.5}) + member(1, {"y": 2})))
    real = webdataset(f"{tmp_path}/c.tar", key="y", **words)
    assert real.targets == "real"
    assert [real.train[number][1].tolist() for number in range(2)] == [[0.5], [2.0]]
    with pytest.raises(DataError, match="key 'label'"):
        webdataset(f"{tmp_path}/c.tar", **words)
    with pytest.raises(DataError, match=r"class 'cat'.*\n.*\n.*class_names"):
        webdataset(f"{tmp_path}/a.tar", target="json", class_names=["wolf", "fox"])


def test_class_names_for_numeric_labels(tmp_path: Path) -> None:
    (tmp_path / "d.tar").write_bytes(shard(0, 4))
    numbers = webdataset(f"{tmp_path}/d.tar", class_names=["even", "odd"])
    assert numbers.class_names == ["even", "odd"]
    assert numbers.target_tensor is not None
    assert numbers.target_tensor.tolist() == [0, 1, 0, 1]
    learned: Mapping[str, Any] = {"class_names": ["even", "odd"]}
    assert webdataset(f"{tmp_path}/d.tar", learned=learned).class_names == ["even", "odd"]


def broken(content: bytes) -> dict[str, tuple[bytes, str]]:
    spoilt = bytearray(content)
    spoilt[1024:1088] = b"x" * 64
    return {
        "cut within a file": (content[:700], "tar file|truncated"),
        "cut within a header": (content[: 1024 + 100], "tar file|truncated"),
        "cut between files": (content[:1024], "truncated"),
        "spoilt in the middle": (bytes(spoilt), "truncated|tar file"),
        "no tar at all": (b"a,b\n1,2\n" * 200, "not a valid tar file"),
        "empty": (b"", "not a valid tar file"),
        "compressed": (
            gzip.compress(content),
            r"is compressed \(gzip\); .*\n  unpack it: gzip -dc x.tar > unpacked-x.tar",
        ),
        "without the label": (packed([("1.png", png(1)), ("1.txt", b"1")]), "no member cls; it has png, txt"),
        "without the image": (packed([("1.cls", b"1")]), "no member jpg or"),
        "two images": (packed([("1.png", png(1)), ("1.jpg", png(1)), ("1.cls", b"1")]), "several inputs"),
        "an empty label": (packed([("1.png", png(1)), ("1.cls", b" ")]), "is empty"),
        "members apart": (packed([("1.cls", b"1"), ("2.cls", b"1"), ("1.png", b"")]), "png|no member"),
        "one class": (shard(0, 3, lambda number: "7"), "only one class"),
        "no samples": (packed([]), "no samples"),
    }


@pytest.mark.parametrize("name", list(broken(b"")))
def test_broken_shards(tmp_path: Path, name: str) -> None:
    content, message = broken(packed([("1.png", b"x" * 300), ("1.cls", b"1"), ("2.png", b"y"), ("2.cls", b"0")]))[name]
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataError, match=message):
        webdataset(str(tmp_path / "x.tar"))


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(
        packed([("a/1.png", b"no"), ("a/1.cls", b"1"), ("a/2.png", b""), ("a/2.cls", b"0")])
    )
    data = webdataset(str(tmp_path / "x.tar"))
    with pytest.raises(DataError, match=r"image 'a/1 in .*x.tar' cannot be read"):
        data.train[0]


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("nothing.tar", DataError, "no file"),
        ("nowhere://a/b.tar", UsageError, "fsspec supports"),
        ("oss://a/b.tar", DataError, "pip install ossfs"),
        ("memory://nothing/b-{0..1}.tar", DataError, "no file"),
    ],
)
def test_missing_shards_are_refused(path: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        webdataset(path)


def test_links_in_a_circle_are_not_retried(tmp_path: Path) -> None:
    (tmp_path / "x.tar").symlink_to("x.tar")
    with pytest.raises(DataError, match=r"x.tar' is a symbolic link that leads in a circle"):
        webdataset(str(tmp_path / "x.tar"))


def test_failed_reads_are_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    answers = iter([OSError("reset"), TimeoutError(), None])

    def read() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "there"

    assert tried("x", read) == "there"
    assert pauses == [1, 2]
    answers = iter([OSError("reset")] * 5)
    with pytest.raises(DataError, match="tried 5 times: reset"):
        tried("x", read)


def shards(sizes: Sequence[int], buffer: int, lanes: int) -> Shards:
    indexes, first = [], 0
    for number, size in enumerate(sizes):
        rows = list(range(first, first + size))
        indexes.append(
            ShardIndex(
                url=f"{number}",
                num_bytes=0,
                version="",
                keys=list(map(str, rows)),
                offsets=rows,
                sizes=rows,
                targets=rows,
            )
        )
        first += size
    return Shards(indexes, lambda content, where: content, torch.zeros(first), buffer=buffer, lanes=lanes)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    buffer=st.integers(1, 40),
    lanes=st.integers(1, 9),
    seed=st.integers(0, 1000),
    share=st.floats(0.1, 1),
)
def test_an_epoch_has_each_sample_once(sizes: list[int], buffer: int, lanes: int, seed: int, share: float) -> None:
    own, total = shards(sizes, buffer, lanes), sum(sizes)
    members = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[: max(1, int(share * total))]
    order, again, next_one = (
        own.epoch_order(members, torch.Generator().manual_seed(key)) for key in (seed, seed, seed + 1)
    )
    assert order.sort().values.tolist() == members.sort().values.tolist()
    assert order.tolist() == again.tolist()
    assert next_one.sort().values.tolist() == order.sort().values.tolist()


@given(sizes=st.lists(st.integers(5, 30), min_size=4, max_size=12), seed=st.integers(0, 100))
def test_processes_read_different_shards(sizes: list[int], seed: int) -> None:
    """Except for shards that a border of lanes divides."""
    lanes, buffer, total = 4, 7, sum(sizes)
    order = shards(sizes, buffer, lanes).epoch_order(torch.arange(total), torch.Generator().manual_seed(seed))
    starts = torch.tensor(sizes).cumsum(0)
    for processes in (2, 4):
        read = [
            set(torch.searchsorted(starts, order[rank::processes].contiguous(), right=True).tolist())
            for rank in range(processes)
        ]
        assert sum(map(len, read)) <= len(sizes) + lanes - 1


def test_few_shards_are_read_at_a_time() -> None:
    own = shards([100] * 20, 50, 2)
    order = own.epoch_order(torch.arange(2000), torch.Generator().manual_seed(0))
    for begin in range(0, 2000 - 100, 100):
        assert len(set((order[begin : begin + 100] // 100).tolist())) <= 4
    assert not torch.equal(order.sort().values, order)


def test_conformance(folder: Path) -> None:
    name = "dataset/webdataset"
    options = {name: {"path": f"{folder}/s-{{00..02}}.tar", "image_size": 8}}
    results = check_plugin(f"{name}@wf-webdataset", registry=Registry.discover(), options=options, run={})
    assert results
    assert not [f"{result.check}: {result.message}" for result in results if result.status == "failed"]
