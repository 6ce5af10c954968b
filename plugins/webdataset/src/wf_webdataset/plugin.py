"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Component, hookimpl
from wf.traits import DatasetTraits


@hookimpl
def wf_components() -> list[Component]:
    """The dataset of this package."""
    return [
        Component(
            "dataset",
            "webdataset",
            "wf_webdataset.dataset:webdataset",
            "images and classes in tar files (WebDataset), local, in S3 or at other URLs",
            aliases=("wds",),
            traits=DatasetTraits(
                inputs="image", files=(".tar",), reader="wf_datasets.images.image_reader:ImageReader", model="cnn"
            ),
        ),
    ]
