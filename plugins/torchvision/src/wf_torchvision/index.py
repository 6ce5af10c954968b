"""Writes the indexes of the catalogues anew: ``python -m wf_torchvision.index``."""

from __future__ import annotations

from pathlib import Path

import torchvision

from wf_torchvision import datasets, models, transforms

SUMMARIES = {
    "image": "",
    "video": "video a classifier of videos [3, frames, height, width]",
    "segmentation": "segmentation a class for each pixel",
}


def models_index() -> str:
    """The text of the models' index."""
    lines = {
        name: f"{name} {SUMMARIES[family]}".strip()
        if family in SUMMARIES
        else f"{name} refused {models.REFUSED[family]}"
        for name, family in models.names().items()
    }
    return _header() + "\n".join(lines.values()) + "\n"


def transforms_index() -> str:
    """The text of the transforms' index."""
    lines = ["preset fixed what pretrained weights want: resize, crop, normalize"]
    for name in transforms.names():
        if name in transforms.REFUSED:
            lines.append(f"{name} refused {transforms.REFUSED[name]}")
        else:
            lines.append(f"{name} {'fixed' if name in transforms.FIXED else 'random'} {transforms.summary(name)}")
    return _header() + "\n".join(lines) + "\n"


def datasets_index() -> str:
    """The text of the datasets' index."""
    lines = ["fake plain noise with classes drawn at random (offline)"]
    for name, form in datasets.FORMS.items():
        parts = ", ".join(form.parts) if len(form.parts) > 1 else "one part"
        lines.append(f"{name} plain torchvision's {form.kind}: {parts}")
    lines += [f"{name} refused {why}" for name, why in sorted(datasets.REFUSED.items())]
    return _header() + "\n".join(lines) + "\n"


def _header() -> str:
    version = torchvision.__version__.partition("+")[0]
    return f"# generated from torchvision {version} by: python -m wf_torchvision.index\n"


INDEXES = {"models.txt": models_index, "transforms.txt": transforms_index, "datasets.txt": datasets_index}
"""What makes each index."""

if __name__ == "__main__":
    for file, text in INDEXES.items():
        Path(__file__).with_name(file).write_text(text(), encoding="utf-8")
