"""A bundle: a self-contained trained model."""

from __future__ import annotations

import copy
import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import wf
from wf.discovery.plugins import Plugin
from wf.errors import DataError, UsageError
from wf.registry import Registry
from wf_base import Dataset, TensorSamples
from wf_run.api import load_model, open_run, run
from wf_run.description import read_sample_ids

TABLE = "size (m),street,date,price\n" + "".join(
    f"{1 + row % 7}.5,{('paved', 'gravel', 'mud')[row % 3]},2024-0{1 + row % 9}-11,{row % 7 + 3 * (row % 3)}.25\n"
    for row in range(60)
)


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, with its bundle inside."""
    place = tmp_path_factory.mktemp("bundle") / "iris"
    wf.run(dataset="iris", model="linear", epochs=20, optimizer={"use": "adam", "lr": 0.05}, run_dir=place, quiet=True)
    return place


@pytest.fixture
def bundle(iris: Path, tmp_path: Path) -> Path:
    """A copy of the bundle elsewhere, without the run."""
    return Path(shutil.copytree(iris / "bundle", tmp_path / "moved"))


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a table with categories, dates and standardized targets; the table is gone."""
    folder = tmp_path_factory.mktemp("houses")
    (folder / "houses.csv").write_text(TABLE)
    options = {"target": "price", "categorical": ["street"], "date": ["date"]}
    wf.run(
        dataset={"use": "csv", "path": str(folder / "houses.csv"), **options},
        transform=["standardize", "standardize-targets"],
        model="linear",
        epochs=3,
        run_dir=folder / "run",
        quiet=True,
    )
    (folder / "houses.csv").unlink()
    return Path(shutil.move(folder / "run" / "bundle", folder / "alone"))


def test_raw_rows_get_the_accuracy_of_the_run(iris: Path, bundle: Path) -> None:
    data = wf.create("dataset", "iris").train
    accuracy = json.loads((iris / "manifest.json").read_text())["metrics"]["test/accuracy"]
    model = wf.load_model(bundle)
    assert (model(data.inputs).argmax(1) == data.targets).float().mean() == pytest.approx(accuracy, abs=0.05)
    assert torch.equal(model(data.inputs), wf.load_model(iris)(data.inputs))


def test_rows_are_accepted_in_every_common_form(bundle: Path) -> None:
    trained = open_run(bundle)
    columns = [one["name"] for one in trained.schema["inputs"]["columns"]]
    row = [5.1, 3.5, 1.4, 0.2]
    (expected,) = trained.network.predict([row])
    assert expected["label"] == "setosa"
    assert sum(expected["probabilities"].values()) == pytest.approx(1)
    named = dict(zip(columns, row, strict=True))
    shuffled = {"new": 1, **dict(reversed(named.items()))}
    same: list[Any] = [named, [shuffled], [{name: str(value) for name, value in named.items()}], np.array([row])]
    for given in [*same, np.array([row], dtype=object), torch.tensor([row])]:
        assert trained.network.predict(given) == [expected]
    assert torch.equal(trained.network([named]), trained.network(torch.tensor([row])))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[5.1, 3.5, 1.4]], "row 1: it has 3 values; the model takes 4, in this order: sepal length"),
        ([{"sepal length (cm)": 1}], "there is no column 'sepal width"),
        ([[1, 2, 3, "x"]], "row 1, column 'petal width .cm.': 'x' is not a number"),
        ([[1, 2, 3, 4], [1, 2, 3, None]], "row 2, column 'petal width .cm.': the value is missing"),
        ([[1, 2, 3, float("inf")]], "not a finite"),
        ([], "no samples"),
        (np.zeros((2, 3)), r"shape \[2, 3\]"),
        ([5.1, 3.5, 1.4, 0.2], "row 1: a float is not a row"),
    ],
)
def test_invalid_rows_are_refused(bundle: Path, rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        wf.load_model(bundle).predict(rows)


def test_categories_dates_and_units_of_targets(houses: Path) -> None:
    model = wf.load_model(houses)
    row = {"street": "mud", "size (m)": "2.5", "date": "2024-03-11"}
    (found,) = model.predict(row)
    assert found["values"] == {"price": found["output"][0]}
    assert "label" not in found
    assert 2 < found["output"][0] < 12  # prices, not standardized ones
    columns = {one["name"]: one for one in json.loads((houses / "bundle.json").read_text())["inputs"]["columns"]}
    assert columns["size (m)"]["unit"] == "m"
    assert columns["street"]["values"] == ["gravel", "mud", "paved"]
    assert columns["date"]["type"] == "date"


def test_unseen_categories_are_logged(houses: Path, caplog: pytest.LogCaptureFixture) -> None:
    wf.load_model(houses).predict([{"street": "ice", "size (m)": 1, "date": "2024-03-11"}])
    assert "1 of 1 in 'street': 'ice'" in caplog.text


def test_a_bundle_contains_no_pickle(bundle: Path) -> None:
    assert {file.suffix for file in bundle.rglob("*")} == {".json", ".md", ".toml", ".safetensors"}


def test_the_model_card_describes_the_model(bundle: Path) -> None:
    text = (bundle / "README.md").read_text()
    assert "wf.load_model" in text
    assert "setosa, versicolor, virginica" in text
    assert re.search(r"\d epochs? \(", text)
    assert "1 epochs" not in text
    (bundle / "README.md").write_text("mine")
    wf.load_model(bundle)


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "bundle.json", "data.json", "run.toml", "state.json", "state.safetensors"]
)
def test_a_changed_byte_is_refused(wf: Any, bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    result = wf("predict", bundle, "x.csv")
    assert result.code == 4
    assert "is damaged" in result.stderr
    assert name in result.stderr


@pytest.mark.parametrize("name", ["weights.safetensors", "data.json"])
def test_a_missing_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(DataError, match=f"damaged: {name}: No such file"):
        wf.load_model(bundle)


def test_a_newer_format_is_refused(bundle: Path) -> None:
    found = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**found, "format": 2}))
    with pytest.raises(DataError, match=r"format 2, and this wf reads up to 1\n  install a newer wf"):
        wf.load_model(bundle)


