"""Draws the pictures of the tutorial into docs/pictures/, and those of the README beside this file.

`python docs/pictures.py` trains the runs that they show. It needs tmux and chromium, which Debian has.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
RUNS = {
    "line": ([EXAMPLES / "r0_line.toml", "--epochs", 200], {"predictions": "line.svg"}),
    "large": ([EXAMPLES / "r1_autograd.toml", "--lr", 0.01], {"loss": "diverging.svg"}),
    "clothes": (
        [EXAMPLES / "r3_fashion_mnist.toml", "--epochs", 2],
        {"confusion": "clothes.svg", "worst": "worst.png"},
    ),
    "lenet": (
        [EXAMPLES / "r4_lenet.toml", "--loss", "focal", "--optimizer", "rmsprop", "--epochs", 5],
        {"loss": "lenet.svg"},
    ),
    "plain": ([EXAMPLES / "r4_imbalanced.toml", "--loss", "ce"], {"confusion": "rare.svg"}),
}
"""The options of each run, and its plots by the files that they become."""
COLUMNS, LINES = 80, 26
IN_TERMINAL = "wf run --dataset iris --model mlp --epochs 8 --lr 0.003 --name first"
IN_REPORT = ("--dataset", "digits", "--model", "mlp", "--epochs", "12", "--name", "digits")


def main() -> None:
    """Train each run, and copy its plots."""
    made = ROOT / "docs" / "pictures"
    made.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, (options, plots) in RUNS.items():
            wf(folder, "run", *options, "--name", name, "--quiet")
            for plot, file in plots.items():
                wf(folder, "plot", name, "--format", Path(file).suffix[1:])
                shutil.copy(Path(folder) / "runs" / name / "plots" / f"{plot}{Path(file).suffix}", made / file)
        (ROOT / "docs" / "terminal.svg").write_text(terminal(folder, IN_TERMINAL), encoding="utf-8")
        wf(folder, "run", *IN_REPORT, "--quiet")
        wf(folder, "report", "digits", "-o", "digits.html")
        photograph(Path(folder) / "digits.html", ROOT / "docs" / "report.png")


def terminal(folder: str, line: str) -> str:
    """The screen of a terminal in which a command has ended, with its colours, as SVG."""
    tmux = ["tmux", "-L", "wf-pictures"]
    shell = f"PS1='$ ' PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH exec bash --norc"
    size = ["-x", str(COLUMNS), "-y", str(LINES)]
    subprocess.run([*tmux, "new-session", "-d", *size, "-c", folder, shell], check=True)
    try:
        subprocess.run([*tmux, "send-keys", line, "Enter"], check=True)
        screen = ""
        while "run directory" not in screen:
            time.sleep(0.5)
            screen = subprocess.run(
                [*tmux, "capture-pane", "-e", "-p"], check=True, capture_output=True, text=True
            ).stdout
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)
    lines = screen.rstrip().removesuffix("$").rstrip()
    console = Console(record=True, width=COLUMNS, file=sys.stderr, force_terminal=True)
    console.print(Text.from_ansi(lines), highlight=False)
    return console.export_svg(title="wf", unique_id="wf")


def photograph(page: Path, picture: Path) -> None:
    """Write the upper part of a page as a PNG file."""
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1240, "height": 1560}, device_scale_factor=0.75)
        view.goto(page.as_uri())
        view.screenshot(path=picture)


def wf(folder: str, *words: object) -> None:
    """Run a command of wf."""
    subprocess.run([sys.executable, "-m", "wf_cli", *map(str, words)], cwd=folder, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
