"""The catalogue: its index, options and refused members; and every member over a split."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pytest
import torch
from torch import Tensor

import wf
from wf.declarations.component import REQUIRED
from wf.declarations.values import VALUES
from wf.errors import UsageError
from wf.parameters import convert, from_signature
from wf.registry import Registry
from wf.traits import MetricTraits
from wf_base import Dataset
from wf_base.data import TensorSamples
from wf_base.task import task_of
from wf_building.builder import Builder
from wf_torchmetrics.index import index
from wf_torchmetrics.members import MEMBERS, described
from wf_torchmetrics.plugin import wf_components
from wf_torchmetrics.refused import FAMILIES, exported, refused

CATALOGUE = wf_components()[0]
REGISTRY = Registry.discover()

NEEDED: Mapping[str, Mapping[str, Any]] = {
    "FBetaScore": {"beta": 2.0},
    "PrecisionAtFixedRecall": {"min_recall": 0.5},
    "RecallAtFixedPrecision": {"min_precision": 0.2},
    "SensitivityAtSpecificity": {"min_specificity": 0.5},
    "SpecificityAtSensitivity": {"min_sensitivity": 0.5},
    "MinkowskiDistance": {"p": 3.0},
    "CriticalSuccessIndex": {"threshold": 0.5},
}
SAMPLE = ("Accuracy", "BinaryAUROC", "MultilabelStatScores", "ExactMatch", "R2Score", "DiceScore", "CramersV")
"""One of each way in which they are prepared, for the runs that are made in CI."""


def options_of(name: str) -> dict[str, Any]:
    bare = name.removeprefix("Binary").removeprefix("Multiclass").removeprefix("Multilabel")
    return dict(NEEDED.get(bare, {}))


def data_of(targets: str, num: int = 60) -> tuple[Tensor, Tensor, int | None]:
    """Outputs of a model, targets, and the number of classes."""
    draw = torch.Generator().manual_seed(1)
    if targets == "real":
        return torch.rand(num, 2, generator=draw), torch.rand(num, 2, generator=draw), None
    if targets == "binary":
        return torch.randn(num, 1, generator=draw), torch.randint(2, (num,), generator=draw).float(), 2
    if targets == "multilabel":
        return torch.randn(num, 3, generator=draw), torch.randint(2, (num, 3), generator=draw).float(), 3
    shape = (6, 5) if targets == "mask" else ()
    return torch.randn(num, 3, *shape, generator=draw), torch.randint(3, (num, *shape), generator=draw), 3


class Fed:
    """A metric and the data that it gets."""

    def __init__(self, name: str, targets: str, **options: Any) -> None:
        self.predictions, self.targets, num_classes = data_of(targets)
        if targets == "class_index" and MEMBERS[name].task == "binary":
            self.predictions, self.targets, num_classes = self.predictions[:, :2], self.targets % 2, 2
        traits = CATALOGUE.member(name).traits
        assert isinstance(traits, MetricTraits)
        self.form = traits.predictions
        self.outputs = task_of(targets, "raw", single_logit=targets == "binary")
        values = {"device": torch.device("cpu"), "outputs": self.outputs, "num_outputs": self.predictions.shape[1]}
        if num_classes:
            values["num_classes"] = num_classes
        table = {"use": f"torchmetrics/{name}", **options_of(name), **options}
        self.metric = Builder(REGISTRY, values).build("metric", table).value

    def feed(self, start: int, stop: int, size: int) -> None:
        for place in range(start, stop, size):
            rows = slice(place, min(stop, place + size))
            read = self.outputs.read(self.predictions[rows], self.form)
            self.metric.update(read, self.outputs.classes(self.targets[rows]))

    def figures(self) -> dict[str, Tensor]:
        result = self.metric.compute()
        return result if isinstance(result, dict) else {"": result}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=1e-5, atol=1e-6, equal_nan=True, check_dtype=False)


def pairs() -> list[Any]:
    """Every member with each form of targets that it takes; members outside the sample only in `make catalogue`."""
    return [
        pytest.param(name, targets, marks=() if name in SAMPLE else pytest.mark.catalogue)
        for name in MEMBERS
        for targets in CATALOGUE.member(name).traits.targets  # type: ignore[union-attr]  # they are a metric's
    ]


class Halves:
    """A strategy of two processes, which are threads."""

    world_size = 2

    def __init__(self, rank: int, shared: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self._shared, self._barrier = rank, shared, barrier

    def gather(self, tensor: Tensor) -> Tensor:
        self._shared[self.rank] = tensor
        self._barrier.wait()
        gathered = torch.cat(list(self._shared))
        self._barrier.wait()
        return gathered


def test_index_is_up_to_date() -> None:
    kept = files("wf_torchmetrics").joinpath("index.txt").read_text(encoding="utf-8")
    assert kept == index(), "regenerate it: python -m wf_torchmetrics.index"


def test_the_whole_library_is_listed() -> None:
    names = {name for family in FAMILIES for name in exported(family)}
    assert names == set(CATALOGUE.names())
    assert set(MEMBERS) | set(refused()) == names
    assert len(MEMBERS) >= 130


def test_no_family_is_refused_without_a_reason() -> None:
    assert all(refused().values())


def test_listing_imports_neither_torch_nor_the_library() -> None:
    code = """
