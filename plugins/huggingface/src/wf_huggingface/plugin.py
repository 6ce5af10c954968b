"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Component, hookimpl
from wf.traits import DatasetTraits


@hookimpl
def wf_components() -> list[Component]:
    """The dataset of this package."""
    return [
        Component(
            "dataset",
            "huggingface",
            "wf_huggingface.dataset:huggingface",
            "a table, text or images in files, or on the Hugging Face hub",
            aliases=("hf",),
            traits=DatasetTraits(files=(".parquet", ".json", ".jsonl"), reader="wf_huggingface.reader:FileReader"),
        ),
    ]
