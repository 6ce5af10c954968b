"""A bundle: a trained model that stands alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import wf
from wf.discovery.plugins import Plugin
from wf.errors import DataError, UsageError
from wf.registry import Registry
from wf_base import Dataset, TensorSamples
from wf_run.api import open_run

TABLE = "size (m),street,date,price\n" + "".join(
    f"{1 + row % 7}.5,{('paved', 'gravel', 'mud')[row % 3]},2024-0{1 + row % 9}-11,{row % 7 + 3 * (row % 3)}.25\n"
    for row in range(60)
)


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and, elsewhere, its bundle alone."""
    place = tmp_path_factory.mktemp("bundle") / "iris"
    wf.run(dataset="iris", model="linear", epochs=20, optimizer={"use": "adam", "lr": 0.05}, run_dir=place, quiet=True)
    return place


@pytest.fixture
def bundle(iris: Path, tmp_path: Path) -> Path:
    """A copy at another place, without the run."""
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


def test_raw_rows_are_as_right_as_in_the_test_of_the_run(iris: Path, bundle: Path) -> None:
    data = wf.create("dataset", "iris").train
    accuracy = json.loads((iris / "manifest.json").read_text())["metrics"]["test/accuracy"]
    model = wf.load_model(bundle)
    assert (model(data.inputs).argmax(1) == data.targets).float().mean() == pytest.approx(accuracy, abs=0.05)
    assert torch.equal(model(data.inputs), wf.load_model(iris)(data.inputs))


def test_rows_as_people_have_them(bundle: Path) -> None:
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
        ([{"sepal length (cm)": 1}], "unknown column 'sepal width"),
        ([[1, 2, 3, "x"]], "row 1, column 'petal width .cm.': 'x' is not a number"),
        ([[1, 2, 3, 4], [1, 2, 3, None]], "row 2, column 'petal width .cm.': the value is missing"),
        ([[1, 2, 3, float("inf")]], "not a finite"),
        ([], "no samples"),
        (np.zeros((2, 3)), r"shape \[2, 3\]"),
        ([5.1, 3.5, 1.4, 0.2], "row 1: a float is no row"),
    ],
)
def test_rows_that_training_could_not_have_had(bundle: Path, rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        wf.load_model(bundle).predict(rows)


def test_categories_dates_and_units_of_targets(houses: Path) -> None:
    model = wf.load_model(houses)
    row = {"street": "mud", "size (m)": "2.5", "date": "2024-03-11"}
    (found,) = model.predict(row)
    assert found["values"] == {"price": found["output"][0]}
    assert 2 < found["output"][0] < 12  # prices, not standardized ones
    columns = {one["name"]: one for one in json.loads((houses / "bundle.json").read_text())["inputs"]["columns"]}
    assert columns["size (m)"]["unit"] == "m"
    assert columns["street"]["values"] == ["gravel", "mud", "paved"]
    assert columns["date"]["type"] == "date"


def test_unseen_categories_are_told(houses: Path, caplog: pytest.LogCaptureFixture) -> None:
    wf.load_model(houses).predict([{"street": "ice", "size (m)": 1, "date": "2024-03-11"}])
    assert "1 of 1 in 'street': 'ice'" in caplog.text


def test_nothing_in_it_is_a_pickle(bundle: Path) -> None:
    assert {file.suffix for file in bundle.rglob("*")} == {".json", ".md", ".toml", ".safetensors"}


def test_its_card_says_what_it_is(bundle: Path) -> None:
    text = (bundle / "README.md").read_text()
    assert "wf.load_model" in text
    assert "setosa, versicolor, virginica" in text
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


def test_a_bundle_is_not_resumed_and_its_weights_begin_a_run(wf: Any, bundle: Path) -> None:
    for verb in ("resume", "evaluate", "replay"):
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


def test_code_goes_with_it_and_has_to_be_allowed(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    done = wf("run", "--dataset", "iris", "--model", "net.py:Net", "--epochs", 1, "--name", "own")
    assert "bundle: rebuilt from code, which has to be trusted elsewhere: net.py:Net" in done.stderr
    assert json.loads((tmp_path / "runs" / "own" / "manifest.json").read_text())["rebuild"] == "code"
    shutil.move(tmp_path / "runs" / "own" / "bundle", tmp_path / "b")
    (tmp_path / "net.py").write_text("raise AssertionError('this is another file')")
    (tmp_path / "x.csv").write_text("sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n1,2,3,4\n")
    assert wf("predict", "b", "x.csv").code == 0
    for line in (("predict", "b", "x.csv"), ("run", "b/run.toml", "--name", "x")):
        refused = wf(*line, env={"WF_STATE_DIR": str(tmp_path / "stranger")})
        assert refused.code == 2
        assert "brings code that would run with your rights" in refused.stderr
    assert str(tmp_path) not in (tmp_path / "b" / "run.toml").read_text()


def test_an_object_of_python_leaves_weights_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = torch.rand(40, 3)
    done = wf.run(
        dataset=(inputs, inputs.sum(1)),
        model=nn.Linear(3, 1),
        transform=["standardize"],
        epochs=1,
        run_dir=tmp_path / "a",
    )
    assert any("the bundle will have weights only: model Linear" in message for message in done.messages)
    for place in (tmp_path / "a" / "bundle", tmp_path / "a"):
        with pytest.raises(UsageError, match=r"model=\.\.\."):
            wf.load_model(place)
        assert torch.equal(wf.load_model(place, model=nn.Linear(3, 1))(inputs), done.predict(inputs))


class Forgetful:
    def fit(self, inputs: torch.Tensor) -> None:
        self.mean = inputs.mean()

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs - self.mean


class Remembering(Forgetful):
    """As a stranger writes one: any state that checkpoints hold."""

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "words": ["a", 1.5, None], "nested": {"array": np.arange(3)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["words"] == ["a", 1.5, None]
        assert state["nested"]["array"].tolist() == [0, 1, 2]
        self.mean = state["mean"]


@pytest.mark.parametrize("made", [Forgetful, Remembering])
def test_a_transform_of_a_stranger(made: Callable[[], Any], tmp_path: Path) -> None:
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
        assert rebuild["by"] == "weights only"
        assert "'theirs' is fitted, and has no state_dict" in rebuild["why"]
        return
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


def test_a_dataset_of_arrays_has_no_rows(tmp_path: Path) -> None:
    samples = TensorSamples(torch.rand(20, 2, 3), torch.rand(20, 1))
    wf.run(dataset=Dataset(train=samples, targets="real"), model="linear", epochs=0, run_dir=tmp_path / "a", quiet=True)
    model = wf.load_model(tmp_path / "a" / "bundle")
    assert len(model.predict(np.zeros((2, 2, 3), dtype=np.float32))) == 2
    with pytest.raises(DataError, match="named ones, and no rows"):
        model.predict([[1, 2]])
    with pytest.raises(UsageError, match="has no reader of rows"):
        model.predict([{"a": 1}])
