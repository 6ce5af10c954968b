"""Texts, tokens, arrays, masks and JSON rows in shards."""

from __future__ import annotations

import io
import json
import signal
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image

from wf.errors import UsageError, WfError
from wf.registry import Registry
from wf_kit import check_plugin
from wf_text.tokenizers import Bytes, Words
from wf_webdataset.arrays import webdataset_arrays
from wf_webdataset.dataset import webdataset, webdataset_masks
from wf_webdataset.rows import webdataset_rows
from wf_webdataset.texts import webdataset_texts, webdataset_tokens

Members = dict[str, bytes]
KILL = """
import os, signal

class Kill:
    def on_step_end(self, run):
        if run.progress.step == 7 and not os.path.exists("killed"):
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def packed(samples: Sequence[Members]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number, members in enumerate(samples):
            for ending, content in members.items():
                info = tarfile.TarInfo(f"a/{number:03}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(file, "png")
    return file.getvalue()


def texts(number: int) -> Members:
    return {"txt": f"{('good', 'bad')[number % 2]} film {number % 5}".encode(), "cls": (b"yes", b"no")[number % 2]}


def arrays(number: int) -> Members:
    return {"npy": npy(np.full((2, 4), number / 7, np.float32)), "json": json.dumps({"label": number % 2}).encode()}


def tokens(number: int) -> Members:
    return {"npy": npy(np.arange(9, dtype=np.uint16) + number)}


def masks(number: int) -> Members:
    mask = np.arange(64).reshape(8, 8) % (2 + number % 2)
    return {"png": png(mask * 90), "seg.png": png(mask)}


def rows(number: int) -> Members:
    row = {"size": number / 3, "colour": ["red", "blue"][number % 2], "y": number % 2, "note": None}
    return {"json": json.dumps(row).encode()}


KINDS: dict[str, tuple[Callable[[int], Members], dict[str, Any]]] = {
    "masks": (masks, {"image_size": 8}),
    "texts": (texts, {}),
    "tokens": (tokens, {}),
    "arrays": (arrays, {"target": "json"}),
    "rows": (rows, {"target": "y", "ignore": "note", "categorical": "colour"}),
}


def write(folder: Path, kind: str, num: int = 30) -> str:
    """Two shards; returns their pattern."""
    make = KINDS[kind][0]
    for shard in range(2):
        samples = [make(number) for number in range(shard * num // 2, (shard + 1) * num // 2)]
        (folder / f"{kind}-{shard}.tar").write_bytes(packed(samples))
    return str(folder / f"{kind}-{{0..1}}.tar")


def test_texts(tmp_path: Path) -> None:
    found = webdataset_texts(write(tmp_path, "texts"), Words())
    assert (found.class_names, found.task) == (["no", "yes"], "text-classification")
    inputs, target = found.train[17]
    assert [found.vocabulary[token] for token in inputs["input_ids"]] == ["bad", "film", "2"]
    assert int(target) == 0
    batch, targets = found.collate([found.train[number] for number in range(3)])  # type: ignore[misc]  # it has one
    assert batch["attention_mask"].shape == (3, 3)
    assert targets.tolist() == [1, 0, 1]


def test_texts_and_classes_in_objects(tmp_path: Path) -> None:
    write_one(tmp_path, [{"json": json.dumps({"body": word, "label": word[0]}).encode()} for word in ("ab", "ba")])
    options: dict[str, Any] = {"inputs": "json", "target": "json"}
    found = webdataset_texts(str(tmp_path / "x.tar"), Words(), text="body", **options)
    assert found.class_names == ["a", "b"]
    with pytest.raises(WfError, match=r"has no text at 'text'; it has body, label\n.*--dataset.text"):
        webdataset_texts(str(tmp_path / "x.tar"), Words(), **options)


def test_arrays(tmp_path: Path) -> None:
    pattern = write(tmp_path, "arrays")
    found = webdataset_arrays(pattern, target="json")
    assert (found.class_names, found.targets) == (["0", "1"], "class_index")
    assert torch.equal(found.train[16][0], torch.full((2, 4), np.float32(16 / 7).item()))
    learned = {"class_names": found.class_names, "reader": found.reader.description()}  # type: ignore[union-attr]  # it has one
    again = webdataset_arrays(pattern, target="json", learned=learned)
    assert torch.equal(again.train[16][0], found.train[16][0])


@pytest.mark.parametrize("ending", ["json", "target.npy"])
def test_several_numbers_are_a_regression(tmp_path: Path, ending: str) -> None:
    values = [[1.5, 2], [3, 4]]
    contents = [npy(value) if "npy" in ending else json.dumps({"label": value}).encode() for value in values]
    write_one(tmp_path, [{"npy": npy([1.0, 2.0]), ending: content} for content in contents])
    found = webdataset_arrays(str(tmp_path / "x.tar"), target=ending)
    assert found.targets == "real"
    assert [found.train[number][1].tolist() for number in range(2)] == values


def test_tokens(tmp_path: Path) -> None:
    found = webdataset_tokens(write(tmp_path, "tokens"), Bytes())
    inputs, targets = found.train[20]
    assert inputs.tolist() == list(range(20, 28))
    assert targets.tolist() == list(range(21, 29))
    assert len(found.vocabulary) == 256
    with pytest.raises(UsageError, match="--tokenizer bytes"):
        webdataset_tokens(str(tmp_path / "tokens-0.tar"), Words())


def test_masks(tmp_path: Path) -> None:
    found = webdataset_masks(write(tmp_path, "masks"), image_size=8)
    assert (found.class_names, found.targets) == (["0", "1", "2"], "mask")
    image, mask = found.train[3]
    assert mask.tolist() == (np.arange(64).reshape(8, 8) % 3).tolist()
    assert torch.equal(image[0], mask * 90 / 255)
    named = webdataset_masks(str(tmp_path / "masks-0.tar"), image_size=4, class_names=["a", "b", "c"])
    assert named.train[0][1].shape == (4, 4)


def test_rows(tmp_path: Path) -> None:
    found = webdataset_rows(write(tmp_path, "rows"), **KINDS["rows"][1])
    assert found.class_names == ["0", "1"]
    assert found.feature_names == ["size", "colour=blue", "colour=red"]
    assert found.train[5][0].tolist() == pytest.approx([5 / 3, 1, 0])


def write_one(folder: Path, samples: Sequence[Members]) -> None:
    (folder / "x.tar").write_bytes(packed(samples))


ONE = {"txt": b"a text", "cls": b"1"}
BROKEN: list[tuple[Any, dict[str, Any], Sequence[Members], str]] = [
    (webdataset, {}, [ONE], r"no member jpg or .*; it has txt, cls\n.*texts by webdataset-texts"),
    (webdataset_texts, {}, [ONE, {"txt": b"a"}], "no member cls; it has txt"),
    (webdataset_texts, {}, [ONE, {"txt": b"\xff", "cls": b"2"}], "a/001 in .*x.tar is not UTF-8"),
    (webdataset_texts, {}, [ONE, {"txt": b"", "cls": b"2"}], "a/001 in .*: the text .* has no token"),
    (webdataset_arrays, {}, [{"npy": npy([1, 2]), "cls": b"1"}, {"npy": npy([1]), "cls": b"2"}], r"shape \[1\], but"),
    (webdataset_arrays, {}, [{"npy": npy([1, 2])[:50], "cls": b"1"}, {"npy": b"", "cls": b"2"}], "not a valid .npy"),
    (webdataset_arrays, {}, [{"npy": npy([np.nan]), "cls": b"1"}, {"npy": npy([1]), "cls": b"2"}], "not finite"),
    (webdataset_arrays, {}, [{"npy": npy(["a"]), "cls": b"1"}, {"npy": npy([1]), "cls": b"2"}], "<U1, not numbers"),
    (webdataset_tokens, {}, [{"npy": npy([1, 2, 3])}, {"npy": npy([1, 2])}], "has 2 tokens, but the first"),
    (webdataset_tokens, {}, [{"npy": npy([1.5, 2])}], r"float64 \[2\]; tokens are at least two whole numbers"),
    (webdataset_masks, {}, [{"png": png([[0]]), "txt": b""}], "no member seg.png; it has png, txt"),
    (webdataset_masks, {}, [{"png": png([[0]]), "seg.png": png([[0, 1]])}], "has 1x1 pixels, but its mask"),
    (webdataset_masks, {}, [{"png": png([[0]]), "seg.png": b"x"}], "mask 'a/000 in .*' cannot be read"),
    (webdataset_rows, {"target": "y"}, [{"json": b'{"y": 1, "a": 2}'}, {"json": b"[1]"}], "is list, not an object"),
    (webdataset_rows, {"target": "y"}, [{"json": b'{"y": 1, "a": [2]}'}], r"column 'a': \[2\] is neither"),
    (webdataset_rows, {"target": "y"}, [{"json": b'{"y": 1, "a": 1}'}, {"json": b'{"y": 2}'}], "sample 'a/001' of '"),
    (webdataset_rows, {"target": "z"}, [{"json": b'{"y": 1, "a": 1}'}], "unknown column 'z'"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "options", "samples", "message"), BROKEN)
def test_invalid_members(tmp_path: Path, make: Any, options: dict[str, Any], samples: Any, message: str) -> None:
    write_one(tmp_path, samples)
    tokenizer = {webdataset_texts: Words(), webdataset_tokens: Bytes()}
    given = {**options, **({"tokenizer": tokenizer[make]} if make in tokenizer else {})}
    with pytest.raises(WfError, match=message):
        list(make(str(tmp_path / "x.tar"), **given).train.__getitems__(range(len(samples))))


@pytest.mark.parametrize("kind", KINDS)
def test_shards_that_are_cut_off(tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind)
    whole = (tmp_path / f"{kind}-0.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2 - 700])
    make, options = make_of(kind)
    with pytest.raises(WfError, match=r"cut.tar.*(not a valid tar file|damaged or truncated)"):
        make(str(tmp_path / "cut.tar"), **options)


def make_of(kind: str) -> tuple[Any, dict[str, Any]]:
    make = {
        "masks": webdataset_masks, "texts": webdataset_texts, "tokens": webdataset_tokens,
        "arrays": webdataset_arrays, "rows": webdataset_rows,
    }[kind]  # fmt: skip
    tokenizer = {"texts": Words(), "tokens": Bytes()}
    return make, {**KINDS[kind][1], **({"tokenizer": tokenizer[kind]} if kind in tokenizer else {})}


@pytest.mark.parametrize("kind", KINDS)
def test_remote_shards_equal_local_ones(tmp_path: Path, kind: str) -> None:
    local = write(tmp_path, kind)
    memory = fsspec.filesystem("memory")
    for shard in range(2):
        memory.pipe(f"/kinds/{kind}-{shard}.tar", (tmp_path / f"{kind}-{shard}.tar").read_bytes())
    make, options = make_of(kind)
    one = make(local, **options)
    other = make(f"memory://kinds/{kind}-{{0..1}}.tar", cache=tmp_path / "cache", **make_of(kind)[1])
    assert len(one.train) == len(other.train) == 30
    for number in (0, 14, 29):
        torch.testing.assert_close(one.train[number], other.train[number], rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_conformance(tmp_path: Path, kind: str) -> None:
    name, options = f"dataset/webdataset-{kind}", {"path": write(tmp_path, kind), **KINDS[kind][1]}
    small = {"layers": 1, "heads": 2, "width": 8}
    runs: dict[str, Any] = {
        "texts": {"model": {"use": "text-encoder", **small}},
        "tokens": {
            "dataset": {"use": "webdataset-tokens", **options},
            "model": {"use": "gpt", **small},
            "loss": "token-ce",
            "tokenizer": "bytes",
        },
    }
    results = check_plugin(
        f"{name}@wf-webdataset",
        registry=Registry.discover(),
        options={name: options},
        run={name: runs.get(kind, {})},
    )
    assert results
    assert not [f"{result.check}: {result.message}" for result in results if result.status == "failed"]


SMALL = ("--model.layers", 1, "--model.heads", 2, "--model.width", 8)
LINES: dict[str, tuple[Any, ...]] = {
    "texts": SMALL,
    "tokens": (*SMALL, "--tokenizer", "bytes"),
    "masks": ("--dataset.image_size", 8, "--model.channels", "[4]"),
    "arrays": ("--dataset.target", "json"),
    "rows": ("--dataset.target", "y", "--dataset.ignore", "note", "--dataset.categorical", "colour"),
}


@pytest.mark.parametrize("kind", ["texts", pytest.param("masks", marks=pytest.mark.exhaustive)])
def test_runs_are_resumed_exactly(wf: Any, tmp_path: Path, kind: str) -> None:
    """Killed in the second epoch, with two workers."""
    write(tmp_path, kind)
    (tmp_path / "kill.py").write_text(KILL)
    line = ("run", "--dataset", f"webdataset-{kind}", "--dataset.path", f"{kind}-{{0..1}}.tar", *LINES[kind])
    line += ("--dataset.lanes", 2, "--batch-size", 5, "--epochs", 3, "--workers", 2, "--checkpoint-every", "2steps")
    line += ("--hook", "+kill.py:Kill", "--quiet")
    assert wf(*line, "--name", "killed").code == -signal.SIGKILL
    straight = wf(*line, "--name", "straight")
    assert straight.code == 0, straight.stderr
    resumed = wf("resume", "killed", "--quiet")
    assert resumed.code == 0, resumed.stderr
    weights = [
        max((tmp_path / "runs" / name / "checkpoints").glob("step-*")) / "tensors.safetensors"
        for name in ("killed", "straight")
    ]
    assert weights[0].parent.name == weights[1].parent.name
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("kind", ["arrays", pytest.param("tokens", marks=pytest.mark.exhaustive)])
def test_two_processes_give_the_figures_of_one(wf: Any, ranks: Any, tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind)
    line = ("run", "--dataset", f"webdataset-{kind}", "--dataset.path", f"{kind}-{{0..1}}.tar", *LINES[kind])
    line += ("--batch-size", 6, "--epochs", 2, "--quiet")
    for run, name in ((wf, "one"), (ranks, "two")):
        done = run(*line, "--name", name)
        assert done.code == 0, done.stderr
    one, two = (
        json.loads((tmp_path / "runs" / name / "manifest.json").read_text())["metrics"] for name in ("one", "two")
    )
    assert one == pytest.approx(two, rel=1e-4)


def test_predictions_and_evaluations_read_plain_files(wf: Any, tmp_path: Path) -> None:
    write(tmp_path, "rows")
    line = ("--dataset.path", "rows-{0..1}.tar", *LINES["rows"], "--epochs", 1, "--quiet")
    assert wf("run", "--dataset", "webdataset-rows", *line, "--name", "x").code == 0
    (tmp_path / "new.csv").write_text("size,colour,y\n1.5,red,0\n2.5,blue,1\n")
    predicted = wf("predict", "x", "new.csv")
    assert (predicted.code, len(predicted.stdout.splitlines())) == (0, 2), predicted.stderr
    judged = wf("evaluate", "x", "--data", "new.csv", "--json")
    assert judged.json()["samples"] == 2
