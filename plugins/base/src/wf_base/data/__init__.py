"""Samples, datasets, splits and batches: the path of data from a dataset component to the model."""

from wf_base.data.batch import IN_PLACE, Batch, joined
from wf_base.data.conversion import as_default, as_float, class_index, floats
from wf_base.data.samples import Dataset, Samples, TensorSamples, collated
from wf_base.data.spec import ServedData, Spec
from wf_base.data.splitting import Splits, fold_parts, open_shares, split_dataset, stratified_parts, take

__all__ = [
    "IN_PLACE",
    "Batch",
    "Dataset",
    "Samples",
    "ServedData",
    "Spec",
    "Splits",
    "TensorSamples",
    "as_default",
    "as_float",
    "class_index",
    "collated",
    "floats",
    "fold_parts",
    "joined",
    "open_shares",
    "split_dataset",
    "stratified_parts",
    "take",
]
