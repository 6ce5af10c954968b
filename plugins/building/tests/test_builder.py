"""Building components from tables and the run's values."""

from __future__ import annotations

import contextlib
import functools
import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest

from wf import Component, FromRun, Nested
from wf.declarations.component import Param
from wf.discovery.plugins import Plugin
from wf.errors import UsageError
from wf.registry import Registry
from wf.traits import LossTraits, OptimizerTraits, TrainerTraits
from wf.typed import Repeated
from wf_building.builder import Builder
from wf_building.built import note_traits, traits_of
from wf_building.checked import Checked
from wf_building.resolver import Provider
from wf_building.scopes import SCOPED
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


def registered(*components: Component) -> Registry:
    own = Plugin(name="ours", distribution="ours", version="1", module="m", status="ok", components=components)
    return Registry([own])


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


def test_the_options_of_a_component_without_making_it() -> None:
    maker = builder()
    thing, odd = (maker.registry.find("model", name) for name in ("thing", "odd"))
    table = {"use": "thing", "gamma": "2"}
    assert maker.options(thing, table, ["gamma", "width", "num_classes"]) == {"gamma": 2.0, "width": 3}
    assert maker.options(thing, table, ["width"]) == {"width": 3}
    assert maker.options(thing, {"use": "thing"}, ["gamma"]) == {}, "a required option that is not given"
    assert maker.options(odd, {"use": "odd"}, ["size", "number"]) == {"size": Size.SMALL, "number": None}
    with pytest.raises(UsageError, match="unknown option 'gama' of model 'thing'"):
        maker.options(thing, {"use": "thing", "gama": 2}, ["width"])
    with pytest.raises(UsageError, match="model 'thing': option 'gamma' wants float"):
        maker.options(thing, {"use": "thing", "gamma": "much"}, ["gamma"])
    assert maker.made == []
    outer = maker.registry.find("optimizer", "outer")
    found = maker.options(outer, {"use": "outer", "base": {"use": "inner", "num_classes": 3}}, ["base"])
    assert found["base"].options == {"num_classes": 3, "lr": 0.1}
    with pytest.raises(UsageError, match=r"optimizer 'inner' needs 'num_classes'"):
        maker.options(outer, {"use": "outer", "base": "inner"}, ["base"])
    with pytest.raises(UsageError, match=r"raise --optimizer\.lr,"):
        Builder(PICKY).options(outer, {"use": "outer", "base": "picky"}, ["base"])


def test_checked_options_are_not_converted_again() -> None:
    maker = builder(num_classes=1)
    entry, exact = maker.registry.find("model", "thing"), Thing()
    table = Checked({"use": "thing", "gamma": "2"}, entry, {"gamma": exact, "width": "5"}, ["gamma"])
    assert maker.build("model", table).value.options == {"gamma": exact, "num_classes": 1, "width": 5}
    assert maker.options(entry, table, ["gamma", "width"]) == {"gamma": exact, "width": 5}
    other = Checked(table, maker.registry.find("model", "odd"), {"gamma": exact}, ["gamma"])
    assert maker.build("model", other).value.options["gamma"] == 2
    assert maker.options(entry, other, ["gamma"]) == {"gamma": 2}


def test_the_components_made_are_listed_with_those_inside_first() -> None:
    maker = builder(num_classes=4)
    maker.build("optimizer", {"use": "outer", "base": "inner"})
    maker.build("model", Thing())
    assert [entry.component.name for entry in maker.made] == ["inner", "outer"]


def test_a_live_object_of_another_process_cannot_be_rebuilt() -> None:
    maker = builder()
    table = maker.build("model", Thing()).table()
    assert maker.entry("model", table["use"]) is None, "made here"
    with pytest.raises(UsageError) as caught:
        builder().build("model", table)
    assert str(caught.value).splitlines() == [
        f"model: this run used a live object ({__name__}:Thing), which cannot be rebuilt from its file",
        "  build the run in Python with the same object, then .restore()",
    ]


def test_the_last_name_counts_of_several(caplog: pytest.LogCaptureFixture) -> None:
    assert builder(num_classes=4).build("optimizer", Repeated(["outer", "inner"])).name == "inner"
    nested = {"use": "outer", "base": {"use": Repeated(["outer", "inner"]), "lr": 2}}
    assert builder(num_classes=4).build("optimizer", nested).value.options["base"].options["lr"] == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"'{name}' is given more than once; the last one counts: inner" for name in ("optimizer", "optimizer.base")
    ]


def test_a_missing_value_is_told_with_the_parts_that_ask_for_it() -> None:
    def count(class_names: list[str]) -> int:
        return len(class_names)

    registry = registered(*COMPONENTS, Component("value", "num_classes", count))
    with pytest.raises(UsageError) as caught:
        Builder(registry, {"seed": 1}).build("optimizer", {"use": "outer", "base": "inner"})
    assert str(caught.value).splitlines() == [
        "value 'num_classes' needs 'class_names', which this run does not know",
        "  asked for by optimizer 'outer' > optimizer 'inner'",
        "  known here: seed",
        "  nobody provides it in this run; see: wf show value class_names",
    ]
    assert Builder(registry, {"class_names": ["a", "b"]}).build("optimizer", "inner").value.options["num_classes"] == 2


