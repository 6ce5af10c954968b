from __future__ import annotations

import enum
import json
import math
import struct
import warnings
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

from wf.errors import UsageError
from wf_state.codec import HOLDS, MAX_DEPTH, CodecError, decode, encode
from wf_state.memory import View, clusters

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64,
    torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


def there_and_back(state: Any) -> Any:
    """Encode and decode through the bytes of both files."""
    document, tensors = encode(state)
    text = json.dumps(document, allow_nan=False)
    text.encode("ascii")
    loaded = safetensors.torch.load(safetensors.torch.save(tensors)) if tensors else {}
    back = decode(json.loads(text), loaded)
    again, tensors_again = encode(back)
    assert json.dumps(again) == text
    assert {name: raw(one) for name, one in tensors_again.items()} == {name: raw(one) for name, one in tensors.items()}
    return back


def raw(tensor: torch.Tensor) -> bytes:
    dense = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return bytes(dense.as_strided((dense.numel(),), (1,)).view(torch.uint8).tolist())


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape, one.requires_grad) == (other.dtype, other.shape, other.requires_grad)
        assert raw(one) == raw(other)
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    elif isinstance(one, np.generic):
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())
    elif isinstance(one, float):
        assert struct.pack("d", one) == struct.pack("d", other)
    elif isinstance(one, complex):
        assert_same([one.real, one.imag], [other.real, other.imag])
    elif isinstance(one, dict):
        assert_same(list(one), list(other))
        assert_same(list(one.values()), list(other.values()))
        assert getattr(one, "default_factory", None) is getattr(other, "default_factory", None)
    elif isinstance(one, list | tuple | deque):
        assert len(one) == len(other)
        assert getattr(one, "maxlen", None) == getattr(other, "maxlen", None)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, set | frozenset):
        assert_same(sorted(one, key=repr), sorted(other, key=repr))
    else:
        assert one == other


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Tensors of every dtype with any bits, some strided, some parameters."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    num_bytes = math.prod(shape) * dtype.itemsize
    data = draw(st.binary(min_size=num_bytes, max_size=num_bytes))
    if dtype == torch.bool:
        data = bytes(byte & 1 for byte in data)
    tensor = torch.tensor(list(data), dtype=torch.uint8).view(dtype).reshape(shape)
    form = draw(st.sampled_from(["plain", "transposed", "gaps", "expanded", "parameter", "requires_grad"]))
    if form == "transposed":
        return tensor.permute(tuple(reversed(range(tensor.dim()))))
    if form == "gaps" and tensor.dim():
        return tensor[::2]
    if form == "expanded":
        return tensor.expand(3, *shape)
    if form == "parameter":
        return nn.Parameter(tensor, requires_grad=False)
    if form == "requires_grad" and dtype.is_floating_point and dtype.itemsize > 1:
        return tensor.requires_grad_()
    return tensor


text = st.text(st.characters(codec=None, exclude_categories=()), max_size=6)
numpy_scalars = st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.int8, np.uint64, np.bool_]).flatmap(
    lambda kind: st.integers(0, 100).map(kind)
)
hashable_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), text, st.binary(max_size=5),
    st.sampled_from(DTYPES), st.sampled_from([torch.device("cpu"), torch.device("cuda", 1)]),
    st.complex_numbers(allow_nan=False), st.just("$"),
)  # fmt: skip
keys = st.one_of(hashable_scalars, st.tuples(hashable_scalars, st.integers()), st.frozensets(st.integers(), max_size=2))
scalars = st.one_of(
    hashable_scalars, st.floats(), st.complex_numbers(), numpy_scalars, tensors(),
    st.integers(min_value=-(10**30), max_value=10**30), st.lists(st.integers(0, 9), max_size=3).map(torch.Size),
    st.sampled_from([Path("a/b"), Path("/x y"), np.arange(6.0).reshape(2, 3).T, np.zeros((0, 2), np.int8)]),
    st.sets(keys, max_size=3), st.frozensets(keys, max_size=3),
)  # fmt: skip


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    mappings = st.dictionaries(keys, inner, max_size=3)
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.builds(deque, st.lists(inner, max_size=3), st.one_of(st.none(), st.integers(3, 9))),
        mappings,
        st.dictionaries(text, inner, max_size=3),
        mappings.map(OrderedDict),
        mappings.map(lambda items: defaultdict(list, items)),
        st.dictionaries(keys, st.integers(), max_size=3).map(Counter),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(scalars, containers, max_leaves=8))
