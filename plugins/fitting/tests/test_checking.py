"""Which components fit together: all mismatches are reported at once, and only known mismatches are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf import Catalogue, Component
from wf.declarations.kinds import KINDS
from wf.discovery.entry import Entry
from wf.discovery.plugins import Plugin
from wf.errors import UsageError
from wf.parameters import Param
from wf.registry import Registry
from wf.traits import (
    DatasetTraits,
    LossTraits,
    MetricTraits,
    ModelTraits,
    OptimizerTraits,
    SchedulerTraits,
    TrainerTraits,
    TransformTraits,
)
from wf_fitting.checking import check, fitting, mismatches, pair_verdict, part_of, plural, related_kinds
from wf_fitting.parts import DIMS, Facts, Part, SampleForm, judges

TARGETS = ("real", "class_index", "binary", "multilabel", "one_hot", "mask")
PREDICTIONS = ("raw", "real", "logits", "log_probs", "probs", "embeddings")
BOTH = (Param(name="optimizer", source="optimizer"), Param(name="scheduler", source="scheduler"))
ONE = (Param(name="optimizer", source="optimizer"),)

COMPONENTS = (
    Component("dataset", "diabetes", "m:A", traits=DatasetTraits(targets="real", inputs="vector")),
    Component("dataset", "digits", "m:A", traits=DatasetTraits(targets="class_index", inputs="image")),
    Component("dataset", "texts", "m:A", traits=DatasetTraits(targets="class_index", inputs="sequence")),
    Component("dataset", "csv", "m:A", traits=DatasetTraits(inputs="vector")),
    Component("dataset", "silent", "m:A"),
    Component("transform", "scale", "m:A", traits=TransformTraits(gives="same")),
    Component("transform", "flip", "m:A", traits=TransformTraits(inputs="image", gives="same")),
    Component("transform", "flatten", "m:A", traits=TransformTraits(gives="vector")),
    Component("transform", "silent", "m:A"),
    Component("model", "mlp", "m:A", traits=ModelTraits()),
    Component("model", "cnn", "m:A", traits=ModelTraits(inputs="image")),
    Component("model", "line", "m:A", traits=ModelTraits(inputs="vector", predictions="real")),
    Component("model", "chances", "m:A", traits=ModelTraits(predictions="probs")),
    Component("model", "silent", "m:A"),
    Component("loss", "ce", "m:A", traits=LossTraits(predictions="logits", targets=("class_index",))),
    Component("loss", "mse", "m:A", traits=LossTraits(predictions="real", targets=("real", "one_hot"))),
    Component("loss", "bce", "m:A", traits=LossTraits(predictions="logits", targets=("binary",))),
    Component("loss", "silent", "m:A"),
    Component("metric", "accuracy", "m:A", traits=MetricTraits(targets=("class_index",))),
    Component("metric", "f1", "m:A", traits=MetricTraits(targets=("class_index",))),
    Component("metric", "r2", "m:A", traits=MetricTraits(targets=("real",))),
    Component("metric", "any", "m:A", traits=MetricTraits()),
    Component("metric", "silent", "m:A"),
    Component("optimizer", "adam", "m:A", traits=OptimizerTraits()),
    Component("optimizer", "lbfgs", "m:A", traits=OptimizerTraits(step="closure")),
    Component("optimizer", "free", "m:A", traits=OptimizerTraits(modes=True)),
    Component("optimizer", "silent", "m:A"),
    Component("scheduler", "cosine", "m:A", traits=SchedulerTraits(interval="step")),
    Component("scheduler", "plateau", "m:A", traits=SchedulerTraits(interval="evaluation")),
    Component("trainer", "supervised", "m:A", traits=TrainerTraits(), params=BOTH),
    Component("trainer", "closing", "m:A", traits=TrainerTraits(steps=("plain", "closure")), params=ONE),
    Component("trainer", "by-hand", "m:A", params=()),
    Component("trainer", "silent", "no_such_module_anywhere:A"),
    Component("hook", "progress", "m:A"),
)
PLUGIN = Plugin(name="o", distribution="o", version="1", module="m", status="ok", components=COMPONENTS)
BUILTIN = {plugin.name: plugin for plugin in Registry.discover(only_builtin=True).plugins}
TASKS, TRAINING = BUILTIN["wf-tasks"], BUILTIN["wf-training"]
DRIVING = replace(TRAINING, components=tuple(one for one in TRAINING.components if one.kind == "rule"))
REGISTRY = Registry([PLUGIN, TASKS, DRIVING])


def parts(*names: str) -> list[Part]:
    """Parts by ``kind/name``."""
    return [part_of(REGISTRY.find(*name.split("/", 1))) for name in names]


def refused(*names: str, **known: Any) -> list[str]:
    with pytest.raises(UsageError) as caught:
        check(parts(*names), Facts(**known), REGISTRY)
    return str(caught.value).splitlines()


def test_one_mismatch() -> None:
    assert refused("dataset/diabetes", "model/mlp", "loss/ce") == [
        "loss 'ce' does not fit dataset 'diabetes' and model 'mlp'",
        "  the loss takes class_index targets, the dataset has real",
        "  losses that fit: mse",
    ]


def test_every_mismatch_at_once() -> None:
    run = ("dataset/diabetes", "transform/scale", "transform/flip", "model/cnn", "loss/ce", "metric/accuracy")
    assert refused(*run, "metric/f1", "trainer/supervised", "optimizer/lbfgs", "scheduler/plateau", evaluated=()) == [
        "6 components do not fit together",
        "  transform 'flip' does not fit dataset 'diabetes'",
        "    the transform takes image samples [C, H, W] but would get vector samples [F]",
        "    transforms that fit: flatten, scale",
        "  model 'cnn' does not fit dataset 'diabetes'",
        "    the model takes image samples [C, H, W] but would get vector samples [F]",
        "    models that fit: chances, line, mlp",
        "  loss 'ce' does not fit dataset 'diabetes' and model 'cnn'",
        "    the loss takes class_index targets, the dataset has real",
        "    losses that fit: mse",
        "  optimizer 'lbfgs' does not fit trainer 'supervised'",
        "    it needs the step protocol 'closure', the trainer supports 'plain'",
        "    optimizers that fit: adam, free",
        "    trainers that fit: closing",
        "  scheduler 'plateau' does not fit this run",
        "    it waits for an evaluation, but the run evaluates nothing during training",
        "    see --eval-splits and --split, or set --scheduler.monitor",
        "  metrics 'accuracy' and 'f1' do not fit dataset 'diabetes'",
        "    the metric takes class_index targets, the dataset has real",
        "    metrics that fit: any, r2",
    ]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (("dataset/digits", "model/chances", "loss/ce"), "the loss takes logits, the model returns probs"),
        (("model/chances", "loss/ce"), "the loss takes logits, the model returns probs"),
        (("dataset/digits", "model/line"), "takes vector samples [F] but would get image samples [C, H, W]"),
        (("trainer/by-hand", "optimizer/adam"), "the trainer takes no optimizer"),
        (("trainer/by-hand", "optimizer/silent"), "the trainer takes no optimizer"),
        (("trainer/closing", "scheduler/cosine"), "the trainer takes no scheduler"),
        (("dataset/digits", "transform/flatten", "model/cnn"), "takes image samples [C, H, W] but would get vector"),
    ],
)
def test_mismatches_are_described(run: tuple[str, ...], words: str) -> None:
    assert any(words in line for line in refused(*run))


@pytest.mark.parametrize(
    "run",
    [
        ("dataset/digits", "transform/flip", "model/cnn", "loss/ce", "metric/accuracy", "metric/any"),
        ("dataset/digits", "transform/flatten", "model/line"),
        ("dataset/texts", "model/line"),  # a sequence may be [T]
        ("dataset/digits", "loss/bce"),  # there may be two classes
        ("dataset/digits", "loss/mse"),  # with a link
        ("dataset/csv", "loss/ce", "metric/r2"),
        ("trainer/closing", "optimizer/lbfgs"),
        ("trainer/closing", "optimizer/free"),
        ("scheduler/plateau",),
    ],
)
def test_fitting_and_undecided_runs_are_accepted(run: tuple[str, ...]) -> None:
    check(parts(*run), Facts(), REGISTRY)


def test_facts_from_the_data_override_traits() -> None:
    """The facts from the data, once they have been read."""
    assert "would get samples [6, 3]" in refused("dataset/texts", "model/line", samples=SampleForm.of_shape((6, 3)))[1]
    check(parts("dataset/texts", "model/line"), Facts(samples=SampleForm.of_shape((6,))), REGISTRY)
    assert "takes binary targets" in refused("dataset/digits", "loss/bce", num_classes=10)[1]
    check(parts("dataset/digits", "loss/bce"), Facts(num_classes=2), REGISTRY)
    assert "the dataset has real" in refused("dataset/csv", "loss/ce", targets="real")[1]
    assert "link 'one-hot' is off" in refused("dataset/digits", "loss/mse", links=[])[1]
    assert "takes no scheduler" in refused("trainer/silent", "scheduler/cosine", taken=frozenset())[1]


@pytest.mark.parametrize(
    ("watched", "evaluated", "fits"),
    [
        ("validation/loss", ("validation",), True),
        ("validation/loss", ("train", "test"), False),
        ("validation/loss", (), False),
        (None, (), False),
        (None, ("test",), True),  # its own default may be test/loss
        ("validation/loss", None, True),
    ],
)
def test_a_scheduler_that_waits_for_evaluations(watched: str | None, evaluated: Any, fits: bool) -> None:
    (plateau, cosine) = (replace(part, watched=watched) for part in parts("scheduler/plateau", "scheduler/cosine"))
    check([cosine], Facts(evaluated=evaluated), REGISTRY)
    found = list(mismatches([plateau], Facts(evaluated=evaluated), REGISTRY))
    assert bool(found) is not fits
    if found and watched and evaluated:
        assert found[0].why[0] == (
            "it waits for validation/loss, but the run evaluates 'train' and 'test' during training"
        )


GROUPS = {
    "video": ModelTraits(inputs="video"),
    "segmentation": ModelTraits(inputs="image", per="pixel"),
    "detection": ModelTraits(inputs="image", predictions="boxes"),
}


def test_catalogues_are_suggested_by_their_prefix() -> None:
    zoo = Catalogue(
        "model", "zoo", "m:make", "wf_torchvision:models.txt", traits=ModelTraits(inputs="image"), groups=GROUPS
    )
    registry = Registry([replace(PLUGIN, components=(*COMPONENTS, zoo)), TASKS, DRIVING])
    (found,) = mismatches(parts("dataset/digits", "model/line"), Facts(), registry)
    assert found.fitting == {"model": ("chances", "cnn", "mlp", "zoo/...")}
    (found,) = mismatches(parts("dataset/diabetes", "model/cnn"), Facts(), registry)
    assert found.fitting == {"model": ("chances", "line", "mlp")}


def test_suggestions_of_one_name_from_two_plugins_are_qualified() -> None:
    other = replace(PLUGIN, name="p", distribution="p", components=(COMPONENTS[15],))
    (found,) = mismatches(parts("dataset/diabetes", "loss/ce"), Facts(), Registry([PLUGIN, other, TASKS, DRIVING]))
    assert found.fitting == {"loss": ("mse@o", "mse@p")}


# Unknown facts are no reason to refuse a run

SAMPLES = st.sampled_from(["any", "vector", "image", "sequence"])
SOME_TARGETS = st.lists(st.sampled_from(TARGETS), min_size=1, max_size=3, unique=True).map(tuple)
STEPS = st.sampled_from(["plain", "closure", "two_step"])
TRAITS: dict[str, st.SearchStrategy[Any]] = {
    "dataset": st.builds(
        DatasetTraits, targets=st.none() | st.sampled_from(TARGETS), inputs=st.none() | st.sampled_from(sorted(DIMS))
    ),
    "transform": st.builds(
        TransformTraits, inputs=SAMPLES, gives=st.sampled_from(["same", "any", "vector", "image", "sequence"])
    ),
    "model": st.builds(ModelTraits, predictions=st.sampled_from(PREDICTIONS), inputs=SAMPLES),
    "loss": st.builds(LossTraits, predictions=st.sampled_from(PREDICTIONS), targets=SOME_TARGETS),
    "metric": st.builds(MetricTraits, targets=st.just(()) | SOME_TARGETS),
    "trainer": st.builds(TrainerTraits, steps=st.lists(STEPS, max_size=2).map(tuple)),
    "optimizer": st.builds(OptimizerTraits, step=STEPS, modes=st.booleans()),
    "scheduler": st.builds(SchedulerTraits, interval=st.sampled_from(["step", "epoch", "evaluation"])),
}


def part(kind: str, traits: Any) -> Part:
    return part_of(Entry(Component(kind, "x", "no_such_module_anywhere:A", traits=traits)))


RUNS = st.tuples(*(strategy.map(lambda traits, kind=kind: part(kind, traits)) for kind, strategy in TRAITS.items()))


@given(run=RUNS, kind=st.sampled_from(sorted(TRAITS)), evaluated=st.none() | st.just(()) | st.just(("test",)))
def test_missing_traits_never_cause_a_refusal(run: tuple[Part, ...], kind: str, evaluated: Any) -> None:
    """A component without traits is never refused where a component with traits was accepted."""
    known = Facts(evaluated=evaluated)
    less = [part(kind, None) if one.kind == kind else one for one in run]
    found = {(one.kind, one.against) for one in mismatches(run, known, REGISTRY)}
    assert {(one.kind, one.against) for one in mismatches(less, known, REGISTRY)} <= found
    silent = [part(one.kind, None) for one in run]
    assert list(mismatches(silent, known, REGISTRY)) == []


# Components that fit one component


def verdicts_on(kind: str, other: str) -> dict[str, bool | None]:
    found = fitting(REGISTRY, kind, REGISTRY.find(*other.split("/")))
    return {entry.component.name: verdict.fits for entry, verdict in found}


@pytest.mark.parametrize(
    ("kind", "other", "wanted"),
    [
        ("loss", "dataset/diabetes", {"bce": False, "ce": False, "mse": True, "silent": None}),
        ("loss", "dataset/digits", {"bce": None, "ce": True, "mse": True, "silent": None}),
        ("loss", "model/chances", {"bce": False, "ce": False, "mse": True, "silent": None}),
        ("metric", "dataset/diabetes", {"accuracy": False, "any": True, "f1": False, "r2": True, "silent": None}),
        ("model", "dataset/digits", {"chances": True, "cnn": True, "line": False, "mlp": True, "silent": None}),
        ("model", "dataset/texts", {"chances": True, "cnn": False, "line": None, "mlp": True, "silent": None}),
        ("model", "loss/ce", {"chances": False, "cnn": True, "line": False, "mlp": True, "silent": None}),
        ("transform", "dataset/diabetes", {"flatten": True, "flip": False, "scale": True, "silent": None}),
        ("optimizer", "trainer/supervised", {"adam": True, "free": True, "lbfgs": False, "silent": None}),
        ("optimizer", "trainer/closing", {"adam": True, "free": True, "lbfgs": True, "silent": None}),
        ("optimizer", "trainer/by-hand", dict.fromkeys(["adam", "free", "lbfgs", "silent"], False)),
        ("trainer", "optimizer/lbfgs", {"by-hand": False, "closing": True, "silent": None, "supervised": False}),
        ("trainer", "scheduler/cosine", {"by-hand": False, "closing": False, "silent": None, "supervised": True}),
        ("dataset", "loss/ce", {"csv": None, "diabetes": False, "digits": True, "silent": None, "texts": True}),
        ("dataset", "metric/r2", {"csv": None, "diabetes": True, "digits": False, "silent": None, "texts": False}),
        ("dataset", "model/cnn", {"csv": False, "diabetes": False, "digits": True, "silent": None, "texts": False}),
        (
            "dataset",
            "transform/flip",
            {"csv": False, "diabetes": False, "digits": True, "silent": None, "texts": False},
        ),
    ],
)
def test_fits_is_symmetric_between_kinds(kind: str, other: str, wanted: dict[str, bool | None]) -> None:
    assert verdicts_on(kind, other) == wanted


def test_related_kinds() -> None:
    related = {kind: related_kinds(kind, REGISTRY) for kind in KINDS}
    assert related["dataset"] == ["transform", "model", "loss", "metric", "task"]
    assert related["trainer"] == ["optimizer", "scheduler"]
    assert related["hook"] == []
    assert all(kind in related[other] for kind in KINDS for other in related[kind] if other != "task")
    rules = [rule for rule, _ in judges(REGISTRY)]
    assert {rule.kind for rule in rules} | {kind for rule in rules for kind in rule.against} == {*TRAITS, "task"}
    assert related_kinds("task", REGISTRY) == ["dataset", "transform", "model", "loss", "metric"]
    assert [plural(kind) for kind in ("loss", "strategy", "dataset")] == ["losses", "strategies", "datasets"]


def test_unrelated_kinds_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        verdicts_on("metric", "loss/ce")
    assert str(caught.value).splitlines() == [
        "metrics and losses have nothing to do with each other",
        "  what can be asked: wf list datasets --fits loss/ce, wf list transforms --fits loss/ce, "
        "wf list models --fits loss/ce, wf list tasks --fits loss/ce",
    ]
    with pytest.raises(UsageError) as caught:
        verdicts_on("metric", "hook/progress")
    assert str(caught.value) == "metrics and hooks have nothing to do with each other"


def test_a_dataset_whose_targets_depend_on_its_data() -> None:
    with pytest.raises(UsageError) as caught:
        verdicts_on("loss", "dataset/csv")
    assert str(caught.value).splitlines() == [
        "which targets dataset 'csv' has depends on its data; what would fit:",
        "  binary targets: bce",
        "  class_index targets: ce, mse",
        "  one_hot targets: mse",
        "  boxes targets: none",
        "  multilabel targets: none",
        "  real targets: mse",
        "  mask targets: none",
        "  to find out from its data: wf run --dataset csv ... --dry-run",
    ]


@pytest.mark.parametrize(
    ("kind", "other"),
    [("loss", "dataset/silent"), ("dataset", "loss/silent"), ("loss", "model/silent"), ("optimizer", "trainer/silent")],
)
def test_a_component_without_traits(kind: str, other: str) -> None:
    with pytest.raises(UsageError, match=r"declares no traits, so wf cannot tell what fits it"):
        verdicts_on(kind, other)


@pytest.mark.parametrize(("moves", "fits"), [(True, False), (False, True), (None, None)])
def test_transforms_that_move_pixels_do_not_fit_masks(moves: bool | None, fits: bool | None) -> None:
    flip, shapes, photos = (
        Entry(component, PLUGIN)
        for component in (
            Component("transform", "flip", "m:A", traits=TransformTraits(inputs="image", gives="same", moves=moves)),
            Component("dataset", "shapes", "m:A", traits=DatasetTraits(targets="mask", inputs="image")),
            Component("dataset", "photos", "m:A", traits=DatasetTraits(targets="class_index", inputs="image")),
        )
    )
    assert pair_verdict(flip, shapes, REGISTRY).fits is fits
    assert pair_verdict(flip, photos, REGISTRY).fits is True


def test_without_rule_plugins_nothing_is_refused() -> None:
    alone = Registry([PLUGIN])
    assert judges(alone) == []
    run = [
        part_of(alone.find(*name.split("/")))
        for name in ("dataset/diabetes", "loss/ce", "optimizer/lbfgs", "trainer/supervised")
    ]
    assert mismatches_in(REGISTRY, run) == ["loss", "optimizer"]
    assert mismatches_in(alone, run) == []


def mismatches_in(registry: Registry, run: list[Part]) -> list[str]:
    return [found.kind for found in mismatches(run, Facts(), registry)]
