"""A trained model for the writers of files: the module, samples for checks, and its description."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from wf import __version__
from wf.errors import UsageError
from wf.terminal import plural
from wf_base import tree
from wf_base.data import TensorSamples, collated
from wf_base.streams import Stream
from wf_base.tree import Tree
from wf_data.inputs import leaves_of
from wf_run.bundle.graph import Graph, exported

MANY = 64
"""The number of samples for the comparison."""
FEW = 16
"""The same, of samples that are read one by one."""
TOLERANCES = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
"""The largest difference of a file's outputs by the precision of its model, as a part of the largest output."""


@dataclass(frozen=True)
class Source:
    """The source of a file.

    Args:
        trained: The model, see `wf_run.using.trained.Trained`.
        place: As the user named the run.
        name: The run's name.
        samples: Raw inputs ``[N, ...]`` for the comparison.
        of: A description of their origin.
        batch_size: The number of samples that the file takes; None for any number.
    """

    trained: Any
    place: str
    name: str
    samples: Tree
    of: str
    batch_size: int | None = None
    num_samples: int = field(init=False)
    """The number of different samples."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_samples", tree.length(self.samples))
        if self.batch_size is not None:  # whole batches, with samples repeated where there are too few
            given = self.num_samples
            num = max(1, given // self.batch_size) * self.batch_size
            object.__setattr__(self, "num_samples", min(given, num))
            object.__setattr__(self, "samples", tree.select(self.samples, torch.arange(num) % given))

    @property
    def network(self) -> Any:
        """The model with its preprocessing."""
        return self.trained.network

    def graph(self, precision: str = "float32") -> Graph:
        """The module to trace, on the CPU and in evaluation mode.

        Args:
            precision: The precision of the model, a name in `TOLERANCES`. With a lower one than float32 its inputs and
                outputs are converted, and all else stays in float32.
        """
        network = self.network
        if precision != "float32" or any(one.device.type != "cpu" for one in network.parameters()):
            network = copy.deepcopy(network)  # the run's own stays on its device, where `expected` is computed
        if precision != "float32":
            network.model = Lowered(network.model, getattr(torch, precision))
        return Graph(network).cpu().eval()

    def traced(self, precision: str = "float32") -> torch.export.ExportedProgram:
        """The graph of ``torch.export``, for any number of samples or `batch_size` of them.

        Args:
            precision: As for `graph`.

        Raises:
            UsageError: For samples that differ in size, which are no tensor.
        """
        if isinstance(self.network.inputs, tree.Rows):
            raise UsageError(
                "a graph takes samples of one size, and those of this run differ in size\n"
                "  its weights can be written: --to safetensors"
            )
        graph = self.graph(precision)
        if self.batch_size is None:
            return exported(graph, self.samples, self.network.inputs)
        with torch.no_grad():
            return torch.export.export(graph, (next(self.batches()),))

    def batches(self) -> Iterator[Tree]:
        """The samples as the file takes them: all at once, or in batches of its size."""
        return iter([self.samples]) if self.batch_size is None else tree.split(self.samples, self.batch_size)

    @cached_property
    def expected(self) -> Tree:
        """The model's outputs for the samples."""
        with torch.inference_mode():
            found: Tree = self.trained.predict(self.samples)
        return found

    @cached_property
    def preprocessing(self) -> list[dict[str, Any]]:
        """The preprocessing."""
        steps: list[dict[str, Any]] = self.trained.preprocessing()
        return steps

    @cached_property
    def inputs(self) -> list[dict[str, Any]]:
        """Each input tensor: its name, shape without the samples' axis, dtype, and the names of its columns."""
        names = list(self.trained.description.spec.feature_names)
        return [
            {
                "name": leaf.path or "inputs",
                "shape": list(leaf.shape),
                "dtype": _name(leaf.dtype),
                **({"columns": names} if len(leaf.shape) == 1 and leaf.shape[0] == len(names) and names else {}),
                **({"values": "pixels, 0 to 255"} if leaf.is_bytes else {}),
            }
            for leaf in leaves_of(self.network.inputs)
        ]

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """The outputs: form, shapes, classes and targets."""
        description = self.trained.description
        spec = description.spec
        return {
            "form": "scores" if description.predictions == "raw" else description.predictions,
            "shapes": {path or "outputs": list(leaf.shape[1:]) for path, leaf in tree.leaves(self.expected)},
            "class_names": list(spec.class_names),
            "target_names": list(description.target_names),
        }

    def metadata(self, *, in_graph: bool) -> dict[str, str]:
        """The metadata of a file, with strings as values.

        Args:
            in_graph: Whether the preprocessing is part of the file's graph.
        """
        steps = [step["use"] for step in self.preprocessing] if in_graph else self.preprocessing
        found: dict[str, Any] = {
            "wf": __version__,
            "wf.run": self.name,
            "wf.task": self.trained.description.task or self.trained.description.spec.targets or "",
            "wf.inputs": self.inputs,
            "wf.outputs": self.outputs,
            ("wf.preprocessing_in_graph" if in_graph else "wf.preprocessing"): steps,
        }
        return {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in found.items()
            if value not in ("", [])
        }

    def difference(self, outputs: Tree, tolerance: float = TOLERANCES["float32"]) -> Difference:
        """The difference between a file's outputs and the model's.

        Args:
            outputs: The file's outputs for the samples.
            tolerance: The largest difference, as a part of the largest output.

        Raises:
            UsageError: If they have another form.
        """
        own, theirs = dict(tree.leaves(self.expected)), list(tree.leaves(outputs))
        if [list(one.shape) for one in own.values()] != [list(one.shape) for _, one in theirs]:
            raise UsageError("the file's outputs have another shape than the model's")
        pairs = [(mine.double(), found.double().cpu()) for mine, (_, found) in zip(own.values(), theirs, strict=True)]
        largest = max((float((mine - found).abs().max()) for mine, found in pairs if mine.numel()), default=0.0)
        size = max((float(mine.abs().max()) for mine, _ in pairs if mine.numel()), default=0.0)
        return Difference(self.num_samples, self.of, largest, size, tolerance)

    def takes(self) -> list[str]:
        """A description of the inputs, one line each."""
        lines = []
        for one in self.inputs:
            shape = ", ".join([self._num, *("any" if size is None else str(size) for size in one["shape"])])
            more = f": {_listed(one['columns'])}, in this order" if "columns" in one else ""
            more = f": {one['values']}" if "values" in one else more
            lines.append(f"{one['name']} {one['dtype']} [{shape}]{more}")
        return lines

    def gives(self) -> list[str]:
        """A description of the outputs, one line each."""
        classes, names = self.outputs["class_names"], self.outputs["target_names"]
        lines = []
        for name, shape in self.outputs["shapes"].items():
            words = self.outputs["form"] if classes else "numbers"
            if shape == [len(classes)] and self._labels(torch.eye(len(classes))) == classes:
                words += f" of {_listed(classes)}; the largest marks the class"
            elif shape == [1] and len(classes) == 2 and self._labels(torch.tensor([[-1.0], [1.0]])) == classes:
                is_zero = self._labels(torch.tensor([[0.25]])) == classes[1:]
                words = f"a score a sample: {classes[1]} where it is above {'0' if is_zero else '0.5'}"
            elif shape and len(classes or names) in (shape[0], shape[-1]):
                words += f" of {_listed(classes or names)}"
            lines.append(f"{name} [{', '.join([self._num, *map(str, shape)])}]: {words}")
        return lines

    @property
    def _num(self) -> str:
        return "N" if self.batch_size is None else str(self.batch_size)

    def _labels(self, outputs: Tensor) -> list[Any] | None:
        """The labels that the run's task reads from outputs; None if it cannot read any."""
        try:
            found: list[Any] | None = self.trained.labels(outputs)
        except (RuntimeError, ValueError, IndexError):
            return None
        return found


