"""An autoencoder: a model that gives its own inputs back through a few numbers, its code.

The trainer's loss needs no targets, so the labels of the dataset are left alone; evaluations compute the same loss.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from wf_base import BaseTrainer, Batch


class Autoencoder(nn.Module):
    """Two small networks around a code.

    Args:
        num_features: Numbers in an input.
        code: Numbers in its code.
        width: Hidden units of each network.
    """

    def __init__(self, num_features: int, code: int = 8, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(num_features, width), nn.ReLU(), nn.Linear(width, code))
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(code, width), nn.ReLU(), nn.Linear(width, num_features))

    def forward(self, inputs: Tensor) -> Tensor:
        """The code of each input: what a later model, or the metric `knn`, works with."""
        code: Tensor = self.encoder(inputs)
        return code


class Reconstruction(BaseTrainer):
    """Trains encoder and decoder by the squared error of what comes back."""

    def compute_loss(self, batch: Batch) -> Tensor:
        """The mean squared error of the inputs that the decoder makes of the codes."""
        found = self.model.decoder(self.model(batch.inputs))
        return mse_loss(found, batch.inputs.flatten(1))
