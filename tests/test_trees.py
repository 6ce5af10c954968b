"""Batches that are trees: trained, evaluated, predicted and resumed like plain tensors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import tree_jobs as jobs
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler, random_split

from wf.errors import DataError, UsageError
from wf_base import Batch, Dataset, Supervised, TensorSamples, tree
from wf_base.data import joined
from wf_base.training.gradients import Gradients
from wf_run.api import build, load_model, run

JOBS: dict[str, tuple[str, ...]] = {
    "language model": ("--dataset", "next_tokens", "--model", "LanguageModel", "--loss", "TokenLoss"),
    "text classes": ("--dataset", "text_classes", "--model", "TextClassifier"),
    "two losses": ("--dataset", "image_and_table", "--model", "TwoTowers", "--loss", "TwoLosses"),
    "two views": ("--dataset", "two_views", "--model", "Siamese", "--loss", "contrast"),
    "adversaries": ("--dataset", "points", "--model", "Adversaries", "--trainer", "AdversarialTrainer"),
}
SETTINGS: dict[str, Any] = {"save": False, "quiet": True, "batch_size": 8, "epochs": 1}
TOWERS = {**SETTINGS, "dataset": jobs.image_and_table, "model": jobs.TwoTowers, "loss": jobs.TwoLosses}
LANGUAGE = {**SETTINGS, "dataset": jobs.next_tokens, "model": jobs.LanguageModel, "loss": jobs.TokenLoss}


def job(name: str, folder: Path) -> tuple[str, ...]:
    """The options of a job whose file is in the folder."""
    shutil.copy(Path(__file__).parent / "tree_jobs.py", folder / "jobs.py")
    return tuple(f"jobs.py:{word}" if at % 2 else word for at, word in enumerate(JOBS[name]))


@pytest.mark.parametrize("name", ["language model", pytest.param("adversaries", marks=pytest.mark.exhaustive)])
def test_a_run_killed_within_an_epoch_ends_with_the_same_bits(wf: Any, tmp_path: Path, name: str) -> None:
    workers = ("--workers", 2) if name == "language model" else ()
    options = (*job(name, tmp_path), *workers, "--batch-size", 8, "--epochs", 2, "--checkpoint-every", "3steps")
    proved = wf("prove-resume", *options, "--kill-at", 5, "--name", "proof", forks=True)
    assert proved.code == 0, proved.stdout + proved.stderr
    assert "killed after step 5, resumed from step 3" in proved.stdout
    straight = tmp_path / "runs" / "proof" / "straight"
    records = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    named = {key for record in records for key in record if key.startswith("loss/")}
    assert named == ({"loss/generator", "loss/discriminator"} if name == "adversaries" else set())


def test_a_classifier_of_texts_learns_and_predicts(wf: Any, tmp_path: Path) -> None:
    options = (*job("text classes", tmp_path), "--epochs", 12, "--lr", 0.05, "--batch-size", 16, "--name", "texts")
    trained = wf("run", *options)
    assert trained.code == 0, trained.stderr
    predicted = wf("predict", "texts", "test")
    assert predicted.code == 0, predicted.stderr
    assert set(predicted.stdout.split()) <= {"a", "b", "c"}
    assert wf("evaluate", "texts", "--json").json()["metrics"]["test/accuracy"] > 0.8


def test_outputs_of_different_sizes_are_predicted_per_sample(wf: Any, tmp_path: Path) -> None:
    assert wf("run", *job("language model", tmp_path), "--epochs", 1, "--name", "lm", "--batch-size", 4).code == 0
    rows = wf("predict", "lm", "test", "--json").json()
    assert len({len(row["output"]) for row in rows}) > 1
    lines = wf("predict", "lm", "test").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [row["output"] for row in rows]


def test_two_inputs_are_read_from_one_file(wf: Any, tmp_path: Path) -> None:
    import numpy as np

    assert wf("run", *job("two losses", tmp_path), "--epochs", 1, "--name", "towers").code == 0
    samples = jobs.image_and_table().train
    assert isinstance(samples, TensorSamples)
    arrays = {name: leaf[:4].numpy() for name, leaf in samples.inputs.items()}
    np.savez(tmp_path / "new.npz", **arrays)
    found = wf("predict", "towers", "new.npz", "--json").json()
    model = load_model(tmp_path / "runs" / "towers")
    with torch.no_grad():
        expected = model(**{name: leaf[:4] for name, leaf in samples.inputs.items()})
    assert [row["output"]["price"] for row in found] == pytest.approx(expected["price"].tolist(), rel=1e-5)
    np.savez(tmp_path / "short.npz", **{**arrays, "table": arrays["table"][:2]})
    refused = wf("predict", "towers", "short.npz")
    assert refused.code == 4
    assert "'image' has 4, 'table' has 2" in refused.stderr


def _batch(samples: list[Any]) -> Batch:
    inputs, targets = jobs.collate(samples)
    return Batch(inputs, targets, None, None, len(samples))


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_accumulated_gradients_equal_those_of_the_whole_batch(accumulate: int) -> None:
    """The loss averages over tokens, and one part has only padding."""
    torch.manual_seed(0)
    model, loss, texts = jobs.LanguageModel().double(), jobs.TokenLoss(), jobs.Texts(8)
    samples = [texts[index] for index in range(8)]
    samples[0] = (samples[0][0], torch.zeros_like(samples[0][1]))
    samples[1] = (samples[1][0], torch.zeros_like(samples[1][1]))

    def gradients(parts: list[list[Any]]) -> tuple[Any, list[Tensor]]:
        model.zero_grad()
        batch = joined([_batch(part) for part in parts])
        value = Gradients(Supervised(model, loss))(batch)
        return value, [param.grad.clone() for param in model.parameters() if param.grad is not None]

    size = len(samples) // accumulate
    value, found = gradients([samples[at : at + size] for at in range(0, len(samples), size)])
    whole, expected = gradients([samples])
    torch.testing.assert_close(value, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_two_processes_have_the_gradients_of_the_whole_batch() -> None:
    """As `DistributedDataParallel` averages them: each process counts by its share of all tokens."""
    torch.manual_seed(0)
    model, loss, texts = jobs.LanguageModel().double(), jobs.TokenLoss(), jobs.Texts(8)
    samples = [texts[index] for index in range(8)]
    halves = [_batch(part) for part in (samples[:3], samples[3:])]
    tokens = sum(float((half.targets != jobs.PAD).sum()) for half in halves)

    class Strategy:
        world_size, rank, device = 2, 0, torch.device("cpu")

        def sum(self, tensors: list[Tensor]) -> list[Tensor]:
            return [torch.tensor(tokens, dtype=torch.float64) for _ in tensors]

    def gradients(batch: Batch, strategy: Any) -> list[Tensor]:
        model.zero_grad()
        Gradients(Supervised(model, loss), strategy=strategy)(batch)
        return [param.grad.clone() for param in model.parameters() if param.grad is not None]

    ours = [gradients(half, Strategy()) for half in halves]
    mean = [(one + other) / 2 for one, other in zip(*ours, strict=True)]
    expected = gradients(_batch(samples), None)
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-12)


def test_the_accumulated_batches_of_a_run_make_the_same_weights() -> None:
    settings = {**LANGUAGE, "optimizer": {"use": "sgd", "lr": 0.5}}
    whole = run(**{**settings, "batch_size": 8}).model.state_dict()
    parts = run(**{**settings, "batch_size": 2, "accumulate": 4}).model.state_dict()
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(workers: int) -> None:
    with build(**SETTINGS, dataset=jobs.two_views, model=jobs.Siamese, loss=jobs.contrast, workers=workers) as made:
        first = next(iter(made.data.epoch(0)))
        assert [leaf.sum().item() for _, leaf in tree.leaves(first.inputs)] == pytest.approx(
            [-2.3866045475006104, 0.16133132576942444], abs=10
        )
        again = next(iter(made.data.epoch(0)))
    assert all(
        torch.equal(one, other)
        for (_, one), (_, other) in zip(tree.leaves(first.inputs), tree.leaves(again.inputs), strict=True)
    )


def test_each_loss_can_be_monitored() -> None:
    settings = {
        **SETTINGS,
        "dataset": jobs.image_and_table,
        "model": jobs.TwoTowers,
        "loss": jobs.TwoLosses,
        "epochs": 2,
    }
    trained = run(**settings, monitor="train/loss/price:min", hook=["early-stopping"])
    assert {
        "validation/loss/price",
        "validation/loss/kind",
        "train/loss/price",
        "train/loss/kind",
    } <= trained.metrics.keys()
    parts = trained.metrics["validation/loss/price"] + trained.metrics["validation/loss/kind"]
    assert trained.metrics["validation/loss"] == pytest.approx(parts)
    assert trained.history


@pytest.mark.parametrize(
    "given",
    [
        TensorDataset(torch.randn(40, 3), torch.randn(40)),
        {"train": TensorDataset(torch.randn(40, 3), torch.arange(40) % 3)},
        {
            "train": TensorDataset(torch.randn(40, 3), torch.arange(40) % 3),
            "validation": TensorDataset(torch.randn(9, 3), torch.arange(9) % 3),
        },
        random_split(TensorDataset(torch.randn(40, 3), torch.randn(40, 2)), [30, 10])[0],
        DataLoader(TensorDataset(torch.randn(40, 3), torch.randn(40)), batch_size=5, shuffle=True, drop_last=True),
    ],
)
def test_torch_datasets_are_accepted(given: Any) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "batch_size"}
    trained = run(**settings, dataset=given)
    assert trained.metrics["validation/loss"] > 0
    if isinstance(given, DataLoader):
        assert (trained.plan["batch_size"], trained.plan["drop_last"]) == (5, True)


def test_classes_of_a_torch_dataset_are_known() -> None:
    class Photos(torch.utils.data.Dataset[Any]):
        classes = ("cat", "dog")

        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.randn(3), index % 2

    trained = run(**SETTINGS, dataset=Photos())
    assert "validation/accuracy" in trained.metrics
    assert set(trained.labels(trained.predict("test")) or ()) <= {"cat", "dog"}


def test_a_user_defined_sampler_is_reproducible() -> None:
    def orders(seed: int) -> list[list[int]]:
        data = TensorDataset(torch.arange(20.0).unsqueeze(1), torch.zeros(20))
        sampler = WeightedRandomSampler([1.0] * 10 + [9.0] * 10, 30)
        with build(**SETTINGS, dataset=DataLoader(data, 4, sampler=sampler), split="100/0/0", seed=seed) as made:
            assert made.data.num_batches == 4  # in batches of 8
            return [[int(x) for batch in made.data.epoch(epoch) for x in batch.inputs] for epoch in range(2)]

    found = orders(0)
    assert found == orders(0) != orders(1)
    assert found[0] != found[1]
    assert [len(order) for order in found] == [30, 30]
    assert sum(number > 9 for number in found[0]) > 20


FINISHED = """
import torch
from torch.utils.data import DataLoader, TensorDataset

