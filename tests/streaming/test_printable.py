"""Text from elsewhere on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("I'm fine.", "I'm fine."),
        ("schön 好", "schön 好"),
        ("two\nlines\tand more", "two lines and more"),
        ("\x1b]0;owned\x07", "\ufffd]0;owned\ufffd"),
        ("\u202eback", "\ufffdback"),
    ],
)
def test_words_stay_and_controls_go(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_of_any_text_can_control_a_terminal(text: str) -> None:
    assert printable(text).isprintable()
