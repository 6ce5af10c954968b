"""What components are tried on: inputs, targets and predictions of every kind in `wf.traits`, made from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

NUM_CLASSES = 3
NUM_OUTPUTS = 2
"""Columns of a regression's targets."""
MASK_SHAPE = (4, 4)
VOCABULARY = ("<padding>", "<unknown>", "a", "b", "c")
SHAPES: dict[str, tuple[int, ...]] = {"vector": (5,), "image": (3, 32, 32), "sequence": (6, 4), "tokens": (6,)}
"""The shape of one sample of each kind of inputs."""

_CLASSES = (0, 0, 0, 1, 1, 2)
"""Unequal shares, so that a weight a class shows."""


def kinds_of(num_axes: int) -> tuple[str, ...]:
    """The kinds of inputs, as traits call them, that one sample of so many axes may be."""
    return {1: ("vector", "sequence"), 2: ("sequence",), 3: ("image",)}.get(num_axes, ())


def generator(seed: int) -> torch.Generator:
    """A generator of one's own."""
    return torch.Generator().manual_seed(seed)


def inputs(shape: tuple[int, ...], num: int = 12, seed: int = 0) -> Tensor:
    """float32 ``[num, *shape]`` in [0, 1), as images are served."""
    return torch.rand(num, *shape, generator=generator(seed))


def tokens(shape: tuple[int, ...], num: int = 12, seed: int = 0) -> Tensor:
    """int64 ``[num, *shape]``, indices of `VOCABULARY` without padding."""
    return torch.randint(1, len(VOCABULARY), (num, *shape), generator=generator(seed))


def targets(kind: str, num: int = 12, num_outputs: int = NUM_OUTPUTS, seed: int = 0) -> Tensor:
    """Targets of a kind, as `wf.traits` defines it; each class occurs among six in a row."""
    draws = generator(seed)
    classes = torch.tensor(_CLASSES).repeat(-(-num // len(_CLASSES)))[:num]
    if kind == "real":
        return torch.randn(num, num_outputs, generator=draws)
    if kind == "binary":
        return (classes > 0).to(torch.float32)
    if kind == "multilabel":
        return torch.stack([(classes + shift) % 2 for shift in range(NUM_CLASSES)], dim=1).to(torch.float32)
    if kind == "one_hot":
        return functional.one_hot(classes, NUM_CLASSES).to(torch.float32)
    if kind == "mask":
        return (classes.reshape(-1, 1, 1) + torch.arange(16).reshape(MASK_SHAPE)) % NUM_CLASSES
    return classes


def num_classes(kind: str) -> int:
    """The classes of targets of a kind, 0 for a regression."""
    return {"real": 0, "binary": 2}.get(kind, NUM_CLASSES)


@dataclass(frozen=True)
class Form:
    """A kind of predictions with a kind of targets."""

    predictions: str
    targets: str

    def __str__(self) -> str:
        return f"{self.predictions} and {self.targets} targets"


@dataclass(frozen=True)
class Example:
    """A batch as a loss gets it."""

    form: Form
    predictions: Tensor
    """Shaped as the targets ask: ``[N, K]``, ``[N, C]``, ``[N]`` or ``[N, C, H, W]``."""
    targets: Tensor

    def to(self, dtype: torch.dtype) -> Example:
        """With predictions, and targets that are floating, in another precision."""
        wanted = self.targets.to(dtype) if self.targets.is_floating_point() else self.targets
        return replace(self, predictions=self.predictions.to(dtype), targets=wanted)

    def __getitem__(self, rows: slice) -> Example:
        return replace(self, predictions=self.predictions[rows], targets=self.targets[rows])


TARGETS = ("real", "class_index", "binary", "multilabel", "one_hot", "mask")
FORMS = tuple(Form("real" if kind == "real" else "logits", kind) for kind in ("class_index", *TARGETS))
"""What a loss without traits may want, tried in this order."""


def example(form: Form, num: int = 6, *, scale: float = 1.0, seed: int = 0) -> Example:
    """A batch of one form.

    Args:
        form: Predictions and targets.
        num: Samples.
        scale: Of the scores that the predictions are made from; with 1e4 the extreme ones.
        seed: Of what is drawn.
    """
    wanted = targets(form.targets, num, seed=seed)
    scores = torch.randn(_shape(form, num), generator=generator(seed + 1))
    scores = scores * scale if scale == 1 else scores.sign() * scale
    return Example(form, as_predictions(scores, form), wanted)


def as_predictions(scores: Tensor, form: Form) -> Tensor:
    """Unbounded scores as predictions of a form."""
    exclusive = form.targets in ("class_index", "mask")
    if form.predictions == "log_probs":
        return scores.log_softmax(1) if exclusive or form.targets == "one_hot" else functional.logsigmoid(scores)
    if form.predictions == "probs":
        return scores.softmax(1) if exclusive else scores.sigmoid()
    return scores


def right_scores(kind: str, wanted: Tensor) -> Tensor:
    """What a model that is always right gives out: the numbers of a regression, else logits far from zero."""
    if kind == "real":
        return wanted
    if kind in ("class_index", "mask"):
        wanted = functional.one_hot(wanted, NUM_CLASSES).movedim(-1, 1)
    return 20.0 * (wanted.unsqueeze(1) if kind == "binary" else wanted) - 10.0


def guessed_scores(kind: str, wanted: Tensor, seed: int = 1) -> Tensor:
    """What a model that knows nothing gives out."""
    return torch.randn(right_scores(kind, wanted).shape, generator=generator(seed))


def _shape(form: Form, num: int) -> tuple[int, ...]:
    if form.predictions == "embeddings":
        return (num, 8)
    if form.targets == "mask":
        return (num, NUM_CLASSES, *MASK_SHAPE)
    return {"real": (num, NUM_OUTPUTS), "binary": (num,)}.get(form.targets, (num, NUM_CLASSES))
