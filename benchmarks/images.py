"""Images per second from a folder of JPEGs, compared with torchvision's ImageFolder and torch's DataLoader.

    python benchmarks/images.py [--images N] [--width N] [--height N] [--size N] [--workers N] [--epochs N]

The script first draws a folder of photos with noise and waves, half of them upright. Every variant reads all images in
a new order each epoch, in batches of 64, resized and cropped to a square of `--size`: by `Resize`, `CenterCrop` and
`ToTensor` of torchvision, or by `--dataset image-folder`. Epochs of the variants take turns, with all files in the page
cache.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _goals import figure
from PIL import Image

import wf

BATCH = 64


def draw(folder: Path, num: int, size: tuple[int, int]) -> None:
    """Draw photos of two classes."""
    random = np.random.default_rng(0)
    across, down = np.meshgrid(np.linspace(0, 40, size[0]), np.linspace(0, 30, size[1]))
    for index in range(num):
        shift = random.uniform(0, 6, 3)
        waves = [127 + 90 * np.sin(across * (1 + shift[0] / 9) + down + one) for one in shift]
        pixels = np.stack(waves, axis=2) + random.normal(0, 10, (size[1], size[0], 3))
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        file = folder / "ab"[index % 2] / f"{index:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        (image if index % 4 < 2 else image.transpose(Image.Transpose.ROTATE_90)).save(file, quality=90)


def usual(folder: Path, size: int, workers: int) -> Callable[[int], int]:
    """An epoch of the usual script."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
    images = ImageFolder(str(folder), transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(
        images, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda _: sum(len(targets) for _, targets in loader)


def by_name(folder: Path, size: int, workers: int, **options: Any) -> Callable[[int], int]:
    """An epoch of wf's data."""
    run = wf.build(
        dataset={"use": "image-folder", "path": folder, "image_size": size, **options},
        model="linear",
        workers=workers,
        batch_size=BATCH,
        split="100/0",
        hook=[],
        save=False,
        quiet=True,
    )
    return lambda epoch: sum(batch.size for batch in run.data.epoch(epoch))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--height", type=int, default=768)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        draw(folder, arguments.images, (arguments.width, arguments.height))
        given = (folder, arguments.size, arguments.workers)
        variants = {
            "ImageFolder, DataLoader": usual(*given),
            "image-folder": by_name(*given),
            "image-folder, reduce": by_name(*given, reduce=True),
            "image-folder, cache": by_name(*given, cache=Path(temporary) / "cache"),
            "image-folder, reduce, cache": by_name(*given, reduce=True, cache=Path(temporary) / "cache"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        for epoch in range(arguments.epochs):
            for name, read in variants.items():
                start = time.perf_counter()
                assert read(epoch) == arguments.images
                seconds[name].append(time.perf_counter() - start)
    print(
        f"{arguments.images} JPEGs of {arguments.width}x{arguments.height} to {arguments.size}x{arguments.size}, "
        f"{arguments.workers} workers, torch {torch.__version__}"
    )
    print(f"{'':30} {'first epoch, s':>15} {'later, s':>10} {'images/s, first':>16} {'later':>8}")
    for name, found in seconds.items():
        first, later = found[0], statistics.median(found[1:] or found)
        print(f"{name:30} {first:15.2f} {later:10.2f} {arguments.images / first:16.0f} {arguments.images / later:8.0f}")
    folders, reduced, both = (
        seconds[name] for name in ("ImageFolder, DataLoader", "image-folder, reduce", "image-folder, reduce, cache")
    )
    figure("photos, first epoch with reduce: speedup over ImageFolder", folders[0] / reduced[0], "times", at_least=1.5)
    figure(
        "photos, cached: speedup of later epochs over the first",
        both[0] / statistics.median(both[1:]),
        "times",
        at_least=5,
    )


if __name__ == "__main__":
    main()
