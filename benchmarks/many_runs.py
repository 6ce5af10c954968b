"""The time of ``wf runs`` over 2,000 runs: wall time and CPU time."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _goals import figure

NUM_RUNS = 2000


def main() -> None:
    """Train one run, copy it, and list the copies."""
    with tempfile.TemporaryDirectory() as folder:
        wf = [sys.executable, "-P", "-m", "wf_cli"]
        line = ["run", "--dataset", "iris", "--epochs", "1", "--quiet", "--name", "0"]
        subprocess.run([*wf, *line], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        runs = Path(folder, "runs")
        manifest = json.loads((runs / "0/manifest.json").read_text())
        for number in range(1, NUM_RUNS):
            copy = runs / str(number)
            copy.mkdir()
            for name in ("run.toml", "metrics.jsonl"):
                shutil.copy(runs / "0" / name, copy)
            manifest["run_file"]["optimizer"]["lr"] = 10.0 ** -(number % 5)
            manifest["run_file"]["seed"] = number
            (copy / "manifest.json").write_text(json.dumps(manifest, indent=2))
        before, start = _processor(), time.perf_counter()
        done = subprocess.run([*wf, "runs"], cwd=folder, check=True, capture_output=True, text=True)
        wall, processor = time.perf_counter() - start, _processor() - before
    rows = len(done.stdout.splitlines()) - 2
    print(f"wf runs, {rows:,} runs: {wall:.2f} s, {processor:.2f} s of processor time, {os.cpu_count()} cores")
    figure(f"wf runs over {rows:,} runs", wall, "s", at_most=1)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
