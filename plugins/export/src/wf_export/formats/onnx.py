"""The model and its preprocessing as ONNX, for any number of samples."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from wf.errors import UsageError
from wf_base import tree
from wf_export.formats.source import Source
from wf_export.formats.writer import traced
from wf_run.bundle.graph import exported

NEEDS = ("onnx", "onnxscript", "onnxruntime")


class Onnx:
    """A file of ONNX, checked with onnxruntime."""

    in_graph = True

    def write(self, source: Source, file: Path) -> str:
        """Write the file."""
        if lacks := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
            raise UsageError(
                f"--to onnx needs {', '.join(lacks)}, which {'is' if len(lacks) == 1 else 'are'} not installed\n"
                f"  pip install {' '.join(lacks)}\n  or use --to pt2, which needs only torch"
            )
        program = traced("onnx", lambda: _converted(source))
        program.model.metadata_props.update(source.metadata(in_graph=True))
        traced("onnx", lambda: program.save(str(file), external_data=False))
        return f"a graph of {len(list(program.model.graph))} operations"

    def outputs(self, source: Source, file: Path) -> Any:
        """The outputs of onnxruntime for the samples."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        leaves = [leaf for _, leaf in tree.leaves(source.samples)]
        names = [one.name for one in session.get_inputs()]
        given = {name: leaf.numpy() for name, leaf in zip(names, leaves, strict=True)}
        return tuple(torch.from_numpy(one) for one in traced("onnx", lambda: session.run(None, given)))

    def use(self, source: Source, file: Path) -> list[str]:
        """Usage with onnxruntime."""
        names = [one["name"] for one in source.inputs]
        given = ", ".join(f'"{name}": {name if name.isidentifier() else "..."}' for name in names)
        return [
            "import onnxruntime",
            f'session = onnxruntime.InferenceSession("{file}")',
            f"outputs = session.run(None, {{{given}}})[0]  # arrays of NumPy",
        ]


def _converted(source: Source) -> Any:
    names = [one["name"] for one in source.inputs]
    outputs = list(source.outputs["shapes"])
    return torch.onnx.export(
        exported(source.graph(), source.samples), input_names=names, output_names=outputs, dynamo=True, verbose=False
    )
