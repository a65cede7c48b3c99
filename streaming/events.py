"""The events of version 1: the public contract of the live runtime.

Every event is one JSON object, one WebSocket text message or one MQTT payload. The JSON Schema is committed as
`events.schema.json` beside this file and made by `python -m streaming.events > streaming/events.schema.json`.

Events of the session as a whole (`session.started`, `session.ended`, and those `degraded` and `error` events that no
single channel caused) carry `channel` and `role` null; all others name both. Numbers are rounded when an event is
made (times to 1 ms, probabilities to 4 digits), so that what a client parses equals what was sent.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, TypeAdapter, WithJsonSchema
from pydantic import model_validator as check

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN

EVENT_VERSION: Final = 1
IDENTIFIER_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
"""What session names and roles are made of, so that none can inject an MQTT topic level."""
TIMESTAMP_PATTERN: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
_TIMESTAMP_SCHEMA: Final = {"type": "string", "format": "date-time", "pattern": TIMESTAMP_PATTERN}
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def _rounded(digits: int) -> BeforeValidator:
    # Before the bounds are checked, so that 1.0000001 is a probability; + 0.0 turns -0.0 into 0.0.
    return BeforeValidator(lambda value: round(value, digits) + 0.0 if isinstance(value, float) else value)


Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]
Seconds = Annotated[float, Field(ge=0), _rounded(3)]
Milliseconds = Annotated[float, Field(ge=0), _rounded(1)]
Probability = Annotated[float, Field(ge=0, le=1), _rounded(4)]
AttributeValue = Annotated[float, Field(ge=ATTRIBUTE_MIN, le=ATTRIBUTE_MAX), _rounded(3)]
Count = Annotated[int, Field(ge=0)]
Ordinal = Annotated[int, Field(ge=1)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class AudioInfo(_Wire):
    """The audio a session receives."""

    encoding: Literal["pcm_s16le", "mulaw", "alaw", "f32le"]
    rate_hz: Ordinal
    channels: Ordinal


class ModelInfo(_Wire):
    """The ensemble that answers."""

    bundle: str
    sha256: str
    profile: str
    labels: tuple[str, ...]


class Limits(_Wire):
    """What the server holds a session to."""

    max_message_bytes: Ordinal
    max_segment_s: Seconds
    """Longer speech is cut at its quietest point."""
    idle_timeout_s: Seconds
    """A session that sends nothing for so long is closed."""
    replay_events: Count
    """Past events a subscriber can ask for again."""


class ResumeInfo(_Wire):
    """How a session is taken up again after its connection broke."""

    token: str
    """Given as `resume` to `/v1/listen`; a secret of the session's owner."""
    within_s: Seconds
    """How long the session waits."""


class WordInfo(_Wire):
    """One word on the audio clock."""

    text: str
    start_s: Seconds
    end_s: Seconds
    probability: Probability


class AttributesInfo(_Wire):
    """Self-assessment manikin scale, 1 (low) to 7 (high)."""

    arousal: AttributeValue
    valence: AttributeValue
    dominance: AttributeValue


class Latency(_Wire):
    """Where the time between speech and its emotion went.

    `total_ms` is `emit_ms` more than the greater of `endpoint_ms` and `request_ms + queue_ms + compute_ms`: finals are
    computed ahead, so that the answer is often there before speech counts as ended.
    """

    endpoint_ms: Milliseconds
    """From the arrival of the last speech sample to the decision that speech ended; 0 for interims."""
    queue_ms: Milliseconds
    """From the request to the start of its batch."""
    compute_ms: Milliseconds
    """That batch's own time."""
    total_ms: Milliseconds
    """From the arrival of the last speech sample that was looked at to this event."""
    request_ms: Milliseconds = 0.0
    """From the arrival of that sample to the request that was answered."""
    encode_ms: Milliseconds = 0.0
    """Of `compute_ms`, the speech encoder's part."""
    decode_ms: Milliseconds = 0.0
    """Of `compute_ms`, until the words were read."""
    emotion_ms: Milliseconds = 0.0
    """Of `compute_ms`, until the emotion was scored."""
    emit_ms: Milliseconds = 0.0
    """From when the answer was there and due until this event was handed on."""


class Totals(_Wire):
    """What a session amounted to."""

    audio_s: Seconds
    """Audio received, on the session's clock: channels run side by side and count once."""
    speech_s: Seconds
    """Length of all segments of all channels."""
    segments: Count
    finals: Count
    """Segments answered; the others ended in an `error` event."""
    interims: Count


def timestamp(moment: datetime) -> str:
    """A moment as events write it: UTC, RFC 3339 with milliseconds; such texts sort by time.

    Raises:
        ValueError: it has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone: give a datetime in UTC")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _EventBase(_Wire):
    type: str
    version: Literal[1] = EVENT_VERSION
    session: Identifier
    channel: Count | None
    """Counts from 0; null where the event concerns the whole session."""
    role: Identifier | None
    """Of the channel, or null like it."""
    seq: Ordinal
    """Per session, from 1, without gaps."""
    time_s: Seconds
    """The session's audio clock."""
    emitted_at: Annotated[str | None, Field(pattern=TIMESTAMP_PATTERN), WithJsonSchema(_TIMESTAMP_SCHEMA)] = None
    """UTC, RFC 3339 with milliseconds; never null on the wire."""

    def stamped(self, emitted_at: datetime) -> Self:
        """The same event with the moment it was handed to the wire.

        Raises:
            ValueError: `emitted_at` has no time zone.
        """
        return self.model_copy(update={"emitted_at": timestamp(emitted_at)})

    def to_json(self) -> str:
        """The event as compact JSON.

        Raises:
            ValueError: the event was not `stamped`.
        """
        if self.emitted_at is None:
            raise ValueError(f"event {self.seq} ({self.type}) has no emitted_at: call stamped() before it is sent")
        return self.model_dump_json()


