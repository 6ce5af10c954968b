"""Samplers: they choose the train samples of an epoch and their order.

Each is an iterable of positions in the train split. The run iterates over it once per epoch, with torch's global
generator seeded for that epoch, so that a run resumes bit for bit with any number of data loading processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset, WeightedRandomSampler

from wf.errors import UsageError, unknown


def train_targets(data: Any) -> Tensor:
    """The run value `train_targets`: the class of each train sample, int64 ``[N]``.

    Raises:
        UsageError: If samples do not have a single class, or it is unknown without reading all of them.
    """
    targets: Tensor | None = data.train_targets()
    if targets is None:
        raise UsageError(
            "the classes of the train samples are not known without reading all of them, so sampling by class is "
            "impossible\n"
            "  declare them: wf_base.Dataset(target_tensor=...)"
        )
    flat = targets.reshape(-1) if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if flat.ndim != 1 or not torch.equal(flat, flat.round()) or data.task.num_classes is None:
        raise UsageError(
            f"a sampler needs one class per sample, but the targets are {data.targets}\n  leave --sampler out"
        )
    return flat.to(torch.int64)


def train_lengths(data: Any) -> Tensor:
    """The run value `train_lengths`: the length of each train sample, int64 ``[N]``.

    Raises:
        UsageError: If the samples do not have it.
    """
    samples: Any = data.samples("train")
    chosen = torch.arange(len(samples))
    while isinstance(samples, Subset):
        chosen, samples = torch.as_tensor(samples.indices)[chosen], samples.dataset
    lengths = getattr(samples, "lengths", None)
    if lengths is None:
        raise UsageError(
            "the lengths of the train samples are not known without reading all of them, "
            "so samples cannot be grouped by length"
            "\n  give the samples an attribute `lengths`, one number per sample"
        )
    return torch.as_tensor(lengths, dtype=torch.int64)[chosen]


class Balanced:
    """An epoch has equally many samples of each class, in a random order.

    Samples of a smaller class are drawn several times, with counts that differ by at most one; from a larger class
    different samples are drawn in each epoch. A remainder goes to the first classes.

    Args:
        train_targets: The class of each train sample.
        num_samples: Samples in an epoch; by default as many as the train split has.

    Raises:
        UsageError: For fewer samples than classes.
    """

    def __init__(self, train_targets: Tensor, num_samples: int | None = None) -> None:
        self._members = [torch.nonzero(train_targets == one).flatten() for one in train_targets.unique().tolist()]
        self.num_samples = len(train_targets) if num_samples is None else num_samples
        if self.num_samples < len(self._members):
            raise UsageError(
                f"sampler 'balanced': num_samples is {self.num_samples}; there are {len(self._members)} classes"
            )

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        each, rest = divmod(self.num_samples, len(self._members))
        chosen = torch.cat([_some(members, each + (n < rest)) for n, members in enumerate(self._members)])
        yield from chosen[torch.randperm(self.num_samples)].tolist()


class Weighted:
    """Samples are drawn with replacement, with a weight per class.

    It is torch's `WeightedRandomSampler`.

    Args:
        train_targets: The class of each train sample.
        class_names: The names of the classes.
        weights: One per class, by name or in order: the relative frequency of each of its samples. By default the
            number of the class's samples to the power of minus `power`.
        power: 1: all classes are equally frequent; 0: frequencies as in the data; 0.5 is in between.
        num_samples: Samples in an epoch; by default as many as the train split has.

    Raises:
        UsageError: For weights of other classes, or without a weight above 0.
    """

    def __init__(
        self,
        train_targets: Tensor,
        class_names: list[str],
        weights: dict[str, float] | list[float] | None = None,
        power: float = 1.0,
        num_samples: int | None = None,
    ) -> None:
        owner, num = "sampler 'weighted'", len(class_names)
        if weights is None:
            counts = torch.bincount(train_targets, minlength=num).double()
            by_class = counts.clamp(min=1).pow(-power)
        elif isinstance(weights, dict):
            if wrong := [name for name in weights if name not in class_names]:
                raise UsageError(unknown("class", wrong[0], class_names, of=owner))
            if missing := [name for name in class_names if name not in weights]:
                raise UsageError(f"{owner}: there is no weight for {', '.join(missing[:8])}; give one for each class")
            by_class = torch.tensor([weights[name] for name in class_names], dtype=torch.float64)
        else:
            by_class = torch.tensor(weights, dtype=torch.float64)
        if len(by_class) != num:
            raise UsageError(f"{owner}: {len(by_class)} weights for {num} classes: {', '.join(class_names[:8])}")
        each = by_class[train_targets]
        if not torch.isfinite(by_class).all() or float(by_class.min()) < 0 or not float(each.sum()) > 0:
            raise UsageError(f"{owner}: the weights must be finite, at least 0, and one of them above 0")
        self.num_samples = len(train_targets) if num_samples is None else num_samples
        if self.num_samples < 1:
            raise UsageError(f"{owner}: num_samples is {self.num_samples}; it must be at least 1")
        self._sampler = WeightedRandomSampler(each, self.num_samples)  # type: ignore[arg-type]  # a tensor does, too

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        yield from self._sampler


class LengthGrouped:
    """Samples of similar length share a batch, so that there is little padding; batches are in random order.

    In each epoch the samples are shuffled, then sorted by length within windows of several batches.

    Args:
        train_lengths: The length of each train sample.
        batch_size: Samples in a batch.
        window: Batches in a window: a larger window gives more even and less random batches.

    Raises:
        UsageError: For a window of no batch.
    """

    def __init__(
        self,
        train_lengths: Tensor,
        batch_size: int,
        window: int = 50,
    ) -> None:
        if window < 1:
            raise UsageError(f"sampler 'length-grouped': window is {window}; it must be at least 1")
        self._lengths, self._window = train_lengths, window
        self._size = batch_size

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self._lengths))
        windows = order.split(self._window * self._size)
        grouped = torch.cat([one[self._lengths[one].argsort(stable=True)] for one in windows])
        batches = list(grouped.split(self._size))
        last = batches.pop() if len(batches[-1]) < self._size else None  # a smaller batch stays last
        for place in torch.randperm(len(batches)).tolist():
            yield from batches[place].tolist()
        yield from [] if last is None else last.tolist()


def _some(members: Tensor, num: int) -> Tensor:
    """Draw a given number, with frequencies that differ by at most one."""
    orders = [torch.randperm(len(members)) for _ in range(-(-num // len(members)))]
    return members[torch.cat(orders)[:num]]
