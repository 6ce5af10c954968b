"""Boxes around objects, any number in an image, each with a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from wf.errors import DataError, UsageError
from wf_base import Batch, Dataset, Outcome, TaskRuntime, tree
from wf_base.task import Numbers
from wf_base.training.objective import outcome_of
from wf_tasks.drawing import objects_drawn

KEYS = ("boxes", "labels")
FOUND = ("boxes", "labels", "scores")


class Detection(TaskRuntime):
    """Boxes around objects, any number in an image, each with a class; models compute their own losses.

    The targets of an image are a dict: ``boxes`` float ``[M, 4]``, the corners x0, y0, x1, y1 in pixels, ``labels``
    int64 ``[M]`` from 0 on, and where a dataset has them ``masks`` uint8 ``[M, H, W]``, 1 where the object is. A model
    is called with a list of images and, in training, with their targets; then it gives a dict of losses. Else it gives
    for each image a dict of ``boxes``, ``labels`` and ``scores``, and maybe ``masks``.
    """

    needs_loss = False

    def collate(self, samples: list[Any]) -> tuple[tree.Rows, tree.Rows]:
        """A list: images may differ in size and in the number of objects."""
        return tree.Rows(image for image, _ in samples), tree.Rows(targets for _, targets in samples)

    def check(self, inputs: Any, targets: Any, ids: Numbers, where: str) -> None:
        """Refuse targets other than boxes inside their image."""
        for image, own, number in zip(inputs, targets, ids, strict=True):
            if wrong := self._wrong(image, own):
                raise DataError(f"{where}: sample {int(number)}: {wrong}")

    def _wrong(self, image: Tensor, targets: Any) -> str:
        """The error in the targets of an image; empty if they are valid."""
        if not isinstance(targets, Mapping) or any(not isinstance(targets.get(key), Tensor) for key in KEYS):
            return f"targets must be a dict of tensors with {' and '.join(KEYS)}, not {tree.words(targets)}"
        boxes, labels, (height, width) = targets["boxes"], targets["labels"], image.shape[-2:]
        shaped = boxes.ndim == 2 and boxes.shape[1] == 4 and labels.shape == boxes.shape[:1]
        if not shaped or not boxes.is_floating_point() or labels.is_floating_point():
            return f"boxes must be floats [M, 4] and labels whole numbers [M], not {tree.words(dict(targets))}"
        num = len(self.class_names)
        if bool((labels < 0).any()) or (num and bool((labels >= num).any())):
            return f"labels must be from 0 to {num - 1}, not {labels.tolist()}"
        far = boxes.new_tensor([width, height, width, height])
        for what, bad in (
            ("has no area", ~(boxes[:, 2:] > boxes[:, :2]).all(1)),
            (f"is not inside the image of {width}x{height} pixels", ((boxes < 0) | (boxes > far)).any(1)),
        ):
            if bool(bad.any()):
                return f"box {int(bad.nonzero()[0])}, {boxes[bad][0].tolist()}, {what}"
        masks = targets.get("masks")
        if masks is not None and tuple(masks.shape) != (len(boxes), height, width):
            return f"masks must be [{len(boxes)}, {height}, {width}], one an object, not {list(masks.shape)}"
        return ""

    def check_outputs(
        self, outputs: Any, num: int, shape: Sequence[int | None], names: Mapping[str, str]
    ) -> int | None:
        """Refuse outputs other than a dict of boxes, labels and scores for each image."""
        alike = isinstance(outputs, (tuple, list)) and len(outputs) == num
        if not alike or any(not isinstance(one, Mapping) or not {*FOUND} <= {*one} for one in outputs):
            raise UsageError(
                f"model '{names['model']}' gives {tree.words(outputs)} for {num} images; detection needs a list with a "
                f"dict of {', '.join(FOUND)} for each"
            )
        return None

    def bind(self, model: nn.Module, loss: Any) -> OwnLosses:
        """The losses that the model computes."""
        return OwnLosses(model)

    def names(self, predictions: Sequence[Mapping[str, Tensor]], class_names: Sequence[str]) -> list[Any]:
        """For each sample a list of records with class, score and box, sorted by descending score."""
        return [
            [
                {"class": _named(label, class_names), "score": round(score, 4), "box": [round(side, 2) for side in box]}
                for label, score, box in zip(
                    *(found[key].tolist() for key in ("labels", "scores", "boxes")), strict=True
                )
            ]
            for found in predictions
        ]

    def draw(self, inputs: Any, predictions: Any, class_names: Sequence[str]) -> list[Any]:
        """One picture per sample, with the box, class and mask of each object with a score of at least 0.5."""
        return [objects_drawn(image, found, class_names) for image, found in zip(inputs, predictions, strict=True)]

    @property
    def judged_by(self) -> tuple[str, ...]:
        """The mean average precision."""
        return ("map",)

    def baseline(self, figure: str, train: Any, targets: Any, spec: Any) -> float | None:
        """0, the mean average precision of a detector that finds nothing."""
        return self.error(figure, 0.0, larger_is_better=True) if figure in self.judged_by else None

    def example(self, num: int = 24, seed: int = 0, input_shape: Sequence[int] | None = None) -> Dataset:
        """Images of noise in two sizes, with unrelated boxes."""
        generator = torch.Generator().manual_seed(seed)
        channels, height, width = input_shape or (3, 16, 16)

        def drawn(number: int) -> tuple[Tensor, dict[str, Tensor]]:
            image = torch.rand(channels, height, width + number % 2, generator=generator)
            corners = torch.rand(number % 4, 2, generator=generator) * (min(height, width) - 8)
            return image, {"boxes": torch.cat([corners, corners + 8], 1), "labels": torch.arange(number % 4) % 2}

        train, held_out = ([drawn(number) for number in range(size)] for size in (num, 8))
        return Dataset(
            train=train,
            validation=held_out,
            test=held_out,
            targets=self.targets,
            task="detection",
            class_names=("a", "b"),
        )

    def right(self, targets: Sequence[Mapping[str, Tensor]]) -> tree.Rows:
        """The boxes themselves."""
        return tree.Rows({**own, "scores": torch.ones(len(own["labels"]))} for own in targets)


class OwnLosses:
    """The objective of a detector: the sum of its own losses.

    Args:
        model: Called with images and targets; it gives a dict of losses by name.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.unshared: Callable[[], AbstractContextManager[None]] = getattr(model, "no_sync", nullcontext)
        """A context in which processes do not share gradients."""

    def weights(self, batch: Batch) -> None:
        """None, for the number of samples: a detector's loss averages over an unknown number of anchors or regions."""

    def step(self, batch: Batch) -> Outcome:
        """The losses of a batch.

        Raises:
            UsageError: If the model returns something else.
        """
        losses = self._model(batch.inputs, batch.targets)
        if not isinstance(losses, Mapping):
            raise UsageError(
                f"the model gave {tree.words(losses)} for images and targets in training; detection needs a dict of "
                "losses by name"
            )
        return outcome_of(losses)


def _named(label: int, class_names: Sequence[str]) -> str:
    return class_names[label] if label < len(class_names) else str(label)
