"""The members of the catalogue ``pytorch-optimizer/<name>``: the library's optimizers and its wrappers."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import docstring_parser
import pytorch_optimizer as library
from pydantic import Field
from pytorch_optimizer.base.exception import NegativeLRError, NegativeStepError, ZeroParameterSizeError
from pytorch_optimizer.optimizer import OPTIMIZERS
from torch.optim import Optimizer

from wf.errors import UsageError, unknown
from wf_catalogues.members import descriptions, option, parameters_of, stand_in
from wf_pytorch_optimizer import makers, options
from wf_pytorch_optimizer.state import PlainState

WRAPPERS: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind
    for kind in (
        library.FriendlySAM,
        library.GSAM,
        library.Lookahead,
        library.LookSAM,
        library.OrthoGrad,
        library.SAM,
        library.ScheduleFreeWrapper,
        library.TRAC,
        library.WSAM,
    )
}
"""The library's wrappers around another optimizer; its `load_optimizer` does not include them."""

REFUSED: dict[str, str] = {
    "bsam": "its step leaves the weights perturbed, so the loss rises at every learning rate; use sam",
    "demo": "every process has its own momentum, and a checkpoint holds only the first process's; use sgd",
    "distributedmuon": "its state is divided among processes, and a checkpoint holds only the first part; use muon",
}
"""The unsupported members, with the reason."""

MAKERS: dict[str, Callable[..., Optimizer]] = {
    **dict.fromkeys(("adago", "adamuon", "muon", "muonclip", "normuon"), makers.flagged),
    **dict.fromkeys(("apollo", "fira", "galore"), makers.projected),
    **dict.fromkeys(("adalomo", "lomo"), makers.fused),
    **dict.fromkeys(("lookahead", "magma", "orthograd", "schedulefreewrapper"), makers.around),
    **dict.fromkeys(("friendlysam", "looksam", "sam"), makers.sharpness),
    "adammini": makers.of_model,
    "gsam": makers.surrogate_gap,
    "kron": makers.seeded,
    "lorarite": makers.pairs,
    "ranger21": makers.counted,
    "sara": makers.seeded,
    "spectralsphere": makers.matrices,
    "trac": makers.without_scalars,
    "wsam": makers.sharpness_of_model,
}
"""The maker of each member; `makers.plain` for the others."""

HIDDEN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("friendlysam", "gsam", "looksam", "sam", "wsam"), ("foreach",)),  # it is an option of the base
    "adalomo": ("loss_scale", "clip_grad_norm"),
    "lomo": ("clip_grad_norm",),  # it takes a second backward pass
    "trac": ("betas",),  # a list of any length; not tried yet
}
"""Options of the library's class that cannot be set."""

FIXED: dict[str, dict[str, Any]] = {"adalomo": {"loss_scale": 0.0}}
"""Options with a fixed value."""

MIXINS: dict[str, type] = {
    "adalomo": makers.Fused,
    "lomo": makers.Fused,
    "kron": makers.Seeded,
    "sara": makers.Seeded,
}
"""The mixin before the library's class."""


REPLACED: dict[str, type[Optimizer]] = {"gsam": makers.GapSAM, "splus": makers.EarlySPlus}
"""Replacements for the library's classes."""

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]

MENDED: dict[str, dict[str, Any]] = {
    "accsgd": dict.fromkeys(("kappa", "xi", "constant"), Positive),
    "adahessian": {"update_period": Count},
    "ademamix": {"t_alpha_beta3": Positive | None},
    "asgd": {"lr": Positive},
    "gravity": {"lr": Positive},
    "grokfastadamw": {"grokfast_lamb": Annotated[float, Field(ge=0)]},
    "lbfgs": {"history_size": Count, "line_search_fn": Literal["strong_wolfe"] | None},
    "mars": {"lr": Positive},
    "prodigy": {"d0": Positive},
    "radam": {"n_sma_threshold": Annotated[int, Field(ge=4)]},
    "ranger": {"n_sma_threshold": Annotated[int, Field(ge=4)]},
    "schedulefreeradam": {"weight_lr_power": Annotated[float, Field(ge=0)]},
    "srmm": {"memory_length": Count | None},
}
"""Types of options that the library does not check; wrong values would fail at a step."""


@dataclass(frozen=True)
class Member:
    """One optimizer of the library.

    Args:
        name: Its name in the catalogue.
        kind: The library's class.
    """

    name: str
    kind: type[Optimizer]

    @property
    def maker(self) -> Callable[..., Optimizer]:
        """Its maker."""
        return MAKERS.get(self.name, makers.plain)

    @property
    def own(self) -> list[inspect.Parameter]:
        """The run values and options of its maker."""
        return list(parameters_of(self.maker).values())[1:]

    @property
    def theirs(self) -> dict[str, inspect.Parameter]:
        """The settable options of the library's class, with the library's annotations."""
        taken = {*makers.FILLED, *HIDDEN.get(self.name, ()), *(one.name for one in self.own)}
        return {name: one for name, one in parameters_of(self.kind).items() if name not in taken}

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """The run values and options, as in a run file."""
        both = [*self.own, *filter(None, map(options.written, self.theirs.values()))]
        mended = MENDED.get(self.name, {})
        return [option(one.name, mended.get(one.name, one.annotation), one.default) for one in both]

    @property
    def summary(self) -> str:
        """The first line of the library's docstring."""
        return inspect.cleandoc(self.kind.__doc__ or self.name).partition("\n")[0].rstrip(".")

    def make(self, **values: Any) -> Optimizer:
        """Build the optimizer."""
        bases = (*filter(None, [MIXINS.get(self.name)]), PlainState, REPLACED.get(self.name, self.kind))
        theirs = self.theirs
        given = {name: options.given(theirs[name], one) if name in theirs else one for name, one in values.items()}
        made = type(self.kind.__name__, bases, {"__doc__": self.kind.__doc__})
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "you need to install `transformers`"
            )  # AdaLOMO needs it only with DeepSpeed
            return self.maker(made, **given, **FIXED.get(self.name, {}))


def member(name: str) -> Member:
    """The member with a name.

    Raises:
        UsageError: If the name is unknown.
    """
    kinds = {**OPTIMIZERS, **WRAPPERS}
    if name not in kinds:
        raise UsageError(unknown("optimizer of pytorch-optimizer", name, kinds))
    return Member(name, kinds[name])


def build(name: str, **values: Any) -> Optimizer:
    """An optimizer of pytorch-optimizer.

    Args:
        name: The library's name in lower case, such as ``adabelief``.
        values: Run values and options in the signature of `described`.

    Raises:
        UsageError: If the name is unknown, an option is out of range, or it cannot train the parameters.
    """
    owner = f"optimizer 'pytorch-optimizer/{name}'"
    try:
        return member(name).make(**values)
    except UsageError as error:
        raise UsageError(f"{owner}: {error}") from error
    except (ValueError, NotImplementedError, NegativeLRError, NegativeStepError, ZeroParameterSizeError) as error:
        raise UsageError(f"{owner}: {error}") from error


def described(name: str) -> Callable[..., None]:
    """A function whose signature and docstring are those of `build` for one name; it must not be called."""
    one = member(name)
    more = docstring_parser.parse(one.kind.__doc__ or "").long_description
    text = "\n\n".join(filter(None, [f"{one.summary}.", more]))
    own = {parameter.name: makers.HELP[parameter.name] for parameter in one.own if parameter.name in makers.HELP}
    return stand_in(one.kind, one.parameters, text, {**descriptions(one.kind, markup=True), **own})
