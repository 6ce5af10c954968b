"""The kinds of components that runs are made of, of further validation sets, and of what is drawn and reported."""

from __future__ import annotations

from wf import Kind
from wf.traits import (
    DatasetTraits,
    HookTraits,
    LossTraits,
    MetricTraits,
    ModelTraits,
    OptimizerTraits,
    SchedulerTraits,
    TrainerTraits,
    TransformTraits,
)
from wf_charts import PlotTraits, SectionTraits

ON_ERROR = ("stop", "disable")
"""The values of a hook's key ``on_error``: what becomes of the run when the hook fails.

The first one is the default, the second one that of hooks which only watch, see `wf.traits.HookTraits`.
"""
GROUP_KEYS = ("group", "layer_decay", "decay_norms")
"""The keys of an optimizer's table that divide its parameters; see `wf_run.parts.groups.Grouping`."""
ON_ERROR_SCHEMA = {"enum": list(ON_ERROR), "description": "What becomes of the run when the hook fails."}
LEAF = {"type": "string", "description": "The leaf of the inputs that it changes, where these are a tree."}

KINDS = (
    Kind(
        name="dataset",
        on_demand=False,
        order=5,
        of_task=False,
        summary="samples with inputs and targets, and the splits they come in",
        traits=DatasetTraits,
    ),
    Kind(
        name="transform",
        on_demand=False,
        order=10,
        of_task=False,
        summary="changes inputs before the model sees them, a whole batch at a time",
        several=True,
        objects="a callable on a batch of inputs",
        traits=TransformTraits,
        chosen_by="the dataset",
        keys={"leaf": LEAF},
    ),
    Kind(
        name="model",
        on_demand=False,
        order=15,
        by_inputs=True,
        summary="a torch.nn.Module",
        traits=ModelTraits,
        together="wf_base.training.parts:Parts",
    ),
    Kind(
        name="loss",
        on_demand=False,
        order=20,
        plural="losses",
        summary="a module or function of (predictions, targets) that gives a scalar to minimise",
        traits=LossTraits,
        chosen_by="the dataset's task",
    ),
    Kind(
        name="optimizer",
        on_demand=False,
        order=25,
        of_task=False,
        summary="updates the parameters from their gradients",
        traits=OptimizerTraits,
        keys={key: {} for key in GROUP_KEYS},
    ),
    Kind(
        name="scheduler",
        on_demand=False,
        order=30,
        of_task=False,
        summary="changes the optimizer's learning rate over time",
        traits=SchedulerTraits,
    ),
    Kind(
        name="metric",
        on_demand=False,
        order=35,
        summary="judges predictions against targets over a whole split",
        several=True,
        traits=MetricTraits,
        chosen_by="the dataset's task",
        objects="an object with update(predictions, targets) and compute()",
    ),
    Kind(
        name="hook",
        on_demand=False,
        order=40,
        summary="listens to the events of the loop",
        several=True,
        traits=HookTraits,
        objects="an object with methods named like events: on_epoch_end(self, run)",
        keys={"on_error": ON_ERROR_SCHEMA},
    ),
    Kind(
        name="trainer",
        on_demand=False,
        order=45,
        of_task=False,
        summary="one training step",
        traits=TrainerTraits,
        objects="an object with train_step(batch)",
    ),
    Kind(
        name="evaluator",
        on_demand=False,
        order=50,
        of_task=False,
        summary="one evaluation of one split",
        objects="an object with evaluate(split)",
    ),
    Kind(name="checkpointer", on_demand=False, order=55, of_task=False, may_change=True, summary="durable state"),
    Kind(
        name="strategy",
        on_demand=False,
        order=60,
        of_task=False,
        may_change=True,
        by_processes=True,
        plural="strategies",
        summary="where and how the run is carried out: devices and processes",
    ),
    Kind(
        name="validation",
        plural="validations",
        summary="further validation sets, each a dataset under a name: --validation.NAME DATASET",
    ),
    Kind(
        name="plot",
        summary="charts of a run, a comparison or a search, for wf plot, the hook plots and reports",
        several=True,
        traits=PlotTraits,
        objects="an object with charts(), and update(predicted) where it needs predictions",
    ),
    Kind(
        name="report-section",
        summary="a section of the page of wf report",
        several=True,
        of_runs=False,
        traits=SectionTraits,
        objects="an object with section(content)",
    ),
)
