"""Checks of the parts of the loop: trainers, evaluators, checkpointers, strategies and hooks."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import torch
from torch import Tensor, nn

from wf import Loop, Steps
from wf.engine.events import EVENTS, check_events, listeners
from wf.traits import OptimizerTraits, TrainerTraits
from wf_kit.checks.states import saved
from wf_kit.kit import Defect, NotChecked, Subject, check, expect
from wf_kit.making import make, makes_its_samples, values
from wf_run.planning.own_samples import MAKE_BATCH


@check("trainer-step", "trainer", fix="update the parameters once, and return the loss before it, detached")
def trainer_step(subject: Subject) -> None:
    """A step changes the parameters, and returns the loss as one finite number without a graph."""
    if makes_its_samples(subject):
        raise NotChecked("it makes its own samples; its run is checked")
    if hasattr(subject.entry.load(), MAKE_BATCH):
        raise Defect(f"it has {MAKE_BATCH}, but does not declare TrainerTraits(makes_samples=True)")
    losses: list[Any] = []
    with values(subject) as known:
        before = saved(dict(known["model"].state_dict()))
        Loop(make(subject, known), hooks=[_Losses(losses)]).run(known["data"], Steps(1))
        expect(saved(dict(known["model"].state_dict())) != before, "a step did not change the model")
    loss = losses[0]
    expect(not (isinstance(loss, Tensor) and loss.requires_grad), "the returned loss still has its graph")
    expect(math.isfinite(float(loss)), f"the returned loss is {float(loss)}")


@check(
    "trainer-traits",
    "trainer",
    after=("made", "trainer-step"),
    fix="declare in TrainerTraits(steps=...) only the step protocols that it supports, see wf.traits.OptimizerTraits",
)
def trainer_traits(subject: Subject) -> None:
    """It steps an optimizer by each step protocol that it declares."""
    if not isinstance(subject.traits, TrainerTraits):
        raise NotChecked("it declares no traits")
    if makes_its_samples(subject):
        raise NotChecked("it makes its own samples; its run is checked")
    if not any(param.source == "optimizer" for param in subject.params):
        raise NotChecked("it takes no optimizer")
    for protocol in subject.traits.steps:
        with values(subject) as known:
            optimizer = _Stepped(known["params"])
            own = {"optimizer": optimizer, "optimizer_traits": OptimizerTraits(step=protocol), "scheduler": None}
            Loop(make(subject, {**known, **own})).run(known["data"], Steps(1))
        how = optimizer.how or "not at all"
        expect(how == protocol, f"it declares the step '{protocol}', but steps such an optimizer as '{how}'")


class _Stepped(torch.optim.SGD):
    """Records the protocol by which it is stepped."""

    def __init__(self, params: list[nn.Parameter]) -> None:
        super().__init__(params, lr=0.01)
        self.how = ""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, after evaluating the closure if there is one."""
        grads = [param.grad for group in self.param_groups for param in group["params"] if param.grad is not None]
        if closure is None:
            self.how = "create_graph" if any(grad.grad_fn is not None for grad in grads) else "plain"
        else:
            self.how = "two_step" if grads else "closure"
            closure()
        super().step()


@check("evaluator-pure", "evaluator", fix="evaluate in eval mode and inference mode, and restore mode and generator")
def evaluator_pure(subject: Subject) -> None:
    """It evaluates in evaluation mode, returns plain numbers, is reproducible, and leaves the training unchanged."""
    with values(subject) as known:
        model, evaluator = known["model"], make(subject, known)
        model.train()
        modes: list[bool] = []
        model.register_forward_hook(lambda module, *_: modes.append(module.training))
        before, state = torch.get_rng_state(), saved(dict(model.state_dict()))
        figures = dict(evaluator.evaluate("validation"))
        expect(not any(modes), "it runs the model in training mode")
        expect(model.training, "it leaves the model in evaluation mode")
        expect(torch.equal(torch.get_rng_state(), before), "it advances torch's random generator")
        expect(saved(dict(model.state_dict())) == state, "it changes the model")
        wrong = [f"{name}: {type(value).__name__}" for name, value in figures.items() if not _is_plain(value)]
        expect(not wrong, f"not plain numbers: {', '.join(wrong)}")
        expect(
            saved(dict(evaluator.evaluate("validation"))) == saved(figures),
            "it returns different figures the second time",
        )


