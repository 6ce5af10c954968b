"""Start-up times: of commands, and until the first training step of `wf run`, compared with a bare script.

    python benchmarks/start.py [--rounds N] [--modules]

The bare script uses torch alone for the same model, loss, optimizer and batch. The two take turns, each in a new
process that ends after its first step. The shortest wall time and CPU time of each count, because other load only adds
to them. `--modules` lists the modules that `wf run` imports and the bare script does not, and their import times. For
`wf compare` the time until its first row is measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from _goals import figure

BARE = """
import os
import torch
from torch import nn

generator = torch.Generator().manual_seed(0)
inputs, targets = torch.randn(1000, 20, generator=generator), torch.randint(0, 3, (1000,), generator=generator)
torch.manual_seed(42)
model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 3))
loss_of = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters())
for start in range(0, 1000, 32):
    loss = loss_of(model(inputs[start : start + 32]), targets[start : start + 32])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    os._exit(0)
"""
LEAVE = """
import os

class Leave:
    def on_step_end(self, run):
        os._exit(0)
"""
COMMANDS = (("--help",), ("list",), ("list-plugins",))
WF = ("run", "--dataset", "synthetic", "--model", "mlp", "--optimizer", "adam", "--hook", "+leave.py:Leave")


def once(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall time and CPU time of a command, in seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command[-1]}: {done.stderr}")
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(folder: Path) -> dict[str, list[str]]:
    """The commands to compare."""
    (folder / "bare.py").write_text(BARE)
    (folder / "leave.py").write_text(LEAVE)
    return {"bare script": [sys.executable, "bare.py"], "wf run": [sys.executable, "-m", "wf_cli", *WF]}


def measure(rounds: int) -> None:
    """Measure and print the table."""
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, python "
        f"{platform.python_version()}, torch {version('torch')}, load {os.getloadavg()[0]:.1f}; shortest of {rounds}\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        both = commands(Path(temporary))
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in both}
        for number in range(rounds + 1):
            for name, command in both.items():
                taken = once(command, Path(temporary))
                if number:  # the first round reads files that are not cached yet
                    times[name].append(taken)
    shortest = {name: [min(one) for one in zip(*taken, strict=True)] for name, taken in times.items()}
    print(f"{'':14}{'seconds':>10}{'processor':>12}")
    for name, taken in shortest.items():
        print(f"{name:14}{taken[0]:10.2f}{taken[1]:12.2f}")
    more = [one - other for one, other in zip(shortest["wf run"], shortest["bare script"], strict=True)]
    print(f"{'wf takes more':14}{more[0]:10.2f}{more[1]:12.2f}\n")
    figure("first step of wf run: time beyond a bare script", more[0], "s", at_most=0.2)
    for words in COMMANDS:
        command = [sys.executable, "-m", "wf_cli", *words]
        seconds = min(once(command, Path.cwd())[0] for _ in range(rounds))
        figure(f"wf {' '.join(words)}", seconds, "s", at_most=0.12)
    figure("wf compare: time to the first row", first_row(), "s", at_most=5)


def first_row() -> float:
    """Seconds until a comparison of two losses prints its first figure."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        words = "compare --dataset iris --epochs 20 --vary loss=ce,focal --repeats 2"
        command = [sys.executable, "-m", "wf_cli", *words.split()]
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if "1/4" in line:
                    seconds = time.perf_counter() - start
                    process.communicate()
                    return seconds
    raise SystemExit("wf compare printed no row")


def list_modules() -> None:
    """Print the packages and modules that take longest to import, among those that the bare script does not import."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        spent: dict[str, dict[str, int]] = {}
        for name, command in commands(folder).items():
            done = subprocess.run(
                [command[0], "-X", "importtime", *command[1:]], cwd=folder, capture_output=True, text=True
            )
            lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
            spent[name] = {line[2].strip(): int(line[0]) for line in lines if line[0].strip().isdecimal()}
    more = {name: took for name, took in spent["wf run"].items() if name not in spent["bare script"]}
    packages: dict[str, int] = {}
    for name, took in more.items():
        package = name.partition(".")[0]
        packages[package] = packages.get(package, 0) + took
    print(f"{len(more)} modules that the bare script does not import, {sum(more.values()) / 1000:.0f} ms")
    for title, table in (("packages", packages), ("modules", more)):
        print(f"\n{title}, ms")
        for name, took in sorted(table.items(), key=lambda item: -item[1])[:25]:
            print(f"{took / 1000:8.1f}  {name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--modules", action="store_true", help="list the imported modules instead")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # let the commands use compiled bytecode, as for users
    if arguments.modules:
        list_modules()
    else:
        measure(arguments.rounds)
