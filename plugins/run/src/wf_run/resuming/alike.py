"""Processes that train together must have the same code, data and settings: compared before step 1."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from wf.errors import UsageError
from wf.protocols import Strategy
from wf_run.resuming import drift
from wf_run.resuming.conditions import conditions_of, own_files
from wf_storage.checksums import sha256_of

_COMPARED = (
    "run_file",
    "dataset",
    "code",
    "components",
    "plugin_code",
    "conditions",
    "precision",
    "versions",
    "schema",
)
"""The fields of a manifest that processes must share; machines and their devices may differ."""
_SHOWN = 5


def check_parts(run: Any, strategy: Strategy, model: nn.Module, data: Any) -> None:
    """Refuse processes whose code, splits or models differ, before they exchange weights.

    Raises:
        UsageError: On every process, with the first one that differs from process 0.
    """
    if strategy.world_size == 1:
        return
    found = {f"code {file.name}": sha256_of(file)[:12] for file in own_files(run)}
    found |= {f"samples of {split}": str(data.num_samples(split)) for split in getattr(data, "splits", ())}
    found |= {f"parameter {name}": str(list(one.shape)) for name, one in model.named_parameters()}
    found |= {f"buffer {name}": str(list(one.shape)) for name, one in model.named_buffers(remove_duplicate=False)}
    _compare(strategy, found, _differences)


def check_conditions(parts: Any) -> None:
    """Refuse processes that do not run under the same conditions, or not as long.

    Raises:
        UsageError: On every process, with the first one that differs from process 0.
    """
    strategy: Strategy = parts.strategy
    if strategy.world_size == 1:
        return
    conditions = conditions_of(parts)
    found = {name: conditions[name] for name in _COMPARED if name in conditions}
    _compare(strategy, {**found, "total_steps": parts.values["total_steps"]}, _drift)


def _drift(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    found = [f"{one.name}: {one.before} there, {one.now} here" for one in drift.compare(first, other)]
    if first["total_steps"] != other["total_steps"]:
        found.append(f"steps: {first['total_steps']:,} there, {other['total_steps']:,} here")
    return found


def _differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {first.get(name, 'not')} there, {other.get(name, 'not')} here"
        for name in dict.fromkeys((*first, *other))
        if first.get(name) != other.get(name)
    ]


def _compare(
    strategy: Strategy,
    found: Mapping[str, Any],
    differences: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]],
) -> None:
    """Compare what the processes have: a checksum of it, and all of it where that differs."""
    text = json.dumps(found, sort_keys=True).encode()
    sums = _gathered(strategy, hashlib.sha256(text).digest())
    if len(set(sums)) == 1:
        return
    first, *others = (json.loads(one) for one in _gathered(strategy, text))
    for rank, other in enumerate(others, 1):
        if wrong := differences(first, other):
            more = [f"... and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
            lines = [line.replace(" there", " in process 0").replace(" here", f" in process {rank}") for line in wrong]
            raise UsageError(
                "\n  ".join(
                    [
                        f"process {rank} would not train what process 0 trains",
                        *lines[:_SHOWN],
                        *more,
                        "start all processes with the same line, code and data",
                    ]
                )
            )


def _gathered(strategy: Strategy, data: bytes) -> list[bytes]:
    """Bytes of every process, in the order of their ranks."""
    own = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(strategy.device)
    lengths = strategy.gather(torch.tensor([len(own)], device=strategy.device)).tolist()
    return [bytes(one.tolist()) for one in strategy.gather(own).split(lengths)]
