"""One session of the plain server: what it hears, what it is answered, and the events it sends."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from benchmarks.plain_hearing import Onset, PlainHearing, Spoken
from models.speaker import UNHEARD, SpeakerMoments, remember
from models.windows import SAMPLE_RATE_HZ
from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.channel import LANGUAGE_CONFIDENCE
from streaming.config import Settings
from streaming.errors import RecognitionError
from streaming.events import (
    AttributesInfo,
    AudioInfo,
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
)
from streaming.faults import where
from streaming.protocols.dialect import DEFAULT_ROLE, Audio, Close
from streaming.protocols.native import read_message

if TYPE_CHECKING:
    from benchmarks.plain_recognizer import PlainAnswer

PLAIN_SPEECH: Final = AudioFormat(Encoding.PCM16, SAMPLE_RATE_HZ, 1)
"""All that the plain server takes."""

_CHANNEL: Final = 0
_MS_PER_S: Final = 1000.0
_SESSION_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Timed:
    """An answer, and when it was made."""

    answer: PlainAnswer
    began_s: float
    """On `time.monotonic`, as is the other."""
    done_s: float


Recognize = Callable[[Spoken, str | None, SpeakerMoments], Awaitable[Timed]]
"""Answers a segment, given the language if it is known, and how the speaker has sounded so far."""


class PlainSession:
    """One connection, from `session.started` to `session.ended`."""

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        hearing: PlainHearing,
        recognize: Recognize,
        settings: Settings,
        model: ModelInfo,
        language: str | None,
    ) -> None:
        """Has heard nothing yet.

        Args:
            send: takes one event as JSON.
            hearing: the session's ear.
            recognize: answers one segment after another.
            settings: of the server.
            model: who answers.
            language: of the speech; None to detect it.
        """
        self._transmit = send
        self._hearing = hearing
        self._recognize = recognize
        self._settings = settings
        self._model = model
        self._language = language
        self._heard: SpeakerMoments = UNHEARD
        self._name = secrets.token_hex(_SESSION_ID_BYTES)
        self._numbers = itertools.count(1)
        self._spoken: asyncio.Queue[Spoken | None] = asyncio.Queue()
        self._segments: list[Spoken] = []
        self._finals = 0

    async def run(self, messages: AsyncIterable[str | bytes]) -> None:
        """Hears until `close` or the end of the messages, and answers all that was said.

        Args:
            messages: of the connection.

        Raises:
            ProtocolError: a text message is not one of the controls.
        """
        settings = self._settings
        await self._send(
            SessionStarted,
            audio=AudioInfo(
                encoding=PLAIN_SPEECH.encoding.value, rate_hz=PLAIN_SPEECH.rate_hz, channels=PLAIN_SPEECH.channels
            ),
            model=self._model,
            limits=Limits(
                max_message_bytes=settings.server.max_message_bytes,
                max_segment_s=settings.vad.max_segment_s,
                idle_timeout_s=settings.server.idle_timeout_s,
                replay_events=0,
            ),
        )
        answering = asyncio.create_task(self._answer_all())
        try:
            async for message in messages:
                match read_message(message):
                    case Audio(data=data):
                        await self._tell(self._hearing.hear(data, time.monotonic()))
                    case Close():
                        break
                    case _:
                        pass
            await self._tell(self._hearing.finish(time.monotonic()))
            self._spoken.put_nowait(None)
            await answering
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
        await self._send(SessionEnded, reason="client_close", totals=self._totals())

    async def _tell(self, heard: list[Onset | Spoken]) -> None:
        for one in heard:
            if isinstance(one, Onset):
                await self._say(SpeechStarted, one.segment, start_s=one.start_s)
                continue
            await self._say(SpeechEnded, one.segment, start_s=one.start_s, end_s=one.end_s, reason=one.reason)
            self._segments.append(one)
            self._spoken.put_nowait(one)

    async def _answer_all(self) -> None:
        while (spoken := await self._spoken.get()) is not None:
            try:
                timed = await self._recognize(spoken, self._language, self._heard)
            except Exception as error:  # noqa: BLE001 - one segment's trouble is its own
                message = f"segment {spoken.segment} could not be recognised: {where(error)}"
                code = RecognitionError.code
                await self._send(
                    ErrorEvent, channel=_CHANNEL, role=DEFAULT_ROLE, code=code, message=message, retryable=True
                )
            else:
                await self._answer(spoken, timed)

    async def _answer(self, spoken: Spoken, timed: Timed) -> None:
        answer = timed.answer
        self._heard = remember(self._heard, answer.moments)
        if self._language is None and answer.text and answer.language_probability >= LANGUAGE_CONFIDENCE:
            self._language = answer.language
        self._finals += 1
        await self._say(
            TranscriptEvent,
            spoken.segment,
            final=True,
            committed=answer.text,
            tentative="",
            language=answer.language if answer.text else None,
            words=(),
        )
        latency = Latency(
            endpoint_ms=_MS_PER_S * (spoken.decided_s - spoken.arrived_s),
            queue_ms=_MS_PER_S * (timed.began_s - spoken.decided_s),
            compute_ms=_MS_PER_S * (timed.done_s - timed.began_s),
            total_ms=_MS_PER_S * (time.monotonic() - spoken.arrived_s),
        )
        await self._say(EmotionEvent, spoken.segment, **self._emotion(spoken, answer, latency))

    def _emotion(self, spoken: Spoken, answer: PlainAnswer, latency: Latency) -> dict[str, Any]:
        scores = answer.emotion.as_mapping() if answer.emotion else {}
        too_short = spoken.speech_s < self._settings.emotion.low_confidence_s
        label = None if too_short or answer.emotion is None else answer.emotion.label
        attributes = None
        if answer.emotion is not None:
            given = answer.emotion.attributes
            attributes = AttributesInfo(arousal=given.arousal, valence=given.valence, dominance=given.dominance)
        return {
            "start_s": spoken.start_s,
            "end_s": spoken.end_s,
            "final": True,
            "label": label,
            "abstained": label is None,
            "confidence": max(scores.values(), default=0.0) if label is None else scores[label],
            "scores": scores,
            "attributes": attributes,
            "text": answer.text,
            "latency": latency,
        }

    def _totals(self) -> Totals:
        return Totals(
            audio_s=self._hearing.clock_s,
            speech_s=sum(spoken.end_s - spoken.start_s for spoken in self._segments),
            segments=len(self._segments),
            finals=self._finals,
            interims=0,
        )

    async def _say(self, event: type[Event], segment: int, **fields: Any) -> None:
        await self._send(event, channel=_CHANNEL, role=DEFAULT_ROLE, segment=segment, **fields)

    async def _send(self, event: type[Event], **fields: Any) -> None:
        made = event(session=self._name, seq=next(self._numbers), time_s=self._hearing.clock_s, **fields)
        await self._transmit(made.stamped(datetime.now(UTC)).to_json())
