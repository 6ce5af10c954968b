"""An autoencoder: it compresses each input to a short code and reconstructs the input from the code.

The trainer's loss needs no targets, so the labels of the dataset are ignored; evaluations compute the same loss.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from wf_base import BaseTrainer, Batch


class Autoencoder(nn.Module):
    """An encoder and a decoder with one hidden layer each.

    Args:
        num_features: Size of an input.
        code: Size of a code.
        width: Hidden units of each network.
    """

    def __init__(self, num_features: int, code: int = 8, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(num_features, width), nn.ReLU(), nn.Linear(width, code))
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(code, width), nn.ReLU(), nn.Linear(width, num_features))

    def forward(self, inputs: Tensor) -> Tensor:
        """The code of each input, ``[N, code]``, for a later model or the metric `knn`."""
        code: Tensor = self.encoder(inputs)
        return code


class Reconstruction(BaseTrainer):
    """Trains encoder and decoder on the squared error of the reconstruction."""

    def compute_loss(self, batch: Batch) -> Tensor:
        """The mean squared error between the inputs and their reconstructions."""
        found = self.model.decoder(self.model(batch.inputs))
        return mse_loss(found, batch.inputs.flatten(1))
