"""The cost of a step in measures without noise: Python calls, and waits for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from loop_overhead import OPTIMIZERS, VARIANTS, Variant, Work, calls_a_step, hand_written, same_bits
from torch.overrides import TorchFunctionMode

import wf
from wf import Hook, Loop, Steps


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "hand-written"])
def test_a_step_makes_at_most_the_calls_of_a_hand_written_one(name: str, optimizer: str) -> None:
    """Including the hooks, records and checkpoints of `wf run`, averaged over the steps."""
    work, variant = Work(optimizer), VARIANTS[name]
    assert calls_a_step(variant, work) <= calls_a_step(hand_written, work)
    assert same_bits(variant(work, 2), hand_written(work, 2))


def test_calls_are_counted() -> None:
    def with_two_calls(work: Work, epochs: int) -> Any:
        for _ in range(epochs * work.batches):
            noop()
            noop()

    def noop() -> None: ...

    variant: Variant = with_two_calls
    assert calls_a_step(variant, Work()) == pytest.approx(2)


class _FromPython(TorchFunctionMode):
    """Refuses tensors made on the device from Python numbers: torch copies them from the host, which waits."""

    MAKERS = (torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if function in self.MAKERS and made.device.type == "meta":
            given = args[1 if function is torch.Tensor.new_tensor else 0]
            assert isinstance(given, torch.Tensor), f"{given!r} is copied to the device, where torch.full would make it"
        return made


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Builds a run on torch's meta device, whose tensors have no values: reading one is an error.

    Only the losses of a record are read, as zeros: the loop's declared sync point.
    """
    monkeypatch.setattr(
        "wf_run.providers.training.strategy.choose_device", lambda name: (torch.device("meta"), "device meta")
    )
    monkeypatch.setattr("wf_training.trainer.SupervisedTrainer.read", lambda self, losses: [0.0] * len(losses))

    def build(**settings: Any) -> Any:
        run = wf.build(save=False, **settings)
        run.loop.final_splits, run.loop.eval_every = (), None
        return run

    return build


RUNS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "regression": {"dataset": "diabetes", "optimizer": "sgd"},
    "focal, scheduler by step": {"loss": "focal", "optimizer": "rmsprop", "scheduler": "cosine"},
    "augmentation": {"dataset": "digits", "transform": ["scale", "crop"]},
    "clipped": {"hook": ["gradient-clip", "learning-rate-log"]},
    "weighted": {"dataset": "digits", "loss": "weighted-ce"},
    "learned sum": {"dataset": "digits", "loss": {"use": "sum", "parts": ["ce", "focal"], "learned": True}},
}


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_a_step_never_waits_for_the_device(on_meta: Callable[..., Any], settings: dict[str, Any]) -> None:
    run = on_meta(**settings)
    with _FromPython():
        run.loop.run(run.data, Steps(20))
    assert run.loop.progress.step == 20
    assert run.loop.loss.device.type == "meta"


@pytest.mark.parametrize("read", [torch.Tensor.item, torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, bool])
def test_a_step_that_waits_for_the_device_is_detected(on_meta: Callable[..., Any], read: Callable[[Any], Any]) -> None:
    class Reading(Hook):
        def on_step_end(self, run: Loop) -> None:
            read(run.loss)

    run = on_meta(hook=["learning-rate-log", Reading()])
    with pytest.raises((RuntimeError, NotImplementedError, TypeError), match="meta"):
        run.loop.run(run.data, Steps(20))


@pytest.mark.parametrize("dataset", ["digits", "diabetes", "shapes"])
def test_an_evaluation_waits_for_the_device_once(
    on_meta: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    reads: list[dict[str, Any]] = []
    monkeypatch.setattr("wf_training.evaluator._read", lambda figures: reads.append(figures) or {})
    run = on_meta(dataset=dataset)
    with _FromPython():
        assert run.evaluate("validation") == {}
    assert len(reads) == 1
    assert reads[0]["loss"].device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
def test_a_step_never_waits_for_a_gpu() -> None:
    class Forbid(Hook):
        def on_step_end(self, run: Loop) -> None:
            torch.cuda.set_sync_debug_mode("error" if run.progress.step > 1 else "default")

    run = wf.build(save=False, device="cuda", hook=["learning-rate-log", Forbid()], log_every=1000)
    run.loop.final_splits, run.loop.eval_every = (), None
    try:
        run.loop.run(run.data, Steps(20))
    finally:
        torch.cuda.set_sync_debug_mode("default")
