"""The strategy in one process: how it shards a model. With several processes: tests/test_fsdp.py."""

from __future__ import annotations

import copy
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from wf.errors import UsageError
from wf_base.shards import holds_shards, is_sharded, local, whole, whole_state
from wf_processes import board
from wf_run.parts.optimizers import divide_loaded, refuse_undivided
from wf_state.differences import differences
from wf_training.fsdp import FSDPStrategy, _named, _of_size
from wf_training.hooks.averaging import AveragedWeights, get_ema_multi_avg_fn

CPU = torch.device("cpu")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes the strategy in the only process of a torchrun group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    monkeypatch.setattr(board, "_board", None)
    place = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    made: list[FSDPStrategy] = []

    def make(**options: Any) -> FSDPStrategy:
        made.append(FSDPStrategy(CPU, **options))
        return made[-1]

    yield make
    for strategy in made:
        strategy.close()


class Tied(nn.Module):
    """Two blocks with dropout, running means between them, and a head tied to the weight of the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 8)) for _ in range(2)
        )
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embed(tokens)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        predictions: Tensor = self.head(self.norm(hidden))
        return predictions


TOKENS = torch.arange(22).remainder(11)


def trained(model: nn.Module, steps: int = 3, optimizer: torch.optim.Optimizer | None = None) -> list[float]:
    """The losses of a few steps with clipped gradients."""
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=0.01)
    torch.manual_seed(1)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(TOKENS), TOKENS.roll(1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("recomputes", [False, True])
def test_a_sharded_model_trains_as_the_plain_one(make: Any, recomputes: bool) -> None:
    """Also where activations are computed again, with the same dropout: bit for bit."""
    torch.manual_seed(0)
    plain = Tied()
    divided = make(modules=["blocks.*"], activation_checkpointing=recomputes).prepare(copy.deepcopy(plain))
    assert trained(divided) == pytest.approx(trained(plain), rel=1e-6)
    assert divided.head.weight is divided.embed.weight
    assert list(divided.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in divided.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert all(isinstance(one, DTensor) for one in divided.parameters())
    for name, one in whole_state(divided.state_dict()).items():
        torch.testing.assert_close(one, plain.state_dict()[name])


def test_activation_checkpointing_recomputes_activations(make: Any) -> None:
    model, calls = Tied(), []
    model.blocks[0][0].register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    make(modules=["blocks.*"], activation_checkpointing=True).prepare(model)(TOKENS).sum().backward()
    assert len(calls) == 2


def test_units_compute_in_the_requested_precision(make: Any) -> None:
    model, seen = Tied(), []
    model.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    divided = make(modules=["blocks.*"], param_dtype="bf16").prepare(model)
    outputs = divided(TOKENS)
    assert (seen, outputs.dtype) == ([torch.bfloat16], torch.float32)
    outputs.sum().backward()
    assert {one.dtype for one in divided.parameters()} == {torch.float32}
    assert {one.grad.dtype for one in divided.parameters() if one.grad is not None} == {torch.float32}


def test_whole_weights_can_be_loaded(make: Any) -> None:
    torch.manual_seed(3)
    other, divided = Tied(), make().prepare(Tied())
    divided.load_state_dict(other.state_dict())
    assert all(torch.equal(whole(one), other.state_dict()[name]) for name, one in divided.state_dict().items())


def test_weight_averages_work_on_sharded_models(make: Any) -> None:
    divided = make().prepare(Tied())
    averages = AveragedWeights(divided)
    averages.update(get_ema_multi_avg_fn(0.5))
    before = whole(divided.embed.weight.detach()).clone()
    with torch.no_grad():
        divided.embed.weight.add_(1)
    averages.update(get_ema_multi_avg_fn(0.5))
    averages.to_eval()
    torch.testing.assert_close(whole(divided.embed.weight.detach()), before + 0.5)
    averages.to_train()
    torch.testing.assert_close(whole(divided.embed.weight.detach()), before + 1)


def test_whole_averages_can_be_loaded(make: Any) -> None:
    torch.manual_seed(3)
    plain, divided = AveragedWeights(Tied()), AveragedWeights(make().prepare(Tied()))
    plain.update(None)
    divided.load_state_dict(plain.state_dict())
    saved, loaded = plain.state_dict()["averages"], divided.state_dict()["averages"]
    assert [is_sharded(one) for one in loaded] == [True] * 11 + [False] * 2, "running means are whole"
    assert all(torch.equal(whole(one), other) for one, other in zip(loaded, saved, strict=True))
    assert not [*differences(plain.state_dict(), divided.state_dict())]
    loaded[0].add_(1)
    assert [one.path for one in differences(plain.state_dict(), divided.state_dict())] == ["averages.0"]


@pytest.mark.parametrize("made", [torch.optim.AdamW, partial(torch.optim.SGD, momentum=0.9), torch.optim.RMSprop])
def test_the_whole_state_of_an_optimizer_can_be_loaded(make: Any, made: Any) -> None:
    """Then training goes on as it would have in one process."""
    torch.manual_seed(0)
    plain = Tied()
    first = made(plain.parameters(), lr=0.01)
    trained(plain, optimizer=first)
    divided = make(modules=["blocks.*"]).prepare(copy.deepcopy(plain))
    second = made(divided.parameters(), lr=0.01)
    divide_loaded(second, "it")
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert holds_shards(second.state_dict())
    assert not [*differences(first.state_dict(), second.state_dict())]
    assert trained(divided, optimizer=second) == pytest.approx(trained(plain, optimizer=first), rel=1e-6)


def test_a_state_that_has_no_parts_is_refused(make: Any) -> None:
    model = make().prepare(nn.Linear(3, 2))
    optimizer = torch.optim.Adafactor(model.parameters())
    divide_loaded(optimizer, "adafactor")
    other = nn.Linear(3, 2)
    state = torch.optim.Adafactor(other.parameters())
    other(torch.ones(1, 3)).sum().backward()
    state.step()
    with pytest.raises(UsageError, match=r"'row_var' of shape \[2, 1\] for a parameter of shape \[2, 3\]"):
        optimizer.load_state_dict(state.state_dict())


def test_a_second_process_group_is_refused(make: Any) -> None:
    make()
    with pytest.raises(UsageError, match="close the run before"):
        make()


def test_a_wrapper_that_is_no_whole_optimizer_is_refused() -> None:
    class Wrapper(torch.optim.Optimizer):
        def __init__(self) -> None:
            """As the wrappers of pytorch-optimizer: without that of torch."""

    with pytest.raises(UsageError, match="optimizer 'it' wraps another one"):
        divide_loaded(Wrapper(), "it")


class Mixing(torch.optim.SGD):
    """Adds a plain tensor to each parameter."""

    def step(self, closure: Any = None) -> None:
        if closure is not None:
            closure()
        for parameter in self.param_groups[0]["params"]:
            parameter.data.add_(torch.ones(parameter.shape))


@pytest.mark.parametrize("made", [torch.optim.Adafactor, torch.optim.Rprop, Mixing])
def test_an_optimizer_that_needs_whole_parameters_is_refused(make: Any, made: Any) -> None:
    model = make().prepare(nn.Linear(3, 2))
    optimizer = made(model.parameters(), lr=0.01)
    refuse_undivided(optimizer, "it")
    torch.optim.lr_scheduler.ConstantLR(optimizer)
    model(torch.ones(1, 3)).sum().backward()
    with pytest.raises(UsageError, match="optimizer 'it' cannot update parameters that are divided among processes"):
        optimizer.step()


def test_an_error_of_the_model_inside_a_step_is_not_the_optimizers(make: Any) -> None:
    class Wrong(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            raise RuntimeError("got mixed torch.Tensor and DTensor")

    model = make().prepare(Wrong(3, 2))
    optimizer = Mixing(model.parameters(), lr=0.01)
    refuse_undivided(optimizer, "it")
    with pytest.raises(RuntimeError, match="got mixed"):
        optimizer.step(lambda: model(torch.ones(1, 3)))


def test_sharded_tensors_are_recognised(make: Any) -> None:
    state = {"list": [make().prepare(nn.Linear(2, 1)).weight.detach()], "number": 1}
    assert holds_shards(state)
    assert not holds_shards({"list": [torch.ones(1)], "number": 1})
    assert is_sharded(state["list"][0])
    assert not is_sharded(local(state["list"][0]))
    assert not holds_shards(whole_state(state))
    plain = torch.ones(2)
    assert whole(plain) is local(plain) is plain


def test_units_by_size() -> None:
    model = Tied()
    assert _of_size(model, 100) == [model.blocks[0], model.blocks[1]]
    assert _of_size(model, 60) == [block[place] for block in model.blocks for place in (0, 3)]
    assert _of_size(model, 1000) == []
    attention = nn.Sequential(nn.MultiheadAttention(8, 2), nn.Linear(8, 8))
    assert _of_size(attention, 60) == list(attention), "its inner projection is never called"


def test_units_by_name() -> None:
    model = Tied()
    assert _named(model, ["blocks.*"]) == list(model.blocks)
    assert _named(model, ["blocks.*", "blocks.1.0"]) == [model.blocks[1][0], *model.blocks], "inner modules come first"
    with pytest.raises(UsageError, match=r"(?s)no module is called 'layers\.\*'.*embed, blocks"):
        _named(model, ["layers.*"])
    with pytest.raises(UsageError, match=r"'blocks' is never called\n  name the modules in it: blocks\.\*"):
        _named(model, ["blocks"])
    with pytest.raises(UsageError, match="'embed' shares a parameter with 'head'"):
        _named(model, ["embed"])


def test_invalid_options_and_models_are_refused(make: Any) -> None:
    with pytest.raises(UsageError, match="min_params is 0"):
        make(min_params=0)
    with pytest.raises(UsageError, match="cpu_offload is for CUDA, and the device is cpu"):
        make(cpu_offload=True)
    strategy = make(activation_checkpointing=True)
    with pytest.raises(UsageError, match=r"(?s)no module has 1,000,000 parameters.*--strategy\.modules"):
        strategy.prepare(nn.Linear(2, 1))
    with pytest.raises(UsageError, match="no parameters to train"):
        strategy.prepare(nn.ReLU())
    with pytest.raises(UsageError, match=r"(?s)'weight' is not.*channels_last"):
        strategy.prepare(nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last))
    scale = nn.Module()
    scale.register_parameter("scale", nn.Parameter(torch.tensor(1.0)))
    with pytest.raises(UsageError, match="parameter 'scale' is 0-d: use ddp"):
        strategy.prepare(scale)
