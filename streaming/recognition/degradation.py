"""What gives way when more is asked than can be computed.

Step by step: first interims come slower, then without words, then not at all. Finals never give way.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from streaming.recognition.load import Load

BUSY: Final = 0.85
"""Share of the recogniser's time from which a step is taken: above it, queues grow faster than they are emptied."""
CALM: Final = 0.7
"""Share, as predicted for the step before, at which that step is taken back."""
_PATIENCE_S: Final = 2.0
"""How long it must be busy, so that a rush of a moment degrades nobody."""
_HOLD_S: Final = 15.0
"""How long a step holds at least before it is taken back."""


class Degradation(IntEnum):
    """How much is given up."""

    NONE = 0
    SLOWER_INTERIMS = 1
    """Interims come half as often."""
    WORDLESS_INTERIMS = 2
    """As seldom, and without a transcript."""
    FINALS_ONLY = 3
    """No interims."""

    @property
    def spacing(self) -> float:
        """What the usual distance of interims is multiplied by."""
        return 1.0 if self is Degradation.NONE else 2.0

    @property
    def words(self) -> bool:
        """Whether interims have a transcript."""
        return self < Degradation.WORDLESS_INTERIMS

    def demand(self, load: Load) -> float:
        """Share of the recogniser's time that is asked for with this much given up."""
        interims = load.interims if self.words else load.wordless_interims
        return load.finals + (0.0 if self is Degradation.FINALS_ONLY else interims / self.spacing)


class DegradationLadder:
    """Goes up and down the steps with the load; pure, moments never go back.

    Up at once to the step that helps, once it was busy for two seconds; down one at a time, after a while, and only
    where the step before is predicted to leave room: so it does not go to and fro.
    """

    def __init__(self) -> None:
        """Nothing is given up."""
        self.step = Degradation.NONE
        self._busy_since_s: float | None = None
        self._changed_s = float("-inf")

    def update(self, load: Load, now_s: float) -> Degradation:
        """The step for this load."""
        if self.step.demand(load) <= BUSY:
            self._busy_since_s = None
            if self.step is not Degradation.NONE and now_s - self._changed_s >= _HOLD_S:
                before = Degradation(self.step - 1)
                if before.demand(load) <= CALM:
                    self._change(before, now_s)
            return self.step
        if self._busy_since_s is None:
            self._busy_since_s = now_s
        if now_s - self._busy_since_s >= _PATIENCE_S and self.step is not Degradation.FINALS_ONLY:
            higher = (step for step in Degradation if step > self.step)
            self._change(next((s for s in higher if s.demand(load) <= BUSY), Degradation.FINALS_ONLY), now_s)
        return self.step

    def _change(self, step: Degradation, now_s: float) -> None:
        self.step = step
        self._changed_s = now_s
        self._busy_since_s = None
