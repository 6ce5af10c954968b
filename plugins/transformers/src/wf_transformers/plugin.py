"""The declarations of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Catalogue, Component, hookimpl
from wf.traits import ModelTraits


@hookimpl
def wf_components() -> list[Component | Catalogue]:
    """Models by architecture or from a folder, and a tokenizer from a file."""
    return [
        Catalogue(
            "model",
            "transformers",
            "wf_transformers.models:build",
            "wf_transformers:models.txt",
            summary="a model of transformers: for the next token, for masked tokens or for tags, as the task needs",
            traits=ModelTraits(predictions="token_scores", inputs="tokens"),
            groups={"text": ModelTraits(inputs="tokens", per="sample")},
        ),
        Component(
            "tokenizer",
            "huggingface",
            "wf_transformers.tokenizer:HuggingFaceTokenizer",
            "a tokenizer in a file tokenizer.json, as the library tokenizers writes it",
            aliases=("hf",),
        ),
    ]
