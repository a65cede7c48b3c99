"""Samples by their number in the stream."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.audio.history import AudioHistory
from streaming.errors import StreamingError


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 300))))
def test_what_is_kept_is_the_stream_itself(steps: list[tuple[int, int]]) -> None:
    history, written, kept_from = AudioHistory(), 0, 0
    for count, forget in steps:
        history.append(np.arange(written, written + count, dtype=np.float32))
        written += count
        history.drop_before(forget)
        kept_from = max(kept_from, min(forget, written))
        assert (history.start, history.end) == (kept_from, written)
        np.testing.assert_array_equal(history.between(history.start, history.end), np.arange(history.start, written))


def test_what_was_dropped_is_gone() -> None:
    history = AudioHistory()
    history.append(np.zeros(10, dtype=np.float32))
    history.drop_before(4)
    with pytest.raises(StreamingError, match="samples 3 to 5 are not held: 4 to 10 are"):
        history.between(3, 5)


def test_what_is_still_to_come_is_not_there() -> None:
    with pytest.raises(StreamingError, match="samples 0 to 1 are not held"):
        AudioHistory().between(0, 1)


def test_what_was_read_does_not_change_afterwards() -> None:
    history = AudioHistory()
    history.append(np.ones(4, dtype=np.float32))
    read = history.between(0, 4)
    history.drop_before(2)
    history.append(np.zeros(4, dtype=np.float32))
    np.testing.assert_array_equal(read, np.ones(4))
