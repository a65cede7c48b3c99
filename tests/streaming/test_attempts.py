"""Who showed too many wrong tokens, and for how long that counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.attempts import FailedAttempts, peer_name


def attempts(limit: int = 3, max_peers: int = 100) -> FailedAttempts:
    return FailedAttempts(limit=limit, window_s=60, refusal_s=30, max_peers=max_peers)


def fail(counted: FailedAttempts, peer: str, *moments_s: float) -> None:
    for now_s in moments_s:
        counted.failed(peer, now_s)


def test_a_peer_is_refused_from_its_last_allowed_failure_for_the_time_set() -> None:
    counted = attempts()
    fail(counted, "a", 0, 1)
    assert counted.refused_for_s("a", 1) == 0

    fail(counted, "a", 2)

    assert counted.refused_for_s("a", 2) == 30
    assert counted.refused_for_s("a", 31.5) == 0.5
    assert counted.refused_for_s("a", 32) == 0


def test_only_failures_within_the_window_count() -> None:
    counted = attempts()

    fail(counted, "a", 0, 59, 60, 119)
    assert counted.refused_for_s("a", 119) == 0

    fail(counted, "a", 119.5)
    assert counted.refused_for_s("a", 119.5) > 0


def test_after_a_refusal_a_peer_starts_anew() -> None:
    counted = attempts()
    fail(counted, "a", 0, 0, 0)

    fail(counted, "a", 30, 30)
    assert counted.refused_for_s("a", 30) == 0

    fail(counted, "a", 30)
    assert counted.refused_for_s("a", 30) == 30


def test_one_peer_is_not_refused_for_another() -> None:
    counted = attempts()
    fail(counted, "a", 0, 0, 0)

    assert counted.refused_for_s("b", 0) == 0


def test_asking_neither_counts_nor_is_remembered() -> None:
    counted = attempts()

    assert [counted.refused_for_s("a", 0) for _ in range(10)] == [0] * 10
    assert len(counted) == 0


def test_with_a_limit_of_zero_nobody_is_refused_or_remembered() -> None:
    counted = attempts(limit=0)
    fail(counted, "a", *[0] * 1000)

    assert (counted.refused_for_s("a", 0), len(counted)) == (0, 0)


def test_of_many_peers_the_one_not_heard_of_for_longest_is_forgotten() -> None:
    counted = attempts(limit=1, max_peers=2)
    fail(counted, "a", 0)
    fail(counted, "b", 0)
    counted.refused_for_s("a", 0)

    fail(counted, "c", 0)

    assert [counted.refused_for_s(peer, 0) > 0 for peer in "abc"] == [True, False, True]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 50)), max_size=60))
def test_memory_stays_bounded_and_waits_stay_within_the_refusal(failures: list[tuple[str, float]]) -> None:
    counted = attempts(max_peers=3)
    now_s = 0.0
    for peer, pause_s in failures:
        now_s += pause_s
        if not counted.refused_for_s(peer, now_s):
            counted.failed(peer, now_s)
        assert len(counted) <= 3
        assert 0 <= counted.refused_for_s(peer, now_s) <= 30


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::99", "2001:db8:1:2::"),
        ("2001:db8:1:3::99", "2001:db8:1:3::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, counted_as: str) -> None:
    assert peer_name(address) == counted_as