def test_every_state_comes_back_bit_for_bit(state: Any) -> None:
    assert_same(there_and_back(state), state)


@given(st.integers(0, 2**64 - 1))
def test_every_bit_pattern_of_a_float_survives(bits: int) -> None:
    value = struct.unpack("d", struct.pack("Q", bits))[0]
    assert_same(there_and_back([value, np.float64(value), torch.tensor(value, dtype=torch.float64)])[0], value)


def test_plain_values_are_plain_json() -> None:
    state = {"a": [1, -0.0, 1e300, "ä", None, True], "b": {"c": 0.1}}
    assert encode(state) == ({"schema": 1, "value": state}, {})


@pytest.mark.parametrize(
    "value", [[2**63, -(2**63) - 1, 10**5000], 5e-324, -0.0, "\ud83d\ude00", {"$": 1}, {1: {True: 2}}]
)
def test_values_that_plain_json_would_change_survive(value: Any) -> None:
    assert_same(there_and_back([value])[0], value)


def test_tensors_are_named_by_their_path() -> None:
    one = torch.ones(2)
    _, tensors = encode({"parts": {"model": {"0.weight": one, "0.bias": one + 1}, 3: [one + 2]}})
    assert list(tensors) == ["parts.model.0.weight", "parts.model.0.bias", "parts.3.0"]


def test_names_do_not_depend_on_the_order_of_a_set() -> None:
    states = [{frozenset(order): torch.ones(1)} for order in ([0, 8], [8, 0])]
    assert list(encode(states[0])[1]) == list(encode(states[1])[1])


def test_names_that_clash_or_that_safetensors_reserves_are_changed() -> None:
    zero, one, two = torch.zeros(2), torch.ones(2), torch.full((2,), 2.0)
    state = {
        "a.b": zero,
        "a": {"b": one},
        "__metadata__": two,
        "\ud800": two + 1,
        "": two + 2,
        "0": two + 3,
        0: two + 4,
    }
    assert_same(there_and_back(state), state)


def test_contiguous_tensors_are_not_copied() -> None:
    weight = torch.ones(3, 2)
    assert encode([weight])[1]["0"].data_ptr() == weight.data_ptr()


