"""What a wire protocol costs a server beside what it recognises, in processor time for a second of call.

Two figures. The *dialect* alone: the translator is given a call's very messages and events, and its thread is timed.
And the *difference*: calls by the protocol and the same calls by our own, in turn, on fresh servers; what the thread of
the server's event loop takes more. The second holds everything, so it is what counts: more and smaller messages to take
off the socket, the task that wakes for each, and audio that is heard in shorter pieces.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

from benchmarks.live_lines import NATIVE, TELEPHONE, as_telephone
from benchmarks.live_measuring import LiveRun
from benchmarks.live_messages import MESSAGES
from benchmarks.live_records import StreamRecord
from benchmarks.live_result import LiveRow
from benchmarks.live_server import MEDUSA
from benchmarks.trend import LEAST_POINTS, student_quantile
from streaming.config import Settings
from streaming.events import Event
from streaming.protocols.audiohook import AudiohookDialect
from streaming.protocols.dialect import Dialect, Handshake
from streaming.protocols.twilio import TwilioDialect

LEAST_ROUNDS: Final = LEAST_POINTS - 1
"""With fewer a difference has no interval."""
CALLS: Final = 4
"""At a time, where it is not said how many: few enough that a small machine sheds nothing for want of time."""
_MS_PER_S: Final = 1000.0


@dataclass(frozen=True, slots=True)
class AdapterCost:
    """All times are milliseconds of one processor for a second of call; shares are of `recogniser_ms_per_s`."""

    protocol: str
    streams: int
    rounds: int
    recogniser_ms_per_s: float
    """What all threads but the event loop's took for a call, on average of both protocols."""
    native_loop_ms_per_s: float
    """What the event loop's thread took for a call by our own protocol."""
    dialect_ms_per_s: float
    """The translator alone, again and again with warm caches: a lower bound."""
    dialect_share: float
    difference_ms_per_s: float
    """Event loop's thread, by the protocol and by our own."""
    difference_low: float | None
    """Of its 95 % confidence interval; None for too few rounds."""
    difference_high: float | None
    difference_share: float
    share_low: float | None
    share_high: float | None
    process_difference_ms_per_s: float
    """The whole process: chance in what was recognised included."""
    process_difference_low: float | None
    process_difference_high: float | None


async def compared(run: LiveRun, protocol: str, streams: int, rounds: int) -> tuple[list[LiveRow], AdapterCost | None]:
    """Measures calls by a protocol and by our own in turn, first the one and then the other first.

    Args:
        run: what is said, and where.
        protocol: which.
        streams: calls at a time.
        rounds: rows of each.

    Returns:
        The rows as they were measured; and what they amount to, None where the system tells no processor times.

    Raises:
        BenchmarkError: server or clients do not start.
    """
    rows: list[LiveRow] = []
    events: list[Event] = []
    for number in range(rounds):
        order = (NATIVE, protocol) if number % 2 == 0 else (protocol, NATIVE)
        for spoken in order:
            name = f"{MEDUSA}-{streams}-{spoken}-{number}"
            row, records = await run.measured(MEDUSA, streams, name, protocol=spoken, telephone=True)
            rows.append(row)
            events = events or _events_of(records)
    dialect_s = dialect_cost_s(protocol, run.audio(streams)[0], events)
    return rows, adapter_cost(protocol, streams, rows, dialect_s)


def dialect_cost_s(protocol: str, file: Path, events: Sequence[Event]) -> float:
    """Seconds of processor time that a translator takes for a second of a call.

    Args:
        protocol: which.
        file: the call's audio, mono PCM16 at 16 kHz.
        events: of such a call, from `session.started` on.
    """
    audio, provider = as_telephone(file.read_bytes()), MESSAGES[protocol](None)
    dialect = _dialect(protocol)
    size = round(provider.chunk_s * TELEPHONE.rate_hz)
    taken_s = 0.0
    for message in provider.begin():
        taken_s += _timed(dialect, message)
    for event in events[:1]:
        taken_s += _timed(dialect, event)
        if provider.is_answered:
            provider.told('{"seq": 1}')
    for start in range(0, len(audio), size):
        taken_s += _timed(dialect, provider.audio(audio[start : start + size]))
    for event in events[1:-1]:
        taken_s += _timed(dialect, event)
    taken_s += _timed(dialect, provider.end())
    return taken_s / (len(audio) / TELEPHONE.bytes_per_s)


def adapter_cost(protocol: str, streams: int, rows: Sequence[LiveRow], dialect_s: float) -> AdapterCost | None:
    """What rows of two protocols amount to.

    Args:
        protocol: the one that is not our own.
        streams: calls at a time.
        rows: as many of either, in pairs.
        dialect_s: see `dialect_cost_s`.
    """
    own = [_cores(row, streams) for row in rows if row.protocol == NATIVE]
    other = [_cores(row, streams) for row in rows if row.protocol == protocol]
    pairs = [(before, after) for before, after in zip(own, other, strict=True) if before and after]
    if not pairs:
        return None
    recogniser = fmean(whole - loop for pair in pairs for whole, loop in pair)
    loops = _interval([after[1] - before[1] for before, after in pairs])
    wholes = _interval([after[0] - before[0] for before, after in pairs])
    shares = [None if value is None else round(value / recogniser, 4) for value in loops]
    return AdapterCost(
        protocol=protocol,
        streams=streams,
        rounds=len(pairs),
        recogniser_ms_per_s=round(recogniser, 2),
        native_loop_ms_per_s=round(fmean(before[1] for before, _ in pairs), 2),
        dialect_ms_per_s=round(dialect_s * _MS_PER_S, 3),
        dialect_share=round(dialect_s * _MS_PER_S / recogniser, 4),
        difference_ms_per_s=round(loops[0], 2),
        difference_low=_rounded(loops[1]),
        difference_high=_rounded(loops[2]),
        difference_share=round(loops[0] / recogniser, 4),
        share_low=shares[1],
        share_high=shares[2],
        process_difference_ms_per_s=round(wholes[0], 2),
        process_difference_low=_rounded(wholes[1]),
        process_difference_high=_rounded(wholes[2]),
    )


def _cores(row: LiveRow, streams: int) -> tuple[float, float] | None:
    """What the process and the event loop's thread took for one call, in ms a second."""
    if row.cpu_cores is None or row.loop_cores is None:
        return None
    return row.cpu_cores * _MS_PER_S / streams, row.loop_cores * _MS_PER_S / streams


def _interval(differences: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Their mean, and where it lies with 95 % confidence (Student's t)."""
    mean = fmean(differences)
    if len(differences) < LEAST_ROUNDS:
        return mean, None, None
    reach = student_quantile(len(differences) - 1) * stdev(differences) / math.sqrt(len(differences))
    return mean, mean - reach, mean + reach


def _events_of(records: Sequence[StreamRecord]) -> list[Event]:
    return [event for _, event in records[0].received] if records else []


def _dialect(protocol: str) -> Dialect:
    settings = Settings()
    if protocol == "twilio":
        return TwilioDialect(settings.twilio)
    return AudiohookDialect(settings.audiohook, None, Handshake("/v1/audiohook", {}))


def _timed(dialect: Dialect, given: str | bytes | Event) -> float:
    began_s = time.thread_time()
    if isinstance(given, str | bytes):
        dialect.read(given)
    else:
        dialect.tell(given)
    return time.thread_time() - began_s


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
