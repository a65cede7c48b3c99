"""Whether anything was lost: what clients said and were told, held against what the MQTT subscriber has in the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.chaos_records import CallRecord, FinalAt

SPARE_S: Final = 0.3
"""Speech that lies in no final, in one piece, of which nobody can say that it was lost: edges of segments are the
detector's to choose, and it chooses anew where a session begins in the middle."""
_CUT_OFF: Final = "server_lost"
"""Reason of the end that is told of a session whose server was killed."""
_GIVEN_UP: Final = "events_lost"
"""Code of the error that stands in the place of events which were given up."""
_ANSWERS: Final = ("transcript", "emotion")
"""To a segment; agents are transcribed and not scored."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One event at the subscriber, less what nobody counts; interims are left out."""

    session: str
    seq: int
    type: str
    channel: int | None = None
    segment: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    code: str | None = None
    """Of an error."""
    reason: str | None = None
    """Of a session's end."""

    @property
    def final(self) -> FinalAt | None:
        """As clients see it, where it is a final emotion."""
        if self.type != "emotion" or self.channel is None or self.segment is None:
            return None
        if self.start_s is None or self.end_s is None:
            return None
        return FinalAt(self.session, self.seq, self.channel, self.segment, self.start_s, self.end_s)


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A piece of speech that no final at the subscriber speaks of."""

    line: int
    call: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Account:
    """What is left of a run."""

    calls: int
    sessions: int
    """Of those calls: more than there are calls where a session was lost."""
    speech_s: float
    """That was sent."""
    finals: int
    """Different final emotions of those sessions at the subscriber."""
    duplicates: int
    """Events that came again, of all sessions."""
    missing: tuple[FinalAt, ...]
    """Finals that a client was told and the subscriber never was."""
    unanswered: tuple[tuple[str, int], ...]
    """Sessions that ended in order, with segments that began and have neither final nor error: which and how many."""
    out_of_order: tuple[Heard, ...]
    """Events that came for the first time after a later one of their session."""
    uncovered: tuple[Uncovered, ...]
    """Speech without a final, beyond what recognition errors account for."""
    given_up: int
    """Notices of events that were given up."""
    excused: int
    """Pieces of speech without a final for which the subscriber was told a recognition error."""
    failures: tuple[str, ...]
    """Calls that ended before their time."""

    @property
    def lost(self) -> int:
        """Whatever is gone or in disorder."""
        return self.given_up + len(self.missing) + len(self.unanswered) + len(self.out_of_order) + len(self.uncovered)


def account(
    records: Sequence[CallRecord], speech: Sequence[Sequence[tuple[float, float]]], heard: Sequence[Heard]
) -> Account:
    """Holds one against the other.

    Args:
        records: one a call.
        speech: of each recording, where somebody speaks, in seconds: what is to be answered.
        heard: at the subscriber, in the order of arrival, repetitions included.
    """
    firsts, duplicates, disorder = _first_sights(heard)
    by_session: dict[str, list[Heard]] = {}
    for event in firsts:
        by_session.setdefault(event.session, []).append(event)
    own = {name for record in records for name, _ in record.sessions}
    known = {(event.session, event.seq) for event in firsts}
    uncovered: list[Uncovered] = []
    excused = 0
    speech_s = 0.0
    for number, record in enumerate(records):
        pieces, errors = _uncovered(record, number, speech[record.recording], by_session)
        excused += min(errors, len(pieces))
        uncovered += pieces[errors:]
        speech_s += sum(min(end_s, record.sent_s) - start_s for start_s, end_s in _sent(record, speech))
    return Account(
        calls=len(records),
        sessions=len(own),
        speech_s=round(speech_s, 1),
        finals=sum(event.final is not None and event.session in own for event in firsts),
        duplicates=duplicates,
        missing=tuple(
            final for record in records for final in record.finals if (final.session, final.seq) not in known
        ),
        unanswered=tuple(
            (session, count) for session, events in sorted(by_session.items()) if (count := _unanswered(events))
        ),
        out_of_order=tuple(disorder),
        uncovered=tuple(uncovered),
        given_up=sum(event.code == _GIVEN_UP for event in firsts),
        excused=excused,
        failures=tuple(f"line {record.line}: {record.error}" for record in records if record.error is not None),
    )


def _first_sights(heard: Iterable[Heard]) -> tuple[list[Heard], int, list[Heard]]:
    """Each event once, how many came again, and those that came for the first time after a later one."""
    seen: set[tuple[str, int]] = set()
    latest: dict[str, int] = {}
    firsts: list[Heard] = []
    disorder: list[Heard] = []
    duplicates = 0
    for event in heard:
        if (event.session, event.seq) in seen:
            duplicates += 1
            continue
        seen.add((event.session, event.seq))
        firsts.append(event)
        if event.seq < latest.get(event.session, 0):
            disorder.append(event)
        latest[event.session] = max(event.seq, latest.get(event.session, 0))
    return firsts, duplicates, disorder


def _unanswered(events: Sequence[Heard]) -> int:
    """Segments of a session that ended in order which nothing answers; one that was cut off answers for nothing."""
    if not any(event.type == "session.ended" and event.reason != _CUT_OFF for event in events):
        return 0
    begun = {(event.channel, event.segment) for event in events if event.type == "speech.started"}
    answered = {(event.channel, event.segment) for event in events if event.type in _ANSWERS}
    errors = sum(event.type == "error" and event.channel is not None for event in events)
    return max(0, len(begun - answered) - errors)


def _sent(record: CallRecord, speech: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Where somebody speaks in what was sent of a recording."""
    return [(start_s, end_s) for start_s, end_s in speech[record.recording] if start_s < record.sent_s]


def _uncovered(
    record: CallRecord, number: int, speech: Sequence[tuple[float, float]], by_session: Mapping[str, Sequence[Heard]]
) -> tuple[list[Uncovered], int]:
    """Pieces of a call's speech without a final, and how many recognition errors its sessions were told."""
    covered: list[tuple[float, float]] = []
    errors = 0
    for session, offset_s in record.sessions:
        for event in by_session.get(session, ()):
            final = event.final
            if final is not None:
                covered.append((offset_s + final.start_s, offset_s + final.end_s))
            errors += event.type == "error" and event.code == "recognition"
    covered.sort()
    pieces = []
    for start_s, end_s in speech:
        for from_s, to_s in _gaps(start_s, min(end_s, record.sent_s), covered):
            if to_s - from_s > SPARE_S:
                pieces.append(Uncovered(record.line, number, round(from_s, 3), round(to_s, 3)))
    return pieces, errors


def _gaps(start_s: float, end_s: float, covered: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of a stretch; `covered` is sorted by where it begins."""
    gaps = []
    at_s = start_s
    for from_s, to_s in covered:
        if from_s >= end_s:
            break
        if from_s > at_s:
            gaps.append((at_s, from_s))
        at_s = max(at_s, to_s)
    if at_s < end_s:
        gaps.append((at_s, end_s))
    return gaps
