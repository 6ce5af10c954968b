"""The graphed trainer: errors, the time of the capture, and on CUDA equality with the supervised trainer."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from wf import Epochs, Loop
from wf.errors import UsageError
from wf_base import Batch, tree
from wf_training import graphed
from wf_training.graphed import GraphedTrainer
from wf_training.trainer import SupervisedTrainer

CUDA = torch.device("cuda")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Deferred(graphed._Captured):
    """Replaces a CUDA graph on the CPU: it computes nothing during capture, and the step during replay."""

    def _capture(self, step: graphed.Step) -> None:
        self._step, self.num = step, 0
        self._figures = {}

    def _launch(self) -> None:
        """Write into the previous tensors, as a graph does."""
        found = self._step(*self._held)
        if self.num == 0:
            self._figures = found
        else:
            tree.map_leaves(Tensor.copy_, self._figures, found)
        self.num += 1


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphed, "_Captured", Deferred)
    monkeypatch.setattr(GraphedTrainer, "_beside", lambda self: None)
    monkeypatch.setattr(graphed, "_on", lambda stream: nullcontext())


def network(device: torch.device) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 16, bias=False), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3)
    ).to(device)


def batches(device: torch.device) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randn(22, 4, generator=generator), torch.randint(3, (22,), generator=generator)
    return list(zip(inputs.to(device).split(5), targets.to(device).split(5), strict=True))


def make(model: nn.Module, optimizer: Any, kind: Any = GraphedTrainer, **options: Any) -> Any:
    more = {"device": CUDA, "batch_size": 5} if kind is GraphedTrainer else {}
    scheduler = StepLR(optimizer, 2, 0.7)
    return kind(model, nn.CrossEntropyLoss(), optimizer, scheduler, "step", "", **more, **options)


def trained(kind: Any, device: torch.device, make_optimizer: Any) -> tuple[list[Tensor], list[float], Any]:
    model, losses = network(device), []

    class Watch:
        def on_epoch_end(self, run: Loop) -> None:
            losses.append(float(run.loss))

    trainer = make(model, make_optimizer(model.parameters()), kind)
    torch.manual_seed(2)
    Loop(trainer, hooks=[Watch()]).run(batches(device), Epochs(3))
    return list(model.state_dict().values()), losses, trainer


@pytest.mark.usefixtures("without_cuda")
def test_steps_are_captured_after_some_plain_ones_and_learning_rates_follow() -> None:
    cpu = torch.device("cpu")
    found, losses, trainer = trained(GraphedTrainer, cpu, lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9))
    expected, expected_losses, _ = trained(
        SupervisedTrainer, cpu, lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, fused=True)
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # graphed rates are float32, plain ones float64
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    assert trainer._captured.num == 12 - graphed.WARM_UP, (
        "4 full batches an epoch are captured; the short one is a plain step"
    )
    assert isinstance(trainer.optimizer.param_groups[0]["lr"], float), "a checkpoint has numbers"


@pytest.mark.usefixtures("without_cuda")
def test_loading_a_checkpoint_discards_the_captured_graph() -> None:
    _, _, trainer = trained(GraphedTrainer, torch.device("cpu"), lambda params: torch.optim.SGD(params, lr=0.1))
    trainer.optimizer.load_state_dict(trainer.optimizer.state_dict())
    assert trainer._captured is None
    Loop(trainer).run(batches(torch.device("cpu")), Epochs(1))
    assert trainer._captured.num == 1


@pytest.mark.usefixtures("without_cuda")
def test_an_option_that_changes_is_refused() -> None:
    model = network(torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    class Cycle:
        def on_step_end(self, run: Loop) -> None:
            optimizer.param_groups[0]["momentum"] *= 0.9

    with pytest.raises(UsageError, match=r"optimizer's momentum changed.*\n.*cycle_momentum false"):
        Loop(make(model, optimizer), hooks=[Cycle()]).run(batches(torch.device("cpu")), Epochs(2))


class Priced(nn.Module):
    """Takes an image and a row of numbers by name, and gives a price and a class."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.row, self.head = nn.Linear(6, 8), nn.Linear(3, 8), nn.Linear(8, 4)

    def forward(self, image: Tensor, row: Tensor) -> Tensor:
        outputs: Tensor = self.head(torch.tanh(self.image(image.flatten(1)) + self.row(row)))
        return outputs


