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
from torch.utils import swap_tensors
from torch.utils.checkpoint import checkpoint

from wf.errors import UsageError
from wf_base.shards import is_sharded, like, local
from wf_base.training.empty import is_all_saved, is_empty, made_empty
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
    can resume from them. The first process builds the whole model, so it must fit once into the memory of its device;
    the others build it on torch's meta device, without values, and get only their shards.

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
        whole_build: Build the whole model in each process, also where the meta device would do.
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
        whole_build: bool = False,
    ) -> None:
        device = torch.device(device)
        if min_params < 1:
            raise UsageError(f"strategy fsdp: min_params is {min_params}; it must be at least 1")
        if cpu_offload and device.type != "cuda":
            raise UsageError(f"strategy fsdp: cpu_offload is for CUDA, and the device is {device.type}\n  leave it out")
        super().__init__("fsdp", device, _backend(device), wait_sec, timeout_sec)
        self.mesh: DeviceMesh = init_device_mesh(device.type, (self.world_size,))
        """The processes that hold the shards."""
        self.host_group: Any = distributed.new_group(backend="gloo")
        """A group for messages on the host while training uses the default group."""
        self._patterns = [modules] if isinstance(modules, str) else list(modules or ())
        self._min_params = min_params
        self._param_dtype = None if param_dtype is None else _DTYPES[param_dtype]
        self._reduce_dtype = None if param_dtype is None else _DTYPES[reduce_dtype]
        self._recomputes, self._offloads = activation_checkpointing, cpu_offload
        self._builds_whole = whole_build
        self.built_whole = ""
        """Why other processes than the first have built the whole model; empty if they have not."""
        self.awaits_values = False
        """Whether the model has no values in any process, until a checkpoint is loaded."""

    def build(self, make: Callable[[], Any], *, restored: bool) -> Any:
        """The model that `make` makes; in all processes but the first without values, if it can be made so.

        `prepare` gives them the values of the first process. A model that will be `restored` from a checkpoint which
        has all of its values needs them in no process.
        """
        if self._builds_whole:
            return make()
        made, why = made_empty(make) if self.rank > 0 or restored else (make(), "")
        if self.rank == 0 and is_empty(made) and not is_all_saved(made):
            made = make()
        found: list[Any] = [None] * self.world_size
        distributed.all_gather_object(found, (why, is_empty(made)), group=self.host_group)
        self.built_whole = next((reason for reason, _ in found if reason), "")
        self.awaits_values = found[0][1]
        return made

    def prepare(self, model: nn.Module) -> nn.Module:
        """Shard the model in place; all processes get the values and the random generators of the first one.

        Raises:
            UsageError: If the model cannot be sharded, or has no such `modules`.
        """
        if not is_empty(model):
            model = model.to(self.device)
        _check(model)
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
        self._fill_buffers(model)
        self._share_generators()
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
        """Shard the parameters of a module that are not sharded yet, and give each process its part of the values."""
        wholes = {name: one for name, one in module.named_parameters() if not is_sharded(one)}
        fully_shard(
            module,
            mesh=self.mesh,
            reshard_after_forward=True,  # also of the whole model: between two steps its parameters are always parts
            mp_policy=policy,
            offload_policy=CPUOffloadPolicy() if self._offloads else OffloadPolicy(),
        )
        sharded = dict(module.named_parameters())
        for name in list(wholes):
            self._fill(sharded[name], wholes.pop(name))  # which frees the whole one

    def _fill(self, sharded: nn.Parameter, whole: Tensor) -> None:
        """Give each process its part of a parameter of the first process."""
        if sharded.is_meta:
            room = torch.empty_like(sharded, device="cpu" if self._offloads else self.device)
            swap_tensors(sharded, nn.Parameter(room, requires_grad=sharded.requires_grad))  # also where it is shared
        if self.awaits_values:
            local(sharded).fill_(torch.nan if sharded.is_floating_point() else 0)  # so that nobody trains without them
            return
        whole = _with_room(whole.detach(), self.device)
        distributed.broadcast(whole, 0)
        local(sharded).copy_(local(like(whole, sharded)))

    def _fill_buffers(self, model: nn.Module) -> None:
        """Give each process the buffers of the first one, those that no checkpoint has, too."""
        for _, buffer in model.named_buffers(remove_duplicate=False):
            if buffer.is_meta:
                swap_tensors(buffer, _with_room(buffer, self.device))
            distributed.broadcast(buffer.detach(), 0)

    def _share_generators(self) -> None:
        """Set the random generators of all processes to the state of the first one: only it has drawn all weights."""
        state = torch.get_rng_state().to(self.device)
        distributed.broadcast(state, 0)
        torch.set_rng_state(state.cpu())
        if self.device.type == "cuda":
            state = torch.cuda.get_rng_state(self.device).to(self.device)
            distributed.broadcast(state, 0)
            torch.cuda.set_rng_state(state.cpu(), self.device)


def _with_room(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor, or one like it without values if it is on the meta device."""
    return torch.empty_like(tensor, device=device) if tensor.is_meta else tensor


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
