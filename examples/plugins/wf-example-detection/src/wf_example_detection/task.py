"""The task of object detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wf.errors import DataError
from wf_base import Batch, Dataset, Outcome, TaskRuntime, Term
from wf_example_detection.boxes import Boxes, Found

FACTORS = {"score": 0.5, "middle": 1.0, "size": 1.0}
"""The factor of each loss."""


class Detection(TaskRuntime):
    """Any number of boxes per image, each with a class. Models compute their own losses."""

    needs_loss = False

    def collate(self, samples: list[tuple[Tensor, Boxes]]) -> tuple[Tensor, list[Boxes]]:
        """Stack the images; the boxes stay a list, one dict per image."""
        return torch.stack([image for image, _ in samples]), [targets for _, targets in samples]

    def check(self, inputs: Any, targets: Any, ids: Sequence[int] | Tensor, where: str) -> None:
        """Check that the targets are valid boxes.

        Raises:
            DataError: If they are not; the message names the sample.
        """
        for number, own in zip(ids, targets, strict=True):
            if wrong := self._wrong(own):
                raise DataError(f"{where}: sample {int(number)}: {wrong}")

    def _wrong(self, targets: Any) -> str:
        if not isinstance(targets, dict) or set(targets) != {"boxes", "labels"}:
            return "targets must be a dict of boxes and labels"
        boxes, labels = targets["boxes"], targets["labels"]
        if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
            return f"boxes must be [M, 4] and labels [M], not {list(boxes.shape)} and {list(labels.shape)}"
        if bool((labels < 0).any()) or bool((labels >= len(self.class_names)).any()):
            return f"labels must be from 0 to {len(self.class_names) - 1}, not {labels.tolist()}"
        empty = ~(boxes[:, 2:] > boxes[:, :2]).all(1) | ~boxes.isfinite().all(1)
        return f"a box has no area: {boxes[empty][0].tolist()}" if bool(empty.any()) else ""

    def bind(self, model: nn.Module, loss: Any) -> OwnLosses:
        """The objective: the model's own losses."""
        return OwnLosses(model)

    def names(self, predictions: Sequence[Found], class_names: Sequence[str]) -> list[Any]:
        """A list of records per sample: class, score and box of each detection."""
        return [
            [
                {"class": class_names[label], "score": round(score, 4), "box": [round(side, 2) for side in box]}
                for label, score, box in zip(
                    *(found[key].tolist() for key in ("labels", "scores", "boxes")), strict=True
                )
            ]
            for found in predictions
        ]

    @property
    def judged_by(self) -> tuple[str, ...]:
        """The figures that have a baseline: the mean average precision."""
        return ("shape-map",)

    def baseline(self, figure: str, train: Any, targets: Any, spec: Any) -> float | None:
        """The baseline detects nothing, so its mean average precision is 0."""
        return self.error(figure, 0.0, larger_is_better=True) if figure in self.judged_by else None

    def example(self, num: int = 24, seed: int = 0, input_shape: Sequence[int] | None = None) -> Dataset:
        """Random images with random boxes, for the conformance kit."""
        generator = torch.Generator().manual_seed(seed)
        shape = tuple(input_shape or (3, 16, 16))
        samples = []
        for number in range(num):
            image = torch.rand(shape, generator=generator)
            corners = torch.rand(number % 4, 2, generator=generator) * 8
            boxes = torch.cat([corners, corners + 4], 1)
            samples.append((image, {"boxes": boxes, "labels": torch.arange(number % 4) % 2}))
        return Dataset(train=samples, targets="shapes", task="shape-detection", class_names=("a", "b"))

    def right(self, targets: Sequence[Boxes]) -> list[Found]:
        """Perfect detections: the boxes themselves with a score of 1."""
        return [{**own, "scores": torch.ones(len(own["labels"]))} for own in targets]


class OwnLosses:
    """The objective of a detector: the weighted sum of its losses.

    Args:
        model: The model, prepared for training.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def weights(self, batch: Batch) -> dict[str, float]:
        """The number of objects in a batch, for the mean errors of boxes; the loss of scores is a mean over samples."""
        num = float(sum(len(own["labels"]) for own in batch.targets))
        return {"middle": num, "size": num}

    def step(self, batch: Batch) -> Outcome:
        """The losses of a batch."""
        losses = self._model(batch.inputs, batch.targets)
        return Outcome({name: Term(value=value, factor=FACTORS[name]) for name, value in losses.items()})
