"""Texts with labels and words with tags: reading them, batches, runs, predictions, and errors."""

from __future__ import annotations

import json
from io import BufferedReader, BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wf as library
from wf.errors import DataError, UsageError
from wf_base import Dataset
from wf_data.inputs import form_of
from wf_run.using.raw import parts_of, standard_input
from wf_text.encoder import MaskedLM, TextClassifier, TokenClassifier
from wf_text.reading.labelled import tagged, texts
from wf_text.reading.samples import Masked, Padded, TokenSamples
from wf_text.tasks.loss import TokenCrossEntropy
from wf_text.tasks.metric import EntityF1, entities
from wf_text.tokenizers import Bytes, Characters, Words, with_token

SMALL = ("--model.layers", 1, "--model.heads", 2, "--model.width", 8, "--batch-size", 8)
ROWS = [
    (f"{mood} {' '.join(['film'] * (number % 7))} .", label)
    for number in range(16)
    for mood, label in (("a good", "praise"), ("what a bad", "blame"))
]
NAMES = "Anna NNP B-PER\nMiller NNP I-PER\nsaw VB O\nNew NNP B-LOC\nYork NNP I-LOC\n\nOslo NNP B-LOC\nslept VB O\n\n"


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write(tmp_path / "reviews.csv", "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS))


@pytest.fixture
def names(tmp_path: Path) -> Path:
    return write(tmp_path / "names.conll", "-DOCSTART- -X- O\n\n" + NAMES * 12)


def test_a_table_and_json_lines_give_the_same_texts(reviews: Path, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"label": label, "text": text}) + "\n" for text, label in ROWS)
    other = write(tmp_path / "reviews.jsonl", "\ufeff" + lines)
    semicolons = write(tmp_path / "b.csv", "id;text;label\r\n" + "".join(f'1;"{t}";{n}\r\n' for t, n in ROWS))
    found: Any = [texts(path, Words()) for path in (reviews, other, semicolons)]
    for one in found:
        assert one.class_names == ["blame", "praise"]
        assert one.train.identity() == found[0].train.identity()
        assert one.vocabulary == found[0].vocabulary
    inputs, target = found[0].train[2]
    assert [found[0].vocabulary[token] for token in inputs["input_ids"]] == ["a", "good", "film", "."]
    assert found[0].class_names[target] == "praise"
    with pytest.raises(IndexError):
        found[0].train[len(ROWS)]


