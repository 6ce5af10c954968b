"""Messages: the closest names first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.errors import article, closest, unknown

NAMES = ["focal", "weighted-ce", "ce", "mse", "bce-logits"]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("fcal", "focal"),
        ("Focal", "focal"),
        ("weighted_ce", "weighted-ce"),
        ("bce_logit", "bce-logits"),
        ("weigh", "weighted-ce"),
    ],
)
def test_closest(word: str, found: str) -> None:
    assert closest(word, NAMES)[0] == found


@pytest.mark.parametrize(
    ("word", "candidates", "found"),
    [
        ("val_loss", ["train/loss", "validation/loss"], "validation/loss"),
        ("val/acc", ["validation/loss", "validation/accuracy"], "validation/accuracy"),
        ("test_loss", ["validation/loss", "test/loss"], "test/loss"),
        ("val", ["train", "validation", "test"], "validation"),
        ("train", ["run", "resume"], "run"),
        ("fit", ["run", "resume"], "run"),
        ("eval", ["run", "evaluate"], "evaluate"),
        ("learning_rate", ["lr", "momentum"], "lr"),
        ("max-epochs", ["epochs", "steps"], "epochs"),
    ],
)
def test_figure_names_of_other_tools_are_matched(word: str, candidates: list[str], found: str) -> None:
    assert closest(word, candidates)[0] == found


def test_nothing_is_close() -> None:
    assert closest("xyzzy", NAMES) == []
    assert closest("", NAMES) == []
    assert closest("x", []) == []


@given(st.lists(st.text(min_size=1), max_size=9), st.text())
def test_closest_gives_candidates_once_each(names: list[str], word: str) -> None:
    near = closest(word, names)
    assert set(near) <= set(names)
    assert len(near) == len(set(near)) <= 3


def test_unknown_states_the_error_the_choices_and_a_remedy() -> None:
    assert unknown("loss", "fcal", NAMES, "see: wf list loss") == (
        "unknown loss 'fcal'\n"
        "  did you mean 'focal'?\n"
        "  available: focal, bce-logits, ce, mse, weighted-ce\n"
        "  see: wf list loss"
    )


def test_unknown_suggests_but_does_not_list_aliases() -> None:
    message = unknown("loss", "cross-entropi", ["ce"], also=["cross-entropy"], of="the run")
    assert message.splitlines()[:2] == [
        "unknown loss 'cross-entropi' of the run",
        "  did you mean 'cross-entropy'?",
    ]


def test_unknown_shortens_long_lists() -> None:
    message = unknown("model", "x", [f"model-{number:03}" for number in range(100)])
    assert message.endswith("model-023, ... (100 in all)")


def test_article() -> None:
    assert [article(word) for word in ("optimizer", "loss", "")] == ["an", "a", "a"]