import sys
from wf_torchmetrics.plugin import wf_components
names = wf_components()[0].names()
print(len(names), [name for name in sys.modules if name.startswith(("torch", "numpy"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(CATALOGUE.names())} []\n"


@pytest.mark.parametrize("name", MEMBERS)
def test_every_option_is_documented_and_its_default_is_a_value_of_its_type(name: str) -> None:
    for option in from_signature(described(name)):
        assert option.help, option.name
        if option.default is not REQUIRED:
            assert convert(option, option.default, name) == option.default
        elif option.name not in VALUES:
            assert option.name in options_of(name)


@pytest.mark.parametrize("name", MEMBERS)
def test_directions_follow_the_library_where_it_is_right(name: str) -> None:
    traits = CATALOGUE.member(name).traits
    assert isinstance(traits, MetricTraits)
    theirs = getattr(MEMBERS[name].kind, "higher_is_better", None)
    if name == "DaviesBouldinScore":  # its documentation says that lower is better
        assert (theirs, traits.larger_is_better) == (True, False)
    elif theirs is not None:
        assert traits.larger_is_better is theirs


@pytest.mark.parametrize(("name", "targets"), pairs())
def test_figures_are_over_the_whole_split_and_the_state_resets(name: str, targets: str) -> None:
    fed = Fed(name, targets)
    with torch.inference_mode():
        fed.metric.reset()
        fed.feed(0, 60, 17)
        in_batches = fed.figures()
        fed.metric.reset()
        fed.feed(0, 60, 60)
        same(in_batches, fed.figures())
    for figure in in_batches.values():
        assert not figure.isnan().any()


@pytest.mark.parametrize(("name", "targets"), pairs())
def test_two_processes_get_the_figure_of_the_whole(name: str, targets: str) -> None:
    whole = Fed(name, targets)
    whole.feed(0, 60, 20)
    parts = [Fed(name, targets), Fed(name, targets)]
    shared: list[Any] = [None, None]
    barrier = threading.Barrier(2, timeout=20)
    failed: list[BaseException] = []

    def work(rank: int) -> None:
        try:
            parts[rank].feed(*((0, 25, 10) if rank == 0 else (25, 60, 10)))
            parts[rank].metric.sync(Halves(rank, shared, barrier))
        except BaseException as error:
            failed.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    for part in parts:
        same(whole.figures(), part.figures())
        part.metric.reset()
        part.feed(0, 60, 30)
        same(whole.figures(), part.figures())


@pytest.mark.parametrize(("name", "targets"), pairs())
def test_every_metric_evaluates_a_real_run(name: str, targets: str) -> None:
    _, wanted, num_classes = data_of(targets)
    if targets == "class_index" and MEMBERS[name].task == "binary":
        wanted, num_classes = wanted % 2, 2
    inputs = torch.randn(60, 1, 6, 5, generator=torch.Generator().manual_seed(2))
    names = [str(number) for number in range(num_classes or 0)]
    dataset = Dataset(train=TensorSamples(inputs, wanted), targets=targets, class_names=names)  # type: ignore[arg-type]  # from a list
    model: Any = {"use": torch.nn.Conv2d(1, 3, 1)} if targets == "mask" else "linear"
    metric = {"use": f"torchmetrics/{name}", **options_of(name)}
    done = wf.run(
        dataset=dataset, model=model, metric=[metric], steps=2, eval_splits=["validation"], save=False, quiet=True
    )
    figures = [key for key in done.metrics if key.startswith(f"validation/torchmetrics/{name}")]
    assert figures


@pytest.mark.parametrize("name", refused())
def test_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be used: it "):
        REGISTRY.find("metric", f"torchmetrics/{name}")


def test_hausdorff_still_fails() -> None:
    """The reason why it is refused; if this test fails, the library may have fixed it."""
    from torchmetrics.segmentation import HausdorffDistance

    masks = torch.zeros(1, 8, 8, dtype=torch.int64)
    masks[:, 2:5, 2:5] = 1
    with pytest.raises(RuntimeError, match="numel"):
        HausdorffDistance(num_classes=3, input_format="index")(masks, masks)  # there is no class 2


@pytest.mark.parametrize(
    ("name", "targets", "options", "message"),
    [
        ("BinaryF1Score", "class_index", {"num": 3}, "judges two classes, the dataset has 3\n.*MulticlassF1Score"),
        ("F1Score", "class_index", {"task": "binary"}, "judges two classes, the dataset has 3"),
        ("F1Score", "multilabel", {"task": "binary"}, "multilabel targets, which it judges as multilabel"),
        ("F1Score", "class_index", {"averag": "macro"}, "did you mean 'average'"),
        ("F1Score", "class_index", {"average": "maro"}, "did you mean 'macro'"),
        ("F1Score", "class_index", {"top_k": 7}, "top_k"),
        ("FBetaScore", "class_index", {"beta": -1.0}, "beta"),
        ("Accuracyy", "class_index", {}, "did you mean 'torchmetrics/Accuracy'"),
        ("R2Score", "real", {"multioutput": "raw"}, "raw_values"),
    ],
)
def test_invalid_names_targets_and_options_are_refused(
    name: str, targets: str, options: dict[str, Any], message: str
) -> None:
    _, _, num_classes = data_of(targets)
    values = {"device": torch.device("cpu"), "outputs": task_of(targets, "raw", single_logit=False), "num_outputs": 2}
    table = {"use": f"torchmetrics/{name}", **{key: value for key, value in options.items() if key != "num"}}
    with pytest.raises(UsageError, match=f"(?s){message}"):
        Builder(REGISTRY, {**values, "num_classes": num_classes}).build("metric", table)
