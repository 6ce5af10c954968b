"""The served data: the splits of the dataset in batches, or the trainer's own batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from wf.declarations.general import GENERAL
from wf.declarations.task import Task
from wf.engine.figures import SPLITS
from wf.errors import PluginError, UsageError
from wf.protocols import Strategy
from wf.splits import parse_split
from wf.traits import DatasetTraits
from wf_base.data import Dataset, split_dataset
from wf_base.streams import Stream
from wf_base.task import TaskRuntime
from wf_data.serving import RunData
from wf_run.parts.data.own_samples import OwnSamples
from wf_run.parts.data.validation import name_in
from wf_run.planning.own_samples import MAKE_BATCH
from wf_run.providers.data.transforms import warnings
from wf_run.providers.training.trainer import called_with_options
from wf_run.run_build import RunBuild
from wf_run.runfiles.said import said_in


def served(
    run: RunBuild,
    strategy: Strategy,
    dataset: Dataset | None,
    validation_sets: Mapping[str, Dataset],
    task: Task | None,
    task_runtime: TaskRuntime,
    transforms: list[tuple[Any, ...]],
) -> RunData | OwnSamples:
    """The data in batches, and the run values that come from them."""
    if dataset is None:
        return _own_samples(run, task_runtime)
    plan, name = run.plan, run.name("dataset")
    _check_division(run, dataset, name)
    if dataset.test is not None and plan["fold"] is None:
        run.messages.append(f"{name} has its own test split ({len(dataset.test):,} samples)")
    splits = split(run, dataset, task_runtime, _fold(plan["fold"]), _ids_of(run, dataset))
    data = RunData(
        dataset,
        splits,
        transforms,
        batch_size=None if plan["batch_size"] == "full" else plan["batch_size"],
        accumulate=plan["accumulate"],
        seed=plan["seed"],
        shuffle=plan["shuffle"],
        drop_last=plan["drop_last"],
        device=strategy.device,
        workers=plan["workers"],
        serve_from=plan["serve_from"],
        rank=strategy.rank,
        world_size=strategy.world_size,
        per_process=plan["format"] == 1,
        name=name,
        task=task_runtime,
        sets=validation_sets,
    )
    run.values.at_close(data.close)
    _tell_of_format(run, strategy.world_size)
    run.messages += [f"warning: {text}" for text in warnings(run, task)]
    for table, step in zip(plan["transform"], data.steps[len(dataset.transforms) :], strict=True):
        table.update({} if step.leaf is None else {"leaf": step.leaf})
    run.messages += [f"validation set {name_in(one)}: {data.num_samples(one):,} samples" for one in data.sets]
    run.messages += [data.describe(), *(f"warning: {text}" for text in data.warnings)]
    _tell_of_splits(run, dataset, data, name)
    run.take("dataset", data=data)
    _know(run, "dataset", data)
    if run.values.provides("sampler"):
        num = data.draw_by(run.values.need("sampler"))
        run.messages.append(f"{run.values.provider('sampler')}: {num:,} samples in an epoch")
        run.take("dataset", steps_per_epoch=data.num_batches)
    return data


def _check_division(run: RunBuild, dataset: Dataset, name: str) -> None:
    """Refuse another division of a dataset that must divide itself, and warn about shares without effect."""
    plan, traits = run.plan, run.traits("dataset")
    asked = plan["split"] != GENERAL["split"].default
    if isinstance(traits, DatasetTraits) and traits.divides and (asked or plan["fold"] is not None):
        option = "--split" if asked else "folds"
        raise UsageError(
            f"dataset '{name}' divides its samples itself, so {option} cannot be used\n"
            f"  leave it out, and use {traits.divides}"
        )
    if asked and dataset.validation is not None:
        run.messages.append(
            f"warning: split {plan['split']} changes nothing: dataset {name} has its own validation split"
        )


def split(
    run: RunBuild,
    dataset: Dataset,
    task: TaskRuntime,
    fold: tuple[int, int] | None,
    ids: Mapping[str, Tensor] | None = None,
) -> Any:
    """The splits of a dataset, or of one fold of it."""
    plan = run.plan
    return split_dataset(dataset, plan["split"], plan["seed"], shuffle=plan["shuffle"], fold=fold, ids=ids, task=task)


def _tell_of_format(run: RunBuild, num_processes: int) -> None:
    """Say which of its two meanings the batch size has, where a new run has a file that leaves it open."""
    said = said_in(run.plan)
    if num_processes > 1 and run.initialize and said.files and ("format",) not in said.places:
        run.messages.append(
            f"warning: {said.files[-1]} has no 'format', so batch_size {run.plan['batch_size']} is that of all "
            f"{num_processes} processes together; in files of an older wf it is that of each: write format = 1 for that"
        )


def _know(run: RunBuild, source: str, data: RunData | OwnSamples) -> None:
    """Keep the run values that come from the data."""
    run.take(source, **data.spec.values())
    run.values["batch_size"] = data.batch_size
    if data.num_batches is not None:
        run.take(source, steps_per_epoch=data.num_batches)


def _tell_of_splits(run: RunBuild, dataset: Dataset, data: RunData, name: str) -> None:
    """Report missing splits, and refuse to evaluate one."""
    if not run.resumes_exactly:
        run.messages.append(
            f"warning: dataset {name} is iterable: a resumed run skips earlier samples, and is exact only if it "
            "yields the same samples each time (exact_resume: false in manifest.json)"
        )
    for one, share in zip(SPLITS, parse_split(run.plan["split"]), strict=True):
        if share and one not in data.splits:
            brought = one == "test" and dataset.validation is not None
            why = f"{name} has a validation split but no" if brought else "too few samples for a"
            run.messages.append(f"warning: {why} {one} split")
    for one in run.plan["eval_splits"]:
        if one not in data.splits and one != "validation":
            data.samples(one)  # raises, naming the available splits


def _own_samples(run: RunBuild, task_runtime: TaskRuntime) -> OwnSamples:
    """The trainer's own samples, without a dataset."""
    plan, name = run.plan, run.name("trainer")
    entry = run.builder.entry("trainer", plan["trainer"]["use"])
    maker = entry.load() if entry else plan["trainer"]["use"]
    if not hasattr(getattr(maker, "func", maker), MAKE_BATCH):
        raise PluginError(f"trainer '{name}' declares that it makes its samples, but has no method {MAKE_BATCH}")
    known = called_with_options(run.builder, plan["trainer"], "run_values") or {}
    data = OwnSamples(name, known, plan["batch_size"], task_runtime)
    run.values.update(data.known)
    run.messages.append(data.describe())
    _know(run, "trainer", data)
    return data


def _ids_of(run: RunBuild, dataset: Dataset) -> dict[str, Tensor] | None:
    """The sample ids with which the run began; None for a new run, or if the dataset has lost some of them."""
    if run.before is None or isinstance(dataset.train, Stream):
        return None
    own = {name: ids for name, ids in run.ids_before.items() if getattr(dataset, name) is None or name == "train"}
    largest = max((int(ids.max()) for ids in own.values() if len(ids)), default=len(dataset.train))
    return run.ids_before if largest < len(dataset.train) else None


def _fold(text: str | None) -> tuple[int, int] | None:
    """Read ``2/5``, the second of five folds, as (1, 5)."""
    if text is None:
        return None
    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise UsageError(f"fold '{text}' is not of the form k/K, for example 2/5")
    return int(number) - 1, int(total)
