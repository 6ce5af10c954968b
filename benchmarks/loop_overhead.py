"""What the loop costs over a hand-written one: microseconds and Python calls a step, side by side in one run.

Usage: python benchmarks/loop_overhead.py [--steps N] [--rounds N]

The work is a tiny linear model on one fixed batch, so that nearly all time is overhead. The variants take turns, and
the table shows the median over the rounds of each variant's time against the hand-written loop's of the same round.
Calls are counted with `sys.setprofile`, Python functions only; they hardly vary from run to run.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import wf
from wf.registry import Registry

SIZE, FEATURES = 32, 8


class Repeat:
    """Serves one batch over and over."""

    def __init__(self, batch: Any, num_batches: int) -> None:
        self._batch, self.num_batches = batch, num_batches

    def epoch(self, epoch: int, start: int = 0) -> Any:
        """The batches of an epoch."""
        return (self._batch for _ in range(start, self.num_batches))


def parts() -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    """A fresh model, loss and optimizer, the same every time."""
    torch.manual_seed(0)
    model = nn.Linear(FEATURES, 1)
    return model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=1e-3)


def hand_written(batch: Any, num_steps: int) -> nn.Module:
    """The usual loop."""
    model, loss_of, optimizer = parts()
    model.train()
    for x, y in ((batch.inputs, batch.targets) for _ in range(num_steps)):
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def with_wf(batch: Any, num_steps: int, hooks: tuple[str, ...]) -> nn.Module:
    """The same through `wf.Loop`, the supervised trainer and hooks by name."""
    registry = Registry.discover()
    model, loss_of, optimizer = parts()
    trainer = registry.find("trainer", "supervised").load()(model, loss_of, optimizer, None, "epoch", "validation/loss")
    options: dict[str, dict[str, Any]] = {"learning-rate-log": {"optimizer": optimizer}}
    made = [registry.find("hook", name).load()(**options.get(name, {})) for name in hooks]
    wf.Loop(trainer, hooks=made).run(Repeat(batch, num_steps), wf.Epochs(1))
    return model


def count_calls(work: Callable[[], object]) -> int:
    """Python function calls that `work` makes."""
    calls = 0

    def profile(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def measure(num_steps: int, rounds: int) -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    from wf.runtime import Batch

    batch = Batch(torch.randn(SIZE, FEATURES), torch.randn(SIZE, 1), None, None, SIZE)
    variants: dict[str, Callable[[int], nn.Module]] = {
        "hand-written": lambda steps: hand_written(batch, steps),
        "wf, no hooks": lambda steps: with_wf(batch, steps, ()),
        "wf, log hooks": lambda steps: with_wf(batch, steps, ("learning-rate-log", "divergence-guard")),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            started = time.perf_counter()
            work(num_steps)
            times[name].append(time.perf_counter() - started)
    bare = times["hand-written"]
    reference = [parameter.detach().clone() for parameter in hand_written(batch, 50).parameters()]
    print(f"python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, 1 thread")
    print(f"{rounds} rounds of {num_steps} steps\n")
    print(f"{'':<14}{'us a step':>12}{'us over bare':>14}{'calls a step':>14}  same bits")
    for name, work in variants.items():
        over = statistics.median((a - b) / num_steps for a, b in zip(times[name], bare, strict=True)) * 1e6
        step = statistics.median(times[name]) / num_steps * 1e6
        calls = (count_calls(lambda work=work: work(1100)) - count_calls(lambda work=work: work(100))) / 1000
        same = all(torch.equal(a, b) for a, b in zip(work(50).parameters(), reference, strict=True))
        print(f"{name:<14}{step:>12.1f}{over:>14.1f}{calls:>14.1f}  {'yes' if same else 'NO'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    measure(arguments.steps, arguments.rounds)
