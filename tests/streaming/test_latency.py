"""From the moments of an answer to its latency."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.latency import Moments, latency, later
from streaming.recognition.request import RecognitionRequest, RecognitionResult, RequestKind, Transcript

REQUEST = RecognitionRequest(1, "a", 0, 1, RequestKind.FINAL, np.zeros(1600, np.float32), 0.0)
SAID = Transcript("well", (), "en", 1.0, -0.2, 0.01)
ROUNDING_MS = 0.3
"""Four figures, each rounded to 0.1 ms."""


def answer(*, queue_ms: float = 0.0, compute_ms: float = 0.0) -> RecognitionResult:
    return RecognitionResult(REQUEST, SAID, None, queue_ms=queue_ms, compute_ms=compute_ms)


def test_an_answer_that_was_ready_adds_nothing_but_telling_it() -> None:
    told = latency(answer(queue_ms=10, compute_ms=90), Moments(5.0, 5.6, 5.3, 5.61))
    assert (told.endpoint_ms, told.request_ms, told.emit_ms, told.total_ms) == (600, 200, 10, 610)


def test_an_answer_that_comes_late_is_told_from_when_it_was_there() -> None:
    told = latency(answer(queue_ms=10, compute_ms=90), Moments(5.0, 5.6, 5.7, 5.72))
    assert (told.endpoint_ms, told.request_ms, told.emit_ms, told.total_ms) == (600, 600, 20, 720)


def test_nothing_is_told_before_it_is_there() -> None:
    told = latency(answer(compute_ms=90), Moments(5.0, 5.6, 5.7, 5.5))
    assert (told.emit_ms, told.total_ms) == (0, 700)


def test_an_event_handed_on_later_took_longer_to_tell() -> None:
    told = later(latency(answer(compute_ms=90), Moments(5.0, 5.6, 5.7, 5.7)), 0.0123)
    assert (told.endpoint_ms, told.emit_ms, told.total_ms) == (600, 12.3, 712.3)


def test_a_clock_that_seems_to_go_back_takes_nothing_away() -> None:
    told = latency(answer(), Moments(5.0, 5.6, 5.7, 5.7))
    assert later(told, -1.0) == told


durations = st.floats(0, 20)


@given(durations, durations, durations, durations, durations, durations)
def test_what_adds_up_to_what(
    endpoint_s: float, request_s: float, queue_s: float, compute_s: float, telling_s: float, late_s: float
) -> None:
    arrived_s = 100.0
    answered_s = arrived_s + request_s + queue_s + compute_s
    moments = Moments(arrived_s, arrived_s + endpoint_s, answered_s, arrived_s + telling_s)
    told = later(latency(answer(queue_ms=1000 * queue_s, compute_ms=1000 * compute_s), moments), late_s)
    due_ms = max(told.endpoint_ms, told.request_ms + told.queue_ms + told.compute_ms)
    assert told.total_ms == pytest.approx(due_ms + told.emit_ms, abs=ROUNDING_MS)
    assert told.total_ms >= told.endpoint_ms
