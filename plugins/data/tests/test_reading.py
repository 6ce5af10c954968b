"""Values learned from the data of a run, and reading inputs with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

import wf
from wf.declarations.component import FromRun
from wf_base import Dataset, Reader, TensorSamples


class Doubled:
    """Reads the numbers of a text file, twice as large."""

    endings = (".txt",)

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def description(self) -> dict[str, Any]:
        return {"factor": self._factor}

    def read(self, path: Path) -> Tensor:
        return self._factor * torch.tensor([[float(line)] for line in path.read_text().split()])


def test_a_new_run_passes_no_learned_values_to_its_dataset() -> None:
    seen = []

    def numbers(learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None) -> Dataset:
        seen.append(learned)
        inputs = torch.linspace(0, 1, 20).unsqueeze(1)
        return Dataset(train=TensorSamples(inputs, 2 * inputs), targets="real", reader=Doubled(2.0))

    assert isinstance(Doubled(2.0), Reader)
    wf.build(dataset=numbers, epochs=1, save=False)
    assert seen == [None]
