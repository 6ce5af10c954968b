"""The declarations of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Command, Component, Kind, Link, Task, hookimpl
from wf.traits import DatasetTraits, LossTraits, MetricTraits, ModelTraits

NEXT = "next_token"
"""The form of the targets: for each token, the next one."""
TAGS = "token_class"
"""The form of the targets: a class for each token, -100 for none."""
MASKED = "masked_token"
"""The form of the targets: at each masked position the original token, -100 elsewhere."""
SCORES = "token_scores"
"""The form of the predictions: scores at each position, for the tokens of the vocabulary or for classes."""
_OF_TOKENS = (NEXT, TAGS, MASKED)
_SHARES = "--dataset.validation and --dataset.test, shares of the text"


@hookimpl
def wf_kinds() -> list[Kind]:
    """Tokenizers."""
    return [Kind(name="tokenizer", summary="converts text to tokens, and tokens to text")]


@hookimpl
def wf_tasks() -> list[Task]:
    """Language modelling, and classification of texts and words."""
    return [
        Task(
            name="causal-lm",
            target="wf_text.tasks.task:CausalLM",
            summary="the next token after each token of a text",
            targets=(NEXT,),
            reads=("raw",),
            defaults={"loss": "token-ce", "metric": ("perplexity",), "model": "gpt", "hook": ("throughput",)},
            aliases=("language-modelling", "language-modeling"),
        ),
        Task(
            name="masked-lm",
            target="wf_text.tasks.tokenwise:MaskedLM",
            summary="the masked tokens of a text",
            targets=(MASKED,),
            reads=("raw",),
            defaults={
                "loss": "token-ce",
                "metric": ("perplexity", "token-accuracy"),
                "model": "masked-encoder",
                "hook": ("throughput",),
                "tokenizer": "words",
            },
            aliases=("mlm", "fill-mask"),
        ),
        Task(
            name="text-classification",
            target="wf_text.tasks.classification:TextClassification",
            summary="one of several classes per text",
            reads=("raw", "labels", "probs"),
            per="sample",
            defaults={
                "loss": "ce",
                "metric": ("accuracy", "f1"),
                "model": "text-encoder",
                "hook": ("throughput",),
                "tokenizer": "words",
            },
        ),
        Task(
            name="token-classification",
            target="wf_text.tasks.tokenwise:TokenClassification",
            summary="a tag per word of a text, such as names or parts of speech",
            targets=(TAGS,),
            reads=("raw",),
            defaults={
                "loss": "token-ce",
                "metric": ("entity-f1", "token-accuracy"),
                "model": "token-encoder",
                "hook": ("throughput",),
                "tokenizer": "words",
            },
            aliases=("tagging", "ner"),
        ),
    ]


@hookimpl
def wf_links() -> list[Link]:
    """Scores of language models are passed to metrics unchanged, and to no loss of classes or numbers."""
    return [
        Link(name="token-scores", takes=(SCORES,), gives="raw", summary="scores of tokens are unchanged"),
    ]


@hookimpl
def wf_commands() -> list[Command]:
    """A command that lets a language model write."""
    return [
        Command(
            name="generate",
            section="Use a run",
            summary="Continue a text with a run's language model.",
            target="wf_text.commands:generate",
            alone=True,
            order=35,
        )
    ]


@hookimpl
def wf_components() -> list[Component]:
    """Datasets, tokenizers, models, a loss and metrics."""
    of_text = DatasetTraits(
        targets=NEXT,
        task="causal-lm",
        inputs="tokens",
        files=(".txt",),
        reader="wf_text.reading.readers:TextReader",
        divides=_SHARES,
    )
    return [
        Component(
            "dataset",
            "text",
            "wf_text.reading.dataset:text",
            "the texts in a file or folder, in blocks of tokens, for language models",
            traits=of_text,
        ),
        Component(
            "dataset",
            "opticks",
            "wf_text.reading.dataset:opticks",
            "the First Book of Newton's Opticks, 249,000 characters, in blocks of tokens",
            traits=DatasetTraits(
                targets=NEXT,
                task="causal-lm",
                inputs="tokens",
                reader="wf_text.reading.readers:TextReader",
                divides=_SHARES,
            ),
        ),
        Component(
            "dataset",
            "masked-text",
            "wf_text.reading.dataset:masked_text",
            "the texts in a file or folder, in blocks with some tokens masked",
            traits=DatasetTraits(
                targets=MASKED,
                task="masked-lm",
                inputs="tokens",
                reader="wf_text.reading.readers:MaskedReader",
                divides=_SHARES,
            ),
        ),
        Component(
            "dataset",
            "texts",
            "wf_text.reading.labelled:texts",
            "labelled texts, in a table or JSON lines",
            traits=DatasetTraits(
                targets="class_index",
                task="text-classification",
                inputs="tokens",
                files=(".jsonl", ".ndjson"),
                reader="wf_text.reading.readers:LabelledReader",
            ),
        ),
        Component(
            "dataset",
            "tagged",
            "wf_text.reading.labelled:tagged",
            "sentences with a tag for each word, in columns or JSON lines",
            traits=DatasetTraits(
                targets=TAGS,
                task="token-classification",
                inputs="tokens",
                files=(".conll",),
                reader="wf_text.reading.readers:TaggedReader",
            ),
        ),
        Component(
            "tokenizer",
            "characters",
            "wf_text.tokenizers:Characters",
            "one token per character that occurs in the texts",
            aliases=("chars",),
            default=True,
        ),
        Component(
            "tokenizer",
            "words",
            "wf_text.tokenizers:Words",
            "one token per word or punctuation character, the most frequent in the texts",
        ),
        Component(
            "tokenizer", "bytes", "wf_text.tokenizers:Bytes", "one token per byte: any file, a vocabulary of 256"
        ),
        Component(
            "model",
            "gpt",
            "wf_text.gpt:GPT",
            "a small decoder-only transformer with learned positions, in the manner of GPT-2",
            traits=ModelTraits(predictions=SCORES, inputs="tokens"),
        ),
        Component(
            "model",
            "text-encoder",
            "wf_text.encoder:TextClassifier",
            "a small transformer encoder that classifies texts by the mean over their tokens",
            traits=ModelTraits(inputs="tokens", per="sample"),
        ),
        Component(
            "model",
            "token-encoder",
            "wf_text.encoder:TokenClassifier",
            "a small transformer encoder that classifies each token",
            traits=ModelTraits(predictions=SCORES, inputs="tokens"),
        ),
        Component(
            "model",
            "masked-encoder",
            "wf_text.encoder:MaskedLM",
            "a small transformer encoder that predicts masked tokens, in the manner of BERT",
            traits=ModelTraits(predictions=SCORES, inputs="tokens"),
        ),
        Component(
            "loss",
            "token-ce",
            "wf_text.tasks.loss:TokenCrossEntropy",
            "softmax cross-entropy, the mean over tokens",
            aliases=("token-cross-entropy",),
            traits=LossTraits(predictions=SCORES, targets=_OF_TOKENS, weighted=True),
        ),
        Component(
            "metric",
            "perplexity",
            "wf_text.tasks.metric:Perplexity",
            "e to the mean negative log likelihood of a token",
            aliases=("ppl",),
            traits=MetricTraits(targets=(NEXT, MASKED), larger_is_better=False),
        ),
        Component(
            "metric",
            "token-accuracy",
            "wf_text.tasks.metric:TokenAccuracy",
            "share of tokens with the right class",
            traits=MetricTraits(targets=_OF_TOKENS, larger_is_better=True),
        ),
        Component(
            "metric",
            "entity-f1",
            "wf_text.tasks.metric:EntityF1",
            "F1 of entities (spans of words), as in conlleval and seqeval",
            aliases=("seqeval",),
            traits=MetricTraits(targets=(TAGS,), larger_is_better=True),
        ),
    ]
