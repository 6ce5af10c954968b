"""A state as a JSON document and named tensors, and back, bit for bit and type for type. Never a pickle.

What a document holds is a closed list, `HOLDS`; `encode` refuses everything else by its path. The choices:

- A value that JSON keeps exactly is plain JSON: None, booleans, ints below 2**63, finite floats (their repr is
  exact), strings, lists, and dicts whose keys are strings. All else is an object with a tag: ``{"$": "tuple", ...}``.
- Types are exact: a named tuple, an enum or another subclass is refused, because it would come back as its base.
- A tensor comes back on the CPU. A device is where a run computes, not part of its state.
- Tensors that share memory share it again, also where they overlap only in part: the bytes that they span are stored
  once. Containers that occur twice come back as two.
- Strides are kept where the elements lie densely (transposed, channels_last) or share memory; a tensor with gaps comes
  back contiguous.
- Elements of a set have no order; they are written sorted, so that equal states give equal documents.
- A tensor that is divided among processes (a DTensor) has the node of a whole one: which part a process holds is said
  where its bytes are. It may share memory with another one of the same shape only.
"""

from __future__ import annotations

import base64
import json
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from wf.errors import UsageError
from wf_base.shards import is_sharded, local
from wf_state.memory import STORED_AS_IS, View, clusters, dtype_name, restore, restore_view, store

SCHEMA = 1
"""The version of the document's form."""

HOLDS = (
    "None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, OrderedDict, Counter, "
    "defaultdict, deque, Path, numpy numbers and arrays of them, torch tensors, parameters, dtypes, devices and sizes"
)
"""The types that a document can hold."""

MAX_DEPTH = 100
"""Levels of nesting."""

_TAG = "$"
_FACTORIES = {kind.__name__: kind for kind in (bool, dict, float, int, list, set, str, tuple)}
KeyPath = tuple[str, ...]


class CodecError(UsageError):
    """A value that a document cannot hold, or a document that cannot be read."""