def price_and_class(outputs: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
    price = (outputs[:, 0] - targets["price"]).square().mean()
    return {"price": price, "class": nn.functional.cross_entropy(outputs[:, 1:], targets["class"])}


def priced(num: int = 22) -> list[Batch]:
    draw = torch.Generator().manual_seed(3)
    inputs = {"image": torch.randn(num, 2, 3, generator=draw), "row": torch.randn(num, 3, generator=draw)}
    wanted = {"price": torch.rand(num, generator=draw), "class": torch.randint(3, (num,), generator=draw)}
    return list(Batch(inputs, wanted, None, None, num).split(5))


@pytest.mark.usefixtures("without_cuda")
def test_trees_are_captured_with_the_terms_of_the_loss() -> None:
    ended = []
    for kind in (GraphedTrainer, SupervisedTrainer):
        torch.manual_seed(0)
        model, figures = Priced(), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
        more = {"device": CUDA, "batch_size": 5} if kind is GraphedTrainer else {}
        trainer = kind(model, price_and_class, optimizer, None, "step", "", **more)
        for _ in range(3):
            figures += [trainer.train_step(batch) for batch in priced()]
        ended.append((list(model.state_dict().values()), trainer.read(figures), trainer))
    (found, terms, graph), (expected, expected_terms, _) = ended
    assert graph._captured.num == 12 - graphed.WARM_UP
    torch.testing.assert_close(found, expected)
    assert [one.keys() for one in terms] == [{"loss", "loss/price", "loss/class"}] * 15
    for one, other in zip(terms, expected_terms, strict=True):  # each step has its own tensor, which is read at the end
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.usefixtures("without_cuda")
def test_batches_of_another_form_are_plain_steps() -> None:
    model = Priced()
    options = {"device": CUDA, "batch_size": 5}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = GraphedTrainer(model, price_and_class, optimizer, None, "step", "", **options)
    for batch in (*priced()[:4], *priced()[:1]):
        trainer.train_step(batch)
    assert trainer._captured.num == 2
    batch = priced()[0]
    trainer.train_step(batch._replace(targets={**batch.targets, "name": batch.targets["class"]}))
    trainer.train_step(batch._replace(inputs=dict(reversed(batch.inputs.items()))))
    assert trainer._captured.num == 3, "the order of keys does not change the form of a tree"


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        ([torch.rand(2, 4), *(torch.rand(5, 4) for _ in range(4))], r"targets/boxes/0 is float32 \[2, 4\]"),
        (torch.rand(4), r"targets/boxes is float32 \[4\]"),
        (["a", "b"], "targets/boxes/0 is a str"),
    ],
)
def test_batches_that_a_graph_cannot_read_are_refused(leaf: Any, words: str) -> None:
    model, batch = Priced(), priced()[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = GraphedTrainer(model, price_and_class, optimizer, None, "step", "", device=CUDA, batch_size=5)
    ragged = batch._replace(targets={**batch.targets, "boxes": leaf})
    with pytest.raises(UsageError, match=rf"in a batch of 5 samples {words}\n  train with --trainer supervised, which"):
        trainer.train_step(ragged)


def test_a_hook_that_listens_to_gradients_is_refused() -> None:
    model = network(torch.device("cpu"))

    class Clip:
        def on_gradients_ready(self, run: Loop) -> None:
            raise AssertionError

    trainer = make(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(UsageError, match="a hook listens to on_gradients_ready"):
        Loop(trainer, hooks=[Clip()]).run(batches(torch.device("cpu")), Epochs(1))


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (lambda params: torch.optim.Adagrad(params), "the update of Adagrad cannot be captured.*\n.*AdamW"),
        (lambda params: torch.optim.SGD(params, foreach=True), "remove --optimizer.foreach"),
    ],
)
def test_optimizers_that_cannot_be_captured(optimizer: Any, words: str) -> None:
    model = network(torch.device("cpu"))
    with pytest.raises(UsageError, match=words):
        make(model, optimizer(model.parameters()))


