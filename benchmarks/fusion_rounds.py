"""Contenders in turn: whatever else the machine does, and however warm it is, hits all of them alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.emotions import ATTRIBUTE_MAX, ATTRIBUTE_MIN
from models.engines.base import EngineOutput

WARM_UPS: Final = 3
"""Rounds before those that count."""
LEAST_ROUNDS: Final = 3
"""Of those that count, however long they take."""
WARM_SHARE: Final = 0.1
"""Of the time there is, for warming up."""
IN_A_ROW: Final = 5
"""Calls of one contender before the next one's turn. The first of a turn finds caches full of another's weights: it is
made, and not counted."""
SHORT_S: Final = 0.1
"""A call that takes longer is made once a turn, and counts: it finds its own caches cold half the way in any case."""
SETTLE_S: Final = 0.005
"""Before every turn: threads of the one before may spin for a while before they sleep, on the cores of the next."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Times:
    """What the calls of one contender took."""

    times: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    min_ms: float
    max_ms: float

    @classmethod
    def of(cls, taken_s: list[float]) -> Times:
        """Sums up.

        Args:
            taken_s: of each call.
        """
        taken_ms = np.asarray(taken_s) * 1e3
        low, median, high = (float(value) for value in np.percentile(taken_ms, (10, 50, 90)))
        return cls(len(taken_s), median, low, high, float(taken_ms.min()), float(taken_ms.max()))


def settled() -> None:
    """Waits until threads of whatever ran before are asleep."""
    time.sleep(SETTLE_S)


def in_turn(
    runs: Mapping[str, Callable[[], object]],
    times: int,
    budget_s: float,
    *,
    least: int = LEAST_ROUNDS,
    in_a_row: int = 1,
    settle: Callable[[], None] = settled,
    clock: Clock = time.perf_counter,
    told: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Runs contenders one after the other, round after round; each round begins with another one.

    Args:
        runs: what each does, by name.
        times: rounds.
        budget_s: time after which no round begins, once there are enough.
        least: how many are enough.
        in_a_row: calls of each that count in a round; where there are several, one more is made before them.
        settle: done before every turn, outside of its time.
        clock: in seconds.
        told: called after every round.

    Returns:
        Seconds of every call, by name.
    """
    names = list(runs)
    taken: dict[str, list[float]] = {name: [] for name in names}
    begun = clock()
    for number in range(times):
        if number >= least and clock() - begun > budget_s:
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            settle()
            if in_a_row > 1:
                runs[name]()
            for _ in range(in_a_row):
                started = clock()
                runs[name]()
                taken[name].append(clock() - started)
        told()
    return taken


def difference(found: EngineOutput, wanted: EngineOutput) -> float:
    """The largest of any probability, or of any attribute as a share of its range; NaN where there is none to tell.

    Args:
        found: what a contender says.
        wanted: what the reference says, of the same rows or of the first of them.
    """
    rows = len(wanted.probabilities)
    probabilities, rated = found.probabilities[:rows], found.attributes[:rows]
    if (probabilities.shape, rated.shape) != (wanted.probabilities.shape, wanted.attributes.shape):
        return math.nan
    scores = np.abs(probabilities - wanted.probabilities).max()
    attributes = np.abs(rated - wanted.attributes).max() / (ATTRIBUTE_MAX - ATTRIBUTE_MIN)
    return float(np.maximum(scores, attributes))