def test_a_quoted_text_may_have_lines_and_be_long(tmp_path: Path) -> None:
    long = "word " * 40_000
    path = write(tmp_path / "a.csv", f'text,label\n"one\ntwo, ""three""",x\n"{long}",y\n"",x\n')
    with pytest.raises(DataError, match="line 5: 'text' is missing"):
        texts(path, Words())
    found: Any = texts(path, Words(), missing="drop", max_tokens=50_000)
    assert found.train.lengths.tolist() == [6, 40_000]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"text,label\nfine,x\ncaf\xe9,y\n", r"is not UTF-8: byte 0xe9 at offset 21\n  convert it \(iconv[^,]*$"),
        (b"\xef\xbb\xbftext,label\n\xff,y\n", "byte 0xff at offset 14"),
        (b"", "is empty: there is no text in it"),
        (b"text,label\n", "has no rows"),
        (b"words,label\na,x\n", r"line 2: unknown field 'text'"),
        (b"text,label\na,x\nb,\n", r"line 3: 'label' is missing\n.*--dataset.missing drop"),
        (b"text,label\na,x\nb,NaN\n", "line 3: 'label' is missing"),
        (b"text,label\na,x\nb\n", "line 3 has 1 fields, but the first line names 2"),
        (b"text,label\na,x,y\n", "line 2 has 3 fields"),
        (b'text,label\na,x\n"b,y\n', "in the row that begins in line 3: unexpected end of data"),
        (b"text,text\na,x\n", "two columns are called 'text'"),
        (None, "there is no file"),
    ],
)
def test_invalid_tables_are_refused(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "a.csv"
    if data is not None:
        write(path, data)
    with pytest.raises(DataError, match=f"(?s){message}"):
        texts(path, Words())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 is list; each line must be an object"),
        ('{"text": "a"}', "line 2: unknown field 'label'"),
        ('{"text": "a", "label": null}', "line 2: 'label' is missing"),
        ('{"text": 1, "label": "x"}', "line 2: 'text' is int, not a text"),
        ('{"text": "a", "label": 1.5}', "line 2: 'label' is float, not a label"),
    ],
)
def test_invalid_json_lines_are_refused(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": "x"}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        texts(path, Words())


def test_labels_of_json_may_be_numbers_and_booleans(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": 3}\n')
    assert texts(path, Words()).class_names == ["3", "true"]


def test_a_label_missing_in_a_split(reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = write(tmp_path / "other.csv", "text,label\nfine,praise\n")
    found = texts(reviews, Words(), validation=other)
    assert "the validation split has no text with label 'blame'" in caplog.text
    assert found.validation is not None
    assert len(found.validation) == 1
    write(other, "text,label\nfine,praise\nso so,mixed\n")
    with pytest.raises(
        DataError, match=r"other.csv', line 3: the label 'mixed' is in the test split.*\n.*blame, praise"
    ):
        texts(reviews, Words(), test=other)
    write(other, "text,label\na,x\nb,y\nc,x\nd,x\n")
    texts(other, Words())
    assert "fewer than 3 texts have the label 'y'" in caplog.text


def test_long_texts_are_truncated_with_a_warning_or_refused(reviews: Path, caplog: pytest.LogCaptureFixture) -> None:
    found: Any = texts(reviews, Words(), max_tokens=4)
    assert found.train.lengths.max() == 4
    assert f"of {len(ROWS)} texts are longer than 4 tokens, and are truncated" in caplog.text
    with pytest.raises(DataError, match=r"reviews.csv', line 5: the text has 5 tokens, but 4 are allowed"):
        texts(reviews, Words(), max_tokens=4, too_long="error")

    class Around(Words):
        around = ([1], [1])

    inside: Any = texts(reviews, Around(), max_tokens=4)
    assert [row[0]["input_ids"].tolist()[::3] for row in (inside.train[20], inside.train[3])] == [[1, 1], [1, 1]]
    for number in (0, 2):
        with pytest.raises(UsageError, match=f"'max_tokens' is {number}"):
            texts(reviews, Around(), max_tokens=number)


def test_batches_are_padded_and_masked() -> None:
    samples = [({"input_ids": torch.tensor(row)}, torch.tensor(row)) for row in ([3, 4, 5], [6])]
    inputs, targets = Padded(9)(samples)
    assert inputs["input_ids"].tolist() == [[3, 4, 5], [6, 9, 9]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert targets.tolist() == [[3, 4, 5], [6, -100, -100]]


@pytest.mark.parametrize("made", [lambda: TextClassifier(9, 3), lambda: TokenClassifier(9, 3), lambda: MaskedLM(9)])
def test_padding_changes_nothing(made: Any) -> None:
    torch.manual_seed(0)
    model = made().eval()
    tokens = torch.tensor([[3, 4, 5, 0, 0], [6, 7, 8, 1, 2]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    with torch.inference_mode():
        both, alone, plain = model(tokens, mask), model(tokens[:1, :3], mask[:1, :3]), model(tokens[:1, :3])
    torch.testing.assert_close(both[0] if both.ndim == 2 else both[0, :3], alone[0])
    torch.testing.assert_close(alone, plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 6}, "multiple of heads, 4"),
        ({"layers": -1}, "'layers' is -1"),
        ({"dropout": 1.0}, "'dropout' is 1.0"),
        (
            {"context": 4, "dataset_facts": {"max_tokens": 5}},
            r"'context' is 4, but texts may have 5 .*\n.*max_tokens 4",
        ),
    ],
)
def test_invalid_sizes_are_refused(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TextClassifier(9, 2, **options)
    with pytest.raises(UsageError, match="a text has 5 tokens, but the model takes at most 4"):
        TextClassifier(9, 2, context=4)(torch.zeros(1, 5, dtype=torch.int64))


def test_tags_are_assigned_to_the_first_token_of_a_word(names: Path, tmp_path: Path) -> None:
    class Halves(Words):
        def encode_words(self, words: Any) -> list[list[int]]:
            return [[2, 3] if len(word) > 3 else [2] for word in words]

    found: Any = tagged(names, Halves())
    inputs, targets = found.train[0]
    assert found.class_names == ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
    assert inputs["word_mask"].tolist() == [True, False, True, False, True, True, True, False]
    assert targets.tolist() == [1, -100, 3, -100, 4, 0, 2, -100]
    lines = '{"tokens": ["Anna", "Miller", "saw", "New", "York"], "tags": ["B-PER", "I-PER", "O", "B-LOC", "I-LOC"]}\n'
    other: Any = tagged(write(tmp_path / "a.jsonl", lines), Halves())
    assert torch.equal(other.train[0][1], targets)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("Anna B-PER\nsaw\n", "line 2 has 1 columns: 'saw'; a word needs its tag"),
        ("\n\n", "is empty"),
        ("-DOCSTART- O\n", "has no sentences"),
        ("Anna B-PER\n\xff".encode("latin1"), "is not UTF-8: byte 0xff at offset 11"),
    ],
)
def test_invalid_columns_are_refused(tmp_path: Path, data: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tagged(write(tmp_path / "a.conll", data), Words())


def test_tags_that_do_not_fit_their_words_are_refused(tmp_path: Path, names: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n')
    with pytest.raises(DataError, match="line 1: 2 tokens and 1 tags"):
        tagged(path, Words())
    write(path, '{"tokens": [], "tags": []}\n')
    with pytest.raises(DataError, match="'tokens' must be a list of at least one string"):
        tagged(path, Words())
    write(path, '{"tokens": ["a"], "tags": ["B-ORG"]}\n')
    with pytest.raises(DataError, match="line 1: the tag 'B-ORG' is in the validation split"):
        tagged(names, Words(), validation=path)


def test_entities_are_found_as_conlleval_does() -> None:
    def spans(tags: str) -> list[tuple[str, int, int]]:
        return list(entities([(tag[0], tag[2:]) for tag in tags.split()]))

    assert spans("B-A I-A O B-B B-B") == [("A", 0, 2), ("B", 3, 4), ("B", 4, 5)]
    assert spans("I-A I-A I-B O I-B") == [("A", 0, 2), ("B", 2, 3), ("B", 4, 5)]
    assert spans("B-A E-A S-A B-B I-B E-B") == [("A", 0, 2), ("A", 2, 3), ("B", 3, 6)]
    assert spans("O O") == []


def test_entity_f1_equals_the_example_of_seqeval() -> None:
    classes = ["O", "B-MISC", "I-MISC", "B-PER", "I-PER"]
    right = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    guessed = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    metric = EntityF1(classes)
    for one, other in zip(guessed, right, strict=True):
        scores = torch.nn.functional.one_hot(torch.tensor([0, *map(classes.index, one)]), len(classes)).float()
        metric.update(scores[None], torch.tensor([[-100, *map(classes.index, other)]]))
    assert {name: value.item() for name, value in metric.compute().items()} == {
        "": 0.5,
        "/precision": 0.5,
        "/recall": 0.5,
    }


def test_masking_follows_the_shares_of_bert() -> None:
    tokens = torch.arange(10, 30).repeat(400, 1)
    torch.manual_seed(0)
    masked = Masked(5, 40, 0.15)
    inputs, targets = masked([masked.each((row, None)) for row in tokens])
    chosen = targets != -100
    assert torch.equal(targets[chosen], tokens[chosen])
    assert torch.equal(inputs["input_ids"][~chosen], tokens[~chosen])
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.01)
    hidden, kept = inputs["input_ids"][chosen] == 5, inputs["input_ids"][chosen] == tokens[chosen]
    assert hidden.float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert kept.float().mean().item() == pytest.approx(0.1, abs=0.03)
    assert (Masked(5, 40, 1e-9).each((tokens[0], None))[1] != -100).sum() == 1


def test_a_dataset_adds_the_tokens_that_a_tokenizer_lacks() -> None:
    assert with_token(("a", "b"), None, "<mask>") == (("a", "b", "<mask>"), 2)
    assert with_token(("a", "b", "<mask>"), None, "<mask>") == (("a", "b", "<mask>"), 2)
    assert with_token(("a", "[MASK]", "b"), 1, "<mask>") == (("a", "<mask>", "b"), 1)
    again = Characters({"vocabulary": ["a", "b", "<mask>"]})
    assert again.encode("ab") is not None
    assert list(again.vocabulary) == ["a", "b"]
    with pytest.raises(UsageError, match="size is 2"):
        Words(size=2)


def test_a_run_on_texts_predicts_without_them(wf: Any, reviews: Path, tmp_path: Path) -> None:
    run = ("--dataset", "texts", "--dataset.path", "reviews.csv", *SMALL, "--sampler", "length-grouped")
    assert wf("run", *run, "--epochs", 8, "--lr", 0.05, "--name", "x").code == 0
    write(tmp_path / "new.txt", "a good film\nwhat a bad film\n")
    write(tmp_path / "new.csv", "id,text\n1,a good film\n2,what a bad film\n")
    for file in ("new.txt", "new.csv"):
        assert wf("predict", "x", file).stdout.split() == ["praise", "blame"]
    reviews.unlink()
    assert wf("predict", "x", "new.txt").code == 0
    write(tmp_path / "new.txt", "a\n\nb\n")
    refused = wf("predict", "x", "new.txt")
    assert refused.code == 4
    assert "line 2 is empty" in refused.stderr
    np.savez(tmp_path / "bad.npz", input_ids=np.array([[999]]), attention_mask=np.array([[1]]))
    refused = wf("predict", "x", "bad.npz")
    assert refused.code == 4
    assert "the tokens of the vocabulary" in refused.stderr


def test_a_run_on_tags_predicts_a_tag_a_word(wf: Any, names: Path, tmp_path: Path) -> None:
    run = ("--dataset", "names.conll", *SMALL)
    done = wf("run", *run, "--epochs", 40, "--lr", 0.02, "--name", "x")
    assert done.code == 0, done.stderr
    write(tmp_path / "new.txt", "Anna Miller saw New York\nOslo slept\n")
    assert wf("predict", "x", "new.txt").stdout == "B-PER, I-PER, O, B-LOC, I-LOC\nB-LOC, O\n"
    write(tmp_path / "new.jsonl", '{"tokens": ["Oslo", "slept"]}\n{"tokens": "Oslo slept", "id": 1}\n')
    first, second = wf("predict", "x", "new.jsonl", "--json").json()
    assert first["label"] == second["label"] == ["B-LOC", "O"]
    assert [max(word, key=word.get) for word in first["probabilities"]] == first["label"]
    assert [sum(word.values()) for word in first["probabilities"]] == pytest.approx([1, 1])
    listed = wf("predict", "x", "new.txt", "new.jsonl", "--format", "csv").stdout.splitlines()
    assert listed[0] == "input,row,label,probability"
    assert [line.split(",")[:2] for line in listed[1:]] == [
        [name, number] for name in ("new.txt", "new.jsonl") for number in "12"
    ]
    write(tmp_path / "new.jsonl", '{"tokens": []}\n')
    refused = wf("predict", "x", "new.jsonl")
    assert (refused.code, "new.jsonl, row 1: 'tokens' must be a list of at least one string" in refused.stderr) == (
        4,
        True,
    )
    assert wf("predict", "x", "test").code == 0


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a good film\nwhat a bad film\n", "stdin.txt"),
        ("text\na good film\nwhat a bad film\n", "stdin.csv"),
        ('id;"text"\r\n1;a good film\r\n2;what a bad film\r\n', "stdin.csv"),
        ('{"text": "a good film"}\n{"text": "what a bad film"}\n', "stdin.jsonl"),
    ],
)
def test_standard_input_is_lines_a_table_or_json(
    reviews: Path, monkeypatch: pytest.MonkeyPatch, given: str, name: str
) -> None:
    found = texts(reviews, Words())
    wanted = found.reader.from_records([{"text": "a good film"}, {"text": "what a bad film"}])
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BufferedReader(BytesIO(given.encode()))))  # type: ignore[arg-type]
    path, stream = standard_input(found.reader)
    assert str(path) == name
    form = form_of(wanted, any_size=True)
    (part,) = parts_of(path, form, found.reader, found.reader.read, stream)
    assert {key: leaf.tolist() for key, leaf in part.inputs.items()} == {
        key: leaf.tolist() for key, leaf in wanted.items()
    }


