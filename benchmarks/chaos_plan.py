"""What is done to a server, and when: a schedule that the seed draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

EDGE: Final = 0.15
"""Of the time that each of several rare faults has to itself, at either end, in which it does not happen."""
_S_PER_MIN: Final = 60.0
CALM: Final = (0.03, 0.9)
"""Nothing is done before or after these shares of the run: it begins with calls, and ends with what is left of them."""


class Fault(StrEnum):
    """What the run itself does; hostile messages come from a process of their own."""

    DISCONNECT = "client disconnected"
    """A well-behaved client's connection is reset, at any byte."""
    HALF_MESSAGE = "message cut in half"
    """The same, after a part of what the client just sent."""
    BROKER_STOP = "broker stopped"
    """SIGTERM, and a start after a while."""
    BROKER_KILL = "broker killed"
    """SIGKILL, and a start after a while."""
    SERVER_KILL = "server killed"
    """SIGKILL, and a start on the same port."""


EVENLY: Final = (Fault.BROKER_STOP, Fault.BROKER_KILL, Fault.SERVER_KILL)
"""Of these each has its share of the run, so that one is over before the next: the others come whenever they come."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One fault."""

    at_s: float
    fault: Fault


def schedule(counts: Mapping[Fault, int], *, seconds: float, seed: int) -> list[Deed]:
    """All faults of a run in order; the same for the same arguments.

    Args:
        counts: how many of each.
        seconds: of the run.
        seed: of everything that is drawn.

    Raises:
        ValueError: a count is below 0, or there is no time.
    """
    if seconds <= 0 or any(count < 0 for count in counts.values()):
        raise ValueError(f"nothing can be done {dict(counts)} times within {seconds:g} s")
    rng = np.random.default_rng(seed)
    start_s, end_s = (share * seconds for share in CALM)
    deeds: list[Deed] = []
    for group in ((Fault.BROKER_STOP, Fault.BROKER_KILL), (Fault.SERVER_KILL,)):
        faults = [fault for fault in group for _ in range(counts.get(fault, 0))]
        share_s = (end_s - start_s) / max(1, len(faults))
        for place, number in enumerate(rng.permutation(len(faults)).tolist()):
            within = float(rng.uniform(EDGE, 1 - EDGE))
            deeds.append(Deed(start_s + (place + within) * share_s, faults[number]))
    for fault in Fault:
        if fault not in EVENLY:
            moments = rng.uniform(start_s, end_s, counts.get(fault, 0))
            deeds += [Deed(float(at_s), fault) for at_s in moments]
    return sorted(deeds, key=lambda deed: (deed.at_s, deed.fault))


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """What is done."""

    minutes: float
    streams: int
    """Well-behaved clients at a time."""
    call_s: float
    """Length of their calls, on average."""
    faults: Mapping[Fault, int]
    messages: int
    """Hostile ones."""
    floods: int
    stalled_subscribers: int
    stalled_speakers: int
    seed: int
    language: str | None
    patience_s: float
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the server, beyond what the run needs, as environment variables."""

    @property
    def seconds(self) -> float:
        """Within which all of it begins."""
        return self.minutes * _S_PER_MIN
