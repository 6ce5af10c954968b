"""A trained model for the writers of files: the module, samples for checks, and its description."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from wf import __version__
from wf.errors import UsageError
from wf.terminal import plural
from wf_base import tree
from wf_base.data import TensorSamples
from wf_base.tree import Tree
from wf_data.inputs import leaves_of
from wf_run.bundle.graph import Graph

MANY = 64
"""The number of samples for the comparison."""


@dataclass(frozen=True)
class Source:
    """The source of a file.

    Args:
        trained: The model, see `wf_run.using.trained.Trained`.
        place: As the user named the run.
        name: The run's name.
        samples: Raw inputs ``[N, ...]`` for the comparison.
        of: A description of their origin.
    """

    trained: Any
    place: str
    name: str
    samples: Tree
    of: str

    @property
    def network(self) -> Any:
        """The model with its preprocessing."""
        return self.trained.network

    def graph(self) -> Graph:
        """The module to trace, on the CPU and in evaluation mode."""
        return Graph(self.network).cpu().eval()

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

    def difference(self, outputs: Tree) -> Difference:
        """The difference between a file's outputs and the model's.

        Raises:
            UsageError: If they have another form.
        """
        own, theirs = dict(tree.leaves(self.expected)), list(tree.leaves(outputs))
        if [list(one.shape) for one in own.values()] != [list(one.shape) for _, one in theirs]:
            raise UsageError("the file's outputs have another shape than the model's")
        pairs = [(mine.double(), found.double().cpu()) for mine, (_, found) in zip(own.values(), theirs, strict=True)]
        largest = max((float((mine - found).abs().max()) for mine, found in pairs if mine.numel()), default=0.0)
        size = max((float(mine.abs().max()) for mine, _ in pairs if mine.numel()), default=0.0)
        return Difference(tree.length(self.samples), self.of, largest, size)

    def takes(self) -> list[str]:
        """A description of the inputs, one line each."""
        lines = []
        for one in self.inputs:
            shape = ", ".join(["N", *("any" if size is None else str(size) for size in one["shape"])])
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
            elif classes or names:
                words += f" of {_listed(classes or names)}"
            lines.append(f"{name} [{', '.join(['N', *map(str, shape)])}]: {words}")
        return lines

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

    @property
    def is_small(self) -> bool:
        """Whether it is within rounding errors."""
        return self.largest <= 1e-3 * max(1.0, self.size)

    def words(self) -> str:
        """In words."""
        num = f"{plural(self.samples, 'sample')} {self.of}"
        return f"on {num}: the largest difference to the model is {self.largest:.2g}, of outputs up to {self.size:.3g}"


def samples_of(experiment: Any) -> tuple[Tree, str] | None:
    """Some raw samples of a run's data, and their origin; None if they cannot be stacked.

    Args:
        experiment: The run, with its dataset.
    """
    dataset, data = experiment.values.get("run.dataset"), experiment.data
    split = next((name for name in ("test", "validation", "train") if name in data.splits), None)
    if dataset is None or split is None:
        return None
    given = getattr(dataset, split) if split != "train" else None
    samples = dataset.train if given is None else given
    ids = data.sample_ids.get(split, torch.arange(0))[:MANY]
    if not isinstance(samples, TensorSamples) or not len(ids):
        return None
    return tree.map_leaves(lambda leaf: leaf[ids], samples.inputs), f"of the {split} split"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _listed(names: Any) -> str:
    shown = ", ".join(names[:12])
    return f"{shown}, ... ({len(names)})" if len(names) > 12 else shown
