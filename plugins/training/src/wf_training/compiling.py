"""Models that are compiled for training."""

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
    """Calls the compiled form of a model, and says what to do where it cannot be compiled."""

    def __init__(self, model: nn.Module, mode: str) -> None:
        super().__init__()
        self.model = model
        # Each shape gets kernels of its own: those for any shape, which torch would make at the second one, depend on
        # which shape came first, and a run that is resumed begins with another one.
        self._run: Any = torch.compile(model, dynamic=False, mode=mode)

    def no_sync(self) -> AbstractContextManager[None]:
        """See `torch.nn.parallel.DistributedDataParallel.no_sync`."""
        unshared: Any = getattr(self.model, "no_sync", nullcontext)
        context: AbstractContextManager[None] = unshared()
        return context

    def forward(self, inputs: Tensor) -> Tensor:
        """What the model gives."""
        try:
            predictions: Tensor = self._run(inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            raise UsageError(
                f"the model cannot be compiled: {type(error).__name__}: {reason}\n"
                "  leave out --trainer.compile; TORCH_LOGS=+dynamo shows what torch did"
            ) from error
        return predictions


def compiled(model: nn.Module, mode: bool | str) -> nn.Module:
    """The model with its forward compiled at the first call; it shares all with the model.

    Args:
        model: As it is trained.
        mode: Of `torch.compile`; True for its default.

    Raises:
        UsageError: On a processor, when there is no C++ compiler. When it cannot be compiled, at the first call.
    """
    on_processor = all(parameter.device.type == "cpu" for parameter in model.parameters())
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if on_processor and shutil.which(compiler.split()[0]) is None:
        raise UsageError(
            f"--trainer.compile needs a C++ compiler, and there is no '{compiler}'\n"
            "  install it, name another one in the environment variable CXX, or leave out --trainer.compile"
        )
    return _Compiled(model, "default" if mode is True else str(mode))
