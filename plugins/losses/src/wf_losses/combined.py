"""Several losses as one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from wf import FromRun, Nested
from wf.errors import UsageError
from wf.traits import LossTraits
from wf_base import Term, tree
from wf_building.built import traits_of
from wf_losses.regression import MSELoss

SQUARED = (MSELoss, nn.MSELoss)
"""Losses whose half is the negative log-likelihood of a normal distribution of variance 1."""


class SumLoss(nn.Module):
    """The weighted sum of several losses, each of which is recorded as ``loss/NAME``, without its weight.

    Each part gets what the model gives and the targets as they are, without links; or a leaf of them, where these are
    trees.

    Learned weights are those of Kendall, Gal and Cipolla 2018: each part has a trained variance ``exp(s)``, and the sum
    is that of ``weight * (c * exp(-s) * part + s / 2)``. c is 1/2 for squared errors (equation 7) and 1 for all others
    (equation 10). The factor ``weight * c * exp(-s)`` is recorded as ``loss/weight/NAME``, the sum of
    ``weight * s / 2`` as ``loss/variances``.

    Args:
        parts: The losses.
        weights: One a part; None for 1 each.
        names: One a part; None for those of their classes, such as ``mse``.
        of: The leaf of outputs and targets that each part gets, as ``price`` or ``heads/0``, where these are trees.
        learned: Whether the weights are trained as well.
        forms_given: The forms of predictions that the model gives; None where they are not known.

    Raises:
        UsageError: For lists of different lengths, a weight below 0, or a part that cannot be one.
    """

    given_weights: Tensor

    def __init__(
        self,
        parts: Annotated[list[Any], Nested("loss")] = [],  # noqa: B006 - only read; a list is what users write
        weights: list[float] | None = None,
        names: list[str] | None = None,
        of: list[str] | None = None,
        learned: bool = False,
        forms_given: Annotated[list[str] | None, FromRun("forms_given")] = None,
    ) -> None:
        super().__init__()
        if not parts:
            raise UsageError("loss 'sum' has no parts\n  name some: --loss.parts '[\"mse\", \"l1\"]'")
        for option, given in (("weights", weights), ("names", names), ("of", of)):
            if given is not None and len(given) != len(parts):
                raise UsageError(f"loss 'sum' has {len(parts)} parts, and {option} {given}; give one a part")
        self.weights = [1.0] * len(parts) if weights is None else list(weights)
        if not all(math.isfinite(weight) and weight >= 0 for weight in self.weights):
            raise UsageError(f"loss option 'weights' is {weights}; give finite weights of at least 0")
        self.names = list(map(_name, parts)) if names is None else list(names)
        twice = next((name for name in self.names if self.names.count(name) > 1), None)
        if twice is not None or not all(re.fullmatch(r"[\w.-]+", name) for name in self.names):
            raise UsageError(
                f"loss 'sum': its parts are named {', '.join(self.names)}; give each a name of its own, of letters, "
                "digits, - and _: --loss.names"
            )
        for part, name in zip(parts, self.names, strict=True):
            _check_part(part, name, forms_given)
        self.parts = list(parts)
        self.modules_of_parts = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))
        self.of = None if of is None else list(of)
        self.log_variances = nn.Parameter(torch.zeros(len(parts))) if learned else None
        """``s`` of each part."""
        self.register_buffer("given_weights", torch.tensor(self.weights), persistent=False)  # moves with the loss
        self._scales = [0.5 if isinstance(part, SQUARED) else 1.0 for part in parts]
        self.figures: dict[str, bool | None] = dict.fromkeys(self.names, False)
        if learned:
            self.figures |= {**{f"weight/{name}": None for name in self.names}, "variances": None}

    def forward(self, predictions: Any, targets: Any) -> dict[str, Term]:
        """Each part as a term, and what learned weights add."""
        terms: dict[str, Term] = {}
        for place, (name, part) in enumerate(zip(self.names, self.parts, strict=True)):
            value = part(self._leaf(predictions, place), self._leaf(targets, place))
            reduction: Literal["mean", "sum"] = "sum" if getattr(part, "reduction", "mean") == "sum" else "mean"
            terms[name] = Term(value=value, factor=self._factor(place), reduction=reduction)
        if self.log_variances is None:
            return terms
        shown = {f"weight/{name}": Term(value=term.factor.detach(), factor=0.0) for name, term in terms.items()}  # type: ignore[union-attr]  # learned
        return {**terms, "variances": Term(value=(self.given_weights * self.log_variances).sum() / 2), **shown}

    def total_weight(self, targets: Any) -> dict[str, Any] | None:
        """The weights of the parts that do not average over samples."""
        found = {}
        for place, (name, part) in enumerate(zip(self.names, self.parts, strict=True)):
            weigh = getattr(part, "total_weight", None)
            if callable(weigh):
                found[name] = weigh(self._leaf(targets, place))
        return found or None

    def _factor(self, place: int) -> Tensor | float:
        weight = self.weights[place]
        if self.log_variances is None:
            return weight
        return weight * self._scales[place] * torch.exp(-self.log_variances[place])

    def _leaf(self, own: Any, place: int) -> Any:
        if self.of is None:
            return own
        try:
            return tree.at(own, self.of[place])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            name, leaf = self.names[place], self.of[place]
            raise UsageError(
                f"loss 'sum': part '{name}' is of leaf '{leaf}', and there is {tree.words(own)}"
            ) from error


def _name(part: Any) -> str:
    """A part's name by its class or function: ``mse`` of MSELoss."""
    made = part.func if isinstance(part, partial) else part
    name = getattr(made, "__name__", type(made).__name__).removesuffix("Loss").removesuffix("_loss")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower().replace("_", "-")


def _check_part(part: Any, name: str, given: Sequence[str] | None) -> None:
    traits = traits_of(part)
    if given is not None and isinstance(traits, LossTraits) and traits.predictions not in given:
        raise UsageError(
            f"loss 'sum': part '{name}' takes {traits.predictions} predictions, and no link stands before a part: the "
            f"model gives {', '.join(given)}\n  take a loss of one of these, such as ce or bce-logits for scores"
        )
    if getattr(part, "reduction", "mean") == "none":
        raise UsageError(f"loss 'sum': part '{name}' has reduction none, and a part is one number\n  leave it out")
