"""Building components from tables and the run's values."""

from __future__ import annotations

import functools
import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest

from wf import Component, FromRun, Nested
from wf.discovery.plugins import Plugin
from wf.errors import UsageError
from wf.registry import Registry
from wf.traits import LossTraits, OptimizerTraits
from wf_building.builder import Builder
from wf_building.built import note_traits, traits_of
from wf_run.runfiles.runfile import dump, load


class Thing:
    """Keeps its arguments."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.args, self.options = args, options


class Size(Enum):
    SMALL = 1


def make(gamma: float, num_classes: int, width: int = 3) -> Thing:
    return Thing(gamma=gamma, num_classes=num_classes, width=width)


def outer(base: Annotated[Any, Nested("optimizer")], then: Annotated[Any, Nested("scheduler")] | None = None) -> Thing:
    return Thing(base=base, then=then)


def inner(num_classes: int, lr: float = 0.1) -> Thing:
    return Thing(num_classes=num_classes, lr=lr)


def several(parts: Annotated[list[Any], Nested("optimizer")]) -> Thing:
    return Thing(parts=parts)


def laid_out(length: Annotated[int, FromRun("total_epochs")], width: int = 1) -> Thing:
    return Thing(length=length, width=width)


def warmed(then: Annotated[Any, Nested("scheduler")]) -> Thing:
    return Thing(then=then)


def rotate(degrees: float, then: Annotated[list[Any], Nested("transform")] = ()) -> Thing:  # type: ignore[assignment]
    return Thing(degrees=degrees, then=then)


def optional(num_channels: int | None, class_names: list[str]) -> Thing:
    return Thing(num_channels=num_channels, class_names=class_names)


def injected(in_chans: int = 3, classes: int = 7) -> Thing:
    return Thing(in_chans=in_chans, classes=classes)


def odd_defaults(size: Size = Size.SMALL, kind: type = int, number: int = None, pair: Any = (1, 2)) -> Thing:  # type: ignore[assignment]  # noqa: RUF013 - as strangers write
    return Thing(size=size, kind=kind, number=number, pair=pair)


def files(path: Path, epochs: int = 1) -> Thing:
    return Thing(path=path, epochs=epochs)


def margin(predictions: Any, targets: Any, scale: float = 1.0) -> Any:
    return (predictions - targets) * scale


def power(base: float, predictions: Any, targets: Any) -> Any:
    return base ** (predictions - targets)


def failing() -> None:
    raise ZeroDivisionError("inside")


COMPONENTS = (
    Component("model", "thing", make),
    Component("optimizer", "outer", outer),
    Component("optimizer", "inner", inner, aliases=("in",), traits=OptimizerTraits()),
    Component("optimizer", "all", several),
    Component("scheduler", "laid-out", laid_out),
    Component("scheduler", "turned", rotate),
    Component("scheduler", "warmed", warmed),
    Component("transform", "turn/left", rotate, call="factory"),
    Component("model", "optional", optional),
    Component("model", "injected", injected, inject={"in_chans": "num_channels"}),
    Component("model", "odd", odd_defaults),
    Component("model", "files", files),
    Component("model", "failing", failing),
    Component("model", "member", Thing, args=("vgg",), params=()),
    Component("loss", "margin", margin, traits=LossTraits(predictions="real", targets=("real",))),
    Component("loss", "power", power, args=(2.0,)),
)
REGISTRY = Registry(
    [Plugin(name="ours", distribution="ours", version="1", module="m", status="ok", components=COMPONENTS)]
)


def builder(**values: Any) -> Builder:
    return Builder(REGISTRY, values)


def test_arguments_come_from_options_run_values_and_defaults() -> None:
    built = builder(num_classes=10).build("model", {"use": "thing", "gamma": 2})
    assert built.value.options == {"gamma": 2.0, "num_classes": 10, "width": 3}
    assert built.options == {"gamma": 2.0, "width": 3}
    assert built.table() == {"use": "thing", "gamma": 2.0, "width": 3}
    # the name of its plugin is enough to rebuild it, even with a live target
    assert (built.name, built.repeatable) == ("thing", True)


def test_an_explicit_option_wins_over_the_run() -> None:
    built = builder(num_classes=10).build("model", {"use": "thing", "gamma": 2, "num_classes": 5})
    assert built.value.options["num_classes"] == 5
    assert built.options["num_classes"] == 5


def test_a_default_is_not_overridden_by_the_run() -> None:
    assert builder(num_classes=1, width=9).build("model", {"use": "thing", "gamma": 1}).value.options["width"] == 3


def test_injected_run_values() -> None:
    built = builder(num_channels=1, classes=9).build("model", "injected")
    assert built.value.options == {"in_chans": 1, "classes": 7}
    assert built.options == {"classes": 7}
    assert builder().build("model", "injected").value.options["in_chans"] == 3
    assert builder(num_channels=1).build("model", {"use": "injected", "in_chans": 4}).value.options["in_chans"] == 4


def test_a_needed_run_value_that_is_missing() -> None:
    with pytest.raises(UsageError) as caught:
        builder(seed=1, batch_size=2).build("model", {"use": "thing", "gamma": 2})
    assert str(caught.value) == (
        "model 'thing' needs 'num_classes', which this run does not know\n"
        "  known here: batch_size, seed\n  nobody provides it in this run; see: wf show value num_classes\n"
        "  or set it: num_classes"
    )
    with pytest.raises(UsageError, match="there is no run here"):
        builder().build("model", {"use": "thing", "gamma": 2})
    with pytest.raises(UsageError, match="the dataset has real targets, so there are no classes"):
        builder(dataset_targets="real").build("model", {"use": "thing", "gamma": 2})
    assert builder(class_names=["a"]).build("model", "optional").value.options["num_channels"] is None


def test_a_required_option() -> None:
    with pytest.raises(UsageError, match=r"model 'thing' needs option 'gamma': --model.gamma VALUE"):
        builder(num_classes=1).build("model", "thing")


@pytest.mark.parametrize(
    ("kind", "table", "message"),
    [
        ("transform", "turn/left", "transform 'turn/left' needs option 'degrees': --transform.turn/left.degrees VALUE"),
        ("transform", "turn/left@ours", "--transform.turn/left@ours.degrees VALUE"),
        (
            "optimizer",
            {"use": "outer", "base": {"use": "inner", "num_classes": 1}, "then": "turned"},
            "scheduler 'turned' needs option 'degrees': --optimizer.then.degrees VALUE",
        ),
        (
            "scheduler",
            {"use": "warmed", "then": {"use": "warmed", "then": "turned"}},
            "scheduler 'turned' needs option 'degrees': --scheduler.then.then.degrees VALUE",
        ),
        (
            "transform",
            {"use": "turn/left", "degrees": 1, "then": ["turn/left"]},
            "needs option 'degrees', in its table",
        ),
    ],
)
def test_a_required_option_of_list_kinds_and_nested_components(kind: str, table: Any, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        builder().build(kind, table)


def test_an_unknown_option() -> None:
    with pytest.raises(UsageError, match="unknown option 'gama' of model 'thing'\n  did you mean 'gamma'"):
        builder().build("model", {"use": "thing", "gama": 2})


def test_a_general_key_below_a_table_is_explained() -> None:
    with pytest.raises(
        UsageError, match=r"'batch_size' is a general key, not an option of the model\n(.|\n)*--batch-size"
    ):
        builder().build("model", {"use": "thing", "batch_size": 2})
    assert builder().build("model", {"use": "files", "path": "x", "epochs": 5}).value.options["epochs"] == 5


def test_options_without_a_name() -> None:
    with pytest.raises(UsageError, match=r"optimizer: its options \(lr\) are given, but no optimizer is named"):
        builder(num_classes=1).build("optimizer", {"use": "outer", "base": {"lr": 1}})


# Nested


@pytest.mark.parametrize("base", ["inner", "In", {"use": "inner"}, {"use": "inner", "lr": 0.1}])
def test_nested_components_are_made_first(base: Any) -> None:
    built = builder(num_classes=4).build("optimizer", {"use": "outer", "base": base})
    assert built.value.options["base"].options == {"num_classes": 4, "lr": 0.1}
    assert built.table() == {"use": "outer", "base": {"use": "inner", "lr": 0.1}, "then": None}


def test_a_list_of_nested_components() -> None:
    tables = [{"use": "inner", "lr": 0.2}, "inner"]
    built = builder(num_classes=4).build("optimizer", {"use": "all", "parts": tables})
    assert [part.options["lr"] for part in built.value.options["parts"]] == [0.2, 0.1]
    assert built.table()["parts"] == [{"use": "inner", "lr": 0.2}, {"use": "inner", "lr": 0.1}]
    assert [traits_of(part) for part in built.value.options["parts"]] == [OptimizerTraits()] * 2
    with pytest.raises(UsageError, match=r"optimizer 'all': a list of optimizers is wanted, as '\[\{use = "):
        builder(num_classes=4).build("optimizer", {"use": "all", "parts": "inner"})


def test_traits_are_noted_without_changing_the_object() -> None:
    assert traits_of(None) is None
    assert traits_of([]) is None
    thing = Thing()
    note_traits(thing, OptimizerTraits())
    assert traits_of(thing) == OptimizerTraits()
    assert vars(thing) == vars(Thing())


def test_a_value_from_the_run_under_another_name() -> None:
    assert builder(total_epochs=7).build("scheduler", "laid-out").value.options == {"length": 7, "width": 1}
    assert builder().build("scheduler", {"use": "laid-out", "length": "3"}).value.options == {"length": 3, "width": 1}
    with pytest.raises(UsageError, match="needs 'total_epochs', which this run does not know"):
        builder().build("scheduler", "laid-out")


def test_a_nested_component_may_be_null_or_a_live_object() -> None:
    thing = Thing()
    built = builder().build("optimizer", {"use": "outer", "base": thing, "then": "@null"})
    assert built.value.options == {"base": thing, "then": None}
    assert built.table()["base"]["use"].startswith("live ")


@pytest.mark.parametrize("value", [5, True, 0.5, [1]])
def test_a_nested_component_is_no_number(value: Any) -> None:
    with pytest.raises(UsageError, match=r"optimizer: .* is not the name of a component; write use = "):
        builder().build("optimizer", {"use": "outer", "base": value})


def test_an_error_in_a_nested_option() -> None:
    with pytest.raises(UsageError, match="unknown option 'rl' of optimizer 'inner'"):
        builder(num_classes=1).build("optimizer", {"use": "outer", "base": {"use": "inner", "rl": 1}})


# Functions as losses


def test_a_loss_function_is_used_as_it_is() -> None:
    assert builder().build("loss", "margin").value(5, 3) == 2
    assert builder().build("loss", {"use": "margin", "scale": 2}).value(5, 3) == 4
    assert builder().build("loss", {"use": margin, "scale": 3}).value(5, 3) == 6
    assert builder().build("loss", margin).value is margin
    assert builder().build("loss", "power").value(5, 3) == 4


# Live objects and user code


def test_live_objects() -> None:
    thing = Thing()
    built = builder().build("model", thing)
    assert (built.value, built.name, built.entry) == (thing, "Thing", None)
    assert built.table()["use"].startswith("live ")
    assert not built.repeatable
    with pytest.raises(UsageError, match=r"is a finished object and takes no options \(lr\)"):
        builder().build("model", {"use": thing, "lr": 1})


def test_a_partial_keeps_its_arguments_and_gets_run_values() -> None:
    built = builder(num_classes=3).build("model", functools.partial(make, gamma=1))
    assert built.value.options == {"gamma": 1.0, "num_classes": 3, "width": 3}
    assert not built.repeatable


def test_a_class_takes_options() -> None:
    built = builder(num_classes=3).build("model", {"use": make, "gamma": 1})
    assert built.value.options == {"gamma": 1.0, "num_classes": 3, "width": 3}
    assert built.table() == {"use": f"{__name__}:make", "gamma": 1.0}


def test_user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "net.py").write_text("def make(width: int = 2): return ['net', width]\n")
    monkeypatch.chdir(tmp_path)
    built = builder().build("model", {"use": "code/net.py:make", "width": 3})
    assert built.value == ["net", 3]
    assert built.table() == {"use": f"{tmp_path}/code/net.py:make", "width": 3}
    assert built.repeatable
    elsewhere = Builder(REGISTRY, folders=[tmp_path / "nowhere", tmp_path / "code"])
    for use in ("net.py:make", "/gone/to/net.py:make"):
        assert elsewhere.build("model", use).value == ["net", 2]
    with pytest.raises(UsageError, match="there is no file"):
        builder().build("model", "net.py:make")


def test_paths_are_looked_up_beside_the_run_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    beside = Builder(REGISTRY, folders=[tmp_path])
    assert beside.build("model", {"use": "files", "path": "a.csv"}).value.options["path"] == tmp_path / "a.csv"
    assert beside.build("model", {"use": "files", "path": "b.csv"}).value.options["path"] == Path("b.csv")


# Values that a run file can hold


def test_defaults_that_toml_cannot_hold_are_not_written(tmp_path: Path) -> None:
    built = builder().build("model", "odd")
    assert built.value.options == {"size": Size.SMALL, "kind": int, "number": None, "pair": (1, 2)}
    assert built.options == {"number": None, "pair": (1, 2)}
    (tmp_path / "run.toml").write_text(dump({"model": built.table()}))
    again = builder().build("model", load(tmp_path / "run.toml")["model"])
    assert again.value.options == {**built.value.options, "pair": [1, 2]}


def test_live_options_are_not_repeatable() -> None:
    registry = Registry(
        [
            Plugin(
                name="ours",
                distribution="ours",
                version="1",
                module="m",
                status="ok",
                components=(Component("loss", "counter", "collections:Counter", params=()),),
            )
        ]
    )
    built = Builder(registry).build("loss", "counter")
    assert built.repeatable
    assert not type(built)(built.value, built.entry, {"weight": Thing()}).repeatable
    assert not type(built)(built.value, built.entry, {"base": {"use": "live m:A"}}).repeatable


def test_an_ambiguous_name_is_written_with_its_provider() -> None:
    plugins = [
        Plugin(name=name, distribution=name, version="1", module=name, status="ok", components=COMPONENTS)
        for name in ("ours", "theirs")
    ]
    built = Builder(Registry(plugins), {"num_classes": 1}).build("optimizer", "inner@theirs")
    assert built.table()["use"] == "inner@theirs"


def test_catalogue_members_get_their_name() -> None:
    assert builder().build("model", "member").value.args == ("vgg",)


def test_an_error_inside_names_the_component_and_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError, match="inside") as caught:
        builder().build("model", "failing")
    assert caught.value.__notes__ == ["in model 'failing' of ours, while it is made"]


LIBRARY = '''
class Theirs:
    """Theirs.

    Args:
        size: How many.
    """

    def __init__(self, size: int = 3) -> None:
        self.size = size

def find(name):
    return globals()[name]

def make(name, **options):
    return find(name)(**options)
'''


def test_a_factory_takes_its_options_from_the_like_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "library_of_test.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    component = Component(
        "model", "lib/theirs", "library_of_test:make", args=("Theirs",), like="library_of_test:find", call="factory"
    )
    ours = Plugin(name="ours", distribution="ours", version="1", module="m", status="ok", components=(component,))
    builder = Builder(Registry([ours]))
    entry = builder.registry.find("model", "lib/theirs")
    assert [(param.name, param.type, param.help) for param in builder.params(entry)] == [("size", int, "How many.")]
    assert entry.params() == builder.params(entry)
    assert entry.doc().startswith("Theirs.")
    assert entry.place() == f"{tmp_path}/library_of_test.py:2"
    assert builder.build("model", {"use": "lib/theirs", "size": "5"}).value.size == 5
    with pytest.raises(UsageError, match="unknown option 'sise' of model 'lib/theirs'\n  did you mean 'size'"):
        builder.build("model", {"use": "lib/theirs", "sise": 5})
