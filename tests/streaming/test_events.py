from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

import streaming.events
from streaming.events import (
    AttributesInfo,
    AudioInfo,
    Degraded,
    EmotionEvent,
    ErrorEvent,
    Event,
    Latency,
    Limits,
    ModelInfo,
    SessionEnded,
    SessionStarted,
    SpeechEnded,
    SpeechStarted,
    Totals,
    TranscriptEvent,
    WordInfo,
    events_schema,
    parse_event,
)

MOMENT = datetime(2025, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
ON_SESSION: dict[str, Any] = {"session": "call-7", "seq": 1, "time_s": 0.0}
ON_CHANNEL: dict[str, Any] = {**ON_SESSION, "channel": 0, "role": "customer"}

EXAMPLES: tuple[Event, ...] = (
    SessionStarted(
        **ON_SESSION,
        audio=AudioInfo(encoding="mulaw", rate_hz=8000, channels=1),
        model=ModelInfo(bundle="base", sha256="ab" * 32, profile="base", labels=("angry", "neutral")),
        limits=Limits(max_message_bytes=1_048_576, max_segment_s=15.0, idle_timeout_s=60.0, replay_events=1000),
    ),
    SpeechStarted(**ON_CHANNEL, segment=1, start_s=0.5),
    TranscriptEvent(**ON_CHANNEL, segment=1, final=False, committed="well", tentative="then", language="en", words=()),
    TranscriptEvent(
        **ON_CHANNEL,
        segment=1,
        final=True,
        committed="well",
        tentative="",
        language="en",
        words=(WordInfo(text="well", start_s=0.5, end_s=0.8, probability=0.9),),
    ),
    EmotionEvent(
        **ON_CHANNEL,
        segment=1,
        start_s=0.5,
        end_s=1.5,
        final=True,
        label="angry",
        abstained=False,
        confidence=0.75,
        scores={"angry": 0.75, "neutral": 0.25},
        attributes=AttributesInfo(arousal=5.0, valence=2.0, dominance=4.5),
        text="well",
        latency=Latency(endpoint_ms=600.0, queue_ms=1.0, compute_ms=90.0, total_ms=605.0),
    ),
    EmotionEvent(
        **ON_CHANNEL,
        segment=2,
        start_s=2.5,
        end_s=2.8,
        final=True,
        label=None,
        abstained=True,
        confidence=0.0,
        scores={},
        attributes=None,
        text="",
        latency=Latency(endpoint_ms=600.0, queue_ms=1.0, compute_ms=90.0, total_ms=605.0),
    ),
    SpeechEnded(**ON_CHANNEL, segment=1, start_s=0.5, end_s=1.5, reason="silence"),
    Degraded(**ON_CHANNEL, reason="overload", dropped_interims=3, lag_ms=120.0),
    Degraded(**ON_SESSION, channel=None, role=None, reason="slow_consumer", dropped_interims=3, lag_ms=0.0),
    ErrorEvent(**ON_SESSION, channel=None, role=None, code="protocol", message="text is not audio", retryable=False),
    SessionEnded(
        **ON_SESSION, reason="close", totals=Totals(audio_s=60.0, speech_s=30.5, segments=9, finals=9, interims=12)
    ),
)


def _name(event: Event) -> str:
    return event.type


def test_the_committed_schema_is_the_one_the_code_generates() -> None:
    committed = Path(streaming.events.__file__).with_name("events.schema.json")
    assert json.loads(committed.read_text(encoding="utf-8")) == events_schema(), (
        "run: python -m streaming.events > streaming/events.schema.json"
    )


@pytest.mark.parametrize("event", EXAMPLES, ids=_name)
def test_every_event_on_the_wire_obeys_the_schema(event: Event) -> None:
    jsonschema.Draft202012Validator(events_schema()).validate(json.loads(event.stamped(MOMENT).to_json()))


@pytest.mark.parametrize("event", EXAMPLES, ids=_name)
def test_every_event_survives_the_wire(event: Event) -> None:
    sent = event.stamped(MOMENT)
    assert parse_event(sent.to_json()) == sent


@pytest.mark.parametrize("event", EXAMPLES, ids=_name)
@pytest.mark.parametrize("field", ["version", "session", "channel", "role", "seq", "time_s", "emitted_at", "type"])
def test_no_common_field_may_be_left_out(event: Event, field: str) -> None:
    wire = json.loads(event.stamped(MOMENT).to_json())
    del wire[field]
    assert not jsonschema.Draft202012Validator(events_schema()).is_valid(wire)


@pytest.mark.parametrize("field", ["version", "emitted_at"])
def test_parsing_names_a_missing_common_field(field: str) -> None:
    wire = json.loads(EXAMPLES[1].stamped(MOMENT).to_json())
    del wire[field]
    with pytest.raises(ValueError, match=field):
        parse_event(json.dumps(wire))


@pytest.mark.parametrize("event", EXAMPLES[:2], ids=_name)
def test_events_are_compact_json_that_starts_with_the_type(event: Event) -> None:
    assert event.stamped(MOMENT).to_json().startswith(f'{{"type":"{event.type}","version":1,"session":"call-7"')


def test_stamps_are_utc_with_milliseconds() -> None:
    in_berlin = MOMENT.astimezone(timezone(timedelta(hours=2)))
    assert EXAMPLES[1].stamped(in_berlin).emitted_at == "2025-03-01T12:00:00.123Z"


def test_a_stamp_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        EXAMPLES[1].stamped(MOMENT.replace(tzinfo=None))


def test_an_event_without_a_stamp_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match=r"call stamped\(\)"):
        EXAMPLES[1].to_json()


def test_numbers_are_rounded_for_the_wire() -> None:
    word = WordInfo(text="well", start_s=0.123_456, end_s=1.0, probability=0.987_654)
    assert (word.start_s, word.probability) == (0.123, 0.9877)


@pytest.mark.parametrize("session", ["", "a/b", "a+b", "#", "a" * 65, "a\n", "é"])
def test_names_that_could_inject_a_topic_level_are_refused(session: str) -> None:
    with pytest.raises(ValidationError, match="session"):
        SpeechStarted(**{**ON_CHANNEL, "session": session}, segment=1, start_s=0.0)


def test_not_a_number_never_reaches_the_wire() -> None:
    with pytest.raises(ValidationError, match="start_s"):
        SpeechStarted(**ON_CHANNEL, segment=1, start_s=float("nan"))


def test_an_emotion_cannot_abstain_and_claim_a_label() -> None:
    emotion = json.loads(EXAMPLES[4].stamped(MOMENT).to_json())
    with pytest.raises(ValueError, match="contradict"):
        parse_event(json.dumps({**emotion, "abstained": True}))


@pytest.mark.parametrize("text", ["", "[]", '{"type": "mood"}', '{"type": "speech.started"}', "not json"])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        parse_event(text)


def test_an_unknown_field_is_refused() -> None:
    wire = json.loads(EXAMPLES[1].stamped(MOMENT).to_json())
    with pytest.raises(ValueError, match="mood"):
        parse_event(json.dumps({**wire, "mood": "fine"}))
