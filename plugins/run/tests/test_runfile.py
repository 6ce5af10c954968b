"""Run files: reading, checking, merging, writing."""

from __future__ import annotations

import math
import tomllib
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.errors import UsageError
from wf.parameters import NULL, without_null
from wf.splits import parse_split
from wf_run.cli.running import run
from wf_run.runfiles.runfile import OF_LINE, check, check_general, dump, load, merge

# Round trip

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | texts
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(UTC))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
tables = st.dictionaries(texts.filter(lambda name: name != "use"), values, max_size=4).map(lambda t: {"use": "x", **t})
documents = st.fixed_dictionaries(
    {},
    optional={
        **{kind: st.lists(tables, max_size=3) if kind in KINDS.several else tables for kind in KINDS},
        "epochs": st.integers(0, 10**6),
        "seed": st.integers(0, 2**63 - 1),
        "shuffle": st.booleans(),
        "monitor": texts,
        "eval_splits": st.lists(texts, max_size=3),
        "checkpoint_every": st.sampled_from(["50steps", "2epochs", "10min"]),
        "keep": st.sampled_from(["last", "best"]),
    },
)


@given(documents)
def test_dump_then_load_gives_the_same(document: dict[str, Any]) -> None:
    assert tomllib.loads(dump(document)) == document


@given(documents, st.text(st.characters(exclude_categories=["C"])))
def test_a_comment_changes_nothing(document: dict[str, Any], comment: str) -> None:
    assert tomllib.loads(dump(document, comment)) == document


