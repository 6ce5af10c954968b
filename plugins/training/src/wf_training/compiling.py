"""Compiling models for training."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from wf.errors import UsageError


class _Compiled(nn.Module):
    """Calls the compiled model, and explains what to do if it cannot be compiled."""

    def __init__(self, model: nn.Module, mode: str) -> None:
        super().__init__()
        self.model = model
        # Separate kernels per shape: the dynamic-shape kernels that torch would compile at the second shape depend on
        # which shape came first, which differs in a resumed run.
        self._run: Any = torch.compile(model, dynamic=False, mode=mode)

    def no_sync(self) -> AbstractContextManager[None]:
        """See `torch.nn.parallel.DistributedDataParallel.no_sync`."""
        unshared: Any = getattr(self.model, "no_sync", nullcontext)
        context: AbstractContextManager[None] = unshared()
        return context

    def forward(self, inputs: Tensor) -> Tensor:
        """Call the compiled model."""
        try:
            predictions: Tensor = self._run(inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            raise UsageError(
                f"the model cannot be compiled: {type(error).__name__}: {reason}\n"
                "  remove --trainer.compile; TORCH_LOGS=+dynamo shows what torch did"
            ) from error
        return predictions


def compiled(model: nn.Module, mode: bool | str) -> nn.Module:
    """The model with its forward compiled at the first call; it shares everything with the model.

    Args:
        model: The model to train.
        mode: A mode of `torch.compile`; True for the default.

    Raises:
        UsageError: On a CPU without a C++ compiler; at the first call, if the model cannot be compiled.
    """
    on_processor = all(parameter.device.type == "cpu" for parameter in model.parameters())
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if on_processor and shutil.which(compiler.split()[0]) is None:
        raise UsageError(
            f"--trainer.compile needs a C++ compiler, but there is no '{compiler}'\n"
            "  install it, name another one in the environment variable CXX, or remove --trainer.compile"
        )
    return _Compiled(model, "default" if mode is True else str(mode))
