"""Calls that begin and end all the time: on each line one after the other, with a breath between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

LENGTHS: Final = (0.5, 1.5)
"""Of calls, as shares of the usual length."""
RECORDINGS: Final = 12
"""Different calls that there are, at most: what they take of the disk does not grow with the run."""
_BREATH_BOUNDS_S: Final = (0.5, 3.0)
"""Between two calls of a line."""
_LEAST_S: Final = 5.0
"""What is left of a run is not worth a shorter call."""


@dataclass(frozen=True, slots=True)
class Call:
    """One session."""

    line: int
    begin_s: float
    """On the run's clock."""
    recording: int
    """Which of the recordings is played."""
    seconds: float
    """How much of it; all of it unless the run ends before."""

    @property
    def end_s(self) -> float:
        """On the run's clock."""
        return self.begin_s + self.seconds


@dataclass(frozen=True, slots=True)
class Calls:
    """All sessions of a run."""

    lengths_s: tuple[float, ...]
    """Of the recordings."""
    calls: tuple[Call, ...]
    """Those of a line together, in their order."""


def plan_calls(*, lines: int, seconds: float, usual_s: float, seed: int) -> Calls:
    """Who calls when; the same for the same arguments.

    Lines do not begin in step: their first calls are spread over the length of a usual one.

    Args:
        lines: calls at a time.
        seconds: of the run: calls end with it at the latest.
        usual_s: length of a call, on average.
        seed: of everything that is drawn.

    Raises:
        ValueError: there is no line, or no time.
    """
    if lines < 1 or seconds <= 0 or usual_s <= 0:
        raise ValueError(f"nobody calls on {lines} lines, in {seconds:g} s, for {usual_s:g} s")
    rng = np.random.default_rng(seed)
    shortest_s, longest_s = (share * usual_s for share in LENGTHS)
    lengths_s = tuple(round(float(length), 2) for length in rng.uniform(shortest_s, longest_s, RECORDINGS))
    calls: list[Call] = []
    for line in range(lines):
        at_s = line / lines * min(usual_s, seconds / 4)
        while seconds - at_s >= min(_LEAST_S, shortest_s):
            recording = int(rng.integers(RECORDINGS))
            length_s = min(lengths_s[recording], seconds - at_s)
            calls.append(Call(line, round(at_s, 3), recording, round(length_s, 3)))
            at_s += length_s + float(rng.uniform(*_BREATH_BOUNDS_S))
    return Calls(lengths_s, tuple(calls))