def test_errors_in_standard_input_name_it_and_the_line(reviews: Path) -> None:
    reader: Any = texts(reviews, Words()).reader
    with pytest.raises(DataError, match=r"^'stdin\.txt', line 2 is empty"):
        list(parts_of(Path("stdin.txt"), None, reader, reader.read, BytesIO(b"a\n\nb\n")))


@pytest.mark.parametrize("tokenizer", ["words", "characters"])
def test_a_run_on_masked_text_predicts_the_mask(wf: Any, tmp_path: Path, tokenizer: str) -> None:
    write(tmp_path / "verses.txt", "in what distant deeps or skies burnt the fire of thine eyes\n" * 20)
    run = ("--dataset", "masked-text", "--dataset.path", "verses.txt", "--dataset.block", 8, *SMALL)
    run = (*run, "--tokenizer", tokenizer)
    assert wf("run", *run, "--epochs", 1, "--name", "x").code == 0
    write(tmp_path / "new.txt", "in <mask> deep\nskies\n")
    guessed = wf("predict", "x", "new.txt", "--json").json()
    assert [len(one["label"]) for one in guessed] == [1, 1 if tokenizer == "words" else 5]
    for one in guessed:
        assert [next(iter(place)) for place in one["probabilities"]] == one["label"]
        assert all(len(place) == 5 and 0 < sum(place.values()) < 1 for place in one["probabilities"])
    write(tmp_path / "new.jsonl", '{"text": "in <mask> deep"}\n')
    assert wf("predict", "x", "new.jsonl", "--json").json()[0]["label"] == guessed[0]["label"]
    assert wf("predict", "x", "test").code == 0