def encode(state: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The state as a JSON document and contiguous tensors by name, fit for safetensors.

    A tensor that is contiguous is not copied: write it before the state changes.

    Raises:
        CodecError: For a value that is not on the list, naming its path.
    """
    encoder = _Encoder()
    value = encoder.value(state, ())
    return {"schema": SCHEMA, "value": value}, encoder.store()


def decode(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """The state that `encode` was given; it may share memory with `tensors`.

    Raises:
        CodecError: For a document of another schema or one that does not fit the tensors.
    """
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, Mapping) else None
        raise CodecError(f"the state is written in schema {found}, and this wf reads schema {SCHEMA}")
    try:
        return _Decoder(tensors).value(document["value"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, struct.error) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(f"the state's document is damaged: {type(error).__name__}: {error}") from error


class _Encoder:
    """Turns values into nodes, and remembers the tensors' nodes until `store` names them."""

    def __init__(self) -> None:
        self.found: list[tuple[View, dict[str, Any], KeyPath]] = []
        self.sharded: dict[int, Tensor] = {}
        """Divided tensors by the number of their view, which is that of this process's part."""

    def value(self, value: Any, path: KeyPath) -> Any:
        if len(path) > MAX_DEPTH:
            raise CodecError(f"{_text(path[:4])}...: nested deeper than {MAX_DEPTH} levels; does it hold itself?")
        if value is None or type(value) is bool:
            return value
        if write := _WRITERS.get(type(value)):
            return write(self, value, path)
        if is_sharded(value):
            return _write_sharded(self, value, path)
        if isinstance(value, np.generic) and value.dtype.kind in "biufc":
            return {_TAG: "numpy", "dtype": value.dtype.str, "hex": value.tobytes().hex()}
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise CodecError(f"{_text(path)}: an object of type {kind} cannot be saved\n  a state may hold: {HOLDS}")

    def values(self, values: Iterable[Any], path: KeyPath) -> list[Any]:
        return [self.value(value, (*path, str(number))) for number, value in enumerate(values)]

    def items(self, mapping: Mapping[Any, Any], path: KeyPath) -> list[list[Any]]:
        items = []
        for key, value in mapping.items():
            node = self.key(key, path)
            text = key if type(key) is str else _sort_key(node)  # a repr would show a set in any order
            items.append([node, self.value(value, (*path, text))])
        return items

    def key(self, key: Any, path: KeyPath) -> Any:
        """A key or an element of a set: its node must be complete at once, so it holds no tensor."""
        num_found = len(self.found)
        node = self.value(key, path)
        if len(self.found) > num_found:
            raise CodecError(f"{_text(path)}: a tensor or array cannot be saved as a key or in a set")
        return node

    def tensor(self, value: Tensor, node: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        self.found.append((View(value), node, path))
        return node

    def store(self) -> dict[str, Tensor]:
        """The tensors by name; completes their nodes."""
        stored: dict[str, Tensor] = {}
        for cluster in clusters([view for view, _, _ in self.found]):
            nodes = [self.found[number] for number in cluster]
            views = [view for view, _, _ in nodes]
            name = _new_name(nodes[0][2], stored)
            if divided := [self.sharded[number] for number in cluster if number in self.sharded]:
                _check_same(divided, views, nodes[0][2])
                stored[name] = divided[0].contiguous()
                places: list[dict[str, Any]] = [{} for _ in views]
            else:
                stored[name], places = store(views)
            for (_, node, _), place in zip(nodes, places, strict=True):
                node.update(name=name, **place)
        return stored


def _new_name(path: KeyPath, taken: Mapping[str, Tensor]) -> str:
    name = _text(path).encode("utf-8", "backslashreplace").decode()
    candidate, number = name, 2
    while candidate in taken or candidate == "__metadata__":  # the latter is safetensors' own
        candidate, number = f"{name}#{number}", number + 1
    return candidate


def _text(path: KeyPath) -> str:
    return ".".join(path) or "state"


def _sort_key(node: Any) -> str:
    return json.dumps(node, sort_keys=True)


def _is_plain(text: str) -> bool:
    """Two lone surrogates side by side would come out of JSON as one character."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _write_int(encoder: _Encoder, value: int, path: KeyPath) -> Any:
    return value if -(1 << 63) <= value < 1 << 63 else {_TAG: "int", "hex": hex(value)}


def _write_float(encoder: _Encoder, value: float, path: KeyPath) -> Any:
    if value - value == 0:  # finite
        return value
    return {_TAG: "float", "hex": struct.pack(">d", value).hex()}


def _write_complex(encoder: _Encoder, value: complex, path: KeyPath) -> Any:
    return {_TAG: "complex", "hex": struct.pack(">dd", value.real, value.imag).hex()}


def _write_str(encoder: _Encoder, value: str, path: KeyPath) -> Any:
    if value.isascii() or _is_plain(value):
        return value
    return {_TAG: "str", "hex": value.encode("utf-8", "surrogatepass").hex()}


def _write_bytes(encoder: _Encoder, value: bytes, path: KeyPath) -> Any:
    return {_TAG: "bytes", "base64": base64.b64encode(value).decode()}


def _write_list(encoder: _Encoder, value: list[Any], path: KeyPath) -> Any:
    return encoder.values(value, path)


def _write_sequence(encoder: _Encoder, value: Any, path: KeyPath) -> Any:
    return {_TAG: type(value).__name__, "items": encoder.values(value, path)}


def _write_set(encoder: _Encoder, value: Any, path: KeyPath) -> Any:
    return {_TAG: type(value).__name__, "items": sorted((encoder.key(one, path) for one in value), key=_sort_key)}


def _write_deque(encoder: _Encoder, value: deque[Any], path: KeyPath) -> Any:
    return {_TAG: "deque", "maxlen": value.maxlen, "items": encoder.values(value, path)}


def _write_dict(encoder: _Encoder, value: dict[Any, Any], path: KeyPath) -> Any:
    if all(type(key) is str and key != _TAG and (key.isascii() or _is_plain(key)) for key in value):
        return {key: encoder.value(one, (*path, key)) for key, one in value.items()}
    return _write_mapping(encoder, value, path)


def _write_mapping(encoder: _Encoder, value: Any, path: KeyPath) -> dict[str, Any]:
    return {_TAG: type(value).__name__, "items": encoder.items(value, path)}


def _write_ordered_dict(encoder: _Encoder, value: OrderedDict[Any, Any], path: KeyPath) -> Any:
    node = _write_mapping(encoder, value, path)
    if attributes := vars(value).copy():  # a module's state_dict carries the versions of its modules there
        node["metadata"] = encoder.value(attributes.pop("_metadata", None), (*path, "_metadata"))
        if attributes:
            raise CodecError(f"{_text(path)}: an OrderedDict with attributes {sorted(attributes)} cannot be saved")
    return node


def _write_defaultdict(encoder: _Encoder, value: defaultdict[Any, Any], path: KeyPath) -> Any:
    factory = getattr(value.default_factory, "__name__", None)
    if value.default_factory is not None and _FACTORIES.get(str(factory)) is not value.default_factory:
        allowed = ", ".join(_FACTORIES)
        raise CodecError(f"{_text(path)}: a defaultdict of {value.default_factory!r}; allowed are None, {allowed}")
    return {**_write_mapping(encoder, value, path), "factory": factory}


def _write_path(encoder: _Encoder, value: Path, path: KeyPath) -> Any:
    return {_TAG: "Path", "path": encoder.value(str(value), path)}


def _write_dtype(encoder: _Encoder, value: torch.dtype, path: KeyPath) -> Any:
    return {_TAG: "dtype", "name": dtype_name(value)}


def _write_device(encoder: _Encoder, value: torch.device, path: KeyPath) -> Any:
    return {_TAG: "device", "name": str(value)}


def _write_array(encoder: _Encoder, value: np.ndarray[Any, Any], path: KeyPath) -> Any:
    if value.dtype.kind not in "biufc":
        raise CodecError(f"{_text(path)}: a numpy array of {value.dtype} cannot be saved, only numbers can")
    node = {_TAG: "ndarray", "dtype": value.dtype.str, "shape": list(value.shape)}
    return encoder.tensor(torch.from_numpy(np.frombuffer(value.tobytes(), np.uint8).copy()), node, path)


def _write_tensor(encoder: _Encoder, value: Tensor, path: KeyPath) -> Any:
    if value.layout is not torch.strided or value.is_quantized or value.is_nested or value.device.type == "meta":
        raise CodecError(f"{_text(path)}: only dense tensors with values can be saved, this one is {_kind(value)}")
    if value.grad_fn is not None:
        raise CodecError(f"{_text(path)}: a tensor with a graph behind it cannot be saved; detach() it first")
    node: dict[str, Any] = {_TAG: "parameter" if type(value) is Parameter else "tensor"}
    if value.requires_grad:
        node["requires_grad"] = True
    return encoder.tensor(value, node, path)


def _write_sharded(encoder: _Encoder, value: Tensor, path: KeyPath) -> Any:
    if any(placement.is_partial() for placement in value.placements):  # type: ignore[attr-defined]  # a DTensor's
        raise CodecError(f"{_text(path)}: a tensor whose parts have yet to be added up cannot be saved")
    if value.grad_fn is not None:
        raise CodecError(f"{_text(path)}: a tensor with a graph behind it cannot be saved; detach() it first")
    if value.dtype not in STORED_AS_IS:
        raise CodecError(f"{_text(path)}: a tensor of {value.dtype} that is divided among processes cannot be saved")
    encoder.sharded[len(encoder.found)] = value.detach()
    node: dict[str, Any] = {_TAG: "parameter" if isinstance(value, Parameter) else "tensor"}
    if value.requires_grad:
        node["requires_grad"] = True
    return encoder.tensor(local(value), node, path)


def _check_same(divided: list[Tensor], views: list[View], path: KeyPath) -> None:
    """Refuse divided tensors that share memory, but are not one and the same."""
    first = divided[0]
    alike = all((one.shape, one.placements) == (first.shape, first.placements) for one in divided)  # type: ignore[attr-defined]  # a DTensor's
    if not alike or len(divided) < len(views) or any(view.place != views[0].place for view in views):
        raise CodecError(f"{_text(path)}: a tensor that is divided among processes overlaps with another one")


def _kind(tensor: Tensor) -> str:
    return f"{tensor.layout}, {tensor.dtype} on {tensor.device}"


_WRITERS: dict[type, Callable[[_Encoder, Any, KeyPath], Any]] = {
    int: _write_int,
    float: _write_float,
    complex: _write_complex,
    str: _write_str,
    bytes: _write_bytes,
    list: _write_list,
    tuple: _write_sequence,
    torch.Size: _write_sequence,
    set: _write_set,
    frozenset: _write_set,
    deque: _write_deque,
    dict: _write_dict,
    OrderedDict: _write_ordered_dict,
    Counter: _write_mapping,
    defaultdict: _write_defaultdict,
    type(Path()): _write_path,
    torch.dtype: _write_dtype,
    torch.device: _write_device,
    np.ndarray: _write_array,
    Tensor: _write_tensor,
    Parameter: _write_tensor,
}


class _Decoder:
    """Turns nodes into values; nodes of the same memory become tensors that share it."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.made: dict[str, Tensor] = {}

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.value(one) for one in node]
        if not isinstance(node, dict):
            return node
        if _TAG not in node:
            return {key: self.value(one) for key, one in node.items()}
        if (read := _READERS.get(node[_TAG])) is None:
            raise CodecError(f"the state holds a '{node[_TAG]}', which this wf does not know")
        return read(self, node)

    def values(self, node: dict[str, Any]) -> Iterator[Any]:
        return (self.value(one) for one in node["items"])

    def items(self, node: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        return ((self.value(key), self.value(one)) for key, one in node["items"])

    def tensor(self, node: dict[str, Any]) -> Tensor:
        place = {key: one for key, one in node.items() if key not in (_TAG, "requires_grad")}
        data = self._made(place, lambda: self._data(place))
        requires_grad = bool(node.get("requires_grad", False))
        if node[_TAG] == "parameter":
            return self._made(node, lambda: Parameter(data.detach(), requires_grad))
        return self._made(node, lambda: data.detach().requires_grad_()) if requires_grad else data

    def _made(self, node: dict[str, Any], make: Callable[[], Tensor]) -> Tensor:
        key = _sort_key(node)
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def _data(self, node: dict[str, Any]) -> Tensor:
        tensor = self.tensors[node["name"]]
        if "offset" not in node:
            return restore(tensor, node.get("stride"))
        memory = self._made({"memory": node["name"]}, tensor.clone)
        dtype = _read_dtype(self, {"name": node["dtype"]})
        return restore_view(memory, dtype, node["offset"], node["shape"], node["stride"])


def _read_dtype(decoder: _Decoder, node: dict[str, Any]) -> torch.dtype:
    dtype = getattr(torch, node["name"])
    if not isinstance(dtype, torch.dtype):
        raise CodecError(f"'{node['name']}' is no dtype of torch")
    return dtype


def _read_ordered_dict(decoder: _Decoder, node: dict[str, Any]) -> OrderedDict[Any, Any]:
    mapping = OrderedDict(decoder.items(node))
    if "metadata" in node:
        mapping._metadata = decoder.value(node["metadata"])  # type: ignore[attr-defined]  # as torch sets it
    return mapping


def _read_defaultdict(decoder: _Decoder, node: dict[str, Any]) -> defaultdict[Any, Any]:
    factory = _FACTORIES[node["factory"]] if node["factory"] is not None else None
    return defaultdict(factory, decoder.items(node))


def _read_array(decoder: _Decoder, node: dict[str, Any]) -> np.ndarray[Any, Any]:
    flat = decoder.tensors[node["name"]].numpy().tobytes()
    return np.frombuffer(flat, _numpy_dtype(node)).reshape(node["shape"]).copy()


def _read_numpy(decoder: _Decoder, node: dict[str, Any]) -> Any:
    return np.frombuffer(bytes.fromhex(node["hex"]), _numpy_dtype(node))[0]


def _numpy_dtype(node: dict[str, Any]) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(node["dtype"])
    if dtype.kind not in "biufc":
        raise CodecError(f"'{node['dtype']}' is no numpy dtype of numbers")
    return dtype


_READERS: dict[str, Callable[[_Decoder, dict[str, Any]], Any]] = {
    "int": lambda _, node: int(node["hex"], 16),
    "float": lambda _, node: struct.unpack(">d", bytes.fromhex(node["hex"]))[0],
    "complex": lambda _, node: complex(*struct.unpack(">dd", bytes.fromhex(node["hex"]))),
    "str": lambda _, node: bytes.fromhex(node["hex"]).decode("utf-8", "surrogatepass"),
    "bytes": lambda _, node: base64.b64decode(node["base64"], validate=True),
    "tuple": lambda decoder, node: tuple(decoder.values(node)),
    "Size": lambda decoder, node: torch.Size(decoder.values(node)),
    "set": lambda decoder, node: set(decoder.values(node)),
    "frozenset": lambda decoder, node: frozenset(decoder.values(node)),
    "deque": lambda decoder, node: deque(decoder.values(node), node["maxlen"]),
    "dict": lambda decoder, node: dict(decoder.items(node)),
    "OrderedDict": _read_ordered_dict,
    "Counter": lambda decoder, node: Counter(dict(decoder.items(node))),
    "defaultdict": _read_defaultdict,
    "Path": lambda decoder, node: Path(decoder.value(node["path"])),
    "dtype": _read_dtype,
    "device": lambda _, node: torch.device(node["name"]),
    "ndarray": _read_array,
    "numpy": _read_numpy,
    "tensor": lambda decoder, node: decoder.tensor(node),
    "parameter": lambda decoder, node: decoder.tensor(node),
}
