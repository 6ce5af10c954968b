"""How `wf` scales with the registry: 300 installed plugin distributions with 10,000 components.

The script creates the distributions in a temporary folder, in the form of an installation, and runs `wf` with them. It
prints the median wall time of whole commands, including the start of Python, and the peak memory of each.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _goals import figure

DECLARATION = '''"""Generated for the benchmark."""
from wf import Component, hookimpl
from wf.traits import LossTraits

TRAITS = LossTraits(predictions="logits", targets=("class_index",))


@hookimpl
def wf_components():
    return [
        Component(
            "loss",
            name,
            "{package}.losses:Loss",
            summary="one of many losses that differ only in their names",
            traits=TRAITS,
        )
        for name in ({names},)
    ]
'''
LOSSES = '''"""Generated for the benchmark."""
class Loss:
    """A loss.

    Args:
        gamma: A number.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        self.gamma = gamma
'''


def install(site: Path, num_plugins: int, num_components: int) -> None:
    """Write the distributions into a folder: a package and its metadata each."""
    for number in range(num_plugins):
        name = f"wf-scale-{number:04}"
        package = name.replace("-", "_")
        names = [f"{name}-{index}" for index in range(number, num_components, num_plugins)]
        (site / package).mkdir()
        (site / package / "__init__.py").touch()
        text = DECLARATION.replace("{package}", package).replace("{names}", ", ".join(map(repr, names)))
        (site / package / "plugin.py").write_text(text)
        (site / package / "losses.py").write_text(LOSSES)
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        requires = "Requires-Dist: torch>=2.11\nRequires-Dist: wf-core<0.2,>=0.1"
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{requires}\nText.\n")
        (info / "entry_points.txt").write_text(f"[wf.plugins]\nmain = {package}.plugin\n")


def run(args: list[str], site: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line in a new process."""
    command = [sys.executable, "-P", "-m", "wf_cli", *args]
    return subprocess.run(command, env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True, cwd=site)


def median_sec(args: list[str], site: Path, repeats: int) -> float:
    """The median wall time of a command line, after a first run that compiles the modules."""
    run(args, site)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(args, site)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_mb(args: list[str], site: Path) -> float:
    """The peak resident memory of a command line in MB."""
    usage = "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss"
    if Path("/proc/self/status").exists():  # on Linux ru_maxrss includes the parent's peak
        usage = "int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    code = (
        "import re, resource, sys\nfrom wf_cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit: pass\n"
        f"print({usage}, file=sys.stderr)"
    )
    command = [sys.executable, "-P", "-c", code, *args]
    done = subprocess.run(command, env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True, cwd=site)
    unit = 1 if platform.system() == "Darwin" else 1024
    return int(done.stderr.split()[-1]) * unit / 1e6


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugins", type=int, default=300)
    parser.add_argument("--components", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    some = f"wf-scale-0007-{7 + options.plugins}"
    commands = [["--help"], ["list-plugins"], ["list-plugins", "--json"], ["list", "losses"], ["show", "loss", some]]
    print(f"{options.plugins} plugins, {options.components:,} components, Python {platform.python_version()}")
    print(f"{'command':<34} {'none':>8} {'all':>8} {'peak':>8}")
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as full:
        install(Path(full), options.plugins, options.components)
        for args in commands:
            bare = "-" if some in args else f"{median_sec(args, Path(empty), options.repeats):.2f} s"
            seconds = median_sec(args, Path(full), options.repeats)
            line = f"wf {' '.join(args)}"
            print(f"{line:<34} {bare:>8} {seconds:>6.2f} s {peak_mb(args, Path(full)):>5.0f} MB")
            if args == ["list-plugins"]:
                claim = f"wf list-plugins with {options.plugins} plugins and {options.components:,} components"
                figure(claim, seconds, "s", at_most=0.5)


if __name__ == "__main__":
    main()
