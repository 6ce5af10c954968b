"""``python -m wf_cli`` is ``wf``."""

from __future__ import annotations

from typing import NoReturn

from wf_cli.main import main
from wf_cli.process import run_process


def process() -> NoReturn:
    """Run the command line of this process, then end the process."""
    run_process(main)


if __name__ == "__main__":
    process()
