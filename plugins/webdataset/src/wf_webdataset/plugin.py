"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Component, hookimpl
from wf.traits import DatasetTraits
from wf_text.plugin import NEXT


@hookimpl
def wf_components() -> list[Component]:
    """The datasets of this package."""
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
        Component(
            "dataset",
            "webdataset-masks",
            "wf_webdataset.dataset:webdataset_masks",
            "images and masks in tar files (WebDataset): a segmentation",
            traits=DatasetTraits(targets="mask", inputs="image", reader="wf_datasets.images.mask_folder:MaskReader"),
        ),
        Component(
            "dataset",
            "webdataset-texts",
            "wf_webdataset.texts:webdataset_texts",
            "texts and classes in tar files (WebDataset)",
            traits=DatasetTraits(
                targets="class_index",
                task="text-classification",
                inputs="tokens",
                reader="wf_text.reading.readers:LabelledReader",
            ),
        ),
        Component(
            "dataset",
            "webdataset-tokens",
            "wf_webdataset.texts:webdataset_tokens",
            "blocks of tokens in tar files (WebDataset), for language models",
            traits=DatasetTraits(
                targets=NEXT, task="causal-lm", inputs="tokens", reader="wf_text.reading.readers:TextReader"
            ),
        ),
        Component(
            "dataset",
            "webdataset-arrays",
            "wf_webdataset.arrays:webdataset_arrays",
            "arrays and their targets in tar files (WebDataset): signals, spectra, features",
            traits=DatasetTraits(reader="wf_datasets.array_reader:ArrayReader"),
        ),
        Component(
            "dataset",
            "webdataset-rows",
            "wf_webdataset.rows:webdataset_rows",
            "rows of a table as JSON in tar files (WebDataset)",
            traits=DatasetTraits(
                inputs="vector",
                transforms=("standardize",),
                reader="wf_datasets.tables.table_reader:TableReader",
            ),
        ),
    ]
