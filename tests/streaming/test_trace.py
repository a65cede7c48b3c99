"""From events to the life of each segment."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.events import Event, Latency
from streaming.trace import MAX_SEGMENTS, SegmentTrace, Span, Stage, Tracer
from tests.fakes.events import EventSource
from tests.fakes.stories import TOLD, story


def traced(*stories: Iterable[Event]) -> tuple[SegmentTrace, ...]:
    tracer = Tracer()
    for events in stories:
        for event in events:
            tracer.take(event)
    return tracer.segments


def test_a_segment_is_followed_from_its_first_word_to_its_answer() -> None:
    (life,) = traced(story())
    assert (life.channel, life.role, life.segment) == (0, "customer", 1)
    assert (life.start_s, life.end_s, life.interims_s) == (1.0, 3.0, [2.0])
    assert (life.outcome, life.text, life.total_ms) == ("angry", "well then", 605)


def test_a_final_computed_ahead_lies_inside_the_silence() -> None:
    (life,) = traced(story())
    assert list(life.spans()) == [
        Span(Stage.SILENCE, 0, 600),
        Span(Stage.QUEUE, 200, 210),
        Span(Stage.ENCODE, 210, 270),
        Span(Stage.DECODE, 270, 360),
        Span(Stage.EMOTION, 360, 400),
        Span(Stage.EMIT, 600, 605),
    ]


def test_time_of_the_batch_that_no_stage_explains_is_shown_as_such() -> None:
    (life,) = traced(story(latency=TOLD.model_copy(update={"compute_ms": 200.0})))
    assert Span(Stage.REST, 400, 410) in list(life.spans())


def test_the_batch_of_an_older_server_is_shown_whole() -> None:
    older = Latency(endpoint_ms=600, queue_ms=10, compute_ms=200, total_ms=820)
    (life,) = traced(story(latency=older))
    assert [span.stage for span in life.spans()] == [Stage.SILENCE, Stage.QUEUE, Stage.REST]


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        pytest.param(story(label=None), "not sure", id="abstained"),
        pytest.param(story(latency=None, role="agent"), "not scored", id="not scored"),
        pytest.param(story(fails=True), "failed", id="failed"),
        pytest.param(story()[:3], "no answer", id="broken off"),
    ],
)
def test_why_there_is_no_label_is_said(events: list[Event], outcome: str) -> None:
    (life,) = traced(events)
    assert life.outcome == outcome


def test_an_error_stands_for_the_oldest_answer_of_its_channel_that_is_due() -> None:
    other, first, second = story(1, channel=1), story(1, start_s=2.0, fails=True), story(2, start_s=5.0)
    lives = traced(other[:3], first[:3], second[:3], first[3:], second[3:])
    assert [(life.channel, life.segment, life.failed) for life in lives] == [(1, 1, False), (0, 1, True), (0, 2, False)]


def test_errors_that_concern_no_segment_fail_none() -> None:
    (life,) = traced(story()[:3], [story(fails=True)[-1].model_copy(update={"code": "audio_format"})])
    assert not life.failed


def test_segments_are_in_the_order_in_which_they_were_spoken() -> None:
    lives = traced(story(1, start_s=4.0), story(1, channel=1, start_s=1.0), story(2, channel=1, start_s=6.0))
    assert [(life.channel, life.segment) for life in lives] == [(1, 1), (0, 1), (1, 2)]


def test_an_open_segment_is_as_long_as_is_known() -> None:
    (life,) = traced(story()[:2])
    assert (life.end_s, life.duration_s, life.outcome) == (None, 1.0, "no answer")


def test_memory_does_not_grow_with_a_days_recording() -> None:
    tracer = Tracer()
    for number in range(1, MAX_SEGMENTS + 8):
        for event in story(number, start_s=float(number)):
            tracer.take(event)
    assert len(tracer.segments) == MAX_SEGMENTS
    assert (tracer.segments[0].segment, tracer.left_out) == (8, 7)


def test_events_that_come_without_their_beginning_are_passed_over() -> None:
    make = EventSource()
    assert traced(story()[1:], [make.started(), make.ended()]) == ()


durations = st.floats(0, 5000)


@given(durations, durations, durations, st.tuples(durations, durations, durations), durations)
def test_stages_follow_each_other_and_none_runs_backwards(
    endpoint: float, request: float, queue: float, stages: tuple[float, float, float], emit: float
) -> None:
    compute = sum(stages)
    told = Latency(
        endpoint_ms=endpoint,
        request_ms=request,
        queue_ms=queue,
        compute_ms=compute,
        encode_ms=stages[0],
        decode_ms=stages[1],
        emotion_ms=stages[2],
        emit_ms=emit,
        total_ms=max(endpoint, request + queue + compute) + emit,
    )
    (life,) = traced(story(latency=told))
    spans = list(life.spans())
    computed = [span for span in spans if span.stage not in {Stage.SILENCE, Stage.EMIT}]
    assert all(0 <= span.start_ms < span.end_ms <= life.total_ms + 0.5 for span in spans)
    assert all(before.end_ms == after.start_ms for before, after in pairwise(computed))