class _SessionEvent(_EventBase):
    channel: None = None
    role: None = None


class _ChannelEvent(_EventBase):
    channel: Count
    role: Identifier


class SessionStarted(_SessionEvent):
    """The first event of every session."""

    type: Literal["session.started"] = "session.started"
    audio: AudioInfo
    model: ModelInfo
    limits: Limits
    resume: ResumeInfo | None = None
    """For whoever sends the audio; null for all others, and where sessions end with their connection."""


class SessionResumed(_SessionEvent):
    """The first message on a connection that takes a session up again; what the client missed follows.

    It belongs to the connection, not to the session's numbered events: its `seq` is that of the last event which the
    client says it has.
    """

    type: Literal["session.resumed"] = "session.resumed"
    received_samples: Count
    """Of each channel, at the session's rate, since its beginning: what comes behind them is to be sent."""


class SpeechStarted(_ChannelEvent):
    """Someone began to speak."""

    type: Literal["speech.started"] = "speech.started"
    segment: Ordinal
    """Counts from 1 within the channel."""
    start_s: Seconds


class TranscriptEvent(_ChannelEvent):
    """What was said in a segment, so far or in all."""

    type: Literal["transcript"] = "transcript"
    segment: Ordinal
    final: bool
    committed: str
    """Words that later interims keep; the whole text of a final."""
    tentative: str
    """Words that may still change; empty in a final."""
    language: str | None
    """ISO 639-1 code; null when nothing was said."""
    words: tuple[WordInfo, ...]
    """Aligned words of a final; empty in an interim."""


class EmotionEvent(_ChannelEvent):
    """How a segment was said, so far or in all; only on channels that are scored."""

    type: Literal["emotion"] = "emotion"
    segment: Ordinal
    start_s: Seconds
    end_s: Seconds
    final: bool
    label: str | None
    """The class claimed; null when abstained. Over interims it changes only when a new one holds."""
    abstained: bool
    """True when the ensemble is not sure enough, the speech is too short to judge, or nothing was said."""
    confidence: Probability
    """Calibrated probability of `label`, or of the best class when abstained; 0 when nothing was said."""
    scores: dict[str, Probability]
    """By class; empty, and `attributes` null, when nothing was said."""
    attributes: AttributesInfo | None
    text: str
    latency: Latency

    @check(mode="after")
    def _label_or_abstention(self) -> Self:
        if self.abstained != (self.label is None):
            raise ValueError(f"label {self.label!r} and abstained {self.abstained} contradict each other")
        return self


class SpeechEnded(_ChannelEvent):
    """A segment is over; its final transcript and emotion follow."""

    type: Literal["speech.ended"] = "speech.ended"
    segment: Ordinal
    start_s: Seconds
    end_s: Seconds
    reason: Literal["silence", "max_length", "stream_end"]


class Degraded(_EventBase):
    """The server gives less than it should; finals are never dropped."""

    type: Literal["degraded"] = "degraded"
    reason: Literal["overload", "slow_consumer", "lag"]
    dropped_interims: Count
    """Since the last such event."""
    lag_ms: Milliseconds
    step: Literal["none", "slower_interims", "wordless_interims", "finals_only"] | None = None
    """What is given up from now on, where that has changed; null where this event is not about it."""


class ErrorEvent(_EventBase):
    """Something went wrong; the session goes on unless `session.ended` follows."""

    type: Literal["error"] = "error"
    code: str
    """A short identifier to branch on, such as `audio_format` or `recognition`."""
    message: str
    """What was wrong and what to do about it, for people."""
    retryable: bool
    retry_after_s: Seconds | None = None
    """When to try again, where that can be estimated."""


class SessionEnded(_SessionEvent):
    """The last event of every session."""

    type: Literal["session.ended"] = "session.ended"
    reason: str
    totals: Totals


SpeechEvent = SpeechStarted | TranscriptEvent | EmotionEvent | SpeechEnded
Event = SessionStarted | SessionResumed | SpeechEvent | Degraded | ErrorEvent | SessionEnded
_EVENTS: Final[TypeAdapter[Event]] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def parse_event(text: str | bytes) -> Event:
    """Reads one event from its JSON.

    Raises:
        ValueError: the text is not JSON, or not an event of this version; the message names the field.
    """
    event = _EVENTS.validate_json(text)
    missing = {"version", "emitted_at"} - event.model_fields_set
    if missing or event.emitted_at is None:
        raise ValueError(f"event {event.seq} ({event.type}) lacks {' and '.join(sorted(missing)) or 'emitted_at'}")
    return event


def events_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of every event."""
    schema = _EVENTS.json_schema(mode="serialization")
    for definition in schema["$defs"].values():
        definition["required"] = list(definition["properties"])  # nothing may be left out on the wire
        for field in definition["properties"].values():
            field.pop("default", None)
    return {"$schema": _DIALECT, "title": "MEDUSA live events, version 1", **schema}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(events_schema(), indent=2) + "\n")
