"""Texts as blocks of tokens: from files and folders, in memory and memory-mapped, and errors."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import manifest, weights

import wf
from wf.errors import DataError, PluginError, UsageError
from wf_base import TensorSamples
from wf_text.reading import corpus
from wf_text.reading.dataset import MappedBlocks, text
from wf_text.tokenizers import Bytes, Characters

VERSE = "Tyger Tyger, burning bright,\nIn the forests of the night;\n"
SMALL = ("--model.layers", 1, "--model.heads", 2, "--model.width", 8, "--batch-size", 8)


def load_text(path: Path, tokenizer: Any = None, **options: Any) -> Any:
    return text(path, tokenizer or Characters(), path.parent / "data", **{"block": 8, **options})


@pytest.fixture
def verses(tmp_path: Path) -> Path:
    (tmp_path / "verses.txt").write_text(VERSE * 8)
    return tmp_path / "verses.txt"


def test_the_target_of_each_token_is_the_next_one(verses: Path) -> None:
    found = load_text(verses, test=0)
    assert "".join(found.vocabulary) == "".join(sorted(set(VERSE)))
    assert found.test is None
    tokens = "".join(found.vocabulary[token] for token in found.train.inputs.flatten())
    targets = "".join(found.vocabulary[token] for token in found.train.targets.flatten())
    assert tokens == (VERSE * 8)[: len(tokens)]
    assert targets == (VERSE * 8)[1 : len(tokens) + 1]
    begin = round(0.9 * len(VERSE * 8))
    validation = "".join(found.vocabulary[token] for token in found.validation.inputs.flatten())
    assert validation == (VERSE * 8)[begin : begin + len(validation)]


@pytest.mark.parametrize("tokenizer", [Characters, Bytes])
def test_memory_mapped_text_has_the_same_blocks_as_text_in_memory(verses: Path, tokenizer: type) -> None:
    held, mapped = load_text(verses, tokenizer()), load_text(verses, tokenizer(), in_memory_mb=0)
    for split in ("train", "validation", "test"):
        blocks: Any = getattr(mapped, split)
        assert isinstance(blocks, MappedBlocks)
        assert len(blocks) == len(getattr(held, split))
        again = pickle.loads(pickle.dumps(blocks))
        rows = again.__getitems__(range(len(blocks)))
        assert torch.equal(torch.stack([inputs for inputs, _ in rows]), getattr(held, split).inputs)
        assert torch.equal(torch.stack([targets for _, targets in rows]), getattr(held, split).targets)
    with pytest.raises(IndexError):
        mapped.test[len(mapped.test)]


def test_a_file_of_tokens_is_used_again_until_the_text_changes(verses: Path) -> None:
    folder = verses.parent / "data" / "tokens"
    one = load_text(verses, in_memory_mb=0).train.identity()
    [file] = folder.iterdir()
    before = file.stat().st_mtime_ns
    assert load_text(verses, in_memory_mb=0).train.identity() == one
    assert [file.stat().st_mtime_ns for file in folder.iterdir()] == [before]
    verses.write_text(VERSE * 7 + VERSE.swapcase())
    assert load_text(verses, in_memory_mb=0).train.identity() != one
    assert len(list(folder.iterdir())) == 2


def test_a_text_is_read_in_pieces_of_whole_lines(tmp_path: Path) -> None:
    data = "é\nüü\n\nlast ☃".encode()
    (tmp_path / "a.txt").write_bytes(data)
    found = list(corpus.pieces(tmp_path / "a.txt", size=2))
    assert b"".join(piece.data for piece in found) == data
    assert "".join(piece.text for piece in found) == data.decode()
    assert [(piece.offset, piece.line) for piece in found] == [(0, 1), (3, 2), (8, 3), (9, 4)]


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "books"
    (folder / "b").mkdir(parents=True)
    for name, words in (("z.txt", "zz"), ("a.txt", "aa"), ("b/c.txt", "bb"), ("no.md", "mm"), ("empty.txt", "")):
        (folder / name).write_text(words)
    files = corpus.find_files(folder)
    assert [file.name for file in files] == ["a.txt", "c.txt", "z.txt"]
    assert "empty.txt' is empty, and is left out" in caplog.text
    tokenizer = Characters()
    corpus.learn(files, tokenizer)
    assert tokenizer.decode(corpus.in_memory(files, tokenizer)) == "aabbzz"


def test_an_end_token_is_put_after_each_file(tmp_path: Path) -> None:
    class Ending(Bytes):
        vocabulary = (*Bytes.vocabulary, "<end>")
        end = 256

    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    assert corpus.in_memory(corpus.find_files(tmp_path), Ending()).tolist() == [97, 256, 98, 256]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"caf\xe9 " * 30, r"is not UTF-8: byte 0xe9 at offset 3\n.*--tokenizer bytes"),
        (b"\xef\xbb\xbfab\n" + b"x" * 30 + b"\xff", "byte 0xff at offset 36"),
        (b"", "is empty: there is nothing to learn from"),
        (b"abcdefgh", r"the train split of .* has 6 tokens, but a block needs 8 and one more\n.*--dataset.block"),
        (b"abcdefghijk" * 4, "the validation split of .* has 5 tokens, but a block needs 8 and one more"),
        (None, "there is no file or folder"),
    ],
)
def test_invalid_texts_are_refused(tmp_path: Path, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / "a.txt").write_bytes(data)
    for in_memory_mb in (1, 0):
        with pytest.raises(DataError, match=f"(?s){message}"):
            load_text(tmp_path / "a.txt", in_memory_mb=in_memory_mb)
    assert not list(tmp_path.rglob("*.tokens.*")), "nothing half-written is left"


def test_the_bytes_tokenizer_reads_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(bytes(range(256)) * 2)
    assert load_text(tmp_path / "a.txt", Bytes()).train.inputs.flatten()[:256].tolist() == list(range(256))


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file '\*\.txt' in .*\n.*--dataset.pattern"):
        load_text(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"block": 0}, "'block' is 0"), ({"validation": 0.6, "test": 0.4}, "0.6 and 0.4"), ({"test": -0.1}, "-0.1")],
)
def test_invalid_sizes_and_shares_are_refused(verses: Path, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_text(verses, **options)


def test_tokens_outside_the_vocabulary_are_blamed_on_the_tokenizer(verses: Path) -> None:
    class Wrong(Bytes):
        def encode_bytes(self, data: bytes) -> Any:
            return [300]

    with pytest.raises(PluginError, match=r"tokenizer Wrong returned token 300 .* vocabulary has 256"):
        load_text(verses, Wrong())


def test_unknown_characters_are_named() -> None:
    tokenizer = Characters({"vocabulary": ["a", "b"]})
    assert tokenizer.decode(tokenizer.encode("abba")) == "abba"
    with pytest.raises(DataError, match=r"character '☃' \(U\+2603\) is not among the 2 characters"):
        tokenizer.encode("ab☃")
    with pytest.raises(DataError, match="not among the 0 characters"):
        Characters().encode("a")


@pytest.mark.parametrize("in_memory_mb", [256, pytest.param(0, marks=pytest.mark.exhaustive)])
def test_a_killed_run_ends_with_the_same_bits(wf: Any, tmp_path: Path, verses: Path, in_memory_mb: int) -> None:
    data = ("--dataset", "text", "--dataset.path", verses, "--dataset.block", 8, "--dataset.in_memory_mb", in_memory_mb)
    workers = () if in_memory_mb else ("--workers", 2)
    done = wf(
        "prove-resume", *data, *SMALL, *workers, "--epochs", 2, "--checkpoint-every", "2steps", "--kill-at", 5,
        "--name", "proof", env={"WF_DATA_DIR": str(tmp_path / "data")}, forks=True,
    )  # fmt: skip
    assert done.code == 0, done.stdout + done.stderr
    assert "killed after step 5, resumed from step 4" in done.stdout


def test_training_on_a_text_file_is_the_same_mapped_and_with_workers(wf: Any, tmp_path: Path, verses: Path) -> None:
    mapped = ("--dataset.in_memory_mb", 0, "--dataset.block", 8)
    for name, options in (("held", ("--dataset.block", 8)), ("mapped", mapped), ("workers", (*mapped, "--workers", 2))):
        done = wf(
            "run", "--dataset", verses, *options, *SMALL, "--epochs", 1, "--name", name,
            env={"WF_DATA_DIR": str(tmp_path / "data")},
        )  # fmt: skip
        assert done.code == 0, done.stderr
    held, *others = (weights(tmp_path / "runs" / name) for name in ("held", "mapped", "workers"))
    for name, tensor in held.items():
        assert all(torch.equal(tensor, other[name]) for other in others), name
    notes = manifest(tmp_path / "runs/held")["notes"]
    assert notes["throughput"].endswith(" tokens/s")
    timings = [json.loads(line) for line in (tmp_path / "runs/held/timings.jsonl").read_text().splitlines()]
    assert all(one["tokens_per_sec"] > 0 for one in timings if one["event"] == "train")
    assert not any("tokens_per_sec" in one for one in timings if one["event"] == "eval")
    assert "perplexity" in wf("evaluate", "held").stdout
    verses.write_text(VERSE * 8 + "é")
    refused = wf("evaluate", "held")
    assert refused.code == 4
    assert "character 'é' (U+00E9) is not among the" in refused.stderr


def test_prediction_reads_text_as_training_does(wf: Any, tmp_path: Path, verses: Path) -> None:
    assert wf("run", "--dataset", verses, "--dataset.block", 8, *SMALL, "--epochs", 1, "--name", "x").code == 0
    (tmp_path / "new.txt").write_text(VERSE[:20])
    found = wf("predict", "x", "new.txt", "--json")
    assert found.code == 0, found.stderr
    assert "the last 4 tokens do not fill a block, and are left out" in found.stderr
    labels = [one["label"] for one in found.json()]
    assert [len(label) for label in labels] == [8, 8]
    assert set("".join(labels)) <= set(VERSE)
    lines = wf("predict", "x", "new.txt").stdout.splitlines()
    assert [json.loads(line) if "\\n" in line else line for line in lines] == labels
    assert wf("predict", "x", "test", "--json").json()[0]["label"]
    for name, words, message in (
        ("short.txt", "night", "has 5 tokens, but the run takes blocks of 8"),
        ("other.txt", "In the\nforests of ☃ night", r"line 2, column 12: character '☃'"),
    ):
        (tmp_path / name).write_text(words)
        refused = wf("predict", "x", name)
        assert refused.code == 4
        assert message in refused.stderr


def test_invalid_tokens_in_memory_are_refused(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\nfrom wf_base import Dataset, TensorSamples\n"
        "def data(wrong: str) -> Dataset:\n"
        "    inputs, targets = torch.ones(9, 4).long(), torch.ones(9, 4).long()\n"
        "    {'inputs': inputs, 'targets': targets}[wrong][2, 3] = 7\n"
        "    return Dataset(train=TensorSamples(inputs, targets), task='causal-lm', targets='next_token',"
        " vocabulary=list('abc'))\n"
    )
    for wrong, message in (("inputs", "do not fit a vocabulary of 3"), ("targets", "sample 2, 7")):
        done = wf("run", "--dataset", "own.py:data", "--dataset.wrong", wrong, "--model", "gpt", *SMALL, "--epochs", 1)
        assert done.code == 4, done.stderr
        assert message in done.stderr


def test_blocks_in_memory_share_one_buffer(verses: Path) -> None:
    train = load_text(verses).train
    assert isinstance(train, TensorSamples)
    assert train.targets.data_ptr() == train.inputs.data_ptr() + 8


@pytest.mark.parametrize("name", ["text", "masked-text"])
def test_the_split_option_is_refused_for_text(verses: Path, name: str) -> None:
    dataset = {"use": name, "path": str(verses), "block": 8}
    with pytest.raises(
        UsageError, match=r"divides its samples itself, so --split cannot be used\n.*shares of the text"
    ):
        wf.build(dataset=dataset, split="60/20/20", save=False, quiet=True)
