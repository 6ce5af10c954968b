"""Further named validation sets: evaluated, monitored, resumed and compared like the validation split."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import wf as package
from wf.errors import DataError

LINE = ("--dataset", "day.csv", "--dataset.target", "y", "--dataset.categorical", "town", "--quiet", "--epochs", 3)


def write(file: Path, num: int, seed: int, towns: str = "PQR") -> None:
    """A table of two classes, with a category."""
    draw = random.Random(seed)
    lines = ["a,b,town,y"]
    for _ in range(num):
        a, b = draw.gauss(seed, 1 + seed), draw.gauss(0, 1)
        lines.append(f"{a:.3f},{b:.3f},{draw.choice(towns)},{'yes' if a + b + draw.gauss(0, 0.5) > 0 else 'no'}")
    file.write_text("\n".join(lines) + "\n")


@pytest.fixture
def tables(wf: Any, tmp_path: Path) -> Any:
    write(tmp_path / "day.csv", 90, 0)
    write(tmp_path / "night.csv", 40, 1)
    write(tmp_path / "rain.csv", 30, 2, towns="P")
    return wf


def records(run_dir: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [one for one in lines if one["event"] == "eval" and one["split"] == "validation"]


def test_two_validation_sets_are_evaluated_beside_the_split(tables: Any, tmp_path: Path) -> None:
    wf, sets = tables, ("--validation.night", "night.csv", "--validation.rain", "rain.csv")
    plain = wf("run", *LINE, "--name", "plain")
    done = wf("run", *LINE, *sets, "--name", "sets")
    assert done.code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:6]] == [
        *("train", "validation", "validation/night", "validation/rain", "test")
    ]
    own, before = records(tmp_path / "runs" / "sets"), records(tmp_path / "runs" / "plain")
    names = {"loss", "accuracy"}
    for one, other in zip(own, before, strict=True):  # the sets do not change other figures
        assert {name: one[name] for name in names} == {name: other[name] for name in names}
        assert {f"{name}/{figure}" for name in ("night", "rain") for figure in names} < one.keys()
    assert plain.code == 0
    only = wf("evaluate", "sets", "--split", "validation/night", "--json").json()["metrics"]
    both = wf("evaluate", "sets", "--split", "validation", "--json").json()["metrics"]
    assert only == {name: value for name, value in both.items() if name.startswith("validation/night/")}
    assert only["validation/night/accuracy"] == own[-1]["night/accuracy"]
    assert len(wf("predict", "sets", "validation/rain").stdout.splitlines()) == 30
    manifest = json.loads((tmp_path / "runs" / "sets" / "manifest.json").read_text())
    assert {"validation/night", "validation/rain"} < manifest["dataset"].keys()
    assert manifest["samples"]["validation/night"] == 40


def test_sets_use_the_preprocessing_of_training(tables: Any, tmp_path: Path) -> None:
    """Inputs of the set are standardized as the train split was, and categories are columns in its order."""
    settings: dict[str, Any] = {"use": "csv", "path": tmp_path / "day.csv", "target": "y", "categorical": ["town"]}
    rain = {"path": tmp_path / "rain.csv"}
    run = package.run(dataset=settings, validation={"rain": rain}, epochs=1, save=False, quiet=True)
    (batch,) = run.data.batches("validation/rain")
    lines = (tmp_path / "rain.csv").read_text().splitlines()[1:]
    raw = torch.tensor([[float(line.split(",")[0]), float(line.split(",")[1]), 1, 0, 0] for line in lines])
    torch.testing.assert_close(batch.inputs, run.trained().network.prepare(raw))
    wanted = torch.tensor([line.endswith("yes") for line in lines]).long()
    assert torch.equal(batch.targets, wanted)
    right = (run.predict("validation/rain").argmax(1) == wanted).double().mean()
    assert run.metrics["validation/rain/accuracy"] == float(right)


def test_a_figure_of_a_set_can_be_monitored(tables: Any, tmp_path: Path) -> None:
    wf = tables
    done = wf(
        *("run", *LINE, "--validation.night", "night.csv", "--name", "a", "--epochs", 40, "--lr", 0.1),
        *("--keep", "best", "--monitor", "validation/night/accuracy"),
        *("--hook", "+early-stopping", "--hook.early-stopping.monitor", "validation/night/loss"),
        *("--hook.early-stopping.patience", 1),
    )
    assert done.code == 0
    assert "best by validation/night/accuracy" in done.stdout
    assert "stopped" in done.stdout
    found = records(tmp_path / "runs" / "a")
    best = max(one["night/accuracy"] for one in found[:-1])
    shown = wf("evaluate", "a", "--split", "validation/night", "--json").json()["metrics"]
    assert shown["validation/night/accuracy"] == best


def test_a_run_with_sets_resumes_to_the_bit_and_refuses_changed_sets(tables: Any, tmp_path: Path) -> None:
    wf, sets = tables, ("--validation.night", "night.csv", "--keep", "best", "--monitor", "validation/night/accuracy")
    line = ("run", *LINE, *sets, "--eval-every", "2steps")
    assert wf(*line, "--name", "whole").code == 0
    assert wf(*line, "--epochs", 1, "--name", "parts").code == 0
    assert wf("resume", "parts", "--epochs", 3, "--quiet").code == 0
    whole, parts = (records(tmp_path / "runs" / name) for name in ("whole", "parts"))
    assert [one for one in parts if one["step"] != 2] == [one for one in whole if one["step"] != 2]
    assert parts[-1]["step"] == 6
    with (tmp_path / "night.csv").open("a") as file:
        file.write("1,2,P,yes\n")
    again = wf("resume", "parts", "--epochs", 4)
    assert again.code == 2
    assert "dataset: was validation/night" in again.stderr


def test_a_validation_split_is_not_needed(tables: Any) -> None:
    wf, line = tables, ("run", *LINE, "--split", "100/0/0", "--validation.night", "night.csv")
    done = wf(*line, "--json")
    assert done.code == 0
    assert {"validation/night/loss", "train/loss"} < done.json()["metrics"].keys()
    assert "validation/loss" not in done.json()["metrics"]
    refused = wf(*line, "--keep", "best")
    assert refused.code == 2
    assert "did you mean 'validation/night/loss'" in refused.stderr


def test_sets_are_read_from_and_written_to_run_files(tables: Any, tmp_path: Path) -> None:
    wf = tables
    (tmp_path / "v.toml").write_text(
        'epochs = 1\n[dataset]\nuse = "csv"\npath = "day.csv"\ntarget = "y"\ncategorical = "town"\n'
        '[validation]\nrain = "rain.csv"\n[validation.night]\npath = "night.csv"\n'
    )
    assert wf("run", "v.toml", "--name", "a", "--quiet").code == 0
    again = wf("run", "runs/a/run.toml", "--name", "b", "--quiet")
    assert again.code == 0
    assert records(tmp_path / "runs" / "a") == records(tmp_path / "runs" / "b")


def test_rows_can_be_compared_by_a_set(tables: Any) -> None:
    line = ("compare", *LINE, "--vary", "lr=0.01,0.001", "--repeats", 2, "--validation.night", "night.csv")
    done = tables(*line, "--by", "validation/night/loss")
    assert done.code == 0
    assert done.stdout.split()[0] == "validation/night/loss"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--validation", "night.csv"), "give it one: --validation.NAME night.csv"),
        (("--validation.loss", "night.csv"), "'loss' cannot be the name of a validation set"),
        (("--validation.n", "nigth.csv"), "set it with --validation.n.path"),
        (("--validation.n", "digits"), "validation set 'n': its classes are 0, 1, 2"),
        (("--validation.n", "diabetes"), "validation set 'n': its targets are real, in training class_"),
        (("--validation.n", "night.csv", "--monitor", "validation/m/loss"), "did you mean 'validation/n/loss'"),
        (("--validation.n", "other.csv"), "line 2, column 'y': unknown class 'perhaps'"),
    ],
)
def test_invalid_sets_are_refused(tables: Any, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    (tmp_path / "other.csv").write_text("a,b,town,y\n1,2,P,perhaps\n3,4,P,no\n")
    done = tables("run", *LINE, *options, "--name", "a")
    assert done.code in (2, 4)
    assert words in done.stderr
    assert not (tmp_path / "runs" / "a").exists()


def test_live_sets_from_python() -> None:
    inputs = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    targets = (inputs.sum(1) > 0).long()
    settings: dict[str, Any] = {"dataset": (inputs, targets), "epochs": 1, "save": False, "quiet": True}
    run = package.run(**settings, validation={"same": (inputs, targets)})
    whole = run.predict(inputs).argmax(1) == targets
    assert run.metrics["validation/same/accuracy"] == pytest.approx(float(whole.double().mean()))
    with pytest.raises(DataError, match=r"its inputs are float32 \[2\], in training float32 \[3\]"):
        package.build(**settings, validation={"narrow": (inputs[:, :2], targets)})
    with pytest.raises(DataError, match="its classes are 0, 1, 2"):
        package.build(**settings, validation={"more": (inputs, targets + 1)})


OWN_SAMPLES = """\
import torch

