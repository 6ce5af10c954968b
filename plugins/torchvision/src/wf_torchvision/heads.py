"""The last layers of torchvision's models: their names, and their replacement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torchvision.models.segmentation.lraspp import LRASPP

from wf.errors import DataError, UsageError

if TYPE_CHECKING:
    from wf_torchvision.weights import Source


def head_of(model: nn.Module) -> tuple[str, ...]:
    """The names of the layers that give the predictions: the last one, except where two are summed."""
    if isinstance(model, LRASPP):
        return "classifier.low_classifier", "classifier.high_classifier"
    layers = [
        name for name, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None
    ]
    return (next(name for name in reversed(layers) if not _is_auxiliary(name)),)


def replace_head(model: nn.Module, num_outputs: int) -> None:
    """Replace the last layers by layers with `num_outputs` outputs, initialized by torch's default."""
    for name in head_of(model):
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, _like(model.get_submodule(name), num_outputs))


def num_outputs_in(state: Mapping[str, Tensor], head: str, source: Source) -> int:
    """The number of outputs of the head in a state_dict.

    Raises:
        DataError: If it has no such layer.
    """
    if f"{head}.weight" not in state:
        found = ", ".join(list(state)[:4])
        raise DataError(f"{source.title} does not fit the model: it has no '{head}.weight'\n  it has: {found}, ...")
    return len(state[f"{head}.weight"])


def has_auxiliary(state: Mapping[str, Tensor]) -> bool:
    """Whether a state_dict has auxiliary classifiers, which only training needs."""
    return any(map(_is_auxiliary, state))


def follow_batches(model: nn.Module, momentum: float | None, owner: str) -> None:
    """Set the momentum of the running statistics of batch norm; None keeps the model's own.

    Raises:
        UsageError: For a value out of range.
    """
    if momentum is None:
        return
    if not 0 <= momentum <= 1:
        raise UsageError(f"{owner}: norm_momentum is {momentum}; it must be from 0 to 1")
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.momentum = momentum


def drop_auxiliary(model: nn.Module) -> None:
    """Remove the auxiliary classifiers, as torchvision does if they are not requested."""
    for name in ("aux1", "aux2", "AuxLogits", "aux_classifier"):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
    if hasattr(model, "aux_logits"):
        model.aux_logits = False  # type: ignore[assignment]  # torch expects modules and tensors alone


def _is_auxiliary(name: str) -> bool:
    return name.lower().startswith("aux")


def _like(layer: nn.Module, num_outputs: int) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, num_outputs, bias=layer.bias is not None)
    assert isinstance(layer, (nn.Conv2d, nn.Conv3d))
    options = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
    return type(layer)(layer.in_channels, num_outputs, bias=layer.bias is not None, **options)  # type: ignore[arg-type]
