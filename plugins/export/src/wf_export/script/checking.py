"""Checks that a script has the run's data and initial weights, and on request its final weights."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from wf.errors import UsageError
from wf_base.random import TrainStream


def check_beginning(text: str, experiment: Any) -> None:
    """Compare the script's data and initial weights with those of the run.

    Raises:
        UsageError: If they differ.
    """
    script = ModuleType("wf_exported_script")
    try:
        exec(compile(text, "<the script>", "exec"), script.__dict__)
        loaded = script.load()
    except Exception as error:
        raise UsageError(_not_equal(f"the script does not run: {type(error).__name__}: {error}")) from error
    splits = loaded[0] if isinstance(loaded, tuple) else loaded
    for split in experiment.data.splits:
        samples = experiment.data.samples(split)
        targets = samples.targets
        for step in experiment.data.steps:
            targets = step.transform(targets) if step.of_targets else targets
        for name, own, theirs in zip(("inputs", "targets"), splits[split], (samples.inputs, targets), strict=True):
            if own.dtype != theirs.dtype or own.shape != theirs.shape or not torch.equal(own, theirs):
                raise UsageError(_not_equal(f"the {name} of its {split} split differ"))
    kept = TrainStream()
    random = kept.state_dict()
    torch.manual_seed(experiment.plan["seed"])
    made = script.make_model().state_dict()
    kept.load_state_dict(random)
    if (wrong := different(made, experiment.model.state_dict())) is not None:
        raise UsageError(_not_equal(f"the initial weights differ: {wrong}"))


def check_end(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Train with the script, and compare its weights with the run's.

    Raises:
        UsageError: If they differ, or the script fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "weights.pt")
        done = subprocess.run([sys.executable, str(file), str(saved)], capture_output=True, text=True)
        if done.returncode:
            raise UsageError(_not_equal(f"the script fails:\n{done.stderr.strip()}"))
        made = torch.load(saved, weights_only=True, map_location="cpu")
    if (wrong := different(made, weights)) is not None:
        raise UsageError(_not_equal(f"the final weights differ: {wrong}"))


def different(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str | None:
    """The tensor that differs, and by how much; None if all are equal bit for bit."""
    if list(one) != list(other):
        return f"{', '.join(one)} and {', '.join(other)}"
    for name, tensor in one.items():
        theirs = other[name].cpu()
        if tensor.shape != theirs.shape:
            return f"{name} has shapes {list(tensor.shape)} and {list(theirs.shape)}"
        if not torch.equal(tensor.cpu(), theirs):
            return f"{name} by up to {(tensor.cpu().double() - theirs.double()).abs().max().item():.3g}"
    return None


def _not_equal(why: str) -> str:
    return f"no script is written, because it would not repeat the run: {why}"
