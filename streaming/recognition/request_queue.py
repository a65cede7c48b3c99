"""Which request is computed next, with which company, and which is not computed at all."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import IntEnum
from functools import partial
from typing import Final, Literal

from streaming.errors import RecognitionError
from streaming.recognition.fairness import FairLane, Waiting
from streaming.recognition.request import RecognitionRequest, RecognitionShed, RequestKind


class Urgency(IntEnum):
    """Smaller goes first."""

    FINAL = 0
    SPECULATIVE = 1
    HASTY_FINAL = 2
    """Of audio that came faster than it was spoken: it takes what time live speech leaves."""
    INTERIM = 3

    @classmethod
    def of(cls, kind: RequestKind, *, hasty: bool = False) -> Urgency:
        """How urgent a kind of request is."""
        if kind is RequestKind.FINAL:
            return cls.HASTY_FINAL if hasty else cls.FINAL
        return cls.SPECULATIVE if kind is RequestKind.SPECULATIVE else cls.INTERIM


_SHEDDABLE: Final = (Urgency.INTERIM, Urgency.SPECULATIVE)
"""What goes under load, in this order: a speculative final that is shed is asked for again when speech has ended."""


class RequestQueue:
    """The waiting requests of all sessions; pure.

    - Finals go before speculative finals before interims; finals of audio that came faster than it was spoken go before
      interims alone. A batch holds requests of one urgency and one length bucket.
    - Within an urgency sessions take fair turns, see `streaming.recognition.fairness`.
    - A newer interim of a segment takes the place of an older one; a final or speculative final sheds it.
    - Interims and speculative finals together are at most `max_queue`. Finals are never shed.
    - What is put in comes out exactly once: from `take`, `discard`, `shed_unwanted`, or as shed by `add`.
    """

    def __init__(self, max_queue: int) -> None:
        """An empty queue.

        Args:
            max_queue: interims and speculative finals that may wait, all sessions together.
        """
        self._max_queue = max_queue
        self._lanes: dict[Urgency, FairLane] = {urgency: FairLane() for urgency in Urgency}
        self._waiting: dict[tuple[str, int], tuple[Urgency, Waiting]] = {}
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: RecognitionRequest, window_s: float) -> list[RecognitionShed]:
        """Puts a request in.

        Args:
            request: not in the queue yet.
            window_s: its length bucket.

        Returns:
            What is not computed because of it, maybe the request itself.

        Raises:
            RecognitionError: the session has a request of this number waiting.
        """
        if (request.session, request.request_id) in self._waiting:
            raise RecognitionError(f"request {request.request_id} of session {request.session} waits already")
        replaced = self._lanes[Urgency.INTERIM].get(request.session, _segment_slot(request))
        shed = []
        if replaced is not None:
            del self._waiting[replaced.request.session, replaced.request.request_id]
            shed.append(RecognitionShed(replaced.request, "replaced"))
            if request.kind is not RequestKind.INTERIM:
                self._lanes[Urgency.INTERIM].remove(request.session, _segment_slot(request))
        place = self._arrived
        if replaced is not None and request.kind is RequestKind.INTERIM:
            place = replaced.place
        self._arrived += 1
        self._put(Urgency.of(request.kind, hasty=request.hasty), Waiting(request, window_s, place))
        return shed + self._relieve()

    def promote(self, session: str, request_id: int) -> None:
        """Makes a waiting request as urgent as a final; one that does not wait any more is left alone."""
        waiting = self._remove(session, request_id)
        if waiting is not None:
            self._put(Urgency.of(RequestKind.FINAL, hasty=waiting.request.hasty), waiting)

    def discard(self, session: str, request_id: int) -> RecognitionRequest | None:
        """Takes out a request that nobody wants any more, if it still waits."""
        waiting = self._remove(session, request_id)
        return waiting.request if waiting is not None else None

    def shed_unwanted(self, reason: Literal["discarded", "overload"]) -> list[RecognitionShed]:
        """Takes out everything but finals."""
        shed = [RecognitionShed(one.request, reason) for urgency in _SHEDDABLE for one in self._lanes[urgency]]
        for one in shed:
            self._remove(one.request.session, one.request.request_id)
        return shed

    def take(self, most: Callable[[Urgency, float], int], max_padded_s: float) -> list[RecognitionRequest]:
        """Takes the next batch out; empty when nothing waits.

        Args:
            most: how many requests of an urgency and a length bucket a batch may hold, 1 at least.
            max_padded_s: their windows together at most; a single request may exceed it.
        """
        urgency = next((urgency for urgency, lane in self._lanes.items() if lane), None)
        if urgency is None:
            return []
        batch = [waiting.request for waiting in self._lanes[urgency].take(partial(most, urgency), max_padded_s)]
        for request in batch:
            del self._waiting[request.session, request.request_id]
        return batch

    def _relieve(self) -> list[RecognitionShed]:
        shed: list[RecognitionShed] = []
        while sum(len(self._lanes[urgency]) for urgency in _SHEDDABLE) > self._max_queue:
            oldest = next(filter(None, (self._lanes[urgency].oldest() for urgency in _SHEDDABLE)))
            self._remove(oldest.request.session, oldest.request.request_id)
            shed.append(RecognitionShed(oldest.request, "overload"))
        return shed

    def _put(self, urgency: Urgency, waiting: Waiting) -> None:
        request = waiting.request
        self._waiting[request.session, request.request_id] = urgency, waiting
        self._lanes[urgency].put(_slot(request, urgency), waiting)

    def _remove(self, session: str, request_id: int) -> Waiting | None:
        urgency, waiting = self._waiting.pop((session, request_id), (None, None))
        if urgency is None or waiting is None:
            return None
        return self._lanes[urgency].remove(session, _slot(waiting.request, urgency))


def _slot(request: RecognitionRequest, urgency: Urgency) -> Hashable:
    return _segment_slot(request) if urgency is Urgency.INTERIM else request.request_id


def _segment_slot(request: RecognitionRequest) -> Hashable:
    return request.channel, request.segment
