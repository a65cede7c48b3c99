"""From a recognition result to the fields of its events.

`said` is everywhere what may be told of the result's transcript, see `streaming.privacy.disclosed`: words reach no
event, and so no sink, log or buffer, but through it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from streaming.events import AttributesInfo, Latency, WordInfo
from streaming.recognition.agreement import Agreement
from streaming.recognition.request import RecognitionResult, Transcript


@dataclass(frozen=True, slots=True)
class Stretch:
    """A range of a channel's audio at 16 kHz, and when its speech had arrived."""

    start_sample: int
    end_sample: int
    speech_samples: int
    """Length less what of pre-roll and post-roll lies inside."""
    arrived_s: float
    """Wall-clock moment by which the last speech sample had been received."""
    samples: NDArray[np.float32] = field(repr=False)
    """`[end_sample - start_sample]`."""

    @property
    def start_s(self) -> float:
        """Where it begins on the audio clock."""
        return self.start_sample / SAMPLE_RATE_HZ

    @property
    def end_s(self) -> float:
        """Where it ends on the audio clock."""
        return self.end_sample / SAMPLE_RATE_HZ

    def covers_same(self, other: Stretch) -> bool:
        """Whether both are the same range of audio."""
        return (self.start_sample, self.end_sample) == (other.start_sample, other.end_sample)


def final_transcript(result: RecognitionResult, said: Transcript) -> dict[str, Any]:
    """Fields of a final `transcript`: all words committed, none tentative."""
    words = tuple(
        WordInfo(text=word.text, start_s=word.start_s, end_s=word.end_s, probability=word.probability)
        for word in said.words
    )
    return {"final": True, "committed": said.text, "tentative": "", "language": _language(result), "words": words}


def interim_transcript(result: RecognitionResult, agreed: Agreement) -> dict[str, Any]:
    """Fields of an interim `transcript`: the words two interims agree on, and the rest; only words that may be told."""
    return {
        "final": False,
        "committed": agreed.committed,
        "tentative": agreed.tentative,
        "language": _language(result),
        "words": (),
    }


def emotion(
    result: RecognitionResult,
    said: Transcript,
    stretch: Stretch,
    label: str | None,
    *,
    final: bool,
    latency: Latency,
) -> dict[str, Any]:
    """Fields of an `emotion`.

    Args:
        result: with the scores, which stand as they are; None of them when nothing was said.
        said: its words, as they may be told.
        stretch: the audio they were made from.
        label: the class to claim, or None to abstain. It need not be the most probable one (hysteresis).
        final: whether the segment has ended.
        latency: as of now.
    """
    scores = result.emotion.as_mapping() if result.emotion else {}
    attributes = None
    if result.emotion is not None:
        given = result.emotion.attributes
        attributes = AttributesInfo(arousal=given.arousal, valence=given.valence, dominance=given.dominance)
    return {
        "start_s": stretch.start_s,
        "end_s": stretch.end_s,
        "final": final,
        "label": label,
        "abstained": label is None,
        "confidence": max(scores.values(), default=0.0) if label is None else scores[label],
        "scores": scores,
        "attributes": attributes,
        "text": said.text,
        "latency": latency,
    }


def _language(result: RecognitionResult) -> str | None:
    return result.transcript.language if result.transcript.text else None
