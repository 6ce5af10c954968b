"""The dataset as returned by its component, before splits and transforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wf.errors import DataError, UsageError
from wf.protocols import Stateful, Strategy
from wf_base.data import Dataset
from wf_base.streams import Stream
from wf_data.given import as_dataset, batching_of
from wf_run.description import NAMES
from wf_run.parts.wishes import TRANSFORMS, wants_of
from wf_run.run_build import RunBuild


def dataset(run: RunBuild, strategy: Strategy) -> Dataset | None:
    """The dataset; None if the trainer makes its samples itself. It is read only after all processes have met."""
    run.names = dict.fromkeys(NAMES, ())
    if "dataset" not in run.plan:
        return None
    made = _make(run)
    name = run.name("dataset")
    found = as_dataset(made, name, run.registry)
    for key, value in batching_of(made).items():
        if run.plan[key] != value:
            run.messages.append(f"{key} {run.plan[key]}, not {value} as in the dataset's DataLoader")
    run.reader = found.reader
    run.names = {field: tuple(getattr(found, field)) for field in NAMES}
    if run.before is not None:
        _check_names(run, run.before.learned, found)
    _keep_state_of(run, found.train, name)
    run.resumes_exactly = not isinstance(found.train, Stream) or found.train.exact
    return found


def _make(run: RunBuild) -> Any:
    """Build the dataset; the model's requirements are recorded in its table, because another version may have
    others."""
    wanted = wants_of(run.plan["model"], run.registry)
    named = [table["use"] for table in run.plan["transform"] if isinstance(table, Mapping)]
    for table in wanted.pop(TRANSFORMS, ()):
        if table["use"] not in named:
            options = ", ".join(f"{name} = {value}" for name, value in table.items() if name != "use")
            run.messages.append(
                f"warning: model '{run.name('model')}' expects its images through transform {table['use']} "
                f"({options}), "
                "but the run names transforms without it"
            )
    run.take("model", **wanted)
    value, entry = run.make("dataset"), run.entry("dataset")
    for param in run.builder.params(entry) if entry is not None and wanted else ():
        if param.source in wanted:
            run.plan["dataset"].setdefault(param.name, wanted[param.source])
    return value


def _check_names(run: RunBuild, learned: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuse data whose classes or columns differ from those of the run.

    Raises:
        DataError: Naming what is missing and what is new.
    """
    now: dict[str, Any] = {"targets": dataset.targets, **run.names}
    for field, value in now.items():
        before = learned[field]
        if value == (before if field == "targets" else tuple(before)):
            continue
        what = field.replace("_", " ")
        lines = [f"dataset '{run.name('dataset')}': its {what} differ from those that the run was trained with"]
        if field == "targets":
            lines.append(f"were {before}, are {value}")
        else:
            gone, new = [one for one in before if one not in value], [one for one in value if one not in before]
            lines += [f"missing now: {', '.join(gone[:10])}"] if gone else []
            lines += [f"not there before: {', '.join(new[:10])}"] if new else []
            lines += ["they are in another order"] if not (gone or new) else []
        lines.append("restore the data, or train anew")
        raise DataError("\n  ".join(lines))


def _keep_state_of(run: RunBuild, samples: Any, name: str) -> None:
    """Add the state of samples to checkpoints; such samples must not be copied to workers."""
    if not isinstance(samples, Stateful):
        return
    if run.plan["workers"]:
        raise UsageError(
            f"dataset '{name}' has a state (state_dict), and each worker would change only its own copy\n"
            "  read it in the training process: --workers 0"
        )
    run.stateful_samples = samples
