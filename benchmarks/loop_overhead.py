"""The overhead of the loop over a hand-written one: microseconds and Python calls per step, measured in turn.

    python benchmarks/loop_overhead.py [--steps N] [--rounds N] [--optimizer sgd|adam] [--peers]

The work is a tiny linear model on prepared batches, so that nearly all time is overhead. Each figure is marginal: the
difference between a run of many epochs and a run of few, divided by the steps. So it excludes the start and includes
the work at log intervals and at the ends of epochs. Times are CPU times; the variants take turns, and the shortest
times of the rounds count, because other load only adds to them. Calls are Python function calls, counted by
`sys.setprofile`; they are deterministic. `--peers` measures other libraries, if installed (requirements-bench.txt). The
weights of every variant must equal those of the hand-written loop bit for bit.
"""

from __future__ import annotations

import argparse
import gc
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from _goals import figure
from torch import Tensor, nn

import wf
from wf.registry import Registry

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class Work:
    """A model and its data."""

    optimizer: str = "sgd"
    batch_size: int = 32
    batches: int = 100
    """Batches per epoch."""
    hidden: int = 0
    """Units of a hidden layer; 0 for a linear model."""

    @cached_property
    def data(self) -> list[tuple[Tensor, Tensor]]:
        """The batches of an epoch."""
        torch.manual_seed(1)
        x, y = torch.randn(self.batch_size * self.batches, FEATURES), torch.randn(self.batch_size * self.batches, 1)
        return list(zip(x.split(self.batch_size), y.split(self.batch_size), strict=True))

    def parts(self) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
        """A new model, loss and optimizer, always with the same weights."""
        torch.manual_seed(0)
        model: nn.Module = nn.Linear(FEATURES, 1)
        if self.hidden:
            model = nn.Sequential(nn.Linear(FEATURES, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1))
        return model, nn.MSELoss(), OPTIMIZERS[self.optimizer](model.parameters(), lr=1e-3)


FEATURES = 8
Variant = Callable[[Work, int], nn.Module]
"""Trains a new model for a number of epochs, and returns it."""


def hand_written(work: Work, epochs: int) -> nn.Module:
    """The usual loop."""
    model, loss_of, update = work.parts()
    model.train()
    for _ in range(epochs):
        for x, y in work.data:
            loss = loss_of(model(x), y)
            update.zero_grad()
            loss.backward()
            update.step()
    return model


def bare_loop(work: Work, epochs: int, hooks: tuple[Any, ...] = (), log_every: int = 100) -> nn.Module:
    """`wf.Loop` with the supervised trainer and only the given hooks."""
    trainer = Registry.discover().find("trainer", "supervised").load()
    model, loss_of, update = work.parts()
    made = trainer(model, loss_of, update, None, "epoch", "validation/loss")
    wf.Loop(made, hooks=hooks, log_every=log_every).run(work.data, wf.Epochs(epochs))
    return model


def whole_run(work: Work, epochs: int, **settings: Any) -> nn.Module:
    """A run with everything that `wf run` turns on: hooks, records, run directory and checkpoints; no evaluation."""
    inputs, targets = (torch.cat(tensors) for tensors in zip(*work.data, strict=True))
    folder = tempfile.mkdtemp()
    try:
        run = wf.build(
            dataset=(inputs, targets),
            model=lambda: work.parts()[0],
            loss="mse",
            optimizer={"use": work.optimizer, "lr": 1e-3},
            run_dir=Path(folder, "run"),
            **{
                "epochs": epochs,
                "batch_size": work.batch_size,
                "shuffle": False,
                "split": "100/0/0",
                "transform": [],
                "seed": 0,
                **settings,
            },
        )
        with redirect_stderr(StringIO()):  # hide the progress lines
            return run.fit().model
    finally:
        shutil.rmtree(folder)


VARIANTS: dict[str, Variant] = {
    "hand-written": hand_written,
    "wf, no hooks": bare_loop,
    "wf run, complete": whole_run,
}


def count_calls(run: Callable[[], object]) -> int:
    """The number of Python function calls that `run` makes in this thread."""
    calls = 0

    def profile(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    gc.disable()  # callbacks of the garbage collector would be counted
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls


def calls_a_step(variant: Variant, work: Work) -> float:
    """Python function calls per additional step, including the work at log intervals and ends of epochs."""
    few, many = 1, 4
    variant(work, 1)  # warm up: imports and caches
    more = count_calls(lambda: variant(work, many)) - count_calls(lambda: variant(work, few))
    return more / ((many - few) * work.batches)


def microseconds(variants: Mapping[str, Variant], work: Work, steps: int, rounds: int) -> dict[str, float]:
    """The marginal CPU microseconds per step of each variant, from the shortest times of the rounds."""
    few, many = 1, 1 + max(1, steps // work.batches)
    times: dict[tuple[str, int], list[float]] = {(name, epochs): [] for name in variants for epochs in (few, many)}
    for _ in range(rounds):
        for name, epochs in times:
            started = time.process_time()
            variants[name](work, epochs)
            times[name, epochs].append(time.process_time() - started)
    more_steps = (many - few) * work.batches
    return {name: (min(times[name, many]) - min(times[name, few])) / more_steps * 1e6 for name in variants}


def same_bits(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have the same weights."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a.detach().cpu(), b.detach().cpu()) for a, b in pairs)


def measure(variants: Mapping[str, Variant], work: Work, steps: int, rounds: int) -> None:
    """Measure and print the table."""
    reference = hand_written(work, 3)
    times = microseconds(variants, work, steps, rounds)
    print(f"python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, 1 thread")
    print(f"{work.optimizer}, {rounds} rounds of {steps} steps\n")
    print(f"{'':<20}{'us/step':>10}{'us over':>10}{'calls/step':>14}{'calls over':>12}  same bits")
    bare_calls = calls_a_step(hand_written, work)
    for name, variant in variants.items():
        calls = calls_a_step(variant, work)
        over, more_calls = times[name] - times["hand-written"], calls - bare_calls
        same = "yes" if same_bits(variant(work, 3), reference) else "NO"
        print(f"{name:<20}{times[name]:>10.1f}{over:>10.1f}{calls:>14.1f}{more_calls:>12.1f}  {same}")
        if name == "wf run, complete":
            figure("Python calls per step beyond a hand-written loop", more_calls, "calls", at_most=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--optimizer", choices=[*OPTIMIZERS], default="sgd")
    parser.add_argument("--peers", action="store_true", help="measure other libraries, too, if installed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = dict(VARIANTS)
    if arguments.peers:
        from _peers import installed_peers

        measured |= installed_peers()
    measure(measured, Work(arguments.optimizer), arguments.steps, arguments.rounds)
