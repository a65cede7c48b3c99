"""Numbered pieces of audio, in whatever order they come."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.protocols.jitter import LostAudioError, Track

PIECE_MS = 20
PER_MS = 8
SIZE = PIECE_MS * PER_MS
SILENCE = b"\xff"


def a_track() -> Track:
    return Track(PER_MS, SILENCE)


def piece(number: int) -> bytes:
    """The audio of a piece, unlike that of any other and unlike silence."""
    return bytes([number % 250]) * SIZE


def push(track: Track, number: int) -> None:
    track.push(number, (number - 1) * PIECE_MS, piece(number))


def heard(*numbers: int, lossy: bool = False) -> bytes:
    track = a_track()
    for number in numbers:
        with contextlib.suppress(LostAudioError) if lossy else contextlib.nullcontext():
            push(track, number)
    track.finish()
    return track.take(track.ready)


def whole(count: int, *, less: tuple[int, ...] = ()) -> bytes:
    return b"".join(SILENCE * SIZE if number in less else piece(number) for number in range(1, count + 1))


def test_pieces_in_order_are_there_at_once() -> None:
    track = a_track()
    for number in (1, 2, 3):
        push(track, number)
        assert track.take(track.ready) == piece(number)


@given(st.data())
def test_pieces_that_come_a_little_late_and_some_twice_change_nothing(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 60))
    late = {number: number + data.draw(st.integers(0, 5)) for number in range(1, count + 1)}
    order = sorted(late, key=lambda number: (late[number], number))
    again = data.draw(st.lists(st.sampled_from(order), max_size=10))
    for number in again:
        order.insert(data.draw(st.integers(order.index(number) + 1, len(order))), number)

    assert heard(*order) == whole(count)


def test_a_piece_that_is_waited_for_holds_back_those_behind_it() -> None:
    track = a_track()
    push(track, 1)
    push(track, 3)
    assert track.ready == SIZE
    push(track, 2)
    assert track.take(track.ready) == whole(3)


def test_a_piece_that_never_comes_is_silence_and_said() -> None:
    track = a_track()
    for number in (1, 2, *range(4, 14)):
        push(track, number)
    assert track.ready == 2 * SIZE
    with pytest.raises(LostAudioError, match="1 pieces of audio never came"):
        push(track, 14)
    assert track.take(track.ready) == whole(14, less=(3,))


def test_a_piece_whose_place_was_given_up_is_dropped() -> None:
    assert heard(1, 2, *range(4, 20), 3, lossy=True) == whole(19, less=(3,))


def test_what_is_held_back_in_the_end_is_not_lost() -> None:
    assert heard(1, 2, 4, 5) == whole(5, less=(3,))


@given(st.sets(st.integers(1, 80), min_size=1))
def test_however_many_are_missing_the_others_lie_where_they_belong(there: set[int]) -> None:
    last = max(there)
    assert heard(*sorted(there), lossy=True) == whole(last, less=tuple(set(range(1, last)) - there))


def test_a_track_that_begins_later_is_silent_until_then() -> None:
    track = a_track()
    track.push(1, 100, piece(1))
    assert track.take(track.ready) == SILENCE * (100 * PER_MS) + piece(1)


def test_a_clock_that_leaps_makes_no_endless_silence() -> None:
    track = a_track()
    track.push(1, 10**11, piece(1))
    assert track.ready == SIZE


def test_audio_for_which_silence_was_put_in_is_shortened_by_it() -> None:
    track = a_track()
    push(track, 1)
    track.fill(4 * SIZE)
    for number in range(2, 7):
        push(track, number)
    told = track.take(track.ready)
    assert told == piece(1) + SILENCE * (3 * SIZE) + piece(5) + piece(6)


def test_memory_is_bounded_whatever_comes() -> None:
    track = a_track()
    for number in range(1, 10_000, 2):
        with contextlib.suppress(LostAudioError):
            push(track, number)
        assert len(track._held) <= 11
        track.take(track.ready)
