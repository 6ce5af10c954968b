"""The parts of a run, built by the providers of `wf_run.graph`, and operations on all of them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wf.declarations.general import GENERAL, value_settings
from wf.declarations.kinds import KINDS
from wf.declarations.values import VALUES
from wf.discovery.entry import Entry
from wf.engine.loop import Loop
from wf.errors import DataError, UsageError
from wf.protocols import Checkpointer
from wf.registry import Registry
from wf_base.random import stream_key
from wf_data.fingerprint import of_dataset, of_samples
from wf_data.sets import samples_of
from wf_run.declared.settings import OWN_PLUGIN
from wf_run.description import Description
from wf_run.graph import LOOP, ROOTS, find
from wf_run.parts.division.warnings import tell_of_parts
from wf_run.providers.checkpointer import keeper
from wf_run.providers.data.served import split
from wf_run.providers.loop import sources
from wf_run.providers.training.links import evaluated_splits
from wf_run.providers.training.model import check_smallest, initialize
from wf_run.run_build import RunBuild
from wf_run.runfiles.runfile import dump

KEPT = (
    *("batch_size", "accumulate", "targets", "num_outputs"),
    *("steps_per_epoch", "total_steps", "total_epochs", "directions"),
)
"""The run values that the run directory keeps besides the description of its data."""


class Assembly(RunBuild):
    """The parts of a run.

    Args:
        plan: The run file, from `wf_run.planning.plan.prepare`.
        registry: Where names are looked up.
        run_dir: The run directory; None creates a new one below ``runs/``.
        default_name: The name of a new run directory; by default made of date, dataset, loss and optimizer.
        subfolder: A subfolder of the new run directory, for one of several runs that belong together.
        save: Whether to write files; False makes no checkpointer and no run directory.
        folders: Where relative paths of the run file are looked up when they are not below the working directory.
        quiet: Leave out the progress hook.
        initialize: Load the weights that the run file's ``init_from`` names; False if a checkpoint is loaded later.
        learned_in: The directory of this run if it has begun before: the data are then read as they were.
        restored: Whether a checkpoint will be loaded into the model, so that it need not load pretrained weights.
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        registry: Registry,
        *,
        run_dir: Path | None,
        default_name: str = "",
        subfolder: str,
        save: bool,
        folders: Sequence[Path],
        quiet: bool,
        initialize: bool = True,
        learned_in: Path | None = None,
        restored: bool = False,
    ) -> None:
        super().__init__(
            plan,
            registry,
            partial(find, weakref.ref(self)),
            run_dir=run_dir,
            default_name=default_name,
            subfolder=subfolder,
            save=save,
            folders=folders,
            quiet=quiet,
            initialize=initialize,
            learned_in=learned_in,
        )
        self._fingerprint: dict[str, str] = {}
        self.values["restored"] = restored or (learned_in is not None and not initialize and self._is_saved(learned_in))
        try:
            with self.values.asking(LOOP):
                for name in ROOTS:
                    self.values.need(name)
            self.builder.on_demand.check_all_asked()
            self._tell_of_settings()
            tell_of_parts(self, self.strategy, self.values["model"], self.values["run.task"], self.values["outputs"])
            self._forget_unused()
            self.built |= self.builder.on_demand.made
            # the initial weights are equal on all processes; from now on their random streams differ
            if self.strategy.rank > 0:
                torch.manual_seed(stream_key(self.plan["seed"], "train", self.strategy.rank))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the parts in reverse order: data workers, an empty run directory, the strategy's processes."""
        self.values.close()

    @property
    def strategy(self) -> Any:
        """The strategy."""
        return self.values["strategy"]

    @property
    def data(self) -> Any:
        """The splits, served in batches, or the samples that the trainer makes itself."""
        return self.values["run.served"]

    @property
    def run_dir(self) -> Path | None:
        """The run directory; None if nothing is written."""
        found: Path | None = self.values["run_dir"]
        return found

    @property
    def evaluator(self) -> Any:
        """The evaluator; None if there is nothing to evaluate."""
        return self.values["run.evaluator"]

    @property
    def checkpointer(self) -> Checkpointer | None:
        """The checkpointer; None if nothing is written."""
        found: Checkpointer | None = self.values["run.checkpointer"]
        return found

    @property
    def hooks(self) -> tuple[Any, ...]:
        """The hooks."""
        return tuple(self.values["run.hooks"])

    @property
    def bare_loss(self) -> Any:
        """The loss itself, without links; None if the run has none."""
        return self.values["run.bare_loss"]

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The splits that can be evaluated."""
        return evaluated_splits(self, self.data)

    @property
    def repeatable(self) -> bool:
        """Whether the run file alone repeats the run: it uses no live objects."""
        return all(built.repeatable for built in self.all())

    def run_file(self, **changed: Any) -> str:
        """The resolved run file as TOML, with other values of some keys."""
        live = "" if self.repeatable else "This run used live objects: it cannot be repeated from this file alone."
        return dump({**self.plan, **changed}, live)

    def all_values(self) -> dict[str, Any]:
        """The run values: all values of the run itself, and the requested values of plugins."""
        own = [value.name for value in VALUES.of(OWN_PLUGIN) if self.values.provides(value.name)]
        return {**self.values, **{name: self.values.need(name) for name in own}}

    @property
    def loop(self) -> Loop:
        """The loop that trains it."""
        found: Loop = self.values["run.loop"]
        return found

    def may_fail(self) -> list[Any]:
        """The hooks that may fail without ending the run."""
        return [built.value for built in self.several("hook") if self.on_error[built.name] == "disable"]

    def figures(self) -> list[str]:
        """The figures of the run, and patterns for undeclared names; see `wf.engine.watching.Sources`."""
        found = sources(self, self.values["trainer"], self.evaluator, self.checkpointer, self.hooks)
        return found.patterns(self.evaluated)

    def fingerprint(self) -> dict[str, str]:
        """The checksums of the dataset's samples, computed once; see `wf_data.fingerprint`."""
        if (dataset := self.values.pop("run.dataset", None)) is not None:  # no longer needed
            sets = self.values.pop("run.validation_sets")
            self._fingerprint = {
                **of_dataset(dataset),
                **{name: of_samples(samples_of(one)) for name, one in sets.items()},
            }
        return self._fingerprint

    def follows_length(self, kind: str, table: Any) -> bool:
        """Whether a component, or one nested in it, got the run's length as a run value."""
        if isinstance(table, (list, tuple)):
            return any(self.follows_length(kind, one) for one in table)
        if not isinstance(table, Mapping):
            return False
        entry = self.entry(kind) if table is self.plan.get(kind) else self._nested(kind, table["use"])
        for param in self.builder.params(entry) if entry else ():
            if param.kind is not None and self.follows_length(param.kind, table.get(param.name)):
                return True
            if param.source in ("total_steps", "total_epochs") and param.name not in table:
                return True
        return False

    def fixed_length(self) -> list[str]:
        """The parts that depend on the length of the run, for messages."""
        kinds = [kind for kind in ("optimizer", "scheduler") if self.follows_length(kind, self.plan.get(kind))]
        return [f"{kind} '{self.name(kind)}'" for kind in kinds]

    def _nested(self, kind: str, use: Any) -> Entry | None:
        """The entry of a nested component; None for a live object."""
        try:
            return self.builder.entry(kind, use)
        except UsageError:
            return None

    def describe_data(self) -> Description:
        """The description of the data, and the values with which the model was built."""
        outputs, task = self.values["outputs"], self.values["run.task"]
        return Description(
            spec=self.data.spec,
            inputs=self.data.inputs,
            target_names=self.names["target_names"],
            vocabulary=self.names["vocabulary"],
            reader=None if self.reader is None else dict(self.reader.description()),
            values={name: self.values.need(name) for name in KEPT if self.values.provides(name)},
            predictions=outputs.predictions,
            single_logit=outputs.single_logit,
            task=task.name if task else None,
            links=self.values["run.links"].judged,
        )

    def check_folds(self, num_folds: int) -> None:
        """Refuse a cross-validation with a fold that could not be trained, judged by the sizes of all folds."""
        values = self.values
        for fold in range(num_folds):
            splits = split(self, values["run.dataset"], values["outputs"], (fold, num_folds))
            num = self.data.num_kept_of(len(splits.samples["train"]))
            check_smallest(self, self.strategy.bare(values["model"]), self.data, num, f" of fold {fold + 1}")

    def initialize_anew(self) -> None:
        """Load the weights of ``init_from``, if that was postponed because of a checkpoint.

        Raises:
            DataError: If the strategy has built the model without values because of it.
        """
        if getattr(self.strategy, "awaits_values", False):
            raise DataError(
                "the checkpoint that was there at the start is gone\n  start again: the run then starts over"
            )
        if self.plan["init_from"] is not None and self.init_from is None:
            initialize(self, self.strategy.bare(self.values["model"]))

    def _is_saved(self, run_dir: Path) -> bool:
        """Whether a checkpoint of this run will be loaded, as far as its checkpointer's class can tell."""
        entry = self.entry("checkpointer")
        is_empty = getattr(entry.load() if entry else self.plan["checkpointer"]["use"], "is_empty", None)
        return is_empty is not None and not is_empty(run_dir)

    def keeper(self, run_dir: Path) -> Checkpointer:
        """A checkpointer for another run of this run file."""
        return keeper(self, self.plan["checkpointer"], {**self.all_values(), "run_dir": run_dir})

    def _forget_unused(self) -> None:
        """Drop unused plugin settings and empty lists, so that the run does not depend on these plugins."""
        for name, param in value_settings().items():
            if name not in self.values.asked_by and self.plan[name] == param.default:
                del self.plan[name]
        for name in KINDS.on_demand:
            if self.plan.get(name) == []:
                del self.plan[name]

    def _tell_of_settings(self) -> None:
        """Warn about a plugin's setting that was set but that nothing takes."""
        # a run that writes nothing has no checkpointer
        taken = {*self.values.asked_by, *self.wanted_by("checkpointer")}
        taken |= {name for name in GENERAL if GENERAL.owner(name) == OWN_PLUGIN}
        for name, param in value_settings().items():
            if self.plan.get(name, param.default) != param.default and name not in taken:
                self.messages.append(f"warning: {name} is set, but nothing in this run takes it")
