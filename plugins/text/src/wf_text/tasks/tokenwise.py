"""Tasks with a class for each token: tags of words, and masked tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Dataset, TensorSamples
from wf_base.task import Numbers, TaskRuntime, at
from wf_base.text import PADDING, TOKENS
from wf_base.tree import Rows
from wf_text.plugin import MASKED, TAGS
from wf_text.reading.samples import LEFT_OUT, MASK, WORDS, num_tokens
from wf_text.tokenizers import MASK_NAME

MANY = 10_000_000
"""With more tokens no constant prediction is judged: it would take as long as an evaluation."""
SHOWN = 5
"""Number of candidates with probabilities for a masked token."""
WORDS_OF_EXAMPLE = (PADDING, "<a>", "<b>", "<c>", "<d>", MASK_NAME)


class Tokenwise(TaskRuntime):
    """A class for each token; tokens with target -100 are ignored."""

    @property
    def names_of_classes(self) -> Sequence[str]:
        """One per class."""
        raise NotImplementedError

    unit = "tokens"
    what = "classes"
    """The classes, for messages."""
    of_example: Sequence[str] = ()
    """The number of classes of an example."""

    def check(self, inputs: Any, targets: Any, ids: Numbers, where: str) -> None:
        """Refuse targets that are not classes, or not one for each token."""
        if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.ndim != 2:
            what = f"{targets.dtype} {list(targets.shape)}" if isinstance(targets, Tensor) else type(targets).__name__
            raise DataError(f"{where}: targets must be {self.what}, int64 [N, T], not {what}")
        tokens = inputs.get(TOKENS) if isinstance(inputs, Mapping) else inputs
        if isinstance(tokens, Tensor) and tokens.shape[:2] != targets.shape:
            raise DataError(
                f"{where}: there must be a target for each token, not {list(targets.shape)} for {list(tokens.shape)}"
            )
        num = len(self.names_of_classes)
        wrong = ((targets < 0) & (targets != LEFT_OUT)) | (targets >= num)
        if num and bool(wrong.any()):
            raise DataError(
                f"{where}: targets must be {self.what} from 0 to {num - 1}, or {LEFT_OUT} for none"
                f"{at(wrong, targets, ids)}"
            )

    def check_outputs(
        self, outputs: Any, num: int, shape: Sequence[int | None], names: Mapping[str, str]
    ) -> int | None:
        """Refuse outputs that are not a score for each class, at each token."""
        size = len(self.names_of_classes)
        got = list(outputs.shape) if isinstance(outputs, Tensor) else None
        if got is None or len(got) != 3 or got[0] != num or got[2] < size:
            raise UsageError(
                f"model '{names['model']}' gives {got or type(outputs).__name__} for {num} samples; it must give a "
                f"score for each of the {size} {self.what} at each token: [N, T, {size}]"
            )
        return shape[0] if shape else None

    def units(self, inputs: Any, targets: Any) -> Any:
        """The number of tokens."""
        return num_tokens(inputs)

    def baseline(self, figure: str, train: Any, targets: Any, spec: Any) -> float | None:
        """None: the loss is judged."""
        return None

    def right(self, targets: Tensor) -> Tensor:
        """High scores for the targets."""
        return 10 * torch.nn.functional.one_hot(targets.clamp(min=0), len(self.of_example)).float()


class TokenClassification(Tokenwise):
    """A tag for each word of a text."""

    what = "tags"
    of_example = ("O", "B-a", "I-a")

    @property
    def names_of_classes(self) -> Sequence[str]:
        """The tags."""
        return self.class_names

    def check_dataset(self, name: str) -> None:
        """Require names of the tags."""
        if not self.class_names:
            raise DataError(f"dataset '{name}' has tags but no class_names, one per tag")

    def num_outputs(self, spec: Any) -> int | None:
        """One per tag."""
        return len(self.class_names) or None

    def trimmed(self, outputs: Any, inputs: Any) -> Any:
        """The scores at the first token of each word."""
        return Rows(row[begins] for row, begins in zip(outputs, inputs[WORDS].bool(), strict=True))

    def names(self, predictions: Any, class_names: Sequence[str]) -> list[Any] | None:
        """The tag of each word."""
        names = class_names or self.class_names
        return [[names[place] for place in row.argmax(-1).tolist()] for row in predictions]

    def probabilities(self, predictions: Any, class_names: Sequence[str]) -> list[Any] | None:
        """Those of the tags of each word."""
        return _likeliest(predictions, class_names or self.class_names, None)

    def example(self, num: int = 24, seed: int = 0, input_shape: Sequence[int] | None = None) -> Dataset:
        """Tokens, and tags that depend on them; no word begins at the last token."""
        length = (input_shape or (6,))[0]
        tokens = torch.randint(1, 5, (num, length), generator=torch.Generator().manual_seed(seed))
        tags = tokens % 3
        tags[:, -1] = LEFT_OUT
        inputs = {TOKENS: tokens, MASK: torch.ones_like(tokens), WORDS: tags >= 0}
        return Dataset(
            train=TensorSamples(inputs, tags),
            targets=TAGS,
            task="token-classification",
            class_names=self.of_example,
            vocabulary=WORDS_OF_EXAMPLE,
        )


class MaskedLM(Tokenwise):
    """The masked tokens of a text."""

    what = "tokens"
    of_example = WORDS_OF_EXAMPLE

    @property
    def names_of_classes(self) -> Sequence[str]:
        """The vocabulary."""
        return self.vocabulary

    def constants(self, train: Any, spec: Any) -> list[Tensor]:
        """Scores from the frequency of each token; None if the tokens are unknown."""
        if not isinstance(train, Tensor) or not spec.vocab_size or train.numel() > MANY:
            return []
        counts = train[train >= 0].flatten().bincount(minlength=spec.vocab_size).clamp(min=1)
        return [(counts.double() / counts.sum()).log().float().expand(train.shape[1], -1)]

    def trimmed(self, outputs: Any, inputs: Any) -> Any:
        """The scores at each mask, or at every token for a text without masks."""
        mask = self.vocabulary.index(MASK_NAME) if MASK_NAME in self.vocabulary else -1
        found = Rows()
        for row, tokens, there in zip(outputs, inputs[TOKENS], inputs[MASK].bool(), strict=True):
            masked = there & (tokens == mask)
            found.append(row[masked if bool(masked.any()) else there])
        return found

    def names(self, predictions: Any, class_names: Sequence[str]) -> list[Any] | None:
        """The most likely token at each of these positions."""
        return [[self.vocabulary[place] for place in row.argmax(-1).tolist()] for row in predictions]

    def probabilities(self, predictions: Any, class_names: Sequence[str]) -> list[Any] | None:
        """Those of the likeliest tokens at each of these places."""
        return _likeliest(predictions, self.vocabulary, SHOWN)

    def example(self, num: int = 24, seed: int = 0, input_shape: Sequence[int] | None = None) -> Dataset:
        """Tokens that follow a rule, some of them masked."""
        length = (input_shape or (8,))[0]
        generator = torch.Generator().manual_seed(seed)
        first = torch.randint(4, (num, 1), generator=generator)
        tokens = (first + torch.arange(length)) % 4 + 1
        mask = len(WORDS_OF_EXAMPLE) - 1
        chosen = torch.rand(tokens.shape, generator=generator) < 0.3
        chosen[:, 0] = True
        inputs = {TOKENS: torch.where(chosen, mask, tokens), MASK: torch.ones_like(tokens)}
        return Dataset(
            train=TensorSamples(inputs, torch.where(chosen, tokens, LEFT_OUT)),
            targets=MASKED,
            task="masked-lm",
            vocabulary=WORDS_OF_EXAMPLE,
        )


def _likeliest(predictions: Any, names: Sequence[str], num: int | None) -> list[Any]:
    """Of each sample the probabilities at its places, by name: of all classes in their order, or the likeliest ones."""
    found = []
    for row in predictions:
        chances = row.float().softmax(-1)
        if num is None:
            found.append([dict(zip(names, one, strict=True)) for one in chances.tolist()])
            continue
        values, places = chances.topk(min(num, len(names)))
        found.append(
            [
                {names[place]: chance for place, chance in zip(*one, strict=True)}
                for one in zip(places.tolist(), values.tolist(), strict=True)
            ]
        )
    return found
