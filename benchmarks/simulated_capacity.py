"""How many sessions a machine could carry at best, worked out from service times before anything is simulated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final

from benchmarks.live_speech import Talker
from benchmarks.service_table import ServiceTable
from benchmarks.simulation import SimulationPlan, simulate
from streaming.config import Settings

ROUND_SHARE: Final = 0.25
"""Of the deadline: half of it may be left of a batch computed ahead that has begun, and a final waits for one round of
all length buckets at most before it is answered in the next."""
_VOICES: Final = 100
_SECONDS: Final = 120.0
_ROUNDS: Final = 60


def capacity(settings: Settings, table: ServiceTable, talker: Talker) -> float:
    """Sessions whose finals alone just fit.

    That is where the length buckets take turns, each with as many batches as its finals need, and a round of all takes
    a quarter of the deadline. It counts neither what is computed ahead and thrown away, nor interims: they give way.

    Args:
        settings: the sections `[vad]`, `[asr]` and `[batcher]` count.
        table: what batches take.
        talker: who is in a session.
    """
    rates = finals_per_s(settings, table, talker)
    low, high = 0.0, 1.0
    while _round_fits(settings, table, rates, high):
        high *= 2
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if _round_fits(settings, table, rates, middle) else (low, middle)
    return low


def finals_per_s(settings: Settings, table: ServiceTable, talker: Talker) -> Mapping[float, float]:
    """Finals of one session in a second, by length bucket."""
    plan = SimulationPlan(
        sessions=0.0,
        seconds=_SECONDS,
        ramp_s=0.0,
        stay_s=_SECONDS,
        talker=talker,
        seed=0,
        admission=False,
        greedy_voices=_VOICES,
    )
    found = simulate(plan, settings, table.scaled(0.0))
    finals = Counter(one.window_s for session in found.sessions for one in session.finals)
    return {window_s: number / (_VOICES * _SECONDS) for window_s, number in sorted(finals.items())}


def _round_fits(settings: Settings, table: ServiceTable, rates: Mapping[float, float], sessions: float) -> bool:
    batcher = settings.batcher
    round_s = ROUND_SHARE * batcher.deadline_ms / 1000
    work_s = 0.0
    for window_s, rate in rates.items():
        finals = sessions * rate * round_s
        most = max(1, min(batcher.max_batch, int(batcher.max_padded_s / window_s)))
        time = table.times[window_s, True]
        # A bucket costs a batch wherever it has a final at all; arrivals are taken for a Poisson process.
        work_s += time.once_s * max(1 - math.exp(-finals), finals / most) + time.each_s * finals
    return work_s <= round_s
