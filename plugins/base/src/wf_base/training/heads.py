"""The head of a model, which gives its predictions, and its backbone."""

from __future__ import annotations

from typing import Any

from torch import nn

BACKBONE = "backbone"
"""The name for everything but the head, unless a model has a module of that name."""
HEAD = "head"
"""The name of the layers that produce the predictions, unless a module has that name."""


def head_of(model: nn.Module) -> list[nn.Module]:
    """The layers that produce the predictions: the ones the model names, or else its last layer with weights.

    ``get_classifier`` is timm's name for it. The order of layers is the order in which the model registers them.
    """
    named: Any = getattr(model, "get_classifier", None)
    if callable(named):
        found = named()
        return [one for one in (found if isinstance(found, tuple) else (found,)) if isinstance(one, nn.Module)]
    return [module for module in model.modules() if has_weights(module)][-1:]


def head_parameters(model: nn.Module) -> set[str]:
    """The names of the parameters of the head."""
    own = {id(parameter) for module in head_of(model) for parameter in module.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in own}


def has_weights(module: nn.Module) -> bool:
    """Whether a module itself has weights of two or more dimensions, unlike a norm."""
    own = module.named_parameters(recurse=False)
    return any("weight" in name and parameter.ndim >= 2 for name, parameter in own)
