"""The members of the catalogue ``torch/<scheduler>``: the classes of `torch.optim.lr_scheduler`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from wf import FromRun, Nested
from wf.engine.figures import Monitor
from wf.errors import UsageError
from wf.traits import SchedulerTraits
from wf_building.built import traits_of
from wf_catalogues.members import option
from wf_torch.members import Member, made

_OPTIMIZER = option("optimizer", Optimizer)
_HELP = {"optimizer": "The optimizer whose learning rate it sets."}
_Positive = Annotated[int, Ge(1)]
_Epochs = list[Annotated[int, Ge(0)]]
_Several = Annotated[list[LRScheduler], Nested("scheduler")]
_WHOLE_RUN = Annotated[_Positive, FromRun("total_epochs")]
_EPOCHS_HELP = "Epochs until the end of the schedule, by default the run's."
_scheduler = partial(
    Member, module="torch.optim.lr_scheduler", group="epoch", without=("last_epoch",), more=(_OPTIMIZER,), help=_HELP
)

MEMBERS: dict[str, Member] = {
    "ChainedScheduler": _scheduler(
        lr_scheduler.ChainedScheduler,
        "several schedules at a time, their factors multiplied",
        types={"schedulers": _Several},
        help={**_HELP, "schedulers": "Schedules that change with the epochs."},
    ),
    "ConstantLR": _scheduler(
        lr_scheduler.ConstantLR, "a smaller learning rate for the first epochs", types={"total_iters": _Positive}
    ),
    "CosineAnnealingLR": _scheduler(
        lr_scheduler.CosineAnnealingLR,
        "anneal along half a cosine, by epochs",
        types={"T_max": _WHOLE_RUN},
        help={**_HELP, "T_max": _EPOCHS_HELP},
    ),
    "CosineAnnealingWarmRestarts": _scheduler(
        lr_scheduler.CosineAnnealingWarmRestarts,
        "anneal along half a cosine, again and again, by epochs",
        help={**_HELP, "T_0": "Epochs until the first restart."},
    ),
    "CyclicLR": _scheduler(
        lr_scheduler.CyclicLR,
        "up and down between two learning rates, by steps",
        group="step",
        types={"step_size_up": _Positive, "step_size_down": _Positive | None},
        without=("last_epoch", "scale_fn", "scale_mode"),  # a function
        help={
            **_HELP,
            "base_lr": "The lower learning rate; a list has one a parameter group.",
            "max_lr": "The upper learning rate; a list has one a parameter group.",
            "mode": "triangular: a peak is as high as the one before; triangular2: half as high; exp_range: gamma ** "
            "step times as high.",
            "gamma": "Factor of mode exp_range.",
        },
    ),
    "ExponentialLR": _scheduler(lr_scheduler.ExponentialLR, "multiply the learning rate by gamma every epoch"),
    "LinearLR": _scheduler(
        lr_scheduler.LinearLR, "change a factor linearly over the first epochs", types={"total_iters": _Positive}
    ),
    "MultiStepLR": _scheduler(
        lr_scheduler.MultiStepLR,
        "multiply the learning rate by gamma at the given epochs",
        types={"milestones": _Epochs},
    ),
    "OneCycleLR": _scheduler(
        lr_scheduler.OneCycleLR,
        "up to a large learning rate and down again over the whole run, by steps",
        group="step",
        types={
            "total_steps": Annotated[_Positive, FromRun("total_steps")],
            "div_factor": Annotated[float, Gt(0)],
            "final_div_factor": Annotated[float, Gt(0)],
        },
        without=("last_epoch", "epochs", "steps_per_epoch"),  # total_steps says it
        help={
            **_HELP,
            "total_steps": "Updates in the cycle, by default the run's.",
            "max_lr": "Learning rate at the peak; a list has one a parameter group.",
            "pct_start": "Fraction of the cycle with a rising rate.",
            "anneal_strategy": "Shape of the phases.",
        },
    ),
    "PolynomialLR": _scheduler(
        lr_scheduler.PolynomialLR,
        "down to 0 along a power, by epochs",
        types={"total_iters": _WHOLE_RUN},
        help={**_HELP, "total_iters": _EPOCHS_HELP},
    ),
    "ReduceLROnPlateau": _scheduler(
        lr_scheduler.ReduceLROnPlateau,
        "lower the learning rate when the monitored figure stops improving",
        group="evaluation",
        more=(_OPTIMIZER, option("monitor", str), option("directions", dict[str, bool])),
        types={"mode": Literal["auto", "min", "max"]},
        defaults={"mode": "auto"},
        help={
            **_HELP,
            "monitor": "The figure that it watches, as validation/loss; its direction may stand behind it.",
            "directions": "Whether a larger figure is better, by its name without the split.",
            "mode": "min: smaller is better; max: larger is; auto: as the figure declares.",
            "patience": "Number of evaluations without improvement before the rate is reduced.",
            "cooldown": "Number of evaluations after a change that are not counted.",
        },
    ),
    "SequentialLR": _scheduler(
        lr_scheduler.SequentialLR,
        "one schedule after another",
        types={"schedulers": _Several, "milestones": _Epochs},
        help={
            **_HELP,
            "schedulers": "Schedules that change with the epochs. Each begins to count when it is its turn, so tell "
            "one that would last the whole run how long its own part is.",
            "milestones": "The epochs at which the second one takes over, the third one, and so on.",
        },
    ),
    "StepLR": _scheduler(
        lr_scheduler.StepLR, "multiply the learning rate by gamma every few epochs", types={"step_size": _Positive}
    ),
}
"""Those that can be used, by name."""

_FUNCTION = (
    "it takes a Python function, which no run file holds; "
    "write a function of `optimizer` that gives it, and use --scheduler FILE.py:FUNCTION"
)
REFUSED: dict[str, str] = {"LambdaLR": _FUNCTION, "MultiplicativeLR": _FUNCTION}
"""Those that cannot, with the reason."""


def described(name: str) -> Callable[..., None]:
    """The object with the signature and docstring of a member."""
    return MEMBERS[name].described()


def build(name: str, **options: Any) -> LRScheduler:
    """A schedule of torch.

    Args:
        name: Its name, as ``StepLR``.
        options: The parameters of `described`.

    Raises:
        UsageError: For a value out of range, or schedules that do not go together.
    """
    owner = f"scheduler 'torch/{name}'"
    make = MAKERS.get(name, MEMBERS[name].kind)
    scheduler: LRScheduler = made(owner, make, **options)
    return scheduler


def _sequential(**options: Any) -> LRScheduler:
    _check_epochs(options["schedulers"])
    schedulers, milestones = options["schedulers"], options["milestones"]
    if len(milestones) != len(schedulers) - 1 or milestones != sorted(set(milestones)):
        raise UsageError(
            f"milestones is {milestones}; {len(schedulers)} schedules need {max(0, len(schedulers) - 1)}, ascending: "
            "the epochs at which all but the first take over"
        )
    return lr_scheduler.SequentialLR(**options)


def _chained(**options: Any) -> LRScheduler:
    _check_epochs(options["schedulers"])
    return lr_scheduler.ChainedScheduler(**options)


def _one_cycle(**options: Any) -> LRScheduler:
    if options["pct_start"] in (1, 1 / options["total_steps"]):
        raise UsageError(
            f"pct_start is {options['pct_start']}; its share of the updates must not be one or all of them"
        )
    return lr_scheduler.OneCycleLR(**options)


def _plateau(monitor: str, directions: dict[str, bool], **options: Any) -> LRScheduler:
    watched = Monitor.read(monitor, directions)
    if options["mode"] == "auto":
        options["mode"] = "max" if watched.direction("--scheduler.monitor", mode=True) else "min"
    scheduler = lr_scheduler.ReduceLROnPlateau(**options)
    scheduler.monitor = watched.figure  # type: ignore[attr-defined]  # the trainer looks there
    return scheduler


MAKERS: dict[str, Callable[..., LRScheduler]] = {
    "ChainedScheduler": _chained,
    "OneCycleLR": _one_cycle,
    "ReduceLROnPlateau": _plateau,
    "SequentialLR": _sequential,
}
"""Makers of members that torch's class does not build directly."""


def _check_epochs(schedulers: Sequence[LRScheduler]) -> None:
    """Refuse schedules that are not stepped when these are: once an epoch."""
    for scheduler in schedulers:
        traits = traits_of(scheduler)
        interval = traits.interval if isinstance(traits, SchedulerTraits) else "epoch"
        if interval != "epoch":
            raise UsageError(
                f"its schedules must change with the epochs; {type(scheduler).__name__} changes with each {interval}"
            )
