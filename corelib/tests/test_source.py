"""Reading a module's names from its text."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from wf.discovery.source import has_word


@given(st.text("aB_1é. "), st.text("aB_1é", min_size=1, max_size=3))
@example("class Focals: Focal", "Focal")
@example("Focals", "Focal")
def test_has_word_agrees_with_a_regular_expression(text: str, word: str) -> None:
    assert has_word(text, word) == (re.search(rf"\b{word}\b", text) is not None)
