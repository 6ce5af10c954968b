"""The search space: syntax of values, dependent settings, and errors."""

from __future__ import annotations

from typing import Any

import pytest

from wf.errors import UsageError
from wf_tune.space import Space, document_of, given_in, name_of, parse

OPTIONS = {"adam": ("lr", "betas"), "sgd": ("lr", "momentum")}


def options(kind: str, name: str) -> tuple[str, ...]:
    assert kind == "optimizer"
    return OPTIONS[name]


def space(*texts: str) -> Space:
    return Space([parse(text) for text in texts], options)


def test_a_range_knows_its_ends_and_its_scale() -> None:
    one = parse("optimizer.lr = log(1e-5, 1e-1)")
    assert (one.key, one.low, one.high, one.log, one.whole) == ("optimizer.lr", 1e-5, 0.1, True, False)
    other = parse("batch-size=int(16,64)")
    assert (other.key, other.examples(), other.whole) == ("batch_size", (16, 64), True)


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("optimizer=adam,sgd", ("adam", "sgd")),
        ("model.hidden=[64],[128, 64]", ("[64]", "[128, 64]")),
        ("model.hidden=choice([64],[128, 64])", ("[64]", "[128, 64]")),
        ("model=net.py:Net,mlp", ("net.py:Net", "mlp")),
    ],
)
def test_choices_are_split_at_commas_outside_of_brackets(text: str, choices: tuple[str, ...]) -> None:
    assert parse(text).choices == choices


def test_lr_is_short_for_the_option_of_the_optimizer() -> None:
    assert parse("lr=log(1e-4,1)").key == "optimizer.lr"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optimizer.lr", "write KEY=VALUES"),
        ("=1,2", "write KEY=VALUES"),
        ("optimizer.lr=", "no values to choose from"),
        ("optimizer.lr=choice()", "no values to choose from"),
        ("optimizer.lr=0.1", "give at least two values\n  to set it for all trials: --optimizer.lr 0.1"),
        ("optimizer=adam,adam", "adam is given twice"),
        ("optimizer.lr=log(0,1)", "needs numbers above 0"),
        ("optimizer.lr=log(1,0.1)", "log(0.1,1)"),
        ("optimizer.lr=uniform(1,1)", "the ends must differ"),
        ("optimizer.lr=uniform(0,inf)", "must be finite"),
        ("optimizer.lr=uniform(0)", "uniform takes two numbers"),
        ("optimizer.lr=uniform(a,b)", "uniform takes two numbers"),
        ("batch_size=int(1,2.5)", "int takes two integers"),
        ("optimizer.lr=lgo(1,2)", "did you mean 'log'?"),
        ("optimizer.lr=log(1,2", ") is missing"),
        ("optmizer.lr=1,2", "did you mean 'optimizer'?"),
        ("epoch=1,2", "did you mean 'epochs'?"),
        ("seed=1,2", "all trials have one seed"),
        ("searcher=tpe,random", "unknown key 'searcher'"),
        ("dataset=iris,digits", "dataset cannot be varied: all trials are judged on the same samples"),
        ("dataset.noise=uniform(0,1)", "dataset cannot be varied: all trials are judged on the same samples"),
        ("split=60/20/20,50/25/25", "split cannot be varied: all trials are judged on the same samples"),
    ],
)
def test_malformed_value_sets_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert words in str(caught.value)


def test_an_empty_space_is_refused_with_an_example() -> None:
    with pytest.raises(UsageError, match="nothing to search: give at least one --vary KEY=VALUES"):
        space()


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--vary optimizer\.lr is given twice"):
        space("optimizer.lr=1,2", "lr=3,4")


