"""The model and its preprocessing as a graph of torch.export."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from wf_base import tree
from wf_export.formats.source import TOLERANCES, Source, check_batch_size
from wf_export.formats.writer import traced


class Pt2:
    """A file of ``torch.export``.

    Args:
        batch_size: The number of samples that the file takes at once; any number by default.
        precision: The precision of the model. With a lower one than float32, inputs, preprocessing and outputs stay in
            float32.
    """

    in_graph = True

    def __init__(
        self, batch_size: int | None = None, precision: Literal["float32", "float16", "bfloat16"] = "float32"
    ) -> None:
        check_batch_size("pt2", batch_size)
        self.batch_size, self.precision, self.tolerance = batch_size, precision, TOLERANCES[precision]

    def write(self, source: Source, file: Path) -> str:
        """Write the file."""
        program = traced("pt2", lambda: source.traced(self.precision))
        torch.export.save(program, file, extra_files=source.metadata(in_graph=True))
        return f"a graph of {len(program.graph.nodes)} operations"

    def outputs(self, source: Source, file: Path) -> Any:
        """Its outputs for the samples."""
        module = torch.export.load(file).module()
        with torch.inference_mode():
            found = [(traced("pt2", partial(module, batch)), tree.length(batch)) for batch in source.batches()]
        return tree.gathered(found)

    def use(self, source: Source, file: Path) -> list[str]:
        """Usage with torch only."""
        given = "inputs"
        if isinstance(source.network.inputs, Mapping):
            names = map(str, source.network.inputs)
            given = ", ".join(f'"{name}": {name if name.isidentifier() else "..."}' for name in names)
            given = f"{{{given}}}"
        return ["import torch", f'model = torch.export.load("{file}").module()', f"outputs = model({given})"]
