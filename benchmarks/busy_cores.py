"""Milliseconds per training step on idle and on busy cores, with and without a limit on spinning threads.

    python benchmarks/busy_cores.py [--rounds N] [--steps N] [--busy N] [--all]

torch computes with one OpenMP thread per core. A thread that waits for the others spins for a while before it sleeps;
`GOMP_SPINCOUNT` sets how long. On busy cores a spinning thread takes CPU time from the threads that it waits for.
Each figure is the median of the rounds. Every round starts a new process for each setting, once on an idle machine and
once beside `--busy` processes that each keep a core busy. The last column says whether the weights after the steps
equal those of the first setting bit for bit. `--all` also measures a passive wait and a single thread.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
MODELS = ("r3", "cnn", "gpt", "tabular")


def step_of(name: str) -> tuple[Callable[[], None], list[object]]:
    """A training step of one of the models, and its weights."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    if name == "gpt":
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True, norm_first=True)
        model: nn.Module = nn.Sequential(nn.Embedding(128, 128), nn.TransformerEncoder(layer, 2), nn.Linear(128, 128))
        inputs, targets = torch.randint(128, (16, 64)), torch.randint(128, (16, 64))
    elif name == "cnn":
        convolutions = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU()]
        model = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 10))
        inputs, targets = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
    else:
        sizes = [784, 512, 512, 10] if name == "r3" else [24, 128, 64, 10]
        layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        model = nn.Sequential(*layers[:-1])
        inputs, targets = torch.randn(64, sizes[0]), torch.randint(10, (64,))
    loss_of, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=1e-3)

    def step() -> None:
        loss = loss_of(model(inputs).flatten(0, -2), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, list(model.parameters())


def measure(name: str, steps: int) -> None:
    """Print the milliseconds per step, and a checksum of the weights."""
    import torch

    step, weights = step_of(name)
    for _ in range(20):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    milliseconds = 1000 * (time.perf_counter() - start) / steps
    digest = hashlib.sha256(b"".join(w.detach().numpy().tobytes() for w in weights if isinstance(w, torch.Tensor)))
    print(milliseconds, digest.hexdigest())


def once(name: str, steps: int, setting: dict[str, str]) -> tuple[float, str]:
    """The figures of a new process."""
    unset = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in unset} | setting
    words = [sys.executable, __file__, "--measure", name, "--steps", str(steps)]
    out = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout.split()
    return float(out[0]), out[1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--measure", choices=MODELS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.steps)
        return
    settings = dict(SETTINGS if arguments.all else list(SETTINGS.items())[:2])
    found: dict[tuple[str, str, bool], list[float]] = {}
    bits: dict[tuple[str, str], set[str]] = {}
    for busy in (False, True):
        burners = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(arguments.busy if busy else 0)
        ]
        try:
            for _ in range(arguments.rounds):
                for name in MODELS:
                    for setting, environment in settings.items():
                        milliseconds, digest = once(name, arguments.steps, environment)
                        found.setdefault((name, setting, busy), []).append(milliseconds)
                        bits.setdefault((name, setting), set()).add(digest)
        finally:
            for burner in burners:
                burner.kill()
    print(f"{os.cpu_count()} cores, {arguments.busy} busy processes; ms per step, median of {arguments.rounds} rounds")
    print(f"{'':8} {'':24} {'quiet':>8} {'busy':>8}  bits")
    for name in MODELS:
        for setting in settings:
            quiet, loud = (statistics.median(found[name, setting, busy]) for busy in (False, True))
            same = "same" if bits[name, setting] == bits[name, "default"] else "differ"
            print(f"{name:8} {setting:24} {quiet:8.2f} {loud:8.2f}  {same}")


if __name__ == "__main__":
    main()
