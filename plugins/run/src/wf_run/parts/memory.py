"""Advice when memory runs out: the place, the settings, and options that need less."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from wf.blame import blamed
from wf.engine.loop import Loop
from wf_processes.failures import InLoader

_ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+) ?(GiB|MiB|KiB|bytes)")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def remedies(
    error: BaseException, plan: Mapping[str, Any], loop: Loop, device: torch.device, model_options: Sequence[str]
) -> str:
    """Where memory ran out, and settings that need less of it; settings that keep the update unchanged come first.

    Args:
        error: The error.
        plan: The run file.
        loop: The run's loop.
        device: Where it computes.
        model_options: The names of the model's options.
    """
    judging, step = _is_in(error, getattr(loop.evaluator, "evaluate", None)), loop.progress.step
    if loading := isinstance(error.__cause__, InLoader):
        place = f"in a process that loads data, after step {step:,}"
    elif judging:
        place = f"in the evaluation after step {step:,}"
    elif _is_in(error, loop.trainer.train_step):
        place = f"in step {step + 1:,}"
    else:
        place = f"in {where}, after step {step:,}" if (where := blamed(error)) else f"after step {step:,}"
    settings = ", ".join(f"{key} {plan[key]}" for key in ("batch_size", "accumulate", "precision"))
    lines = [f"out of memory {place}: {settings}{_figures(error, device)}"]
    return "\n  ".join([*lines, *_ways(plan, device, model_options, judging=judging, loading=loading)])


def _ways(
    plan: Mapping[str, Any], device: torch.device, model_options: Sequence[str], *, judging: bool, loading: bool
) -> Iterator[str]:
    size, parts = plan["batch_size"], plan["accumulate"]
    if judging and size != 1:
        yield "evaluate in smaller batches: --evaluator.batch_size N"
    if isinstance(size, int) and size > 1:
        half = size // 2
        same = "the same update in smaller parts" if size % 2 == 0 else "nearly the same update in smaller parts"
        yield f"{same}: --batch-size {half} --accumulate {2 * parts}"
    elif size == "full":
        yield "batches instead of the whole split: --batch-size 32"
    if loading:
        yield "fewer processes that load data: --workers N"
        yield "or smaller samples"
        return
    if plan["precision"] in ("fp32", "tf32") and (device.type != "cpu"):
        yield "about half the memory for activations: --precision bf16"
    again = "recompute activations instead of keeping them (gradient checkpointing)"
    if option := next((name for name in model_options if "checkpointing" in name), None):
        yield f"{again}: --model.{option}"
    else:
        yield f"{again}: torch.utils.checkpoint in the model"
    yield "or a smaller model, or smaller samples"


def _figures(error: BaseException, device: torch.device) -> str:
    """The requested memory and the available memory."""
    found = []
    if asked := _ASKED.search(str(error)):
        found.append(f"{_size(float(asked[1]) * _UNITS[asked[2]])} were asked for")
    if device.type == "cuda" and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(device)
        peak = torch.cuda.max_memory_allocated(device)
        found.append(f"{device} has {_size(total)}, of which {_size(free)} are free")
        found.append(f"the run's tensors took at most {_size(peak)}")
    return f"\n  {'; '.join(found)}" if found else ""


def _size(num_bytes: float) -> str:
    """A readable number of bytes."""
    for unit in ("GiB", "MiB", "KiB"):
        if num_bytes >= _UNITS[unit]:
            return f"{num_bytes / _UNITS[unit]:,.1f}".removesuffix(".0") + f" {unit}"
    return f"{num_bytes:.0f} bytes"


def _is_in(error: BaseException, function: Any) -> bool:
    """Whether an error was raised inside of a function."""
    code = getattr(function, "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))
