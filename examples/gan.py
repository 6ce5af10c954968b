"""A generative adversarial network (Goodfellow et al. 2014): two models, each with its own optimizer."""

import torch
from torch.nn.functional import softplus

from wf import Component, hookimpl
from wf.traits import DatasetTraits, TrainerTraits
from wf_base import BaseTrainer, Dataset, TensorSamples

SCOPES = {"model": ("discriminator", "generator"), "optimizer": ("discriminator", "generator")}


class GAN(BaseTrainer):
    """Trains discriminator and generator alternately.

    Args:
        model: Both models.
        optimizers: The optimizer of each model.
        noise: Size of the generator's input noise.
    """

    scopes = SCOPES

    def __init__(self, model: torch.nn.ModuleDict, optimizers: dict, noise: int = 2) -> None:
        super().__init__(model, optimizers=optimizers)
        self.noise = noise

    def step(self, batch):
        self.update("discriminator", self.tell_apart)
        self.update("generator", self.deceive)

    def made(self, batch):
        return self.model["generator"](torch.randn(batch.size, self.noise, device=batch.inputs.device))

    def tell_apart(self, batch):
        judge, made = self.model["discriminator"], self.made(batch).detach()
        self.record("distance", (made.mean(0) - batch.inputs.mean(0)).norm())  # logged as train/distance
        return softplus(-judge(batch.inputs)).mean() + softplus(judge(made)).mean()

    def deceive(self, batch):
        return softplus(-self.model["discriminator"](self.made(batch))).mean()


def points(seed: int) -> Dataset:
    """Points around (3, 3)."""
    drawn = torch.randn(400, 2, generator=torch.Generator().manual_seed(seed))
    return Dataset(train=TensorSamples(drawn * 0.3 + 3, None))


@hookimpl
def wf_components():
    traits = TrainerTraits(scopes=SCOPES)
    return [
        Component("trainer", "gan", GAN, "trains generator and discriminator alternately", traits=traits),
        Component("dataset", "points", points, "points around (3, 3)", traits=DatasetTraits(inputs="vector")),
    ]