@pytest.mark.parametrize(
    "data",
    [
        ("masked-text", "--dataset.path", "verses.txt", "--dataset.block", 8),
        pytest.param(
            ("texts", "--dataset.path", "reviews.csv", "--sampler", "length-grouped"), marks=pytest.mark.exhaustive
        ),
        pytest.param(("names.conll",), marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.usefixtures("reviews", "names")
def test_a_run_resumes_to_the_bit(wf: Any, tmp_path: Path, data: tuple[Any, ...]) -> None:
    write(tmp_path / "verses.txt", "in what distant deeps or skies burnt the fire of thine eyes\n" * 20)
    run = ("--dataset", *data, *SMALL, "--epochs", 2, "--checkpoint-every", "1steps")
    proved = wf("prove-resume", *run, "--kill-at", 2, "--name", "p", forks=True)
    assert proved.code == 0, proved.stdout + proved.stderr


def test_accumulated_gradients_equal_the_gradients_of_all_tokens(names: Path) -> None:
    """Parts are weighted by their number of tags, and a part without tags does not count."""
    rows = [([2, 3, 4, 5], [0, 1, 2, -100]), ([3, 2], [1, -100]), ([4, 4, 4], [-100] * 3), ([5], [-100])]
    found = []
    for accumulate in (1, 2):
        samples = TokenSamples(
            [tokens for tokens, _ in rows], [tags for _, tags in rows], [[tag >= 0 for tag in tags] for _, tags in rows]
        )
        dataset = Dataset(
            train=samples,
            targets="token_class",
            task="token-classification",
            class_names=["O", "B-A", "I-A"],
            vocabulary=[str(number) for number in range(6)],
            collate=Padded(0),
        )
        run = library.run(
            dataset=dataset,
            model={"use": "token-encoder", "layers": 1, "heads": 2, "width": 8, "dropout": 0.0},
            optimizer={"use": "sgd", "lr": 0.5},
            split="100/0/0",
            shuffle=False,
            batch_size=4 // accumulate,
            accumulate=accumulate,
            steps=2,
            hook=[],
            save=False,
            quiet=True,
        )
        found.append(run.model.state_dict())
    torch.testing.assert_close(found[0], found[1])


def test_the_loss_leaves_out_tokens_without_a_target() -> None:
    scores, targets = torch.randn(2, 3, 4), torch.tensor([[1, -100, 3], [-100, -100, 0]])
    loss = TokenCrossEntropy()
    counted = targets >= 0
    expected = torch.nn.functional.cross_entropy(scores[counted], targets[counted])
    torch.testing.assert_close(loss(scores, targets), expected)
    assert loss.total_weight(targets) == 3


def test_bytes_get_a_padding_token(reviews: Path) -> None:
    found: Any = texts(reviews, Bytes())
    assert found.vocabulary[-1] == "<padding>"
    assert found.facts["padding"] == 256
