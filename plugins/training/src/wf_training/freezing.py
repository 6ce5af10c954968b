"""Freezing parts of a model."""

from __future__ import annotations

from torch import nn

from wf.engine.cadence import Every
from wf.errors import UsageError, unknown
from wf_base.training.heads import BACKBONE, head_of


def freeze(model: nn.Module, names: str | list[str] | None) -> list[nn.Module]:
    """Freeze parts of a model: their parameters get no gradients.

    Keep the returned modules in evaluation mode, so that frozen parts compute the same
    function in every step. In training mode a frozen batch norm would normalize by the batch, and its running means
    would drift away from the weights that were trained with them.

    Args:
        model: The model without the strategy's wrapper.
        names: Submodules, each with everything below it, or parameters. ``backbone`` means everything but the head,
            unless a submodule has that name.

    Raises:
        UsageError: For an unknown name, or if nothing is left to train.
    """
    listed = [names] if isinstance(names, str) else names or []
    frozen = [module for name in listed for module in _freeze_one(model, name)]
    if listed and not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            f"trainer option 'freeze': {', '.join(listed)}: that is the whole model, nothing is left to train"
        )
    return frozen


class Thawing:
    """Parts of a model that are frozen until a certain epoch or step.

    Args:
        model: The model.
        names: As for `freeze`.
        until: ``2epochs``, ``500steps``.

    Raises:
        UsageError: As for `freeze`, or for another unit.
    """

    def __init__(self, model: nn.Module, names: str | list[str] | None, until: int | str) -> None:
        self.until = Every.parse(until)
        if self.until.unit == "minutes":
            raise UsageError(f"trainer option 'freeze_until' counts epochs or steps: 2epochs, 500steps; not {until}")
        before = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.modules = freeze(model, names)
        if not names:
            raise UsageError("trainer option 'freeze_until' is set, but 'freeze' is not")
        self._parameters = [parameter for parameter in before if not parameter.requires_grad]
        self.thaw()

    def thaw(self) -> None:
        """Unfreeze the parts; their parameters get gradients from now on."""
        for parameter in self._parameters:
            parameter.requires_grad_(True)

    def apply(self, epoch: int, step: int) -> bool:
        """Freeze or unfreeze the parts for this epoch and step; returns whether they are frozen."""
        frozen = (step if self.until.unit == "steps" else epoch) < self.until.num
        for parameter in self._parameters:
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None
        for module in self.modules:
            module.train(not frozen)
        return frozen


def _freeze_one(model: nn.Module, name: str) -> list[nn.Module]:
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters(remove_duplicate=False))
    if name and name in modules:
        modules[name].requires_grad_(False)
        return [modules[name]]
    if name in parameters:
        parameters[name].requires_grad_(False)
        return []
    if name == BACKBONE:
        return _freeze_backbone(model)
    top = [BACKBONE, *(child for child, _ in model.named_children())]
    raise UsageError(
        unknown("module", name, top, "trainer option 'freeze'", of="the model", also=[*modules, *parameters])
    )


def _freeze_backbone(model: nn.Module) -> list[nn.Module]:
    """Freeze everything but the head.

    Modules without parameters and buffers are not returned: a dropout layer before the head belongs to the head.
    """
    kept = {id(parameter) for module in head_of(model) for parameter in module.parameters()}
    frozen = [parameter for parameter in model.parameters() if id(parameter) not in kept]
    if not frozen:
        raise UsageError("trainer option 'freeze': the model has no backbone, only a head")
    for parameter in frozen:
        parameter.requires_grad_(False)
    return [module for module in model.modules() if _has_state(module) and not _ids(module) & kept]


def _has_state(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None or next(module.buffers(), None) is not None


def _ids(module: nn.Module) -> set[int]:
    return {id(parameter) for parameter in module.parameters()}
