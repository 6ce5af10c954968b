"""How the overhead of the loop grows with batch size, model size, number of hooks, logging interval and dataset size.

    python benchmarks/growth.py [--steps N] [--rounds N] [--plot FILE]

Each figure is the difference to a hand-written loop with the same work, per step: Python calls, which are
deterministic, and microseconds, measured as in `loop_overhead.py`. For a large model the difference of the times is
mostly noise; look at the calls there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from loop_overhead import Variant, Work, bare_loop, calls_a_step, hand_written, microseconds, whole_run

from wf import Hook, Loop


class Listening(Hook):
    """Handles every step, and does nothing."""

    def on_step_end(self, run: Loop) -> None:
        """Do nothing."""


class Deaf(Hook):
    """Handles an event outside of steps."""

    def on_run_end(self, run: Loop) -> None:
        """Do nothing."""


class Point(NamedTuple):
    """One measurement: the quantity that grows, its value, the work, and the loop to measure."""

    axis: str
    value: int
    work: Work
    variant: Variant


def points() -> Iterator[Point]:
    """All measurements."""
    for size in (8, 64, 512, 4096):
        yield Point("samples in a batch", size, Work(batch_size=size), whole_run)
    for hidden in (0, 16, 128, 1024):
        yield Point("hidden units", hidden, Work(hidden=hidden), whole_run)
    for batches in (10, 100, 1000, 5000):
        yield Point("batches in an epoch", batches, Work(batches=batches), whole_run)
    for every in (1, 10, 100, 1000):
        yield Point("steps between records", every, Work(batches=1000), partial(whole_run, log_every=every))
    for number in (0, 1, 4, 16):
        hooks = tuple(Listening() for _ in range(number))
        yield Point("hooks that listen to steps", number, Work(), partial(bare_loop, hooks=hooks))
    for number in (0, 1, 4, 16):
        hooks = tuple(Deaf() for _ in range(number))
        yield Point("hooks that do not", number, Work(), partial(bare_loop, hooks=hooks))


def measure(steps: int, rounds: int) -> list[tuple[Point, float, float]]:
    """Measure and print the table; returns each point with its calls and its microseconds."""
    print(f"torch {torch.__version__}, 1 thread, {rounds} rounds of {steps} steps; beyond the hand-written loop\n")
    print(f"{'':<28}{'':>8}{'calls per step':>16}{'us per step':>13}")
    found = []
    for point in points():
        calls = calls_a_step(point.variant, point.work) - calls_a_step(hand_written, point.work)
        times = microseconds({"wf": point.variant, "by hand": hand_written}, point.work, steps, rounds)
        over = times["wf"] - times["by hand"]
        found.append((point, calls, over))
        print(f"{point.axis:<28}{point.value:>8,}{calls:>16.1f}{over:>13.1f}", flush=True)
    return found


def draw(found: list[tuple[Point, float, float]], file: Path) -> None:
    """Draw the calls, which are deterministic, with one panel per quantity."""
    import matplotlib

    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib.figure import Figure

    axes = list(dict.fromkeys(point.axis for point, _, _ in found))
    figure = Figure(figsize=(3.0 * len(axes) / 2, 5.0), layout="constrained")
    for panel, axis in zip(figure.subplots(2, len(axes) // 2, sharey=True).flat, axes, strict=True):
        chosen = [one for one in found if one[0].axis == axis]
        panel.plot(range(len(chosen)), [calls for _, calls, _ in chosen], "o-")
        panel.set_xticks(range(len(chosen)), [f"{point.value:,}" for point, _, _ in chosen])
        panel.set_xlabel(axis)
        panel.axhline(0, color="gray", linewidth=0.8)
    figure.supylabel("Python calls per step beyond the hand-written loop")
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="file for the figure, .svg or .png")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = measure(arguments.steps, arguments.rounds)
    if arguments.plot:
        draw(measured, arguments.plot)
