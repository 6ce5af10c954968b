"""The grid: parsing `--vary`, and names of rows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.errors import UsageError
from wf_compare.grid import folder_names, name_of, parse_vary, points

WORDS = st.text("abcXYZ019./:+-_ ", min_size=1).map(str.strip).filter(bool)
LISTS = st.lists(st.integers(0, 99), max_size=3).map(str)
QUOTED = st.text("ab,[]{}", max_size=6).map(lambda text: f'"{text}"')
VALUES = st.lists(WORDS | LISTS | QUOTED, min_size=1, max_size=5, unique=True)
KEYS = st.sampled_from(["optimizer", "optimizer.lr", "hook.stop.py:Stop.n", "epochs", "batch_size"])


@given(key=KEYS, values=VALUES)
def test_a_key_and_its_values_are_read_back(key: str, values: list[str]) -> None:
    assert parse_vary(f"{key}={','.join(values)}") == (key, tuple(values))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch-size=16,32", ("batch_size", ("16", "32"))),
        ("optimizer.weight-decay=0,0.1", ("optimizer.weight_decay", ("0", "0.1"))),
        ("hook.early-stopping.min-delta=1,2", ("hook.early-stopping.min_delta", ("1", "2"))),
        ("model.hidden=[64],[64, [1]]", ("model.hidden", ("[64]", "[64, [1]]"))),
        ("optimizer.betas=(0.9, 0.99), (0.9, 0.999)", ("optimizer.betas", ("(0.9, 0.99)", "(0.9, 0.999)"))),
        ("dataset.path='a,b.csv'", ("dataset.path", ("'a,b.csv'",))),
        ("loss.x=a=b", ("loss.x", ("a=b",))),
    ],
)
def test_vary_options_are_parsed(text: str, expected: tuple[str, tuple[str, ...]]) -> None:
    assert parse_vary(text) == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("optimizer", "KEY=VALUE"),
        ("=adam", "KEY=VALUE"),
        ("optimizer=", "KEY=VALUE"),
        ("optimizer=adam,,sgd", "KEY=VALUE"),
        ("optimizer=adam,sgd,adam", "adam is given twice"),
        ("model.hidden=[64,[32]", "] is missing"),
        ("dataset.path='a,b", "' is missing"),
    ],
)
def test_malformed_vary_options_are_refused(text: str, word: str) -> None:
    with pytest.raises(UsageError, match="--vary") as error:
        parse_vary(text)
    assert word in str(error.value)


@given(varied=st.lists(st.tuples(KEYS, VALUES), max_size=4, unique_by=lambda pair: pair[0]))
def test_every_combination_appears_once_with_the_first_key_slowest(varied: list[tuple[str, list[str]]]) -> None:
    found = points(varied)
    assert len(found) == math.prod(len(values) for _, values in varied)
    assert len({tuple(point.items()) for point in found}) == len(found)
    assert all(list(point) == [key for key, _ in varied] for point in found)
    ranks = [[values.index(point[key]) for key, values in varied] for point in found]
    assert ranks == sorted(ranks)


def test_a_key_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--vary epochs=A,B"):
        points([("epochs", ["1"]), ("epochs", ["2"])])


def test_row_names_join_the_varied_values() -> None:
    assert name_of({"optimizer": "adam", "optimizer.lr": "0.1", "batch_size": "16"}) == "adam, lr 0.1, batch_size 16"


@given(st.lists(st.text(max_size=80), max_size=8))
def test_folders_differ_on_any_file_system(names: list[str]) -> None:
    found = folder_names(names)
    assert len({name.lower() for name in found}) == len(names)
    assert all(name and "/" not in name and not name.startswith(".") for name in found)


def test_folder_names_resemble_the_row_names() -> None:
    assert folder_names(["adam, lr 0.1", "torch/lbfgs", "Torch lbfgs"]) == [
        "adam-lr-0.1",
        "torch-lbfgs",
        "Torch-lbfgs-2",
    ]
