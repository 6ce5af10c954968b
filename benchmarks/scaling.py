"""The arithmetic of docs/scaling.md: devices, checkpoints, restarts and many runs.

    python benchmarks/scaling.py             print the tables
    python benchmarks/scaling.py --measure   measure some inputs on this machine first

The tables are computed from the numbers in `Inputs`, each with its source; nothing was run on several machines.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from wf_durability.checkpointer import DirectoryCheckpointer

HOUR = 3600.0
DEVICES = (8, 64, 512, 4096)
MODELS = {"25 M": 25e6, "1 B": 1e9, "7 B": 7e9, "70 B": 70e9}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of the tables."""

    write_bytes_sec: float = 0.22e9
    """Write rate of one process, including checksums and fsync: docs/durability.md, 1 GB in 4.5 s."""
    copy_bytes_sec: float = 11e9
    """Copy rate in memory, which determines the stall of a save: docs/durability.md."""
    run_sec: float = 0.00035
    """Time of `wf runs` per run: docs/command-line.md, 0.7 s for 2,000."""
    start_sec: float = 3.5
    """Time from the command to the first step, without connecting processes: measured by --measure."""
    permutation_sec: float = 4.5e-8
    """Time of torch.randperm per number: measured by --measure."""
    order_bytes: int = 8
    """Size of an order of samples in each process, per sample: int64."""
    state_bytes: int = 12
    """Size of a checkpoint per parameter: float32 weights and the two moments of Adam."""
    device_bytes: int = 16
    """Memory of a device in training per parameter: the state and float32 gradients, without activations."""
    device_memory: float = 141e9
    """NVIDIA H200, data sheet."""
    device_flops: float = 0.4 * 989e12
    """40 % of the dense bfloat16 rate of NVIDIA H100 and H200, data sheet; Llama 3 reached 38 to 43 %, table 4."""
    link_bytes_sec: float = 50e9
    """Network rate between machines per device: 400 Gb/s, the network of Llama 3, section 3.3.1."""
    devices_of_machine: int = 8
    """Devices per machine; they share one read of a file."""
    tokens: int = 8192
    """Tokens of each device per step."""
    failure_sec: float = 16384 * 54 * 24 * HOUR / 419
    """Device time between unexpected interruptions: 419 in 54 days on 16,384 devices, Llama 3, section 3.3.4."""
    storage_bytes_sec: float = 100e9
    """Rate of a shared file system; Llama 3 had 2 TB/s, section 3.3.1."""


def measured() -> Inputs:
    """The inputs, with those that can be measured on this machine."""
    given = Inputs()
    start = time.process_time()
    torch.randperm(20_000_000)
    permutation = (time.process_time() - start) / 20e6
    tensors = {"model": torch.zeros(50_000_000)}
    start = time.perf_counter()
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    first = time.perf_counter() - start
    start = time.perf_counter()
    for name, tensor in tensors.items():
        copies[name].copy_(tensor)
    copying = min(first, time.perf_counter() - start)
    return replace(
        given,
        permutation_sec=permutation,
        copy_bytes_sec=tensors["model"].nbytes / copying,
        write_bytes_sec=_write_rate(tensors),
        start_sec=_start(),
    )


