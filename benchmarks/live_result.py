"""What one server did with so many live streams, summed up from what its clients saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from benchmarks.live_records import StreamRecord
from benchmarks.live_speech import Talk
from benchmarks.process_figures import Watch
from benchmarks.trend import Trend, trend
from streaming.events import (
    Degraded,
    EmotionEvent,
    ErrorEvent,
    SessionEnded,
    SpeechEnded,
    SpeechStarted,
    TranscriptEvent,
)
from streaming.word_errors import word_error_rate

LATE_MS: Final = 50.0
"""Clients that send later than this cannot be said to speak in real time."""
PERCENTILES: Final = (50.0, 95.0, 99.0)

_S_PER_MIN: Final = 60.0
_MS_PER_S: Final = 1000.0


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One server at one number of streams. Figures without a value had nothing to be made of."""

    server: str
    streams: int
    minutes: float
    """Measured, after the warm-up."""
    finals: int
    """Final emotions of the whole session, warm-up included; those below are of the measured minutes."""
    finals_expected: int
    """Segments that began."""
    failures: tuple[str, ...]
    """Why the row does not count; none where all is well."""
    compute_p50_ms: float | None
    """Of finals, `total_ms` - `endpoint_ms`: what a listener waits for beyond the silence that ends a segment."""
    compute_p95_ms: float | None
    compute_p99_ms: float | None
    total_p50_ms: float | None
    """Of finals, `total_ms`: from the arrival of the last speech sample to the event."""
    total_p95_ms: float | None
    total_p99_ms: float | None
    client_p95_ms: float | None
    """Of finals on the client's own clock, from when the segment's last sample was due to be sent to the event."""
    first_interim_p50_ms: float | None
    """From `speech.started` to the first interim transcript of that segment, on the client's clock."""
    interims: int
    """Interim transcripts in the measured minutes."""
    flips_per_min: float | None
    """Labels shown and then taken back or changed within a segment, in a minute of speech."""
    dropped_interims: int
    """As told by `degraded` events."""
    lag_slope_ms_per_min: float | None
    """How fast `total_ms` - `endpoint_ms` grows, by least squares."""
    lag_slope_low: float | None
    """Of its 95 % confidence interval."""
    lag_slope_high: float | None
    word_error_rate: float
    """Of all finals against what was said."""
    label_agreement: float | None
    """Of finals, that claim the label which the same audio gets offline."""
    cpu_cores: float | None
    """Processors that the server kept busy."""
    rss_mib: float | None
    """Its peak resident memory while measured."""
    gpu_percent: float | None
    gpu_memory_mib: float | None
    client_processes: int
    client_cpu_cores: float
    """Processors that the clients kept busy beside it."""
    sender_late_p95_ms: float | None
    """How long after its time a message of audio was sent: the clients' own lateness."""
    sender_late_max_ms: float | None
    protocol: str = "native"
    """That the clients spoke; with `telephone`, in mu-law at 8 kHz."""
    telephone: bool = False
    loop_cores: float | None = None
    """Of `cpu_cores`, the thread of the server's event loop: connections, protocols and voice detectors."""

    def carries(self, target_ms: float) -> bool:
        """Whether every final came, and 95 % of them within the target."""
        return not self.failures and self.compute_p95_ms is not None and self.compute_p95_ms <= target_ms

    @property
    def clients_late(self) -> bool:
        """Whether the clients were too late to trust the row."""
        return self.sender_late_p95_ms is not None and self.sender_late_p95_ms > LATE_MS


@dataclass(frozen=True, slots=True)
class Span:
    """The part of each session that is measured, on its audio clock."""

    start_s: float
    end_s: float

    def holds(self, at_s: float) -> bool:
        """Whether a moment lies within."""
        return self.start_s <= at_s < self.end_s

    @property
    def minutes(self) -> float:
        """Its length."""
        return (self.end_s - self.start_s) / _S_PER_MIN


@dataclass(frozen=True, slots=True)
class FinalSeen:
    """One final emotion, and when it came."""

    stream: int
    at_s: float
    event: EmotionEvent

    @property
    def compute_ms(self) -> float:
        """What came after the silence."""
        return self.event.latency.total_ms - self.event.latency.endpoint_ms


def finals_of(records: Sequence[StreamRecord]) -> list[FinalSeen]:
    """All final emotions, a client's in order."""
    return [
        FinalSeen(record.stream, at_s, event)
        for record in records
        for at_s, event in record.received
        if isinstance(event, EmotionEvent) and event.final
    ]


def failures_of(records: Sequence[StreamRecord], streams: int) -> list[str]:
    """What keeps a row from counting, in words: a final that is missing, a session that broke, a client without one."""
    expected, received = segments_begun(records), len(finals_of(records))
    found = []
    if received < expected:
        found.append(f"{expected - received} of {expected} finals are missing")
    if received > expected:
        found.append(f"{received - expected} finals came twice, or for nothing")
    if len(records) < streams:
        found.append(f"{streams - len(records)} of {streams} clients told nothing")
    for record in records:
        if record.error is not None:
            found.append(f"stream {record.stream}: {record.error}")
        elif not any(isinstance(event, SessionEnded) for _, event in record.received):
            found.append(f"stream {record.stream}: its session did not end")
        told = [event.message for _, event in record.received if isinstance(event, ErrorEvent)]
        if told:
            found.append(f"stream {record.stream}: {len(told)} error events, the first: {told[0]}")
    return found


