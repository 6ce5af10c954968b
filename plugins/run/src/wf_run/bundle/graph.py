"""Exports a trained model as a graph for its bundle, checks it against the model, and reads it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wf.errors import DataError, UsageError, WfError
from wf_base import tree
from wf_base.tree import Rows, Tree
from wf_data.inputs import example_of

MODEL = "model."
"""Prefix of the names of the model's tensors in a graph."""


class Graph(nn.Module):
    """A trained model with its preprocessing, in a form that torch can trace: tensors in, tensors out, no checks.

    Args:
        network: The result of `wf.load_model`.
        finishes: Whether to convert the outputs to the units of the dataset's targets.
    """

    def __init__(self, network: Any, *, finishes: bool = True) -> None:
        super().__init__()
        self.model, self._network, self._finishes = network.model, network, finishes

    def forward(self, inputs: Any) -> Any:
        """The outputs for raw inputs ``[N, ...]``."""
        outputs = tree.call(self.model, self._network.ready(inputs))
        return self._network.finish(outputs) if self._finishes else outputs


class ExportedGraph(nn.Module):
    """A model read from a graph. It takes raw inputs and always computes in evaluation mode.

    Args:
        graph: The module of a ``torch.export`` program.
    """

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, inputs: Tree) -> Any:
        """The model's outputs for raw inputs ``[N, ...]``."""
        return self.graph(inputs)

    def train(self, mode: bool = True) -> ExportedGraph:
        """Set ``training``; it does not change the computation, which was traced in evaluation mode."""
        self.training = mode
        return self

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:  # type: ignore[override]  # of any overload
        """The tensors of the model, under the model's own names."""
        found = self.graph.state_dict()
        return {name.removeprefix(MODEL): value for name, value in found.items() if name.startswith(MODEL)}


def exported(graph: nn.Module, samples: Tree, free: Tree | None = None) -> torch.export.ExportedProgram:
    """Export a module in evaluation mode, for any number of samples.

    Args:
        graph: The module; its argument is the samples.
        samples: Example inputs ``[N, ...]``.
        free: The form of a sample (`wf_data.inputs.Form`); its axes of variable length stay dynamic, too.
    """
    if tree.length(samples) < 2:  # torch.export would treat a batch size of 1 as a constant
        samples = tree.map_leaves(lambda leaf: torch.cat([leaf, leaf]), samples)
    batch = torch.export.Dim("batch", min=1)
    shapes = tree.map_leaves(lambda leaf: {0: batch}, samples)
    if free is not None:
        shapes = _open_axes(shapes, free, batch)
    with torch.no_grad():
        return torch.export.export(graph, (samples,), dynamic_shapes=(shapes,))


def _open_axes(shapes: Tree, form: Any, batch: Any) -> Any:
    """The dynamic axes of each leaf."""
    if isinstance(form, Mapping):
        return {key: _open_axes(shapes[key], one, batch) for key, one in form.items()}
    if isinstance(form, (tuple, list)):
        return type(form)(_open_axes(one, form[min(at, len(form) - 1)], batch) for at, one in enumerate(shapes))
    axes = {axis: torch.export.Dim.AUTO for axis, size in enumerate(form.shape, 1) if size is None}
    return {0: batch, **axes}


def graph_file(network: Any) -> bytes:
    """The content of ``graph.pt2`` for a trained model: it maps raw inputs to the outputs of the bare model.

    Args:
        network: The model with its preprocessing, on the CPU, in evaluation mode; see
            `wf_run.using.network.TrainedModel`.

    Raises:
        UsageError: If the model cannot be exported, with the reason.
    """
    form = network.inputs
    if form is None:
        raise UsageError("the form of its inputs is unknown")
    if isinstance(form, Rows):
        raise UsageError("its samples differ in size")
    graph = Graph(network, finishes=False).eval()
    drawn = torch.Generator().manual_seed(0)
    samples, others = example_of(form, 4, drawn), example_of(form, 7, drawn, length=11)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = exported(graph, samples, form)
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # it contains paths of this machine
            program._example_inputs = None  # they would be saved as a pickle
            stream = io.BytesIO()
            torch.export.save(program, stream)
            data = stream.getvalue()
            _compare(graph(others), read_graph(data, "it").graph(others))
    except WfError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UsageError(f"torch cannot trace it: {type(error).__name__}: {lines[0] if lines else ''}") from error
    return data


def _compare(expected: Tree, found: Tree) -> None:
    pairs = list(zip(tree.leaves(expected), tree.leaves(found), strict=True))
    for (_, mine), (_, theirs) in pairs:
        size = max(1.0, float(mine.double().abs().max())) if mine.numel() else 1.0
        if mine.shape != theirs.shape or not torch.allclose(mine.double(), theirs.double(), rtol=0, atol=1e-3 * size):
            raise UsageError("the outputs of its graph differ from those of the model")


def read_graph(source: bytes | Path, name: str, device: torch.device | None = None) -> ExportedGraph:
    """Read a model from a graph and move it to a device.

    Reading a graph can run code, because torch evaluates strings in it; see `wf_run.trust.guards.guard_graph`.

    Args:
        source: The file, or its content.
        name: The name of the file, for messages.
        device: The device of the model; the CPU by default.

    Raises:
        DataError: If this version of torch cannot read the graph.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(io.BytesIO(source) if isinstance(source, bytes) else source)
            if device is not None and device.type != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, device)
            return ExportedGraph(program.module())
    except Exception as error:
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise DataError(f"{name}: torch {torch.__version__} cannot read it: {why}") from error
