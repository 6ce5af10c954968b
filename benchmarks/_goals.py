"""Figures and their goals: each benchmark prints its own, and `make bench` collects all of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

FILE = "WF_BENCH_FIGURES"
"""The environment variable with the name of the file to which figures are appended, one JSON object per line."""


def figure(claim: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None) -> None:
    """Print a figure and its goal, and append both to the file that `make bench` names.

    Args:
        claim: The quantity: "small CNN: time of a step, relative to a hand-written loop".
        value: Its value in `unit`.
        unit: "times", "s", "MB", "calls".
        at_most: The goal, for a quantity that should be small.
        at_least: The goal, for a quantity that should be large.
    """
    goal = at_most if at_most is not None else at_least
    assert goal is not None, "a figure has a goal"
    met = value <= goal if at_most is not None else value >= goal
    words = f"at {'most' if at_most is not None else 'least'} {goal:g} {unit}"
    shown = f"{value:.3g} {unit}"
    print(f"goal: {claim}: {shown}; {words}: {'met' if met else 'NOT MET'}")
    if FILE in os.environ:
        line = {"claim": claim, "value": shown, "goal": words, "met": met}
        with Path(os.environ[FILE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
