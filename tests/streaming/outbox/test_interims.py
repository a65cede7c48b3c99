"""Interims on their way."""

from __future__ import annotations

from streaming.events import Event
from streaming.outbox.interims import LatestInterims
from streaming.outbox.rows import Entry
from tests.fakes.events import EventSource


def follow(interims: LatestInterims, *events: Event) -> None:
    for event in events:
        interims.follow(event, Entry(event.seq, event.session, event.seq, "t", b"p", interim=True))


def test_the_latest_of_each_kind_and_channel_is_handed_out_once() -> None:
    interims, source = LatestInterims(), EventSource()
    follow(
        interims,
        source.interim(),
        source.emotion(final=False),
        source.interim(),
        source.transcript(final=False, channel=1),
    )

    assert sorted(entry.seq for entry in interims.take(float("inf"))) == [2, 3, 4]
    assert interims.take(float("inf")) == []
    assert interims.superseded == 1


def test_only_those_up_to_a_position_are_handed_out() -> None:
    interims, source = LatestInterims(), EventSource()
    follow(interims, source.interim(), source.emotion(final=False))

    assert [entry.seq for entry in interims.take(1)] == [1]
    assert len(interims) == 1


def test_the_end_of_a_segment_takes_its_interims_away_and_nobody_elses() -> None:
    interims, source, other = LatestInterims(), EventSource(), EventSource("s2")
    follow(interims, source.interim(), source.transcript(final=False, channel=1), other.interim())

    follow(interims, source.speech_ended())

    assert sorted((entry.session, entry.seq) for entry in interims.take(float("inf"))) == [("s1", 2), ("s2", 1)]


def test_a_late_final_leaves_the_interims_of_the_next_segment() -> None:
    interims, source = LatestInterims(), EventSource()
    follow(interims, source.interim().model_copy(update={"segment": 2}))

    follow(interims, source.final())

    assert len(interims) == 1


def test_the_end_of_a_session_takes_all_of_its_interims_away() -> None:
    interims, source = LatestInterims(), EventSource()
    follow(interims, source.interim(), source.transcript(final=False, channel=1), source.ended())

    assert (len(interims), interims.superseded) == (0, 2)
