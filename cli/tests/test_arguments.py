from __future__ import annotations

from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from wf.errors import UsageError
from wf.typed import Repeated, plain
from wf_cli.arguments import parse_value, tables_of, take_everywhere, take_options

PLAIN = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("-3", -3),
        ("1e-3", 1e-3),
        ("1_000", 1000),
        ("true", True),
        ("[64, 32]", [64, 32]),
        ("[[1, 2], [3]]", [[1, 2], [3]]),
        ('{ use = "cosine", min_lr = 0.1 }', {"use": "cosine", "min_lr": 0.1}),
        ('"7"', "7"),
        ("focal", "focal"),
        ("@null", "@null"),
        ("", ""),
        ("64,32", "64,32"),
        ("1,", "1,"),
        ("1 # one", "1 # one"),
        ("1]\nsteps = [2", "1]\nsteps = [2"),
        ("2024-01-01", "2024-01-01"),
        ("house.csv", "house.csv"),
        ("True", "True"),
        ("007", "007"),
    ],
)
def test_value_is_toml_or_else_a_string(text: str, value: Any) -> None:
    parsed = plain(parse_value(text))
    assert parsed == value
    assert type(parsed) is type(value)


@given(PLAIN | st.lists(PLAIN, max_size=4))
def test_values_written_by_toml_are_parsed_back(value: Any) -> None:
    assert plain(parse_value(tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n"))) == value


@given(st.text(max_size=30))
def test_any_text_is_parsed_to_a_toml_value(text: str) -> None:
    assert isinstance(parse_value(text), (bool, int, float, str, list, dict))


@pytest.mark.parametrize(
    ("line", "document", "rest"),
    [
        ("--loss.gamma 2", {"loss": {"gamma": 2}}, []),
        ("--loss.gamma=2 run.toml", {"loss": {"gamma": 2}}, ["run.toml"]),
        ("--lr 0.1 --optimizer.momentum -0.9", {"optimizer": {"momentum": -0.9}}, ["--lr", "0.1"]),
        ("--optimizer.nesterov --epochs 3", {"optimizer": {"nesterov": True}}, ["--epochs", "3"]),
        ("--optimizer.nesterov -h", {"optimizer": {"nesterov": True}}, ["-h"]),
        ("--optimizer.weight-decay 0.1", {"optimizer": {"weight_decay": 0.1}}, []),
        ("--dataset.target= ", {"dataset": {"target": ""}}, []),
        ("--loss.note a=b", {"loss": {"note": "a=b"}}, []),
        ("--loss.note=a=b", {"loss": {"note": "a=b"}}, []),
        ("--loss.gamma 2 --loss.gamma 3", {"loss": {"gamma": Repeated([2, 3])}}, []),
        ("--loss.my-gamma 2 --loss.my_gamma=3 --loss.my-gamma 4", {"loss": {"my_gamma": Repeated([2, 3, 4])}}, []),
        ("--hook.early-stopping.min-delta 1", {"hook": [{"use": "set:early-stopping", "min_delta": 1}]}, []),
        ("--metric.my.py:Top.k 5", {"metric": [{"use": "set:my.py:Top", "k": 5}]}, []),
        (
            "--scheduler.then cosine --scheduler.then.min_lr 1e-5",
            {"scheduler": {"then": {"use": "cosine", "min_lr": 1e-5}}},
            [],
        ),
        (
            "--scheduler.then.min_lr 1e-5 --scheduler.then cosine",
            {"scheduler": {"then": {"use": "cosine", "min_lr": 1e-5}}},
            [],
        ),
    ],
)
def test_component_options_are_separated_from_the_rest(line: str, document: dict[str, Any], rest: list[str]) -> None:
    assert take_options(line.strip().split(" ")) == (document, rest)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--los.gamma", ["unknown kind 'los'", "'loss'"]),
        ("--.gamma", ["unknown kind ''"]),
        ("--hook.patience", ["--hook.NAME.OPTION"]),
        ("--metric.my.py:Top", ["--metric.NAME.OPTION"]),
    ],
)
def test_malformed_component_option_is_refused(option: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        take_options([option, "2"])
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "line",
    [
        "-p a.py run --epochs 1 -p no:wf-losses --only-builtin --traceback",
        "run -pa.py --epochs --traceback 1 --only-builtin -p no:wf-losses",
        "run --plugin=a.py --epochs 1 --plugin no:wf-losses --traceback --only-builtin",
    ],
)
def test_global_options_are_accepted_anywhere_on_the_line(line: str) -> None:
    found, rest = take_everywhere(line.split())
    assert (found.plugins, found.only_builtin, found.traceback) == (["a.py", "no:wf-losses"], True, True)
    assert rest == ["run", "--epochs", "1"]


def test_arguments_after_a_double_dash_are_left_alone() -> None:
    found, rest = take_everywhere(["run", "--", "-p", "x"])
    assert (found.plugins, rest) == ([], ["run", "--", "-p", "x"])


def test_plugin_option_without_a_value_is_refused_on_a_complete_line() -> None:
    with pytest.raises(UsageError, match="-p needs a module"):
        take_everywhere(["run", "-p"])
    assert take_everywhere(["run", "-p"], strict=False)[1] == ["run"]


@pytest.mark.parametrize("names", [["f1", "recall"], ["+f1"], ["+f1", "no:accuracy"], ["f1", "+recall"]])
def test_each_name_of_a_list_option_becomes_a_table(names: list[str]) -> None:
    assert tables_of("metric", names) == [{"use": name} for name in names]


def test_replacing_and_removing_at_once_is_refused() -> None:
    with pytest.raises(UsageError, match=r"replaces the whole list.*\n.*--metric \+f1"):
        tables_of("metric", ["f1", "no:accuracy"])