class TestSharedMemory:
    def test_the_same_tensor_is_stored_once_and_stays_one(self) -> None:
        weight = torch.arange(6.0).reshape(2, 3)
        state = {"encoder": weight, "decoder": weight.detach(), "again": [weight]}
        assert len(encode(state)[1]) == 1
        back = there_and_back(state)
        back["encoder"][0, 0] = 9
        assert back["decoder"][0, 0] == back["again"][0][0, 0] == 9

    def test_a_parameter_and_its_data_share(self) -> None:
        parameter = nn.Parameter(torch.arange(3.0))
        back = there_and_back([parameter.data, parameter])
        back[0][1] = 7
        assert back[1][1] == 7
        assert isinstance(back[1], nn.Parameter)
        assert (back[0].requires_grad, back[1].requires_grad) == (False, True)

    def test_overlapping_views_of_any_dtype_share(self) -> None:
        buffer = torch.arange(12.0)
        state = [buffer[1:7], buffer[4:10:2], buffer.view(torch.int32)[5:6], buffer[3:9].reshape(2, 3).T]
        back = there_and_back(state)
        assert_same(back, state)
        assert [one.stride() for one in back] == [one.stride() for one in state]
        back[0][4] = -1.0  # element 5 of the buffer
        assert back[2].view(torch.float32).item() == -1
        assert back[3][2, 0] == -1

    def test_neighbouring_views_of_a_buffer_are_stored_separately(self) -> None:
        first, second = torch.arange(12.0).view(2, 6)
        _, tensors = encode({"first": first, "second": second})
        assert {name: tuple(one.shape) for name, one in tensors.items()} == {"first": (6,), "second": (6,)}

    def test_views_of_unaligned_memory_share(self) -> None:
        floats = torch.from_numpy(np.arange(41, dtype=np.uint8)[1:]).view(torch.float32)
        state = [floats, floats[2:5], floats.view(torch.uint8)[3:10]]
        back = there_and_back(state)
        assert_same(back, state)
        back[0][2] = -1.0
        assert back[1][0] == -1
        assert_same(back[2][5:7], back[0].view(torch.uint8)[8:10])

    def test_bytes_in_front_of_an_element_share_with_it(self) -> None:
        memory = torch.arange(12, dtype=torch.uint8)
        state = [memory[3:], memory[4:8].view(torch.float32)]
        back = there_and_back(state)
        assert_same(back, state)
        back[0][1:5] = 0
        assert back[1] == 0

    def test_overlapping_views_that_are_aligned_differently_keep_their_values(self) -> None:
        memory = np.arange(40, dtype=np.uint8)
        state = [torch.from_numpy(memory[9:17]).view(torch.float32), torch.from_numpy(memory[8:24]).view(torch.float64)]
        assert_same(decode(*encode(state)), state)  # no tensors of torch can share that memory

    def test_memory_need_not_end_with_a_whole_element(self) -> None:
        whole = torch.arange(11, dtype=torch.uint8)
        state = [whole, whole[:8].view(torch.float32)]
        assert_same(there_and_back(state), state)

    def test_a_row_of_a_large_table_is_stored_without_the_table(self) -> None:
        table = torch.zeros(1000, 1000)
        assert [one.numel() for one in encode([table[5], table[:, 7].clone()[::2]])[1].values()] == [1000, 500]

    def test_a_column_of_a_large_table_comes_back_without_the_table(self) -> None:
        (back,) = there_and_back([torch.arange(1e6).reshape(1000, 1000)[:, 7]])
        assert torch.equal(back, torch.arange(1e6)[7::1000])
        assert back.untyped_storage().nbytes() == 4000

    def test_empty_tensors_are_stored_separately(self) -> None:
        full = torch.ones(4)
        state = {"none": full[:0], "all": full, "rows": torch.zeros(0, 3), "last": full[2:2]}
        assert {name: tuple(one.shape) for name, one in encode(state)[1].items()} == {
            "none": (0,),
            "all": (4,),
            "rows": (0, 3),
            "last": (0,),
        }
        assert_same(there_and_back(state), state)

    def test_equal_addresses_on_two_devices_are_no_shared_memory(self) -> None:
        """A stand-in for two devices that count their addresses from the same number."""
        values = torch.ones(4)
        views = [View(values), View(values[1:]), View(values[:2]), View(values[2:])]
        assert {view.device for view in views} == {"cpu"}
        assert clusters(views) == [[0, 1, 2, 3]]
        for view in views[2:]:
            view.device = "second"
        assert clusters(views) == [[0, 1], [2], [3]]

    def test_expanded_tensors_stay_small_and_shared(self) -> None:
        state = torch.tensor([[1.5], [2.5]]).expand(2, 1000)
        _, tensors = encode([state])
        assert sum(one.numel() * one.element_size() for one in tensors.values()) < 64
        back = there_and_back([state])[0]
        assert back.stride() == (1, 0)
        assert torch.equal(back, state)


def test_dense_strides_are_kept() -> None:
    image = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    back = there_and_back({"image": image, "matrix": torch.rand(3, 2).T, "wide": torch.arange(6).reshape(3, 2).T})
    assert back["image"].is_contiguous(memory_format=torch.channels_last)
    assert back["matrix"].stride() == (1, 2)
    assert torch.equal(back["image"], image)
    assert_same(back["wide"], torch.arange(6).reshape(3, 2).T)


