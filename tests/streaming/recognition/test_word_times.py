"""When words were said: estimated, and from an alignment."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.recognition.request import Word
from streaming.recognition.word_times import aligned, spread

FRAME_S = 0.02


def test_interim_words_are_spread_evenly() -> None:
    assert spread(["well", "then"], start_s=4.0, duration_s=1.0, probability=0.8) == (
        Word("well", 4.0, 4.5, 0.8),
        Word("then", 4.5, 5.0, 0.8),
    )


def test_no_words_take_no_time() -> None:
    assert spread([], start_s=4.0, duration_s=1.0, probability=0.8) == ()


def test_a_word_lasts_from_its_first_token_to_the_next_words() -> None:
    path = [(0, 5), (1, 10), (1, 12), (2, 20), (3, 40)]

    found = aligned(["hello", "you"], [2, 1], path, [0.5, 1.0, 0.9], start_s=10.0, duration_s=2.0, frame_s=FRAME_S)

    assert [(word.text, word.start_s, word.end_s) for word in found] == [
        ("hello", pytest.approx(10.1), pytest.approx(10.4)),
        ("you", pytest.approx(10.4), pytest.approx(10.8)),
    ]
    assert [word.probability for word in found] == [pytest.approx(0.75), pytest.approx(0.9)]


def test_tokens_the_path_never_reaches_end_where_it_ends() -> None:
    found = aligned(["a", "b"], [1, 1], [(0, 0), (0, 30)], [0.5, 0.5], start_s=0.0, duration_s=1.0, frame_s=FRAME_S)

    assert [(word.start_s, word.end_s) for word in found] == [(0.0, pytest.approx(0.6)), (0.6, pytest.approx(0.6))]


@given(
    st.lists(st.integers(1, 3), max_size=6),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 400))),
    st.floats(0.02, 5),
)
def test_times_never_go_back_and_stay_within_the_audio(
    sizes: list[int], path: list[tuple[int, int]], duration_s: float
) -> None:
    probabilities = [0.5] * sum(sizes)

    found = aligned(["w"] * len(sizes), sizes, path, probabilities, start_s=3.0, duration_s=duration_s, frame_s=FRAME_S)

    assert len(found) == len(sizes)
    edges = [edge for word in found for edge in (word.start_s, word.end_s)]
    assert all(before <= after for before, after in pairwise(edges))
    assert all(3.0 <= edge <= 3.0 + duration_s for edge in edges)
