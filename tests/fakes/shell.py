"""A shell around a session for tests: it holds requests until told to answer, and keeps the events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.emotions import MSP8, Attributes, EmotionScores
from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.audio.vad import VoiceActivityDetector
from streaming.config import Settings, VadSettings
from streaming.events import EmotionEvent, Event, Latency, ModelInfo
from streaming.recognition.request import (
    RecognitionFailure,
    RecognitionOutcome,
    RecognitionRequest,
    RecognitionResult,
    RecognitionShed,
    RequestKind,
    Transcript,
    Word,
)
from streaming.session import Action, Discard, Emit, Promote, Session, Submit
from tests.fakes.vad import LoudnessVad

MODEL = ModelInfo(bundle="base", sha256="ab" * 32, profile="base", labels=MSP8.names)
MONO = AudioFormat(Encoding.PCM16, 16_000, 1)
TICK_S = 0.02
TICK_BYTES = 640


def make_session(
    *,
    name: str = "call-7",
    settings: Settings | None = None,
    audio: AudioFormat = MONO,
    roles: tuple[str, ...] = ("customer",),
    vad: Callable[[VadSettings], VoiceActivityDetector] = LoudnessVad,
    **options: Any,
) -> Session:
    """A session that hears loudness as speech."""
    return Session(name, settings or Settings(), audio, roles, model=MODEL, vad=vad, **options)


def make_shell(**options: Any) -> FakeShell:
    """A shell around such a session, opened."""
    return FakeShell(make_session(**options))


class FakeShell:
    """Carries out a session's actions; `now_s` moves only when a test moves it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.now_s = 0.0
        self.events: list[Event] = []
        self.pending: dict[int, RecognitionRequest] = {}
        self.submitted: list[RecognitionRequest] = []
        self.promoted: list[int] = []
        self.discarded: list[int] = []
        self.perform(session.open())

    def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Emit(event):
                    self.events.append(event)
                case Submit(request):
                    if request.request_id in self.pending:
                        raise RuntimeError(f"request {request.request_id} was submitted twice")
                    self.pending[request.request_id] = request
                    self.submitted.append(request)
                case Promote(request_id):
                    self.promoted.append(request_id)
                case Discard(request_id):
                    self.discarded.append(request_id)

    def hear(self, data: bytes, *, took_s: float = 0.0) -> None:
        self.now_s += took_s
        self.perform(self.session.receive(data, self.now_s))

    def live(self, *parts: NDArray[np.float32]) -> None:
        """Hears 16 kHz mono PCM16 as a live stream brings it: 20 ms a message."""
        data = pcm(*parts)
        for start in range(0, len(data), TICK_BYTES):
            self.hear(data[start : start + TICK_BYTES], took_s=TICK_S)

    def close(self, reason: str = "close") -> None:
        self.perform(self.session.close(reason, self.now_s))

    def deliver(self, outcome: RecognitionOutcome) -> None:
        del self.pending[outcome.request.request_id]
        self.perform(self.session.resolve(outcome, self.now_s))

    def answer(self, request: RecognitionRequest, text: str = "well then", label: str | None = "angry") -> None:
        self.deliver(result(request, text, label))

    def fail(self, request: RecognitionRequest, message: str = "out of memory") -> None:
        self.deliver(RecognitionFailure(request, message))

    def shed(self, request: RecognitionRequest) -> None:
        self.deliver(RecognitionShed(request, "overload"))

    def answer_all(self) -> None:
        while self.pending:
            self.answer(next(iter(self.pending.values())))

    def waiting(self, kind: RequestKind) -> list[RecognitionRequest]:
        return [request for request in self.pending.values() if request.kind is kind]

    def of_type(self, name: str) -> list[Event]:
        return [event for event in self.events if event.type == name]


def result(
    request: RecognitionRequest,
    text: str = "well then",
    label: str | None = "angry",
    *,
    language: str = "en",
    language_probability: float = 0.9,
    queue_ms: float = 2.0,
    compute_ms: float = 50.0,
) -> RecognitionResult:
    """An answer as the recogniser would give it; `label` None abstains, no text leaves no scores."""
    words = tuple(
        Word(word, request.start_s + 0.1 * place, request.start_s + 0.1 * (place + 1), 0.9)
        for place, word in enumerate(text.split())
    )
    transcript = Transcript(text, words, language, language_probability, -0.2, 0.01)
    emotion = scores(label) if request.score_emotion and text else None
    return RecognitionResult(request, transcript, emotion, queue_ms=queue_ms, compute_ms=compute_ms)


def scores(label: str | None, confidence: float = 0.65) -> EmotionScores:
    """Scores with `label` on top; the first class with the scores of an unsure ensemble when it is None."""
    best = MSP8.index(label or "angry")
    probabilities = np.full(len(MSP8), (1 - confidence) / (len(MSP8) - 1), dtype=np.float32)
    probabilities[best] = confidence
    return EmotionScores(MSP8, probabilities, Attributes(5.0, 2.5, 4.0), abstained=label is None)


def without_times(event: Event) -> Event:
    """The event less what depends on how the audio was cut into messages: when it was made, and latency."""
    if isinstance(event, EmotionEvent):
        nothing = Latency(endpoint_ms=0.0, queue_ms=0.0, compute_ms=0.0, total_ms=0.0)
        return event.model_copy(update={"time_s": 0.0, "latency": nothing})
    return event.model_copy(update={"time_s": 0.0})


def speech(seconds: float, level: float = 0.5) -> NDArray[np.float32]:
    """`[samples]` at 16 kHz that the loudness detector hears as speech."""
    return np.full(round(seconds * 16_000), level, dtype=np.float32)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * 16_000), dtype=np.float32)


def pcm(*parts: NDArray[np.float32]) -> bytes:
    """The parts, one after another, as mono PCM16."""
    return (np.concatenate(parts) * 32767).astype("<i2").tobytes()


def interleaved(*channels: NDArray[np.float32]) -> bytes:
    """Channels of one length as interleaved PCM16."""
    return (np.stack(channels, axis=1) * 32767).astype("<i2").tobytes()
