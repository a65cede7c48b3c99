"""One segment of speech on its way from its first frame to its final answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from models.speaker import SpeakerMoments
from models.windows import SAMPLE_RATE_HZ
from streaming.actions import Outbox
from streaming.answers import Stretch, emotion, final_transcript, interim_transcript
from streaming.config import Disclosure, EmotionSettings
from streaming.errors import RecognitionError
from streaming.events import EmotionEvent, ErrorEvent, SpeechEnded, SpeechEvent, SpeechStarted, TranscriptEvent
from streaming.hysteresis import LabelHysteresis
from streaming.latency import Moments, latency
from streaming.privacy import disclosed
from streaming.recognition.agreement import LocalAgreement
from streaming.recognition.request import (
    RecognitionFailure,
    RecognitionOutcome,
    RecognitionRequest,
    RecognitionResult,
    RecognitionShed,
    RequestKind,
)

EndReason = Literal["silence", "max_length", "stream_end"]


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whose segment it is, and how it is judged."""

    channel: int
    role: str
    scored: bool
    """Whether emotions are inferred at all."""
    emotion: EmotionSettings
    transcripts: Disclosure
    """How much of the words is told."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a channel's earlier finals told of it."""

    language: str | None
    """Of the speech; None while it is to be detected."""
    heard: SpeakerMoments
    """How the speaker has sounded so far."""


@dataclass(slots=True)
class Tally:
    """What a channel amounted to so far."""

    speech_samples: int = 0
    """Length of all segments."""
    segments: int = 0
    finals: int = 0
    interims: int = 0


@dataclass(frozen=True, slots=True)
class _Ending:
    stretch: Stretch
    decided_s: float


