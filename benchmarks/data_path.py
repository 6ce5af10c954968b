"""Seconds per epoch, figures and peak memory of R3 (Fashion-MNIST) in wf and in the usual script, measured in turn.

    python benchmarks/data_path.py [--epochs N] [--threads N] [--serve-from memory] [--folder DIR]

The usual script is torchvision's dataset with ToTensor, torch's DataLoader with batches of 64, and a hand-written loop.
wf is `wf run examples/r3_fashion_mnist.toml`. The third variant is the same hand-written loop over tensors in memory:
the difference between wf and this loop is wf's overhead. Each variant has its own process, and their epochs take turns.
An epoch includes the evaluation of the test split; the first epoch of each is not counted. The table shows wall time
and CPU time, which other programs on the machine disturb less. The number of threads is torch's default, unless
`--threads` or OMP_NUM_THREADS sets it. Peak memory is the maximum of the process (ru_maxrss). Reading is from the four
gzipped files to tensors.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _goals import figure

from wf.registry import Registry
from wf_building.defaults import default_hooks

EXAMPLE = Path(__file__).parents[1] / "examples" / "r3_fashion_mnist.toml"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


class Turns:
    """Reports each epoch to the parent process, and waits for its permission to continue."""

    def __init__(self) -> None:
        self.report({"ready": True})

    def report(self, figures: dict[str, Any]) -> None:
        """Report an epoch and wait; the time of the next epoch starts here."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print("REPORT", json.dumps({**figures, "peak_mb": peak}), flush=True)
        if sys.stdin.readline().strip() != "go":
            os._exit(0)
        self._start, self._processor = time.perf_counter(), time.process_time()

    def end_epoch(self, loss: float, accuracy: float) -> None:
        """Report an epoch with these figures of the test split."""
        seconds, processor = time.perf_counter() - self._start, time.process_time() - self._processor
        self.report({"seconds": seconds, "processor": processor, "loss": loss, "accuracy": accuracy})


class Reporter:
    """A hook that reports each epoch."""

    def __init__(self) -> None:
        self._turns: Turns | None = None

    def on_epoch_start(self, run: Any) -> None:
        """Report the epoch before, which has been evaluated by now."""
        if self._turns is None:
            self._turns = Turns()
        else:
            self._turns.end_epoch(run.metrics["test/loss"], run.metrics["test/accuracy"])


def by_wf(folder: Path, serve_from: str) -> None:
    """R3 as a run of wf."""
    import wf

    dataset = {"use": "fashion-mnist", "root": str(folder)}
    hooks = [*default_hooks(Registry.discover()), Reporter()]
    wf.run(EXAMPLE, dataset=dataset, serve_from=serve_from, epochs=1000, hook=hooks, run_dir=folder / "run", quiet=True)


def by_hand(folder: Path) -> None:
    """R3 by the usual script."""
    import torch
    from torchvision import datasets
    from torchvision.transforms import ToTensor

    train, test = (datasets.FashionMNIST(str(folder), train=part, transform=ToTensor()) for part in (True, False))
    loop_by_hand(*(torch.utils.data.DataLoader(part, batch_size=64) for part in (train, test)))


