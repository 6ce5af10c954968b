"""Run values: the values that a run fills into parameters of components, by name.

Those of every run stand here; plugins add others with ``wf_values``, and every kind is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wf.declarations.fields import check_fields
from wf.declarations.kinds import Kind
from wf.declarations.vocabulary import Vocabulary

_WRITTEN = (
    "int",
    "float",
    "bool",
    "str",
    "Path",
    "tuple[",
    "list[str]",
    "list[int]",
    "dict[str, str]",
    "dict[str, bool]",
    "torch.dev",
)
"""How the types begin whose values a run file can hold."""


@dataclass(frozen=True, kw_only=True)
class RunValue:
    """A value of a run, as a plugin's ``wf_values`` declares it.

    It is filled into a parameter of its name that has no default, or that is marked with `wf.FromRun`, unless the user
    sets it.
    """

    name: str
    """A Python name: ``vocab_size``."""
    type: str = "Any"
    """Its type, as lists show it: ``int``, ``list[str]``, ``torch.nn.Module``."""
    summary: str = ""
    """A one-line description."""
    provider: str | Callable[..., Any] | None = None
    """``"package.module:function"``, which gives it: called once, when somebody needs the value, with the run values
    that its parameters are named after. A generator function yields the value, and is continued when the run is over.
    None for what the run itself knows."""

    def __post_init__(self) -> None:
        check_fields(self, "run value '{0.name}'")
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ValueError(f"'{self.name}' is not the name of a run value: use a Python name in lower case")

    @classmethod
    def of_kind(cls, kind: Kind) -> RunValue:
        """The component of a kind as a run value."""
        return cls(name=kind.value, type="object", summary=kind.summary)

    @property
    def is_written(self) -> bool:
        """Whether a run file can hold it."""
        return self.type.startswith(_WRITTEN)

    @property
    def is_count(self) -> bool:
        """Whether it is a number of things, so at least 1."""
        return self.type == "int" and self.name != "seed"


def _known(name: str, type: str, summary: str) -> RunValue:
    return RunValue(name=name, type=type, summary=summary)


VALUES: Vocabulary[RunValue] = Vocabulary(
    "run value",
    (
        _known("seed", "int", "the run's seed"),
        _known("data_dir", "Path", "the user's data folder (WF_DATA_DIR)"),
        _known("device", "torch.device", "where this process computes"),
        _known("batch_size", "int", "samples in a batch"),
        _known(
            "accumulate", "int", "batches whose gradients make one update; a training step is given them as one batch"
        ),
        _known("input_shape", "tuple[int, ...]", "the shape of one sample's input"),
        _known("num_features", "int", "numbers in one sample's input"),
        _known("num_channels", "int", "channels of an image, the first of input_shape"),
        _known("targets", "str", "the form of the targets that the loss gets"),
        _known("num_classes", "int", "classes of a classification"),
        _known("num_outputs", "int", "numbers that the model must give for one sample"),
        _known("class_names", "list[str]", "one a class"),
        _known("class_counts", "list[int]", "train samples of each class"),
        _known("feature_names", "list[str]", "one an input column"),
        _known("vocab_size", "int", "tokens of the vocabulary, where inputs are tokens"),
        _known("dataset_facts", "dict", "further facts about the samples: `facts` of the `Dataset`"),
        _known(
            "learned",
            "dict | None",
            "what the run learned from its data earlier: reader, class_names, ...; None for a new run",
        ),
        _known(
            "restored",
            "bool",
            "whether a checkpoint's weights will be put into the model, so that it need not look for pretrained ones",
        ),
        _known("model", "torch.nn.Module", "the model to train"),
        _known("params", "list[Parameter]", "the trainable parameters of model and loss"),
        _known(
            "param_groups",
            "list[dict]",
            "params in two groups: hidden=True, the matrices and kernels of all layers but the last; hidden=False, all "
            "others",
        ),
        _known(
            "loss",
            "Callable",
            "the loss, links included: called with (predictions, targets); None where the trainer takes none and the "
            "dataset declares no targets",
        ),
        _known("trainer", "Trainer", "the trainer"),
        _known("optimizer", "torch.optim.Optimizer", "the optimizer"),
        _known("optimizers", "dict[str, Optimizer]", "the optimizers by scope, where the trainer declares scopes"),
        _known("optimizer_traits", "OptimizerTraits", "how the optimizer is stepped"),
        _known("scaler", "torch.amp.GradScaler", "scales the loss in fp16; None in another precision"),
        _known("scheduler", "torch.optim.lr_scheduler.LRScheduler", "the scheduler, or None"),
        _known("scheduler_interval", "str", "when the scheduler is stepped: step, epoch or evaluation"),
        _known("metrics", "dict[str, Metric]", "the run's metrics by name"),
        _known("metric_forms", "dict[str, str]", "the form of the predictions of each metric: raw, labels or probs"),
        _known("outputs", "TaskRuntime", "the task, which reads labels or probabilities from the model outputs"),
        _known("data", "RunData", "the run's splits, served in batches"),
        _known("strategy", "Strategy", "processes and devices"),
        _known("steps_per_epoch", "int", "updates in an epoch"),
        _known("total_steps", "int", "updates in the whole run"),
        _known("total_epochs", "int", "epochs in the whole run, the last one perhaps not whole"),
        _known("monitor", "str", "the figure that selects the best weights, such as validation/loss"),
        _known("directions", "dict[str, bool]", "whether a larger figure is better, by name without the split"),
        _known("run_dir", "Path", "the run directory, or None where nothing is written"),
    ),
)
"""The values that fill parameters with these names and without a default, unless the user sets them."""