def segments_begun(records: Sequence[StreamRecord]) -> int:
    """How many finals there must be: one a segment."""
    return sum(isinstance(event, SpeechStarted) for record in records for _, event in record.received)


def flips_per_min(records: Sequence[StreamRecord], span: Span) -> float | None:
    """Labels taken back or changed within a segment, from interim to interim to final, in a minute of its speech."""
    flips, speech_s = 0, 0.0
    for record in records:
        shown: dict[tuple[int, int], str | None] = {}
        for _, event in record.received:
            if isinstance(event, EmotionEvent) and span.holds(event.start_s):
                key = event.channel, event.segment
                before = shown.get(key)
                flips += before is not None and before != event.label
                shown[key] = event.label
            elif isinstance(event, SpeechEnded) and span.holds(event.start_s):
                speech_s += event.end_s - event.start_s
    return flips / (speech_s / _S_PER_MIN) if speech_s else None


def first_interims_ms(records: Sequence[StreamRecord], span: Span) -> list[float]:
    """Of each segment that has one, how long its first interim transcript took."""
    found = []
    for record in records:
        begun: dict[tuple[int, int], float] = {}
        for at_s, event in record.received:
            if isinstance(event, SpeechStarted) and span.holds(event.start_s):
                begun[event.channel, event.segment] = at_s
            elif isinstance(event, TranscriptEvent):
                # A final that comes first ends the wait as well: there was no interim.
                began_s = begun.pop((event.channel, event.segment), None)
                if began_s is not None and not event.final:
                    found.append((at_s - began_s) * _MS_PER_S)
    return found


def word_errors(records: Sequence[StreamRecord], talks: Sequence[Talk]) -> float:
    """Word error rate of all finals against all that was said; a stream that is missing is all wrong."""
    heard = {
        record.stream: " ".join(
            event.committed for _, event in record.received if isinstance(event, TranscriptEvent) and event.final
        )
        for record in records
    }
    return word_error_rate([(talk.words, heard.get(stream, "")) for stream, talk in enumerate(talks)])


def lag_trend(finals: Sequence[FinalSeen]) -> Trend | None:
    """How what comes after the silence changes over the session, in ms a minute."""
    return trend([final.event.end_s / _S_PER_MIN for final in finals], [final.compute_ms for final in finals])


def percentiles(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """`PERCENTILES` of some figures, to a tenth; None of nothing."""
    if not values:
        return None, None, None
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(values, PERCENTILES))
    return p50, p95, p99


@dataclass(frozen=True, slots=True)
class Clients:
    """What the clients took themselves."""

    processes: int
    cpu_cores: float


def summed_up(
    server: str,
    records: Sequence[StreamRecord],
    talks: Sequence[Talk],
    span: Span,
    *,
    watch: Watch,
    clients: Clients,
    faults: Sequence[str] = (),
) -> LiveRow:
    """The row of one measurement, still without `label_agreement` and what the clients spoke.

    Args:
        server: its name.
        records: one a client.
        talks: what each client said.
        span: what counts.
        watch: of the server's process.
        clients: of theirs.
        faults: what else went wrong.
    """
    everything = finals_of(records)
    measured = [final for final in everything if span.holds(final.event.start_s)]
    compute = percentiles([final.compute_ms for final in measured])
    total = percentiles([final.event.latency.total_ms for final in measured])
    seen = percentiles([(final.at_s - final.event.end_s) * _MS_PER_S for final in measured])
    lag = lag_trend(measured)
    late = [ms for record in records for ms in record.late_ms]
    events = [event for record in records for _, event in record.received]
    failures = [*faults, *failures_of(records, len(talks))]
    return LiveRow(
        server=server,
        streams=len(talks),
        minutes=round(span.minutes, 3),
        finals=len(everything),
        finals_expected=segments_begun(records),
        failures=tuple(failures if measured or failures else ["no final fell into the measured minutes"]),
        compute_p50_ms=compute[0],
        compute_p95_ms=compute[1],
        compute_p99_ms=compute[2],
        total_p50_ms=total[0],
        total_p95_ms=total[1],
        total_p99_ms=total[2],
        client_p95_ms=seen[1],
        first_interim_p50_ms=percentiles(first_interims_ms(records, span))[0],
        interims=sum(isinstance(e, TranscriptEvent) and not e.final and span.holds(e.time_s) for e in events),
        flips_per_min=_rounded(flips_per_min(records, span), 2),
        dropped_interims=sum(event.dropped_interims for event in events if isinstance(event, Degraded)),
        lag_slope_ms_per_min=_rounded(None if lag is None else lag.slope, 1),
        lag_slope_low=_rounded(None if lag is None else lag.low, 1),
        lag_slope_high=_rounded(None if lag is None else lag.high, 1),
        word_error_rate=round(word_errors(records, talks), 4),
        label_agreement=None,
        cpu_cores=_rounded(watch.cpu_cores, 2),
        rss_mib=_rounded(watch.peak_rss_mib, 1),
        gpu_percent=_rounded(watch.gpu_percent, 1),
        gpu_memory_mib=_rounded(watch.gpu_memory_mib, 1),
        client_processes=clients.processes,
        client_cpu_cores=round(clients.cpu_cores, 3),
        sender_late_p95_ms=percentiles(late)[1],
        sender_late_max_ms=round(max(late), 1) if late else None,
        loop_cores=_rounded(watch.first_thread_cores, 5),
    )


def _rounded(value: float | None, digits: Literal[1, 2, 5]) -> float | None:
    return None if value is None else round(value, digits)
