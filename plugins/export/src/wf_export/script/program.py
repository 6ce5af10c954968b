"""A run as a training program in plain PyTorch, if the source of its components can be copied."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from wf import __version__
from wf.engine.figures import SPLITS
from wf.errors import UsageError
from wf.traits import HookTraits
from wf_base.data import Dataset, TensorSamples, open_shares
from wf_base.random import sample_uniform, stream
from wf_building.built import Built
from wf_data.transforms.step import Step
from wf_export.script import calls
from wf_export.script.source import NotAlone, Sources
from wf_fitting.tasks import tasks_of

WRITTEN: Mapping[str, Any] = {
    "precision": "fp32",
    "accumulate": 1,
    "init_from": None,
    "fold": None,
    "deterministic": False,
}
"""The general keys for which a script supports only these values."""
OUTPUTS = re.compile(r"\boutputs\b")
METHODS = ("fit", "inverse")
"""The methods of components that a script calls."""


@dataclass
class Program:
    """The script of a run.

    Args:
        experiment: The run, built anew from its run directory, without loading weights.
        manifest: Its manifest.
        title: A description of the run.
        keep_best: Whether to keep the weights of the best epoch.
        weights: The file that the script writes.
    """

    experiment: Any
    manifest: Mapping[str, Any]
    title: str
    keep_best: bool
    weights: str
    sources: Sources = field(default_factory=lambda: Sources(set(METHODS)))
    refused: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Remarks on parts of the run that are not in the script, but do not affect its weights."""
    bytes: bool = False
    """Whether the inputs are uint8 images until they are in a batch."""
    epochs: int = 0
    evaluation: str = ""

    def text(self) -> str:
        """The program.

        Raises:
            UsageError: For a run that cannot be written, with every reason.
        """
        self._check_run()
        parts = {name: self._try(name) for name in ("load", "make_model", "train")}
        if self.refused:
            reasons = "\n  ".join(dict.fromkeys(self.refused))
            raise UsageError(
                f"{self.title} cannot be written as a plain script:\n  {reasons}\n"
                "  train it again with wf: wf run RUN/run.toml; or write its weights: --to state-dict"
            )
        return self._join(parts)

    def _try(self, name: str) -> str:
        try:
            found: str = getattr(self, f"_{name}")()
        except NotAlone as error:
            self.refused.append(str(error))
            return ""
        return found

    # what is refused

    def _check_run(self) -> None:
        plan, manifest = self.experiment.plan, self.manifest
        for key, value in WRITTEN.items():
            if plan.get(key, value) not in (value, None if value is False else value):
                self.refused.append(f"{key} = {plan[key]!r}: a script supports only {key} = {value!r}")
        if manifest.get("world_size", 1) != 1:
            self.refused.append(f"it was trained by {manifest['world_size']} processes: a script has only one")
        if manifest.get("rollbacks"):
            self.refused.append(
                "it went back to a checkpoint after a loss that was not finite, which a script does not"
            )
        if manifest.get("drift"):
            self.refused.append("it was resumed under changed conditions")
        made = self.experiment.made()
        if made.get("sampler"):
            self.refused.append(f"sampler '{made['sampler'].name}': a script uses all samples in each epoch")
        trainer = made["trainer"]
        if trainer.entry is None or trainer.entry.component.name != "supervised":
            self.refused.append(f"trainer '{trainer.name}': a script supports only trainer 'supervised'")
        for key, value in trainer.options.items():
            if value not in (None, False) and self._default(trainer, key) != value:
                self.refused.append(f"trainer option {key} = {value!r} is not written")
        if any(key in plan.get("optimizer", {}) for key in ("group", "layer_decay", "no_decay_norms")):
            self.refused.append("optimizer: groups of parameters are not written")
        for built in _several(made.get("hook")):
            traits = built.entry.component.traits if built.entry else None
            known = isinstance(traits, HookTraits) and (traits.watches or traits.ends)
            if not known and (built.entry is None or built.entry.component.plain is None):
                self.refused.append(f"hook '{built.name}': it may change the training, and is not supported")

    def _default(self, built: Built, key: str) -> Any:
        assert built.entry is not None
        parameter = inspect.signature(built.entry.load()).parameters.get(key)
        return None if parameter is None else parameter.default

    # the parts

    def _load(self) -> str:
        data, plan = self.experiment.data, self.experiment.plan
        dataset = self.experiment.values.get("run.dataset")
        built = self._built("dataset")
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
        call = self._component("dataset", {}, self._facts(), lenient=True)
        lines = self._split_lines(call, dataset, data, plan["split"], shuffle=plan["shuffle"])
        lines += self._ahead_lines(data) + self._target_lines(data)
        returned = "splits, train" if self._random() else "splits"
        kind = (
            "tuple[dict[str, tuple[Tensor, Tensor]], Tensor]" if self._random() else "dict[str, tuple[Tensor, Tensor]]"
        )
        more = ", and the numbers of those for training" if self._random() else ""
        doc = f'"""The inputs and targets of each split{more}."""'
        return "\n    ".join([f"def load() -> {kind}:", doc, *lines, f"return {returned}"])

    def _split_lines(self, call: str, dataset: Dataset, data: Any, split: str, *, shuffle: bool) -> list[str]:
        given = [name for name in SPLITS[1:] if getattr(dataset, name) is not None]
        shares = open_shares(split, given)
        own = [name for name in SPLITS if name in data.splits and name not in given]
        if given:
            lines = [f"splits = {call}"]
            names = "inputs, targets"
            lines += [] if own == ["train"] and not self._random() else [f'{names} = splits["train"]']
        else:
            lines = [f"inputs, targets = {call}"]
        if own == ["train"]:
            if not given:
                lines.append('splits = {"train": (inputs, targets)}')
            lines += ["train = torch.arange(len(inputs))"] if self._random() else []
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
        self.sources.need("wf_base.data:stratified_parts")
        if shuffle:
            self._stream()
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
        ahead, rest = _ahead(data.steps)
        for step in rest:
            if not step.num_draws or step.mixes or step.joint:
                raise NotAlone(f"{step.name}: it is applied to each batch, which is not supported")
        samples = self.dataset.train
        assert isinstance(samples, TensorSamples)
        assert isinstance(samples.inputs, Tensor)
        first = True
        for step in ahead:
            name = _variable(step.table["use"])
            lines.append(f"{name} = {self._transform(step)}")
            if samples.inputs.dtype == torch.uint8 and first:
                lines.append("splits = {name: (x.float() / 255, y) for name, (x, y) in splits.items()}")
            if hasattr(step.transform, "fit"):
                lines.append(f'{name}.fit(splits["train"][0])  # on the train split alone')
            lines.append(f"splits = {{split: ({name}(x), y) for split, (x, y) in splits.items()}}")
            first = False
        if samples.inputs.dtype == torch.float64:
            lines.append("splits = {split: (x.float(), y) for split, (x, y) in splits.items()}")
        self.bytes = samples.inputs.dtype == torch.uint8 and not ahead
        return lines

    def _make_model(self) -> str:
        written = calls.modules(self.experiment.model)
        self.sources.imports["from torch import nn"] = None
        if written is None:
            written = self._component("model", {}, {})
        doc = '"""The model, with weights that torch draws from its generator."""'
        return f"def make_model() -> nn.Module:\n    {doc}\n    return {written}"

    def _train(self) -> str:
        plan, data, made = self.experiment.plan, self.experiment.data, self.experiment.made()
        device = self.experiment.strategy.device.type
        lines: list[str] = []
        threads = self.manifest.get("threads")
        if device == "cpu" and threads:
            lines.append(
                f"torch.set_num_threads({threads})  # sums in another number of threads are rounded differently"
            )
        lines.append("splits, ids = load()" if self._random() else "splits = load()")
        to = "" if device == "cpu" else f'.to("{device}")'
        if to:
            lines.append(f"splits = {{name: (x{to}, y{to}) for name, (x, y) in splits.items()}}")
        lines += ['inputs, targets = splits["train"]', ""]
        lines += ["torch.manual_seed(SEED)", f"model = make_model(){to}"]
        lines.append(f"loss_fn = {self._component('loss', {}, {})}{to if self._has_tensors('loss') else ''}")
        if self._has_parameters("loss"):
            raise NotAlone(f"loss '{made['loss'].name}': it has its own trained parameters")
        params = dict.fromkeys(("params", "param_groups"), "model.parameters()")
        lines.append(f"optimizer = {self._component('optimizer', {**params, 'model': 'model'}, {})}")
        traits = self.experiment.values.get("optimizer_traits")
        if traits is not None and (traits.step != "plain" or traits.built_from != "params" or traits.modes):
            raise NotAlone(f"optimizer '{made['optimizer'].name}': its steps are not plain")
        interval = self._scheduler(lines)
        augment = self._augment_lines(data)
        loss = self._loss_expression()
        self._evaluate(OUTPUTS.sub("part", loss))
        best = self.keep_best and self._watched("keep = best", plan["monitor"])
        lines += ["", *(['best_loss, best = float("inf"), model.state_dict()'] if best else [])]
        steps, num_batches = self.manifest.get("steps", 0), data.num_batches
        epochs = -(-steps // num_batches)
        self.epochs = epochs
        cut = steps if steps % num_batches else None
        lines += ["for epoch in range(EPOCHS):", "    model.train()"]
        if plan["shuffle"]:
            self._stream()
            lines.append('    order = torch.randperm(len(inputs), generator=stream(SEED, "order", epoch))')
        else:
            lines.append("    order = torch.arange(len(inputs))")
        if plan.get("drop_last"):
            lines.append("    order = order[: len(order) - len(order) % BATCH_SIZE]")
        order = f"order{to}.split(BATCH_SIZE)"
        if cut:
            self.remarks.append(f"The run ended after {steps} updates, within epoch {epochs}: so does this.")
            order = f"list({order})[: {steps} - epoch * {num_batches}]"
        lines.append(f"    for batch in {order}:")
        x = "inputs[batch]"
        if self.bytes:
            x = "pixels(inputs[batch])"
        inner = [f"x, y = {x}, targets[batch]", *augment, f"loss = {OUTPUTS.sub('model(x)', loss)}"]
        inner += ["optimizer.zero_grad()", "loss.backward()", *self._clip_lines(), "optimizer.step()"]
        inner += ["scheduler.step()"] if interval == "step" else []
        lines += [f"        {line}" for line in inner]
        after = ["scheduler.step()"] if interval == "epoch" else []
        lines += [f"    {line}" for line in after]
        lines += [f"    {line}" for line in self._epoch_end(data, interval == "evaluation", best=bool(best))]
        lines += ["", *(["model.load_state_dict(best)"] if best else [])]
        lines += [
            "for split, (x, y) in splits.items():",
            '    print(f"{split:<12}{shown(evaluate(model, loss_fn, x, y))}")',
        ]
        lines.append(f'torch.save(model.state_dict(), sys.argv[1] if len(sys.argv) > 1 else "{self.weights}")')
        body = "\n".join(f"    {line}" if line else "" for line in lines)
        return f'def main() -> None:\n    """Train, and save the weights."""\n{body}'

    def _scheduler(self, lines: list[str]) -> str | None:
        if not self.experiment.made().get("scheduler"):
            return None
        interval = str(self.experiment.values["scheduler_interval"])
        if interval == "evaluation":
            watched = getattr(self._built("scheduler").value, "monitor", self.experiment.plan["monitor"])
            self._watched(f"scheduler '{self._built('scheduler').name}'", watched)
        lines.append(f"scheduler = {self._component('scheduler', {'optimizer': 'optimizer'}, {})}")
        return interval

    def _watched(self, owner: str, figure: str) -> bool:
        """Refuse a part that depends on a figure which the script does not have."""
        plan = self.experiment.plan
        if figure.partition(":")[0] != "validation/loss" or "validation" not in self.experiment.data.splits:
            raise NotAlone(f"{owner} depends on {figure}, but a script supports only validation/loss")
        if plan["eval_every"] != "1epochs":
            raise NotAlone(f"{owner} is evaluated every {plan['eval_every']}, but in a script every epoch")
        return True

    def _epoch_end(self, data: Any, is_watched: bool, *, best: bool) -> list[str]:
        split = next((name for name in self.experiment.plan["eval_splits"] if name in data.splits), None)
        if split is None:
            return ['print(f"epoch {epoch + 1}/{EPOCHS}  loss {loss.item():.4f}")']
        lines = [f'found = evaluate(model, loss_fn, *splits["{split}"])']
        if is_watched or best:
            lines[0] = 'found = evaluate(model, loss_fn, *splits["validation"])'
        lines.append('print(f"epoch {epoch + 1}/{EPOCHS}  loss {loss.item():.4f}  ' + f'{split} {{shown(found)}}")')
        if is_watched:
            lines.append('scheduler.step(found["loss"])')
        if best:
            self.sources.imports["import copy"] = None
            lines += ['if found["loss"] < best_loss:']
            lines += ['    best_loss, best = found["loss"], copy.deepcopy(model.state_dict())']
        return lines

    def _loss_expression(self) -> str:
        """The expression for the loss of ``outputs`` and the targets ``y``."""
        values, registry = self.experiment.values, self.experiment.builder.registry
        predictions, targets = "outputs", "y"
        links = [tasks_of(registry).link(name) for name in values["run.links"].trained]
        changes: dict[str, list[Any]] = {"predictions": [], "targets": [], "loss": []}
        for link in links:
            if link.target:
                changes[link.of].append(link)
        for link in changes["predictions"]:
            predictions = self._link(link, predictions)
        if values["outputs"].single_logit:
            predictions += ".flatten()"
        for link in changes["targets"]:
            targets = self._link(link, targets)
        found = f"loss_fn({predictions}, {targets})"
        for link in changes["loss"]:
            found = self._link(link, found)
        if getattr(values["run.bare_loss"], "reduction", "mean") == "none" and not changes["loss"]:
            found += ".mean()"
        return found

    def _link(self, link: Any, expression: str) -> str:
        values = self.experiment.values
        module, _, name = link.target.partition(":")
        function = getattr(importlib.import_module(module), name)
        first, *others = inspect.signature(function).parameters
        arguments = {first: expression, **{name: calls.literal(values.need(name)) for name in others}}
        found = self.sources.inline(link.target, arguments)
        return found or f"{self.sources.need(link.target)}({', '.join(arguments.values())})"

    def _target_lines(self, data: Any) -> list[str]:
        """Lines that convert the targets for the loss."""
        lines = []
        for step in data.steps:
            if step.of_targets:
                name = _variable(step.table["use"])
                lines.append(f"{name} = {self._transform(step)}")
                if hasattr(step.transform, "fit"):
                    lines.append(f'{name}.fit(splits["train"][1])  # on the train split alone')
                lines.append(f"splits = {{split: (x, {name}(y)) for split, (x, y) in splits.items()}}")
        return lines

    def _augment_lines(self, data: Any) -> list[str]:
        lines = []
        for step in _ahead(data.steps)[1]:
            self.sources.copy(sample_uniform)
            draws = f"sample_uniform(SEED, epoch, ids[batch.cpu()], {step.num_draws}, {step.position})"
            lines.append(f"x = {self._transform(step)}(x, {draws}.to(x.device))")
        return lines

    def _random(self) -> bool:
        return bool(_ahead(self.experiment.data.steps)[1])

    def _clip_lines(self) -> list[str]:
        lines = []
        for built in _several(self.experiment.made().get("hook")):
            if built.entry is not None and built.entry.component.plain is not None:
                lines.append(self._written(built, f"hook '{built.name}'", {"params": "model.parameters()"}, {}))
        return lines

    def _evaluate(self, loss: str) -> None:
        """Note the function that evaluates a split."""
        metrics = []
        for built in _several(self.experiment.made().get("metric")):
            plain = built.entry.component.plain if built.entry else None
            if plain is None or not self._is_largest():
                self.remarks.append(f"Metric '{built.name}' of the run is not computed here.")
                continue
            name = self.sources.need(plain)
            metrics.append(f'figures["{built.name}"] = {name}(outputs.argmax(1), targets)')
        x = "pixels(x)" if self.bytes else "x"
        lines = [
            "@torch.inference_mode()",
            "def evaluate(model: nn.Module, loss_fn: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, float]:",
            '    """The loss, as the mean over all samples, and the metrics of a split."""',
            "    model.eval()",
            f"    outputs = torch.cat([model({x}) for x in inputs.split(BATCH_SIZE)])",
            "    total = 0.0",
            "    for part, y in zip(outputs.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True):",
            f"        total += {loss}.item() * len(y)",
            '    figures = {"loss": total / len(targets)}',
            *(f"    {line}" for line in metrics),
            "    return figures",
        ]
        self.evaluation = "\n".join(lines)

    def _is_largest(self) -> bool:
        """Whether the label of a sample is the index of its largest output."""
        num = len(self.experiment.data.class_names)
        try:
            labels = self.experiment.values["outputs"].read(torch.eye(num), "labels")
        except (RuntimeError, ValueError, IndexError):
            return False
        targets = self.experiment.data.train_targets()
        is_index = isinstance(targets, Tensor) and targets.ndim == 1 and not targets.is_floating_point()
        return is_index and num > 1 and torch.equal(labels, torch.arange(num))

    # components

    def _built(self, kind: str) -> Built:
        built = self.experiment.made().get(kind)
        if not isinstance(built, Built):
            raise NotAlone(f"{kind}: the run has none, or several")
        return built

    def _component(
        self, kind: str, filled: Mapping[str, str], facts: Mapping[str, Any], *, lenient: bool = False
    ) -> str:
        built = self._built(kind)
        return self._written(built, f"{kind} '{built.name}'", filled, facts, lenient=lenient)

    def _transform(self, step: Step) -> str:
        built = next(
            (one for one in _several(self.experiment.made().get("transform")) if one.value is step.transform), None
        )
        if built is None:
            raise NotAlone(f"{step.name}: it is the dataset's own")
        return self._written(built, f"transform '{built.name}'", {}, {})

    def _written(
        self, built: Built, title: str, filled: Mapping[str, str], facts: Mapping[str, Any], *, lenient: bool = False
    ) -> str:
        try:
            values = {**self._values(built, filled), **facts}
            return calls.component(built, self.sources, filled, values, lenient=lenient)
        except NotAlone as error:
            raise NotAlone(calls.refusal(title, error)) from error

    def _values(self, built: Built, filled: Mapping[str, str]) -> dict[str, Any]:
        """The run values that a component gets from the run."""
        if built.entry is None:
            return {}
        run, found = self.experiment.values, {}
        for param in self.experiment.builder.params(built.entry):
            if param.source is not None and param.name not in built.options and param.name not in filled:
                value = run.need(param.source) if run.provides(param.source) else None
                try:
                    calls.literal(value)
                except NotAlone:
                    continue
                found[param.name] = value
        return found

    def _facts(self) -> dict[str, Any]:
        """The facts that the run learned from its data."""
        reader = self.experiment.reader
        described = {} if reader is None else dict(reader.description())
        spec = self.experiment.data.spec
        return {**described, "class_names": list(spec.class_names), "dataset_targets": spec.targets}

    def _has_tensors(self, kind: str) -> bool:
        value = self._built(kind).value
        return isinstance(value, nn.Module) and (any(True for _ in value.buffers()))

    def _has_parameters(self, kind: str) -> bool:
        value = self._built(kind).value
        return isinstance(value, nn.Module) and any(True for _ in value.parameters())

    def _stream(self) -> None:
        self.sources.copy(stream)

    # the whole

    def _join(self, parts: Mapping[str, str]) -> str:
        plan, imports = self.experiment.plan, self.sources.imports
        for line in ("import sys", "import torch", "from torch import Tensor, nn"):
            imports[line] = None
        if self.bytes:
            self.sources.definitions["pixels"] = PIXELS
        remarks = "".join(f"{line}\n" for line in dict.fromkeys(self.remarks))
        head = HEAD.format(
            title=self.title,
            version=__version__,
            torch=torch.__version__,
            remarks=f"\n{remarks}" if remarks else "",
        )
        constants = [
            f"SEED = {plan['seed']}",
            f"EPOCHS = {self.epochs}",
            f"BATCH_SIZE = {self.experiment.data.batch_size}",
        ]
        blocks = [
            "\n".join(constants),
            *self.sources.definitions.values(),
            parts["load"],
            parts["make_model"],
            self.evaluation,
            SHOWN,
            parts["train"],
            'if __name__ == "__main__":\n    main()',
        ]
        head = f"{head}\n{_sorted(imports)}"
        return "\n\n\n".join([f"{head}\n\n{blocks[0]}", *blocks[1:]]) + "\n"


HEAD = '''"""{title}: the same training in plain PyTorch.

It has the data, the order of the batches, the initial weights and the updates of the run, so its weights are the same
bit for bit with the same versions on such a machine. Written by wf {version} with torch {torch}; it needs no wf.
{remarks}"""
'''
PIXELS = '''def pixels(images: Tensor) -> Tensor:
    """Bytes as numbers from 0 to 1."""
    return images.float() / torch.full((), 255.0, device=images.device)'''
SHOWN = '''def shown(figures: dict[str, float]) -> str:
    """Figures on one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())'''


def _ahead(steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """The transforms of inputs that are applied once, in advance, and those of each batch."""
    own = [step for step in steps if not step.of_targets]
    num = next((number for number, step in enumerate(own) if step.train_only), len(own))
    return own[:num], own[num:]


def _several(made: Any) -> list[Built]:
    return list(made) if isinstance(made, (list, tuple)) else []


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _sorted(imports: Mapping[str, None]) -> str:
    """The imports in a formatter's order: the standard library's first, names of one module on one line."""
    plain: set[str] = set()
    named: dict[str, set[str]] = {}
    for line in imports:
        if line.startswith("from "):
            module, _, names = line.removeprefix("from ").partition(" import ")
            named.setdefault(module, set()).update(names.split(", "))
        else:
            plain.add(line.removeprefix("import "))
    groups: dict[bool, list[str]] = {True: [], False: []}
    for module in sorted(plain):
        groups[module.partition(".")[0] in sys.stdlib_module_names].append(f"import {module}")
    for module in sorted(named):
        line = f"from {module} import {', '.join(sorted(named[module]))}"
        groups[module.partition(".")[0] in sys.stdlib_module_names].append(line)
    return "\n\n".join("\n".join(lines) for lines in (groups[True], groups[False]) if lines)
