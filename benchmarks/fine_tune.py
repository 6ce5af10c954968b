"""Fine-tuning of torchvision/resnet18 on a folder of images, in wf and in a hand-written script.

    python benchmarks/fine_tune.py [--rounds N] [--images N] [--size PIXELS]

Both read the same files in the same order, start from the same weights, and train the backbone at a tenth of the head's
learning rate. The final weights are compared bit for bit. Times are the CPU seconds of an epoch's steps, including
reading the files; the rounds alternate, and the shortest counts.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _goals import figure
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.transforms._presets import ImageClassification

import wf
from wf import Hook, Loop
from wf_base.random import stream

CLASSES, BATCH, SEED, RATE = ("cross", "ring", "square"), 8, 42, 1e-3


def draw(folder: Path, num: int) -> Path:
    """Draw `num` images of each class for training and some for validation, in different sizes."""
    numbers = random.Random(0)
    for split, count in (("train", num), ("val", max(2, num // 4))):
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                width, height = numbers.choice([(120, 90), (90, 120), (100, 100)])
                image = Image.new("RGB", (width, height), (numbers.randrange(60), 30, 30))
                pen, ink = ImageDraw.Draw(image), (numbers.randrange(120, 256), 200, numbers.randrange(120, 256))
                x, y, r = width // 2 + numbers.randrange(-9, 9), height // 2, numbers.randrange(15, 30)
                if label == "ring":
                    pen.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=6)
                elif label == "square":
                    pen.rectangle((x - r, y - r, x + r, y + r), fill=ink)
                else:
                    pen.line((x - r, y, x + r, y), fill=ink, width=8)
                    pen.line((x, y - r, x, y + r), fill=ink, width=8)
                image.save(folder / split / label / f"{number:03}.png")
    return folder


def weights_in(folder: Path) -> Path:
    """A file of random weights of the architecture, with a head of 1,000 classes. It needs no network."""
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


def by_hand(photos: Path, weights: Path, size: int, epochs: int) -> tuple[dict[str, Tensor], list[float]]:
    """The hand-written script; returns the weights and the seconds of each epoch."""
    preset = ImageClassification(crop_size=size, resize_size=size)
    files = [(file, n) for n, label in enumerate(CLASSES) for file in sorted((photos / "train" / label).iterdir())]
    torch.manual_seed(SEED)
    model = resnet18()
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.fc = nn.Linear(model.fc.in_features, len(CLASSES))
    head = list(model.fc.parameters())
    backbone = [parameter for name, parameter in model.named_parameters() if not name.startswith("fc.")]
    groups = [{"params": backbone, "lr": RATE * 0.1}, {"params": head}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    loss_of = nn.CrossEntropyLoss()
    model.train()
    seconds = []
    for epoch in range(epochs):
        began = time.process_time()
        order = torch.randperm(len(files), generator=stream(SEED, "order", epoch))
        for chunk in order.split(BATCH):
            images, labels = [], []
            for index in chunk.tolist():
                file, label = files[index]
                with Image.open(file) as image:
                    images.append(preset(image.convert("RGB")))
                labels.append(label)
            loss = loss_of(model(torch.stack(images)), torch.tensor(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds.append(time.process_time() - began)
    return model.state_dict(), seconds


class Clock(Hook):
    """Measures the CPU seconds of the steps of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_start(self, run: Loop) -> None:
        """Start the clock."""
        self._began = time.process_time()

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Stop the clock, before the evaluation."""
        if "epoch_loss" in record:
            self.seconds.append(time.process_time() - self._began)


def by_name(photos: Path, weights: Path, size: int, epochs: int) -> tuple[dict[str, Tensor], list[float]]:
    """The same by wf; returns the weights and the seconds of each epoch."""
    clock = Clock()
    run = wf.build(
        dataset={"use": "image-folder", "path": str(photos)},
        model={"use": "torchvision/resnet18", "weights": str(weights), "image_size": size},
        optimizer={"use": "adamw", "lr": RATE, "group": [{"match": "backbone", "lr_scale": 0.1}]},
        batch_size=BATCH,
        epochs=epochs,
        seed=SEED,
        hook=[clock],
        eval_splits=[],
        save=False,
    )
    run.loop.final_splits = ()
    run.fit()
    return run.model.state_dict(), clock.seconds


def measure(rounds: int, num: int, size: int) -> None:
    """Compare both and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        photos, weights = draw(Path(folder) / "photos", num), weights_in(Path(folder))
        hand, name = [], []
        for _ in range(rounds):
            mine, seconds = by_hand(photos, weights, size, 2)
            hand += seconds
            theirs, seconds = by_name(photos, weights, size, 2)
            name += seconds
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[key], theirs[key]) for key in mine), "the weights differ"
    steps = -(-num * len(CLASSES) // BATCH)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {num * len(CLASSES)} images of {size} pixels")
    print(f"weights after 2 epochs: equal bit for bit, in {rounds} rounds")
    print(f"by hand  {min(hand) / steps * 1000:8.1f} ms per step")
    print(f"wf       {min(name) / steps * 1000:8.1f} ms per step  ({min(name) / min(hand) - 1:+.1%})")
    ratio = min(name) / min(hand)
    figure("fine-tuned ResNet-18: time of a step, relative to a hand-written script", ratio, "times", at_most=1.02)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, default=16, help="images per class")
    parser.add_argument("--size", type=int, default=112)
    arguments = parser.parse_args()
    measure(arguments.rounds, arguments.images, arguments.size)
