"""Where the time of a step goes, measured by torch's profiler."""

from __future__ import annotations

import logging
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wf import Hook, Loop
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_storage import files

_LOG = logging.getLogger("wf")
FOLDER = "profile"
_MODULE = "wf module "
_BACKWARD = "autograd::engine::evaluate_function: "
_NUM_SHOWN = 5
_WORDS = {
    "addmm": "matrix product",
    "mm": "matrix product",
    "matmul": "matrix product",
    "bmm": "matrix product",
    "linear": "linear layer",
    "conv1d": "convolution",
    "conv2d": "convolution",
    "conv3d": "convolution",
    "mkldnn convolution": "convolution",
    "cudnn convolution": "convolution",
    "native batch norm": "batch norm",
    "cudnn batch norm": "batch norm",
    "native layer norm": "layer norm",
    "max pool2d": "max pooling",
    "max pool2d with indices": "max pooling",
    "cross entropy loss": "cross entropy",
    "nll loss": "cross entropy",
    "log softmax": "log-softmax",
    "scaled dot product attention": "attention",
}
"""Readable names of torch's operations."""


class Profile(Hook):
    """Profiles a few steps with torch.profiler, and prints the most expensive operations.

    The trace is written to ``profile/trace.json`` in the run directory; open it in ``chrome://tracing`` or at
    https://ui.perfetto.dev. The five most expensive operations are printed, with their modules and shares of a step.
    Profiled steps take longer than others, and an evaluation between them counts, too. Without a run directory nothing
    is profiled.

    Args:
        run_dir: The run directory, or None.
        strategy: Only the first process profiles.
        model: The model.
        after: Steps before the profiled ones, counted from the start or the resume of the run.
        num_steps: The number of profiled steps.

    Raises:
        UsageError: For numbers that are too small.
    """

    def __init__(
        self, run_dir: Path | None, strategy: Strategy, model: nn.Module, after: int = 10, num_steps: int = 5
    ) -> None:
        if after < 0 or num_steps < 1:
            raise UsageError(f"profile: after is {after} and num_steps {num_steps}; at least 0 and 1")
        self.run_dir = run_dir if strategy.rank == 0 else None
        self.model, self.device, self.after, self.num_steps = strategy.bare(model), strategy.device, after, num_steps
        self._first = 0
        self._profiler: Any = None
        self._handles: list[Any] = []
        self._open: list[Any] = []
        self._started = 0.0
        self._is_done = self.run_dir is None

    def on_run_start(self, run: Loop) -> None:
        """Begin at once where no steps come before."""
        self._first = run.progress.step + self.after
        self.on_step_end(run)

    def on_step_end(self, run: Loop) -> None:
        """Begin or end with this step."""
        if self._is_done:
            return
        if self._profiler is None and run.progress.step == self._first:
            self._begin()
        elif run.progress.step == self._first + self.num_steps:
            self._finish(run, self.num_steps)

    def on_run_end(self, run: Loop) -> None:
        """Say so where the run was too short."""
        if self._is_done:
            return
        self._end()
        run.notes["profile"] = (
            f"nothing: the run ended before step {self._first + self.num_steps:,}; see --hook.profile.after"
        )

    def on_exception(self, run: Loop, error: BaseException) -> None:
        """End without a result."""
        if not self._is_done:
            self._end()

    def _begin(self) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # it tells users of a missing GPU
        from torch.profiler import ProfilerActivity, profile

        for name, module in self.model.named_modules():
            if name:
                self._handles.append(module.register_forward_pre_hook(self._enterer(name)))
                self._handles.append(module.register_forward_hook(self._leave, always_call=True))
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if self.device.type == "cuda" else [])
        self._profiler = profile(activities=activities)
        self._profiler.__enter__()
        self._started = time.perf_counter()

    def _enterer(self, name: str) -> Any:
        def enter(module: nn.Module, inputs: Any) -> None:
            entered = torch.profiler.record_function(f"{_MODULE}{name}")
            entered.__enter__()
            self._open.append(entered)

        return enter

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._open.pop().__exit__(None, None, None)

    def _end(self) -> None:
        """Stop the profiler and take the hooks off the modules."""
        self._is_done = True
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._profiler is not None:
            self._profiler.__exit__(None, None, None)

    def _finish(self, run: Loop, num_steps: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elapsed = time.perf_counter() - self._started
        self._end()
        assert self.run_dir is not None
        folder = self.run_dir / FOLDER
        files.make_own_folder(folder)
        self._profiler.export_chrome_trace(str(folder / "trace.json"))
        on_device = self.device.type == "cuda"
        costs = costs_of(self._profiler.events(), on_device=on_device)
        whole = sum(costs.values()) if on_device else elapsed * 1e6
        lines = [f"{what}: {share:.0%} of the step".replace("%", " %") for what, share in dearest(costs, whole)]
        text = "\n".join([f"{num_steps} steps, {elapsed / num_steps * 1e3:,.1f} ms each", *lines])
        files.write_atomically(folder / "table.txt", text + "\n")
        _LOG.info("profile of %s\n  trace: %s", text.replace("\n", "\n  "), folder / "trace.json")
        run.notes["profile"] = "; ".join(lines)
        self._profiler = None


def dearest(costs: Mapping[str, float], whole: float) -> list[tuple[str, float]]:
    """The most expensive operations, each with its share of the time."""
    ordered = sorted(costs.items(), key=lambda item: -item[1])[:_NUM_SHOWN]
    return [(what, cost / whole) for what, cost in ordered if whole > 0]


def costs_of(events: Any, *, on_device: bool) -> dict[str, float]:
    """The microseconds of each operation in each module, with readable names; device time if `on_device`.

    A backward node belongs to the module whose forward operation has the same sequence number.
    """
    costs: dict[str, float] = defaultdict(float)
    modules: dict[int, str] = {}
    for event in events:
        if event.sequence_nr >= 0 and (module := _module_of(event)) is not None:
            modules.setdefault(event.sequence_nr, module)
    for event in events:
        cost = float(event.device_time_total if on_device else event.cpu_time_total)
        if event.name.startswith(_BACKWARD):
            where = modules.get(event.sequence_nr)
            costs[_with_place(f"{_operation(event.name.removeprefix(_BACKWARD))} backward", where)] += cost
        elif event.name.startswith("Optimizer.step#"):
            costs[f"update by {event.name.removeprefix('Optimizer.step#').removesuffix('.step')}"] += cost
        elif event.name.startswith("aten::") and _is_outermost(event):
            costs[_with_place(_operation(event.name), _module_of(event))] += cost
    return costs


def _parents(event: Any) -> Iterator[Any]:
    while (event := event.cpu_parent) is not None:
        yield event


def _is_outermost(event: Any) -> bool:
    """Whether an operation is not part of another operation, of a backward node or of the optimizer."""
    return not any(parent.name.startswith(("aten::", _BACKWARD, "Optimizer.")) for parent in _parents(event))


def _module_of(event: Any) -> str | None:
    """The innermost module in whose forward pass an event happened."""
    return next((one.name.removeprefix(_MODULE) for one in _parents(event) if one.name.startswith(_MODULE)), None)


def _operation(name: str) -> str:
    """A readable name of ``aten::conv2d`` or ``ConvolutionBackward0``."""
    if "AccumulateGrad" in name:
        return "accumulation of gradients"
    name = re.sub(r"(Backward)?\d*$", "", name) if not name.startswith("aten::") else name
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.removeprefix("aten::")).replace("_", " ").strip().lower()
    return _WORDS.get(name, name)


def _with_place(what: str, module: str | None) -> str:
    return what if module is None else f"{what} of {module}"
