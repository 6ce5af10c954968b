"""Filling in defaults and looking up names before anything heavy is imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wf import Component, Param
from wf.discovery.plugins import Plugin
from wf.discovery.settings import Pin
from wf.errors import UsageError
from wf.registry import Registry
from wf.traits import DatasetTraits, HookTraits, LossTraits, ModelTraits, OptimizerTraits, TrainerTraits
from wf_run.planning.defaults import with_changes
from wf_run.planning.plan import complete, prepare
from wf_run.runfiles.runfile import merge
from wf_storage.folders import data_dir

DEFAULT_USE = {
    "dataset": "digits",
    "model": "mlp",
    "optimizer": "adam",
    "trainer": "supervised",
    "evaluator": "default",
    "checkpointer": "directory",
    "strategy": "local",
}
DEFAULT_HOOKS = ("learning-rate-log", "divergence-guard", "fit-verdict", "progress")
BUILTIN = {plugin.name: plugin for plugin in Registry.discover(only_builtin=True).plugins}
TASKS = BUILTIN["wf-tasks"]
RULES = [one for one in BUILTIN["wf-training"].components if one.kind == "rule"]
"""Of what a trainer can drive."""


def registry(*more: Component) -> Registry:
    components = (
        *(
            Component(kind, name, "nowhere:A", default=True)
            for kind, name in DEFAULT_USE.items()
            if kind not in ("dataset", "trainer", "optimizer")
        ),  # type: ignore[arg-type]  # a kind
        *(
            Component("hook", name, "nowhere:A", traits=HookTraits(order=order), default=True)
            for order, name in sorted(enumerate(DEFAULT_HOOKS, 98), key=lambda pair: pair[1])  # progress is last
        ),
        Component(
            "dataset",
            "digits",
            "nowhere:A",
            traits=DatasetTraits(targets="class_index", transforms=("scale",)),
            default=True,
        ),
        Component("dataset", "diabetes", "nowhere:A", traits=DatasetTraits(targets="real")),
        Component("dataset", "csv", "nowhere:A", traits=DatasetTraits(files=(".csv",))),
        Component("dataset", "folder", "nowhere:A", traits=DatasetTraits(files=("/",))),
        Component("trainer", "supervised", "nowhere:A", traits=TrainerTraits(steps=("plain",)), default=True),
        Component("transform", "scale", "nowhere:A"),
        Component("transform", "flip", "nowhere:A"),
        Component("hook", "gradient-clip", "nowhere:A", aliases=("grad-clip",)),
        Component("metric", "accuracy", "nowhere:A", aliases=("acc",)),
        Component("optimizer", "adam", "nowhere:A", traits=OptimizerTraits(), default=True),
        Component("optimizer", "lbfgs", "nowhere:A", traits=OptimizerTraits(step="closure")),
        Component("model", "probable", "nowhere:A", traits=ModelTraits(predictions="probs")),
        Component("loss", "ce", "nowhere:A", traits=LossTraits(predictions="logits", targets=("class_index",))),
        Component("loss", "bce", "nowhere:A", traits=LossTraits(predictions="raw", targets=("binary",))),
        Component("loss", "declared", "nowhere:A", params=(Param(name="gamma", type=float, default=1.0),)),
        *RULES,
        *more,
    )
    own = Plugin(name="o", distribution="o", version="1", module="m", status="ok", components=components)
    return Registry([own, TASKS])


def third_party(*components: Component) -> Plugin:
    """A third-party plugin."""
    return Plugin(name="t", distribution="t", version="1", module="t", status="ok", components=components)


def uses(plan: dict[str, Any], kind: str) -> list[str]:
    return [table["use"] for table in plan[kind]]


def change(*uses: str, **options: Any) -> dict[str, Any]:
    """A document with these hooks; the options belong to the last one."""
    tables: list[dict[str, Any]] = [{"use": use} for use in uses]
    return {"hook": [*tables[:-1], {**tables[-1], **options}]}


def test_an_empty_run_file() -> None:
    plan = complete({}, registry())
    assert {kind: plan[kind]["use"] for kind in DEFAULT_USE} == DEFAULT_USE
    assert uses(plan, "hook") == list(DEFAULT_HOOKS)
    assert uses(plan, "transform") == ["scale"]
    assert (plan["epochs"], plan["batch_size"], plan["checkpoint_every"]) == (None, 32, "5min")
    assert not plan.keys() & {"loss", "metric", "scheduler"}


def test_a_default_model_for_certain_inputs() -> None:
    lstm = Component("model", "lstm", "nowhere:A", default="tokens")
    texts = Component("dataset", "texts", "nowhere:A", traits=DatasetTraits(targets="class_index", inputs="tokens"))
    both = registry(lstm, texts)
    assert complete({"dataset": {"use": "texts"}}, both)["model"]["use"] == "lstm"
    assert complete({}, both)["model"]["use"] == "mlp"


def test_two_defaults_of_a_kind_need_a_pin() -> None:
    both = [*registry().plugins, third_party(Component("optimizer", "lion", "nowhere:B", default=True))]
    words = (
        "several defaults of kind optimizer: 'adam' of o and 'lion' of t\n  name one: --optimizer NAME, or settle it"
    )
    with pytest.raises(UsageError, match=words):
        complete({}, Registry(both))
    assert complete({"optimizer": {"use": "adam"}}, Registry(both))["optimizer"]["use"] == "adam"
    for provider, name in (("o", "adam"), ("t", "lion")):
        pinned = Registry(both, [Pin("defaults", "optimizer", provider, "a file")])
        assert complete({}, pinned)["optimizer"]["use"] == name
    with pytest.raises(UsageError, match="default optimizer is pinned to x, which declares none\n  the pin stands"):
        complete({}, Registry(both, [Pin("defaults", "optimizer", "x", "a file")]))


@pytest.mark.parametrize("kind", DEFAULT_USE)
def test_a_kind_without_default_must_be_named(kind: str) -> None:
    own, tasks = registry().plugins
    claims = [replace(one, default=False) if one.kind == kind else one for one in own.components]
    with pytest.raises(
        UsageError, match=f"names no {kind}, .*\n  name one: --{kind} NAME \\(available: .*{DEFAULT_USE[kind]}"
    ):
        complete({}, Registry([replace(own, components=tuple(claims)), tasks]))
    none = tuple(one for one in own.components if one.kind != kind)
    with pytest.raises(
        UsageError, match=f"no {kind} is installed\n  name one: --{kind} path.py:NAME\n  or install .*wf-"
    ):
        complete({}, Registry([replace(own, components=none), tasks]))


def test_missing_default_hooks_are_left_out() -> None:
    own, tasks = registry().plugins
    components = tuple(one for one in own.components if one.name != "fit-verdict")
    plan = complete({}, Registry([replace(own, components=components), tasks]))
    assert uses(plan, "hook") == ["learning-rate-log", "divergence-guard", "progress"]


def test_losses_and_others_cannot_be_declared_default() -> None:
    with pytest.raises(ValueError, match="component 'x': no loss can be a default: the dataset's task chooses it"):
        Component("loss", "x", "nowhere:A", default=True)
    with pytest.raises(ValueError, match="only a model can be the default for certain inputs"):
        Component("optimizer", "x", "nowhere:A", default="tokens")


def test_given_settings_override_defaults() -> None:
    document = {"epochs": 3, "transform": [], "hook": [{"use": "progress"}], "optimizer": {"lr": 1}}
    plan = complete(document, registry())
    assert (plan["epochs"], plan["transform"], uses(plan, "hook")) == (3, [], ["progress"])
    assert plan["optimizer"] == {"use": "adam", "lr": 1}
    assert document["optimizer"] == {"lr": 1}


def test_completing_a_plan_twice_changes_nothing() -> None:
    plan = complete({"hook": [{"use": "progress"}], "epochs": 2}, registry())
    assert complete(plan, registry()) == plan


@pytest.mark.parametrize(
    ("base", "uses_over", "wanted"),
    [
        (None, ["+grad_clip"], [*DEFAULT_HOOKS, "gradient-clip"]),
        (None, ["no:Progress"], [name for name in DEFAULT_HOOKS if name != "progress"]),
        (None, ["no:learning_rate_log"], list(DEFAULT_HOOKS[1:])),
        (["gradient-clip", "progress"], ["no:grad-clip"], ["progress"]),
        (["grad-clip", "progress"], ["no:gradient-clip"], ["progress"]),
        (["grad-clip"], ["no:grad-clip@o"], []),
        (["progress"], ["+grad-clip"], ["progress", "gradient-clip"]),
        (["progress"], ["grad-clip"], ["grad-clip"]),
        ([], ["+progress"], ["progress"]),
        (["progress"], ["+grad-clip", "no:progress", "+fit-verdict"], ["gradient-clip", "fit-verdict"]),
    ],
)
def test_changes_of_the_hooks(base: list[str] | None, uses_over: list[str], wanted: list[str]) -> None:
    document = {} if base is None else {"hook": [{"use": name} for name in base]}
    assert uses(complete(merge(document, change(*uses_over))[0], registry()), "hook") == wanted


@pytest.mark.parametrize("name", ["gradient-clip", "grad-clip", "Grad_Clip"])
@pytest.mark.parametrize("listed", ["gradient-clip", "grad-clip"])
def test_hook_options_are_accepted_under_any_alias(name: str, listed: str) -> None:
    document = {"hook": [{"use": listed, "a": 1}]}
    plan = complete(merge(document, change(f"set:{name}", b=2))[0], registry())
    assert plan["hook"] == [{"use": "gradient-clip", "a": 1, "b": 2}]


def test_options_under_two_aliases_of_a_hook_are_merged() -> None:
    hooks = [{"use": "+grad-clip"}, {"use": "set:gradient-clip", "a": 1}, {"use": "set:grad-clip", "b": 2}]
    plan = complete(merge({}, {"hook": hooks})[0], registry())
    assert plan["hook"][-1] == {"use": "gradient-clip", "a": 1, "b": 2}


def test_changing_a_missing_hook_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown hook of this run 'gradient-clip'"):
        complete(merge({}, change("no:grad-clip"))[0], registry())
    with pytest.raises(UsageError, match=r"add it: --hook \+gradient-clip"):
        complete(merge({}, change("set:grad-clip", b=2))[0], registry())


@pytest.mark.parametrize("name", ["clip", "clip@theirs"])
@pytest.mark.parametrize("listed", ["+clip@theirs", "clip@theirs"])
def test_an_ambiguous_hook_name_is_resolved_within_the_list(name: str, listed: str) -> None:
    shadowing = Plugin(
        name="theirs",
        distribution="theirs",
        version="1",
        module="m",
        status="ok",
        components=(Component("hook", "clip", "m:A"),),
    )
    both = Registry([*registry(Component("hook", "clip", "m:A")).plugins, shadowing])
    plan = complete(merge({}, change(listed, f"set:{name}", b=2))[0], both)
    assert plan["hook"][-1] == {"use": "clip@theirs", "b": 2}
    document = {"hook": [{"use": "clip@theirs"}, {"use": "progress"}]}
    assert uses(complete(merge(document, change(f"no:{name}"))[0], both), "hook") == ["progress"]
    with pytest.raises(UsageError, match="unknown hook of this run 'clip@o'"):
        complete(merge(document, change("no:clip@o"))[0], both)


def test_metric_changes_apply_to_the_default_metrics_of_the_dataset() -> None:
    merged, _ = merge({}, {"metric": [{"use": "no:acc"}]})
    plan = complete(merged, registry())
    assert with_changes("metric", plan["metric"], ("accuracy", "f1")) == [{"use": "f1"}]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"loss": {"use": "cee"}}, "unknown loss 'cee'\n  did you mean 'ce'"),
        ({"hook": [{"use": "progres"}]}, "unknown hook 'progres'\n  did you mean 'progress'"),
        ({"metric": [{"use": "accuracyy"}]}, "unknown metric 'accuracyy'"),
        ({"loss": {"use": "declared", "gama": 1}}, "unknown option 'gama' of loss 'declared'\n  did you mean 'gamma'"),
        ({"links": ["softmx"]}, "unknown link 'softmx'\n  did you mean 'softmax'"),
        ({"epoch": 1}, "unknown key 'epoch'\n  did you mean 'epochs'"),
        (
            {"dataset": {"use": "a/house.parquet"}},
            "no dataset reads files like 'a/house.parquet'\n  known endings: .csv, /",
        ),
        (
            {"dataset": {"use": "a/house.csv.gz"}},
            "no dataset reads files like 'a/house.csv.gz'\n  known endings: .csv, /\n"
            "  unpack it: gzip -dc house.csv.gz > house.csv",
        ),
    ],
)
def test_unknown_names(document: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        complete(document, registry())
    assert str(caught.value).startswith(words)


WRITTEN = """
from typing import Annotated, Literal
from torch import Tensor
from wf import Nested

