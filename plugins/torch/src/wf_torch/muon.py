"""Muon, which is for matrices, together with AdamW for the parameters that are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from wf.errors import UsageError


class MuonAndAdamW(Optimizer):
    """`torch.optim.Muon` for the hidden weight matrices and `torch.optim.AdamW` for all other parameters.

    Muon's author trains embeddings, biases, the layer that gives the predictions and kernels so (Jordan et al. 2024);
    torch's class takes matrices alone. The parameter groups are those of the two, Muon's first.

    Args:
        param_groups: The run value of that name.
        adamw_lr: AdamW's learning rate; Muon's when not given.
        adamw_betas: Decay rates of AdamW's running averages.
        lr: Muon's learning rate.
        weight_decay: Of both.
        options: More of Muon.

    Raises:
        UsageError: If there are no hidden matrices.
    """

    def __init__(
        self,
        param_groups: Sequence[dict[str, Any]],
        adamw_lr: float | None,
        adamw_betas: tuple[float, float],
        lr: float,
        weight_decay: float,
        **options: Any,
    ) -> None:
        hidden = [one for group in param_groups if group["hidden"] for one in group["params"]]
        matrices = [one for one in hidden if one.ndim == 2]
        if not matrices:
            raise UsageError("the model has no hidden weight matrices to train, which it is for; use torch/adamw")
        rest = [one for one in hidden if one.ndim != 2]
        others = [*rest, *(one for group in param_groups if not group["hidden"] for one in group["params"])]
        self._muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, **options)
        second = lr if adamw_lr is None else adamw_lr
        self._adamw = torch.optim.AdamW(
            others or [torch.zeros(0)], lr=second, betas=adamw_betas, weight_decay=weight_decay
        )
        self._adamw.param_groups[0]["params"] = others
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update both."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        self._muon.step()
        self._adamw.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Let the two work on the groups and the state that are here."""
        self._muon.param_groups, self._adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        self._muon.state = self._adamw.state = self.state