def test_a_bundle_cannot_be_resumed_but_can_initialise_a_run(wf: Any, bundle: Path) -> None:
    for verb in ("resume", "replay"):
        result = wf(verb, bundle)
        assert result.code == 2
        assert f"wf run --init-from {bundle}" in result.stderr
    words = ("--dataset", "iris", "--model", "linear", "--init-from", bundle, "--epochs", 0, "--name", "on")
    assert wf("run", *words).code == 0
    manifest = json.loads((bundle.parent / "runs" / "on" / "manifest.json").read_text())
    assert manifest["metrics"]["test/accuracy"] > 0.9


NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_features: int, num_outputs: int):
        super().__init__()
        self.linear = nn.Linear(num_features, num_outputs)

    def forward(self, inputs):
        return self.linear(inputs)
"""


def test_user_code_is_bundled_and_needs_permission(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    done = wf("run", "--dataset", "iris", "--model", "net.py:Net", "--epochs", 1, "--name", "own")
    assert "bundle: rebuilt from code, which must be trusted on other machines: net.py:Net" in done.stderr
    assert json.loads((tmp_path / "runs" / "own" / "manifest.json").read_text())["rebuild"] == "code"
    shutil.move(tmp_path / "runs" / "own" / "bundle", tmp_path / "b")
    (tmp_path / "net.py").write_text("raise AssertionError('this is another file')")
    (tmp_path / "x.csv").write_text("sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n1,2,3,4\n")
    assert wf("predict", "b", "x.csv").code == 0
    for line in (("predict", "b", "x.csv"), ("run", "b/run.toml", "--name", "x")):
        refused = wf(*line, env={"WF_STATE_DIR": str(tmp_path / "stranger")})
        assert refused.code == 2
        assert "contains code that would run with your rights" in refused.stderr
    assert str(tmp_path) not in (tmp_path / "b" / "run.toml").read_text()


def test_a_live_model_is_bundled_as_an_exported_graph(wf: Any, tmp_path: Path) -> None:
    inputs = torch.rand(40, 3)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    done = run(
        dataset=(inputs, inputs.sum(1)),
        model=model,
        transform=["standardize", "standardize-targets"],
        epochs=1,
        run_dir=tmp_path / "a",
    )
    assert any("an exported graph of the model, because model Sequential" in message for message in done.messages)
    expected, moved = done.predict(inputs), Path(shutil.copytree(tmp_path / "a" / "bundle", tmp_path / "moved"))
    for place in (moved, tmp_path / "a"):
        trained = load_model(place)
        assert torch.equal(trained(inputs), expected)
        assert trained.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(load_model(moved, model=copy.deepcopy(model))(inputs), expected)
    assert b"Traceback" not in (data := (moved / "graph.pt2").read_bytes())
    assert str(tmp_path).encode() not in data
    assert b"site-packages" not in data
    np.save(tmp_path / "x.npy", inputs.numpy())
    shown = json.loads(wf("predict", moved, "x.npy", "--json").stdout)
    assert [one["output"] for one in shown] == expected.tolist()
    assert wf("export", moved, "--to", "pt2").code == 0
    assert torch.equal(torch.export.load(tmp_path / "moved.pt2").module()(inputs), expected)
    assert [one["use"] for one in open_run(moved).preprocessing()] == ["standardize", "standardize-targets"]


def test_a_graph_from_another_machine_needs_permission(wf: Any, tmp_path: Path) -> None:
    inputs = torch.rand(8, 3)
    run(dataset=(inputs, inputs.sum(1)), model=nn.Linear(3, 1), epochs=1, run_dir=tmp_path / "a", quiet=True)
    np.save(tmp_path / "x.npy", inputs.numpy())
    stranger = {"WF_STATE_DIR": str(tmp_path / "stranger")}
    refused = wf("predict", "a/bundle", "x.npy", env=stranger)
    assert refused.code == 2
    assert "graph.pt2" in refused.stderr
    [checksum] = set(re.findall(r"--trust ([0-9a-f]{64})", refused.stderr))
    assert wf("predict", "a/bundle", "x.npy", "--trust", checksum, env=stranger).code == 0


class Branching(nn.Linear):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs) if inputs.sum() > 0 else super().forward(-inputs)


def test_an_untraceable_model_is_bundled_as_weights_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inputs = torch.rand(40, 3)
    done = run(dataset=(inputs, inputs.sum(1)), model=Branching(3, 1), epochs=1, run_dir=tmp_path / "a", quiet=True)
    assert "the bundle will have weights only: model Branching" in caplog.text
    assert "torch cannot trace it" in caplog.text
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["rebuild"] == "weights only"
    for place in (tmp_path / "a" / "bundle", tmp_path / "a"):
        with pytest.raises(UsageError, match=r"model=\.\.\."):
            load_model(place)
        assert torch.equal(load_model(place, model=Branching(3, 1))(inputs), done.predict(inputs))


def _package(folder: Path) -> None:
    """An installed distribution with one model."""
    (folder / "tower").mkdir(parents=True)
    (folder / "tower" / "__init__.py").write_text(NET)
    (folder / "tower" / "plugin.py").write_text(
        "from wf import Component, hookimpl\n@hookimpl\ndef wf_components():\n"
        '    return [Component("model", "tower", "tower:Net", "a model")]\n'
    )
    info = folder / "wf_tower-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wf-tower\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[wf.plugins]\nmain = tower.plugin\n")


def test_a_bundle_works_without_its_model_plugin(wf: Any, wf_process: Any, tmp_path: Path) -> None:
    _package(tmp_path / "site")
    words = ("run", "--dataset", "iris", "--model", "tower", "--epochs", 3, "--name", "own")
    done = wf_process(*words, env={"PYTHONPATH": str(tmp_path / "site")})
    assert done.code == 0, done.stderr
    shutil.move(tmp_path / "runs" / "own" / "bundle", tmp_path / "b")
    (tmp_path / "x.csv").write_text("sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n1,2,3,4\n")
    found = wf("predict", "b", "x.csv", "--json")
    assert found.code == 0
    assert "its exported graph is taken, without its components" in found.stderr
    assert "tower" in found.stderr
    linear = safetensors.torch.load_file(tmp_path / "b" / "weights.safetensors")
    mean, std = safetensors.torch.load_file(tmp_path / "b" / "state.safetensors").values()
    expected = (torch.tensor([1.0, 2.0, 3.0, 4.0]) - mean[0]) / std[0] @ linear["linear.weight"].T + linear[
        "linear.bias"
    ]
    assert json.loads(found.stdout)[0]["output"] == pytest.approx(expected.tolist(), rel=1e-5)
    (tmp_path / "b" / "graph.pt2").unlink()
    assert "graph.pt2: No such file" in wf("predict", "b", "x.csv").stderr


class Forgetful:
    def fit(self, inputs: torch.Tensor) -> None:
        self.mean = inputs.mean()

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs - self.mean


class Remembering(Forgetful):
    """A third-party transform with a state that checkpoints can hold."""

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "words": ["a", 1.5, None], "nested": {"array": np.arange(3)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["words"] == ["a", 1.5, None]
        assert state["nested"]["array"].tolist() == [0, 1, 2]
        self.mean = state["mean"]


@pytest.mark.parametrize("made", [Forgetful, Remembering])
def test_third_party_transforms_with_and_without_state(made: Callable[[], Any], tmp_path: Path) -> None:
    own = Plugin(
        name="stranger",
        distribution=None,
        version=None,
        module="stranger",
        status="ok",
        components=(wf.Component("transform", "theirs", made, "theirs"),),
    )
    registry = Registry([*Registry.discover().plugins, own])
    done = wf.run(
        dataset="iris",
        model="linear",
        transform=["theirs"],
        epochs=1,
        registry=registry,
        run_dir=tmp_path / "a",
        quiet=True,
    )
    rebuild = json.loads((tmp_path / "a" / "bundle" / "bundle.json").read_text())["rebuild"]
    if made is Forgetful:
        assert rebuild["by"] == "exported graph"
        assert "'theirs' is fitted, but has no state_dict" in rebuild["why"]
        registry = Registry.discover()
    else:
        assert rebuild["by"] == "components"
    inputs = wf.create("dataset", "iris").train.inputs
    assert torch.equal(open_run(tmp_path / "a" / "bundle", registry=registry).predict(inputs), done.predict(inputs))


def test_without_the_dataset_plugin_rows_of_numbers_are_read(bundle: Path) -> None:
    file = bundle / "run.toml"
    trained = open_run(bundle)
    trained._reader = UsageError("the plugin is gone")
    trained.__dict__.pop("reader", None)
    assert file.exists()
    row = {"sepal length (cm)": 5.1, "sepal width (cm)": 3.5, "petal length (cm)": 1.4, "petal width (cm)": 0.2}
    assert trained.network.predict(row)[0]["label"] == "setosa"


def test_images_as_paths_bytes_and_pillow(tmp_path: Path) -> None:
    from PIL import Image

    wf.run(dataset="digits", model="linear", epochs=0, run_dir=tmp_path / "a", quiet=True)
    model = wf.load_model(tmp_path / "a" / "bundle")
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3)
    image.save(tmp_path / "x.png")
    (expected,) = model.predict([str(tmp_path / "x.png")])
    data = (tmp_path / "x.png").read_bytes()
    for given in (image, [image], data, [data], {"image": data}, tmp_path / "x.png"):
        assert model.predict(given) == [expected]
    with pytest.raises(DataError, match=r"row 1' cannot be read"):
        model.predict([b"no image"])


def test_samples_without_columns_are_nested_lists(wf: Any, tmp_path: Path) -> None:
    samples = TensorSamples(torch.rand(20, 2, 3), torch.rand(20, 1))
    run(dataset=Dataset(train=samples, targets="real"), model="linear", epochs=0, run_dir=tmp_path / "a", quiet=True)
    model = load_model(tmp_path / "a" / "bundle")
    assert len(model.predict(np.zeros((2, 2, 3), dtype=np.float32))) == 2
    [expected] = model.predict(samples.inputs[:1])
    given = samples.inputs[0].tolist()
    for rows in ([given], [{"inputs": given}]):
        assert model.predict(rows) == [expected]
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"inputs": given}) + "\n")
    assert wf("predict", tmp_path / "a", file, "--json").json() == [expected]
    for wrong, message in (
        ([[1, 2]], r"inputs of shape \[1, 2\]; the run takes \[N, 2, 3\]"),
        ([{"a": 1}], "there is no key 'inputs'"),
        ([[[1, 2, 3], [1, 2]]], "its lists differ in length"),
        ([[["a", 2, 3], [1, 2, 3]]], "something else than numbers"),
        ([[[float("nan"), 2, 3], [1, 2, 3]]], "not a finite float32 number"),
        ([1.0], "a float is not a sample"),
    ):
        with pytest.raises(DataError, match=message):
            model.predict(wrong)


def test_arrays_series_and_blocks_of_text_as_json(wf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", x=np.random.default_rng(0).normal(size=(30, 4)).astype("float32"), y=np.arange(30) % 2)
    run(dataset="a.npz", model="linear", epochs=0, name="arrays", quiet=True)
    times = [f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00" for hour in range(120)]
    values = [hour % 7 for hour in range(120)]
    lines = [f"{time},{value}" for time, value in zip(times, values, strict=True)]
    (tmp_path / "s.csv").write_text("\n".join(["time,load", *lines]) + "\n")
    data = {"use": "series", "path": "s.csv", "time": "time", "target": "load", "window": 8, "horizon": 2}
    run(dataset=data, model="linear", epochs=0, name="series", quiet=True)
    (tmp_path / "t.txt").write_text("the cat sat on the mat. " * 30)
    gpt = {"use": "gpt", "layers": 1, "heads": 1, "width": 8}
    run(dataset={"use": "text", "path": "t.txt", "block": 8}, model=gpt, epochs=0, name="blocks", quiet=True)
    columns = open_run("series").schema["inputs"]["columns"]
    example = {one["name"]: one.get("example", [1.0] * one["min_length"]) for one in columns}
    assert len(open_run("series").network.predict([example])) == 1
    array = np.load("a.npz")["x"]
    for name, record, file in (
        ("arrays", {"x": array[0].tolist()}, "a.npz"),
        ("series", {"time": times, "load": values}, "s.csv"),
        ("blocks", {"text": "the cat "}, "t.txt"),
    ):
        (tmp_path / "new.jsonl").write_text(json.dumps(record) + "\n")
        result = wf("predict", name, "new.jsonl", "--json")
        assert result.code == 0, result.stderr
        assert result.json() == wf("predict", name, file, "--json").json()[:1]
    for name, wrong, message in (
        ("arrays", {"y": [1]}, "there is no key 'x'"),
        ("series", {"time": "2024-01-01", "load": 3}, "a row is a series, and its columns are lists of one length"),
        ("series", {"time": times[:3], "load": values[:3]}, "does not end with 8 rows"),
        ("blocks", {"text": "the"}, "the text has 3 tokens, but the run takes blocks of 8"),
    ):
        (tmp_path / "new.jsonl").write_text(json.dumps(wrong) + "\n")
        result = wf("predict", name, "new.jsonl")
        assert result.code == 4
        assert message in result.stderr


class OwnLoss(nn.Module):
    """A loss of the user's own."""

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return ((predictions - targets) ** 4).mean()