from wf_base import BaseTrainer, Batch


class Mine(BaseTrainer):
    run_values = {"input_shape": (2,), "num_outputs": 1}

    def make_batch(self):
        return Batch(torch.ones(4, 2), None, None, None, 4)

    def compute_loss(self, batch):
        return self.model(batch.inputs).mean()
"""


def test_sets_are_refused_without_a_dataset(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN_SAMPLES)
    done = wf("run", "--trainer", "mine.py:Mine", "--validation.night", "digits", "--steps", 2, "--quiet")
    assert done.code == 2
    assert "makes its samples itself, so there is no dataset\n  leave out --validation" in done.stderr


OWN = """\
import torch

from wf_base import Dataset, TensorSamples


def data(num: int = 40):
    inputs = torch.randn(num, 4, generator=torch.Generator().manual_seed(num))
    return inputs, (inputs.sum(1) > 0).long()
"""


def test_user_code_of_a_set_is_copied(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    done = wf(
        *("run", "--dataset", "iris", "--validation.more", "own.py:data", "--epochs", 1, "--quiet", "--name", "a"),
    )
    assert done.code == 4  # two classes of other names
    (tmp_path / "first.py").write_text(OWN)
    line = ("run", "--dataset", "first.py:data", "--validation.more", "own.py:data", "--epochs", 1, "--quiet")
    assert wf(*line, "--name", "b").code == 0
    (tmp_path / "own.py").unlink()
    assert wf("evaluate", "b", "--split", "validation/more").code == 0


def test_unknown_names_of_sets_are_refused_when_evaluated(tables: Any) -> None:
    assert tables("run", *LINE, "--validation.night", "night.csv", "--name", "a", "--epochs", 1).code == 0
    done = tables("evaluate", "a", "--split", "validation/nigth")
    assert done.code == 2
    assert "did you mean 'validation/night'" in done.stderr
