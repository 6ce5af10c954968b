"""The time of a trial of `wf tune` beyond the same epochs in a bare loop, and the time until its first row.

    .venv/ecosystem/bin/python benchmarks/tune_trial.py [--trials N] [--epochs N]

The trials train the model of `digits` one after the other; the time of a trial is the time from one row to the next.
The bare loop is a function with the same model, optimizer, batches and epochs, and an evaluation of the validation
split after each epoch. Both run in one thread. The table shows medians, and CPU seconds, which a busy machine changes
less.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from _goals import figure

os.environ["OMP_NUM_THREADS"] = "1"

SEARCH = ("--dataset", "digits", "--vary", "optimizer.lr=log(1e-4,1e-1)", "--finalists", "0")


def search(trials: int, epochs: int, folder: Path) -> tuple[float, list[float], float]:
    """Seconds to the first row, seconds from each row to the next, and CPU seconds."""
    command = [sys.executable, "-m", "wf_cli", "tune", *SEARCH, "--epochs", str(epochs)]
    command += ["--trials", str(trials), "--name", f"trials-{trials}", "--device", "cpu"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        rows = [time.perf_counter() - start for line in process.stderr if f"/{trials}  trial" in line]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode or len(rows) != trials:
        raise SystemExit(f"wf tune ended with code {process.returncode} after {len(rows)} rows")
    gaps = [later - earlier for earlier, later in itertools.pairwise(rows)]
    return rows[0], gaps, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bare(epochs: int, rounds: int) -> tuple[list[float], float]:
    """Seconds of each round of the bare loop, and CPU seconds per round."""
    import torch
    from torch import nn

    import wf

    torch.set_num_threads(1)
    with wf.build(dataset="digits", save=False, quiet=True) as experiment:
        data = experiment.data
        train = [(batch.inputs.clone(), batch.targets.clone()) for batch in data.batches("train", 32)]
        [held] = [(batch.inputs, batch.targets) for batch in data.batches("validation", 100_000)]
        model, loss_of = experiment.model, nn.CrossEntropyLoss()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    times, before = [], time.process_time()
    for _ in range(rounds):
        begun = time.perf_counter()
        model.load_state_dict(start)
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(epochs):
            model.train()
            for inputs, targets in train:
                loss = loss_of(model(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.inference_mode():
                (model(held[0]).argmax(1) == held[1]).float().mean().item()
        times.append(time.perf_counter() - begun)
    return times, (time.process_time() - before) / rounds


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=11)
    parser.add_argument("--epochs", type=int, default=5)
    asked = parser.parse_args()
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, python "
        f"{platform.python_version()}, torch {version('torch')}, optuna {version('optuna')}, "
        f"load {os.getloadavg()[0]:.1f}; medians of {asked.trials - 1}\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        search(1, 1, Path(temporary))  # warm up: compile modules and fill the file cache
        few, _, processor_few = search(2, asked.epochs, Path(temporary))
        first, gaps, processor = search(asked.trials, asked.epochs, Path(temporary))
    per_trial = (processor - processor_few) / (asked.trials - 2)
    loop, processor_loop = bare(asked.epochs, asked.trials)
    one, other = statistics.median(gaps), statistics.median(loop[1:])
    print("| | s | processor s |\n| --- | --- | --- |")
    print(f"| a trial, {asked.epochs} epochs of digits | {one:.2f} | {per_trial:.2f} |")
    print(f"| the bare loop | {other:.2f} | {processor_loop:.2f} |")
    print(f"| difference | {one - other:.2f} | {per_trial - processor_loop:.2f} |")
    print(f"| first row of a search | {min(first, few):.2f} | |")
    figure("wf tune: a trial of digits, more than the same epochs in a bare loop", one - other, "s", at_most=0.3)
    figure("wf tune: its first row", min(first, few), "s", at_most=5)


if __name__ == "__main__":
    main()
