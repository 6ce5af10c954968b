"""Using a trained model: the learned preprocessing belongs to it, and the data are not needed."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wf
from wf.errors import DataError, UsageError, WfError
from wf.registry import Registry
from wf_base import Dataset, TensorSamples
from wf_data.inputs import Inputs
from wf_run.api import open_run, reopen
from wf_run.description import read_description
from wf_run.using.trained import Trained


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("trained") / "iris"
    wf.run(dataset="iris", model="linear", epochs=20, optimizer={"use": "adam", "lr": 0.05}, run_dir=place, quiet=True)
    return place


@pytest.fixture(scope="module")
def trained(iris: Path) -> Trained:
    return open_run(iris)


def test_a_loaded_model_takes_raw_inputs(iris: Path) -> None:
    data = wf.create("dataset", "iris").train
    model, experiment = wf.load_model(iris), reopen(iris)
    assert not model.training
    assert (model(data.inputs).argmax(1) == data.targets).float().mean() > 0.9
    ids = experiment.data.sample_ids["test"]
    assert torch.equal(model(data.inputs[ids]), experiment.predict("test"))
    assert torch.equal(experiment.predict(data.inputs[ids]), experiment.predict("test"))
    assert set(model.state_dict()) == set(experiment.model.state_dict()) == set(model.model.state_dict())


def test_a_loaded_model_needs_no_data(tmp_path: Path) -> None:
    inputs = torch.rand(40, 3)
    done = wf.run(
        dataset=(inputs, inputs.sum(1)), model="linear", transform=["standardize"], epochs=1, run_dir=tmp_path / "run"
    )
    assert torch.equal(wf.load_model(tmp_path / "run")(inputs), done.predict(inputs))
    with pytest.raises(UsageError, match="live object"):
        reopen(tmp_path / "run")


def test_a_killed_run_can_predict(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class Kill(wf.Hook):
        def on_step_end(self, run: Any, *_: Any) -> None:
            if run.progress.step == 3:
                raise Killed

    with pytest.raises(Killed):
        wf.run(dataset="iris", epochs=2, checkpoint_every="1steps", hook=[Kill()], run_dir=tmp_path / "run", quiet=True)
    assert wf.load_model(tmp_path / "run")(torch.rand(2, 4)).shape == (2, 3)


def test_a_run_of_an_older_wf_reads_its_data_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    done = wf.run(dataset="iris", epochs=1, run_dir=tmp_path / "run", quiet=True)
    for name in ("data.json", "samples.safetensors"):
        (tmp_path / "run" / name).unlink()
    with caplog.at_level(logging.WARNING):
        model = wf.load_model(tmp_path / "run")
    assert "has no data.json" in caplog.text
    assert torch.equal(model(torch.ones(2, 4)), done.predict(torch.ones(2, 4)))


@pytest.mark.parametrize("dataset", ["breast-cancer-binary", "diabetes", "digits-multilabel"])
def test_a_description_that_names_no_task_is_read_by_its_targets(tmp_path: Path, dataset: str) -> None:
    done = wf.run(dataset=dataset, epochs=1, run_dir=tmp_path / "run", quiet=True)
    found = json.loads((tmp_path / "run" / "data.json").read_text())
    assert found.pop("task") == {"breast-cancer-binary": "binary", "diabetes": "regression"}.get(dataset, "multilabel")
    found.pop("num_classes")
    (tmp_path / "run" / "data.json").write_text(json.dumps(found))
    wf.load_model(tmp_path / "run")
    description, raw = read_description(tmp_path / "run"), done.predict("test")
    assert description is not None
    assert description.outputs(Registry.discover()).names(raw, done.data.class_names) == done.labels(raw)
    assert description.spec == done.data.spec


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1}'])
def test_a_damaged_data_description_is_a_data_error(iris: Path, text: str) -> None:
    kept = (iris / "data.json").read_text()
    (iris / "data.json").write_text(text)
    try:
        with pytest.raises(DataError, match=r"data\.json"):
            wf.load_model(iris)
    finally:
        (iris / "data.json").write_text(kept)


def numbers(num: int, names: tuple[str, ...] = ("a", "b")) -> Callable[[], Dataset]:
    inputs = torch.arange(num, dtype=torch.float32).unsqueeze(1)

    def make_dataset() -> Dataset:
        return Dataset(train=TensorSamples(inputs, torch.arange(num) % 2), targets="class_index", class_names=names)

    return make_dataset


def test_changed_data_are_not_evaluated(tmp_path: Path) -> None:
    from wf_run.experiment import Experiment

    done = wf.run(dataset=numbers(40), epochs=1, run_dir=tmp_path / "run", quiet=True)
    before = done.data.sample_ids

    def restore(dataset: Any) -> Experiment:
        plan = {**done.plan, "dataset": {"use": dataset}}
        return Experiment(plan, done._parts.registry, run_dir=done.run_dir, initialize=False, learned_in=done.run_dir)

    same = restore(numbers(40))
    same.check_data()
    assert all(torch.equal(ids, before[split]) for split, ids in same.data.sample_ids.items())
    with pytest.raises(UsageError, match=r"is not evaluated(.|\n)*dataset: was train"):
        restore(numbers(39)).check_data()
    with pytest.raises(DataError, match=r"class names(.|\n)*missing now: b(.|\n)*not there before: c"):
        restore(numbers(40, ("a", "c")))


def test_splits_are_read_from_the_run_directory(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    wf.run(dataset="iris", epochs=1, run_dir=tmp_path / "run", quiet=True)
    ids = load_file(tmp_path / "run" / "samples.safetensors")
    assert sum(map(len, ids.values())) == 150
    swapped = {"train": ids["train"], "validation": ids["test"], "test": ids["validation"]}
    save_file(swapped, tmp_path / "run" / "samples.safetensors")
    assert torch.equal(reopen(tmp_path / "run").data.sample_ids["test"], ids["validation"].long())


def saved(array: Any, folder: Path, name: str = "x.npy") -> Path:
    np.save(folder / name, array, allow_pickle=True) if name.endswith(".npy") else np.savez(folder / name, x=array)
    return folder / name


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize(
    "array",
    [
        np.ones((3, 4)),
        np.ones((3, 4), ">f4"),
        np.ones((3, 4), "<i2"),
        np.ones((3, 4), np.uint8),
        np.ones((3, 4), bool),
        np.ones((3, 4), np.float16),
        np.ones((4, 3)).T,
        np.ones(4),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_arrays_of_every_numeric_dtype_are_read_alike(trained: Trained, tmp_path: Path, array: Any, name: str) -> None:
    """A table of uint8 is not divided by 255, as in training."""
    found = trained.read(saved(array, tmp_path, name))
    assert torch.equal(found, torch.ones(1 if array.ndim == 1 else 3, 4))
    assert trained.predict(found).shape == (len(found), 3)


@pytest.mark.parametrize(
    "array",
    [
        np.array(1.0),
        np.ones((0, 4)),
        np.ones((4, 0)),
        np.ones((3, 5)),
        np.ones((2, 2, 2)),
        np.ones((4, 1)),
        np.ones((3, 4), complex),
        np.array([["a"] * 4]),
        np.array([[b"a"] * 4]),
        np.array([[None] * 4]),
        np.zeros(4, [("a", "f4")]),
        np.array([["2020-01-01"] * 4], "M8[D]"),
        np.full((3, 4), np.nan),
        np.full((3, 4), 1e300),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_odd_arrays_are_refused(trained: Trained, tmp_path: Path, array: Any) -> None:
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError):
            trained.read(saved(array, tmp_path, name))


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(10**12, 4), (2**62, 4), (-1, 4)])
def test_a_header_that_claims_too_much_allocates_no_memory(
    trained: Trained, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    (tmp_path / "x.npy").write_bytes(header(shape) + bytes(16))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header(shape) + bytes(16))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError, match="damaged"):
            trained.read(tmp_path / name)


@given(
    data=st.binary(max_size=200), name=st.sampled_from(["x.npy", "x.npz", "x.csv", "x.png"]), cut=st.integers(0, 300)
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_bytes_are_read_or_refused(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str, cut: int
) -> None:
    place = tmp_path_factory.getbasetemp() / name
    good = io.BytesIO()
    np.save(good, np.ones((3, 4))) if name == "x.npy" else np.savez(good, x=np.ones((3, 4)))
    for content in (data, good.getvalue()[:cut] + data + good.getvalue()[cut + len(data) :]):
        place.write_bytes(content)
        try:
            inputs = trained.read(place)
            assert torch.isfinite(inputs).all()
            trained.predict(inputs)  # outputs may be infinite for inputs near the largest float32
        except WfError as error:
            if error.exit_code not in (2, 4):
                raise


def test_uint8_images_are_accepted_as_bytes_or_floats_from_0_to_1(tmp_path: Path) -> None:
    images = Inputs((1, 2, 2), torch.uint8)
    bytes_, floats = np.full((2, 1, 2, 2), 51, np.uint8), np.full((2, 1, 2, 2), 0.2, np.float32)
    read = [images.numbers(images.read(saved(array, tmp_path))) for array in (bytes_, floats)]
    assert torch.equal(*read)
    for array in (bytes_.astype(np.int64), floats * 255, bytes_[:, 0], bytes_.reshape(2, 2, 2, 1)):
        with pytest.raises(DataError):
            images.read(saved(array, tmp_path))
    with pytest.raises(DataError, match="images of uint8"):
        Inputs((1, 2, 2), torch.float32).read(saved(bytes_, tmp_path))


def test_tokens_outside_the_vocabulary_are_refused(tmp_path: Path) -> None:
    tokens = Inputs((3,), torch.int64, 10)
    assert tokens.read(saved(np.array([[1, 2, 9]], np.uint16), tmp_path)).dtype == torch.int64
    for array in (np.array([[1, 2, 10]]), np.array([[1, -2, 3]]), np.array([[1.0, 2.0, 3.0]])):
        with pytest.raises(DataError):
            tokens.read(saved(array, tmp_path))


def test_preprocessing_lists_the_fitted_transforms(trained: Trained) -> None:
    (step,) = trained.preprocessing()
    assert step["use"] == "standardize"
    assert len(step["fitted"]["mean"][0]) == 4
    json.dumps(step)


NUMBERS = """
import torch
from wf_base import Dataset, TensorSamples


def numbers() -> Dataset:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.rand(60, 4, generator=draw, dtype=torch.float64)
    return Dataset(train=TensorSamples(inputs, inputs.sum(1, keepdim=True)), targets="real")
"""


def test_a_reopened_model_uses_the_default_dtype_of_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers.py").write_text(NUMBERS)
    inputs = torch.rand(3, 4, dtype=torch.float64)
    options: dict[str, Any] = {"transform": ["standardize"], "epochs": 2, "quiet": True}
    torch.set_default_dtype(torch.float64)
    try:
        run = wf.run(dataset="numbers.py:numbers", run_dir=tmp_path / "run", **options)
        expected, figures = run.predict(inputs), run.evaluate("test")
    finally:
        torch.set_default_dtype(torch.float32)
    model = wf.load_model(tmp_path / "run")
    assert next(model.parameters()).dtype == torch.float64
    with torch.inference_mode():
        assert torch.equal(model(inputs), expected)
    assert torch.equal(open_run(tmp_path / "run").predict(inputs), expected)
    with reopen(tmp_path / "run") as again:
        assert again.evaluate("test") == figures
    assert torch.get_default_dtype() == torch.float32