def _write_rate(tensors: dict[str, Tensor]) -> float:
    """The rate in bytes per second of writing a checkpoint durably."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        checkpointer = DirectoryCheckpointer(Path(folder) / "run", "validation/loss", {}, keep_last=1)
        start = time.perf_counter()
        checkpointer.save({"parts": {"model": tensors}}, {"step": 1, "epoch": 0}, {}).result()
        return sum(tensor.nbytes for tensor in tensors.values()) / (time.perf_counter() - start)


def _start() -> float:
    """CPU seconds of a run of one small epoch; nearly all of it is the start."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-P", "-m", "wf_cli", "run", "--dataset", "iris", "--epochs", "1", "--quiet"]
        subprocess.run(line, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def steps(own: Inputs) -> Iterable[list[str]]:
    """Data-parallel steps: computation, and a ring all-reduce of the gradients."""
    for name, params in MODELS.items():
        computing = 6 * params * own.tokens / own.device_flops
        fits = own.device_bytes * params < own.device_memory
        row = [name, f"{computing:.3g}"]
        for devices in DEVICES:
            adding = 2 * (devices - 1) / devices * 4 * params / own.link_bytes_sec
            row.append(f"{adding / computing:.0%}")
        needed = math.ceil(own.device_bytes * params / own.device_memory)
        yield [*row, "yes" if fits else f"no, {needed} devices at least"]


def checkpoints(own: Inputs) -> Iterable[list[str]]:
    """The size of a checkpoint, and the time to write and read it."""
    for name, params in MODELS.items():
        size = own.state_bytes * params
        alone = size / own.write_bytes_sec
        sharded = [max(size / devices / own.write_bytes_sec, size / own.storage_bytes_sec) for devices in DEVICES]
        reading = [_reading(own, size, devices) for devices in DEVICES]
        yield [
            name,
            _bytes(size),
            _time(size / own.copy_bytes_sec),
            _time(alone),
            *(_time(sec) for sec in (sharded[0], sharded[-1])),
            *(_time(sec) for sec in (reading[0], reading[-1])),
        ]


def cadence(own: Inputs, params: float = 7e9) -> Iterable[list[str]]:
    """Young's interval and the share of time lost, for blocking, asynchronous and sharded saves."""
    size = own.state_bytes * params
    write = size / own.write_bytes_sec
    for devices in DEVICES:
        between = own.failure_sec / devices
        again = own.start_sec + _reading(own, size, devices)
        row = [f"{devices:,}", _time(between)]
        shared = max(write / devices, size / own.storage_bytes_sec)
        ways = (
            (write, write, again),
            (size / own.copy_bytes_sec, write, again),
            (size / devices / own.copy_bytes_sec, shared, own.start_sec + size / own.storage_bytes_sec),
        )
        for stall, durable, back in ways:
            best = max(math.sqrt(2 * stall * between), durable)
            row += [_time(best), f"{lost(best, stall, durable, back, between):.2%}"]
        yield row


def _reading(own: Inputs, size: float, devices: int) -> float:
    """Seconds until every process has read the whole checkpoint, which each machine fetches once."""
    machines = -(-devices // own.devices_of_machine)
    return machines * size / own.storage_bytes_sec


def lost(interval: float, stall: float, durable: float, again: float, between: float) -> float:
    """The share of time lost by saves and failures, to first order (Young 1974; Daly 2006).

    Args:
        interval: Seconds from one save to the next.
        stall: Seconds for which a save blocks training.
        durable: Seconds until the save is durable; a failure before that loses the save.
        again: Seconds from a failure to the next step.
        between: Seconds between two failures.
    """
    return stall / interval + (interval / 2 + (durable - stall) + again) / between


def runs(own: Inputs) -> Iterable[list[str]]:
    """Costs that grow with the number of runs and of samples."""
    for number in (2_000, 10_000, 100_000, 1_000_000):
        yield [f"wf runs, {number:,} runs", _time(own.run_sec * number), ""]
    for number in (10**6, 10**8, 10**9, 10**10):
        yield [
            f"the order of an epoch, {number:.0e} samples".replace("e+", "e"),
            _time(own.permutation_sec * number),
            _bytes(own.order_bytes * number),
        ]


def _bytes(size: float) -> str:
    return next(f"{size / unit:.3g} {name}" for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if size >= unit)


def _time(seconds: float) -> str:
    for unit, name in ((24 * HOUR, "d"), (HOUR, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.1f} ms"


def table(title: str, header: Iterable[str], rows: Iterable[list[str]]) -> None:
    """Print a table in Markdown."""
    names = list(header)
    print(f"\n{title}\n\n| {' | '.join(names)} |\n|{' --- |' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    own = measured() if parser.parse_args().measure else Inputs()
    devices = [f"{number:,} devices" for number in DEVICES]
    print(
        f"writing {own.write_bytes_sec / 1e9:.2f} GB/s, copying {own.copy_bytes_sec / 1e9:.1f} GB/s, start "
        f"{own.start_sec:.1f} s, permutation {own.permutation_sec * 1e9:.0f} ns a number, a failure every "
        f"{own.failure_sec / HOUR:,.0f} h of a device"
    )
    table("Steps", ("parameters", "s a step", *devices, "fits one device"), steps(own))
    table(
        "Checkpoints",
        (
            "parameters", "bytes", "stall",
            "written by one process", "in 8 parts", "in 4,096", "read by 8 devices", "by 4,096",
        ),
        checkpoints(own),
    )  # fmt: skip
    ways = [word for way in ("blocking", "wf", "in parts") for word in (f"{way}: every", "lost")]
    table("Cadence, 7 B parameters", ("devices", "a failure every", *ways), cadence(own))
    table("Runs and samples", ("", "time", "memory of each process"), runs(own))


if __name__ == "__main__":
    main()