def test_an_option_is_there_only_with_the_component_that_has_it() -> None:
    found = space("optimizer.betas=[0.9, 0.99],[0.8, 0.99]", "optimizer.lr=0.1,0.2", "optimizer=adam,sgd")
    assert [one.key for one in found.dimensions] == ["optimizer", "optimizer.betas", "optimizer.lr"]
    assert found.only_where("optimizer.betas") == ("optimizer", {"adam"})
    assert found.only_where("optimizer.lr") is None
    points = list(found.points())
    assert all(("optimizer.betas" in point) == (point["optimizer"] == "adam") for point in points)
    assert len(points) == 2 * 2 + 2


def test_an_option_of_a_component_in_a_list_belongs_to_the_value_that_has_it() -> None:
    key = "hook.early-stopping.patience"
    found = space("hook=+early-stopping,+gradient-clip", f"{key}=int(1,5)")
    assert found.only_where(key) == ("hook", {"+early-stopping"})
    assert space("hook=+a,+b", f"{key}=int(1,5)").only_where(key) is None
    with pytest.raises(UsageError, match=r"no value of --vary hook is 'c': a, \+b\n  to have it in all trials"):
        space("hook=a,+b", "hook.c.patience=int(1,5)")


def test_an_option_is_written_without_the_name_of_its_component() -> None:
    with pytest.raises(UsageError, match=r"without the name of its component: --vary optimizer\.betas\n"):
        space("optimizer=adam,sgd", "optimizer.adam.betas=[0.9, 0.99],[0.8, 0.99]")


def test_an_option_of_a_nested_component_belongs_to_the_component() -> None:
    having = {"warmup": ("then",), "constant": (), "cosine": ("min_lr",), "step": ("gamma",)}
    found = Space(
        [
            parse("scheduler.then.gamma=uniform(0.1,0.9)"),
            parse("scheduler.then=cosine,step"),
            parse("scheduler=warmup,constant"),
        ],
        lambda _, name: having[name],
        {"scheduler": "scheduler", "scheduler.then": "scheduler"}.get,
    )
    assert [one.key for one in found.dimensions] == ["scheduler", "scheduler.then", "scheduler.then.gamma"]
    points = list(found.points())
    assert len(points) == 1 + 1 + 2
    for point in points:
        assert ("scheduler.then" in point) == (point["scheduler"] == "warmup")
        assert ("scheduler.then.gamma" in point) == (point.get("scheduler.then") == "step")
    known = Space.known(found.dimensions, found._only)
    assert list(known.points()) == points


def test_an_option_of_no_component_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError) as caught:
        space("optimizer=adam,sgd", "optimizer.momentun=0.5,0.9")
    assert "unknown option 'momentun' of optimizer 'adam' and 'sgd'\n  did you mean 'momentum'?" in str(caught.value)


def test_a_point_is_laid_over_the_run_file() -> None:
    base = {"optimizer": {"use": "adam", "betas": [0.9, 0.999]}, "batch_size": 8}
    point = {"optimizer": "sgd", "optimizer.lr": 0.25, "batch_size": 16}
    document, notes = document_of(base, point, space("optimizer=adam,sgd"))
    assert document["optimizer"] == {"use": "sgd", "lr": 0.25}
    assert document["batch_size"] == 16
    assert notes == ["optimizer sgd replaces adam of the run file; its options are dropped: betas"]


@pytest.mark.parametrize(
    ("point", "optimizer"),
    [
        ({"optimizer": "adam"}, {"use": "adam", "lr": 0.1, "betas": [0.8, 0.9]}),
        ({"optimizer": "sgd"}, {"use": "sgd", "lr": 0.1, "momentum": 0.5}),
        ({}, {"lr": 0.1, "betas": [0.8, 0.9]}),  # the defaults have adam
    ],
)
def test_an_option_with_one_value_belongs_to_the_components_that_have_it(point: Any, optimizer: Any) -> None:
    base = {"optimizer": {"lr": 0.1, "betas": [0.8, 0.9], "momentum": 0.5}, "batch_size": 8}
    varied = [parse("optimizer=adam,sgd")]
    given = given_in(base, varied)
    assert given == ["optimizer.lr", "optimizer.betas", "optimizer.momentum"]
    found = Space(varied, options, given=given, defaults={"optimizer": "adam"})
    for one in (found, Space.known(found.dimensions, found.conditions)):
        assert document_of(base, point, one)[0] == {"optimizer": optimizer, "batch_size": 8}


