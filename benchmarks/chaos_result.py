"""What chaos left of a server, and what is claimed of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from benchmarks.chaos_accounting import Account
from benchmarks.claims import Claim
from benchmarks.live_result import percentiles
from benchmarks.soak_watching import Look

SPARE_DESCRIPTORS: Final = 2
"""More than before, that a server may hold: a connection that is being closed."""
SPARE_MEMORY: Final = 1.25
"""Of what it took before, that a server may take: allocators keep what they had at their busiest."""
_MS_PER_S: Final = 1000.0
_SHOWN: Final = 20
"""Losses of each kind that are written out."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the server answered `/healthz` while it was up."""

    answers: int
    p99_ms: float | None
    worst_ms: float | None
    unanswered: int
    bound_s: float

    @classmethod
    def of(cls, answers_s: Sequence[float], unanswered: int, bound_s: float) -> Health:
        """Of what a watch kept."""
        ms = [answer_s * _MS_PER_S for answer_s in answers_s]
        worst_ms = round(max(ms), 1) if ms else None
        return cls(len(ms), percentiles(ms)[2], worst_ms, unanswered, bound_s)


@dataclass(frozen=True, slots=True)
class ChaosRow:
    """One run."""

    minutes: float
    faults: Mapping[str, tuple[int, int]]
    """By kind: how many were done, of how many that were meant."""
    hostile: Mapping[str, int]
    """Hostile messages by kind."""
    messages: tuple[int, int]
    """All of them: done, of how many that were meant."""
    account: Account
    health: Health
    lives: int
    """Of the server."""
    down_s: float
    """Without one that is ready."""
    recovery_s: float
    """From the last call's end until the subscriber had all there is, and nothing was open any more."""
    before: Look
    """The first server, idle, after calls on every line."""
    after: Look
    """The last one, idle."""
    inside: Mapping[str, int] = field(default_factory=dict)
    """Faults that the server did to itself, by kind."""
    broken: tuple[str, ...] = ()
    """What ended the run before its time, or the server although nobody killed it."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the result."""
        account = asdict(self.account)
        for kind in ("missing", "unanswered", "out_of_order", "uncovered", "failures"):
            account[kind] = {"count": len(account[kind]), "first": list(account[kind][:_SHOWN])}
        return {
            "minutes": self.minutes,
            "faults": {name: {"done": done, "of": meant} for name, (done, meant) in self.faults.items()},
            "messages": {"done": self.messages[0], "of": self.messages[1], **self.hostile},
            "account": account,
            "health": asdict(self.health),
            "lives": self.lives,
            "down_s": round(self.down_s, 1),
            "recovery_s": round(self.recovery_s, 1),
            "before": asdict(self.before),
            "after": asdict(self.after),
            "inside": dict(self.inside),
            "broken": list(self.broken),
        }


def chaos_claims(row: ChaosRow) -> list[Claim]:
    """What is claimed of a server that all this was done to."""
    account, health, before, after = row.account, row.health, row.before, row.after
    done = all(made == meant for made, meant in (*row.faults.values(), row.messages))
    speech = f"{account.speech_s:.0f} s of speech in {account.calls} calls, {account.sessions} sessions"
    missing = f"{len(account.missing)} missing of {account.finals}, {account.duplicates} events came twice"
    uncovered = f"{len(account.uncovered)} pieces without an answer in {speech}"
    if account.excused:
        uncovered += f"; {account.excused} answered with an error"
    worst = "none" if health.worst_ms is None else f"{health.worst_ms:.0f} ms"
    answered = f"{health.answers} answers, the slowest after {worst}, {health.unanswered} without"
    return [
        Claim("all that was planned was done", "; ".join(row.broken) or "it was" if done else "it was not", done),
        Claim(
            "every call came to its end",
            "; ".join(account.failures[:3]) or f"{account.calls} calls",
            not (account.failures or row.broken) and account.calls > 0,
        ),
        Claim("every final that a client was told is at the subscriber", missing, not account.missing),
        Claim("all speech that was sent is answered at the subscriber", uncovered, not account.uncovered),
        Claim(
            "every segment of a session that ended in order is answered",
            f"{sum(count for _, count in account.unanswered)} are not, in {len(account.unanswered)} sessions",
            not account.unanswered,
        ),
        Claim("nothing was given up", f"{account.given_up} notices of lost events", account.given_up == 0),
        Claim("nothing is out of order", f"{len(account.out_of_order)} events are", not account.out_of_order),
        Claim(
            f"/healthz always answers within {health.bound_s:g} s",
            answered,
            health.unanswered == 0 and health.answers > 0,
        ),
        _held("open files are back where they were", before.descriptors, after.descriptors, SPARE_DESCRIPTORS),
        _held("tasks are back where they were", before.tasks, after.tasks, 0),
        _memory(before.rss_mib, after.rss_mib),
    ]


def _held(what: str, before: int | None, after: int | None, spare: int) -> Claim:
    known = before is not None and after is not None
    return Claim(what, f"{before} before, {after} after", known and (after or 0) <= (before or 0) + spare)


def _memory(before: float | None, after: float | None) -> Claim:
    known = before is not None and after is not None
    found = f"{before or 0:.0f} MiB before, {after or 0:.0f} MiB after" if known else "unknown"
    what = f"memory is back within {SPARE_MEMORY - 1:.0%} of what it was"
    return Claim(what, found, known and (after or 0.0) <= SPARE_MEMORY * (before or 0.0))
