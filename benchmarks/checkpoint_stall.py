"""How long a checkpoint delays training, compared with a blocking `torch.save` of the same state.

    python benchmarks/checkpoint_stall.py [--rounds N] [--threads N] [--megabytes N ...]

A step trains a small layer; the rest of the model is only saved. The stall of a save is the time inside `save`, plus
the slowdown of the steps until the checkpoint is durable: their additional CPU time, because memory and caches are
shared with the writer. The CPU time of the writer is a separate column: it costs nothing if a core is idle, and adds to
the training time otherwise. `torch.save` neither waits for the disk nor writes checksums; with an fsync it is durable,
but still without checksums. The ways take turns; the table shows the medians of the rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wf_durability.checkpointer import DirectoryCheckpointer

Save = Callable[[], "Future[str] | None"]


class Training:
    """Training of one small layer in a model of many megabytes."""

    def __init__(self, megabytes: int) -> None:
        self.model = nn.ModuleList(nn.Linear(1250, 2000, bias=False) for _ in range(megabytes // 10))
        self.layer = nn.Linear(768, 768)
        self.optimizer = torch.optim.SGD(self.layer.parameters(), lr=1e-3)
        self.inputs = torch.randn(256, 768)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.layer(self.inputs).square().mean().backward()
        self.optimizer.step()

    def state(self) -> dict[str, Any]:
        return {"parts": {"model": {**self.model.state_dict(), **self.layer.state_dict()}}}

    def step_sec(self, seconds: float = 1.0) -> float:
        """The CPU time of a step when nothing is being saved."""
        start, end, num_steps = time.thread_time(), time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            self.step()
            num_steps += 1
        return (time.thread_time() - start) / num_steps

    def stall(self, save: Save) -> tuple[float, ...]:
        """Seconds inside `save`, lost by the steps meanwhile, until it is durable, and CPU seconds of the writer."""
        alone = self.step_sec()
        start, others = time.perf_counter(), time.process_time() - time.thread_time()
        writing = save()
        inside, steps, num_steps = time.perf_counter() - start, time.thread_time(), 0
        while writing is not None and not writing.done():
            self.step()
            num_steps += 1
        lost = time.thread_time() - steps - num_steps * alone
        others = time.process_time() - time.thread_time() - others
        return inside, lost, time.perf_counter() - start, others


def measure(megabytes: int, rounds: int, folder: Path) -> None:
    training, step = Training(megabytes), iter(range(1, 1000))
    checkpointer = DirectoryCheckpointer(folder / "run", "validation/loss", {}, keep_last=1)

    def checkpoint() -> Future[str]:
        return checkpointer.save(training.state(), {"step": next(step), "epoch": 0}, {})

    def blocking(*, durable: bool) -> None:
        with open(folder / "state.pt", "wb") as file:
            torch.save(training.state(), file)
            if durable:
                file.flush()
                os.fsync(file.fileno())

    ways: dict[str, Save] = {
        "checkpoint": checkpoint,
        "torch.save": lambda: blocking(durable=False),
        "torch.save, fsync": lambda: blocking(durable=True),
    }
    checkpointer.reserve(training.state()).result()  # a run does this at its first record
    first = training.stall(checkpoint)
    taken: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, save in ways.items():
            taken[name].append(training.stall(save))
    medians = {name: [statistics.median(one) for one in zip(*rows, strict=True)] for name, rows in taken.items()}
    plain = medians["torch.save"][0]
    for name, (inside, lost, whole, others) in {"first checkpoint": first, **medians}.items():
        ratio = (inside + lost) / plain
        print(
            f"{megabytes:5} MB  {name:18} {inside:8.3f} {lost:8.3f} {inside + lost:8.3f} {ratio:14.2f} {whole:9.3f} "
            f"{others:8.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 1000])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, {options.threads} thread(s), "
        f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}; medians of {options.rounds} rounds, in seconds"
    )
    print(f"{'':28}  in save in steps    stall  of torch.save   durable   writer")
    for megabytes in options.megabytes:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            (Path(folder) / "run").mkdir()
            measure(megabytes, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
