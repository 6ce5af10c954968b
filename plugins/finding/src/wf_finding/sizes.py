"""Batch sizes: the time and the memory that each takes."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from wf import Hook, Loop
from wf.errors import UsageError
from wf_processes.failures import is_memory

WARM_UP = 2
"""Steps before the clock is started."""
MIN_STEPS = 3
"""The minimum number of timed steps."""
NEAR = 1.1
"""A size is as good as the fastest one if a sample takes at most this many times as long."""
_KIB = 1024
_MARGIN = 0.8
"""The share of the free memory that may be used without --memory."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The time and memory of one batch size."""

    size: int
    ms_per_step: float
    us_per_sample: float
    peak_bytes: int
    """The peak memory so far: of the device's tensors, or of this process on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A batch size, and why."""

    size: int
    reason: str


class Timer(Hook):
    """Ends a run after some time, and gives the time of a step.

    Args:
        seconds: The minimum total time of the timed steps.
        device: Their device.
    """

    def __init__(self, seconds: float, device: torch.device) -> None:
        self.seconds, self.device = seconds, device
        self.steps: list[tuple[float, int]] = []
        """Seconds and samples of each timed step."""
        self._started = self._last = 0.0

    def on_step_end(self, run: Loop) -> None:
        """Start the clock after the warm-up, and check it after each step."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if run.progress.step < WARM_UP:
            return
        if run.progress.step == WARM_UP:
            self._started = self._last = now
            return
        self.steps.append((now - self._last, run.batch.size))
        self._last = now
        if now - self._started >= self.seconds and len(self.steps) >= MIN_STEPS:
            run.stop("timed")

    def medians(self) -> tuple[float, float]:
        """Seconds per step and seconds per sample; medians, because other processes may disturb single steps."""
        return median(seconds for seconds, _ in self.steps), median(seconds / size for seconds, size in self.steps)


def sizes_up_to(largest: int) -> Iterator[int]:
    """1, 2, 4 and so on, and the largest itself."""
    size = 1
    while size < largest:
        yield size
        size *= 2
    yield largest


def try_sizes(
    make: Callable[[int], Any], largest: int, seconds: float, memory: int | None, say: Callable[[str], None]
) -> tuple[list[Trial], str]:
    """Train some steps with each size, until memory or data end.

    Args:
        make: Builds an `Experiment` with a batch size.
        largest: The largest size that is tried.
        seconds: How long each size is timed.
        memory: The maximum bytes that it may take; None for the available memory.
        say: Called with a message about each size.

    Returns:
        The trials, and why no larger size was tried.

    Raises:
        UsageError: If none could be trained.
    """
    found: list[Trial] = []
    refused: UsageError | None = None
    for size in sizes_up_to(largest):
        if found and (needed := _needed(found)) > (limit := _limit(memory)):
            return found, f"{size:,} would take about {_words(needed)}, but only {_words(limit)} may be used"
        say(f"batch size {size:,}")
        try:
            trial = _try(make, size, seconds)
        except UsageError as error:  # for example batch norm with a batch of one
            if found or size > 2:
                raise
            refused = error
            continue
        except Exception as error:
            if not is_memory(error):
                raise
            if not found:
                raise
            error.__traceback__ = None  # it holds the tensors
            _free()
            return found, f"{size:,} is out of memory"
        if memory is not None and trial.peak_bytes > memory:
            if not found:
                raise UsageError(
                    f"a batch size of {size:,} takes {_words(trial.peak_bytes)}, but --memory allows {_words(memory)}"
                )
            return found, f"{size:,} takes {_words(trial.peak_bytes)}, but --memory allows {_words(memory)}"
        found.append(trial)
    if not found:
        assert refused is not None
        raise refused
    return found, f"{largest:,} is the largest size to try: the train split, or --max"


def suggest(trials: Sequence[Trial], end: str) -> Suggestion:
    """The smallest size whose samples are nearly as fast as the fastest ones."""
    fastest = min(trials, key=lambda trial: trial.us_per_sample)
    chosen = next(trial for trial in trials if trial.us_per_sample <= NEAR * fastest.us_per_sample)
    if chosen.size == fastest.size:
        reason = f"a sample is fastest in batches of {chosen.size:,} ({chosen.us_per_sample:,.1f} µs)"
    else:
        reason = (
            f"the smallest size whose samples ({chosen.us_per_sample:,.1f} µs) are nearly as fast as "
            f"in batches of {fastest.size:,} ({fastest.us_per_sample:,.1f} µs)"
        )
    return Suggestion(size=chosen.size, reason=f"{reason}; {trials[-1].size:,} fits, {end}")


def parse_memory(text: str) -> int:
    """Bytes of a text such as ``800MB`` or ``2 GB``.

    Raises:
        UsageError: For anything else.
    """
    number, unit = text.strip()[:-2].strip(), text.strip()[-2:].upper()
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    try:
        num_bytes = float(number) * units[unit]
    except (KeyError, ValueError):
        raise UsageError(f"--memory {text}: write a number and a unit, such as 800MB or 2GB") from None
    if not 0 < num_bytes < 1e18:
        raise UsageError(f"--memory {text}: it must be larger than 0")
    return int(num_bytes)


def _try(make: Callable[[int], Any], size: int, seconds: float) -> Trial:
    with make(size) as experiment:
        device = experiment.strategy.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        timer = Timer(seconds, device)
        experiment.try_steps(10**6, (timer,))
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident()
        per_step, per_sample = timer.medians()
    _free()
    return Trial(size=size, ms_per_step=per_step * 1e3, us_per_sample=per_sample * 1e6, peak_bytes=peak)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _resident() -> int:
    """The peak memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIB


def _needed(trials: Sequence[Trial]) -> int:
    """An estimate of the memory of twice the last size: the last increase, doubled, is added."""
    last, before = trials[-1].peak_bytes, trials[-2].peak_bytes if len(trials) > 1 else trials[-1].peak_bytes
    return last + 2 * (last - before)


def _limit(memory: int | None) -> int:
    """The bytes that may be used on the host."""
    if memory is not None:
        return memory
    if torch.cuda.is_available():
        return sys.maxsize  # the device reports it itself
    try:
        with open("/proc/meminfo") as stream:
            free = next(int(line.split()[1]) * _KIB for line in stream if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return sys.maxsize
    return int(_MARGIN * free) + _resident()


def _words(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.0f} MB"
