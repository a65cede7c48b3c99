"""From audio to words and emotion: what a recogniser looks like to the rest of the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from streaming.events import ModelInfo
from streaming.recognition.request import RecognitionRequest, RecognitionResult


@runtime_checkable
class Recognizer(Protocol):
    """Answers batches of requests; used from one worker thread at a time."""

    @property
    def model(self) -> ModelInfo:
        """The ensemble that answers."""
        ...

    def window_s(self, request: RecognitionRequest) -> float:
        """Length bucket of a request in seconds: requests of one bucket can share a batch.

        Raises:
            FeatureError: the request's audio does not fit any bucket.
        """
        ...

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        """Answers requests of one bucket, in their order.

        Every answer depends on its own request alone, never on what else is in the batch.

        Raises:
            Exception: any, if one of the requests cannot be answered; none of them is answered then.
        """
        ...

    def warm_up(self) -> None:
        """Does once, at start, what would make the first requests slow."""
        ...
