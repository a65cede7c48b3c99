from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.arrivals import RESOLUTION_S, Arrivals


def test_audio_arrived_with_the_first_message_that_covers_it() -> None:
    arrivals = Arrivals(horizon_s=10)
    for audio_s, now_s in ((0.1, 5.0), (0.2, 6.0), (0.3, 7.0)):
        arrivals.record(audio_s, now_s)
    assert [arrivals.of(0.05), arrivals.of(0.1), arrivals.of(0.12), arrivals.of(0.3)] == [5.0, 5.0, 6.0, 7.0]


def test_padding_after_the_end_arrived_with_the_last_message() -> None:
    arrivals = Arrivals(horizon_s=10)
    arrivals.record(0.1, 5.0)
    assert arrivals.of(0.2) == 5.0


def test_audio_before_the_horizon_counts_as_the_oldest_still_known() -> None:
    arrivals = Arrivals(horizon_s=1.0)
    for message in range(1, 101):
        arrivals.record(message * 0.1, float(message))
    assert arrivals.of(0.1) == arrivals.of(0.0) > 1.0
    assert arrivals.of(9.0) == 90.0


def test_nothing_is_known_before_audio_arrives() -> None:
    with pytest.raises(ValueError, match="no audio has arrived"):
        Arrivals(horizon_s=1.0).of(0.0)


@given(st.integers(1, 400), st.integers(1, 60))
def test_frame_boundaries_are_exact_however_small_messages_are(samples_a_message: int, frames: int) -> None:
    rate_hz, frame = 16_000, round(RESOLUTION_S * 16_000)
    arrivals = Arrivals(horizon_s=frames * RESOLUTION_S)
    received, now_s, arrived = 0, 0.0, {}
    while received < frames * frame:
        received += samples_a_message
        now_s += 1.0
        arrivals.record(received / rate_hz, now_s)
        for boundary in range(frame, received + 1, frame):
            arrived.setdefault(boundary, now_s)
    for boundary, moment in arrived.items():
        assert arrivals.of(boundary / rate_hz) == moment


def test_tiny_messages_do_not_push_old_audio_out() -> None:
    arrivals = Arrivals(horizon_s=1.0)
    for sample in range(1, 16_001):
        arrivals.record(sample / 16_000, float(sample))
    assert arrivals.of(RESOLUTION_S) == RESOLUTION_S * 16_000
