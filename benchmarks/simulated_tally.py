"""What a simulated session asked for and got."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.simulated_server import Outcome
from streaming.recognition.request import RequestKind


@dataclass(slots=True)
class Asked:
    """A request of a session, and what became of it."""

    kind: RequestKind
    at_s: float
    window_s: float
    outcome: Outcome | None = None
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FinalTold:
    """The final of a segment."""

    decided_s: float
    """When the segment's end was decided."""
    told_s: float
    window_s: float
    """The length bucket of what was computed for it."""

    @property
    def latency_s(self) -> float:
        """What the listener waited beyond the silence."""
        return self.told_s - self.decided_s


class SessionTally:
    """What a session asked for and got."""

    def __init__(self, session: str, voices: int, begun_s: float) -> None:
        self.session: Final = session
        self.voices: Final = voices
        self.begun_s: Final = begun_s
        self.left_s = float("inf")
        self.requests: Final[list[Asked]] = []
        self.decided_s: Final[list[float]] = []
        """Of each segment, when its end was decided."""
        self.finals: Final[list[FinalTold]] = []
