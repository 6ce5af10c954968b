"""Synthetic samples that can be learned."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from wf.errors import UsageError
from wf_base import Dataset, TensorSamples, stream


def synthetic(
    seed: int,
    num_samples: int = 1000,
    input_shape: tuple[int, ...] = (20,),
    classes: int = 3,
    task: Literal["classification", "regression", "multilabel"] = "classification",
    noise: float = 0.1,
) -> Dataset:
    """Synthetic samples: normal random inputs, labelled by a random linear teacher, so that they can be learned.

    The teacher gives each sample scores of unit variance, to which the noise is added. A classification takes the
    class of the largest score, a multilabel the labels with a positive score, a regression the one score itself.

    Args:
        seed: The seed of inputs, teacher and noise.
        num_samples: The number of samples.
        input_shape: The shape of one input.
        classes: Classes of a classification, labels of a multilabel; not used for a regression.
        task: The kind of targets.
        noise: The standard deviation of the noise on the teacher's scores.

    Returns:
        Inputs float32 ``[N, *input_shape]``; targets ``class_index``, ``real [N, 1]`` or ``multilabel [N, classes]``.

    Raises:
        UsageError: For sizes below 1, fewer than 2 classes or negative noise.
    """
    _check(num_samples, input_shape, classes, task, noise)
    generator = stream(seed, "dataset")
    inputs = torch.randn(num_samples, *input_shape, generator=generator)
    num_scores = 1 if task == "regression" else classes
    teacher = torch.randn(inputs[0].numel(), num_scores, generator=generator)
    scores = inputs.flatten(1) @ (teacher / teacher.norm(dim=0))
    scores += noise * torch.randn(scores.shape, generator=generator)
    return _label(inputs, scores, task)


def _label(inputs: Tensor, scores: Tensor, task: str) -> Dataset:
    if task == "regression":
        return Dataset(train=TensorSamples(inputs, scores), targets="real", target_names=("score",))
    names = tuple(str(index) for index in range(scores.shape[1]))
    if task == "multilabel":
        return Dataset(train=TensorSamples(inputs, (scores > 0).float()), targets="multilabel", class_names=names)
    return Dataset(train=TensorSamples(inputs, scores.argmax(1)), targets="class_index", class_names=names)


def _check(num_samples: int, input_shape: tuple[int, ...], classes: int, task: str, noise: float) -> None:
    if num_samples < 1:
        raise UsageError(f"random: num_samples is {num_samples}; it must be at least 1")
    if not input_shape or min(input_shape) < 1:
        raise UsageError(f"random: input_shape is {list(input_shape)}; it must hold sizes of at least 1")
    least = {"classification": 2, "multilabel": 1}.get(task, classes)
    if classes < least:
        raise UsageError(f"random: classes is {classes}; a {task} needs at least {least}")
    if not (math.isfinite(noise) and noise >= 0):
        raise UsageError(f"random: noise is {noise}; it must be 0 or a positive number")
