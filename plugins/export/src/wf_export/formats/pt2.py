"""The model and its preprocessing as a graph of torch.export, for any number of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from wf_export.formats.source import Source
from wf_export.formats.writer import traced
from wf_run.bundle.graph import exported


class Pt2:
    """A file of ``torch.export``."""

    in_graph = True

    def write(self, source: Source, file: Path) -> str:
        """Write the file."""
        program = traced("pt2", lambda: exported(source.graph(), source.samples))
        torch.export.save(program, file, extra_files=source.metadata(in_graph=True))
        return f"a graph of {len(program.graph.nodes)} operations"

    def outputs(self, source: Source, file: Path) -> Any:
        """Its outputs for the samples."""
        module = torch.export.load(file).module()
        with torch.inference_mode():
            return traced("pt2", lambda: module(source.samples))

    def use(self, source: Source, file: Path) -> list[str]:
        """Usage with torch only."""
        return ["import torch", f'model = torch.export.load("{file}").module()', "outputs = model(inputs)"]
