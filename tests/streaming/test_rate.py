"""So many a second, and as many at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streaming.rate import RateLimit


def test_a_burst_of_one_second_is_allowed_and_no_more() -> None:
    limit = RateLimit(3)

    assert [limit.allows(10.0) for _ in range(4)] == [True, True, True, False]


def test_what_was_used_comes_back_with_time() -> None:
    limit = RateLimit(2)
    for _ in range(2):
        limit.allows(0.0)

    assert [limit.allows(now_s) for now_s in (0.4, 0.5, 0.6, 1.0)] == [False, True, False, True]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=100))
def test_never_more_than_the_burst_and_the_rate_together(pauses_s: list[float]) -> None:
    limit, now_s, allowed = RateLimit(5), 0.0, 0
    for pause_s in pauses_s:
        now_s += pause_s
        allowed += limit.allows(now_s)
    assert allowed <= 5 + 5 * now_s + 1e-6
