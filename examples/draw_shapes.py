"""Draws images of discs and squares, with their boxes and masks in the COCO format.

Usage: python draw_shapes.py FOLDER [IMAGES]
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("disc", "square")
WIDTH, HEIGHT = 128, 96


def draw(folder: Path, num: int, first: int) -> dict[str, list[dict[str, object]]]:
    """Write `num` images into a folder; returns their annotations. One image in eight is empty."""
    images, annotations = [], []
    for number in range(first, first + num):
        rng = np.random.default_rng(number)
        image = Image.fromarray(rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        for place in range(0 if number % 8 == 7 else int(rng.integers(1, 4))):
            side, label = int(rng.integers(20, 42)), int(rng.integers(len(CLASSES)))
            x, y = place * 43, int(rng.integers(0, HEIGHT - side))  # side by side, so that they do not overlap
            corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
            if label == 0:
                turns = [step * math.tau / 24 for step in range(24)]
                corners = [(x + side / 2 * (1 + math.cos(t)), y + side / 2 * (1 + math.sin(t))) for t in turns]
            ImageDraw.Draw(image).polygon(corners, fill=tuple(int(one) for one in rng.integers(110, 256, 3)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": [x, y, side, side],
                    "segmentation": [[round(one, 1) for corner in corners for one in corner]],
                    "area": side * side,
                    "iscrowd": 0,
                }
            )
        name = f"{number:04}.png"
        image.save(folder / name)
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


if __name__ == "__main__":
    folder, num = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200
    folder.mkdir(parents=True, exist_ok=True)
    for split, share, first in (("train", num, 0), ("val", num // 4, num)):
        found = draw(folder, share, first)
        (folder / f"{split}.json").write_text(json.dumps(found), encoding="utf-8")
        print(f"{split}: {len(found['images'])} images, {len(found['annotations'])} objects")
