"""How busy the recogniser is, and with what: measured over the last seconds, on a clock it is given."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from streaming.recognition.request import RequestKind

WINDOW_S: Final = 10.0
"""What is measured: long enough for a few finals of every speaker, short enough to notice a rush."""
_LEAST_S: Final = 4.0
"""Time that the first measurement covers at least."""
_AVERAGED_S: Final = 5.0
"""Time over which segments that ask for interims are counted: about a sentence."""
_MEMORY: Final = 0.9
"""Of the usual time of an interim, what is left after the next batch."""
WORDLESS_SHARE: Final = 0.5
"""What an interim without words is taken to cost of one with them, until one was measured."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the recogniser, as shares of its time: above 1 is more than there is."""

    finals: float
    """Finals and speculative finals, as measured."""
    interims: float
    """Interims as often as they are wanted, with words."""
    wordless_interims: float
    """As often, without words."""


class LoadMeter:
    """Measures the load; pure, moments never go back.

    What finals take is measured. What interims would take is how many segments ask for them times what one takes: that
    is known also while fewer of them are computed than are wanted.
    """

    def __init__(self, interim_s: float) -> None:
        """Nothing was measured yet.

        Args:
            interim_s: new speech between two interims of a segment.
        """
        self._interim_s = interim_s
        self._begun_s: float | None = None
        self._finals: deque[tuple[float, float]] = deque()
        self._finals_s = 0.0
        self._asked: dict[tuple[str, int, int], float] = {}
        self._asked_average = 0.0
        self._averaged_s: float | None = None
        self._interim_time_s: dict[bool, float] = {}

    def asked(self, session: str, channel: int, segment: int, now_s: float) -> None:
        """A segment asks for an interim."""
        self._begin(now_s)
        self._asked.pop((session, channel, segment), None)
        self._asked[session, channel, segment] = now_s

    def answered(self, session: str, channel: int, segment: int) -> None:
        """A segment asks for no more interims: its final was asked for."""
        self._asked.pop((session, channel, segment), None)

    def computed(self, kind: RequestKind, size: int, work_s: float, ended_s: float, *, words: bool = True) -> None:
        """A batch was computed.

        Args:
            kind: of its requests.
            size: their number.
            work_s: of the recogniser's time, what they are worth together.
            ended_s: when it was done.
            words: whether it was transcribed.
        """
        self._begin(ended_s - work_s)
        if kind is not RequestKind.INTERIM:
            self._finals.append((ended_s, work_s))
            self._finals_s += work_s
            return
        before = self._interim_time_s.get(words, work_s / size)
        self._interim_time_s[words] = _MEMORY * before + (1 - _MEMORY) * work_s / size

    def load(self, now_s: float) -> Load:
        """The load as of now."""
        self._begin(now_s)
        self._forget(now_s)
        covered_s = max(_LEAST_S, min(WINDOW_S, now_s - (self._begun_s or 0.0)))
        rate = self._usual_asked(now_s) / self._interim_s
        words_s = self._interim_time_s.get(True, 0.0)
        wordless_s = self._interim_time_s.get(False, WORDLESS_SHARE * words_s)
        return Load(self._finals_s / covered_s, rate * words_s, rate * wordless_s)

    def _usual_asked(self, now_s: float) -> float:
        """Segments that ask for interims, on average: people begin and end sentences all the time."""
        if self._averaged_s is None:
            self._asked_average = float(len(self._asked))
        else:
            left = math.exp(-(now_s - self._averaged_s) / _AVERAGED_S)
            self._asked_average = left * self._asked_average + (1 - left) * len(self._asked)
        self._averaged_s = now_s
        return self._asked_average

    def _begin(self, now_s: float) -> None:
        if self._begun_s is None:
            self._begun_s = now_s

    def _forget(self, now_s: float) -> None:
        while self._finals and self._finals[0][0] <= now_s - WINDOW_S:
            self._finals_s -= self._finals.popleft()[1]
        if not self._finals:
            self._finals_s = 0.0
        while self._asked:
            segment, asked_s = next(iter(self._asked.items()))
            if asked_s > now_s - WINDOW_S:
                break
            del self._asked[segment]
