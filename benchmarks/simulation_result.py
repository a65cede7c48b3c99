"""What a simulation amounts to: one row of figures, and what happened second by second."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from benchmarks.live_result import percentiles
from benchmarks.simulated_server import Outcome
from benchmarks.simulated_tally import Asked, FinalTold, SessionTally
from benchmarks.simulation import Simulated
from streaming.recognition.degradation import Degradation
from streaming.recognition.request import RequestKind

LEAST_DEMAND: Final = 0.5
"""Of what the median session asks for: whoever asks for less was there too shortly to be compared."""
_MS_PER_S: Final = 1000.0
_NOT_COMPETED_FOR: Final = (Outcome.DISCARDED, Outcome.WITHHELD)
"""What the session itself gave up again, and what nobody gets."""


@dataclass(frozen=True, slots=True)
class SimulationRow:
    """One simulation; requests count by when they were asked, finals by when their end was decided."""

    load: float
    """Share of the capacity that is asked for on average."""
    capacity_sessions: int
    sessions: int
    """That came and were let in, all in all."""
    refused: int
    most_open: int
    """Sessions at once."""
    finals_asked: int
    """Segments that ended; no final is missing and none came twice, or there is no row."""
    finals_answered: int
    final_p50_ms: float | None
    """From when the end of a segment is decided to its final."""
    final_p95_ms: float | None
    final_p99_ms: float | None
    final_max_ms: float | None
    late_share: float
    """Of finals, later than `[batcher] deadline_ms`."""
    speculative_asked: int
    speculative_answered: int
    """Computed while somebody still waited for them, as they became finals or before."""
    speculative_discarded: int
    """Speech went on before they were computed."""
    speculative_shed: int
    """Asked for again as finals."""
    interims_asked: int
    interims_answered: int
    interims_replaced: int
    """The end of speech came before their turn."""
    interims_discarded: int
    interims_shed: int
    """For want of room in the queue."""
    interims_withheld: int
    """At the last step of degradation, at which nobody gets any."""
    fairness_served: float | None
    """Jain's index, over sessions with like demand, of the share of the audio asked for that was computed, but for what
    was withheld from everybody: 1 where all get the same share, 1/n where one of n gets everything."""
    fairness_waiting: float | None
    """Jain's index of how long a session's finals and speculative finals took, from asked to answered, over what those
    of their kind and length took on average: what is asked two seconds ahead of a cut has more time than a pause."""
    sessions_compared: int
    greedy_served: float | None
    """The share of its audio that was computed of the session with many voices."""
    utilisation: float
    """Share of the time in which a batch was computed."""
    batch_mean: float
    longest_queue: int
    steps: tuple[tuple[float, str], ...]
    """Seconds, and the step of degradation that began then."""
    drained_s: float
    """After nobody spoke any more, until all was answered."""


def jain(values: Sequence[float]) -> float | None:
    """Jain's fairness index (Jain, Chiu and Hawe 1984); None of nothing, or where nobody got anything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else None


