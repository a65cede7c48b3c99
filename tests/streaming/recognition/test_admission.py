"""Who is let in: judged by what the others take, on a clock that tests move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import CapacityError
from streaming.recognition.admission import FULL, Admission


def serving(sessions: int, share: float, *, seconds: int = 300) -> Admission:
    """So many sessions have been served, each taking such a share of the time."""
    admission = Admission()
    admission.session_count(sessions, 0.0)
    for second in range(seconds):
        admission.final_computed(sessions * share, float(second))
    return admission


def admitted(admission: Admission, sessions: int, now_s: float = 300.0) -> bool:
    try:
        admission.check(sessions, 0.1, now_s)
    except CapacityError:
        return False
    return True


def test_the_first_session_always_finds_room() -> None:
    admission = Admission()
    admission.final_computed(1000.0, 0.0)

    assert admitted(admission, 0, 1.0)


@given(st.floats(0.01, 0.3))
def test_as_many_are_let_in_as_their_finals_leave_room_for(share: float) -> None:
    capacity = FULL / share
    few, many = max(1, int(0.8 * capacity)), int(1.25 * capacity) + 1

    assert admitted(serving(few, share), few - 1)
    assert not admitted(serving(many, share), many)


def test_a_rush_of_new_sessions_is_counted_before_they_have_said_anything() -> None:
    admission = Admission()
    let_in = 0
    while admitted(admission, let_in, 0.001 * let_in):
        let_in += 1
        admission.session_count(let_in, 0.001 * let_in)
        if let_in > 1000:
            raise AssertionError("everybody was let in")

    assert 20 <= let_in <= 100


def test_silent_sessions_leave_room_for_others() -> None:
    assert admitted(serving(60, 0.001), 60)


def test_the_refusal_says_when_to_try_again_the_later_the_fuller_it_is() -> None:
    waits = []
    for sessions in (20, 24, 60):
        with pytest.raises(CapacityError, match=rf"{sessions} sessions .* try again in \d+ s") as refusal:
            serving(sessions, 0.045).check(sessions, 0.1, 300.0)
        waits.append(refusal.value.retry_after_s)

    assert all(wait is not None and 2 <= wait <= 60 for wait in waits)
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]


def test_what_was_long_ago_is_forgotten() -> None:
    admission = serving(20, 0.08)
    admission.session_count(1, 300.0)

    assert not admitted(admission, 20)
    assert admitted(admission, 20, 1200.0)
