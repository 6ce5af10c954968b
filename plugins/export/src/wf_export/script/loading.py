"""The function of a script that loads the data: the splits, and the transforms that are applied in advance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wf.engine.figures import SPLITS
from wf_base.data import Dataset, TensorSamples, open_shares
from wf_base.random import stream
from wf_data.transforms.step import Step
from wf_export.script import calls
from wf_export.script.components import Components, variable
from wf_export.script.source.modules import NotAlone


class Loading:
    """Writes the function ``load``.

    Args:
        components: Writes the dataset and the transforms.
    """

    def __init__(self, components: Components) -> None:
        self.components, self.experiment = components, components.experiment
        self.is_random = bool(ahead(self.experiment.data.steps)[1])
        """Whether transforms are applied to each batch, which need the numbers of the samples."""
        self.bytes = False
        """Whether the inputs are uint8 images until they are in a batch; known after `text`."""

    def text(self) -> str:
        """The function.

        Raises:
            NotAlone: If the data cannot be loaded without wf.
        """
        data, plan = self.experiment.data, self.experiment.plan
        dataset = self.experiment.values.get("run.dataset")
        built = self.components.built("dataset")
        if not isinstance(dataset, Dataset) or not all(
            isinstance(data.samples(split), TensorSamples) and isinstance(data.samples(split).inputs, Tensor)
            for split in data.splits
        ):
            raise NotAlone(f"dataset '{built.name}': its samples are not held in memory as one tensor")
        if dataset.transforms:
            names = ", ".join(type(one).__name__ for one in dataset.transforms)
            raise NotAlone(f"dataset '{built.name}': it fills in missing values ({names})")
        if dataset.sampler is not None or dataset.collate is not None:
            raise NotAlone(f"dataset '{built.name}': it has its own sampler or collate")
        self.dataset = dataset
        call = self.components.component("dataset", {}, self._facts(), lenient=True)
        lines = self._split_lines(call, dataset, data, plan["split"], shuffle=plan["shuffle"])
        lines += self._ahead_lines(data) + self._target_lines(data)
        returned = "splits, train" if self.is_random else "splits"
        kind = (
            "tuple[dict[str, tuple[Tensor, Tensor]], Tensor]" if self.is_random else "dict[str, tuple[Tensor, Tensor]]"
        )
        more = ", and the numbers of those for training" if self.is_random else ""
        doc = f'"""The inputs and targets of each split{more}."""'
        return "\n    ".join([f"def load() -> {kind}:", doc, *lines, f"return {returned}"])

    def _split_lines(self, call: str, dataset: Dataset, data: Any, split: str, *, shuffle: bool) -> list[str]:
        given = [name for name in SPLITS[1:] if getattr(dataset, name) is not None]
        shares = open_shares(split, given)
        own = [name for name in SPLITS if name in data.splits and name not in given]
        if given:
            lines = [f"splits = {call}"]
            names = "inputs, targets"
            lines += [] if own == ["train"] and not self.is_random else [f'{names} = splits["train"]']
        else:
            lines = [f"inputs, targets = {call}"]
        if own == ["train"]:
            if not given:
                lines.append('splits = {"train": (inputs, targets)}')
            lines += ["train = torch.arange(len(inputs))"] if self.is_random else []
            return lines
        train = dataset.train
        assert isinstance(train, TensorSamples)
        strata = data.task.strata(train.targets)
        classes = ""
        if strata is not None:
            same = isinstance(train.targets, Tensor) and torch.equal(strata, train.targets.flatten().long())
            if not same:
                raise NotAlone("the split is stratified by classes that are not the targets")
            classes = "targets" if train.targets.ndim == 1 and not train.targets.is_floating_point() else ""
            classes = classes or "targets.flatten().long()"
        self.components.sources.need("wf_base.data:stratified_parts")
        if shuffle:
            self.components.sources.copy(stream)
        arguments = [calls.literal(shares), "len(inputs)", classes or "None"]
        arguments.append('stream(SEED, "split")' if shuffle else "None")
        lines.append(f"{', '.join(SPLITS)} = stratified_parts({', '.join(arguments)})")
        what = f"a share of each class, {split}" if classes else f"{split}"
        lines.insert(len(lines) - 1, f"# {what} for {', '.join(SPLITS)}")
        pairs = [f'"{name}": (inputs[{name}], targets[{name}])' for name in own]
        if given:
            lines.append(f"splits |= {{{', '.join(pairs)}}}")
        else:
            lines += ["splits = {", *(f"    {pair}," for pair in pairs), "}"]
        return lines

    def _ahead_lines(self, data: Any) -> list[str]:
        """Lines that apply the leading deterministic transforms."""
        lines = []
        in_advance, rest = ahead(data.steps)
        for step in rest:
            if not step.num_draws or step.mixes or step.joint:
                raise NotAlone(f"{step.name}: it is applied to each batch, which is not supported")
        samples = self.dataset.train
        assert isinstance(samples, TensorSamples)
        assert isinstance(samples.inputs, Tensor)
        first = True
        for step in in_advance:
            name = variable(step.table["use"])
            lines.append(f"{name} = {self.components.transform(step)}")
            if samples.inputs.dtype == torch.uint8 and first:
                lines.append("splits = {name: (x.float() / 255, y) for name, (x, y) in splits.items()}")
            if hasattr(step.transform, "fit"):
                lines.append(f'{name}.fit(splits["train"][0])  # on the train split alone')
            lines.append(f"splits = {{split: ({name}(x), y) for split, (x, y) in splits.items()}}")
            first = False
        if samples.inputs.dtype == torch.float64:
            lines.append("splits = {split: (x.float(), y) for split, (x, y) in splits.items()}")
        self.bytes = samples.inputs.dtype == torch.uint8 and not in_advance
        return lines

    def _target_lines(self, data: Any) -> list[str]:
        """Lines that convert the targets for the loss."""
        lines = []
        for step in data.steps:
            if step.of_targets:
                name = variable(step.table["use"])
                lines.append(f"{name} = {self.components.transform(step)}")
                if hasattr(step.transform, "fit"):
                    lines.append(f'{name}.fit(splits["train"][1])  # on the train split alone')
                lines.append(f"splits = {{split: (x, {name}(y)) for split, (x, y) in splits.items()}}")
        return lines

    def _facts(self) -> dict[str, Any]:
        """The facts that the run learned from its data."""
        reader = self.experiment.reader
        described = {} if reader is None else dict(reader.description())
        spec = self.experiment.data.spec
        return {**described, "class_names": list(spec.class_names), "dataset_targets": spec.targets}


def ahead(steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """The transforms of inputs that are applied once, in advance, and those of each batch."""
    own = [step for step in steps if not step.of_targets]
    num = next((number for number, step in enumerate(own) if step.train_only), len(own))
    return own[:num], own[num:]