class Written:
    \"\"\"Args:
        gamma: How much.
    \"\"\"

    def __init__(
        self, gamma: float = 1.0, reduction: Literal["mean", "sum"] = "mean", weight: Tensor | None = None,
        then: Annotated[object, Nested("optimizer")] = None,
    ): ...

@print
class Decorated:
    def __init__(self, gamma: float = 1.0): ...

raise SystemExit("imported")
"""


def written(folder: Path) -> Registry:
    """A registry with a loss that must not be imported."""
    (folder / "written.py").write_text(WRITTEN)
    return registry(
        Component("loss", "written", f"{folder}/written.py:Written", deprecated_params={"old": "gamma"}),
        Component("loss", "decorated", f"{folder}/written.py:Decorated"),
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gama": 1}, "unknown option 'gama' of loss 'written'\n  did you mean 'gamma'?"),
        ({"gamma": "abc"}, "loss 'written': option 'gamma' wants float, not 'abc'"),
        ({"gamma": "@null"}, "loss 'written': option 'gamma' wants float, not None"),
        ({"old": "abc"}, "loss 'written': option 'gamma' wants float, not 'abc'"),
        ({"reduction": "maen"}, "unknown reduction 'maen' of loss 'written'\n  did you mean 'mean'?"),
        ({"epochs": 3}, "'epochs' is a general key, not an option of the loss"),
        ({"then": "adm"}, "unknown optimizer 'adm'\n  did you mean 'adam'?"),
        ({"then": {"use": "adm", "lr": 1}}, "unknown optimizer 'adm'\n  did you mean 'adam'?"),
    ],
)
def test_options_are_checked_without_importing(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        complete({"loss": {"use": "written", **options}}, written(tmp_path))
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": "2.5", "reduction": "sum"},
        {"weight": 3, "then": None},  # Tensor is known only when torch is imported
        {"then": "adam"},
        {"then": {"lr": 1}},
        {"gamma": object()},  # missing options are checked when the component is made
    ],
)
def test_valid_options_are_left_unchanged(options: dict[str, Any], tmp_path: Path) -> None:
    table = {"use": "written", **options}
    assert complete({"loss": table}, written(tmp_path))["loss"] == table


def test_options_that_cannot_be_read_statically_are_checked_later(tmp_path: Path) -> None:
    assert complete({"loss": {"use": "decorated", "gama": 1}}, written(tmp_path))["loss"]["gama"] == 1


def test_a_component_without_options_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("wf_signatures.reading.read", lambda target: pytest.fail(f"{target} was read"))
    assert complete({"loss": {"use": "written"}}, written(tmp_path))["loss"] == {"use": "written"}


def test_a_file_name_selects_the_dataset_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = complete({"dataset": {"use": "a/House.CSV", "target": "price"}}, registry())
    assert plan["dataset"] == {"use": "csv", "path": "a/House.CSV", "target": "price"}
    (tmp_path / "photos").mkdir()
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert complete({"dataset": {"use": "photos"}}, registry())["dataset"] == {"use": "folder", "path": "photos"}
    assert complete({"dataset": {"use": "digits"}}, registry())["dataset"] == {"use": "digits"}


def test_live_objects_are_left_unchanged() -> None:
    data = ([1], [2])
    plan = complete({"dataset": {"use": data}, "model": {"use": dict}, "hook": [{"use": print}]}, registry())
    assert (plan["dataset"]["use"], plan["model"]["use"], plan["transform"]) == (data, dict, [])
    assert prepare({"dataset": {"use": data}, "model": {"use": dict}}, registry())["dataset"] == {"use": data}


def early(**document: Any) -> None:
    prepare({kind: {"use": name} for kind, name in document.items()}, registry())


def test_a_certain_mismatch_is_refused_early() -> None:
    with pytest.raises(UsageError, match="loss 'ce' does not fit dataset 'diabetes' and model 'mlp'"):
        early(loss="ce", dataset="diabetes")
    with pytest.raises(UsageError, match="the loss takes logits, the model returns probs"):
        early(loss="ce", model="probable")
    with pytest.raises(UsageError) as caught:
        early(optimizer="lbfgs")
    assert str(caught.value) == (
        "optimizer 'lbfgs' does not fit trainer 'supervised'\n"
        "  it needs the step protocol 'closure', the trainer supports 'plain'\n"
        "  optimizers that fit: adam"
    )


@pytest.mark.parametrize("document", [{}, {"loss": "ce"}, {"loss": "bce"}, {"loss": "ce", "dataset": "csv"}])
def test_an_undecided_fit_is_checked_later(document: dict[str, str]) -> None:
    early(**document)


def test_options_without_a_name_apply_to_the_default_loss() -> None:
    prepare({"loss": {"gamma": 2}}, registry())


def test_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WF_DATA_DIR", "~/here")
    assert data_dir() == Path.home() / "here"
    monkeypatch.setenv("WF_DATA_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_dir() == Path("/cache/wf")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_dir() == Path.home() / ".cache" / "wf"


def test_defaults_prefer_the_plugins_of_wf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another plugin with the names of defaults does not affect a run that does not name them."""
    monkeypatch.setattr("wf.registry.builtin_distributions", lambda: frozenset({"o"}))
    names = {"model": "mlp", "hook": "progress", "optimizer": "adam", "transform": "scale", "dataset": "digits"}
    names |= {"metric": "accuracy", "loss": "ce"}
    components = tuple(Component(kind, name, "nowhere:B") for kind, name in names.items())  # type: ignore[arg-type]
    both = Registry([*registry().plugins, third_party(*components)])
    plan = prepare({}, both)
    found = [plan["model"]["use"], plan["optimizer"]["use"], plan["dataset"]["use"], *uses(plan, "transform")]
    assert found == ["mlp@o", "adam@o", "digits@o", "scale@o"]
    assert uses(plan, "hook") == [*DEFAULT_HOOKS[:-1], "progress@o"]
    assert complete(plan, both) == plan
    with pytest.raises(UsageError, match="model 'mlp' comes from 2 plugins"):
        complete({"model": {"use": "mlp"}}, both)
    pinned = Registry(both.plugins, [Pin("hook", "progress", "t", "a file"), Pin("model", "mlp", "t", "a file")])
    plan = complete({}, pinned)
    assert (plan["model"]["use"], uses(plan, "hook")[-1]) == ("mlp@t", "progress@t")
    strangers = Registry([replace(plugin, name=f"{plugin.name}2", distribution="x") for plugin in both.plugins])
    with pytest.raises(UsageError, match="comes from 2 plugins"):
        complete({}, strangers)
