"""The model and its preprocessing as ONNX."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from wf.errors import UsageError
from wf_base import tree
from wf_export.formats.source import TOLERANCES, Source, check_batch_size
from wf_export.formats.writer import traced

NEEDS = ("onnx", "onnxscript", "onnxruntime")


class Onnx:
    """A file of ONNX, checked with onnxruntime.

    Args:
        opset: The version of ONNX's operators; by default the one that torch recommends.
        batch_size: The number of samples that the file takes at once, for runtimes that want fixed shapes; any number
            by default.
        precision: The precision of the model. With float16 inputs, preprocessing and outputs stay in float32.
    """

    in_graph = True

    def __init__(
        self,
        opset: int | None = None,
        batch_size: int | None = None,
        precision: Literal["float32", "float16"] = "float32",
    ) -> None:
        check_batch_size("onnx", batch_size)
        self.opset, self.batch_size, self.precision = opset, batch_size, precision
        self.tolerance = TOLERANCES[precision]

    def write(self, source: Source, file: Path) -> str:
        """Write the file."""
        if lacks := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
            raise UsageError(
                f"--to onnx needs {', '.join(lacks)}, which {'is' if len(lacks) == 1 else 'are'} not installed\n"
                f"  pip install {' '.join(lacks)}\n  or use --to pt2, which needs only torch"
            )
        program = traced("onnx", lambda: self._converted(source))
        opset = program.model.opset_imports.get("")
        if self.opset is not None and opset != self.opset:
            raise UsageError(
                f"torch cannot write this model with opset {self.opset}, but with {opset}\n"
                "  leave out --exporter.opset for the one that torch recommends"
            )
        program.model.metadata_props.update(source.metadata(in_graph=True))
        traced("onnx", lambda: program.save(str(file), external_data=False))
        return f"a graph of {len(list(program.model.graph))} operations, opset {opset}"

    def outputs(self, source: Source, file: Path) -> Any:
        """The outputs of onnxruntime for the samples."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        found = []
        for batch in source.batches():
            given = {name: leaf.numpy() for name, (_, leaf) in zip(names, tree.leaves(batch), strict=True)}
            found.append(traced("onnx", partial(session.run, None, given)))
        return tuple(torch.cat([torch.from_numpy(one) for one in parts]) for parts in zip(*found, strict=True))

    def use(self, source: Source, file: Path) -> list[str]:
        """Usage with onnxruntime."""
        names = [one["name"] for one in source.inputs]
        given = ", ".join(f'"{name}": {name if name.isidentifier() else "..."}' for name in names)
        return [
            "import onnxruntime",
            f'session = onnxruntime.InferenceSession("{file}")',
            f"outputs = session.run(None, {{{given}}})[0]  # arrays of NumPy",
        ]

    def _converted(self, source: Source) -> Any:
        return torch.onnx.export(
            source.traced(self.precision),
            input_names=[one["name"] for one in source.inputs],
            output_names=list(source.outputs["shapes"]),
            opset_version=self.opset,
            dynamo=True,
            verbose=False,
        )
