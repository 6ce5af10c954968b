"""Jobs whose batches are trees: a language model, a classifier of texts, image and table, two views, a GAN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wf_base import BaseTrainer, Batch, Dataset, TensorSamples

VOCABULARY, PAD = 13, 0


class Texts(torch.utils.data.Dataset[Any]):
    """Texts of 2 to 9 tokens that follow a rule; each has a class.

    Args:
        num_samples: Number of texts.
        next_token: The target of a text is the text shifted by one token; otherwise its class.
    """

    def __init__(self, num_samples: int, next_token: bool = True) -> None:
        generator = torch.Generator().manual_seed(7)
        self._lengths = torch.randint(2, 10, (num_samples,), generator=generator).tolist()
        self._first = torch.randint(1, VOCABULARY, (num_samples,), generator=generator).tolist()
        self._next_token = next_token

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Any]:
        first, length = self._first[index], self._lengths[index]
        tokens = (first - 1 + torch.arange(length + 1) * 3) % (VOCABULARY - 1) + 1
        return {"tokens": tokens[:-1]}, tokens[1:] if self._next_token else first % 3


def padded(tensors: list[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=PAD)


def collate(samples: list[Any]) -> tuple[dict[str, Tensor], Tensor]:
    tokens = padded([inputs["tokens"] for inputs, _ in samples])
    targets = [target for _, target in samples]
    inputs = {"tokens": tokens, "mask": tokens != PAD}
    return inputs, padded(targets) if isinstance(targets[0], Tensor) else torch.tensor(targets)


def next_tokens(num_samples: int = 48) -> Dataset:
    return Dataset(train=Texts(num_samples), collate=collate)


def text_classes(num_samples: int = 90) -> Dataset:
    texts = Texts(num_samples, next_token=False)
    return Dataset(train=texts, collate=collate, targets="class_index", class_names=("a", "b", "c"))


class LanguageModel(nn.Module):
    """Returns logits ``[N, T, VOCABULARY]``."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.layer = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        hidden, _ = self.layer(self.embedding(tokens))
        outputs: Tensor = self.head(hidden) * mask.unsqueeze(-1)
        return outputs


class TextClassifier(nn.Module):
    """Returns logits ``[N, num_outputs]`` of the mean of the tokens."""

    def __init__(self, num_outputs: int, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.head = nn.Linear(width, num_outputs)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        hidden = self.embedding(tokens) * mask.unsqueeze(-1)
        outputs: Tensor = self.head(hidden.sum(1) / mask.sum(1, keepdim=True))
        return outputs


class TokenLoss(nn.Module):
    """The mean over all tokens that are not padding."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=PAD)

    def total_weight(self, targets: Tensor) -> Tensor:
        return (targets != PAD).sum()


def image_and_table(num_samples: int = 60) -> Dataset:
    """Two inputs in memory, two targets."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (num_samples, 1, 4, 4), dtype=torch.uint8, generator=generator)
    table = torch.randn(num_samples, 3, generator=generator)
    targets = {"price": table.sum(1), "kind": (table[:, 0] > 0).long()}
    return Dataset(train=TensorSamples({"image": image, "table": table}, targets))


class TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
        self.table = nn.Linear(3, 4)
        self.price, self.kind = nn.Linear(8, 1), nn.Linear(8, 2)

    def forward(self, image: Tensor, table: Tensor) -> dict[str, Tensor]:
        hidden = torch.cat([self.image(image), self.table(table)], dim=1).relu()
        return {"price": self.price(hidden).flatten(), "kind": self.kind(hidden)}


class TwoLosses:
    """A regression and a classification, weighted."""

    def __call__(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            "price": functional.mse_loss(outputs["price"], targets["price"]),
            "kind": 0.5 * functional.cross_entropy(outputs["kind"], targets["kind"]),
        }


def two_views(num_samples: int = 64) -> Dataset:
    """Two noisy views of each sample, and no targets."""
    return Dataset(train=Views(num_samples))


class Views(torch.utils.data.Dataset[Any]):
    def __init__(self, num_samples: int) -> None:
        self._points = torch.randn(num_samples, 6, generator=torch.Generator().manual_seed(2))

    def __len__(self) -> int:
        return len(self._points)

    def __getitem__(self, index: int) -> tuple[tuple[Tensor, Tensor], None]:
        point = self._points[index]
        return (point + 0.1 * torch.randn(6), point + 0.1 * torch.randn(6)), None


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 8))

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        return functional.normalize(self.encoder(one), dim=1), functional.normalize(self.encoder(other), dim=1)


def contrast(outputs: tuple[Tensor, Tensor], targets: None) -> Tensor:
    """InfoNCE: the other view of a sample among the views of the batch."""
    logits = outputs[0] @ outputs[1].T / 0.2
    return functional.cross_entropy(logits, torch.arange(len(logits)))


class Adversaries(nn.Module):
    """A generator of points and a discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, points: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(points)
        return logits


class AdversarialTrainer(BaseTrainer):
    """Updates discriminator and generator in each step."""

    model: Adversaries

    def __init__(self, model: Adversaries, lr: float = 1e-2) -> None:
        super().__init__(model)
        self.optimizers = {
            "discriminator": torch.optim.Adam(model.discriminator.parameters(), lr),
            "generator": torch.optim.Adam(model.generator.parameters(), lr),
        }

    def step(self, batch: Batch) -> None:
        self.update("discriminator", self.tell_apart)
        self.update("generator", self.deceive)

    def tell_apart(self, batch: Batch) -> Tensor:
        drawn = self.model.generator(torch.randn(batch.size, 2)).detach()
        real, false = self.model(batch.inputs), self.model(drawn)
        return functional.softplus(-real).mean() + functional.softplus(false).mean()

    def deceive(self, batch: Batch) -> Tensor:
        return functional.softplus(-self.model(self.model.generator(torch.randn(batch.size, 2)))).mean()


def points(num_samples: int = 64) -> Dataset:
    angles = 6.28 * torch.rand(num_samples, generator=torch.Generator().manual_seed(3))
    return Dataset(train=TensorSamples(torch.stack([angles.cos(), angles.sin()], 1), None))