def summed_up(found: Simulated, *, load: float, capacity: float, deadline_ms: float) -> SimulationRow:
    """The row of a simulation.

    Args:
        found: what happened.
        load: share of the capacity.
        capacity: in sessions.
        deadline_ms: for finals.
    """
    seconds = found.plan.seconds
    asked = [one for session in found.sessions for one in counted(session, seconds)]
    ended = Counter((one.kind, one.outcome) for one in asked)
    kinds = Counter(one.kind for one in asked)
    finals = finals_in(found)
    latencies_ms = [final.latency_s * _MS_PER_S for final in finals]
    p50, p95, p99 = percentiles(latencies_ms)
    compared = _of_like_demand(found)
    usual = _usual_waits(compared, seconds)
    waits = [wait for session in compared if (wait := _relative_wait(session, usual, seconds)) is not None]
    served = jain([_served_share(session, seconds) for session in compared])
    waiting = jain(waits)
    greedy = [session for session in found.sessions if session.voices > 1]
    batches = found.server.batches
    return SimulationRow(
        load=round(load, 4),
        capacity_sessions=round(capacity),
        sessions=len(found.sessions),
        refused=len(found.refused),
        most_open=found.most_open,
        finals_asked=sum(0 <= at_s < seconds for session in found.sessions for at_s in session.decided_s),
        finals_answered=len(finals),
        final_p50_ms=p50,
        final_p95_ms=p95,
        final_p99_ms=p99,
        final_max_ms=round(max(latencies_ms), 1) if latencies_ms else None,
        late_share=round(sum(ms > deadline_ms for ms in latencies_ms) / max(1, len(latencies_ms)), 4),
        speculative_asked=kinds[RequestKind.SPECULATIVE],
        speculative_answered=ended[RequestKind.SPECULATIVE, Outcome.ANSWERED],
        speculative_discarded=ended[RequestKind.SPECULATIVE, Outcome.DISCARDED],
        speculative_shed=ended[RequestKind.SPECULATIVE, Outcome.OVERLOAD],
        interims_asked=kinds[RequestKind.INTERIM],
        interims_answered=ended[RequestKind.INTERIM, Outcome.ANSWERED],
        interims_replaced=ended[RequestKind.INTERIM, Outcome.REPLACED],
        interims_discarded=ended[RequestKind.INTERIM, Outcome.DISCARDED],
        interims_shed=ended[RequestKind.INTERIM, Outcome.OVERLOAD],
        interims_withheld=ended[RequestKind.INTERIM, Outcome.WITHHELD],
        fairness_served=None if served is None else round(served, 4),
        fairness_waiting=None if waiting is None else round(waiting, 4),
        sessions_compared=len(compared),
        greedy_served=round(_served_share(greedy[0], seconds), 4) if greedy else None,
        utilisation=round(_busy_s(found.server.busy, seconds) / seconds, 4),
        batch_mean=round(sum(size * number for size, number in batches.items()) / max(1, batches.total()), 2),
        longest_queue=found.server.longest_queue,
        steps=tuple((round(at_s, 1), step.name.lower()) for at_s, step in found.server.steps),
        drained_s=round(max(0.0, found.last_told_s - seconds), 1),
    )


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a simulation."""

    at_s: int
    final_p50_ms: float | None
    final_p95_ms: float | None
    interims_asked: int
    interims_answered: int
    step: Degradation
    """At its end."""


def seconds_of(found: Simulated) -> list[Second]:
    """The seconds that count, one by one."""
    seconds = int(found.plan.seconds)
    latencies: dict[int, list[float]] = {}
    for final in finals_in(found):
        latencies.setdefault(int(final.decided_s), []).append(final.latency_s * _MS_PER_S)
    asked, answered = Counter[int](), Counter[int]()
    for session in found.sessions:
        for one in counted(session, seconds):
            if one.kind is RequestKind.INTERIM:
                asked[int(one.at_s)] += 1
                answered[int(one.at_s)] += one.outcome is Outcome.ANSWERED
    rows = []
    for at_s in range(seconds):
        p50, p95, _ = percentiles(latencies.get(at_s, []))
        step = next((step for since_s, step in reversed(found.server.steps) if since_s < at_s + 1), Degradation.NONE)
        rows.append(Second(at_s, p50, p95, asked[at_s], answered[at_s], step))
    return rows


def finals_in(found: Simulated) -> list[FinalTold]:
    """Finals of segments whose end was decided in the seconds that count."""
    return [
        final for session in found.sessions for final in session.finals if 0 <= final.decided_s < found.plan.seconds
    ]


def counted(session: SessionTally, seconds: float) -> list[Asked]:
    """A session's requests of the seconds that count."""
    return [one for one in session.requests if 0 <= one.at_s < seconds]


def _of_like_demand(found: Simulated) -> list[SessionTally]:
    single = [session for session in found.sessions if session.voices == 1]
    demand = [_demand_s(counted(session, found.plan.seconds)) for session in single]
    least = LEAST_DEMAND * median([asked for asked in demand if asked] or [0.0])
    return [session for session, asked in zip(single, demand, strict=True) if asked and asked >= least]


def _demand_s(requests: Iterable[Asked]) -> float:
    """Audio, in padded seconds, that the sessions competed for."""
    return sum(one.window_s for one in requests if one.outcome not in _NOT_COMPETED_FOR)


def _served_share(session: SessionTally, seconds: float) -> float:
    requests = counted(session, seconds)
    asked = _demand_s(requests)
    return _demand_s(one for one in requests if one.outcome is Outcome.ANSWERED) / asked if asked else 1.0


def _answered_finals(session: SessionTally, seconds: float) -> list[Asked]:
    return [
        one
        for one in counted(session, seconds)
        if one.kind is not RequestKind.INTERIM and one.outcome is Outcome.ANSWERED
    ]


def _usual_waits(sessions: Iterable[SessionTally], seconds: float) -> dict[tuple[RequestKind, float], float]:
    """By kind and length, how long finals and speculative finals of all sessions took on average."""
    waits: defaultdict[tuple[RequestKind, float], list[float]] = defaultdict(list)
    for session in sessions:
        for one in _answered_finals(session, seconds):
            waits[one.kind, one.window_s].append(one.ended_s - one.at_s)
    return {alike: fmean(own) for alike, own in waits.items()}


def _relative_wait(
    session: SessionTally, usual: Mapping[tuple[RequestKind, float], float], seconds: float
) -> float | None:
    answered = _answered_finals(session, seconds)
    expected_s = sum(usual[one.kind, one.window_s] for one in answered)
    return sum(one.ended_s - one.at_s for one in answered) / expected_s if expected_s else None


def _busy_s(busy: Iterable[tuple[float, float]], seconds: float) -> float:
    return sum(max(0.0, min(ended_s, seconds) - max(0.0, started_s)) for started_s, ended_s in busy)
