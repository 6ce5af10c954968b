"""The time of an evaluation of R3's test split as a share of its epoch, by the batch size of the evaluation.

    python benchmarks/evaluation.py [--rounds N]

R3 is a multilayer perceptron 784-512-512-10 on 60,000 images in batches of 64; 10,000 are evaluated after each epoch.
The images here are noise; the arithmetic is the same. Times are CPU seconds, the shortest of the rounds.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

import wf
from wf import Hook, Loop

TRAIN, TEST, PART = 60_000, 10_000, 0.1
"""Numbers of images, and the part of the training images to train on: all batches take equally long."""


class Clock(Hook):
    """Measures the CPU seconds of the steps of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_start(self, run: Loop) -> None:
        """Start the clock."""
        self._began = time.process_time()

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Stop the clock, before the evaluation."""
        if "epoch_loss" in record:
            self.seconds.append(time.process_time() - self._began)


def measure(rounds: int) -> None:
    """Measure and print the table."""
    num = int(TRAIN * PART) + TEST
    images, classes = torch.rand(num, 1, 28, 28), torch.randint(10, (num,))
    shares = f"{100 * TRAIN * PART / num}/0/{100 * TEST / num}"
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, shortest of {rounds}\n")
    print(f"{'batch size of an evaluation':<30}{'s':>8}{'of an epoch':>14}")
    for size in (64, 128, 256, 512, 1024):
        clock = Clock()
        run = wf.build(
            dataset=(images, classes),
            model={"use": "mlp", "hidden": [512, 512]},
            optimizer={"use": "sgd", "lr": 1e-3},
            evaluator={"use": "default", "batch_size": size},
            batch_size=64,
            split=shares,
            shuffle=False,
            epochs=rounds,
            eval_splits=[],
            hook=[clock],
            save=False,
        )
        run.loop.final_splits = ()
        run.fit()
        seconds = []
        for _ in range(rounds):
            began = time.process_time()
            run.evaluate("test")
            seconds.append(time.process_time() - began)
        print(f"{size:<30}{min(seconds):>8.3f}{min(seconds) / (min(clock.seconds) / PART):>14.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    measure(parser.parse_args().rounds)
