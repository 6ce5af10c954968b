"""Reading a run directory in tests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

EXAMPLES = Path(__file__).parents[1] / "examples"


def records(run_dir: Path, event: str = "", split: str = "") -> list[dict[str, Any]]:
    """The records of ``metrics.jsonl``, all or those of one event and split."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [one for one in found if event in ("", one["event"]) and split in ("", one["split"])]


def weights(run_dir: Path, name: str = "") -> dict[str, Tensor]:
    """The model's tensors in the newest checkpoint, or in the one called `name`."""
    place = run_dir / "checkpoints" / name if name else checkpoints(run_dir)[-1]
    tensors = load_file(place / "tensors.safetensors")
    return {
        key.removeprefix("parts.model."): tensor for key, tensor in tensors.items() if key.startswith("parts.model.")
    }


def checkpoints(run_dir: Path) -> list[Path]:
    """The committed checkpoints, oldest first."""
    return sorted(path for path in (run_dir / "checkpoints").iterdir() if re.fullmatch(r"step-\d+", path.name))


def manifest(run_dir: Path) -> dict[str, Any]:
    """``manifest.json``."""
    read: dict[str, Any] = json.loads((run_dir / "manifest.json").read_text())
    return read