# Messages and values of nested components


def picky(lr: float = 0.1) -> None:
    raise UsageError(f"raise --optimizer.lr, which is {lr}", 7)


PICKY = registered(*COMPONENTS, Component("optimizer", "picky", picky), Component("metric", "of-two", several))


def test_an_error_of_a_nested_component_names_its_options_in_full() -> None:
    for table, words in (
        ("picky", "--optimizer.lr"),
        ({"use": "outer", "base": "picky"}, "--optimizer.base.lr"),
        ({"use": "outer", "base": {"use": "outer", "base": "picky"}}, "--optimizer.base.base.lr"),
        ({"use": "all", "parts": ["picky"]}, "--optimizer.lr"),
    ):
        with pytest.raises(UsageError) as caught:
            Builder(PICKY).build("optimizer", table)
        assert caught.value.args == (f"raise {words}, which is 0.1", 7)
        assert not hasattr(caught.value, "__notes__"), "it was meant for the user"


def test_a_nested_component_may_have_values_of_its_own() -> None:
    maker = builder(num_classes=4)
    maker.within["optimizer.base"] = {"num_classes": 9}
    assert maker.build("optimizer", {"use": "outer", "base": "inner"}).value.options["base"].options["num_classes"] == 9
    assert maker.build("optimizer", "inner").value.options["num_classes"] == 4


def test_an_invalid_value_is_refused_with_the_component() -> None:
    with pytest.raises(UsageError, match=r"^model 'thing': option 'gamma' wants float, not 'much'"):
        builder(num_classes=1).build("model", {"use": "thing", "gamma": "much"})


def test_a_function_that_lacks_an_option_is_told_that_it_is_called_to_make_the_component() -> None:
    lines = [
        "the function is called with its options to make the model",
        "a parameter named like a run value, such as params or optimizer, is filled in: wf list values",
    ]
    for kind, use, words in (
        ("model", make, ["model 'make' needs option 'gamma': --model.gamma VALUE", *lines]),
        ("model", Required, ["model 'required' needs option 'size': --model.size VALUE"]),
        ("optimizer", "outer", ["optimizer 'outer' needs option 'base': --optimizer.base VALUE"]),
    ):
        with pytest.raises(UsageError) as caught:
            builder(num_classes=1).build(kind, use)
        assert str(caught.value).split("\n  ") == words
    with pytest.raises(UsageError, match=r"--transform\.rotate\.degrees VALUE"):
        builder().build("transform", rotate)
    with pytest.raises(
        UsageError, match=r"to make the metric, an object with update\(predictions, targets\) and compute"
    ):
        builder().build("metric", files)


class Required:
    def __init__(self, size: int) -> None:
        self.size = size


class Scaled:
    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale


@pytest.mark.parametrize("kind", ["loss", "transform"])
def test_a_partial_of_a_function_is_a_loss_or_transform_and_one_of_a_class_makes_it(kind: str) -> None:
    assert builder().build(kind, functools.partial(margin, scale=2)).value(5, 3) == 4
    assert builder().build(kind, functools.partial(Scaled, scale=2)).value.scale == 2
    assert builder().build(kind, {"use": Scaled, "scale": 3}).value.scale == 3


def test_a_module_wins_over_a_file_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "collections").mkdir()
    assert Builder(REGISTRY, folders=[tmp_path]).build("model", "collections:Counter").value == {}