def test_a_graph_without_its_loss_is_evaluated_by_its_metrics(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,y\n" + "".join(f"{n},{n % 7},{n / 9}\n" for n in range(40)))
    table = {"use": "csv", "path": str(tmp_path / "t.csv"), "target": "y"}
    net, place = nn.Linear(2, 1), tmp_path / "r"
    run(dataset=table, model=net, loss=OwnLoss(), transform=["standardize"], epochs=1, run_dir=place, quiet=True)
    result = wf("evaluate", place / "bundle", "--data", tmp_path / "t.csv", "--json")
    assert result.code == 0, result.stderr
    assert list(result.json()["metrics"]) == ["data/mae", "data/r2"]
    assert "the loss is not computed: it was your own code" in result.stderr


def test_the_labels_of_texts_are_known(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("words,kind\n" + "good,yes\nbad,no\nfine,yes\npoor,no\n" * 8)
    data = {"use": "texts", "path": str(tmp_path / "t.csv"), "text": "words", "label": "kind"}
    model = {"use": "text-encoder", "layers": 0, "width": 8}
    run(dataset=data, model=model, epochs=0, run_dir=tmp_path / "r", quiet=True)
    result = wf("evaluate", tmp_path / "r" / "bundle", "--data", tmp_path / "t.csv", "--json")
    assert result.code == 0, result.stderr
    assert result.json()["samples"] == 32
    made = load_model(tmp_path / "r").conversions.example()
    assert bool(made["attention_mask"].all()), "made-up texts have no padding"


def test_files_at_urls(wf: Any, iris: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WF_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        (tmp_path / "in" / f"{name}.csv").write_text(rows_of("test", iris))
    url = f"file://{tmp_path}/in"
    alone = wf("predict", bundle, tmp_path / "in" / "one.csv")
    assert wf("predict", bundle, f"{url}/one.csv").stdout == alone.stdout
    for several in (url, f"{url}/*.csv"):
        result = wf("predict", bundle, several, "--format", "csv")
        assert result.code == 0, result.stderr
        assert len(result.stdout.splitlines()) == 1 + 2 * len(alone.stdout.splitlines())
    by_url = wf("evaluate", bundle, "--data", f"{url}/one.csv", "--target", "species", "--json").json()
    assert by_url["samples"] == len(alone.stdout.splitlines())
    assert by_url["data"] == f"{url}/one.csv"
    missing = wf("predict", bundle, f"{url}/three.csv")
    assert missing.code == 4
    assert "three.csv" in missing.stderr
    refused = wf("run", "--only-builtin", "--dataset", "s3://bucket/train-000.tar")
    assert refused.code == 2
    assert "wf-webdataset reads .tar files: pip install" in refused.stderr


def rows_of(split: str, run: Path, target: str = "species") -> str:
    """The samples of a split of iris as a CSV file."""
    data = wf.create("dataset", "iris")
    names = ["setosa", "versicolor", "virginica"]
    lines = [",".join([target, *data.feature_names])]
    for index in read_sample_ids(run)[split].tolist():
        values = [repr(round(value, 2)) for value in data.train.inputs[index].tolist()]
        lines.append(",".join([names[int(data.train.targets[index])], *values]))
    return "\n".join(lines) + "\n"


def test_evaluate_a_file_gives_the_figures_of_the_run(wf: Any, iris: Path, bundle: Path) -> None:
    file = bundle.parent / "test.csv"
    file.write_text(rows_of("test", iris))
    expected = json.loads((iris / "manifest.json").read_text())["metrics"]
    for place in (iris, bundle):
        found = wf("evaluate", place, "--data", file, "--target", "species", "--json").json()
        assert found["samples"] == 21
        assert found["metrics"]["data/accuracy"] == expected["test/accuracy"]
        assert found["metrics"]["data/loss"] == pytest.approx(expected["test/loss"], rel=1e-5)
    shown = wf("evaluate", bundle, "--data", file, "--target", "species").stdout
    assert shown.split()[:3] == ["loss", "accuracy", "data"]


@pytest.mark.parametrize(
    ("text", "options", "code", "message"),
    [
        (None, ("--target", "species"), 4, "there is no file"),
        ("species,a\nsetosa,1\n", ("--target", "species"), 4, "there is no column 'sepal length"),
        ("TABLE", (), 2, "the target column is unknown"),
        ("TABLE", ("--target", "kind"), 4, "unknown column 'kind'"),
        ("TULIPS", ("--target", "species"), 4, "row 15, column 'species': unknown class 'tulip'"),
        ("TABLE", ("--split", "test"), 2, "leave out --split"),
    ],
)
def test_a_file_that_cannot_be_evaluated(
    wf: Any, iris: Path, bundle: Path, text: str | None, options: tuple[str, ...], code: int, message: str
) -> None:
    file, table = bundle.parent / "x.csv", rows_of("test", iris)
    if text is not None:
        file.write_text({"TABLE": table, "TULIPS": table.replace("virginica", "tulip")}.get(text, text))
    result = wf("evaluate", bundle, "--data", file, *options)
    assert (result.code, message in result.stderr) == (code, True), result.stderr
    assert not result.stdout


FILES = "street,size (m),date\nmud,1.5,2024-03-11\npaved,2.5,2024-04-11\n"


def test_several_files_folders_and_formats(wf: Any, houses: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(FILES)
    (tmp_path / "b.jsonl").write_text('{"street": "mud", "size (m)": 1.5, "date": "2024-03-11"}\n\n')
    lines = wf("predict", houses, "a.csv", "b.jsonl").stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["a.csv:1", "a.csv:2", "b.jsonl:1"]
    assert lines[0].partition(": ")[2] == lines[2].partition(": ")[2]
    assert wf("predict", houses, "a.csv").stdout.splitlines() == [line.partition(": ")[2] for line in lines[:2]]

    assert wf("predict", houses, "a.csv", "b.jsonl", "-o", "out/x.csv").code == 0
    table = list(csv.DictReader((tmp_path / "out" / "x.csv").read_text().splitlines()))
    assert [(row["input"], row["row"]) for row in table] == [("a.csv", "1"), ("a.csv", "2"), ("b.jsonl", "1")]
    printed = wf("predict", houses, "a.csv", "b.jsonl", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["values"]["price"] for line in printed] == [float(row["price"]) for row in table]
    (tmp_path / "folder").mkdir()
    shutil.move(tmp_path / "a.csv", tmp_path / "folder" / "a.csv")
    (tmp_path / "folder" / "notes.txt").write_text("")
    found = wf("predict", houses, "folder")
    assert found.stdout.splitlines() == [line.partition(": ")[2] for line in lines[:2]]
    assert "skipped 1 file that this run does not read (.txt)" in found.stderr


MEASURED = """
import resource, subprocess, sys, threading
rows = int(sys.argv[1])
command = [sys.executable, "-m", "wf_cli", "predict", sys.argv[2], "-", "--format", "csv"]
with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
    def feed():
        process.stdin.write("size (m),street,date\\n")
        for number in range(rows):
            process.stdin.write(f"{number % 7}.5,mud,2024-03-11\\n")
        process.stdin.close()
    threading.Thread(target=feed).start()
    num = sum(1 for line in process.stdout)
assert process.returncode == 0
print(num, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_length_of_a_stream(houses: Path, tmp_path: Path) -> None:
    used = []
    for rows in (20_000, 120_000):  # 2 MB more as text, tens of MB more as records
        words = [sys.executable, "-P", "-c", MEASURED, str(rows), str(houses)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
        num, kilobytes = map(int, done.stdout.split())
        assert num == rows + 1
        used.append(kilobytes)
    assert used[1] - used[0] < 10_000


def test_an_unreadable_image_among_many(wf: Any, tmp_path: Path) -> None:
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20):
        Image.fromarray(np.full((8, 8), 10 * number, dtype=np.uint8)).save(photos / f"{number:02d}.png")
    (photos / "07.png").write_bytes((photos / "07.png").read_bytes()[:40])
    wf("run", "--epochs", 0, "--model", "linear", "--quiet", "--name", "a")

    stopped = wf("predict", "a", "photos", "-o", "x.csv")
    assert stopped.code == 4
    assert "image 'photos/07.png' cannot be read" in stopped.stderr
    assert not list(tmp_path.glob("*x.csv*"))

    skipped = wf("predict", "a", "photos", "-o", "x.csv", "--on-error", "skip")
    assert skipped.code == 4
    assert "image 'photos/07.png' cannot be read" in skipped.stderr
    assert "1 input could not be read, and has no prediction" in skipped.stderr
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert [row["input"] for row in rows] == [f"photos/{number:02d}.png" for number in range(20)]
    assert [bool(row["error"]) for row in rows] == [number == 7 for number in range(20)]
    assert rows[0]["label"] in "0123456789"
    assert float(rows[0]["probability"]) == pytest.approx(float(rows[0][f"p({rows[0]['label']})"]))


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (("none.csv",), 4, "there is no file 'none.csv'"),
        (("empty.csv",), 4, "is empty; its first line must name the columns"),
        (("short.csv",), 4, "short.csv, line 3: 2 fields, but the first line names 3 columns"),
        (("renamed.csv",), 4, "there is no column 'street', which the run was trained with\n  did you mean 'streets'?"),
        (("list.jsonl",), 4, "list.jsonl, line 1: a list, not an object"),
        (("broken.jsonl",), 4, "broken.jsonl, line 2: it is not JSON"),
        (("empty.jsonl",), 4, "empty.jsonl has no rows"),
        (("a.csv", "test"), 2, "a split (train, validation, test) cannot be combined with files"),
        (("test",), 2, "is a bundle, which has no test split"),
        (("-", "-"), 2, "can be read only once"),
        (("a.csv", "-o", "x.xlsx"), 2, "unknown ending of --output '.xlsx'"),
        (("a.csv", "--format", "parquet"), 2, "write it to a file: --output FILE.parquet"),
        (("a.csv", "-o", "folder.csv"), 4, "it is a folder"),
        (("nothing",), 4, "no file in 'nothing' can be read by this run"),
        (("a.csv", "--checkpoint", "best"), 2, "is a bundle"),
    ],
)
def test_inputs_that_cannot_be_predicted(
    wf: Any, houses: Path, tmp_path: Path, line: tuple[str, ...], code: int, message: str
) -> None:
    row = '{"street": "mud", "size (m)": 1, "date": "2024-03-11"}\n'
    texts = {"a.csv": FILES, "empty.csv": "", "empty.jsonl": "", "list.jsonl": "[1]\n"}
    texts |= {"short.csv": FILES.replace(",2024-04-11", ""), "renamed.csv": FILES.replace("street", "streets")}
    texts["broken.jsonl"] = row + '{"street":\n'
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "folder.csv").mkdir()
    result = wf("predict", houses, *line)
    assert (result.code, message in result.stderr) == (code, True), result.stderr
    assert not result.stdout
