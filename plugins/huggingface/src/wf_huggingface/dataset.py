"""The dataset `huggingface`: files or the hub, read by the library `datasets`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from wf import FromRun
from wf.errors import UsageError
from wf_base import Dataset
from wf_huggingface.before import Before
from wf_huggingface.columns import Columns, choose
from wf_huggingface.inputs import both_sides, check_missing, plain, read_inputs
from wf_huggingface.reader import FileReader
from wf_huggingface.reading import read, splits_of
from wf_huggingface.streaming import Wanted, stream_dataset
from wf_huggingface.targets import Task, counts_decide, read_targets, settled


def huggingface(
    path: Path,
    inputs: str | list[str] | None = None,
    target: str | list[str] | None = None,
    task: Task = "auto",
    config: str | None = None,
    revision: str | None = None,
    train: str | None = None,
    validation: str | None = None,
    test: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    vocabulary_size: int = 10_000,
    max_tokens: int = 128,
    cache_dir: Path | None = None,
    streaming: bool = False,
    shuffle_buffer: int = 1000,
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """A table, texts or images from files or the Hugging Face hub, read by the library `datasets`.

    `path` is searched on this machine first. Numbers and texts are held in memory, images are read from
    disk when they are needed. Missing values are refused.

    Args:
        path: A file (parquet, CSV, TSV, JSON, JSON lines), a folder of such files or of images, a folder that
            `save_to_disk` wrote, or the name of a dataset on the hub, such as ``owner/name``.
        inputs: The input columns: any number of columns of numbers, or one of texts, images or lists of numbers. By
            default all but the target.
        target: The target column, or several. By default the one called label, labels, target or y.
        task: ``auto``: text, booleans and labels are classes, and so are integers that look like classes: each at
            least twice, and either two distinct ones or at most 20 that are consecutive from 0 or 1. Other numbers
            are a ``regression``; several columns, or lists of labels, are ``multilabel``. ``binary``: one column of 0
            and 1.
        config: The configuration, if a dataset has several.
        revision: The version of a dataset on the hub: a branch, tag or commit.
        train: The split to train on. By default ``train``, or the only one.
        validation: The split for validation. By default ``validation``, ``valid``, ``val`` or ``dev``, if there is one.
        test: The split for testing. By default ``test``, if there is one.
        image_size: The size to which images are resized, in pixels: one side of a square, or height and width. By
            default they are unchanged and must have one size.
        channels: For images: 3 for colour, 1 for grey.
        vocabulary_size: For texts: the number of most frequent tokens of the train split; all others are one token.
        max_tokens: For texts: longer texts are truncated to this many tokens.
        cache_dir: The library's cache of converted and downloaded data. By default its own folder, see HF_HOME.
        streaming: Read the samples one after the other, in constant memory and without converting files to Arrow on
            disk. They are all read once before step 1, to count samples, classes and tokens; a resumed run reads again
            up to its position. Images need an `image_size`. A dataset without splits is divided by a random draw for
            each sample, so the shares are approximate and not stratified.
        shuffle_buffer: For a stream: the number of consecutive samples that are shuffled among themselves.
        learned: For a resumed run: its description of the data, which determines columns, classes and tokens.

    Returns:
        Inputs float32 ``[N, F]`` or ``[N, ...]``, or float64 if float32 cannot distinguish the numbers of a column and
        the samples are in memory; images ``[N, C, H, W]`` from 0 to 1, or tokens int64 ``[N, T]``; targets
        ``class_index``, ``real``, ``binary`` or ``multilabel``.

    Raises:
        DataError: If the data are missing or cannot be downloaded, or for invalid values.
        UsageError: For an unknown column or split, or an option out of range.
    """
    if vocabulary_size < 3 or max_tokens < 1:
        raise UsageError(
            f"huggingface: vocabulary_size is {vocabulary_size} and max_tokens {max_tokens}; "
            "they must be at least 3 and 1"
        )
    if shuffle_buffer < 1:
        raise UsageError(f"huggingface: shuffle_buffer is {shuffle_buffer}; it must be at least 1")
    before = Before.of(learned)
    found_there = read(path, config, revision, cache_dir, streaming=streaming)
    tables = splits_of(found_there, path, {"train": train, "validation": validation, "test": test})
    if streaming:
        wanted = Wanted(
            path=path,
            inputs=inputs,
            target=target,
            task=task,
            image_size=image_size,
            channels=channels,
            vocabulary_size=vocabulary_size,
            max_tokens=max_tokens,
            buffer=shuffle_buffer,
            before=before,
        )
        return stream_dataset(tables, wanted)
    features = tables["train"].features
    columns: Columns = before.columns(features, target, path) if before else choose(features, inputs, target, path)
    found, vocabulary = read_inputs(
        tables,
        columns,
        image_size=image_size,
        channels=channels,
        vocab_size=vocabulary_size,
        length=max_tokens,
        known=before.reader if before else None,
    )
    task = before.task if before else task
    if counts_decide(columns, task):
        check_missing(tables["train"], columns.targets[0], "train")
        task = settled(columns, task, plain(tables["train"], columns.targets[0]), path)
    classes = before.class_names if before and before.task == "classification" else None
    labels = read_targets(tables, columns, task, classes)
    samples = {split: found[split].with_targets(labels.tensors[split]) for split in tables}
    return Dataset(
        train=samples["train"],
        validation=samples.get("validation"),
        test=samples.get("test"),
        targets=labels.kind,
        class_names=labels.class_names,
        target_names=columns.targets if labels.kind == "real" else (),
        feature_names=columns.inputs if columns.kind == "numbers" and len(columns.inputs) > 1 else (),
        vocabulary=vocabulary,
        target_tensor=labels.tensors["train"] if labels.kind == "class_index" else None,
        reader=FileReader(
            columns.inputs,
            columns.kind,
            image_size=both_sides(image_size),
            channels=channels,
            vocabulary=vocabulary,
            length=samples["train"][0][0].shape[0] if vocabulary else 1,
            double=columns.kind in ("numbers", "array") and samples["train"][0][0].dtype == torch.float64,
        ),
    )