def test_a_file_of_code_may_lie_in_a_folder_with_a_colon(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a:b" / "net.py").write_text("def make(): return 'net'\n")
    assert builder().build("model", f"{tmp_path}/a:b/net.py:make").value == "net"
    assert Builder(REGISTRY, folders=[tmp_path]).build("model", "a:b/net.py:make").value == "net"


def test_a_declared_default_wins_over_that_of_the_function() -> None:
    params = (Param(name="width", type=int, default=9), Param(name="height", type=int, default=2))
    registry = registered(Component("model", "declared", Thing, params=params))
    built = Builder(registry).build("model", {"use": "declared", "height": 1})
    assert built.value.options == built.options == {"width": 9, "height": 1}


def without_model(model: Any | None) -> Any:
    return model


def with_model(network: Annotated[Any, FromRun("model")] = 5) -> Any:
    return network


@pytest.mark.parametrize(("asking", "found"), [(without_model, None), (with_model, 5)])
def test_a_component_can_do_without_a_value_that_is_being_made_from_it(asking: Any, found: Any) -> None:
    registry = registered(Component("optimizer", "asking", asking))
    needs = Provider("the model", lambda: [maker.build("optimizer", "asking").value], of_run=True)
    maker = Builder(registry, find=lambda name: needs if name == "model" else None)
    assert maker.values.need("model") == [found]
    assert Builder(registry, {"model": 3}).build("optimizer", "asking").value == 3
    assert Builder(registry).build("optimizer", "asking").value == found


# Scopes


class Pair:
    scopes = {"optimizer": ("one", "other"), "model": ("maker", "judge")}  # noqa: RUF012 - as users write


def tower(width: int, num_classes: int) -> Any:
    from torch import nn

    return nn.Linear(width, num_classes)


def test_each_scope_has_its_own_values_and_random_stream() -> None:
    streams: list[str] = []

    def apart(name: str) -> Any:
        streams.append(name)
        return contextlib.nullcontext()

    maker = Builder(REGISTRY, {"num_classes": 4}, plan={"trainer": {"use": Pair}}, apart=apart)
    assert maker.scopes == Pair.scopes
    maker.within["optimizer.other"] = {"num_classes": 7}
    table = {"use": SCOPED, "one": {"use": "inner", "lr": "0.5"}, "other": {"use": "outer", "base": "inner"}}
    built = maker.build("optimizer", table)
    assert built.value["one"].options == {"num_classes": 4, "lr": 0.5}
    assert built.value["other"].options["base"].options == {"num_classes": 7, "lr": 0.1}
    assert maker.values["num_classes"] == 4
    assert streams == ["optimizer.one", "optimizer.other"]
    assert built.options == {
        "one": {"use": "inner", "lr": 0.5},
        "other": {"use": "outer", "base": {"use": "inner", "lr": 0.1}, "then": None},
    }
    assert built.table() == {"use": SCOPED, **built.options}
    assert built.repeatable
    with pytest.raises(UsageError, match="unknown option 'rl' of optimizer 'inner'"):
        maker.build("optimizer", {**table, "one": {"use": "inner", "rl": 1}})
    with pytest.raises(UsageError, match=r"optimizer 'outer' needs option 'base': --optimizer\.other\.base VALUE"):
        maker.build("optimizer", {**table, "other": "outer"})
    with pytest.raises(UsageError, match="unknown option 'third'"):
        maker.build("optimizer", {**table, "third": "inner"})


def test_models_of_scopes_are_one_module() -> None:
    maker = Builder(REGISTRY, {"num_classes": 4}, plan={"trainer": {"use": Pair}})
    parts = {name: {"use": tower, "width": width} for name, width in (("maker", 2), ("judge", 3))}
    model = maker.build("model", {"use": SCOPED, **parts}).value
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == {
        "maker.weight": (4, 2),
        "maker.bias": (4,),
        "judge.weight": (4, 3),
        "judge.bias": (4,),
    }


def test_a_plugin_declares_the_scopes_of_its_trainer() -> None:
    scopes = {"model": ("one", "other")}
    registry = registered(Component("trainer", "pair", Thing, traits=TrainerTraits(scopes=scopes)))
    maker = Builder(registry, plan={"trainer": {"use": "pair"}})
    assert maker.scopes == scopes
    assert maker.entry("model", SCOPED).component.summary == "a model for each of one, other"  # type: ignore[union-attr]  # it has one


def test_a_run_without_scopes_has_none() -> None:
    assert Builder(REGISTRY).scopes == {}
    live = Thing()
    live.scopes = Pair.scopes  # type: ignore[attr-defined]  # it brings its models
    for trainer in (None, {}, {"use": Thing}, {"use": live}):
        assert Builder(REGISTRY, plan={"trainer": trainer}).scopes == {}
    with pytest.raises(UsageError, match="unknown optimizer 'scoped'"):
        builder().build("optimizer", {"use": SCOPED})


# Conditions and states


def test_conditions_are_read_and_a_failing_one_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    registry = registered(
        Component("condition", "size", lambda batch_size: batch_size * 2),
        Component("condition", "broken", failing),
        Component("condition", "last", lambda: "x"),
    )
    maker = Builder(registry, {"batch_size": 4})
    assert maker.conditions() == {"size": 8, "last": "x"}
    assert maker.values.asked_by == {"batch_size": ["condition 'size' of ours"]}
    assert [record.getMessage() for record in caplog.records] == [
        "condition 'broken' of ours cannot be read, so it will not be compared: ZeroDivisionError: inside"
    ]


class Kept:
    def __init__(self, **state: Any) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def test_values_with_a_state_are_saved_by_name() -> None:
    saved, elsewhere, empty = Kept(a=1), Kept(b=2), Kept()
    several = [saved, Thing(), elsewhere, Kept(c=3), empty]
    registry = registered(
        Component("value", "num_classes", lambda: saved),
        Component("value", "class_names", lambda: several),
        Component("value", "input_shape", lambda: empty),
        Component("value", "sample", lambda: elsewhere),
        Component("value", "num_channels", lambda: Kept(d=4)),
    )
    maker = Builder(registry, {"seed": Kept(e=5)})
    for name in ("num_classes", "class_names", "input_shape"):
        maker.values.need(name)
    assert maker.states([elsewhere]) == {
        "value/num_classes": saved,
        "value/class_names/0": saved,
        "value/class_names/3": several[3],
    }
