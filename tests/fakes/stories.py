"""The events of one segment from its first word to its answer."""

from __future__ import annotations

from typing import Any

from streaming.events import EmotionEvent, ErrorEvent, Event, Latency, SpeechEnded, SpeechStarted, TranscriptEvent

TOLD = Latency(
    endpoint_ms=600,
    request_ms=200,
    queue_ms=10,
    encode_ms=60,
    decode_ms=90,
    emotion_ms=40,
    compute_ms=190,
    emit_ms=5,
    total_ms=605,
)
"""Of a final that was computed ahead."""


def story(
    segment: int = 1,
    *,
    channel: int = 0,
    role: str = "customer",
    start_s: float = 1.0,
    text: str = "well then",
    label: str | None = "angry",
    latency: Latency | None = TOLD,
    fails: bool = False,
) -> list[Event]:
    """Two seconds of speech with an interim in their middle.

    `latency` None is that of a channel that is not scored; a segment that `fails` has an error in place of its finals.
    """
    place: dict[str, Any] = {"session": "s1", "channel": channel, "role": role, "seq": 1}
    said = {"segment": segment, "tentative": "", "language": "en", "words": ()}
    events: list[Event] = [
        SpeechStarted(**place, time_s=start_s + 0.5, segment=segment, start_s=start_s),
        TranscriptEvent(**place, **said, time_s=start_s + 1.0, final=False, committed="well"),
        SpeechEnded(
            **place, time_s=start_s + 2.5, segment=segment, start_s=start_s, end_s=start_s + 2, reason="silence"
        ),
    ]
    if fails:
        return [*events, ErrorEvent(**place, time_s=9.0, code="recognition", message="not recognised", retryable=True)]
    events.append(TranscriptEvent(**place, **said, time_s=start_s + 2.5, final=True, committed=text))
    if latency is not None:
        events.append(
            EmotionEvent(
                **place,
                time_s=start_s + 2.5,
                segment=segment,
                start_s=start_s,
                end_s=start_s + 2,
                final=True,
                label=label,
                abstained=label is None,
                confidence=0.7,
                scores={"angry": 0.7, "neutral": 0.3},
                attributes=None,
                text=text,
                latency=latency,
            )
        )
    return events
