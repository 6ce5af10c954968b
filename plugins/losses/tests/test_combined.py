"""The sum of several losses equals a hand-written script to the bit, and its weights can be learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name

import wf
from wf.errors import UsageError
from wf_base import Dataset, TensorSamples
from wf_losses.combined import SumLoss
from wf_losses.cross_entropy import CrossEntropyLoss
from wf_losses.regression import L1Loss, MSELoss

INPUTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
NUMBERS = INPUTS @ torch.tensor([[1.0], [2.0], [-1.0]])
KINDS = (INPUTS[:, 0] > 0).long()
SGD = {"use": "sgd", "lr": 0.1}


def train(loss: Any, **options: Any) -> Any:
    given: dict[str, Any] = {"dataset": (INPUTS, NUMBERS), "model": "linear", "optimizer": SGD, "batch_size": 8}
    return wf.run(**{**given, "loss": loss, "epochs": 3, "shuffle": False, "save": False, "quiet": True, **options})


def by_hand(loss: Any, *more: nn.Parameter) -> nn.Module:
    torch.manual_seed(42)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD([*model.parameters(), *more], lr=0.1)
    for _ in range(3):
        for x, y in zip(INPUTS[:28].split(8), NUMBERS[:28].split(8), strict=True):
            value = loss(model(x), y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return model


def test_a_weighted_sum_equals_the_hand_written_script() -> None:
    ran = train({"use": "sum", "parts": ["mse", {"use": "l1"}], "weights": [1, 0.25]})
    model = by_hand(lambda found, y: F.mse_loss(found, y) + 0.25 * F.l1_loss(found, y))
    assert torch.equal(ran.model.state_dict()["1.weight"], model.weight)  # type: ignore[arg-type]
    metrics = ran.metrics
    assert metrics["test/loss"] == pytest.approx(metrics["test/loss/mse"] + 0.25 * metrics["test/loss/l1"], rel=1e-12)
    assert metrics["test/loss/l1"] == pytest.approx(metrics["test/mae"], rel=1e-6)


def test_a_sum_of_one_part() -> None:
    ran = train({"use": "sum", "parts": ["mse"], "weights": [0.5]})
    model = by_hand(lambda found, y: 0.5 * F.mse_loss(found, y))
    assert torch.equal(ran.model.state_dict()["1.weight"], model.weight)  # type: ignore[arg-type]
    for split in ("train", "validation", "test"):
        assert ran.metrics[f"{split}/loss"] == pytest.approx(0.5 * ran.metrics[f"{split}/loss/mse"], rel=1e-12)
    steps = [record for record in ran.history if record["event"] == "train"]
    assert steps
    assert all("loss/mse" in record for record in steps)


def test_learned_weights_equal_the_hand_written_script() -> None:
    ran = train({"use": "sum", "parts": ["mse", "l1"], "learned": True})
    s = nn.Parameter(torch.zeros(2))

    def loss(found: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        parts = F.mse_loss(found, y), F.l1_loss(found, y)
        return parts[0] * (0.5 * torch.exp(-s[0])) + parts[1] * torch.exp(-s[1]) + s.sum() / 2

    model = by_hand(loss, s)
    assert torch.allclose(ran.model.state_dict()["1.weight"], model.weight, rtol=1e-6)  # type: ignore[arg-type]
    assert ran.metrics["test/loss/weight/mse"] == pytest.approx(0.5 * torch.exp(-s[0]).item(), rel=1e-6)
    assert ran.metrics["test/loss/weight/mse"] != 0.5, "the weight is trained"
    assert ran.metrics["test/loss/variances"] == pytest.approx(s.sum().item() / 2, rel=1e-5)


def test_accumulated_batches_have_the_gradients_of_the_whole() -> None:
    loss = {"use": "sum", "parts": ["mse", "l1"], "learned": True}
    whole, parts = train(loss, batch_size=14), train(loss, batch_size=7, accumulate=2)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5)
    assert whole.metrics["test/loss/weight/l1"] == pytest.approx(parts.metrics["test/loss/weight/l1"], rel=1e-5)


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.price, self.kind = nn.Linear(3, 1), nn.Linear(3, 2)

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"price": self.price(inputs), "kind": self.kind(inputs)}


def test_parts_read_their_own_leaf_of_the_targets(tmp_path: Path) -> None:
    dataset = Dataset(train=TensorSamples(INPUTS, {"price": NUMBERS, "kind": KINDS}))
    loss = {"use": "sum", "parts": ["mse", "ce"], "of": ["price", "kind"], "names": ["price", "kind"]}
    ran = train(loss, dataset=dataset, model=Heads, save=True, run_dir=tmp_path / "run", monitor="validation/loss/kind")
    assert 0 < ran.metrics["test/loss/kind"] < 0.69
    assert set(ran.predict("test")) == {"price", "kind"}
    with pytest.raises(UsageError, match=r"part 'kind' is of leaf 'knd', and there is .price"):
        train({**loss, "of": ["price", "knd"]}, dataset=dataset, model=Heads)


def test_parts_report_their_total_weights() -> None:
    loss = SumLoss([CrossEntropyLoss(ignore_index=1), CrossEntropyLoss()], names=["a", "b"])
    assert {name: int(weight) for name, weight in (loss.total_weight(KINDS) or {}).items()} == {
        "a": int((KINDS != 1).sum()),
        "b": len(KINDS),
    }
    assert SumLoss([MSELoss(), L1Loss()]).total_weight(NUMBERS) is None
    assert SumLoss([MSELoss(), F.huber_loss]).names == ["mse", "huber"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": []}, "no parts"),
        ({"weights": [1.0]}, r"2 parts, and weights \[1.0\]"),
        ({"weights": [1.0, -1.0]}, "at least 0"),
        ({"names": ["a", "a"]}, "named a, a"),
        ({"names": ["a", "b/c"]}, "named a, b/c"),
        ({"parts": [MSELoss(reduction="none")]}, "reduction none"),
    ],
)
def test_invalid_sums_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SumLoss(**{"parts": [MSELoss(), L1Loss()], **options})


def test_a_part_that_needs_a_link_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"part 'nll' takes log_probs predictions(?s:.)*the model gives raw, (?s:.)*such as ce"
    ):
        train({"use": "sum", "parts": ["ce", "nll"]}, dataset="iris")
