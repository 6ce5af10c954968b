"""Seconds and memory to read a CSV table: `--dataset my.csv` compared with pandas' fastest reader.

    python benchmarks/csv_table.py [--rows N] [--columns N] [--rounds N]

Both read columns of numbers, one of them the target, in new processes that take turns; imports do not count. wf also
checks every cell, infers the task from the target and makes float32 inputs; if pyarrow is installed, wf parses with it,
too. Memory is the peak minus the memory before reading, compared with the size of the numbers as float64. pandas'
reader needs pandas and pyarrow, which `requirements-ecosystem.txt` installs
(`.venv/ecosystem/bin/python benchmarks/csv_table.py`).
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _goals import figure


def write(file: Path, rows: int, columns: int) -> None:
    """A table of random numbers of six digits."""
    random = np.random.default_rng(0)
    with file.open("w", encoding="utf-8") as stream:
        stream.write(",".join([*(f"x{place}" for place in range(columns - 1)), "y"]) + "\n")
        for start in range(0, rows, 10_000):
            np.savetxt(stream, random.normal(size=(min(10_000, rows - start), columns)), fmt="%.6g", delimiter=",")


def measure(reader: str, file: Path) -> None:
    """Print the seconds and the megabytes that a reader takes."""
    if importlib.util.find_spec("pyarrow"):
        import pyarrow.csv  # noqa: F401 - import it before the measurement
    if reader == "pandas":
        import pandas

        def read() -> object:
            return pandas.read_csv(file, engine="pyarrow")
    else:
        from wf_datasets.tables.csv_file import csv_file

        def read() -> object:
            return csv_file(file, "y")

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    kept = read()
    seconds = time.perf_counter() - start
    print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000)
    del kept


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=21)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]))
        return
    there = all(map(importlib.util.find_spec, ("pandas", "pyarrow")))
    readers = ["wf", "pandas"] if there else ["wf"]
    found: dict[str, list[tuple[float, float]]] = {reader: [] for reader in readers}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.csv"
        write(file, arguments.rows, arguments.columns)
        print(f"{arguments.rows:,} rows of {arguments.columns} columns, {file.stat().st_size / 1e6:,.0f} MB")
        for _ in range(arguments.rounds):
            for reader in readers:
                words = [sys.executable, __file__, "--measure", reader, str(file)]
                out = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
                found[reader].append((float(out[0]), float(out[1])))
    numbers = 8e-6 * arguments.rows * arguments.columns
    print(f"{'':8} {'seconds':>8} {'MB':>8}   the numbers take {numbers:,.0f} MB")
    for reader, figures in found.items():
        print(f"{reader:8} {statistics.median(s for s, _ in figures):8.2f} {max(mb for _, mb in figures):8.0f}")
    most = max(mb for _, mb in found["wf"])
    figure("a million rows of CSV: memory, relative to the numbers as float64", most / numbers, "times", at_most=2)
    if there:
        ratios = [ours[0] / theirs[0] for ours, theirs in zip(found["wf"], found["pandas"], strict=True)]
        print(f"wf takes {statistics.median(ratios):.2f} times as long ({min(ratios):.2f} to {max(ratios):.2f})")
        claim = "a million rows of CSV: time, relative to pandas with pyarrow"
        figure(claim, statistics.median(ratios), "times", at_most=1.5)
    else:
        print("pandas' reader is not measured: pandas and pyarrow are not installed")


if __name__ == "__main__":
    main()
