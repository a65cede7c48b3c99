"""Short pieces of audio become longer ones, in order and in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.protocols.gathering import GATHERED_S, Gathering

BYTES_PER_S = 8000
PIECE = bytes(160)
PIECE_S = 0.02
HALF_A_PIECE_S = PIECE_S / 2


def at_pace(gathering: Gathering, count: int, *, until_s: float = 0.0, piece: bytes = PIECE) -> list[float]:
    """Pieces that come when their last sample has been spoken, and how long each rest is that follows."""
    rests = []
    for number in range(1, count + 1):
        now_s = until_s + number * len(piece) / BYTES_PER_S
        if gathering.add(piece, now_s):
            rests.append(gathering.take(now_s)[2])
    return rests


def test_three_pieces_of_telephony_are_handed_on_together() -> None:
    gathering = Gathering(BYTES_PER_S)
    assert [gathering.add(PIECE, PIECE_S * number) for number in range(1, 4)] == [False, False, True]
    audio, came_s, _ = gathering.take(0.06)
    assert (len(audio), came_s) == (3 * len(PIECE), PIECE_S)


@pytest.mark.parametrize("piece_s", [0.04, 0.05, 0.1, 2.0])
def test_a_piece_that_is_long_enough_waits_for_no_other(piece_s: float) -> None:
    gathering = Gathering(BYTES_PER_S)
    assert gathering.add(bytes(round(piece_s * BYTES_PER_S)), 1.0)
    assert gathering.take(1.0)[1:] == (1.0, 0.0)


def test_what_waits_does_not_wait_for_long() -> None:
    gathering = Gathering(BYTES_PER_S)
    assert gathering.left_s(0.0) is None
    gathering.add(PIECE, 1.0)
    assert gathering.left_s(1.02) == pytest.approx(GATHERED_S - 0.02)
    assert gathering.left_s(9.0) == 0.0


def test_where_short_pieces_come_in_time_nothing_is_read_until_the_last_of_the_next_is_due() -> None:
    rests = at_pace(Gathering(BYTES_PER_S), 9)
    assert len(rests) == 3
    assert all(GATHERED_S - HALF_A_PIECE_S < rest_s < GATHERED_S for rest_s in rests)


def test_whoever_is_in_a_hurry_is_not_made_to_wait() -> None:
    gathering = Gathering(BYTES_PER_S)
    at_pace(gathering, 3)
    rests = [gathering.take(0.06)[2] for _ in range(300) if gathering.add(PIECE, 0.06)]
    assert rests == [0.0] * 100


def test_pieces_that_the_line_kept_count_as_come_when_they_were_spoken() -> None:
    gathering = Gathering(BYTES_PER_S)
    at_pace(gathering, 3)
    for _ in range(3):
        gathering.add(PIECE, 0.12)
    assert gathering.take(0.12)[1] == pytest.approx(0.08)


@given(st.lists(st.tuples(st.integers(0, 900), st.floats(0, 0.2)), max_size=60))
def test_nothing_is_lost_and_moments_never_go_back(comes: list[tuple[int, float]]) -> None:
    gathering, now_s, before_s = Gathering(BYTES_PER_S), 0.0, float("-inf")
    sent, heard = bytearray(), bytearray()
    for number, (size, passes_s) in enumerate(comes):
        now_s += passes_s
        piece = bytes([number % 256]) * size
        sent += piece
        if gathering.add(piece, now_s):
            audio, came_s, rest_s = gathering.take(now_s)
            heard += audio
            assert before_s <= came_s <= now_s
            assert 0.0 <= rest_s <= len(audio) / BYTES_PER_S
            before_s = came_s
        else:
            assert len(sent) - len(heard) < GATHERED_S * BYTES_PER_S
    assert heard + gathering.take(now_s)[0] == sent