@check(
    "checkpointer-exact",
    "checkpointer",
    fix="save tensors and values bit for bit, with their types, as wf_state.codec does",
)
def checkpointer_exact(subject: Subject) -> None:
    """It loads a saved state bit for bit, by default the newest one, and also in a new process."""
    with values(subject) as known:
        checkpointer = make(subject, known)
        wanted = []
        for step in (3, 4):
            state = _state(step)
            wanted.append(saved(state))
            writing = checkpointer.save(state, state["progress"], state["metrics"])
            state["parts"]["model"]["weight"].zero_()  # training goes on
            _settled(writing)
        for again in (checkpointer, make(subject, known)):
            loaded = saved(dict(again.load()))
            expect(loaded != wanted[0], "load() returns an older checkpoint than the newest")
            expect(loaded == wanted[1], "the loaded state is not bit-identical to the saved one")


@check(
    "checkpointer-refuses",
    "checkpointer",
    after=("made", "checkpointer-exact"),
    fix="raise for a state that cannot be saved and for a missing checkpoint; keep the earlier ones",
)
def checkpointer_refuses(subject: Subject) -> None:
    """It raises for a state that it cannot save and for an unknown name, and keeps all checkpoints."""
    with values(subject) as known:
        checkpointer = make(subject, known)
        state = _state(3)
        wanted = saved(state)
        _settled(checkpointer.save(state, state["progress"], state["metrics"]))
        bad = _state(4)
        bad["parts"]["hook/planted"] = {"lock": threading.Lock()}
        _expect_error(lambda: _settled(checkpointer.save(bad, bad["progress"], bad["metrics"])), "save() of a lock")
        _expect_error(lambda: checkpointer.load("no-such-checkpoint"), "load() of an unknown name")
        expect(saved(dict(checkpointer.load())) == wanted, "after a refused save, the previous checkpoint is gone")


@check("strategy-alone", "strategy", fix="with one process, collectives return their input: see wf.protocols.Strategy")
def strategy_alone(subject: Subject) -> None:
    """In a single process it prepares and unwraps a model, and its collectives return their input."""
    with values(subject) as known:
        strategy = make(subject, known)
        try:
            _check_alone(strategy)
        finally:
            strategy.close()


@check("hook-events", "hook", fix="name methods as the events of wf.Hook, with their parameters")
def hook_events(subject: Subject) -> None:
    """It handles at least one event, and no method has nearly the name or signature of an event."""
    with values(subject) as known:
        hook = make(subject, known)
        check_events([hook])
        expect(any(listeners(event, [hook]) for event in EVENTS), "it listens to no event")


def _settled(saved: Any) -> Any:
    """The result of `save`, once it is durable."""
    return saved.result() if isinstance(saved, Future) else saved


class _Losses:
    def __init__(self, losses: list[Any]) -> None:
        self.losses = losses

    def on_step_end(self, run: Loop) -> None:
        self.losses.append(run.loss)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return _all_plain(value) if isinstance(value, Mapping) else type(value) in (int, float)


def _all_plain(figures: Mapping[str, Any]) -> bool:
    return all(map(_is_plain, figures.values()))


def _state(step: int) -> dict[str, Any]:
    """A state like `Loop.state_dict`, with values that are easily lost in a file."""
    torch.manual_seed(step)
    progress = {"epoch": 1, "step": step, "batch": 0, "samples": 12}
    model = {"weight": torch.randn(2, 3), "half": torch.randn(3).bfloat16(), "count": torch.tensor(7)}
    odd = {"milestones": Counter({3: 1}), "betas": (0.9, 0.999), "best": math.inf, "table": {1: torch.ones(2).t()}}
    return {
        "progress": progress,
        "metrics": {"validation/loss": 1.0 / step},
        "best": None,
        "losses": {"last": 0.5, "since_record": [], "epoch_sum": 0.0, "epoch_samples": 0},
        "parts": {"model": model, "scheduler": odd},
    }


def _expect_error(call: Any, what: str) -> None:
    try:
        call()
    except Exception:
        return
    raise Defect(f"{what} raises no error")


def _check_alone(strategy: Any) -> None:
    expect((strategy.rank, strategy.world_size) == (0, 1), f"rank {strategy.rank} of {strategy.world_size}, not 0 of 1")
    model = nn.Linear(2, 1)
    names = list(model.state_dict())
    prepared = strategy.prepare(model)
    expect(prepared(torch.zeros(1, 2)).shape == (1, 1), "prepare() returns a different model")
    bare = list(strategy.bare(prepared).state_dict())
    expect(bare == names, f"bare() has the keys {', '.join(bare)}, but the model {', '.join(names)}")
    answers = [strategy.agree(flag) for flag in (True, False)]
    expect(answers == [True, False], f"agree(True) and agree(False) return {answers}")
    tensor = torch.arange(3.0)
    expect(torch.equal(strategy.sum([tensor])[0], tensor), "sum() of one process does not return its input")
    expect(torch.equal(strategy.gather(tensor), tensor), "gather() of one process does not return its input")