def test_an_option_with_one_value_of_a_component_inside_another_one() -> None:
    having = {"warmup": ("then",), "constant": (), "cosine": ("min_lr",), "step": ("step_size",)}
    base = {"scheduler": {"use": "warmup", "then": {"step_size": 2}}}
    varied = [parse("scheduler.then=cosine,step")]
    kinds = {"scheduler": "scheduler", "scheduler.then": "scheduler"}.get
    found = Space(varied, lambda _, name: having[name], kinds, given=given_in(base, varied))
    document, _ = document_of(base, {"scheduler.then": "step"}, found)
    assert document == {"scheduler": {"use": "warmup", "then": {"use": "step", "step_size": 2}}}
    assert document_of(base, {"scheduler.then": "cosine"}, found)[0] == {
        "scheduler": {"use": "warmup", "then": "cosine"}
    }
    assert document_of(base, {}, found)[0] == {"scheduler": {"use": "warmup"}}


def test_an_option_of_a_named_component_stays_with_it() -> None:
    assert given_in({"optimizer": {"use": "adam", "betas": [0.8, 0.9]}}, [parse("optimizer=adam,sgd")]) == []


def test_an_option_with_one_value_of_no_component_is_refused_with_the_closest() -> None:
    with pytest.raises(UsageError, match="unknown option 'momentun' of optimizer 'adam' and 'sgd'\n  did you mean"):
        Space([parse("optimizer=adam,sgd")], options, given=["optimizer.momentun"])


def test_small_numbers_reach_the_run_file_whole() -> None:
    value = 1.2345678901234567e-05
    document, _ = document_of({}, {"optimizer.lr": value}, space("optimizer.lr=log(1e-6,1)"))
    assert float(document["optimizer"]["lr"]) == value


@pytest.mark.parametrize(
    ("document", "point"),
    [
        (
            {"optimizer": {"use": "adam", "lr": 0.01, "betas": [0.9, 0.99]}, "batch_size": 32},
            {"optimizer": "adam", "optimizer.lr": 0.01, "optimizer.betas": "[0.9, 0.99]", "batch_size": 32},
        ),
        ({"optimizer": {"use": "sgd", "lr": 0.01}, "batch_size": 32}, None),  # momentum is not part of the space
        ({"optimizer": {"use": "adam", "lr": 5, "betas": [0.9, 0.99]}, "batch_size": 32}, None),
        ({"optimizer": {"use": "rmsprop", "lr": 0.01}, "batch_size": 32}, None),
    ],
)
def test_defaults_within_the_space_become_a_point(document: Any, point: Any) -> None:
    found = space(
        "optimizer=adam,sgd",
        "optimizer.lr=log(1e-3,1)",
        "optimizer.betas=[0.9, 0.99],[0.8, 0.99]",
        "optimizer.momentum=0.5,0.9",
        "batch_size=int(16,64)",
    )
    assert found.defaults(document) == point


def test_a_grid_has_some_values_of_each_range() -> None:
    found = space("optimizer.lr=log(1e-4,1)", "batch_size=int(1,3)", "epochs=int(0,100)").on_grid(5)
    choices = {one.key: one.choices for one in found.dimensions}
    assert choices["optimizer.lr"] == ("0.0001", "0.001", "0.01", "0.1", "1.0")
    assert choices["batch_size"] == ("1", "2", "3")
    assert choices["epochs"] == ("0", "25", "50", "75", "100")


def test_a_point_has_a_short_name() -> None:
    point = {"optimizer": "adam", "optimizer.lr": 0.00123456, "batch_size": 8}
    assert name_of(point) == "adam, lr 0.00123, batch_size 8"
