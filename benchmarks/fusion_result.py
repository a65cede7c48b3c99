"""What `medusa bench fusion` is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.fusion_engines import Contender, engine_key
from benchmarks.fusion_rounds import Times
from benchmarks.fusion_work import Work
from benchmarks.hardware_limits import Bound, Limits, Precision

_DIGITS: Final = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    batches: tuple[int, ...]
    seconds: tuple[float, ...]
    times: int
    """Calls of each contender in each setting."""
    budget_s: float
    """Time for one setting, after which it ends with fewer."""

    @property
    def rounds(self) -> int:
        """At most, of all settings."""
        return len(self.batches) * len(self.seconds) * self.times


@dataclass(frozen=True, slots=True)
class FusionRow:
    """One engine on one batch."""

    engine: str
    precision: str
    batch: int
    seconds: float
    """Of speech in each row."""
    times: int
    """Calls."""
    median_ms: float
    p10_ms: float
    p90_ms: float
    min_ms: float
    max_ms: float
    speedup: float
    """Median of the members one by one, over this one."""
    difference: float
    """Largest of any score from the members one by one; of those themselves, on a GPU, from the CPU."""
    gflop: float
    """Of all matrix products, as the algorithms are written."""
    limit_ms: float
    """What the hardware needs at least, see `limited_by`."""
    limited_by: Bound
    """`bandwidth`: weights read once; `operations`: matrix products at the peak rate, attention in its cheaper form."""
    limit_ratio: float
    """Median over the limit."""

    @property
    def key(self) -> str:
        """As `Contender.key`."""
        return engine_key(self.engine, self.precision)


@dataclass(frozen=True, slots=True)
class Timed:
    """What one engine did on one batch, before it is held to the limits."""

    contender: Contender
    batch: int
    seconds: float
    taken: Times
    reference_ms: float
    difference: float
    work: Work

    def row(self, limits: Limits) -> FusionRow:
        """Held to the limits of its precision."""
        taken, precision = self.taken, self.contender.precision
        limit_ms, bound = limits.limit_ms(self.work, precision)
        return FusionRow(
            engine=self.contender.name,
            precision=precision,
            batch=self.batch,
            seconds=self.seconds,
            times=taken.times,
            median_ms=_figure(taken.median_ms),
            p10_ms=_figure(taken.p10_ms),
            p90_ms=_figure(taken.p90_ms),
            min_ms=_figure(taken.min_ms),
            max_ms=_figure(taken.max_ms),
            speedup=_figure(self.reference_ms / taken.median_ms),
            difference=_figure(self.difference),
            gflop=_figure(self.work.operations / 1e9),
            limit_ms=_figure(limit_ms),
            limited_by=bound,
            limit_ratio=_figure(taken.median_ms / limit_ms),
        )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not timed."""

    engine: str
    """With its precision where that is reduced."""
    batch: int
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything a run found."""

    rows: list[FusionRow]
    left_out: list[LeftOut]
    absent: dict[str, str]
    """Engines that are not here at all, and why."""
    limits: dict[Precision, Limits]


def _figure(value: float) -> float:
    """So many digits: times and ratios here lie orders of magnitude apart."""
    return float(f"{value:.{_DIGITS}g}")