class Segment:
    """The recognition of one segment.

    While it is open it asks for interims, one at a time, and for a speculative final wherever it may end soon. Once it
    has ended it waits for exactly one answer: the speculative one if that covers the same audio, else a final of its
    own. An interim that fails or is shed is only missed; a final that fails becomes an `error` event.
    """

    def __init__(self, number: int, start_sample: int, *, speaker: Speaker, outbox: Outbox, tally: Tally) -> None:
        self.number: Final = number
        self._speaker: Final = speaker
        self._outbox: Final = outbox
        self._tally: Final = tally
        self._agreement: Final = LocalAgreement()
        self._hysteresis: Final = LabelHysteresis(speaker.emotion.hold_interims)
        self._interim: tuple[RecognitionRequest, Stretch] | None = None
        self._ahead: tuple[RecognitionRequest, Stretch] | None = None
        self._final: RecognitionRequest | None = None
        self._answer: RecognitionResult | RecognitionFailure | None = None
        self._answered_s = 0.0
        self._ending: _Ending | None = None
        self._emit(SpeechStarted, start_s=start_sample / SAMPLE_RATE_HZ)

    @property
    def awaits_interim(self) -> bool:
        """Whether an interim is still being computed."""
        return self._interim is not None

    @property
    def settled(self) -> bool:
        """Whether it has ended and its answer is there."""
        return self._ending is not None and self._answer is not None

    def ask_interim(self, stretch: Stretch, known: Known, *, words: bool = True) -> None:
        """Asks how it was said so far and, with `words`, what; nothing where neither is wanted."""
        if words or self._speaker.scored:
            self._interim = (self._submit(RequestKind.INTERIM, stretch, known, words=words), stretch)

    def foresee(self, stretch: Stretch, known: Known) -> None:
        """Speech paused or is about to be cut: asks for what becomes the final if the segment ends there.

        Not of audio that is ahead of the clock: nobody waits through its silences.
        """
        self.resume()
        if not self._outbox.hasty:
            self._ahead = (self._submit(RequestKind.SPECULATIVE, stretch, known), stretch)

    def resume(self) -> None:
        """Speech went on: what was computed ahead, if anything was, is void."""
        if self._ahead is not None and self._answer is None:
            self._outbox.discard(self._ahead[0])
        self._ahead = None
        self._answer = None

    def end(self, stretch: Stretch, reason: EndReason, known: Known, now_s: float) -> None:
        """Speech ended, as decided at `now_s`."""
        if self._interim is not None:
            self._outbox.discard(self._interim[0])
            self._interim = None
        self._ending = _Ending(stretch, now_s)
        self._tally.segments += 1
        self._tally.speech_samples += stretch.end_sample - stretch.start_sample
        self._emit(SpeechEnded, start_s=stretch.start_s, end_s=stretch.end_s, reason=reason)
        if self._ahead is not None and not self._ahead[1].covers_same(stretch):
            self.resume()
        if self._ahead is None:
            self._final = self._submit(RequestKind.FINAL, stretch, known)
        elif self._answer is None:
            self._outbox.promote(self._ahead[0])

    def resolve(self, outcome: RecognitionOutcome, now_s: float) -> None:
        """Takes an outcome; one that nobody waits for any more is ignored."""
        number = outcome.request.request_id
        if self._interim is not None and number == self._interim[0].request_id:
            stretch = self._interim[1]
            self._interim = None
            if isinstance(outcome, RecognitionResult):
                self._show_interim(outcome, stretch, now_s)
        elif self._ahead is not None and number == self._ahead[0].request_id:
            self._answered_s = _answered_s(outcome, now_s)
            self._resolve_ahead(outcome)
        elif self._final is not None and number == self._final.request_id:
            self._final = None
            self._answered_s = _answered_s(outcome, now_s)
            self._answer = _answer(outcome)

    def _resolve_ahead(self, outcome: RecognitionOutcome) -> None:
        if isinstance(outcome, RecognitionResult):
            self._answer = outcome
            return
        self._ahead = None
        if self._ending is not None:
            self._final = self._outbox.submit_again(outcome.request)

    def abandon(self, message: str) -> None:
        """Stops waiting: the answer is that there is none."""
        waiting = self._final or (self._ahead[0] if self._ahead else None)
        if waiting is not None and self._answer is None:
            self._outbox.discard(waiting)
            self._answer = RecognitionFailure(waiting, message)

    def deliver(self, now_s: float) -> RecognitionResult | None:
        """Sends the final of a settled segment; gives the result unless there was a failure.

        Raises:
            RecognitionError: the segment is not settled.
        """
        if self._ending is None or self._answer is None:
            raise RecognitionError(f"segment {self.number} has no answer yet")
        result, stretch = self._answer, self._ending.stretch
        if isinstance(result, RecognitionFailure):
            place = f"segment {self.number} of channel {self._speaker.channel}"
            self._outbox.emit(
                ErrorEvent,
                channel=self._speaker.channel,
                role=self._speaker.role,
                code=RecognitionError.code,
                message=f"{place} could not be recognised: {result.message}",
                retryable=result.retryable,
            )
            return None
        self._tally.finals += 1
        said = disclosed(result.transcript, self._speaker.transcripts)
        self._emit(TranscriptEvent, **final_transcript(result, said))
        if self._speaker.scored:
            moments = Moments(stretch.arrived_s, self._ending.decided_s, self._answered_s, now_s)
            label = self._label(result, stretch)
            told = emotion(result, said, stretch, label, final=True, latency=latency(result, moments))
            self._emit_emotion(moments, told)
        return result

    def _show_interim(self, result: RecognitionResult, stretch: Stretch, now_s: float) -> None:
        self._tally.interims += 1
        said = disclosed(result.transcript, self._speaker.transcripts)
        if result.request.transcribe:
            self._emit(TranscriptEvent, **interim_transcript(result, self._agreement.push(said.words)))
        if self._speaker.scored and result.emotion is not None:
            moments = Moments(stretch.arrived_s, stretch.arrived_s, _answered_s(result, now_s), now_s)
            label = self._hysteresis.push(self._label(result, stretch))
            told = emotion(result, said, stretch, label, final=False, latency=latency(result, moments))
            self._emit_emotion(moments, told)

    def _label(self, result: RecognitionResult, stretch: Stretch) -> str | None:
        too_short = stretch.speech_samples < self._speaker.emotion.low_confidence_s * SAMPLE_RATE_HZ
        return None if too_short or result.emotion is None else result.emotion.label

    def _submit(self, kind: RequestKind, stretch: Stretch, known: Known, *, words: bool = True) -> RecognitionRequest:
        return self._outbox.submit(
            kind,
            stretch.samples,
            channel=self._speaker.channel,
            segment=self.number,
            start_sample=stretch.start_sample,
            language=known.language,
            heard=known.heard,
            score_emotion=self._speaker.scored,
            transcribe=words,
        )

    def _emit_emotion(self, moments: Moments, fields: dict[str, Any]) -> None:
        self._emit(EmotionEvent, as_of_s=moments.told_s, **fields)

    def _emit(self, event: type[SpeechEvent], **fields: Any) -> None:
        self._outbox.emit(event, channel=self._speaker.channel, role=self._speaker.role, segment=self.number, **fields)


def _answer(outcome: RecognitionOutcome) -> RecognitionResult | RecognitionFailure:
    if isinstance(outcome, RecognitionShed):
        return RecognitionFailure(outcome.request, f"its final was shed ({outcome.reason})")
    return outcome


def _answered_s(outcome: RecognitionOutcome, now_s: float) -> float:
    known = outcome.answered_s if isinstance(outcome, RecognitionResult) else None
    return now_s if known is None else known
