"""Parameter groups of an optimizer, each with its own learning rate and weight decay."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from wf.errors import UsageError, unknown
from wf.terminal import plural
from wf_run.declared.kinds import GROUP_KEYS

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from wf.traits import OptimizerTraits

_OWN = ("match", "lr_scale")
_RATE, _DECAY = "lr", "weight_decay"
_LOSS = "loss."
"""The prefix of the names of a loss's parameters."""
_REST = "the rest"


@dataclass(frozen=True)
class Group:
    """One ``[[optimizer.group]]`` of a run file."""

    patterns: tuple[str, ...]
    lr_scale: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    """Overridden options of the optimizer, such as ``weight_decay``."""

    @property
    def title(self) -> str:
        """Its patterns, as messages show them."""
        return ", ".join(self.patterns)


@dataclass(frozen=True)
class Made:
    """A group of parameters that was made."""

    title: str
    """Its patterns, or ``the rest``; with layer decay also the layers, and with separate norms a note of that."""
    names: tuple[str, ...]
    num_parameters: int
    options: Mapping[str, Any]
    """``lr``, and the options that differ from the optimizer's."""

    def describe(self) -> str:
        """A description in one line."""
        tensors = plural(len(self.names), "tensor")
        return f"{self.title}: {tensors}, {self.num_parameters:,} parameters, {self.settings()}"

    def settings(self) -> str:
        """Its options, for messages."""
        values = {name: f"{value:g}" if isinstance(value, float) else value for name, value in self.options.items()}
        return ", ".join(f"{name} {value}" for name, value in values.items())


@dataclass(frozen=True)
class Grouping:
    """How the parameters of an optimizer are divided."""

    groups: tuple[Group, ...] = ()
    """The groups; a parameter belongs to the first group that it matches, or to none."""
    layer_decay: float = 1.0
    """Each layer's learning rate is the next layer's times this factor; the head keeps the full rate."""
    decay_norms: bool = True
    """Whether weight decay also applies to norms and biases: parameters of at most one dimension."""

    @classmethod
    def read(cls, table: Any, owner: str = "optimizer") -> Grouping | None:
        """The groups that an optimizer's table asks for; None if it asks for none.

        Args:
            table: The table.
            owner: The prefix of keys in messages: ``optimizer``, ``optimizer.generator``.

        Raises:
            UsageError: For a value that does not fit.
        """
        if not isinstance(table, Mapping) or not any(key in table for key in GROUP_KEYS):
            return None
        return cls(
            groups=_read_groups(table.get("group", []), owner),
            layer_decay=_share(table.get("layer_decay", 1.0), f"{owner}.layer_decay"),
            decay_norms=_flag(table.get("decay_norms", True), f"{owner}.decay_norms"),
        )


def regroup(
    optimizer: Optimizer,
    grouping: Grouping,
    traits: OptimizerTraits,
    model: nn.Module,
    loss: Any = None,
    *,
    name: str,
    owner: str = "optimizer",
) -> list[Made]:
    """Divide the parameters of a new optimizer, which has no state yet.

    Existing groups are divided separately, so that they stay separate.

    Args:
        optimizer: The optimizer, which is changed.
        grouping: The division.
        traits: The optimizer's traits.
        model: The model whose parameter names the patterns match.
        loss: The loss; its own parameters are called ``loss.NAME``.
        name: The optimizer's name, for messages.
        owner: The prefix of keys in messages.

    Returns:
        The groups, in the optimizer's order.

    Raises:
        UsageError: For a pattern that no trained parameter has, an option that the optimizer does not have, or an
            optimizer that cannot be divided.
    """
    _check_divisible(optimizer, traits, name, owner)
    names = _names(model, loss)
    known = {id(one): names.get(id(one), "") for group in optimizer.param_groups for one in group["params"]}
    places = _places(list(known.values()), grouping, model, owner)
    layers = _layers(model, list(known.values())) if grouping.layer_decay != 1 else {}
    made: list[Made] = []
    divided: list[dict[str, Any]] = []
    base = optimizer.param_groups[0]
    for before in optimizer.param_groups:
        parts: dict[tuple[Any, ...], list[Any]] = {}
        for one in before["params"]:
            own = known[id(one)]
            is_norm = not grouping.decay_norms and (one.ndim <= 1 or own.endswith("bias"))
            parts.setdefault((places.get(own), layers.get(own, 0), is_norm), []).append(one)
        for (place, depth, is_norm), params in parts.items():
            chosen = None if place is None else grouping.groups[place]
            options = _options(before, chosen, grouping.layer_decay**depth, name, owner, without_decay=is_norm)
            divided.append({**before, **options, "params": params})
            shown = {key: value for key, value in options.items() if key == _RATE or base.get(key) != value}
            rate = {_RATE: float(divided[-1][_RATE])} if divided[-1].get(_RATE) is not None else {}
            title = _title(chosen, depth if layers else None, is_norm=is_norm)
            listed = tuple(known[id(one)] for one in params)
            made.append(Made(title, listed, sum(one.numel() for one in params), {**rate, **shown}))
    optimizer.param_groups[:] = divided
    return made


