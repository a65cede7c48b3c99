"""From the moments of an answer to its latency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streaming.events import Latency
from streaming.recognition.request import RecognitionResult

_MS_PER_S: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Moments:
    """When what happened to an answer, in seconds on the shell's clock."""

    arrived_s: float
    """By when the last speech sample it rests on had been received."""
    decided_s: float
    """When it became due: for a final, when speech counted as ended."""
    answered_s: float
    """When it was there."""
    now_s: float

    @property
    def due_s(self) -> float:
        """From when on it could be told."""
        return max(self.decided_s, self.answered_s)

    @property
    def told_s(self) -> float:
        """When it is told; what was heard in one go may have come before an answer that is there already."""
        return max(self.now_s, self.due_s)


def latency(result: RecognitionResult, moments: Moments) -> Latency:
    """Where the time went, as of `moments.told_s`."""
    answered_ms = (moments.answered_s - moments.arrived_s) * _MS_PER_S
    return Latency(
        endpoint_ms=(moments.decided_s - moments.arrived_s) * _MS_PER_S,
        queue_ms=result.queue_ms,
        compute_ms=result.compute_ms,
        total_ms=(moments.told_s - moments.arrived_s) * _MS_PER_S,
        request_ms=max(0.0, answered_ms - result.queue_ms - result.compute_ms),
        encode_ms=result.encode_ms,
        decode_ms=result.decode_ms,
        emotion_ms=result.emotion_ms,
        emit_ms=(moments.told_s - moments.due_s) * _MS_PER_S,
    )


def later(told: Latency, late_s: float) -> Latency:
    """The latency of an event that is handed on so much later than it was counted."""
    late_ms = max(0.0, late_s) * _MS_PER_S
    return Latency.model_validate(
        {**told.model_dump(), "total_ms": told.total_ms + late_ms, "emit_ms": told.emit_ms + late_ms}
    )
