"""What hours do to a server, summed up from what its clients saw and what it took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.claims import Claim
from benchmarks.live_records import StreamRecord
from benchmarks.live_result import Span, failures_of, finals_of, percentiles, segments_begun
from benchmarks.soak_calls import Call
from benchmarks.soak_watching import Look
from benchmarks.trend import LEAST_POINTS, Trend, block_means, drift

BLOCK_S: Final = 30.0
"""Neighbouring figures resemble each other: slopes are those of the means of such stretches."""
_S_PER_MIN: Final = 60.0
_EDGE: Final = 1 / 3
"""Of the run, at its beginning and at its end, that are held against each other."""


@dataclass(frozen=True, slots=True)
class Series:
    """A figure over the run: its means over stretches of `BLOCK_S`, and how it drifts."""

    minutes: tuple[float, ...]
    """The middle of each stretch."""
    means: tuple[float, ...]
    slope: Trend | None
    """For a minute; None where the run was too short to tell."""

    @classmethod
    def of(cls, at_s: Sequence[float], values: Sequence[float], span: Span) -> Series:
        """Of the points within a span, the first stretch beginning with it."""
        inside = [(at - span.start_s, value) for at, value in zip(at_s, values, strict=True) if span.holds(at)]
        middles_s, means = block_means([at for at, _ in inside], [value for _, value in inside], BLOCK_S)
        minutes = [(span.start_s + middle_s) / _S_PER_MIN for middle_s in middles_s]
        return cls(tuple(minutes), tuple(means), drift(minutes, means))

    def to_json(self) -> dict[str, Any]:
        """As it stands in the result."""
        slope = self.slope
        return {
            "minutes": [round(minute, 3) for minute in self.minutes],
            "means": [round(mean, 3) for mean in self.means],
            "slope_per_min": None if slope is None else round(slope.slope, 4),
            "slope_low": None if slope is None else round(slope.low, 4),
            "slope_high": None if slope is None else round(slope.high, 4),
        }


@dataclass(frozen=True, slots=True)
class Range:
    """A count in the first and in the last third of the run, at least and at most, and idle before and after it."""

    idle_before: int | None
    begin: tuple[int, int] | None
    end: tuple[int, int] | None
    idle_after: int | None

    @property
    def constant(self) -> bool:
        """Whether no more is held after the run than before it."""
        return self.idle_before is not None and self.idle_after is not None and self.idle_after <= self.idle_before


@dataclass(frozen=True, slots=True)
class SoakRow:
    """One run."""

    streams: int
    minutes: float
    """Measured, after the warm-up."""
    calls: int
    finals: int
    finals_expected: int
    """Segments that began."""
    failures: tuple[str, ...]
    """What was lost or broke; none where all is well."""
    compute_p50_ms: float | None
    """Of finals, `total_ms` - `endpoint_ms`."""
    compute_p95_ms: float | None
    compute_p99_ms: float | None
    cpu_cores: float | None
    queue_depth_p95: float | None
    queue_depth_most: int | None
    rss_most_mib: float | None
    sender_late_p95_ms: float | None
    lag: Series
    """`total_ms` - `endpoint_ms`, in ms."""
    rss: Series
    """In MiB."""
    descriptors: Range
    tasks: Range
    threads: Range

    def to_json(self) -> dict[str, Any]:
        """As it stands in the result."""
        series = {"lag_ms": self.lag.to_json(), "rss_mib": self.rss.to_json()}
        ranges = {
            name: {part: getattr(getattr(self, name), part) for part in Range.__slots__}
            for name in ("descriptors", "tasks", "threads")
        }
        nested = {"lag", "rss", *ranges}
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in nested}
        return {**plain, **series, **ranges}


@dataclass(frozen=True, slots=True)
class Idle:
    """A server without sessions, before and after."""

    before: Look
    after: Look


def soak_row(
    calls: Sequence[Call],
    records: Sequence[StreamRecord],
    looks: Sequence[Look],
    span: Span,
    *,
    idle: Idle,
    faults: Sequence[str] = (),
) -> SoakRow:
    """Sums up a run.

    Args:
        calls: that were made.
        records: one a call, in their order.
        looks: at the server, on the run's clock.
        span: what counts, on the run's clock.
        idle: the server before and after.
        faults: what else went wrong.
    """
    finals = finals_of(records)
    at_s = [calls[final.stream].begin_s + final.at_s for final in finals]
    lag_ms = [final.compute_ms for final in finals]
    measured = [ms for at, ms in zip(at_s, lag_ms, strict=True) if span.holds(at)]
    seen = [one for one in looks if span.holds(one.at_s)]
    memory = [(one.at_s, one.rss_mib) for one in seen if one.rss_mib is not None]
    depths = [one.queue_depth for one in seen if one.queue_depth is not None]
    compute = percentiles(measured)
    failures = [*faults, *failures_of(records, len(calls))]

    def held(figure: Callable[[Look], int | None]) -> Range:
        return _range(seen, span, idle, figure)

    return SoakRow(
        streams=1 + max(call.line for call in calls),
        minutes=round(span.minutes, 3),
        calls=len(calls),
        finals=len(finals),
        finals_expected=segments_begun(records),
        failures=tuple(failures if measured or failures else ["no final fell into the measured minutes"]),
        compute_p50_ms=compute[0],
        compute_p95_ms=compute[1],
        compute_p99_ms=compute[2],
        cpu_cores=_cores(seen),
        queue_depth_p95=percentiles(depths)[1],
        queue_depth_most=max(depths, default=None),
        rss_most_mib=max((mib for _, mib in memory), default=None),
        sender_late_p95_ms=percentiles([ms for record in records for ms in record.late_ms])[1],
        lag=Series.of(at_s, lag_ms, span),
        rss=Series.of([at for at, _ in memory], [mib for _, mib in memory], span),
        descriptors=held(lambda one: one.descriptors),
        tasks=held(lambda one: one.tasks),
        threads=held(lambda one: one.threads),
    )


def soak_claims(row: SoakRow) -> list[Claim]:
    """What is claimed of a server that runs for long."""
    lost = "; ".join(row.failures[:3]) or f"{row.finals} of {row.finals_expected}"
    return [
        Claim("every final came, every session ended in order", lost, not row.failures),
        _no_drift("lag does not drift", row.lag.slope, "ms a minute"),
        _no_drift("memory does not drift", row.rss.slope, "MiB a minute"),
        _constant("no more open files after than before", row.descriptors),
        _constant("no more tasks after than before", row.tasks),
    ]


def _no_drift(what: str, slope: Trend | None, unit: str) -> Claim:
    if slope is None:
        return Claim(what, f"fewer than {LEAST_POINTS} stretches of {BLOCK_S:g} s: too short to tell", holds=False)
    found = f"{slope.slope:+.3g} {unit} (95 %: {slope.low:+.3g} to {slope.high:+.3g})"
    return Claim(what, found, slope.low <= 0 <= slope.high)


def _constant(what: str, held: Range) -> Claim:
    def told(edge: tuple[int, int] | None) -> str:
        return "unknown" if edge is None else f"{edge[0]} to {edge[1]}"

    idle = f"idle {held.idle_before} before, {held.idle_after} after"
    return Claim(what, f"{idle}; at first {told(held.begin)}, at last {told(held.end)}", held.constant)


def _range(looks: Sequence[Look], span: Span, idle: Idle, figure: Callable[[Look], int | None]) -> Range:
    length_s = span.end_s - span.start_s

    def edge(start_s: float, end_s: float) -> tuple[int, int] | None:
        found = [value for one in looks if start_s <= one.at_s < end_s and (value := figure(one)) is not None]
        return (min(found), max(found)) if found else None

    return Range(
        idle_before=figure(idle.before),
        begin=edge(span.start_s, span.start_s + _EDGE * length_s),
        end=edge(span.end_s - _EDGE * length_s, span.end_s),
        idle_after=figure(idle.after),
    )


def _cores(looks: Sequence[Look]) -> float | None:
    known = [(one.at_s, one.cpu_s) for one in looks if one.cpu_s is not None]
    if len(known) < 2 or known[-1][0] == known[0][0]:
        return None
    return round((known[-1][1] - known[0][1]) / (known[-1][0] - known[0][0]), 2)
