"""Options and files that built-in components need from the user."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

TEXTS = Path(__file__).parents[1] / "plugins/text/tests/data"
"""Small texts with labels and tags."""

OPTIONS: dict[str, dict[str, Any]] = {
    "transform/normalize": {"mean": [0.5], "std": [0.5]},
    "transform/pad": {"size": 32},
    "transform/joint-resize": {"sizes": [12]},
    "dataset/torchvision/fake": {"size": 100, "image_size": 16},
    "loss/sum": {"parts": ["ce", "focal"]},
    "metric/mase": {"naive_errors": [1.0]},
    "model/unet": {"channels": [4, 8]},
    "model/gpt": {"layers": 1, "heads": 2, "width": 8},
    "model/text-encoder": {"layers": 1, "heads": 2, "width": 8},
    "model/masked-encoder": {"layers": 1, "heads": 2, "width": 8},
    "model/token-encoder": {"layers": 1, "heads": 2, "width": 8, "num_outputs": 5},  # the tokens of the example
    "hook/swa": {"start": 1},
    "trainer/contrastive": {"views": [{"use": "crop", "padding": 1}]},
    "validation/sets": {"more": "iris"},
    "scheduler/step": {"step_size": 1},
    "scheduler/multistep": {"milestones": [1]},
    "scheduler/linear-warmup": {"num_steps": 3},
    "scheduler/torch/ChainedScheduler": {"schedulers": ["torch/ConstantLR"]},
    "transform/torchvision/preset": {"weights": "ResNet18_Weights.DEFAULT"},
}
"""The options that a component needs, by kind and name."""


def _csv(folder: Path) -> dict[str, Any]:
    rows = [f"{x / 10},{x % 7},{x / 5 + 1}" for x in range(40)]
    (folder / "data.csv").write_text("\n".join(["a,b,y", *rows]))
    return {"path": str(folder / "data.csv"), "target": "y"}


def _series(folder: Path) -> dict[str, Any]:
    rows = [f"{step},{step % 7},{step / 5 + 1}" for step in range(60)]
    (folder / "series.csv").write_text("\n".join(["t,b,y", *rows]))
    return {"path": str(folder / "series.csv"), "target": "y", "time": "t", "window": 4}


def _text(folder: Path) -> dict[str, Any]:
    (folder / "text.txt").write_text(" ".join(map(str, range(1000, 1300))))
    return {"path": str(folder / "text.txt"), "block": 16}


def _npz(folder: Path) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(folder / "data.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    return {"path": str(folder / "data.npz")}


def _images(folder: Path) -> dict[str, Any]:
    for label, level in (("dark", 20), ("light", 200)):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (8, 8), (level, level, number)).save(folder / "images" / label / f"{number}.png")
    return {"path": str(folder / "images")}


def _masks(folder: Path) -> dict[str, Any]:
    for name in ("images", "masks"):
        (folder / "pictures" / name).mkdir(parents=True)
    for number in range(12):
        pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) % (2 + number % 2)
        Image.fromarray(pixels * 90).save(folder / "pictures" / "images" / f"{number}.png")
        Image.fromarray(pixels).save(folder / "pictures" / "masks" / f"{number}.png")
    return {"path": str(folder / "pictures"), "image_size": 8}


def _idx(folder: Path) -> dict[str, Any]:
    for prefix, num, low in (("train", 40, 0), ("t10k", 20, 5)):
        labels = torch.arange(num) % 10
        images = (labels * 25 + low).reshape(-1, 1).expand(num, 784)
        for suffix, sizes, data in (("images-idx3", (num, 28, 28), images), ("labels-idx1", (num,), labels)):
            head = bytes((0, 0, 8, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes)
            (folder / f"{prefix}-{suffix}-ubyte").write_bytes(head + bytes(data.flatten().tolist()))
    return {"root": str(folder), "download": False}


def _cifar(folder: Path) -> dict[str, Any]:
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        low = 5 if name == "test_batch" else 0
        records = b"".join(bytes((label, *[label * 25 + low] * 3072)) for label in (*range(10), *range(10)))
        (folder / f"{name}.bin").write_bytes(records)
    return {"root": str(folder), "download": False}


def _coco(folder: Path) -> dict[str, Any]:
    images, annotations = [], []
    for number in range(12):
        Image.new("RGB", (24, 20), (number * 20, 90, 10)).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 24, "height": 20})
        box, outline = [2, 3, 10, 12], [[2, 3, 12, 3, 12, 15, 2, 15]]
        table = {"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": box}
        annotations.append({**table, "segmentation": outline})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "train.json").write_text(json.dumps(document))
    return {"path": str(folder / "train.json")}


def _coco_masks(folder: Path) -> dict[str, Any]:
    return {**_coco(folder), "image_size": 16}


FILES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "csv": _csv,
    "series": _series,
    "npz": _npz,
    "image-folder": _images,
    "mask-folder": _masks,
    "mnist": _idx,
    "fashion-mnist": _idx,
    "cifar10": _cifar,
    "coco": _coco,
    "coco-masks": _coco_masks,
    "text": _text,
    "masked-text": _text,
    "texts": lambda _: {"path": str(TEXTS / "reviews.csv")},
    "tagged": lambda _: {"path": str(TEXTS / "names.conll")},
    "opticks": lambda _: {"block": 100},
}
"""Make the files of a dataset that reads some, and give the options that name them."""
