"""What a session asks of the recogniser, and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.emotions import EmotionScores
from models.speaker import UNHEARD, SpeakerMoments
from models.windows import SAMPLE_RATE_HZ


class RequestKind(IntEnum):
    """Smaller is more urgent."""

    FINAL = 0
    """The segment has ended: must be answered."""
    SPECULATIVE = 1
    """Speech paused: the same audio becomes the final if the pause becomes the end."""
    INTERIM = 2
    """Speech goes on: may be replaced by a newer one, or shed under load."""


@dataclass(frozen=True, slots=True)
class RecognitionRequest:
    """One stretch of one segment's audio to transcribe and score."""

    request_id: int
    """Unique within the session."""
    session: str
    channel: int
    segment: int
    """Counts from 1 within the channel."""
    kind: RequestKind
    samples: NDArray[np.float32] = field(repr=False)
    """`[samples]`, 16 kHz mono, -1 to 1."""
    start_s: float
    """Audio-clock time of the first sample."""
    language: str | None = None
    """ISO 639-1 code, or None to detect it."""
    score_emotion: bool = True
    """False on channels whose role is transcribed only."""
    transcribe: bool = True
    """False where an interim does without words, because too much is asked of the recogniser."""
    hasty: bool = False
    """Whether its audio came faster than it was spoken: nobody waits for it as for live speech."""
    heard: SpeakerMoments = field(default_factory=lambda: UNHEARD, repr=False, compare=False)
    """What the channel's earlier finals told of its speaker."""

    @property
    def duration_s(self) -> float:
        """Length of the audio in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Word:
    """One transcribed word, on the session's audio clock."""

    text: str
    """As written, with its leading space removed."""
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a request's audio; empty text where nothing was."""

    text: str
    words: tuple[Word, ...]
    """Times are estimates for interims (spread over the audio) and aligned for finals."""
    language: str
    language_probability: float
    average_log_probability: float
    no_speech_probability: float


@dataclass(frozen=True, slots=True)
class RecognitionResult:
    """The answer to one request."""

    request: RecognitionRequest
    transcript: Transcript
    emotion: EmotionScores | None
    """None where the channel is not scored or nothing was said."""
    queue_ms: float = 0.0
    """From submission to the start of the batch that held it."""
    compute_ms: float = 0.0
    """That batch's own time."""
    encode_ms: float = 0.0
    """Of it, the speech encoder's."""
    decode_ms: float = 0.0
    """Of it, until words and their times were read; a second look of the transcriber included."""
    emotion_ms: float = 0.0
    """Of it, what the ensemble and the features that it alone reads took."""
    answered_s: float | None = None
    """When that batch ended, on the batcher's clock."""
    moments: SpeakerMoments = field(default_factory=lambda: UNHEARD, repr=False, compare=False)
    """What this audio tells of its speaker, to be remembered where it becomes a final."""


@dataclass(frozen=True, slots=True)
class RecognitionFailure:
    """A request that could not be answered, and why; the others of its batch are not touched."""

    request: RecognitionRequest
    message: str
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class RecognitionShed:
    """An interim that was not computed: replaced by a newer one, discarded, or dropped under load. Never a final."""

    request: RecognitionRequest
    reason: Literal["replaced", "discarded", "overload"]


RecognitionOutcome = RecognitionResult | RecognitionFailure | RecognitionShed
