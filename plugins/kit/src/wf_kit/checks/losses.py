"""Checks of losses."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wf.traits import LossTraits
from wf_base.training.objective import total_weight
from wf_fitting.tasks import tasks_of
from wf_kit.kit import Defect, NotChecked, Subject, check, expect, told
from wf_kit.making import forms_of, make, plain_forms, values
from wf_kit.samples import Example, Form, example

IGNORED = -100
EXTREME = 1e4


@check("loss-traits", "loss", fix="declare its inputs: LossTraits(predictions=..., targets=..., weighted=...)")
def traits(subject: Subject) -> None:
    """It takes the predictions and targets that it declares, and total_weight is the divisor of its mean."""
    declared = subject.traits
    if not isinstance(declared, LossTraits):
        raise NotChecked("it declares no traits")
    for form in _forms(subject):
        with _loss(subject, form) as loss:
            batch = example(form)
            try:
                loss(batch.predictions, batch.targets)
            except Exception as error:
                raise Defect(f"it does not accept {form}: {told(error)}") from error
            has = total_weight(loss, batch.targets) is not None
            expect(has or not declared.weighted, "it declares weighted=True, but has no method total_weight(targets)")
            expect(
                declared.weighted or not has,
                "it has a method total_weight(targets), but does not declare weighted=True",
            )


@check("loss-finite", "loss", after=("made", "loss-traits"), fix="avoid 0 / 0, log(0) and unreduced results")
def finite(subject: Subject) -> None:
    """Its value is one finite number, and its gradient is finite."""
    for form, loss in _each(subject):
        value, gradient = _evaluate(loss, example(form), form)
        if getattr(loss, "reduction", "mean") != "none":
            expect(value.ndim == 0, f"for {form} it returns shape {list(value.shape)}, not one number")
        _expect_finite(value, gradient, f"for {form}")


@check("loss-gradient", "loss", after=("made", "loss-finite"), fix="compute it with differentiable operations of torch")
def gradient(subject: Subject) -> None:
    """Its gradient is the derivative of its value (torch.autograd.gradcheck, float64)."""
    for form, loss in _each(subject):
        if isinstance(loss, nn.Module):
            loss.double()
        batch = example(form).to(torch.float64)
        leaf = batch.predictions.requires_grad_()
        try:
            torch.autograd.gradcheck(lambda predictions, call=loss, b=batch: call(predictions, b.targets), (leaf,))
        except Exception as error:
            raise Defect(f"for {form}: {told(error)[:200]}") from error


@check(
    "loss-extreme",
    "loss",
    after=("made", "loss-finite"),
    fix="work on logits: log_softmax, logsigmoid, clamp before log",
)
def extreme(subject: Subject) -> None:
    """Scores of +-10,000, right and wrong, give a finite value and gradient."""
    for form, loss in _each(subject):
        value, gradient = _evaluate(loss, example(form, scale=EXTREME), form)
        _expect_finite(value, gradient, f"for {form} made from scores of +-{EXTREME:g}")


@check("loss-reduction", "loss", after=("made", "loss-finite"), fix="apply the reduction to every form of targets")
def reduction(subject: Subject) -> None:
    """Its reductions agree: sum is the sum of none, mean is the sum over samples, elements or total_weight."""
    choices = _reductions(subject)
    for form in _forms(subject):
        batch = example(form)
        found: dict[str, Tensor] = {}
        for choice in choices:
            with _loss(subject, form, reduction=choice) as loss:
                found[choice] = loss(batch.predictions, batch.targets).detach()
        _compare(found, total_weight(loss, batch.targets), form, len(batch.targets))


@check(
    "loss-weight", "loss", after=("made", "loss-finite"), fix="declare weighted=True and define total_weight(targets)"
)
def weight(subject: Subject) -> None:
    """The mean of a batch is the mean of its parts, weighted by their samples or by total_weight."""
    for form, loss in _each(subject):
        declared = tasks_of(subject.registry).of(form.targets, predictions=form.predictions)
        if declared and form.predictions in declared.predictions:
            raise NotChecked(f"a loss of {form.predictions} compares samples with each other")
        if getattr(loss, "reduction", "mean") != "mean":
            raise NotChecked("it takes no mean")
        batch = example(form)
        parts = [batch[:4], batch[4:]]
        weights = [_weight(loss, part) for part in parts]
        losses = [float(loss(part.predictions, part.targets)) for part in parts]
        mean = sum(value * each for value, each in zip(losses, weights, strict=True)) / sum(weights)
        whole = float(loss(batch.predictions, batch.targets))
        text = f"for {form} the loss of a batch is {whole:.6g}, but the mean of its parts is {mean:.6g}"
        expect(_close(whole, mean, 1e-4), text)


@check(
    "loss-ignore-index",
    "loss",
    after=("made", "loss-finite"),
    fix="exclude these targets from value, mean and gradient",
)
def ignore_index(subject: Subject) -> None:
    """Targets equal to ignore_index change nothing and get no gradient, if it has that option."""
    if subject.param("ignore_index") is None:
        raise NotChecked("it has no option 'ignore_index'")
    forms = [form for form in _forms(subject) if not example(form).targets.is_floating_point()]
    if not forms:
        raise NotChecked("it takes no class indices")
    for form in forms:
        with _loss(subject, form, ignore_index=IGNORED) as loss:
            _check_ignored(loss, form)


@check("loss-half-precision", "loss", after=("made", "loss-finite"), fix="compute in float32: predictions.float()")
def half_precision(subject: Subject) -> None:
    """float16 and bfloat16 predictions give a finite value and gradient, close to the float32 results."""
    for form, loss in _each(subject):
        for dtype in (torch.float16, torch.bfloat16):
            half = example(form).to(dtype)
            value, gradient = _evaluate(loss, half, form)
            _expect_finite(value, gradient, f"for {form} in {dtype}")
            wanted, _ = _evaluate(loss, half.to(torch.float32), form)
            text = f"for {form} it is {value.sum():.6g} in {dtype}, but {wanted.sum():.6g} in float32"
            expect(_close(float(value.sum()), float(wanted.sum()), 8 * torch.finfo(dtype).eps), text)


@check(
    "loss-pure",
    "loss",
    after=("made", "loss-finite"),
    fix="compute new tensors (x = x - 1, not x -= 1), and use no random numbers",
)
def pure(subject: Subject) -> None:
    """It returns the same value when called again, and does not change predictions and targets."""
    for form, loss in _each(subject):
        batch, fresh = example(form), example(form)
        first = loss(batch.predictions, batch.targets)
        again = loss(batch.predictions, batch.targets)
        for what in ("predictions", "targets"):
            expect(
                torch.equal(getattr(batch, what), getattr(fresh, what)), f"for {form} it changes the {what} in place"
            )
        expect(torch.equal(first, again), f"for {form} it returns a different value the second time")


def _forms(subject: Subject) -> tuple[Form, ...]:
    """Its input forms: as declared, or the first that it accepts."""
    forms = forms_of(subject)
    if not forms:
        raise NotChecked(f"it declares no traits, and accepts none of {', '.join(map(str, plain_forms(subject)))}")
    return forms


@contextmanager
def _loss(subject: Subject, form: Form, **options: Any) -> Iterator[Any]:
    with values(subject, form.targets) as known:
        yield make(subject, known, **options)


def _each(subject: Subject) -> Iterator[tuple[Form, Any]]:
    """Each form that it takes, with a new loss for it."""
    for form in _forms(subject):
        with _loss(subject, form) as loss:
            yield form, loss


def _evaluate(loss: Any, batch: Example, form: Form) -> tuple[Tensor, Tensor]:
    """The value, and the gradient with respect to the predictions."""
    leaf = batch.predictions.clone().requires_grad_()
    value = loss(leaf, batch.targets)
    expect(isinstance(value, Tensor), f"for {form} it returns {type(value).__name__}, not a tensor")
    expect(value.requires_grad, f"for {form} autograd sees no dependence of its value on the predictions")
    value.sum().backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def _expect_finite(value: Tensor, gradient: Tensor, where: str) -> None:
    expect(bool(torch.isfinite(value).all()), f"{where} the value is {value.sum().item()}")
    wrong = int((~torch.isfinite(gradient)).sum())
    expect(not wrong, f"{where} {wrong} of {gradient.numel()} gradients are not finite")


def _reductions(subject: Subject) -> tuple[str, ...]:
    param = subject.param("reduction")
    if param is None:
        raise NotChecked("it has no option 'reduction'")
    choices = typing.get_args(param.type) or ("mean", "sum", "none")
    return tuple(choice for choice in ("none", "sum", "mean") if choice in choices)


def _compare(found: dict[str, Tensor], own: Tensor | None, form: Form, num_samples: int) -> None:
    for choice in ("sum", "mean"):
        if choice in found:
            shape = list(found[choice].shape)
            expect(not shape, f"for {form} reduction '{choice}' returns shape {shape}, not one number")
    each = found.get("none")
    if each is not None:
        expect(
            each.ndim > 0 and len(each) == num_samples, f"for {form} reduction 'none' returns shape {list(each.shape)}"
        )
        if "sum" in found:
            _expect_close(found["sum"], each.sum(), f"for {form} 'sum' is {{}}, but 'none' adds up to {{}}")
    total = each.sum() if each is not None else found.get("sum")
    if total is not None and "mean" in found:
        divisor = own if own is not None else each.numel() if each is not None else num_samples
        text = (
            f"for {form} 'mean' is {{}}, and the sum over {'total_weight' if own is not None else 'their number'} {{}}"
        )
        _expect_close(found["mean"], total / divisor, text)


def _expect_close(left: Tensor, right: Tensor, text: str) -> None:
    expect(_close(float(left), float(right), 1e-4), text.format(f"{float(left):.6g}", f"{float(right):.6g}"))


def _close(left: float, right: float, tolerance: float) -> bool:
    return abs(left - right) <= tolerance * max(1.0, abs(left), abs(right))


def _weight(loss: Any, part: Example) -> float:
    own = total_weight(loss, part.targets)
    return float(len(part.targets) if own is None else own)


def _check_ignored(loss: Any, form: Form) -> None:
    batch = example(form)
    batch.targets[::2] = IGNORED
    value, gradient = _evaluate(loss, batch, form)
    _expect_finite(value, gradient, f"for {form} with ignored targets")
    expect(not gradient[::2].any(), f"for {form} ignored targets get a gradient")
    expect(bool(gradient[1::2].any()), f"for {form} the targets that count get no gradient")
    kept = Example(form, batch.predictions[1::2], batch.targets[1::2])
    alone, _ = _evaluate(loss, kept, form)
    text = f"for {form} the value is {value.sum():.6g} with ignored targets, but {alone.sum():.6g} without them"
    expect(_close(float(value.sum()), float(alone.sum()), 1e-5), text)
