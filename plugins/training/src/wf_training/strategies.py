"""Execution strategies: one process, or several that average their gradients."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from wf.errors import UsageError
from wf_processes.board import VARIABLES, board
from wf_processes.idling import wait_until_idle
from wf_processes.watching import Watcher

_COMMAND = "wf run ... --processes 2"


class LocalStrategy:
    """One process on one device.

    Args:
        device: The device for training.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = torch.device(device)
        self.rank, self.world_size = 0, 1

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model on its device."""
        return model.to(self.device)

    def bare(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def agree(self, flag: bool) -> bool:
        """The flag itself."""
        return bool(flag)

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors themselves."""
        return list(tensors)

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def close(self) -> None:
        """Nothing to release."""


class Processes:
    """Base class of strategies with several processes.

    The process group is created in the constructor, so that the processes can communicate from the start; `close`
    destroys it. On CUDA each process takes the device of its LOCAL_RANK.

    Args:
        name: The name of the strategy, for messages.
        device: The type of device; its index is ignored.
        backend: torch's name of the communication backend.
        wait_sec: Time to wait at the start for the other processes.
        timeout_sec: Time to wait for other processes in a collective; then the run ends and names the process that did
            not join it.

    Raises:
        UsageError: If the processes were not started by torchrun, or device and number of processes do not fit
            together.
        OtherFailedError: If another process fails before it connects, or never connects.
    """

    def __init__(self, name: str, device: torch.device, backend: str, wait_sec: float, timeout_sec: float) -> None:
        self.rank, self.world_size, local_rank = _environment(name)
        self.device = _cuda_device(local_rank) if device.type == "cuda" else device
        device_id = self.device if backend == "nccl" else None
        if timeout_sec <= 0:
            raise UsageError(f"strategy option timeout_sec is {timeout_sec:g}; it must be above 0")
        if distributed.is_initialized():
            raise UsageError(
                f"strategy {name} makes a process group, and this process has one already\n"
                "  close the run before: with wf.run(...) as run: ..., or run.close(); or destroy your own group"
            )
        store = board(wait_sec).meet(wait_sec)
        timeout = timedelta(seconds=timeout_sec)
        distributed.init_process_group(
            backend, store=store, rank=self.rank, world_size=self.world_size, device_id=device_id, timeout=timeout
        )
        self._watcher = Watcher(board().another(), self.rank)

    def agree(self, flag: bool) -> bool:
        """True on every process if it is true on any. Waits for all of them."""
        agreed = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(agreed, distributed.ReduceOp.MAX)
        return bool(agreed)

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor summed over the processes, in new tensors on the devices of the old ones."""
        return [self._sum(tensor) for tensor in tensors]

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors ``[N_r, ...]`` of all processes in the order of their ranks, ``[sum of N_r, ...]``."""
        lengths = self._all(torch.tensor([len(tensor)], device=self.device))
        longest = int(max(lengths))
        padded = torch.zeros((longest, *tensor.shape[1:]), dtype=tensor.dtype, device=self.device)
        padded[: len(tensor)] = tensor.detach()
        parts = [part[: int(length)] for part, length in zip(self._all(padded), lengths, strict=True)]
        return torch.cat(parts).to(tensor.device)

    def close(self) -> None:
        """Destroy the process group."""
        self._watcher.close()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        wait_until_idle()

    def _sum(self, tensor: Tensor) -> Tensor:
        total = tensor.detach().to(self.device, copy=True, memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.to(tensor.device)

    def _all(self, tensor: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(tensor) for _ in range(self.world_size)]
        distributed.all_gather(parts, tensor)
        return parts


class HiddenError(UsageError, AttributeError):
    """A part of the model was asked of its wrapper."""


class Copy(DistributedDataParallel):
    """A process's copy of the model: only its call makes the processes average the gradients."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if not hasattr(self._modules.get("module"), name):
                raise
        raise HiddenError(
            f"'{name}' is part of the model, which several processes wrap: gradients are averaged only where the model "
            "itself is called\n"
            f"  call the model, whose forward may use '{name}' and return all that the loss needs; or train in one "
            "process"
        )


class DDPStrategy(Processes):
    """Several processes, each with the whole model and a share of the samples.

    Each process has its share of the samples of every batch. Gradients are averaged by
    `torch.nn.parallel.DistributedDataParallel`.

    Args:
        device: The type of device; its index is ignored.
        backend: The communication backend; ``auto`` is nccl on CUDA and gloo elsewhere.
        find_unused_parameters: Whether each step searches for parameters without gradients, which takes time and is
            required if there are any; ``auto``: if a few samples, tested before the first step, find some.
        sync_batch_norm: Let batch norms take their means and deviations from the whole batch, by torch's
            ``SyncBatchNorm``, which is for CUDA; otherwise each process takes those of its share.
        wait_sec: Time to wait at the start for the other processes.
        timeout_sec: Time to wait for other processes in a collective; then the run ends and names the process that did
            not join it.

    Raises:
        UsageError: If the processes were not started by torchrun, or backend, device and number of processes do not
            fit together.
        OtherFailedError: If another process fails before it connects, or never connects.
    """

    def __init__(
        self,
        device: torch.device,
        backend: Literal["auto", "gloo", "nccl"] = "auto",
        find_unused_parameters: Literal["auto", "yes", "no"] = "auto",
        wait_sec: float = 300.0,
        timeout_sec: float = 1800.0,
        sync_batch_norm: bool = False,
    ) -> None:
        device = torch.device(device)
        if sync_batch_norm and device.type != "cuda":
            raise UsageError(
                f"strategy ddp: sync_batch_norm is for CUDA, and the device is {device.type}\n  leave it out"
            )
        if backend == "auto":
            backend = "nccl" if device.type == "cuda" else "gloo"
        if backend == "nccl" and device.type != "cuda":
            raise UsageError(f"backend nccl needs CUDA, but the device is {device.type}; use gloo or auto")
        super().__init__("ddp", device, backend, wait_sec, timeout_sec)
        self._looks, self._syncs = find_unused_parameters, sync_batch_norm
        self.unused_parameters: Sequence[str] = ()

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model on this process's device, wrapped; every process gets the weights of the first one.

        Raises:
            UsageError: If no parameter is trained.
        """
        model = model.to(self.device)
        if self._syncs:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise UsageError(
                "the model has no parameters to train, so nothing can be distributed: use --strategy local"
            )
        looks = self.agree(bool(self.unused_parameters)) if self._looks == "auto" else self._looks == "yes"
        devices = [self.device] if self.device.type == "cuda" else None
        return Copy(model, device_ids=devices, find_unused_parameters=looks)

    def bare(self, model: nn.Module) -> nn.Module:
        """The model inside the wrapper."""
        if isinstance(model, DistributedDataParallel):
            inner: nn.Module = model.module
            return inner
        return model


def _environment(name: str) -> tuple[int, int, int]:
    """Rank, number of processes and local rank, from torchrun's environment."""
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise UsageError(
            f"strategy {name} runs in several processes, which --processes or torchrun starts ({', '.join(missing)} "
            f"not set)\n  run: {_COMMAND} --strategy {name}\n"
            "  a command without --processes, such as wf compare, trains each run in one process: --strategy local"
        )
    try:
        rank, world_size, local_rank = (int(os.environ[name]) for name in VARIABLES[:3])
    except ValueError as error:
        raise UsageError(
            f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers: {error}\n  run: {_COMMAND} --strategy {name}"
        ) from error
    return rank, world_size, local_rank


def _cuda_device(local_rank: int) -> torch.device:
    num_devices = torch.cuda.device_count()
    if local_rank >= num_devices:
        raise UsageError(
            f"process {local_rank} of this machine has no device: there are {num_devices} CUDA devices\n"
            f"  start at most {num_devices} processes with --nproc-per-node"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
