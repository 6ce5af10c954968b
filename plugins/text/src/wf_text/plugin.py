"""What this package brings to wf. Imports nothing heavy."""

from __future__ import annotations

from wf import Command, Component, Kind, Link, Task, hookimpl
from wf.traits import DatasetTraits, HookTraits, LossTraits, MetricTraits, ModelTraits

NEXT = "next_token"
"""The form of the targets: a token for each token, the one that follows it."""
SCORES = "token_scores"
"""The form of the predictions: a score for each token of the vocabulary, at each place."""


@hookimpl
def wf_kinds() -> list[Kind]:
    """Tokenizers."""
    return [Kind(name="tokenizer", summary="makes tokens of text, and text of tokens")]


@hookimpl
def wf_tasks() -> list[Task]:
    """Language modelling."""
    return [
        Task(
            name="causal-lm",
            target="wf_text.task:CausalLM",
            summary="the next token after each token of a text",
            targets=(NEXT,),
            reads=("raw",),
            defaults={"loss": "token-ce", "metric": ("perplexity",), "model": "gpt", "hook": ("token-rate",)},
            aliases=("language-modelling", "language-modeling"),
        )
    ]


@hookimpl
def wf_links() -> list[Link]:
    """What language models give goes to metrics as it is, and to no loss of classes or numbers."""
    return [
        Link(name="token-scores", takes=(SCORES,), gives="raw", summary="scores of tokens stay as they are"),
    ]


@hookimpl
def wf_commands() -> list[Command]:
    """A verb that lets a language model write."""
    return [
        Command(
            name="generate",
            section="Use a run",
            summary="Let a run's language model go on with a text.",
            target="wf_text.commands:generate",
            order=35,
        )
    ]


@hookimpl
def wf_components() -> list[Component]:
    """Datasets, tokenizers, a model, a loss, a metric and a hook."""
    of_text = DatasetTraits(
        targets=NEXT, task="causal-lm", inputs="tokens", files=(".txt",), reader="wf_text.reader:TextReader"
    )
    return [
        Component(
            "dataset",
            "text",
            "wf_text.dataset:text",
            "the texts in a file or folder, in blocks of tokens, for language models",
            traits=of_text,
        ),
        Component(
            "dataset",
            "opticks",
            "wf_text.dataset:opticks",
            "the First Book of Newton's Opticks, 249,000 characters, in blocks of tokens",
            traits=DatasetTraits(targets=NEXT, task="causal-lm", inputs="tokens", reader="wf_text.reader:TextReader"),
        ),
        Component(
            "tokenizer",
            "characters",
            "wf_text.tokenizers:Characters",
            "one token a character that occurs in the texts",
            aliases=("chars",),
            default=True,
        ),
        Component("tokenizer", "bytes", "wf_text.tokenizers:Bytes", "one token a byte: any file, a vocabulary of 256"),
        Component(
            "model",
            "gpt",
            "wf_text.gpt:GPT",
            "a small decoder-only transformer with learned positions, in the manner of GPT-2",
            traits=ModelTraits(predictions=SCORES, inputs="tokens"),
        ),
        Component(
            "loss",
            "token-ce",
            "wf_text.loss:TokenCrossEntropy",
            "softmax cross-entropy, the mean over tokens",
            aliases=("token-cross-entropy",),
            traits=LossTraits(predictions=SCORES, targets=(NEXT,), weighted=True),
        ),
        Component(
            "metric",
            "perplexity",
            "wf_text.metric:Perplexity",
            "e to the mean negative log likelihood of a token",
            aliases=("ppl",),
            traits=MetricTraits(targets=(NEXT,), larger_is_better=False),
        ),
        Component(
            "hook",
            "token-rate",
            "wf_text.hook:TokenRate",
            "says at the end how many tokens a second were trained on",
            traits=HookTraits(watches=True, order=20),
        ),
    ]
