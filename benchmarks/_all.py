"""Run every benchmark, one after the other, and write the table of goals into docs/speed.md.

    python benchmarks/_all.py [--only NAME ...] [--keep]

`make bench` runs it. Nothing else should run on the machine. With the arguments below all scripts together take about a
quarter of an hour on two cores; a script that is run alone uses its own defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from _goals import FILE

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "speed.md"
BEGIN, END = "<!-- goals: written by make bench -->\n", "<!-- end of goals -->\n"
ECOSYSTEM = HERE.parent / ".venv" / "ecosystem" / "bin" / "python"
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "busy_cores": ("--rounds", "1", "--steps", "40"),
    "char_gpt": ("--steps", "120"),
    "checkpoint_stall": ("--rounds", "3", "--megabytes", "100"),
    "csv_table": ("--rounds", "3"),
    "evaluation": ("--rounds", "2"),
    "growth": ("--steps", "200", "--rounds", "1"),
    "images": ("--width", "2048", "--height", "1536", "--images", "200", "--epochs", "2"),
    "loop_overhead": ("--steps", "1000", "--rounds", "5"),
    "tables": ("--rounds", "30"),
    "texts_by_hand": ("--steps", "150"),
}
"""The arguments of scripts whose defaults take too long, or give noisy figures."""
LEFT_OUT = {
    "char_gpt_by_hand": "trains for ten minutes; docs/recipes/language-model.md has its figures",
    "cuda_session": "needs a CUDA device",
}
WITH_ADAPTERS = {"csv_table", "images", "tune_trial"}
"""The scripts that use libraries of the adapters, if they are installed."""


def run(name: str, figures: Path) -> bool:
    """Run one script and show its output; False if it failed."""
    python = str(ECOSYSTEM) if name in WITH_ADAPTERS and ECOSYSTEM.exists() else sys.executable
    command = [python, f"benchmarks/{name}.py", *ARGUMENTS.get(name, ())]
    print(f"\n== {' '.join(command[1:])}", flush=True)
    start = time.perf_counter()
    code = subprocess.run(command, cwd=HERE.parent, env={**os.environ, FILE: str(figures)}).returncode
    print(f"   {time.perf_counter() - start:.0f} s{'' if code == 0 else f', FAILED with code {code}'}", flush=True)
    return code == 0


def table(figures: list[dict[str, object]], minutes: float) -> str:
    """The section of the page: the machine, and one row per figure."""
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {version('torch')}"
    )
    lines = [
        f"`make bench` on {time.strftime('%Y-%m-%d')} ({machine}, {minutes:.0f} minutes):\n",
        "| figure | measured | goal | |",
        "| --- | --- | --- | --- |",
        *(
            f"| {one['claim']} | {one['value']} | {one['goal']} | {'met' if one['met'] else '**not met**'} |"
            for one in figures
        ),
    ]
    return "\n".join(lines) + "\n"


def write(text: str) -> None:
    """Replace the section in the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(before + BEGIN + text + END + after, encoding="utf-8")


def main() -> None:
    """Run the scripts, print the table and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(file.stem for file in HERE.glob("[!_]*.py") if file.stem not in LEFT_OUT)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        metavar="NAME",
        help=f"one or more of {', '.join(names)}; the page is not written",
    )
    asked = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.jsonl"
        file.touch()
        failed = [name for name in asked.only or names if not run(name, file)]
        figures = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    minutes = (time.perf_counter() - start) / 60
    text = table(figures, minutes)
    print(f"\n{text}")
    for name, why in LEFT_OUT.items():
        print(f"left out: {name}, which {why}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")
    if not asked.only:
        write(text)
        print(f"written to {PAGE.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
