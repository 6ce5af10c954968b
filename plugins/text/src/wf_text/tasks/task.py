"""The task of causal language modelling in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Dataset, TensorSamples
from wf_base.task import Numbers, TaskRuntime, at
from wf_text.plugin import NEXT
from wf_text.reading.samples import LEFT_OUT, num_tokens
from wf_text.tokenizers import Tokenizer

MANY = 10_000_000
"""With more tokens no constant prediction is judged: it would take as long as an evaluation."""
VOCABULARY = ("<a>", "<b>", "<c>", "<d>", "<e>")
"""Of an example."""


class CausalLM(TaskRuntime):
    """The next token after each token of a text."""

    unit = "tokens"

    def units(self, inputs: Any, targets: Any) -> Any:
        """The number of tokens."""
        return num_tokens(inputs)

    def check(self, inputs: Any, targets: Any, ids: Numbers, where: str) -> None:
        """Refuse targets that are not tokens."""
        if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.ndim != 2:
            what = f"{targets.dtype} {list(targets.shape)}" if isinstance(targets, Tensor) else type(targets).__name__
            raise DataError(f"{where}: targets must be tokens, int64 [N, T], not {what}")
        if isinstance(inputs, Tensor) and inputs.shape[:2] != targets.shape:
            raise DataError(
                f"{where}: there must be a target for each token, not {list(targets.shape)} for {list(inputs.shape)}"
            )
        wrong = (targets < 0) & (targets != LEFT_OUT)
        if self.vocabulary:
            wrong |= targets >= len(self.vocabulary)
        if bool(wrong.any()):
            raise DataError(
                f"{where}: targets must be tokens from 0 to {len(self.vocabulary) - 1}, or {LEFT_OUT} for none"
                f"{at(wrong, targets, ids)}"
            )

    def check_outputs(
        self, outputs: Any, num: int, shape: Sequence[int | None], names: Mapping[str, str]
    ) -> int | None:
        """Refuse outputs that are not scores for the tokens of the vocabulary."""
        size = len(self.vocabulary)
        got = list(outputs.shape) if isinstance(outputs, Tensor) else None
        if got is None or len(got) != 3 or got[0] != num or got[2] < size:
            raise UsageError(
                f"model '{names['model']}' gives {got or type(outputs).__name__} for {num} samples; a language model "
                f"gives scores [N, T, {size or 'vocabulary'}]\n"
                "  its parameter vocab_size gets the size of the vocabulary"
            )
        return None

    def names(  # type: ignore[override]  # more parameters are run values, see `wf_base.task.names_of`
        self, predictions: Any, class_names: Sequence[str], tokenizer: Tokenizer
    ) -> list[Any] | None:
        """The predicted text: for each token of a sample the most likely next one."""
        return [tokenizer.decode(row.argmax(-1).tolist()) for row in predictions]

    def baseline(self, figure: str, train: Any, targets: Any, spec: Any) -> float | None:
        """None: the loss is judged."""
        return None

    def constants(self, train: Any, spec: Any) -> list[Tensor]:
        """The predictions of token frequencies at each position."""
        if not isinstance(train, Tensor) or not spec.vocab_size or train.numel() > MANY:
            return []
        counts = train[train >= 0].flatten().bincount(minlength=spec.vocab_size).clamp(min=1)
        return [(counts.double() / counts.sum()).log().float().expand(train.shape[1], -1)]

    def example(self, num: int = 24, seed: int = 0, input_shape: Sequence[int] | None = None) -> Dataset:
        """Tokens that follow a rule."""
        length = (input_shape or (6,))[0]
        first = torch.randint(len(VOCABULARY), (num, 1), generator=torch.Generator().manual_seed(seed))
        tokens = (first + torch.arange(length + 1)) % len(VOCABULARY)
        samples = TensorSamples(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        return Dataset(train=samples, targets=NEXT, task="causal-lm", vocabulary=VOCABULARY)

    def right(self, targets: Tensor) -> Tensor:
        """High scores for the targets."""
        return 10 * torch.nn.functional.one_hot(targets.clamp(min=0), len(VOCABULARY)).float()
