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
            summary="a model of transformers: for the next token, masked tokens or tags, depending on the task",
            traits=ModelTraits(predictions="token_scores", inputs="tokens"),
            groups={"text": ModelTraits(inputs="tokens", per="sample")},
        ),
        Component(
            "tokenizer",
            "huggingface",
            "wf_transformers.tokenizer:HuggingFaceTokenizer",
            "a tokenizer from a file tokenizer.json of the library tokenizers",
            aliases=("hf",),
        ),
    ]
