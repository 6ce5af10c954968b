"""Checks of models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wf.errors import UsageError
from wf.traits import ModelTraits
from wf_base import tree
from wf_base.tree import Tree
from wf_kit.checks.states import restored, saved
from wf_kit.kit import Defect, NotChecked, Subject, check, expect
from wf_kit.making import make, shapes_of, targets_of, task_for, values

NUM = 4


@check(
    "model-forward",
    "model",
    fix="return new tensors [N, num_outputs] for inputs [N, *input_shape]; [N, num_outputs, H, W] per pixel",
)
def forward(subject: Subject) -> None:
    """It returns finite numbers of the right shape for the inputs that it declares, and does not change them."""
    for inputs, shape, model, _ in _each(subject):
        kept = inputs.clone()
        outputs = model(inputs)
        if shape is None:
            _row(outputs, len(inputs))
        else:
            expect(isinstance(outputs, Tensor), f"it returns {type(outputs).__name__}, not a tensor")
            got, wanted = list(outputs.shape), [len(inputs), *shape]
            expect(got == wanted, f"it returns shape {got} for inputs {list(inputs.shape)}; expected {wanted}")
        finite = all(bool(torch.isfinite(leaf).all()) for _, leaf in tree.leaves(outputs))
        expect(finite, f"for inputs {list(inputs.shape)} it returns values that are not finite")
        expect(torch.equal(inputs, kept), "it changes its inputs in place")


@check(
    "model-traits", "model", after=("made", "model-forward"), fix="declare its outputs: ModelTraits(predictions=...)"
)
def traits(subject: Subject) -> None:
    """Its outputs have the declared form, as the task defines it: log_probs and probs sum to 1."""
    if not isinstance(subject.traits, ModelTraits):
        raise NotChecked("it declares no traits")
    form = subject.traits.predictions
    task = task_for(subject, targets_of(subject)[0], form)
    for inputs, _, model, _ in _each(subject):
        try:
            wrong = task.wrong_form(tree.map_leaves(Tensor.detach, model.eval()(inputs)))
        except NotImplementedError as error:
            raise NotChecked(f"any numbers are {form}") from error
        expect(wrong is None, f"it declares {form}, but {wrong}")


@check(
    "model-gradients",
    "model",
    after=("made", "model-forward"),
    fix="use every parameter in forward(), or exclude it from training: requires_grad_(False)",
)
def gradients(subject: Subject) -> None:
    """Every trained parameter gets a finite gradient."""
    for inputs, shape, model, loss in _each(subject):
        if shape is None:
            loss().backward()
        else:
            outputs = model(inputs)
            weights = torch.linspace(0.5, 1.5, outputs.numel()).reshape(outputs.shape)
            (outputs * weights).sum().backward()
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        without = [name for name, parameter in trained.items() if parameter.grad is None]
        expect(not without, f"without a gradient: {', '.join(without)}")
        wrong = [name for name, parameter in trained.items() if not torch.isfinite(_gradient(parameter)).all()]
        expect(not wrong, f"with a gradient that is not finite: {', '.join(wrong)}")


@check(
    "model-eval",
    "model",
    after=("made", "model-forward"),
    fix="let dropout, batch statistics and counters depend on self.training",
)
def evaluation(subject: Subject) -> None:
    """In evaluation mode it is deterministic, treats each sample independently, and does not change itself."""
    for inputs, _, model, _ in _each(subject):
        model.eval()
        before = saved(dict(model.state_dict()))
        with torch.no_grad():
            first, again, alone = model(inputs), model(inputs), model(inputs[:1])
        expect(_same(first, again), "in evaluation mode it returns different outputs the second time")
        expect(saved(dict(model.state_dict())) == before, "in evaluation mode it changes its state")
        text = "in evaluation mode a sample's output depends on the rest of the batch"
        own = zip(tree.leaves(_row(first, len(inputs))), tree.leaves(_row(alone, 1)), strict=True)
        near = [one.shape == other.shape and torch.allclose(one, other, 1e-4, 1e-4) for (_, one), (_, other) in own]
        expect(all(near), text)


@check(
    "model-resumes",
    "model",
    after=("made", "model-eval"),
    fix="keep everything that forward() uses in parameters and buffers",
)
def resumes(subject: Subject) -> None:
    """Its state_dict, loaded into a new instance, gives the same outputs bit for bit."""
    for inputs, _, model, _ in _each(subject):
        model.train()(inputs)  # updates running statistics
        _, _, again, _ = next(_each(subject, tuple(inputs.shape[1:]), torch_seed=1))
        again.load_state_dict(restored(saved(dict(model.state_dict()))))
        with torch.no_grad():
            same = _same(model.eval()(inputs), again.eval()(inputs))
        expect(same, "after loading, it returns different outputs")


def _each(
    subject: Subject, shape: tuple[int, ...] | None = None, torch_seed: int = 0
) -> Iterator[tuple[Tensor, tuple[int, ...] | None, Any, Callable[[], Tensor]]]:
    """Inputs of each shape that it takes, the expected shape per sample, and a new model in training mode.

    The expected shape is None if the task leaves it open. The last item computes the loss of a model with its own loss.
    """
    shapes = shapes_of(subject) if shape is None else (shape,)
    for one in shapes[:1] if "dataset" in subject.run else shapes:
        with values(subject, shape=one) as known:
            torch.manual_seed(torch_seed)
            model = make(subject, known)
            data, num_outputs = known["data"], known.get("num_outputs")
            wanted = None if num_outputs is None else (int(num_outputs), *data.spec.mask_shape)
            yield data.first("train", NUM).clone(), wanted, model.train(), partial(_loss, model, known)


def _loss(model: nn.Module, known: Mapping[str, Any]) -> Tensor:
    """The loss of the run's first batch."""
    return known["outputs"].bind(model, known["loss"]).step(next(iter(known["data"].batches("train")))).loss  # type: ignore[no-any-return]


def _same(outputs: Tree, others: Tree) -> bool:
    """Whether two trees have the same leaves."""
    first, second = list(tree.leaves(outputs)), list(tree.leaves(others))
    same = [path for path, _ in first] == [path for path, _ in second]
    return same and all(torch.equal(leaf, other) for (_, leaf), (_, other) in zip(first, second, strict=True))


def _row(outputs: Tree, num: int) -> Tree:
    """The model's outputs for the first of the given number of samples."""
    try:
        rows = tree.gathered([(outputs, num)])
    except UsageError as error:
        raise Defect(str(error).partition("\n")[0]) from error
    return rows[0] if isinstance(rows, tree.Rows) else tree.map_leaves(lambda leaf: leaf[0], rows)


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
