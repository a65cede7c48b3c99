"""What batches will take, learned from what batches took."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.recognition.service_times import ServiceTimes


def learned(
    once_s: float, each_s: float, *, window_s: float = 10.0, sizes: tuple[int, ...] = (1, 2, 4, 8)
) -> ServiceTimes:
    times = ServiceTimes()
    for _ in range(40):
        for size in sizes:
            times.observe(window_s, size, once_s + each_s * size)
    return times


def test_nothing_is_known_before_anything_was_measured() -> None:
    assert ServiceTimes().predict(10.0, 1) is None


@given(once_s=st.floats(0.0, 1.0), each_s=st.floats(0.001, 1.0), size=st.integers(1, 16))
def test_what_was_measured_is_predicted_also_for_sizes_between(once_s: float, each_s: float, size: int) -> None:
    predicted = learned(once_s, each_s).predict(10.0, size)

    assert predicted == pytest.approx(once_s + each_s * size, rel=0.15, abs=0.01)


def test_a_machine_that_has_become_slower_is_believed_soon() -> None:
    times = learned(0.02, 0.05)
    for _ in range(100):
        times.observe(10.0, 1, 0.5)

    predicted = times.predict(10.0, 1)

    assert predicted == pytest.approx(0.5, rel=0.2)


def test_a_bucket_never_seen_is_scaled_from_the_nearest() -> None:
    times = learned(0.0, 0.1)

    near, far = times.predict(10.0, 1), times.predict(30.0, 1)

    assert near is not None
    assert far == pytest.approx(3 * near)


def test_batches_without_words_are_learned_apart() -> None:
    times = learned(0.0, 0.1)
    before = times.predict(10.0, 1, words=False)
    for _ in range(50):
        times.observe(10.0, 1, 0.03, words=False)

    assert before == times.predict(10.0, 1)
    assert times.predict(10.0, 1, words=False) == pytest.approx(0.03, rel=0.1)


@given(once_s=st.floats(0.0, 0.5), each_s=st.floats(0.001, 0.5), most=st.integers(1, 32), within_s=st.floats(0.0, 2.0))
def test_the_largest_batch_fits_and_the_next_does_not(once_s: float, each_s: float, most: int, within_s: float) -> None:
    times = learned(once_s, each_s)

    size = times.largest_batch(10.0, most, within_s)

    assert 1 <= size <= most
    fits, next_ = times.predict(10.0, size), times.predict(10.0, size + 1)
    assert fits is not None
    assert next_ is not None
    assert size == 1 or fits <= within_s
    assert size == most or next_ > within_s


def test_before_anything_is_known_a_batch_may_be_full() -> None:
    assert ServiceTimes().largest_batch(10.0, 8, 0.001) == 8


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0.0, 10.0)), min_size=1, max_size=50))
def test_a_larger_batch_is_never_predicted_to_be_quicker(seen: list[tuple[int, float]]) -> None:
    times = ServiceTimes()
    for size, time_s in seen:
        times.observe(10.0, size, time_s)

    predicted = [times.predict(10.0, size) or 0.0 for size in range(1, 65)]

    assert all(one <= two + 1e-9 for one, two in pairwise(predicted))
    assert min(predicted) >= 0


@given(once_s=st.floats(0.001, 0.5), each_s=st.floats(0.001, 0.5), most=st.integers(1, 8))
def test_a_request_costs_its_part_of_a_full_batch(once_s: float, each_s: float, most: int) -> None:
    times = learned(once_s, each_s)

    assert times.share(10.0, most) == pytest.approx(once_s / most + each_s, rel=0.2, abs=0.01)


def test_no_batch_is_believed_to_be_cheaper_than_those_that_were_seen() -> None:
    alone = learned(0.02, 0.001, sizes=(1,))
    together = learned(0.02, 0.001, sizes=(1, 4))

    assert alone.share(10.0, 8) == pytest.approx(0.021)
    assert together.share(10.0, 8) == pytest.approx(0.006, rel=0.1)


def test_large_batches_that_were_seen_long_ago_are_forgotten() -> None:
    times = learned(0.02, 0.001, sizes=(8,))
    for _ in range(200):
        times.observe(10.0, 1, 0.021)

    assert times.share(10.0, 8) == pytest.approx(0.021, rel=0.05)


def test_what_a_request_costs_is_unknown_before_anything_was_measured_and_scaled_where_it_was_not() -> None:
    assert ServiceTimes().share(10.0, 8) is None
    assert learned(0.0, 0.1).share(30.0, 8) == pytest.approx(0.3, rel=0.01)
