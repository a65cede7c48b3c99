"""Thousands of sessions on one recogniser, on a virtual clock: who comes, who is let in, and what they get."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final

from benchmarks.agenda import Agenda
from benchmarks.errors import BenchmarkError
from benchmarks.live_speech import Talker
from benchmarks.service_table import ServiceTable
from benchmarks.simulated_server import ServerTally, SimulatedServer
from benchmarks.simulated_session import SimulatedVoice
from benchmarks.simulated_talk import phrases
from benchmarks.simulated_tally import SessionTally
from streaming.config import Settings
from streaming.errors import CapacityError

GREEDY: Final = "greedy"
"""The session that speaks with many voices at once."""


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """What is simulated."""

    sessions: float
    """Open at once, on average."""
    seconds: float
    """That count; sessions come and go all the while, and nobody begins to speak after it."""
    ramp_s: float
    """Before: as many sessions as will be open come one by one, and none goes."""
    stay_s: float
    """Of a session, on average; the distribution is exponential."""
    talker: Talker
    seed: int
    admission: bool
    """Whether sessions are refused for want of room."""
    greedy_voices: int = 0
    """Of one session more, which is there from beginning to end; 0 for none."""


@dataclass(slots=True)
class Simulated:
    """All that happened."""

    plan: SimulationPlan
    server: ServerTally
    sessions: list[SessionTally] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    """When sessions were refused."""
    most_open: int = 0

    @property
    def last_told_s(self) -> float:
        """When the last final was told."""
        return max((final.told_s for session in self.sessions for final in session.finals), default=0.0)


def simulate(
    plan: SimulationPlan,
    settings: Settings,
    table: ServiceTable,
    passed: Callable[[float], None] = lambda _seconds: None,
) -> Simulated:
    """Runs a simulation to its end: until everything that was asked is answered.

    The clock stands at 0 when the seconds that count begin.

    Args:
        plan: what is simulated.
        settings: the sections `[vad]`, `[asr]` and `[batcher]` count.
        table: what batches take.
        passed: told of virtual seconds.

    Raises:
        BenchmarkError: the scheduler lost a request or answered one twice.
    """
    agenda = Agenda(-plan.ramp_s)
    server = SimulatedServer(agenda, table, settings.batcher, interim_s=settings.asr.interim_s)
    crowd = _Crowd(plan, settings, agenda, server)
    crowd.come()
    agenda.run(passed)
    if server.unanswered or any(len(one.finals) != len(one.decided_s) for one in crowd.found.sessions):
        raise BenchmarkError(f"{server.unanswered} requests were never answered, or finals are missing")
    return crowd.found


class _Crowd:
    """Sessions that come, are let in or refused, and go."""

    def __init__(self, plan: SimulationPlan, settings: Settings, agenda: Agenda, server: SimulatedServer) -> None:
        self.found = Simulated(plan, server.tally)
        self._plan = plan
        self._settings = settings
        self._agenda = agenda
        self._server = server
        self._rng = random.Random(f"{plan.seed} crowd")
        self._open = 0

    def come(self) -> None:
        """Puts down when sessions come: a Poisson process, during the ramp and after it."""
        plan, rng = self._plan, self._rng
        names = count(1)
        if plan.greedy_voices:
            self._agenda.at(-plan.ramp_s, partial(self._enter, GREEDY, plan.seconds, plan.greedy_voices))
        for start_s, end_s, rate in (
            (-plan.ramp_s, 0.0, plan.sessions / plan.ramp_s if plan.ramp_s else 0.0),
            (0.0, plan.seconds, plan.sessions / plan.stay_s),
        ):
            at_s = start_s + _wait(rng, rate)
            while at_s < end_s:
                leaves_s = max(at_s, 0.0) + rng.expovariate(1 / plan.stay_s)
                self._agenda.at(at_s, partial(self._enter, f"s{next(names)}", min(leaves_s, plan.seconds), 1))
                at_s += _wait(rng, rate)

    def _enter(self, session: str, until_s: float, voices: int) -> None:
        now_s = self._agenda.now_s
        if self._plan.admission:
            try:
                self._server.check_room(self._open)
            except CapacityError:
                self.found.refused.append(now_s)
                return
        self._count(1)
        tally = SessionTally(session, voices, now_s)
        self.found.sessions.append(tally)
        numbers, speaking = count(1), count(1)

        def silent() -> None:
            if next(speaking) == voices:
                tally.left_s = self._agenda.now_s
                self._count(-1)

        for channel in range(voices):
            voice = SimulatedVoice(
                self._agenda,
                self._server,
                self._settings,
                tally,
                channel=channel,
                number=partial(next, numbers),
                silent=silent,
            )
            rng = random.Random(f"{self._plan.seed} {session} {channel}")
            voice.speak(phrases(self._plan.talker, rng, start_s=now_s), until_s)

    def _count(self, more: int) -> None:
        self._open += more
        self.found.most_open = max(self.found.most_open, self._open)
        self._server.session_count(self._open)


def _wait(rng: random.Random, rate: float) -> float:
    return rng.expovariate(rate) if rate else float("inf")
