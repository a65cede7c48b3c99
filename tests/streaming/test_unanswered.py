"""Where a new session has to begin so that nothing that was said stays without an answer."""

from __future__ import annotations

from typing import Any

from streaming.events import ErrorEvent, SessionEnded, SpeechEnded, SpeechStarted, TranscriptEvent
from streaming.unanswered import UNJUDGED_S, Unanswered
from tests.fakes.events import MOMENT, EventSource


def common(channel: int | None, time_s: float) -> dict[str, Any]:
    role = None if channel is None else "customer"
    return {"session": "s1", "seq": 1, "time_s": time_s, "channel": channel, "role": role}


def began(segment: int, start_s: float, *, channel: int = 0) -> SpeechStarted:
    return SpeechStarted(**common(channel, start_s + 0.5), segment=segment, start_s=start_s)


def over(segment: int, end_s: float, *, channel: int = 0) -> SpeechEnded:
    times = {"start_s": 0.0, "end_s": end_s, "reason": "silence"}
    return SpeechEnded(**common(channel, end_s + 0.5), segment=segment, **times)


def final(segment: int, time_s: float, *, channel: int = 0) -> TranscriptEvent:
    said = {"final": True, "committed": "yes", "tentative": "", "language": "en", "words": ()}
    return TranscriptEvent(**common(channel, time_s), segment=segment, **said)


def error(code: str, time_s: float, channel: int | None = 0) -> ErrorEvent:
    return ErrorEvent(**common(channel, time_s), code=code, message="", retryable=False)


def after(*events: Any, channels: int = 1) -> Unanswered:
    unanswered = Unanswered(channels)
    for event in events:
        unanswered.take(event.stamped(MOMENT))
    return unanswered


def test_a_session_that_said_nothing_begins_anew() -> None:
    assert after().restart_s == 0
    assert after().announced_s is None


def test_speech_that_goes_on_is_heard_again_from_its_beginning() -> None:
    unanswered = after(began(1, 20.0))

    assert (unanswered.restart_s, unanswered.announced_s) == (20.0, 20.0)


def test_speech_that_ended_is_not_answered_by_that() -> None:
    assert after(began(1, 20.0), over(1, 21.5)).restart_s == 20.0


def test_a_final_transcript_answers_once_it_is_clear_that_an_emotion_does_not_follow_or_has() -> None:
    told = after(began(1, 20.0), over(1, 21.5), final(1, 22.0))
    by_the_emotion = after(
        began(1, 20.0),
        over(1, 21.5),
        final(1, 22.0),
        EventSource().emotion(final=True).model_copy(update={"time_s": 0}),
    )
    by_the_next = after(began(1, 20.0), over(1, 21.5), final(1, 22.0), began(2, 23.0))

    assert told.restart_s == 20.0
    assert by_the_emotion.restart_s == 21.5
    assert by_the_emotion.announced_s is None
    assert by_the_next.restart_s == 23.0


def test_an_interim_is_no_answer() -> None:
    interim = final(1, 21.0).model_copy(update={"final": False})

    assert after(began(1, 20.0), interim, interim).restart_s == 20.0


def test_an_error_answers_the_oldest_segment_of_its_channel() -> None:
    both = (began(1, 20.0), over(1, 21.5), began(2, 23.0), over(2, 24.0))

    assert after(*both, error("recognition", 24.5)).restart_s == 23.0
    assert after(*both, error("audio_format", 24.5, None)).restart_s == 20.0


def test_the_earliest_segment_of_any_channel_counts() -> None:
    unanswered = after(began(1, 20.0), began(1, 18.0, channel=1), channels=2)

    assert unanswered.restart_s == 18.0


def test_a_channel_that_is_silent_reaches_back_no_further_than_unannounced_speech_can() -> None:
    unanswered = after(began(1, 20.0), over(1, 21.5), final(1, 100.0), began(2, 100.0), channels=2)

    assert unanswered.clock_s == 100.5
    assert unanswered.restart_s == 100.5 - UNJUDGED_S


def test_events_that_are_lost_are_not_waited_for() -> None:
    assert after(began(1, 20.0), over(1, 21.5), error("events_lost", 40.0, None)).announced_s is None


def test_a_session_that_ended_has_answered_all_it_heard() -> None:
    ended = EventSource().ended()
    totals = ended.totals.model_copy(update={"audio_s": 30.0})

    unanswered = after(began(1, 28.0), SessionEnded(**{**dict(ended), "totals": totals, "time_s": 30.0}))

    assert unanswered.restart_s == 30.0