class Named(TensorDataset):
    classes = ["no", "yes"]

inputs = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
targets = (inputs[:, 0] > 0).long()
data = Named(inputs, targets)
loader = DataLoader(data, batch_size=16, shuffle=True)
pair = (inputs, targets)
splits = {"train": data, "validation": data}
word = "data"
"""


@pytest.mark.parametrize("name", ["data", "loader", "pair", "splits"])
def test_a_finished_object_in_a_file_is_accepted_as_dataset(wf: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "own.py").write_text(FINISHED)
    done = wf("run", "--dataset", f"own.py:{name}", "--epochs", 1, "--name", name, "--quiet")
    assert done.code == 0, done.stderr
    assert wf("evaluate", name, "--split", "validation").code == 0


def test_a_string_in_a_file_is_refused_as_dataset(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FINISHED)
    done = wf("run", "--dataset", "own.py:word")
    assert (done.code, "own.py:word is str, which cannot be called" in done.stderr) == (2, True)


def test_unused_settings_of_a_data_loader_are_reported(tmp_path: Path) -> None:
    pairs = TensorDataset(torch.randn(40, 3), torch.randn(40))

    def collate(samples: list[Any]) -> Any:
        return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])

    with pytest.raises(UsageError, match="collated in different ways"):
        build(**SETTINGS, dataset={"train": DataLoader(pairs, 4, collate_fn=collate), "validation": pairs})
    numbers = DataLoader(_Numbers(), 4, collate_fn=collate)
    with pytest.raises(UsageError, match="its collate would not be used"):
        build(**SETTINGS, dataset=numbers, model=_Takes, loss="mse")
    with build(**SETTINGS, dataset=DataLoader(pairs, 5)) as made:
        assert "batch_size 8, not 5 as in the dataset's DataLoader" in made.messages


class _Numbers(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return (({"x": torch.tensor([float(number)])}, torch.tensor([1.0])) for number in range(20))


def test_an_iterable_dataset_is_read_in_order() -> None:
    with build(**SETTINGS, dataset=_Numbers(), model=_Takes, loss="mse", split="100/0/0", shuffle=False) as made:
        first = next(iter(made.data.epoch(0, 1)))
        assert first.inputs["x"].flatten().tolist() == [*range(8, 16)]


class _Takes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        return outputs


class _Samples(torch.utils.data.Dataset[Any]):
    """Samples of which the sixth has another form."""

    def __init__(self, odd: Any) -> None:
        self.odd = odd

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        return self.odd if index == 5 else ({"x": torch.ones(1)}, torch.ones(1))


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (({"x": torch.ones(2)}, torch.ones(1)), r"input 'x' of sample \d+ is .*, that of sample \d+ .*collate"),
        (({"y": torch.ones(1)}, torch.ones(1)), "the input of sample .* is a dict of"),
        (
            ({"x": torch.tensor([torch.nan])}, torch.ones(1)),
            "inputs 'x' hold values that are not finite.*sample 5, nan",
        ),
        (({"x": torch.ones(1)}, {"boxes": torch.ones(1)}), "the target of sample .* is"),
        (torch.ones(1), "a sample is a pair"),
        (({"x": "text"}, torch.ones(1)), "input 'x' of sample"),
    ],
)
def test_samples_that_cannot_be_batched_are_refused(odd: Any, message: str) -> None:
    dataset = Dataset(train=_Samples(odd))
    with pytest.raises(DataError, match=f"(?s){message}"):
        run(**SETTINGS, dataset=lambda: dataset, model=_Takes, loss="mse", split="100/0/0")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**LANGUAGE, "model": jobs.TextClassifier}, "num_outputs"),
        (
            {name: LANGUAGE[name] for name in ("dataset", "model")},
            "does not declare the form of its targets, so no loss",
        ),
        ({**LANGUAGE, "metric": ["accuracy"]}, "judges labels"),
        ({**LANGUAGE, "dataset": lambda: Dataset(train=jobs.Texts(8), collate=lambda _: 3)}, "collate returned"),
        ({**TOWERS, "model": jobs.LanguageModel}, "takes no input 'image'.*tokens, mask"),
        ({**TOWERS, "loss": lambda outputs, targets: outputs["price"]}, "it must be one number"),
        ({**TOWERS, "loss": lambda outputs, targets: {}}, "the loss returned an empty dict"),
        ({**TOWERS, "transform": ["standardize"]}, "several: image, table.*leaf image"),
        ({**TOWERS, "transform": [{"use": "standardize", "leaf": "tabel"}]}, "tabel.*table"),
        ({**TOWERS, "keep": "best", "monitor": "train/loss/price"}, "not known whether a larger"),
    ],
)
def test_mismatches_are_refused_with_one_message(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, DataError), match=f"(?s){message}"):
        run(**{**SETTINGS, **settings})


def test_a_transform_changes_only_the_named_leaf() -> None:
    with build(**TOWERS, transform=[{"use": "standardize", "leaf": "table"}, "flip"], shuffle=False) as made:
        assert [step.leaf for step in made.data.steps] == ["table", "image"], "flip applies to the only image"
        table = torch.cat([batch.inputs["table"] for batch in made.data.batches("train")])
    torch.testing.assert_close(table.mean(0), torch.zeros(3), atol=1e-6, rtol=0)


BOXES = """
import torch
from torch import nn
from wf import Task, hookimpl
from wf_base import Dataset, Outcome, TaskRuntime, Term