def test_several_processes_are_refused() -> None:
    class Two:
        world_size = 2

    model = network(torch.device("cpu"))
    with pytest.raises(UsageError, match="the step of one process"):
        make(model, torch.optim.SGD(model.parameters()), strategy=Two())


def test_the_optimizer_computes_on_the_device() -> None:
    model = network(torch.device("cpu"))
    adam, sgd = torch.optim.Adam(model.parameters()), torch.optim.SGD(model.parameters())
    make(model, adam)
    make(model, sgd)
    assert adam.param_groups[0]["capturable"] is sgd.param_groups[0]["fused"] is True
    told = [one.state_dict()["param_groups"][0] for one in (adam, sgd)]
    assert told[0]["capturable"] is False, "the state is that of the supervised trainer, which may also train on a CPU"
    assert told[1]["fused"] is None


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
@pytest.mark.parametrize("late", [False, True])
def test_counters_of_a_supervised_checkpoint_move_to_the_weights(kind: Any, late: bool) -> None:
    """torch leaves them where the checkpoint says, on the host, where a captured update cannot count."""
    before = network(torch.device("cpu"))
    plain = kind(before.parameters())
    before(torch.randn(5, 4)).sum().backward()
    plain.step()
    saved = plain.state_dict()
    assert saved["state"][0]["step"].device.type == "cpu"

    model = network(torch.device("meta"))
    optimizer = kind(model.parameters())
    trainer = make(model, optimizer, restored=late)
    optimizer.load_state_dict(saved)
    if late:
        trainer.on_run_start(Loop(trainer))
    assert {state["step"].device.type for state in optimizer.state.values()} == {"meta"}
    assert {state["step"].dtype for state in optimizer.state.values()} == {torch.float32}
    assert optimizer.param_groups[0]["capturable"] is True
    told = optimizer.state_dict()["param_groups"]
    assert told == saved["param_groups"], "what was loaded is what is saved again"


def test_a_run_that_is_only_used_needs_no_cuda_until_it_trains() -> None:
    model, cpu = network(torch.device("cpu")), torch.device("cpu")
    optimizer = torch.optim.Adam(model.parameters())
    trainer = GraphedTrainer(
        model, nn.CrossEntropyLoss(), optimizer, None, "step", "", device=cpu, batch_size=5, restored=True
    )
    assert optimizer.param_groups[0]["capturable"] is False
    with pytest.raises(UsageError, match="captures CUDA graphs, but the device is cpu"):
        Loop(trainer).run(batches(cpu), Epochs(1))


@needs_cuda
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop])
def test_a_graphed_run_is_near_a_plain_one(kind: Any) -> None:
    """Bias corrections and learning rates are float32 on the device, so the last bits differ."""
    found, losses, trainer = trained(GraphedTrainer, CUDA, lambda params: kind(params, lr=1e-2))
    expected, expected_losses, _ = trained(SupervisedTrainer, CUDA, lambda params: kind(params, lr=1e-2))
    assert trainer._captured is not None
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert losses == pytest.approx(expected_losses, rel=1e-3)


@needs_cuda
def test_trees_are_captured_on_cuda() -> None:
    torch.manual_seed(0)
    model = Priced().to(CUDA)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = GraphedTrainer(model, price_and_class, optimizer, None, "step", "", device=CUDA, batch_size=5)
    moved = [
        batch.changed(lambda inputs: tree.to(inputs, CUDA), lambda targets: tree.to(targets, CUDA))
        for batch in priced()
    ]
    figures = trainer.read([trainer.train_step(batch) for _ in range(3) for batch in moved])
    assert trainer._captured is not None
    assert figures[-1]["loss"] == pytest.approx(figures[-1]["loss/price"] + figures[-1]["loss/class"], rel=1e-4)
    assert figures[-1]["loss"] < figures[0]["loss"]


@needs_cuda
def test_a_model_that_asks_for_values_on_the_host_is_refused() -> None:
    class Asking(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) * (1.0 if inputs.sum().item() > 0 else 0.5)

    model = Asking(4, 3).to(CUDA)
    with pytest.raises(UsageError, match="cannot be captured as a CUDA graph"):
        Loop(make(model, torch.optim.SGD(model.parameters(), lr=0.1))).run(batches(CUDA), Epochs(1))