def shown(made: Sequence[Made], limit: int = 6) -> Sequence[Made]:
    """The groups to print; of many only the first and the last."""
    return made if len(made) <= limit else [*made[: limit // 2], *made[-(limit // 2) :]]


def _check_divisible(optimizer: Optimizer, traits: OptimizerTraits, name: str, owner: str) -> None:
    """Refuse an optimizer that would ignore the new groups."""
    fix = f"leave out {', '.join(f'{owner}.{key}' for key in GROUP_KEYS)}, or use another optimizer, such as adamw"
    if traits.step == "closure" or traits.built_from == "model":
        raise UsageError(f"optimizer '{name}' treats all its parameters alike, so they cannot be in groups\n  {fix}")
    inner = [one for one in vars(optimizer).values() if hasattr(one, "param_groups")]
    if any(one.param_groups is not optimizer.param_groups for one in inner):
        raise UsageError(f"optimizer '{name}' consists of several, each with its own groups of parameters\n  {fix}")


def _options(
    before: Mapping[str, Any], chosen: Group | None, scale: float, name: str, owner: str, *, without_decay: bool
) -> dict[str, Any]:
    """The options of a group that differ from its original group."""
    options: dict[str, Any] = {}
    title = "" if chosen is None else f"{owner}.group '{chosen.title}'"
    for key, value in ({} if chosen is None else chosen.options).items():
        if key not in before or key == "params":
            known = [one for one in before if one != "params"]
            raise UsageError(
                unknown(
                    "option", key, [*known, *_OWN], f"the options of optimizer '{name}' and those of groups", of=title
                )
            )
        options[key] = _like(value, before[key], f"{title}: {key}")
    factor = scale * (1.0 if chosen is None else chosen.lr_scale)
    if factor != 1:
        rate = options.get(_RATE, before.get(_RATE))
        if rate is None:
            raise UsageError(f"optimizer '{name}' has no learning rate to scale\n  use another, such as adamw")
        options[_RATE] = rate * factor
    if without_decay and _DECAY in before:
        options[_DECAY] = before[_DECAY] * 0
    return options


def _like(value: Any, before: Any, what: str) -> Any:
    """A value of the option's type."""
    if isinstance(before, bool):
        return _flag(value, what)
    if isinstance(before, (int, float)):
        return _number(value, what)
    return tuple(value) if isinstance(before, tuple) and isinstance(value, list) else value


def _names(model: nn.Module, loss: Any) -> dict[int, str]:
    """The name of each parameter."""
    own = {id(one): name for name, one in model.named_parameters()}
    parameters: Callable[[], Iterator[tuple[str, Any]]] | None = getattr(loss, "named_parameters", None)
    others = {} if parameters is None else {id(one): f"{_LOSS}{name}" for name, one in parameters()}
    return {**others, **own}


def _places(names: Sequence[str], grouping: Grouping, model: nn.Module, owner: str) -> dict[str, int]:
    """The index of the group of each parameter that is in one."""
    from wf_base.training.heads import BACKBONE, HEAD, head_parameters

    places: dict[str, int] = {}
    every = [name for name, _ in model.named_parameters()]
    children = {name for name, _ in model.named_children()}
    head = head_parameters(model)
    words = {HEAD: head, BACKBONE: {*every} - head}
    for number, group in enumerate(grouping.groups):
        for pattern in group.patterns:
            word = pattern.removesuffix(".*")
            chosen = words[word] if word in words and word not in children else matched([*every, *names], pattern)
            if not chosen & {*names}:
                raise UsageError(_matches_nothing(pattern, every, owner, frozen=bool(chosen)))
            for name in names:
                if name in chosen:
                    places.setdefault(name, number)
        if number not in places.values():
            raise UsageError(f"{owner}.group '{group.title}' is empty: everything it matches is in earlier groups")
    return places


def matched(names: Sequence[str], pattern: str) -> set[str]:
    """The parameters that a pattern matches, directly or through their module."""
    return {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}


def _matches_nothing(pattern: str, every: Sequence[str], owner: str, *, frozen: bool) -> str:
    if frozen:
        return f"{owner}.group: '{pattern}' matches only parameters that are not trained (see --trainer.freeze)"
    tops = list(dict.fromkeys(name.partition(".")[0] for name in every))
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in every if "." in name))
    hint = f"{owner}.group: match names a module or a parameter, or is a pattern: '*.bias'"
    return unknown("parameters", pattern, ["backbone", "head", *tops], hint, of="the model", also=[*modules, *every])


