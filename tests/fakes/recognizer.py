"""A recogniser for tests of the shell: it says what its script says, at once or when it is let."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from models.emotions import MSP8, Attributes, EmotionScores
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS
from streaming.events import ModelInfo
from streaming.recognition.request import RecognitionRequest, RecognitionResult, RequestKind, Transcript, Word

PATIENCE_S = 10.0
WORDS_PER_S = 4.0
MODEL = ModelInfo(bundle="fake", sha256="0" * 64, profile="base", labels=MSP8.names)


class BrokenRequestError(Exception):
    """Raised for a batch that holds a request the fake was told to choke on."""


def counted(request: RecognitionRequest) -> str:
    """As many numbered words as the audio has room for, so that successive interims agree; silence says nothing."""
    if not np.any(request.samples):
        return ""
    return " ".join(f"word{place}" for place in range(1, 1 + max(1, int(request.duration_s * WORDS_PER_S))))


class FakeRecognizer:
    """Answers by its script, and remembers what it was asked.

    Args:
        script: what a request's audio says; no text means that nothing was said.
        label: the emotion of every request that is scored; None abstains.
        breaks_on: requests whose batch fails.
        language: detected where a request names none.
    """

    def __init__(
        self,
        script: Callable[[RecognitionRequest], str] = counted,
        *,
        label: str | None = "happy",
        breaks_on: Callable[[RecognitionRequest], bool] = lambda _request: False,
        language: str = "en",
    ) -> None:
        self.model = MODEL
        self.batches: list[list[RecognitionRequest]] = []
        self.warmed_up = False
        self._script = script
        self._label = label
        self._breaks_on = breaks_on
        self._language = language
        self._started = threading.Semaphore(0)
        self._open = threading.Event()
        self._open.set()

    def window_s(self, request: RecognitionRequest) -> float:
        policy = INTERIM_WINDOWS if request.kind is RequestKind.INTERIM else FINAL_WINDOWS
        return policy.bucket_s(len(request.samples))

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        self.batches.append(list(batch))
        self._started.release()
        if not self._open.wait(PATIENCE_S):
            raise TimeoutError("the fake recogniser was held and never let go")
        if any(self._breaks_on(request) for request in batch):
            raise BrokenRequestError("the fake recogniser was told to break")
        return [self._answer(request) for request in batch]

    def warm_up(self) -> None:
        self.warmed_up = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """No batch is answered inside the block; those that were begun are answered after it."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def await_batch(self) -> None:
        """Blocks until a batch was begun that no earlier call has waited for; call it off the event loop."""
        if not self._started.acquire(timeout=PATIENCE_S):
            raise TimeoutError("no batch reached the fake recogniser")

    def _answer(self, request: RecognitionRequest) -> RecognitionResult:
        text = self._script(request)
        spoken = text.split()
        step_s = request.duration_s / max(1, len(spoken))
        words = tuple(
            Word(word, request.start_s + place * step_s, request.start_s + (place + 1) * step_s, 0.9)
            for place, word in enumerate(spoken)
        )
        transcript = Transcript(text, words, request.language or self._language, 0.95, -0.2, 0.02 if text else 0.98)
        emotion = self._scores() if text and request.score_emotion else None
        return RecognitionResult(request, transcript, emotion)

    def _scores(self) -> EmotionScores:
        probabilities = np.full(len(MSP8), 0.3 / (len(MSP8) - 1), dtype=np.float32)
        probabilities[MSP8.index(self._label or "neutral")] = 0.7
        return EmotionScores(MSP8, probabilities, Attributes(4.5, 5.0, 4.0), abstained=self._label is None)
