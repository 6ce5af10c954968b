"""Microseconds per training step on a table with embeddings and scaled targets, in wf and in a hand-written loop.

    python benchmarks/tables.py [--steps N] [--rounds N] [--hidden N]

Both train the model `tabular` on batches of 32 rows: 20 numbers, two embedded columns of 1,000 categories, a scaled
target. Their epochs take turns; the figure is the shortest CPU time (one thread) of all rounds, which other programs on
the machine disturb least. With a small `--hidden` nearly all time is overhead.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from _goals import figure
from torch import nn

import wf
from wf_base import Dataset, TensorSamples
from wf_models.tabular import Tabular

BATCH = 32
FACTS = {"numbers": [f"n{place}" for place in range(20)], "categories": {"a": 1001, "b": 1001}}


def data(steps: int) -> Dataset:
    """Random rows with random targets, for an epoch of `steps` steps."""
    torch.manual_seed(0)
    num = steps * BATCH
    inputs = {"numbers": torch.randn(num, 20), "categories": torch.randint(1, 1001, (num, 2))}
    return Dataset(train=TensorSamples(inputs, 1000 + 100 * torch.randn(num, 1)), targets="real", facts=FACTS)


def by_hand(steps: int, hidden: int) -> Iterator[None]:
    """Epochs of a hand-written loop."""
    samples: Any = data(steps).train
    std, mean = torch.std_mean(samples.targets)
    torch.manual_seed(42)
    model = Tabular(1, FACTS, hidden=[hidden, hidden])
    optimizer = torch.optim.Adam(model.parameters())
    while True:
        for rows in torch.randperm(steps * BATCH).split(BATCH):
            numbers, categories = (samples.inputs[name][rows] for name in ("numbers", "categories"))
            loss = nn.functional.mse_loss(model(numbers, categories), (samples.targets[rows] - mean) / std)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield


def by_name(steps: int, hidden: int) -> Iterator[None]:
    """Epochs of wf's steps, without evaluations and records."""
    run = wf.build(
        dataset=data(steps),
        model={"use": "tabular", "hidden": [hidden, hidden]},
        transform=["standardize-targets"],
        split="100/0",
        hook=[],
        save=False,
        quiet=True,
        epochs=1,
    )
    trainer = run.loop.trainer
    trainer.on_run_start(run.loop)
    epoch = 0
    while True:
        for batch in run.data.epoch(epoch):
            trainer.train_step(batch)
        epoch += 1
        yield


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--hidden", type=int, default=512)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ways = {"by hand": by_hand(asked.steps, asked.hidden), "wf": by_name(asked.steps, asked.hidden)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(asked.rounds + 1):
        for name, rounds in ways.items():
            start = time.process_time()
            next(rounds)
            if number:
                found[name].append((time.process_time() - start) / asked.steps * 1e6)
    for name, values in found.items():
        print(f"{name:8} {min(values):8.1f} us per step")
    ratio = min(found["wf"]) / min(found["by hand"])
    print(f"wf takes {100 * (ratio - 1):+.1f} %")
    figure("table with embeddings: time of a step, relative to a hand-written loop", ratio, "times", at_most=1.02)


if __name__ == "__main__":
    main()