@dataclass(frozen=True)
class Difference:
    """The difference between a file's outputs and the model's."""

    samples: int
    of: str
    largest: float
    size: float
    """The largest absolute output."""
    tolerance: float

    @property
    def is_small(self) -> bool:
        """Whether it is within rounding errors."""
        return self.largest <= self.tolerance * max(1.0, self.size)

    def words(self) -> str:
        """In words."""
        num = f"{plural(self.samples, 'sample')} {self.of}"
        return f"on {num}: the largest difference to the model is {self.largest:.2g}, of outputs up to {self.size:.3g}"


def check_batch_size(name: str, batch_size: int | None) -> None:
    """Refuse a batch size below 1.

    Raises:
        UsageError: Naming the format and the option.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"exporter {name}: batch_size is {batch_size}; it must be at least 1")


class Lowered(nn.Module):
    """A copy of a model in a lower precision, with inputs and outputs of float32.

    Args:
        model: The model.
        dtype: Its dtype.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self._dtype = copy.deepcopy(model).to(dtype), dtype

    def forward(self, *inputs: Tree, **named: Tree) -> Tree:
        """The outputs of the model."""
        given = [_as(self._dtype, one) for one in inputs]
        return _as(torch.float32, self.model(*given, **{name: _as(self._dtype, one) for name, one in named.items()}))


def _as(dtype: torch.dtype, values: Tree) -> Tree:
    """Floating-point numbers in another dtype."""
    return tree.map_leaves(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, values)


def samples_of(experiment: Any) -> tuple[Tree, str] | None:
    """Some raw samples of a run's data, and their origin; None if they cannot be put into one batch.

    Args:
        experiment: The run, with its dataset.
    """
    dataset, data = experiment.values.get("run.dataset"), experiment.data
    split = next((name for name in ("test", "validation", "train") if name in data.splits), None)
    if dataset is None or split is None:
        return None
    given = getattr(dataset, split) if split != "train" else None
    samples = dataset.train if given is None else given
    if isinstance(samples, Stream):
        return None
    ids = data.sample_ids.get(split, torch.arange(0))[:MANY]
    if not len(ids):
        return None
    of = f"of the {split} split"
    if isinstance(samples, TensorSamples):
        return tree.map_leaves(lambda leaf: leaf[ids], samples.inputs), of
    pairs = [samples[number] for number in ids[:FEW].tolist()]
    if dataset.collate is not None:
        return collated(dataset.collate, pairs)[0], of
    inputs = [one for one, _ in pairs]
    shapes = {tuple((path, leaf.shape) for path, leaf in tree.leaves(one)) for one in inputs}
    if len(shapes) > 1 or tree.first_leaf(inputs[0]) is None:
        return None
    return tree.cat([tree.map_leaves(lambda leaf: leaf.unsqueeze(0), one) for one in inputs]), of


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _listed(names: Any) -> str:
    shown = ", ".join(names[:12])
    return f"{shown}, ... ({len(names)})" if len(names) > 12 else shown
