"""The last batch of an epoch: left out on request, and refused if a model cannot train on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import wf as wf_python
from wf.errors import UsageError
from wf_base import Dataset, Stream, TensorSamples
from wf_base.data import split_dataset
from wf_data.serving import RunData

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_features, num_outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(num_features, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, num_outputs)

    def forward(self, x):
        return self.head(self.body(x))

class Twice:
    num_draws = 1

    def __call__(self, x, draws):
        return torch.cat([x, x], 1)
"""
NORMED = ("--dataset", "iris", "--model", "net.py:Net", "--epochs", 1, "--quiet")
"""105 train samples, and batch norm."""
SAID = (
    "105 train samples in batches of 8 leave 1 for the last batch, and model 'net-net' cannot be trained on one sample"
)


@pytest.fixture
def net(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)


def test_a_last_batch_of_one_is_refused_before_the_first_step(wf: Any, net: None, tmp_path: Path) -> None:
    for options in ((), ("--dry-run",), ("--accumulate", 3)):
        done = wf("run", *NORMED, "--batch-size", 8, *options)
        assert (done.code, SAID in done.stderr) == (2, True), done.stderr
        assert "--drop-last" in done.stderr
        assert not (tmp_path / "runs").exists()


def test_a_single_sample_in_one_process_is_refused(ranks: Any, net: None) -> None:
    done = ranks("run", *NORMED, "--batch-size", 12, "--strategy", "ddp")
    assert done.code == 0, done.stderr
    done = ranks("run", *NORMED, "--batch-size", 17, "--strategy", "ddp")
    assert "105 train samples for 2 processes in batches of 17 leave 1" in done.stderr
    assert done.code == 1
    done = ranks("run", *NORMED, "--batch-size", 3, "--strategy", "ddp", "--drop-last")
    assert "batches of 3 have 1 sample for a process, and model" in done.stderr
    assert "choose a --batch-size of at least 4, or start fewer processes" in done.stderr


def test_a_single_sample_in_a_later_fold_is_refused_before_the_first(wf: Any, net: None, tmp_path: Path) -> None:
    plan = ("run", "--dataset", "diabetes", "--model", "net.py:Net", "--epochs", 1, "--quiet", "--folds", 3)
    done = wf(*plan, "--batch-size", 8, "--split", "100/0/0", "--eval-splits", "[]", "--monitor", "validation/loss")
    sizes = [442 - len(range(fold, 442, 3)) for fold in range(3)]
    assert sizes == [294, 295, 295]
    assert done.code == 0, done.stderr
    done = wf(*plan, "--batch-size", 7, "--split", "100/0/0", "--eval-splits", "[]", "--name", "x")
    assert "295 train samples of fold 2 in batches of 7 leave 1" in done.stderr
    assert not (tmp_path / "runs" / "x").exists()


def test_drop_last_leaves_out_the_last_batch(wf: Any, net: None) -> None:
    done = wf("run", *NORMED, "--batch-size", 8, "--drop-last", "--name", "x", "--json")
    assert (done.code, done.json()["steps"]) == (0, 13), done.stderr
    assert wf("run", *NORMED, "--batch-size", 200, "--drop-last").code == 2
    assert "batches have 1 sample" in wf("run", *NORMED, "--batch-size", 1).stderr


class Normed(nn.Module):
    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(num_features, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, num_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.body(x))
        return out


def build(**settings: Any) -> Any:
    return wf_python.build(dataset="iris", model=Normed, batch_size=8, save=False, quiet=True, **settings)


def test_trainable_last_batches_are_accepted() -> None:
    """Frozen batch norm, a run that ends before that batch, a model without batch norm."""
    build(trainer={"freeze": "body"}, epochs=1).fit()
    build(steps=5).fit()
    wf_python.build(dataset="iris", model="mlp", batch_size=8, save=False, quiet=True, epochs=1).fit()


def test_the_trial_leaves_model_and_generators_unchanged() -> None:
    one, other = build(epochs=1, drop_last=True), None
    with pytest.raises(UsageError, match="leave 1 for the last"):
        build(epochs=1)
    other = build(epochs=1, drop_last=True, split="69/16/15")
    assert one.model.body[1].num_batches_tracked == other.model.body[1].num_batches_tracked == 0
    for ours, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_transform_that_changes_the_size_in_training_alone_is_named(wf: Any, net: None) -> None:
    done = wf("run", *NORMED, "--transform", "net.py:Twice", "--batch-size", 10)
    assert done.code == 2
    assert "transform 'net-twice' (to [8]) changes the shape of samples only in training" in done.stderr
    assert "evaluations have [4]" in done.stderr


NUM = 23


def samples(where: str) -> Any:
    x = torch.arange(NUM, dtype=torch.float32).unsqueeze(1)
    if where == "stream":
        return Stream(num_samples=NUM, read=lambda start: iter([(x[start:], x[start:])]), buffer=5)
    return TensorSamples(x, x)


@pytest.mark.parametrize("where", ["memory", "loader", "stream"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_drop_last_keeps_the_order_for_every_process_and_start(
    where: str, shuffle: bool, world: int, accumulate: int
) -> None:
    """The epoch starts like one with it, is equal for all processes, and can be entered in the middle."""
    dataset = Dataset(train=samples(where), targets="real")
    splits = split_dataset(dataset, "100/0/0", 0, shuffle=False)
    place = {"serve_from": "loader"} if where == "loader" else {}

    def serve(rank: int, *, drop_last: bool) -> RunData:
        sizes: dict[str, Any] = {"batch_size": 4, "accumulate": accumulate, "rank": rank, "world_size": world}
        return RunData(dataset, splits, shuffle=shuffle, drop_last=drop_last, **sizes, **place)

    num = 0
    for rank in range(world):
        whole = torch.cat([batch.inputs for batch in serve(rank, drop_last=False).epoch(2)])
        data = serve(rank, drop_last=True)
        kept = [batch.inputs for batch in data.epoch(2)]
        assert len(kept) == data.num_batches
        num += sum(map(len, kept))
        assert torch.equal(torch.cat(kept), whole[: sum(map(len, kept))])
        later = [batch.inputs for batch in data.epoch(2, 1)]
        assert [batch.tolist() for batch in later] == [batch.tolist() for batch in kept[1:]]
    assert num == data.num_kept == NUM // 4 * 4
