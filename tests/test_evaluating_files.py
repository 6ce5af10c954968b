"""``wf evaluate BUNDLE --data FILE`` for files that a dataset's own reader reads with their targets."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wf as library
from wf_run.description import read_sample_ids


def bundle_of(folder: Path, **options: Any) -> tuple[Path, dict[str, float]]:
    """The bundle of a run without the training data, and the run's figures for its test split."""
    library.run(**options, run_dir=folder / "run", epochs=1, quiet=True)
    metrics = json.loads((folder / "run" / "manifest.json").read_text())["metrics"]
    own = {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}
    shutil.copytree(folder / "run" / "bundle", folder / "alone")
    return folder / "alone", own


def figures(wf: Any, bundle: Path, file: Path) -> tuple[int, dict[str, float]]:
    result = wf("evaluate", bundle, "--data", file, "--json")
    assert result.code == 0, result.stderr
    found = result.json()
    return found["samples"], {name.removeprefix("data/"): value for name, value in found["metrics"].items()}


def close(expected: dict[str, float]) -> Any:
    assert expected
    return pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_arrays(wf: Any, tmp_path: Path, kind: str) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 3)) * 9 + 4
    x[7, 1] = np.nan
    y = draw.integers(3, 6, 60) if kind == "classes" else draw.normal(size=(60, 2)) * 50
    np.savez(tmp_path / "all.npz", x=x, kind=y)
    data = {"use": "npz", "path": str(tmp_path / "all.npz"), "targets": "kind", "missing": "mean"}
    more = [] if kind == "classes" else ["standardize-targets"]
    bundle, expected = bundle_of(tmp_path, dataset=data, model="linear", transform=["standardize", *more])
    (tmp_path / "all.npz").unlink()
    ids = read_sample_ids(tmp_path / "run")["test"].numpy()
    np.savez(tmp_path / "test.npz", x=x[ids], kind=y[ids])
    assert figures(wf, bundle, tmp_path / "test.npz") == (len(ids), close(expected))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"x": x[ids]}, "unknown key 'kind'"),
        ({"x": x[ids][:, :2], "kind": y[ids]}, "no longer [3]"),
        ({"x": x[ids], "kind": y[ids][:-1]}, "must be ["),
    ]
    if kind == "classes":
        wrong.append(({"x": x[ids], "kind": y[ids] + 3}, "unknown class"))
    else:
        wrong.append(({"x": x[ids], "kind": y[ids][:, :1]}, "the run has 2 target columns, not 1"))
    for arrays, message in wrong:
        np.savez(tmp_path / "wrong.npz", **arrays)
        result = wf("evaluate", bundle, "--data", "wrong.npz")
        assert (result.code, message in result.stderr) == (4, True), result.stderr
    if kind == "classes":
        rows = [{"x": x[number].tolist(), "kind": int(y[number])} for number in ids]
        (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        by_rows = wf("evaluate", bundle, "--data", "test.jsonl", "--target", "kind", "--json").json()
        assert by_rows["metrics"]["data/loss"] == pytest.approx(expected["loss"], rel=1e-5)
    refused = wf("evaluate", bundle, "--data", "test.npz", "--target", "kind")
    assert refused.code == 2
    assert "leave out --target" in refused.stderr


def test_windows_of_time_series(wf: Any, tmp_path: Path) -> None:
    """The rows of the test split and the window before it; series in another order, and one that is new."""

    def rows(begin: int, end: int, names: str) -> str:
        lines = [
            f"{t},{name},{np.sin(t) * (5 if name == 'a' else 90):.4f},{t % 7}"
            for t in range(begin, end)
            for name in names
        ]
        return "\n".join(["time,id,load,day", *lines]) + "\n"

    (tmp_path / "all.csv").write_text(rows(0, 60, "ab"))
    options = {"target": "load", "time": "time", "id": "id", "window": 5, "horizon": 2, "validation": 0.2, "test": 0.2}
    data = {"use": "series", "path": str(tmp_path / "all.csv"), **options}
    transforms = ["standardize", "standardize-targets"]
    bundle, expected = bundle_of(tmp_path, dataset=data, model="linear", transform=transforms, metric=["mase", "mae"])
    (tmp_path / "all.csv").unlink()
    (tmp_path / "test.csv").write_text(rows(48 - 5, 60, "ba"))
    assert figures(wf, bundle, tmp_path / "test.csv") == (22, close(expected))
    (tmp_path / "later.csv").write_text(rows(80, 100, "bc"))
    num, found = figures(wf, bundle, tmp_path / "later.csv")
    assert num == 2 * (20 - 6)
    assert found["mase"] > 0
    (tmp_path / "short.csv").write_text(rows(0, 6, "a"))
    result = wf("evaluate", bundle, "--data", "short.csv")
    assert result.code == 4
    assert "no series has 7 rows without a gap" in result.stderr


def test_windows_with_a_stride_are_those_of_the_test_split(wf: Any, tmp_path: Path) -> None:
    """The file begins with any row before the test split, and its second series is missing a row there."""

    def rows(begin: int) -> str:
        lines = [
            f"{t},{name},{np.sin(t * t) * 5:.4f}"
            for name, first in (("a", 0), ("b", 2))
            for t in range(max(begin, first), 60)
            if (t, name) not in ((20, "b"), (53, "b"))
        ]
        return "\n".join(["time,id,load", *lines]) + "\n"

    (tmp_path / "all.csv").write_text(rows(0))
    options = {"target": "load", "time": "time", "id": "id", "window": 4, "stride": 3, "validation": 0.2, "test": 0.3}
    data = {"use": "series", "path": str(tmp_path / "all.csv"), "gaps": "split", **options}
    bundle, expected = bundle_of(tmp_path, dataset=data, model="linear", metric=["mae"])
    (tmp_path / "all.csv").unlink()
    sizes = set()
    for begin in (38, 37):  # the test split begins at 42; the last window before it begins at 36
        (tmp_path / "test.csv").write_text(rows(begin))
        num, found = figures(wf, bundle, tmp_path / "test.csv")
        assert found == close(expected)
        sizes.add(num)
    assert sizes == {len(read_sample_ids(tmp_path / "run")["test"])}


def test_blocks_of_text(wf: Any, tmp_path: Path) -> None:
    text = "".join(f"line {n * n % 97} of the text\n" for n in range(120))
    (tmp_path / "all.txt").write_text(text)
    data = {"use": "text", "path": str(tmp_path / "all.txt"), "block": 16}
    model = {"use": "gpt", "layers": 1, "heads": 2, "width": 8}
    bundle, expected = bundle_of(tmp_path, dataset=data, model=model)
    (tmp_path / "all.txt").unlink()
    (tmp_path / "test.txt").write_text(text[round(0.9 * len(text)) :])
    num, found = figures(wf, bundle, tmp_path / "test.txt")
    assert found == close(expected)
    assert "perplexity" in found
    assert num == (len(text) - round(0.9 * len(text)) - 1) // 16
    (tmp_path / "short.txt").write_text("line")
    short = wf("evaluate", bundle, "--data", "short.txt")
    assert short.code == 4
    assert "has 4 tokens" in short.stderr
    (tmp_path / "t.csv").write_text("text\nline\n")
    refused = wf("evaluate", bundle, "--data", "t.csv")
    assert refused.code == 2
    assert "give a file like the training file (.txt, .md)" in refused.stderr


def test_tagged_sentences(wf: Any, tmp_path: Path) -> None:
    sentences = [f"Ada{number % 5} NAME\nsleeps O\nhere O\n" for number in range(40)]
    (tmp_path / "all.conll").write_text("\n".join(sentences))
    data = {"use": "tagged", "path": str(tmp_path / "all.conll")}
    model = {"use": "token-encoder", "layers": 1, "heads": 2, "width": 8}
    bundle, expected = bundle_of(tmp_path, dataset=data, model=model)
    (tmp_path / "all.conll").unlink()
    ids = read_sample_ids(tmp_path / "run")["test"].tolist()
    (tmp_path / "test.conll").write_text("\n".join(sentences[number] for number in ids))
    assert figures(wf, bundle, tmp_path / "test.conll") == (len(ids), close(expected))
    (tmp_path / "new.conll").write_text("Ada1 PLACE\n")
    unknown = wf("evaluate", bundle, "--data", "new.conll")
    assert (unknown.code, "PLACE" in unknown.stderr) == (4, True), unknown.stderr


def test_masked_text(wf: Any, tmp_path: Path) -> None:
    """The selection of masked tokens is the same in each evaluation; with all of them masked it is the test split's."""
    text = "".join(f"line {n * n % 97} of the text\n" for n in range(120))
    (tmp_path / "all.txt").write_text(text)
    model = {"use": "masked-encoder", "layers": 1, "heads": 2, "width": 8}
    data = {"use": "masked-text", "path": str(tmp_path / "all.txt"), "block": 16, "mask_rate": 0.9}
    bundle, expected = bundle_of(tmp_path, dataset=data, model=model, tokenizer="characters")
    (tmp_path / "all.txt").unlink()
    (tmp_path / "test.txt").write_text(text[round(0.9 * len(text)) :])
    num, found = figures(wf, bundle, tmp_path / "test.txt")
    assert num == (len(text) - round(0.9 * len(text)) - 1) // 16
    assert found.keys() == expected.keys()
    assert found["loss"] == pytest.approx(expected["loss"], rel=0.05)  # other tokens are masked
    assert figures(wf, bundle, tmp_path / "test.txt") == (num, found)
    (tmp_path / "short.txt").write_text("line")
    short = wf("evaluate", bundle, "--data", "short.txt")
    assert (short.code, "has 4 tokens" in short.stderr) == (4, True), short.stderr


def test_masks(wf: Any, tmp_path: Path) -> None:
    """A folder with the samples of the test split, whose masks have a palette and pixels that do not count."""
    draw = np.random.default_rng(0)
    for name in ("all/images", "all/masks", "test/images", "test/masks"):
        (tmp_path / name).mkdir(parents=True)
    pairs = []
    for _ in range(20):
        mask = np.where(draw.random((10, 12)) < 0.5, 3, 7).astype(np.uint8)
        image = np.repeat(mask[..., None] * 30, 3, axis=2)
        mask[0, :3] = 255
        drawn = Image.fromarray(mask)
        drawn.putpalette(list(range(256)) * 3)
        pairs.append((Image.fromarray(image), drawn))

    def write(folder: str, number: int) -> None:
        image, mask = pairs[number]
        image.save(tmp_path / folder / "images" / f"{number:02}.png")
        mask.save(tmp_path / folder / "masks" / f"{number:02}.png")

    for number in range(20):
        write("all", number)
    data = {"use": "mask-folder", "path": str(tmp_path / "all"), "image_size": [8, 10]}
    bundle, expected = bundle_of(tmp_path, dataset=data, model={"use": "unet", "channels": [4]})
    shutil.rmtree(tmp_path / "all")
    ids = read_sample_ids(tmp_path / "run")["test"].tolist()
    for number in ids:
        write("test", number)
    assert figures(wf, bundle, tmp_path / "test") == (len(ids), close(expected))
    predicted = wf("predict", bundle, tmp_path / "test" / "images" / f"{ids[0]:02}.png")
    assert predicted.code == 0
    assert "%" in predicted.stdout
    Image.fromarray(np.full((10, 12), 4, np.uint8)).save(tmp_path / "test" / "masks" / f"{ids[0]:02}.png")
    strange = wf("evaluate", bundle, "--data", "test")
    assert (strange.code, "pixels of value 4, which is no class: the classes have 3, 7" in strange.stderr) == (4, True)


def test_texts_are_read_as_in_training(wf: Any, tmp_path: Path) -> None:
    """With other delimiters, quoted line ends and a byte order mark; what is wrong is named with its line."""
    rows = [f'{number};"{("good", "bad")[number % 2]}\nfilm";{("yes", "no")[number % 2]}' for number in range(40)]
    text = "\n".join(["id;text;label", *rows, ""])
    (tmp_path / "all.csv").write_text(text)
    model = {"use": "text-encoder", "layers": 1, "heads": 2, "width": 8}
    bundle, expected = bundle_of(tmp_path, dataset={"use": "texts", "path": str(tmp_path / "all.csv")}, model=model)
    ids = read_sample_ids(tmp_path / "run")["test"].tolist()
    kept = "\r\n".join(["id;text;label", *(rows[number] for number in ids)])
    (tmp_path / "test.csv").write_text(f"\ufeff{kept}", newline="")
    assert figures(wf, bundle, tmp_path / "test.csv") == (len(ids), close(expected))
    for content, message in (
        (f"{text}1;a\n", "line 82 has 2 fields"),
        (text.replace("id;", "text;"), "two columns are called 'text'"),
        ("text,label\n", "has no rows"),
        ("text,label\na,maybe\n", "maybe"),
    ):
        (tmp_path / "wrong.csv").write_text(content)
        result = wf("evaluate", bundle, "--data", "wrong.csv")
        assert (result.code, message in result.stderr) == (4, True), result.stderr
    (tmp_path / "wrong.csv").write_bytes(gzip.compress(text.encode()))
    result = wf("evaluate", bundle, "--data", "wrong.csv")
    assert (result.code, "is compressed (gzip)" in result.stderr) == (4, True), result.stderr


def test_what_cannot_be_evaluated_is_said(wf: Any, tmp_path: Path) -> None:
    bundle, _ = bundle_of(tmp_path, dataset={"use": "shapes", "num_samples": 20, "image_size": 8}, model="unet")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    refused = wf("evaluate", bundle, "--data", "x.csv")
    assert refused.code == 2
    assert "targets, mask, cannot be read from columns or folders" in refused.stderr
    assert "give a folder like that of the training data" in refused.stderr
    (tmp_path / "folder").mkdir()
    empty = wf("evaluate", bundle, "--data", "folder")
    assert (empty.code, "has no folder 'images'" in empty.stderr) == (4, True), empty.stderr