class Slices:
    """Batches of tensors in memory."""

    def __init__(self, images: Any, labels: Any) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return -(-len(self._labels) // 64)

    def __iter__(self) -> Iterator[Any]:
        for x, y in zip(self._images.split(64), self._labels.split(64), strict=True):
            yield x.float().div_(255), y


def by_tensors(folder: Path) -> None:
    """R3 by the hand-written loop, with all samples in memory."""
    from torchvision import datasets

    parts = [datasets.FashionMNIST(str(folder), train=part) for part in (True, False)]
    loop_by_hand(*(Slices(part.data.unsqueeze(1), part.targets) for part in parts))


def loop_by_hand(train: Any, test: Any) -> None:
    """The usual model, loss, optimizer and loop."""
    import torch
    from torch import nn

    torch.manual_seed(42)
    layers = (nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    model = nn.Sequential(nn.Flatten(), *layers)
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    turns = Turns()
    while True:
        model.train()
        for number, (x, y) in enumerate(train):
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if number % 100 == 0:
                loss.item()
        model.eval()
        total, correct, num = 0.0, 0.0, 0
        with torch.no_grad():
            for x, y in test:
                predictions = model(x)
                total += loss_of(predictions, y).item()
                correct += (predictions.argmax(1) == y).type(torch.float).sum().item()
                num += len(y)
        turns.end_epoch(total / len(test), correct / num)


def time_reading(folder: Path) -> None:
    """Print the seconds from the gzipped files to tensors, the first time in this process."""
    from wf_datasets.images.mnist import fashion_mnist

    start = time.perf_counter()
    fashion_mnist(folder, root=folder, download=False)
    print("REPORT", json.dumps({"seconds": time.perf_counter() - start}))


class Process:
    """The process of one variant, which trains one epoch per turn."""

    def __init__(self, *args: object) -> None:
        command = [sys.executable, __file__, *map(str, args)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.reports: list[dict[str, Any]] = []
        self._read()

    def turn(self) -> None:
        """Let it train one epoch."""
        assert self._process.stdin is not None
        print("go", file=self._process.stdin, flush=True)
        self._read()

    def end(self) -> None:
        """End the process."""
        self._process.communicate("end\n")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("REPORT "):
                self.reports.append(json.loads(line.removeprefix("REPORT ")))
                return
        raise SystemExit(f"{self._process.args} ended with code {self._process.wait()}")


def files_of(folder: Path) -> Iterator[Path]:
    """The four files."""
    found = sorted(folder.glob("*-ubyte.gz"))
    if len(found) != 4:
        raise SystemExit(f"Fashion-MNIST is not in {folder}: apt-get install dataset-fashion-mnist, or --folder DIR")
    return iter(found)


def unpack(source: Path, folder: Path) -> None:
    """Copy the files for wf, and unpack them into the folder where torchvision looks for them."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in files_of(source):
        shutil.copy(file, folder)
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))


def measure(source: Path, epochs: int, serve_from: str) -> None:
    """Measure and print the table."""
    threads = os.environ.get("OMP_NUM_THREADS", "torch's default number of")
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, {threads} threads, "
        f"torch {version('torch')}, load {os.getloadavg()[0]:.1f}; medians of {epochs} epochs"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        unpack(source, folder)
        reading = [Process("reading", folder).reports[0]["seconds"] for _ in range(3)]
        each = {
            "usual script": Process("hand", folder),
            "tensors by hand": Process("tensors", folder),
            "wf": Process("wf", folder, "--serve-from", serve_from),
        }
        for _ in range(epochs + 1):
            for process in each.values():
                process.turn()
        for process in each.values():
            process.end()
    hand, ours = (each[name].reports[1:] for name in ("usual script", "wf"))
    print(f"\n{'':16}{'s per epoch':>12}{'processor':>12}{'peak MB':>10}{'test loss':>12}{'accuracy':>10}")
    for name, process in each.items():
        clock, processor = (_median(process.reports[2:], unit) for unit in ("seconds", "processor"))
        last = process.reports[-1]
        figures = f"{last['peak_mb']:10.0f}{last['loss']:12.6f}{last['accuracy']:10.4f}"
        print(f"{name:16}{clock:12.2f}{processor:12.2f}{figures}")
    same = all(
        abs(one["loss"] - other["loss"]) < 1e-9 and abs(one["accuracy"] - other["accuracy"]) < 1e-9
        for one, other in zip(hand, ours, strict=True)
    )
    print()
    for unit in ("seconds", "processor"):
        ratios = [one[unit] / other[unit] for one, other in zip(hand[1:], ours[1:], strict=True)]
        span = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"times faster, {unit:11} {span}")
    print(f"memory beyond the script  {ours[-1]['peak_mb'] - hand[-1]['peak_mb']:.0f} MB")
    print(f"same figures every epoch  {'yes' if same else 'NO'}")
    print(f"reading the gzipped files {min(reading):.2f} s")
    memory = [
        one["processor"] / other["processor"]
        for one, other in zip(ours[1:], each["tensors by hand"].reports[2:], strict=True)
    ]
    claim = "R3: time of an epoch, relative to a hand-written loop over tensors in memory"
    figure(claim, statistics.median(memory), "times", at_most=1.05)
    faster = [one["seconds"] / other["seconds"] for one, other in zip(hand[1:], ours[1:], strict=True)]
    figure("R3: speedup of an epoch over the usual script", statistics.median(faster), "times", at_least=2.6)


def _median(reports: list[dict[str, Any]], unit: str) -> float:
    return statistics.median(report[unit] for report in reports)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=("hand", "tensors", "wf", "reading"), help=argparse.SUPPRESS)
    parser.add_argument("where", nargs="?", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, default=11)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--serve-from", default="auto")
    parser.add_argument("--folder", type=Path, default=DEBIAN, help="the folder of the four gzipped files")
    arguments = parser.parse_args()
    if arguments.part == "hand":
        by_hand(arguments.where)
    elif arguments.part == "tensors":
        by_tensors(arguments.where)
    elif arguments.part == "wf":
        by_wf(arguments.where, arguments.serve_from)
    elif arguments.part == "reading":
        time_reading(arguments.where)
    else:
        if arguments.threads:
            os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
        measure(arguments.folder, arguments.epochs, arguments.serve_from)
