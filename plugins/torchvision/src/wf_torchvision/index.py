"""Rewrites the indexes of the catalogues: ``python -m wf_torchvision.index``."""

from __future__ import annotations

from pathlib import Path

from wf_catalogues.members import index_text
from wf_torchvision import datasets, models, transforms
from wf_torchvision.detection import detectors

FAMILIES = {
    "image": ("", ""),
    "video": ("video", "a classifier of videos [3, frames, height, width]"),
    "segmentation": ("segmentation", "a class for each pixel"),
    detectors.FAMILY: ("detection", "boxes around objects, and masks if its name contains mask"),
    **{family: ("refused", why) for family, why in models.REFUSED.items()},
}
"""The group and the summary of each family of models."""


def models_index() -> str:
    """The text of the models' index."""
    refused = {name: ("refused", why) for name, why in detectors.REFUSED.items()}
    return _text([(name, *refused.get(name, FAMILIES[family])) for name, family in models.names().items()])


def transforms_index() -> str:
    """The text of the transforms' index."""
    rows = [("preset", "preset", "the preprocessing of pretrained weights: resize, crop, normalize")]
    for name in transforms.names():
        group = "fixed" if name in transforms.FIXED else "random"
        group += "-moving" if name in transforms.MOVING else ""
        why = transforms.REFUSED.get(name)
        rows.append((name, "refused", why) if why else (name, group, transforms.summary(name)))
    return _text(rows)


def datasets_index() -> str:
    """The text of the datasets' index."""
    rows = [("fake", "plain", "noise with classes drawn at random (offline)")]
    for name, form in datasets.FORMS.items():
        parts = ", ".join(form.parts) if len(form.parts) > 1 else "one part"
        rows.append((name, "plain", f"torchvision's {form.kind}: {parts}"))
    return _text([*rows, *((name, "refused", why) for name, why in sorted(datasets.REFUSED.items()))])


def _text(rows: list[tuple[str, str, str]]) -> str:
    return index_text("torchvision", "wf_torchvision.index", rows)


INDEXES = {"models.txt": models_index, "transforms.txt": transforms_index, "datasets.txt": datasets_index}
"""The function that makes each index."""

if __name__ == "__main__":
    for file, text in INDEXES.items():
        Path(__file__).with_name(file).write_text(text(), encoding="utf-8")
