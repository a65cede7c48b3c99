"""Who speaks how long, and who is silent how long, as a seed draws it: phrases, pauses and turns, without audio."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.live_speech import LARGEST_OFFSET_S, Talker

PHRASE_MEDIAN_S: Final = 1.8
PHRASE_SIGMA: Final = 0.6
"""Stretches of speech between two pauses follow a log-normal distribution, and so do the pauses."""
PHRASE_BOUNDS_S: Final = (0.3, 10.0)
PAUSE_MEDIAN_S: Final = 0.5
PAUSE_SIGMA: Final = 0.5
PAUSE_BOUNDS_S: Final = (0.15, 2.0)
TURN_PHRASES: Final = (2, 6)
"""Of a conversation, before it is the other's turn."""
REST_BOUNDS: Final = (0.5, 1.5)
"""How long the other speaks, in lengths of one's own turn."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Speech without a pause, and the silence behind it."""

    start_s: float
    end_s: float
    silence_s: float


def phrases(talker: Talker, rng: random.Random, *, start_s: float) -> Iterator[Phrase]:
    """What one voice says, for ever; the same for the same seed.

    Args:
        talker: whether others speak in between.
        rng: of this voice alone.
        start_s: when it may begin; it takes up to `LARGEST_OFFSET_S` more.
    """
    at_s = start_s + rng.uniform(0.0, LARGEST_OFFSET_S)
    while True:
        turn_start_s = at_s
        last = rng.randint(*TURN_PHRASES)
        for place in range(1, last + 1):
            speech_s = _log_normal(rng, PHRASE_MEDIAN_S, PHRASE_SIGMA, PHRASE_BOUNDS_S)
            silence_s = _log_normal(rng, PAUSE_MEDIAN_S, PAUSE_SIGMA, PAUSE_BOUNDS_S)
            end_s = at_s + speech_s
            if talker.listens and place == last:
                silence_s = (end_s - turn_start_s) * rng.uniform(*REST_BOUNDS)
            yield Phrase(at_s, end_s, silence_s)
            at_s = end_s + silence_s


def _log_normal(rng: random.Random, median: float, sigma: float, bounds: tuple[float, float]) -> float:
    return min(bounds[1], max(bounds[0], rng.lognormvariate(math.log(median), sigma)))
