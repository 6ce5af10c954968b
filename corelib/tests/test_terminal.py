"""Text for a terminal: control characters are escaped, and the rest is unchanged."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.terminal import duration, message, plural, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe 日本 👩‍🔬 العربية", "größe 日本 👩‍🔬 العربية"),
        ("\x1b]0;TITLE\x07", "\\u001b]0;TITLE\\u0007"),
        ("\x9b2J", "\\u009b2J"),
        ("a\rb\x7f", "a\\u000db\\u007f"),
        ("a\u202eb\u2066", "a\\u202eb\\u2066"),
        ("\udcff", "\\udcff"),
        ("two\n\tlines", "two\n\tlines"),
    ],
)
def test_control_characters_are_shown_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_visible_text_has_no_control_characters(text: str) -> None:
    shown = visible(text)
    assert not {character for character in shown if unicodedata.category(character) in ("Cc", "Cs")} - {"\n", "\t"}
    assert not {"\n", "\t"} & {*visible(text, line=True)}
    assert visible(shown) == shown
    shown.encode()


@given(st.text(st.characters(exclude_categories=())))
def test_json_is_left_unchanged(text: str) -> None:
    written = json.dumps({text: text}).replace("\x7f", "\\u007f")
    assert visible(written) == written


def test_no_line_of_a_message_looks_like_another_message() -> None:
    assert message("bad\nwf: done\n  try: this") == "bad\n  wf: done\n  try: this"


def test_counts_have_a_noun_in_the_right_number() -> None:
    assert [plural(number, "step") for number in (0, 1, 1000)] == ["0 steps", "1 step", "1,000 steps"]


def test_durations_are_as_precise_as_they_are_long() -> None:
    seconds = (0.00041, 0.0042, 0.0123, 0.9999, 1.23, 59.97, 125, 3599.7, 11220)
    assert [duration(one) for one in seconds] == [
        *["0.4 ms", "4.2 ms", "12 ms", "1.0 s", "1.2 s", "1 min 00 s", "2 min 05 s", "1 h 00 min", "3 h 07 min"]
    ]