def test_the_stride_of_a_dimension_with_one_element_does_not_matter() -> None:
    document, tensors = encode(torch.ones(3).as_strided((3, 1), (1, 0)))
    assert document == encode(torch.ones(3, 1))[0]
    assert_same(tensors, {"state": torch.ones(3, 1)})


def test_lazily_conjugated_and_negated_tensors_keep_their_values() -> None:
    value = torch.tensor([1 + 2j, 3 - 4j])
    assert_same(there_and_back([value.conj(), value.conj().imag]), [value.conj(), value.conj().imag])


def test_a_module_keeps_the_versions_of_its_modules() -> None:
    state = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).state_dict()
    back = there_and_back({"model": state})["model"]
    assert_same(back, state)
    assert back._metadata == state._metadata  # type: ignore[attr-defined]  # torch sets it


def test_generator_states_survive() -> None:
    import random

    state = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": np.random.RandomState(1).get_state()}
    assert_same(there_and_back(state), state)


class _Object:
    pass


class _Colour(enum.IntEnum):
    RED = 1


_Pair = namedtuple("_Pair", "a b")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (_Object(), "an object of type .*_Object cannot be saved"),
        (_Colour.RED, "_Colour"),
        (_Pair(1, 2), "_Pair"),
        (lambda: 0, "function"),
        (torch.zeros(2).to_sparse(), "only dense tensors"),
        (torch.zeros(2, device="meta"), "only dense tensors"),
        (torch.ones(2, requires_grad=True) * 2, "detach"),
        (np.array([object()]), "numpy array of object"),
        (np.array(["a"]), "numpy array of <U1"),
        (defaultdict(lambda: 0), "defaultdict of"),
        ({torch.zeros(1): 1}, "cannot be saved as a key"),
        (np.str_("a"), "numpy.str_"),
    ],
)
def test_unsupported_values_are_refused_with_their_path(value: Any, message: str) -> None:
    with pytest.raises(CodecError, match=rf"^parts\.optimizer\.state\.0\.foo.*{message}") as caught:
        encode({"parts": {"optimizer": {"state": {0: {"foo": value}}}}})
    assert isinstance(caught.value, UsageError)


def test_a_state_that_holds_itself_is_refused() -> None:
    state: dict[str, Any] = {}
    state["self"] = [state]
    with pytest.raises(CodecError, match="does it hold itself"):
        encode(state)


def test_the_deepest_nesting_allowed_survives_json() -> None:
    state: Any = 1.5
    for _ in range(50):
        state = ({0: state},)
    assert_same(there_and_back(state), state)


@pytest.mark.parametrize(
    "document",
    [
        {"schema": 2, "value": 1}, {}, [], {"schema": 1}, {"schema": 1, "value": {"$": "os.system"}},
        {"schema": 1, "value": {"$": "tensor", "name": "gone"}}, {"schema": 1, "value": {"$": "dtype", "name": "load"}},
        {"schema": 1, "value": {"$": "tuple"}}, {"schema": 1, "value": {"$": "numpy", "dtype": "O", "hex": "00" * 8}},
        {"schema": 1, "value": {"$": "set", "items": [[]]}}, {"schema": 1, "value": {"$": ["set"]}},
        {"schema": 1, "value": {"$": "float", "hex": "00"}}, {"schema": 1, "value": {"$": "bytes", "base64": "%"}},
        {"schema": 1, "value": {"$": "tensor", "name": "t", "dtype": "float32", "offset": 0, "bytes": 4, "shape": [99],
                                "stride": [1]}},
    ],
)  # fmt: skip
def test_a_damaged_document_raises_codec_error(document: Any) -> None:
    with pytest.raises(CodecError):
        decode(document, {"t": torch.zeros(4, dtype=torch.uint8)})


