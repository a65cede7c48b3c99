"""Whether some take from the others: the same streams alone and beside bullies, in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks.claims import Claim
from benchmarks.live_records import StreamRecord
from benchmarks.live_result import FinalSeen, Span, failures_of, finals_of, percentiles, segments_begun

WORSE_BY: Final = 1.10
"""The others' 95th percentile may rise by less than this."""
_DRAWS: Final = 2000
_SEED: Final = 7
_INTERVAL: Final = (2.5, 97.5)
_P95: Final = 95.0


@dataclass(frozen=True, slots=True)
class Phase:
    """The streams once through, alone or not."""

    bullied: bool
    finals: int
    finals_expected: int
    failures: tuple[str, ...]
    compute_ms: tuple[float, ...] = field(repr=False)
    """Of each final that counts, `total_ms` - `endpoint_ms`."""
    total_ms: tuple[float, ...] = field(repr=False)
    """Of each, `total_ms`."""
    bullies: dict[str, Any] = field(default_factory=dict)
    """What they did, as they tell it."""

    @classmethod
    def of(
        cls, records: Sequence[StreamRecord], streams: int, span: Span, *, bullied: bool, bullies: dict[str, Any]
    ) -> Phase:
        """Sums up what the streams' clients saw."""
        everything = finals_of(records)
        counted: list[FinalSeen] = [final for final in everything if span.holds(final.event.start_s)]
        failures = failures_of(records, streams)
        return cls(
            bullied=bullied,
            finals=len(everything),
            finals_expected=segments_begun(records),
            failures=tuple(failures if counted or failures else ["no final fell into the measured minutes"]),
            compute_ms=tuple(final.compute_ms for final in counted),
            total_ms=tuple(final.event.latency.total_ms for final in counted),
            bullies=bullies,
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in the result."""
        compute, total = percentiles(self.compute_ms), percentiles(self.total_ms)
        return {
            "bullied": self.bullied,
            "finals": self.finals,
            "finals_expected": self.finals_expected,
            "failures": list(self.failures),
            "compute_p50_ms": compute[0],
            "compute_p95_ms": compute[1],
            "total_p50_ms": total[0],
            "total_p95_ms": total[1],
            "bullies": self.bullies,
        }


@dataclass(frozen=True, slots=True)
class Ratio:
    """A 95th percentile beside bullies, over the same without."""

    ratio: float
    """Of all phases with, over all without."""
    low: float
    """Of its 95 % interval, by drawing the finals of each side anew."""
    high: float
    pairs: tuple[float, ...]
    """Of each phase with bullies, over the one before it: how far apart they lie is what the machine does by itself."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the result."""
        rounded = {name: round(getattr(self, name), 4) for name in ("ratio", "low", "high")}
        return {**rounded, "pairs": [round(pair, 4) for pair in self.pairs]}


def ratio_of(phases: Sequence[Phase], figure: Callable[[Phase], Sequence[float]]) -> Ratio | None:
    """What bullies do to the 95th percentile of a figure; None where nothing can be said.

    Args:
        phases: in turn without and with bullies, the first without.
        figure: of each final of a phase.
    """
    alone = [figure(phase) for phase in phases if not phase.bullied]
    beside = [figure(phase) for phase in phases if phase.bullied]
    if not alone or not beside or not all(map(len, (*alone, *beside))):
        return None
    without, among = np.concatenate(alone), np.concatenate(beside)
    if min(float(np.percentile(values, _P95)) for values in alone) <= 0:
        return None
    rng = np.random.default_rng(_SEED)
    drawn = [
        np.percentile(rng.choice(among, among.size), _P95) / np.percentile(rng.choice(without, without.size), _P95)
        for _ in range(_DRAWS)
    ]
    low, high = np.percentile(drawn, _INTERVAL)
    return Ratio(
        ratio=float(np.percentile(among, _P95) / np.percentile(without, _P95)),
        low=float(low),
        high=float(high),
        pairs=tuple(
            float(np.percentile(after, _P95) / np.percentile(before, _P95))
            for before, after in zip(alone, beside, strict=False)
        ),
    )


def bullies_claims(phases: Sequence[Phase]) -> list[Claim]:
    """What is claimed of the others."""
    lost = [failure for phase in phases for failure in phase.failures]
    finals = f"{sum(phase.finals for phase in phases)} of {sum(phase.finals_expected for phase in phases)}"
    return [
        Claim("every final of the others came", "; ".join(lost[:3]) or finals, not lost),
        _claim("the others' p95 beyond the silence", ratio_of(phases, lambda phase: phase.compute_ms)),
        _claim("the others' p95 of total_ms", ratio_of(phases, lambda phase: phase.total_ms)),
    ]


def _claim(what: str, found: Ratio | None) -> Claim:
    what = f"{what} rises by less than {WORSE_BY - 1:.0%}"
    if found is None:
        return Claim(what, "nothing can be said: a phase without finals, or without any wait", holds=False)
    pairs = ", ".join(f"{pair:.3f}" for pair in found.pairs)
    said = f"times {found.ratio:.3f} (95 %: {found.low:.3f} to {found.high:.3f}; pair by pair {pairs})"
    return Claim(what, said, found.ratio < WORSE_BY)
