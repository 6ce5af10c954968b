"""Declarations: what is checked when they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wf import Catalogue, Component
from wf.declarations.component import REQUIRED, Param, check_kind
from wf.declarations.kinds import KINDS
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


@pytest.mark.parametrize("name", ["ce", "weighted-ce", "v1.5", "a/b", "a/B", "3d", "my_loss"])
def test_names(name: str) -> None:
    assert Component("loss", name, "m:A", aliases=(name,)).name == name


@pytest.mark.parametrize("name", ["", "CE", "-ce", "c e", "ce@x", "größe", "a:b", "ce\n"])
def test_invalid_names(name: str) -> None:
    with pytest.raises(ValueError, match="is not a component name: use lower case"):
        Component("loss", name, "m:A")
    with pytest.raises(ValueError, match="is not a component name"):
        Component("loss", "ok", "m:A", aliases=(name,))
    with pytest.raises(ValueError, match="is not a component name"):
        Catalogue("model", name, "m:A", "m:names.txt")


def test_the_longest_name() -> None:
    assert Component("loss", "l" * 80, "m:A").name
    with pytest.raises(ValueError, match=r"'l{20}\.\.\.' is a name of 81 characters; 80 are allowed"):
        Component("loss", "x", "m:A", aliases=("l" * 81,))


def test_a_dot_in_a_name_is_refused_where_options_become_ambiguous() -> None:
    assert Component("loss", "v1.5", "m:A").name == "v1.5"
    with pytest.raises(ValueError, match=r"'a.b' has a dot: --hook.a.b.OPTION would be an option of 'a'"):
        Component("hook", "a.b", "m:A")


@pytest.mark.parametrize("target", ["", "m", ":A", "m:", "m.A"])
def test_invalid_targets(target: str) -> None:
    with pytest.raises(ValueError, match="is not of the form 'module:Attr'"):
        Component("loss", "x", target)


def test_unknown_kinds_are_refused() -> None:
    assert set(KINDS.several) < set(KINDS)
    with pytest.raises(ValueError, match=r"component 'x' is of unknown kind 'losses'; did you mean loss"):
        check_kind(Component("losses", "x", "m:A"))
    with pytest.raises(ValueError, match="catalogue 'x' is of unknown kind 'models'"):
        check_kind(Catalogue("models", "x", "m:A", "m:names.txt"))


@pytest.mark.parametrize("field", ["aliases", "params", "args"])
def test_a_string_in_place_of_a_tuple(field: str) -> None:
    fields: dict[str, Any] = {field: ("mae")}
    with pytest.raises(ValueError, match=f"{field} is a string, not a tuple; is a comma missing"):
        Component("loss", "l1", "m:A", **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"summary": None}, "component 'x': summary is NoneType, not text"),
        ({"summary": b"x"}, "component 'x': summary is bytes, not text"),
        ({"name": 5}, "component '5': name is int, not text"),
        ({"target": None}, "component 'x': target is NoneType, not text or something to call"),
        ({"kind": ["loss"]}, "component 'x': kind is list, not text"),
        ({"call": "func"}, "component 'x': call is 'func', not one of factory, function, auto"),
        ({"aliases": (1,)}, "component 'x': aliases has int, not text"),
        ({"aliases": None}, "component 'x': aliases is NoneType, not a tuple of text"),
        ({"params": 5}, "component 'x': params is int, not a tuple of Param or None"),
        ({"params": (5,)}, "component 'x': params has int, not Param"),
        ({"inject": 5}, "component 'x': inject is int, not a table of text to text"),
        ({"deprecated_params": {"a": 1}}, "component 'x': deprecated_params is dict, not a table of text to text"),
        ({"traits": LossTraits}, "component 'x': its traits are type, and a loss has LossTraits"),
    ],
)
def test_field_values_of_the_wrong_type_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Component(**{"kind": "loss", "name": "x", "target": "m:A", **fields})


def test_the_fields_of_catalogues_and_options_are_checked_too() -> None:
    with pytest.raises(ValueError, match="catalogue 'zoo': index is int, not text"):
        Catalogue("loss", "zoo", "m:A", 5)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ValueError, match="option 'x': help is NoneType, not text"):
        Param(name="x", help=None)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(
    ("traits", "fields", "message"),
    [
        (LossTraits, {"predictions": 3, "targets": ()}, "predictions is int, not text"),
        (LossTraits, {"predictions": "raw", "targets": "real"}, "targets is a string, not a tuple; is a comma missing"),
        (LossTraits, {"predictions": "raw", "targets": (3,)}, "targets has int, not text"),
        (LossTraits, {"predictions": "raw", "targets": [["real"]]}, "targets is list, not a tuple of text"),
        (LossTraits, {"predictions": "raw", "targets": (), "weighted": 1}, "weighted is int, not True or False"),
        (MetricTraits, {"targets": 5}, "targets is int, not a tuple of text"),
        (ModelTraits, {"inputs": [3]}, "inputs is list, not one of any, numbers, vector"),
        (DatasetTraits, {"inputs": 5}, "inputs is int, not one of vector, image, video, sequence, tokens or None"),
        (DatasetTraits, {"transforms": (5,)}, "transforms has int, not text"),
        (OptimizerTraits, {"step": "zig"}, "step is 'zig', not one of plain, closure"),
        (SchedulerTraits, {"interval": "hour"}, "interval is 'hour', not one of step, epoch, evaluation"),
        (TrainerTraits, {"steps": "plain"}, "steps is a string, not a tuple"),
        (TransformTraits, {"gives": 8}, "gives is int, not one of same, any"),
    ],
)
def test_the_values_of_traits_are_checked(traits: type[Any], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{traits.__name__}: {message}"):
        traits(**fields)


def test_traits_of_another_kind_are_refused() -> None:
    loss = LossTraits(predictions="raw", targets=())
    with pytest.raises(ValueError, match="component 'x': its traits are LossTraits, and a model has ModelTraits"):
        Component("model", "x", "m:A", traits=loss)
    with pytest.raises(ValueError, match="component 'x': its traits are LossTraits, and a hook has HookTraits"):
        Component("hook", "x", "m:A", traits=loss)
    with pytest.raises(ValueError, match="component 'x': its traits are LossTraits, and a strategy has no traits"):
        Component("strategy", "x", "m:A", traits=loss)
    with pytest.raises(ValueError, match="catalogue 'x': its traits are LossTraits, and a model has ModelTraits"):
        Catalogue("model", "x", "m:A", "m:names.txt", groups={"odd": loss})


def test_target_name() -> None:
    assert Component("loss", "x", "m:A.b").target_name == "m:A.b"
    assert Component("loss", "x", Path).target_name == "pathlib:Path"
    assert Component("loss", "x", Path.cwd).target_name == "pathlib:Path.cwd"


def test_required_prints_as_a_word() -> None:
    assert str(REQUIRED) == "required"


def test_a_catalogue_reads_its_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "index_of_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "names.txt").write_text("# made by a script\nResNet18\n\n  vgg11  \nvit image for small images\n")
    monkeypatch.syspath_prepend(tmp_path)
    image = ModelTraits(inputs="image")
    catalogue = Catalogue(
        "model",
        "tv",
        "m:make",
        "index_of_test:names.txt",
        "from tv",
        inject={"c": "num_classes"},
        groups={"image": image},
    )
    assert catalogue.names() == ["ResNet18", "vgg11", "vit"]
    assert (catalogue.member("vit").traits, catalogue.member("vit").summary) == (image, "for small images")
    member = catalogue.member("vgg11")
    assert (member.name, member.args, member.target) == ("tv/vgg11", ("vgg11",), "m:make")
    assert (member.summary, member.inject) == ("from tv", {"c": "num_classes"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("vgg11 imaeg", "'vgg11' is of group 'imaeg'; groups: refused"),
        ("vgg11 refused", "'vgg11' is refused without a reason"),
        ("-vgg", "'x/-vgg' is not a component name"),
    ],
)
def test_a_malformed_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str) -> None:
    package = tmp_path / f"wrong_index_{abs(hash(line))}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "names.txt").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=message):
        Catalogue("model", "tv", "m:make", f"{package.name}:names.txt").names()