class Boxes(TaskRuntime):
    needs_loss = False

    def collate(self, samples):
        return torch.stack([image for image, _ in samples]), [boxes for _, boxes in samples]

    def bind(self, model, loss):
        return OwnLosses(model)

    def names(self, predictions, class_names):
        return [f"{len(boxes)} boxes" for boxes in predictions]


class OwnLosses:
    def __init__(self, model):
        self.model = model

    def weights(self, batch):
        return {"place": torch.tensor(float(sum(len(boxes) for boxes in batch.targets)))}

    def step(self, batch):
        return Outcome({name: Term(value=value) for name, value in self.model(batch.inputs, batch.targets).items()})


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.count, self.place = nn.Linear(16, 1), nn.Linear(16, 4)

    def forward(self, images, targets=None):
        flat = images.flatten(1)
        if targets is None:
            counts = self.count(flat).round().clamp(0, 3).int().flatten().tolist()
            return [place.expand(count, 4) for place, count in zip(self.place(flat), counts)]
        counts = torch.tensor([float(len(boxes)) for boxes in targets])
        off = [(place - boxes).square().mean(1) for place, boxes in zip(self.place(flat), targets)]
        off = torch.cat(off)
        return {"count": (self.count(flat).flatten() - counts).square().mean(), "place": off.sum() / max(1, len(off))}


