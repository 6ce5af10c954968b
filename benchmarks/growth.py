"""How what the loop costs grows with batch size, model size, listening hooks, logging interval and dataset size.

    python benchmarks/growth.py [--steps N] [--rounds N] [--plot FILE]

Everything is a difference to the hand-written loop at the same work, a step: Python calls, which do not vary, and
microseconds, as `loop_overhead.py` takes them. A large model's step takes so long that the difference of two of them
is mostly noise; the calls tell there.
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
    """Listens to each step, and does nothing."""

    def on_step_end(self, run: Loop) -> None:
        """Nothing."""


class Deaf(Hook):
    """Listens to what does not happen at a step."""

    def on_run_end(self, run: Loop) -> None:
        """Nothing."""


class Point(NamedTuple):
    """One measurement: what grows, how large it is, and what is measured."""

    axis: str
    value: int
    work: Work
    variant: Variant


def points() -> Iterator[Point]:
    """All that is measured."""
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
    """Measure and print the table; gives each point with its calls and its microseconds."""
    print(f"torch {torch.__version__}, 1 thread, {rounds} rounds of {steps} steps; over the hand-written loop\n")
    print(f"{'':<28}{'':>8}{'calls a step':>14}{'us a step':>11}")
    found = []
    for point in points():
        calls = calls_a_step(point.variant, point.work) - calls_a_step(hand_written, point.work)
        times = microseconds({"wf": point.variant, "by hand": hand_written}, point.work, steps, rounds)
        over = times["wf"] - times["by hand"]
        found.append((point, calls, over))
        print(f"{point.axis:<28}{point.value:>8,}{calls:>14.1f}{over:>11.1f}", flush=True)
    return found


def draw(found: list[tuple[Point, float, float]], file: Path) -> None:
    """Draw the calls, which do not vary, a panel for each axis."""
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
    figure.supylabel("Python calls a step over the hand-written loop")
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="where the figure is drawn: a .svg or .png")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = measure(arguments.steps, arguments.rounds)
    if arguments.plot:
        draw(measured, arguments.plot)