def _layers(model: nn.Module, names: Sequence[str]) -> dict[str, int]:
    """The number of layers after each parameter's layer.

    A layer is an item of a list of modules (Sequential, ModuleList): the innermost item that is not itself a list. All
    modules before the first item form one layer, and norms belong to the layer before them. In a model without lists
    each module with weights is a layer.
    """
    items = _items(model)
    layers = {name: items[name] or name.rpartition(".")[0] for name in items}
    weighted = {layers[name] for name, one in model.named_parameters() if one.ndim >= 2}
    begun, depth, last, found = not any(items.values()), -1, None, {}
    for name, layer in layers.items():
        begun = begun or items[name] is not None
        if depth < 0 or (begun and layer != last and layer in weighted):
            depth, last = depth + 1, layer
        found[name] = depth
    return {name: depth - found[name] for name in names if name in found}


def _items(model: nn.Module) -> dict[str, str | None]:
    """The item of a list of modules that contains each parameter; None if none does."""
    from torch import nn

    lists, modules = (nn.Sequential, nn.ModuleList, nn.ModuleDict), dict(model.named_modules())

    def item(name: str) -> str | None:
        parts, inside = name.split("."), isinstance(model, lists)
        for end in range(1, len(parts)):
            path = ".".join(parts[:end])
            if isinstance(modules[path], lists):
                inside = True
            elif inside:
                return path
        return None

    return {name: item(name) for name, _ in model.named_parameters()}


def _title(chosen: Group | None, depth: int | None, *, is_norm: bool) -> str:
    words = [_REST if chosen is None else chosen.title]
    if depth is not None:
        words.append("last layer" if depth == 0 else f"{plural(depth, 'layer')} before the last")
    if is_norm:
        words.append("norms and biases")
    return ", ".join(words)


def _read_groups(value: Any, owner: str) -> tuple[Group, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(one, Mapping) for one in value):
        raise UsageError(
            f"{owner}.group is a list of tables: [[{owner}.group]] in a run file, and on the command line\n"
            f"  --{owner}.group '[{{match = \"backbone\", lr_scale = 0.1}}]'"
        )
    return tuple(_read_group(number, table, owner) for number, table in enumerate(value, 1))


def _read_group(number: int, table: Mapping[str, Any], owner: str) -> Group:
    given = table.get("match")
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, Sequence) or not patterns or not all(isinstance(one, str) and one for one in patterns):
        raise UsageError(
            f'{owner}.group {number}: match names the parameters: match = "backbone.*", or ["layer1", "layer2"]'
        )
    group = Group(
        tuple(patterns),
        _number(table.get("lr_scale", 1.0), f"{owner}.group {number}: lr_scale"),
        {key: value for key, value in table.items() if key not in _OWN},
    )
    if not group.options and group.lr_scale == 1:
        raise UsageError(f"{owner}.group {number} ('{group.title}') changes nothing: set lr_scale, or weight_decay")
    if _RATE in group.options and "lr_scale" in table:
        raise UsageError(f"{owner}.group {number} ('{group.title}'): set lr or lr_scale, not both")
    return group


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise UsageError(f"{what} must be a number of at least 0, not {value!r}")
    return float(value)


def _share(value: Any, what: str) -> float:
    number = _number(value, what)
    if not 0 < number <= 1:
        raise UsageError(f"{what} must be greater than 0 and at most 1, not {value!r}")
    return number


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{what} must be true or false, not {value!r}")
    return value