class Drawings(torch.utils.data.Dataset):
    def __len__(self):
        return 48

    def __getitem__(self, index):
        return torch.rand(1, 4, 4), torch.rand(index % 4, 4)


def drawings() -> Dataset:
    return Dataset(train=Drawings(), targets="drawn")


@hookimpl
def wf_tasks():
    return [Task(name="boxes", target=Boxes, targets=("drawn",), summary="boxes in images")]
"""


def test_a_third_party_task_collates_and_minimizes_model_losses(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "boxes.py").write_text(BOXES)
    options = ("-p", "boxes.py", "run", "--dataset", "boxes.py:drawings", "--model", "boxes.py:Detector")
    options += ("--batch-size", 8, "--epochs", 2, "--name", "boxes", "--workers", 1)
    trained = wf(*options)
    assert trained.code == 0, trained.stderr
    records = [json.loads(line) for line in (tmp_path / "runs" / "boxes" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss/count", "loss/place"} <= {key for record in records for key in record}
    assert not any("loss" in record for record in records if record.get("split") != "train")
    predicted = wf("predict", "boxes", "test", "--json").json()
    assert predicted[0]["label"] == f"{len(predicted[0]['output'])} boxes"


def test_inputs_and_targets_are_mixed_together() -> None:
    class Mix:
        """MixUp of numbers: partners and shares are drawn per batch."""

        joint, num_draws = True, 2

        def __call__(self, inputs: Tensor, targets: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
            partners, share = draws[:, 0].argsort(), draws[:, 1:]
            return torch.lerp(inputs, inputs[partners], share), torch.lerp(targets, targets[partners], share)

    x = torch.randn(40, 2)
    with build(**SETTINGS, dataset=(x, 3 * x), transform=[Mix()], split="100/0/0") as made:
        batches = list(made.data.epoch(0))
        torch.testing.assert_close(torch.cat([b.targets for b in batches]), 3 * torch.cat([b.inputs for b in batches]))
        assert not any(torch.equal(b.inputs, x[b.sample_ids]) for b in batches if b.sample_ids is not None)
        whole = torch.cat([b.inputs for b in made.data.batches("train")])
    assert torch.equal(whole, x), "random transforms apply in training only"


def test_masks_move_with_their_images() -> None:
    image = torch.rand(12, 1, 8, 8)
    masks = (image[:, 0] > 0.5).long()
    dataset = Dataset(train=TensorSamples(image, masks), targets="mask", class_names=("a", "b"))
    transforms = ["flip", {"use": "crop", "padding": 1}]
    with build(**SETTINGS, dataset=lambda: dataset, model="unet", transform=transforms) as made:
        for batch in made.data.epoch(0):
            assert torch.equal((batch.inputs[:, 0] > 0.5).long(), batch.targets)
