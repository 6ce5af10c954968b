"""Contrastive losses of embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from wf.errors import UsageError


class NTXentLoss(nn.Module):
    """Normalized temperature-scaled cross-entropy: embeddings of one target are close, all others far.

    For each embedding it is the mean of ``-log(exp(s_ip / t) / sum_k exp(s_ik / t))`` over the others p of its target,
    with the cosine similarities s and k over all but itself. With two views of each sample, whose targets are the
    numbers of the samples, it is that of SimCLR (Chen et al. 2020, equation 1); with classes as targets it is that of
    supervised contrastive learning (Khosla et al. 2020, equation 2). Embeddings whose target is alone in a batch only
    repel others.

    Args:
        temperature: What similarities are divided by, above 0; smaller values stress the closest ones.

    Raises:
        UsageError: For a temperature out of range.
    """

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise UsageError(f"loss option 'temperature' is {temperature}; it must be finite and above 0")
        self.temperature = temperature

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The mean over embeddings ``[M, D]`` whose int64 targets ``[M]`` occur more than once; 0 if there are none.

        Raises:
            UsageError: For other shapes.
        """
        if predictions.ndim != 2 or targets.ndim != 1:
            raise UsageError(
                "loss 'nt-xent' takes embeddings [M, D] and targets [M], one each, and got "
                f"{list(predictions.shape)} and {list(targets.shape)}"
            )
        if predictions.dtype in (torch.float16, torch.bfloat16):
            predictions = predictions.float()
        rows = F.normalize(predictions, dim=1)
        itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        scores = (rows @ rows.T / self.temperature).masked_fill(itself, float("-inf"))
        log_probs = scores - scores.logsumexp(dim=1, keepdim=True)
        same = (targets.unsqueeze(0) == targets.unsqueeze(1)) & ~itself
        num = same.sum(dim=1)
        each = -log_probs.masked_fill(~same, 0.0).sum(dim=1) / num.clamp(min=1)
        return each.sum() / (num > 0).sum().clamp(min=1)