def _fresh(name: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(dtype)
    return model, OPTIMIZERS[name](model.parameters())


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    inputs = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(seed)).to(next(model.parameters()).dtype)
    for batch in inputs:

        def closure(batch: torch.Tensor = batch) -> float:
            optimizer.zero_grad()
            loss = model(batch).square().sum()
            loss.backward()
            return loss.item()  # type: ignore[no-any-return]  # it is a float

        optimizer.step(closure)


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adam-tensor-lr": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), foreach=False),
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": lambda p: torch.optim.RMSprop(p, momentum=0.9, centered=True),
    "rprop": torch.optim.Rprop,
    "asgd": torch.optim.ASGD,
    "adafactor": torch.optim.Adafactor,
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.01, history_size=3, max_iter=2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_restored_optimizers_continue_to_the_bit(name: str) -> None:
    model, optimizer = _fresh(name)
    _train(model, optimizer, seed=0)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    back = there_and_back(state)
    assert_same(back, state)
    other_model, other = _fresh(name)
    other_model.load_state_dict(back["model"])
    other.load_state_dict(back["optimizer"])
    for one in ((model, optimizer), (other_model, other)):
        _train(*one, seed=1)
    assert_same(other_model.state_dict(), model.state_dict())
    assert_same(other.state_dict(), optimizer.state_dict())


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adafactor", "rprop"])
def test_optimizers_of_bfloat16_come_back(name: str) -> None:
    model, optimizer = _fresh(name, torch.bfloat16)
    _train(model, optimizer, seed=0)
    assert_same(there_and_back(optimizer.state_dict()), optimizer.state_dict())


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 2, 5], gamma=0.1),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
        lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o),
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o, total_iters=2), torch.optim.lr_scheduler.MultiStepLR(o, [3])],
            milestones=[2],
        ),
    ],
)
def test_restored_schedulers_continue_to_the_bit(make: Any) -> None:
    def fresh() -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.5)
        return optimizer, make(optimizer)

    def rates(optimizer: torch.optim.Optimizer, scheduler: Any, num: int) -> list[float]:
        seen = []
        for _ in range(num):
            optimizer.step()
            plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
            scheduler.step(1.0) if plateau else scheduler.step()
            seen.append(float(optimizer.param_groups[0]["lr"]))
        return seen

    optimizer, scheduler = fresh()
    rates(optimizer, scheduler, 1)
    state = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    back = there_and_back(state)
    assert_same(back, state)
    other_optimizer, other = fresh()
    other_optimizer.load_state_dict(back["optimizer"])
    other.load_state_dict(back["scheduler"])
    assert rates(other_optimizer, other, 6) == rates(optimizer, scheduler, 6)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the state is written in schema None, and this wf reads schema 1"),
        ({}, "the state is written in schema None, and this wf reads schema 1"),
        ({"schema": 2, "value": 1}, "the state is written in schema 2, and this wf reads schema 1"),
        ({"schema": 1, "value": {"$": "os.system"}}, "the state holds a 'os.system', which this wf does not know"),
        ({"schema": 1}, "the state's document is damaged: KeyError: 'value'"),
        ({"schema": 1, "value": {"$": "dtype", "name": "load"}}, "'load' is no dtype of torch"),
        ({"schema": 1, "value": {"$": "numpy", "dtype": "<U1", "hex": ""}}, "'<U1' is no numpy dtype of numbers"),
    ],
)
def test_unreadable_documents_are_refused_with_the_reason(document: Any, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode(document, {})
    assert str(caught.value) == message


@pytest.fixture(scope="module")
def mesh() -> Iterator[DeviceMesh]:
    """Two processes, of which the other one is made up."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield init_device_mesh("cpu", (2,))
    torch.distributed.destroy_process_group()


class TestDivided:
    """Tensors that are divided among processes: here is the first of two."""

    def divided(self, mesh: DeviceMesh, part: torch.Tensor, placement: Any = None) -> DTensor:
        return DTensor.from_local(part, mesh, [placement or Shard(0)], run_check=False)

    def test_a_divided_tensor_is_encoded_like_a_whole_one(self, mesh: DeviceMesh) -> None:
        part = torch.arange(6.0).reshape(2, 3)
        tensor = self.divided(mesh, part)
        document, tensors = encode({"a": {"weight": tensor}, "whole": torch.ones(4)})
        assert document["value"]["a"] == {"weight": {"$": "tensor", "name": "a.weight"}}
        stored = tensors["a.weight"]
        assert isinstance(stored, DTensor)
        assert stored.shape == (4, 3)
        assert torch.equal(stored.to_local(), part)
        assert type(tensors["whole"]) is torch.Tensor

    def test_a_divided_parameter_keeps_its_type_and_requires_grad(self, mesh: DeviceMesh) -> None:
        tensor = self.divided(mesh, torch.ones(2))
        state = [nn.Parameter(tensor), nn.Parameter(tensor.clone(), requires_grad=False), tensor.clone()]
        state.append(tensor.clone().requires_grad_())
        document, tensors = encode(state)
        assert document["value"] == [
            {"$": "parameter", "requires_grad": True, "name": "0"},
            {"$": "parameter", "name": "1"},
            {"$": "tensor", "name": "2"},
            {"$": "tensor", "requires_grad": True, "name": "3"},
        ]
        assert not any(one.requires_grad for one in tensors.values())

    def test_one_tensor_under_two_names_is_stored_once(self, mesh: DeviceMesh) -> None:
        tensor = self.divided(mesh, torch.ones(2, 3))
        document, tensors = encode({"one": tensor, "other": tensor.detach()})
        assert document["value"] == {name: {"$": "tensor", "name": "one"} for name in ("one", "other")}
        assert list(tensors) == ["one"]

    def test_overlapping_divided_tensors_are_refused(self, mesh: DeviceMesh) -> None:
        part = torch.ones(4, 4)
        tensor = self.divided(mesh, part)
        message = "^a: a tensor that is divided among processes overlaps with another one$"
        for other in (
            self.divided(mesh, part, Shard(1)),  # the same bytes of another tensor
            self.divided(mesh, part, Replicate()),
            self.divided(mesh, part[1:]),
            self.divided(mesh, part.view(2, 8)),
            self.divided(mesh, part.T),
            part,
            part[1],
        ):
            with pytest.raises(CodecError, match=message):
                encode({"a": tensor, "b": other})

    def test_unsaveable_divided_tensors_are_refused(self, mesh: DeviceMesh) -> None:
        for tensor, message in (
            (self.divided(mesh, torch.ones(2), Partial()), "a tensor whose parts have yet to be added up cannot be"),
            (
                self.divided(mesh, torch.ones(2).requires_grad_()) * 2,
                "a tensor with a graph behind it cannot be saved; ",
            ),
            (self.divided(mesh, torch.ones(2, dtype=torch.complex64)), "a tensor of torch.complex64 that is divided"),
        ):
            with pytest.raises(CodecError, match=rf"^a\.b: {message}"):
                encode({"a": {"b": tensor}})


@pytest.mark.parametrize(
    ("value", "node"),
    [
        *(
            (plain, plain)
            for plain in (None, True, False, 0, -1, 2**63 - 1, -(2**63), 0.5, "", "ä\ud7ff\ue000", [1, [2]])
        ),
        (2**63, {"$": "int", "hex": "0x8000000000000000"}),
        (-(2**63) - 1, {"$": "int", "hex": "-0x8000000000000001"}),
        (math.inf, {"$": "float", "hex": "7ff0000000000000"}),
        (1 - 2j, {"$": "complex", "hex": "3ff0000000000000c000000000000000"}),
        ("\ud800", {"$": "str", "hex": "eda080"}),
        ("a\udfff", {"$": "str", "hex": "61edbfbf"}),
        (b"\xff\x00", {"$": "bytes", "base64": "/wA="}),
        ((1, ()), {"$": "tuple", "items": [1, {"$": "tuple", "items": []}]}),
        (torch.Size([2, 3]), {"$": "Size", "items": [2, 3]}),
        ({10, 9, "a"}, {"$": "set", "items": ["a", 10, 9]}),
        (frozenset({(2,), (1,)}), {"$": "frozenset", "items": [{"$": "tuple", "items": [n]} for n in (1, 2)]}),
        (deque([1], 3), {"$": "deque", "maxlen": 3, "items": [1]}),
        ({"a": 1, "ä": None}, {"a": 1, "ä": None}),
        ({"$": 1}, {"$": "dict", "items": [["$", 1]]}),
        ({"a": 1, 2: "b"}, {"$": "dict", "items": [["a", 1], [2, "b"]]}),
        ({"\udc00": 1}, {"$": "dict", "items": [[{"$": "str", "hex": "edb080"}, 1]]}),
        (OrderedDict(b=1, a=2), {"$": "OrderedDict", "items": [["b", 1], ["a", 2]]}),
        (Counter("aab"), {"$": "Counter", "items": [["a", 2], ["b", 1]]}),
        (defaultdict(list, a=[1]), {"$": "defaultdict", "items": [["a", [1]]], "factory": "list"}),
        (defaultdict(None), {"$": "defaultdict", "items": [], "factory": None}),
        (Path("a/b"), {"$": "Path", "path": "a/b"}),
        (Path("\udcff"), {"$": "Path", "path": {"$": "str", "hex": "edb3bf"}}),
        (np.float32(1), {"$": "numpy", "dtype": "<f4", "hex": "0000803f"}),
        (torch.bfloat16, {"$": "dtype", "name": "bfloat16"}),
        (torch.device("cuda", 1), {"$": "device", "name": "cuda:1"}),
        (np.zeros((2, 0), np.int16), {"$": "ndarray", "dtype": "<i2", "shape": [2, 0], "name": "state"}),
        (torch.ones(2), {"$": "tensor", "name": "state"}),
        (torch.ones(2, requires_grad=True), {"$": "tensor", "requires_grad": True, "name": "state"}),
        (nn.Parameter(torch.ones(2)), {"$": "parameter", "requires_grad": True, "name": "state"}),
        (nn.Parameter(torch.ones(2), False), {"$": "parameter", "name": "state"}),
        (torch.ones(2, 3).T, {"$": "tensor", "name": "state", "stride": [1, 3]}),
    ],
)
def test_the_encoding_of_each_value_is_stable(value: Any, node: Any) -> None:
    """Checkpoints are read by later versions."""
    document, tensors = encode(value)
    assert document == {"schema": 1, "value": node}
    assert list(tensors) == ["state"] * isinstance(value, torch.Tensor | np.ndarray)
    assert_same(decode(json.loads(json.dumps(document)), tensors), value)


def test_the_attributes_of_an_ordered_dict_are_those_of_torch() -> None:
    state = OrderedDict(a=1)
    state._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]  # as torch sets it
    document, _ = encode({"model": state})
    node = {"$": "OrderedDict", "items": [["a", 1]], "metadata": {"": {"version": 2}}}
    assert document["value"] == {"model": node}
    state._metadata = {"": object()}  # type: ignore[attr-defined]  # as above
    with pytest.raises(CodecError, match=r"^model\._metadata\.: an object of type object cannot be saved"):
        encode({"model": state})
    state._metadata = None  # type: ignore[attr-defined]  # as above
    state.b = state.a = 1  # type: ignore[attr-defined]  # one's own
    with pytest.raises(CodecError) as caught:
        encode({"model": state})
    assert str(caught.value) == "model: an OrderedDict with attributes ['a', 'b'] cannot be saved"
    del state._metadata  # type: ignore[attr-defined]  # as above
    with pytest.raises(CodecError, match=r"attributes \['a', 'b'\]"):
        encode({"model": state})
    assert vars(state) == {"a": 1, "b": 1}


def test_the_names_of_tensors_are_stable() -> None:
    def numbered(*keys: Any) -> dict[Any, Any]:
        return {key: torch.full((2,), float(number)) for number, key in enumerate(keys)}

    state = numbered("a.b", "", (1, "x"), "__metadata__", "\ud800", 0, "0", frozenset({2, 1}))
    state |= {"a": {"b": torch.ones(1), "b#2": torch.ones(1)}, "l": [[torch.zeros(1)], np.ones(3)]}
    names = [*("a.b", "state", '{"$": "tuple", "items": [1, "x"]}', "__metadata__#2", "\\ud800", "0", "0#2")]
    names += ['{"$": "frozenset", "items": [1, 2]}', "a.b#2", "a.b#2#2", "l.0.0", "l.1"]
    assert list(encode(state)[1]) == names
    same = encode({"x.y": torch.zeros(1), "x": {"y": torch.ones(1)}, "x.y#2": torch.ones(2)})[1]
    assert list(same) == ["x.y", "x.y#2", "x.y#2#2"]
    assert list(encode({"a": {"b": torch.zeros(1)}, "a.b": {"": 1}, ("a",): {"b": 1}, "a.b.c": 1})[1]) == ["a.b"]
    three = encode({"a": {"b": {"c": torch.zeros(1)}, "b.c": torch.ones(1)}, "a.b": {"c": torch.ones(2)}})[1]
    assert list(three) == ["a.b.c", "a.b.c#2", "a.b.c#3"]


def quietly(make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """A tensor of a kind that torch warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (len, f"state: an object of type builtin_function_or_method cannot be saved\n  a state may hold: {HOLDS}"),
        (
            {"a": [0, np.datetime64("2020")]},
            f"a.1: an object of type numpy.datetime64 cannot be saved\n  a state may hold: {HOLDS}",
        ),
        ({"a": np.array(["x"])}, "a: a numpy array of <U1 cannot be saved, only numbers can"),
        ({"a": {1: {torch.Size: 0}}}, f"a.1: an object of type type cannot be saved\n  a state may hold: {HOLDS}"),
        ({"a": {torch.ones(1)}}, "a: a tensor or array cannot be saved as a key or in a set"),
        (
            {"a": torch.zeros(2).to_sparse()},
            "a: only dense tensors with values can be saved, this one is torch.sparse_coo, torch.float32 on cpu",
        ),
        (
            {"a": quietly(lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]))},
            "a: only dense tensors with values can be saved, this one is torch.strided, torch.float32 on cpu",
        ),
        (
            {"a": quietly(lambda: torch.quantize_per_tensor(torch.ones(1), 0.1, 0, torch.qint8))},
            "a: only dense tensors with values can be saved, this one is torch.strided, torch.qint8 on cpu",
        ),
        (
            {"a": torch.ones(1, device="meta")},
            "a: only dense tensors with values can be saved, this one is torch.strided, torch.float32 on meta",
        ),
        (
            {"a": torch.ones(1, requires_grad=True) * 2},
            "a: a tensor with a graph behind it cannot be saved; detach() it first",
        ),
        (
            {"a": defaultdict(Path)},
            f"a: a defaultdict of {Path!r}; allowed are None, bool, dict, float, int, list, set, str, tuple",
        ),
    ],
)  # fmt: skip
def test_unsaveable_values_are_refused_with_their_path_and_reason(state: Any, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        encode(state)
    assert str(caught.value) == message


def test_a_factory_of_the_same_name_as_an_allowed_one_is_refused() -> None:
    def list() -> Any: ...

    with pytest.raises(CodecError, match="a defaultdict of"):
        encode(defaultdict(list))


def test_nesting_up_to_the_maximum_depth_is_saved() -> None:
    def nested(levels: int) -> Any:
        state: Any = 1
        for _ in range(levels):
            state = [state]
        return state

    assert_same(there_and_back(nested(MAX_DEPTH)), nested(MAX_DEPTH))
    with pytest.raises(CodecError) as caught:
        encode(nested(MAX_DEPTH + 1))
    assert str(caught.value) == "0.0.0.0...: nested deeper than 100 levels; does it hold itself?"


def test_an_array_is_stored_as_its_bytes() -> None:
    array = np.array([[1, -2], [3, 300]], np.int16)[:, 1:]
    _, tensors = encode(array)
    assert tensors["state"].dtype == torch.uint8
    assert bytes(tensors["state"].tolist()) == array.tobytes()
    assert_same(there_and_back([array, np.array([7], np.int8)]), [array, np.array([7], np.int8)])