@pytest.mark.parametrize(
    "value",
    [
        *("", "a\nb\r\n", "\x00\x1b\t\x7f\x85", '"quoted" \\ back', "größe 🙂 \u2028"),
        *(True, -0.0, 1e-300, math.inf, 10**18, [], [[1], []], {"a": {"b c": [{"d.e": 1}]}}),
        *(date(2026, 1, 2), time(3, 4, 5, 6), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_awkward_values_survive(tmp_path: Path, value: Any) -> None:
    file = tmp_path / "run.toml"
    document = {"loss": {"use": "x", "option": value, "größe": 1, "": 2}}
    file.write_text(dump(document), encoding="utf-8")
    assert load(file) == document
    assert type(load(file)["loss"]["option"]) is type(value)


def test_nan_survives() -> None:
    assert math.isnan(tomllib.loads(dump({"loss": {"use": "x", "a": math.nan}}))["loss"]["a"])


def test_null_is_written_and_read_as_a_keyword() -> None:
    text = dump({"loss": {"use": "x", "a": None, "b": [1, None], "c": {"d": None}}})
    assert f'a = "{NULL}"' in text
    assert without_null(tomllib.loads(text)["loss"]) == {"use": "x", "a": None, "b": [1, None], "c": {"d": None}}


def test_null_for_a_general_key_is_written_unless_it_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(dump({"checkpoint_every": None, "epochs": None}))
    assert load(file) == {"checkpoint_every": None}


# Reading


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "run.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_component_names_are_shorthand_for_tables(tmp_path: Path) -> None:
    file = write(tmp_path, 'loss = "ce"\nhook = ["progress", {use = "plots"}]\n[metric]\nuse = "accuracy"\n')
    assert load(file) == {
        "loss": {"use": "ce"},
        "hook": [{"use": "progress"}, {"use": "plots"}],
        "metric": [{"use": "accuracy"}],
    }


def test_an_option_of_the_command_line_is_named_where_it_is_taken_for_a_key() -> None:
    options = {option for param in run.params for option in param.opts}
    for key in OF_LINE:
        option = f"--{key.replace('_', '-')}"
        assert option in options
        assert key not in GENERAL
        with pytest.raises(UsageError, match=f"command line: wf run {option}\\b"):
            check({key: 2})


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert load(write(tmp_path, b"\xef\xbb\xbfepochs = 3\n")) == {"epochs": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs = ", "is not a TOML file: Invalid value (at end of document)"),
        (b"\xff\xfe", "is not a TOML file"),
        ("[loss]\nuse='a'\n[loss]\nuse='b'\n", "is not a TOML file"),
        ("epoch = 3", "unknown key 'epoch'\n  did you mean 'epochs'?"),
        ("[optimiser]\nuse = 'adam'", "unknown key 'optimiser'\n  did you mean 'optimizer'?"),
        ("lr = 0.1", "[optimizer] lr = ..."),
        ("[[loss]]\nuse = 'a'\n[[loss]]\nuse = 'b'", "a run has one loss: write [loss] instead of [[loss]]"),
        ("loss = 5", "loss: 5 is not a name"),
        ("[loss]\nuse = 5", "loss: 5 is not a name"),
        ("[[hook]]\nuse = ['a']", "hook: ['a'] is not a name"),
        ("hook = [1]", "hook: 1 is not a name"),
        ("[[hook]]\npatience = 5", "a table [[hook]] without 'use'"),
        ("epochs = 1\nsteps = 1", "both epochs and steps"),
    ],
)
def test_a_bad_run_file(tmp_path: Path, text: str | bytes, words: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load(file)
    assert str(caught.value).startswith(str(file))
    assert words in str(caught.value)


def test_no_run_file(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(UsageError, match=r"there is no run file .*\n  did you mean run.toml"):
        load(tmp_path / "rum.toml")
    with pytest.raises(UsageError, match="there is no run file"):
        load(tmp_path / "nowhere" / "run.toml")


def test_a_folder_in_place_of_a_run_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder, not a run file$"):
        load(tmp_path)
    write(tmp_path, "")
    with pytest.raises(UsageError, match=r"is a folder, not a run file\n.*run.toml$"):
        load(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **settings: Any) -> str:
        raise PermissionError(13, "Permission denied")

    file = write(tmp_path, "")
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UsageError, match=r"cannot be read: Permission denied"):
        load(file)


# General values


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("epochs", 3.0, 3),
        ("batch_size", "64", 64),
        ("batch_size", "full", "full"),
        ("checkpoint_every", "@null", None),
        ("eval_every", 2, 2),
        ("eval_every", "500steps", "500steps"),
        ("links", [], []),
    ],
)
def test_general_value(key: str, value: Any, wanted: Any) -> None:
    converted = check_general(key, value)
    assert converted == wanted
    assert type(converted) is type(wanted)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("epochs", -1, "epochs must be at least 0"),
        ("epochs", "many", "option 'epochs' wants int or null, not 'many'"),
        ("epochs", True, "option 'epochs' wants int or null, not True"),
        ("batch_size", 0, "batch_size must be at least 1"),
        ("accumulate", 0, "accumulate must be at least 1"),
        ("batch_size", "0", "batch_size must be at least 1"),
        ("batch_size", "all", "a whole number of at least 1, or full"),
        ("batch_size", True, "wants int or str, not True"),
        ("log_every", 0, "log_every must be at least 1"),
        ("seed", -1, "seed must be at least 0"),
        ("seed", 2**63, "seed must be at most"),
        ("keep", "bset", "did you mean 'best'"),
        ("eval_every", "5parsecs", "eval_every: '5parsecs' is not a cadence"),
        ("eval_every", "5min", "eval_every is 5min; it counts epochs or steps"),
        ("checkpoint_every", "often", "checkpoint_every: 'often' is not a cadence"),
        ("shuffle", "perhaps", "wants bool"),
        ("eval_splits", "test", "write a list, for example '[\"test\"]'"),
        ("monitor", 5, "put it in quotes"),
    ],
)
def test_wrong_general_value(key: str, value: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_general(key, value)
    assert words in str(caught.value)


def test_every_default_is_valid() -> None:
    for key, param in GENERAL.items():
        assert check_general(key, param.default) == param.default
        assert param.help


def test_check_does_not_modify_its_argument() -> None:
    given = {"loss": {"use": "ce"}, "eval_splits": ["test"]}
    checked = check(given)
    checked["loss"]["use"] = "mse"
    checked["eval_splits"].append("train")
    assert given == {"loss": {"use": "ce"}, "eval_splits": ["test"]}


# Merging


@given(documents)
def test_merging_nothing_changes_nothing(document: dict[str, Any]) -> None:
    assert merge(document, {}) == (document, [])


@given(documents)
def test_merging_over_nothing_gives_it(document: dict[str, Any]) -> None:
    assert merge({}, document) == (document, [])


def test_options_of_the_same_component_are_merged() -> None:
    merged, notes = merge({"loss": {"use": "focal", "gamma": 2.0}}, {"loss": {"alpha": 0.5, "gamma": 1.0}})
    assert merged == {"loss": {"use": "focal", "gamma": 1.0, "alpha": 0.5}}
    assert notes == []


def test_another_component_drops_the_options_of_the_old_one() -> None:
    merged, notes = merge({"loss": {"use": "focal", "gamma": 2.0}}, {"loss": {"use": "ce"}})
    assert merged == {"loss": {"use": "ce"}}
    assert notes == ["loss ce replaces focal of the run file; its options are dropped: gamma"]


def test_the_same_component_keeps_its_options() -> None:
    assert merge({"loss": {"use": "focal", "gamma": 2.0}}, {"loss": {"use": "focal"}}) == (
        {"loss": {"use": "focal", "gamma": 2.0}},
        [],
    )


def test_epochs_and_steps_replace_each_other() -> None:
    assert merge({"epochs": 3}, {"steps": 5})[0] == {"steps": 5}
    assert merge({"steps": 3}, {"epochs": 5})[0] == {"epochs": 5}
    assert merge({"steps": 3}, {"epochs": None, "seed": 1})[0]["steps"] == 3


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ({"use": "sgd", "lr": 1}, {"lr": 2}, {"use": "sgd", "lr": 2}),
        ("sgd", {"lr": 2}, {"use": "sgd", "lr": 2}),
        ({"use": "sgd", "lr": 1}, "sgd", {"use": "sgd", "lr": 1}),
        ({"use": "sgd", "lr": 1}, "adam", {"use": "adam"}),
        ({"use": "sgd", "lr": 1}, {"use": "adam", "eps": 1}, {"use": "adam", "eps": 1}),
        ({"use": "sgd"}, NULL, NULL),
        ({"a": 1, "b": 2}, {"a": 3}, {"a": 3}),
        (None, "sgd", "sgd"),
    ],
)
def test_nested_components(old: Any, new: Any, wanted: Any) -> None:
    merged, notes = merge({"optimizer": {"use": "sam", "base": old}}, {"optimizer": {"base": new}})
    assert merged["optimizer"]["base"] == wanted
    dropped = isinstance(old, dict) and "lr" in old and "lr" not in wanted
    assert notes == (["optimizer.base adam replaces sgd of the run file; its options are dropped: lr"] * dropped)


@pytest.mark.parametrize(
    ("text", "shares"), [("70/15/15", (0.7, 0.15, 0.15)), ("90/10", (0.9, 0.1, 0)), ("1/1/2", (0.25, 0.25, 0.5))]
)
def test_parse_split(text: str, shares: tuple[float, ...]) -> None:
    assert parse_split(text) == pytest.approx(shares)


@pytest.mark.parametrize(
    "text", ["", "70", "a/b", "0/50/50", "-1/1", "1/2/3/4", "70/15/", "nan/50/50", "inf/1/1", "1e400/1/1", "1/nan"]
)
def test_parse_split_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="A/B/C"):
        parse_split(text)


@pytest.mark.parametrize("key", ["epochs", "steps", "batch_size", "accumulate", "log_every", "workers", "seed"])
def test_huge_numbers_are_refused(key: str) -> None:
    with pytest.raises(UsageError, match=f"{key} must be at most"):
        check({key: 10**30})
