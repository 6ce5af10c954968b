"""The requirements of pretrained weights on images: size and normalization. Imports torchvision only for weights."""

from __future__ import annotations

from typing import Any


def wants(name: str, weights: Any = None, image_size: Any = None, **_: Any) -> dict[str, Any]:
    """The requirements of an image classifier on its data, see `wf.traits.ModelTraits`.

    Args:
        name: The model.
        weights: Its option of that name.
        image_size: Its option of that name: the model resizes images itself, so they are read in that size.
    """
    if weights is None or str(weights) == "@null":
        return {}
    from wf_torchvision.weights import wanted

    found = wanted(name, str(weights))
    if found is None:
        return {}
    preset, entry = found
    normalized = {"use": "torchvision/preset", "weights": entry, "resize": False}
    if isinstance(image_size, int):
        return {"image_size": (image_size, image_size), "transforms": [normalized]}
    side, shorter = preset.crop_size[0], preset.resize_size[0]
    return {"image_size": (side, side), "resize_size": shorter, "transforms": [normalized]}
