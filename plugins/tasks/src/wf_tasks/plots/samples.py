"""Samples with their predictions: the worst ones, and masks and boxes drawn into their images."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from wf_base import tree
from wf_base.data import as_float
from wf_base.predicted import Predicted
from wf_base.task import TaskRuntime
from wf_charts import Chart, Sample, Samples
from wf_tasks.drawing import classes_drawn, objects_drawn
from wf_tasks.plots.classes import class_names, true_classes

SIDE = 160
"""Pictures have about so many pixels a side."""
SHOWN = 8
"""Maximum number of values of a row that are shown."""


class _Kept:
    """The samples with the largest figures, as far as a split was seen."""

    def __init__(self, num: int) -> None:
        self._num, self._made = num, 0
        self._heap: list[tuple[float, int, Sample]] = []

    def offer(self, figure: float, make: Callable[[], Sample]) -> None:
        """Keep a sample where it belongs to the largest so far; among equals the first."""
        self._made += 1
        if len(self._heap) < self._num:
            heapq.heappush(self._heap, (figure, -self._made, make()))
        elif figure > self._heap[0][0]:
            heapq.heapreplace(self._heap, (figure, -self._made, make()))

    def samples(self) -> list[Sample]:
        """The largest first."""
        return [sample for _, _, sample in sorted(self._heap, key=lambda one: one[:2], reverse=True)]


class Worst:
    """The samples of the test split that the model is most wrong about: images, texts or rows.

    Args:
        outputs: The task.
        data: The data of the run.
        num: Number of samples that are shown.
    """

    splits = ("test",)

    def __init__(self, outputs: TaskRuntime, data: Any, num: int = 12) -> None:
        self._task, self._kept, self._wrong, self._total = outputs, _Kept(num), 0, 0
        self._features = tuple(getattr(data.spec, "feature_names", ()))

    def update(self, seen: Predicted) -> None:
        """Look through a batch."""
        figures, captions = self._judged(seen)
        for place, figure in enumerate(figures.tolist()):
            self._kept.offer(figure, lambda place=place: self._sample(seen, place, captions(place)))  # type: ignore[misc]  # mypy cannot infer lambdas with defaults

    def charts(self) -> list[Chart]:
        """The worst ones, the worst first."""
        samples = self._kept.samples()
        if not samples:
            return []
        about = "The largest errors first. Look for wrong labels, and for what these samples have in common."
        if self._total:
            about = f"{self._wrong} of {self._total} are wrong. {about}"
        return [Samples(name="worst", title="Worst samples of the test split", samples=samples, about=about)]

    def _judged(self, seen: Predicted) -> tuple[Tensor, Callable[[int], str]]:
        """How wrong each sample of a batch is, and words for it."""
        task, names = self._task, class_names(self._task)
        if task.num_classes is None:
            found, wanted = (values.float().reshape(seen.size, -1) for values in (seen.outputs, seen.targets))
            error = (found - wanted).abs().sum(1)
            return error, lambda place: f"target {_row(wanted[place])}, predicted {_row(found[place])}"
        probs, targets = task.read(seen.outputs, "probs").float(), task.classes(seen.targets)
        if targets.ndim > 1 and not bool((targets.sum(1) == 1).all()):  # several labels may hold
            wrong = (probs - targets.float()).abs()
            self._count((wrong > 0.5).any(1))
            return wrong.max(1).values, lambda place: _labels_in_words(probs[place], targets[place], names)
        truth = true_classes(task, seen.targets).flatten()
        valid = (truth >= 0) & (truth < len(names))
        own = probs.gather(1, truth.clamp(0, len(names) - 1)[:, None]).flatten()
        label = probs.argmax(1)
        self._count((label != truth)[valid])
        figures = torch.where(valid, 1 - own, torch.full_like(own, -1.0))
        return figures, lambda place: _class_in_words(probs[place], int(truth[place]), int(label[place]), names)

    def _count(self, wrong: Tensor) -> None:
        self._wrong, self._total = self._wrong + int(wrong.sum()), self._total + len(wrong)

    def _sample(self, seen: Predicted, place: int, words: str) -> Sample:
        caption = f"{seen.name_of(place)}: {words}"
        return shown(seen.input_of(place), caption, self._task.vocabulary, self._features)


class Masks:
    """The masks of the test split that are most wrong: the image, the true mask, the predicted one.

    Args:
        outputs: The task.
        num: Number of samples that are shown.
    """

    splits = ("test",)

    def __init__(self, outputs: TaskRuntime, num: int = 6) -> None:
        self._task, self._kept = outputs, _Kept(num)

    def update(self, seen: Predicted) -> None:
        """Look through a batch."""
        labels, targets = self._task.read(seen.outputs, "labels"), seen.targets
        num = len(class_names(self._task))
        for place in range(seen.size):
            valid = (targets[place] >= 0) & (targets[place] < num)
            share = float(((labels[place] != targets[place]) & valid).sum() / valid.sum().clamp(min=1))
            self._kept.offer(share, lambda place=place, share=share: self._sample(seen, labels, place, share))  # type: ignore[misc]  # mypy cannot infer lambdas with defaults

    def charts(self) -> list[Chart]:
        """Three pictures a sample, beside each other."""
        samples = self._kept.samples()
        about = "Beside each other: image, true mask, predicted mask. The largest shares of wrong pixels first."
        return [Samples(name="masks", title="Worst masks of the test split", samples=samples, about=about)]

    def _sample(self, seen: Predicted, labels: Tensor, place: int, share: float) -> Sample:
        image = _bounded(torch.as_tensor(seen.input_of(place)))
        truth = seen.targets[place].clamp(min=0)
        pictures = [classes_drawn(image, mask) for mask in (torch.zeros_like(truth), truth, labels[place])]
        return Sample(caption=f"{seen.name_of(place)}: {share:.1%} of its pixels are wrong", picture=_beside(pictures))


class Boxes:
    """The boxes that are found in images of the test split, beside the true ones.

    Args:
        outputs: The task.
        num: Number of images; the first ones of the split.
    """

    splits = ("test",)

    def __init__(self, outputs: TaskRuntime, num: int = 6) -> None:
        self._task, self._num = outputs, num
        self._samples: list[Sample] = []

    def update(self, seen: Predicted) -> None:
        """Draw the first images."""
        names = [str(name) for name in self._task.class_names]
        for place in range(min(seen.size, self._num - len(self._samples))):
            image, found, wanted = seen.input_of(place), seen.outputs[place], seen.targets[place]
            truth = {"boxes": wanted["boxes"], "labels": wanted["labels"], "scores": torch.ones(len(wanted["labels"]))}
            if "masks" in wanted:
                truth["masks"] = wanted["masks"].float()
            pictures = [objects_drawn(_bounded(torch.as_tensor(image)), one, names) for one in (truth, found)]
            sure = int((found["scores"] >= 0.5).sum())
            caption = f"{seen.name_of(place)}: {len(wanted['labels'])} objects, {sure} found with a score from 0.5 on"
            self._samples.append(Sample(caption=caption, picture=_beside(pictures)))

    def charts(self) -> list[Chart]:
        """Two pictures a sample, beside each other."""
        about = "Beside each other: the true boxes, and those that are found with a score from 0.5 on."
        return [Samples(name="boxes", title="Boxes in the test split", samples=self._samples, about=about)]


def shown(value: Any, caption: str, vocabulary: Sequence[str] = (), features: Sequence[str] = ()) -> Sample:
    """An input in a readable form: a picture, a text, or its first numbers."""
    leaf = value if isinstance(value, Tensor) else tree.first_leaf(value) if value is not None else None
    if leaf is None:
        return Sample(caption=caption)
    if vocabulary and not leaf.is_floating_point():
        words = [vocabulary[token] for token in leaf.flatten().tolist() if 0 < token < len(vocabulary)]
        return Sample(caption=caption, text=" ".join(words))
    if leaf.ndim == 3 and leaf.shape[0] in (1, 3) and min(leaf.shape[1:]) > 1:
        return Sample(caption=caption, picture=_png(_enlarged(_bounded(leaf))))
    numbers = [f"{number:.4g}" for number in leaf.flatten()[:SHOWN].tolist()]
    if len(features) == leaf.numel():
        numbers = [f"{name} {number}" for name, number in zip(features, numbers, strict=False)]
    more = f", ... ({leaf.numel()} numbers)" if leaf.numel() > SHOWN else ""
    return Sample(caption=caption, text=", ".join(numbers) + more)


def _bounded(image: Tensor) -> Tensor:
    """An image with values from 0 to 1; a normalized one is rescaled."""
    image = as_float(image)
    low, high = float(image.min()), float(image.max())
    return image if low >= 0 and high <= 1 else (image - low) / ((high - low) or 1)


def _enlarged(image: Tensor) -> Any:
    from PIL import Image

    rgb = image.clamp(0, 1).expand(3, -1, -1).mul(255).round().to(torch.uint8)
    small = Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())
    side = max(small.size)
    if side >= SIDE:
        return small.resize((round(small.width * SIDE / side), round(small.height * SIDE / side)))
    factor = max(1, SIDE // side)
    return small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)


def _beside(pictures: Sequence[Any]) -> bytes:
    """Small pictures in one row."""
    from PIL import Image

    small = [picture.copy() for picture in pictures]
    for picture in small:
        picture.thumbnail((SIDE * 3 // 2, SIDE * 3 // 2))
    width = sum(picture.width for picture in small) + 4 * (len(small) - 1)
    row = Image.new("RGB", (width, max(picture.height for picture in small)), "white")
    left = 0
    for picture in small:
        row.paste(picture, (left, 0))
        left += picture.width + 4
    return _png(row)


def _png(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _row(values: Tensor) -> str:
    texts = [f"{value:.4g}" for value in values[:3].tolist()]
    return ", ".join(texts) + (", ..." if len(values) > 3 else "")


def _class_in_words(probs: Tensor, truth: int, label: int, names: Sequence[str]) -> str:
    chance = f"{float(probs[label]):.0%}"
    own = names[truth] if 0 <= truth < len(names) else "ignored"
    return f"{own}, right, but only {chance} sure" if label == truth else f"{own}, predicted {names[label]} ({chance})"


def _labels_in_words(probs: Tensor, truth: Tensor, names: Sequence[str]) -> str:
    wanted = [name for name, holds in zip(names, truth.tolist(), strict=True) if holds] or ["none"]
    found = [f"{name} ({chance:.0%})" for name, chance in zip(names, probs.tolist(), strict=True) if chance > 0.5]
    return f"{', '.join(wanted[:4])}, predicted {', '.join(found[:4]) or 'none'}"
