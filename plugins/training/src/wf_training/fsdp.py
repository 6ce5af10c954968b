"""Fully sharded data parallelism: the model, its gradients and the optimizer's state divided among processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from wf.errors import UsageError
from wf_base.shards import like
from wf_training.strategies import Processes

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LEAVES = (nn.MultiheadAttention,)
"""Modules that use the parameters of an inner module without calling it."""
_SHOWN = 20


class FSDPStrategy(Processes):
    """Several processes, each with a shard of the model and a share of the samples.

    Parameters, gradients and the optimizer's state are sharded along their first dimension by
    `torch.distributed.fsdp.fully_shard` (Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data
    Parallel"). The model is divided into units; the parameters of a unit are gathered for its forward and again for
    its backward pass, and gradients are averaged. Checkpoints have one file per process, and any number of processes
    can resume from them. Each process builds the whole model before sharding it, so it must fit on each device once.

    Args:
        device: The type of device; its index is ignored.
        modules: The units, as one or several patterns of module names: ``blocks.*`` is each module directly in
            ``blocks``. The rest of the model is one more unit.
        min_params: Without `modules`, a unit is the smallest module with at least this many parameters outside of
            smaller units.
        param_dtype: The precision in which units are gathered and computed; by default the precision of the parameters,
            which the optimizer uses in any case. Batch norms compute in the precision of the parameters.
        reduce_dtype: The precision in which gradients are averaged, if `param_dtype` is given.
        activation_checkpointing: Recompute the activations inside each unit in the backward pass instead of keeping
            them.
        cpu_offload: Keep shards and optimizer on the host; units are gathered on the device, which must be CUDA.
        wait_sec: Time to wait at the start for the other processes.
        timeout_sec: Time to wait for other processes in a collective; then the run ends and names the process that did
            not join it.

    Raises:
        UsageError: If the processes were not started by torchrun, or options, device and number of processes do not fit
            together.
        OtherFailedError: If another process fails before it connects, or never connects.
    """

    def __init__(
        self,
        device: torch.device,
        modules: str | list[str] | None = None,
        min_params: int = 1_000_000,
        param_dtype: Literal["bf16", "fp16"] | None = None,
        reduce_dtype: Literal["fp32", "bf16", "fp16"] = "fp32",
        activation_checkpointing: bool = False,
        cpu_offload: bool = False,
        wait_sec: float = 300.0,
        timeout_sec: float = 1800.0,
    ) -> None:
        device = torch.device(device)
        if min_params < 1:
            raise UsageError(f"strategy fsdp: min_params is {min_params}; it must be at least 1")
        if cpu_offload and device.type != "cuda":
            raise UsageError(f"strategy fsdp: cpu_offload is for CUDA, and the device is {device.type}\n  leave it out")
        super().__init__("fsdp", device, _backend(device), wait_sec, timeout_sec)
        self.mesh: DeviceMesh = init_device_mesh(device.type, (self.world_size,))
        """The processes that hold the shards."""
        self.host_group = distributed.new_group(backend="gloo")
        """A group for messages on the host while training uses the default group."""
        self._patterns = [modules] if isinstance(modules, str) else list(modules or ())
        self._min_params = min_params
        self._param_dtype = None if param_dtype is None else _DTYPES[param_dtype]
        self._reduce_dtype = None if param_dtype is None else _DTYPES[reduce_dtype]
        self._recomputes, self._offloads = activation_checkpointing, cpu_offload

    def prepare(self, model: nn.Module) -> nn.Module:
        """Shard the model in place; all processes start with the weights of the first one.

        Raises:
            UsageError: If the model cannot be sharded, or has no such `modules`.
        """
        model = model.to(self.device)
        _check(model)
        for tensor in (*model.parameters(), *model.buffers()):
            distributed.broadcast(tensor.detach(), 0)
        units = _named(model, self._patterns) if self._patterns else _of_size(model, self._min_params)
        if self._recomputes and not units:
            raise UsageError(
                f"strategy fsdp: activation_checkpointing needs units; no module has {self._min_params:,} parameters"
                "\n  name the units: --strategy.modules 'blocks.*', or lower --strategy.min_params"
            )
        if self._param_dtype is not None:
            self._keep_precise(model)
        for unit in units:
            if self._recomputes:
                unit.forward = partial(checkpoint, unit.forward, use_reentrant=False)
            self._shard(unit)
        self._shard(model, output_dtype=None if self._param_dtype is None else torch.get_default_dtype())
        if any(True for _ in model.buffers()):
            model.register_forward_pre_hook(_share_buffers)
        model.register_load_state_dict_pre_hook(_divide)
        return model

    def bare(self, model: nn.Module) -> nn.Module:
        """The model itself, which has no wrapper."""
        return model

    def _keep_precise(self, model: nn.Module) -> None:
        """Let batch norms compute in the precision of their running means, which FSDP does not convert."""
        policy = MixedPrecisionPolicy(torch.get_default_dtype(), None, self._param_dtype)
        for module in model.modules():
            if isinstance(module, _BatchNorm) and any(True for _ in module.parameters()):
                self._fully_shard(module, policy)

    def _shard(self, module: nn.Module, output_dtype: torch.dtype | None = None) -> None:
        self._fully_shard(module, MixedPrecisionPolicy(self._param_dtype, self._reduce_dtype, output_dtype))

    def _fully_shard(self, module: nn.Module, policy: MixedPrecisionPolicy) -> None:
        fully_shard(
            module,
            mesh=self.mesh,
            reshard_after_forward=True,  # also of the whole model: between two steps its parameters are always parts
            mp_policy=policy,
            offload_policy=CPUOffloadPolicy() if self._offloads else OffloadPolicy(),
        )


def _backend(device: torch.device) -> str:
    """torch's name of the backends; with CUDA also one for shards that are kept on the host."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def _check(model: nn.Module) -> None:
    """Refuse a model that cannot be sharded."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError("the model has no parameters to train, so nothing can be sharded: use --strategy local")
    for name, parameter in model.named_parameters():
        if not parameter.ndim:
            raise UsageError(f"strategy fsdp divides the first dimension, but parameter '{name}' is 0-d: use ddp")
        if not parameter.is_contiguous():
            raise UsageError(
                f"strategy fsdp needs contiguous parameters, but '{name}' is not contiguous\n"
                "  remove --trainer.channels_last, or use --strategy ddp"
            )


def _share_buffers(model: nn.Module, _: Any) -> None:
    """Let all processes train with the buffers of the first one, as DDP does."""
    if model.training and torch.is_grad_enabled():
        for buffer in model.buffers():
            distributed.broadcast(buffer.detach(), 0)


def _divide(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Shard full tensors before they are loaded into the model."""
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if isinstance(value := state.get(f"{prefix}{name}"), Tensor):
            state[f"{prefix}{name}"] = like(value, parameter)


def _named(model: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """The modules that match a pattern, inner ones first.

    Raises:
        UsageError: If a pattern matches no module, or a module cannot be a unit.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    for pattern in patterns:
        if not any(_fits(name, pattern) for name in modules):
            shown = ", ".join(list(modules)[:_SHOWN]) or "none"
            raise UsageError(f"strategy fsdp: no module is called '{pattern}'\n  modules: {shown}")
    chosen = {name: one for name, one in modules.items() if any(_fits(name, pattern) for pattern in patterns)}
    outside = _outside(model)
    for name, module in chosen.items():
        if not _has_forward(module):
            raise UsageError(f"strategy fsdp: '{name}' is never called\n  name the modules in it: {name}.*")
        if other := outside(module):
            raise UsageError(
                f"strategy fsdp: '{name}' shares a parameter with '{other}', so both must be in one unit\n"
                "  remove both from --strategy.modules: they are sharded with the rest of the model"
            )
    return [chosen[name] for name in sorted(chosen, key=lambda name: -name.count("."))]


def _fits(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern, part by part: ``*`` matches no dot."""
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _of_size(model: nn.Module, min_params: int) -> list[nn.Module]:
    """The smallest modules with at least `min_params` parameters, inner ones first, without the model itself."""
    units: list[nn.Module] = []
    outside = _outside(model)

    def visit(module: nn.Module) -> int:
        """The number of parameters of a module outside of units."""
        num = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        children: Iterator[nn.Module] = module.children()
        num += sum(map(_num_params if isinstance(module, _LEAVES) else visit, children))
        if module is model or num < min_params or not _has_forward(module) or outside(module):
            return num
        units.append(module)
        return 0

    visit(model)
    return units


def _num_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _has_forward(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward


def _outside(model: nn.Module) -> Callable[[nn.Module], str]:
    """A function of a module: the name of a module outside it that shares a parameter with it, or ""."""
    owners: dict[int, list[tuple[str, nn.Module]]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((name, module))
    shared: Mapping[int, list[tuple[str, nn.Module]]] = {key: found for key, found in owners.items() if len(found) > 1}

    def outside(module: nn.Module) -> str:
        own = {id(one) for one in module.modules()}
        others = (one for parameter in module.parameters() for one in shared.get(id(parameter), ()))
        return next((name or "the model itself" for name, owner in others if id(owner) not in own), "")

    return outside
