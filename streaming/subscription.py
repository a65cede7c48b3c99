"""What waits for one subscriber: a bounded queue that gives up interims first and says so.

Every subscriber sees, for each session, strictly rising `seq` numbers in which nothing is missing without a word. Where
events were left out, one event of the subscription's own stands in their place and carries the `seq` of the last of
them: a `degraded` event (reason `slow_consumer`) when only interims are missing, `dropped_interims` of them; an `error`
event (code `events_lost`) when anything else is. So `seq` rises by one, or by what the notice accounts for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from enum import Enum
from types import TracebackType
from typing import Self

from streaming.errors import SlowConsumerError
from streaming.events import Degraded, EmotionEvent, ErrorEvent, Event, SessionEnded, TranscriptEvent


class Overflow(Enum):
    """What gives way once a full queue holds no interim any more."""

    DISCONNECT = "disconnect"
    """The subscriber: it may come back and ask for the rest, so nothing is lost."""
    DROP_OLDEST = "drop_oldest"
    """The oldest event: for subscribers that cannot come back."""


def is_interim(event: Event) -> bool:
    """Whether a newer event will say the same better, so that this one may be dropped."""
    return isinstance(event, TranscriptEvent | EmotionEvent) and not event.final


class Subscription(AsyncIterator[Event]):
    """One subscriber's view of the hub: iterate it for events.

    Iteration ends when a subscribed session has ended or the hub closes, after everything queued was delivered; it
    raises `SlowConsumerError` when the queue overflowed. There is one consumer at a time.
    """

    def __init__(
        self,
        *,
        session: str | None,
        capacity: int,
        overflow: Overflow = Overflow.DISCONNECT,
        on_drop: Callable[[Event], None] = lambda _event: None,
        on_close: Callable[[Subscription], None] = lambda _subscription: None,
    ) -> None:
        """Use `EventHub.subscribe`.

        Args:
            session: the one session wanted, or None for all.
            capacity: events that may wait.
            overflow: what gives way when they are more, and none is an interim.
            on_drop: told of each event that was left out.
            on_close: told when the subscriber leaves.
        """
        self.session = session
        self._capacity = capacity
        self._overflow = overflow
        self._on_drop = on_drop
        self._on_close = on_close
        self._offered = 0
        self._interims: deque[tuple[int, Event]] = deque()
        self._others: deque[tuple[int, Event]] = deque()
        self._delivered: dict[str, int] = {}
        self._dropped_interims: dict[str, deque[int]] = {}
        self._next: Event | None = None
        self._last: tuple[str, int] | None = None
        self._ended = False
        self._changed = asyncio.Event()
        self._overflowed = asyncio.Event()

    def __len__(self) -> int:
        """Events that wait."""
        return len(self._interims) + len(self._others)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def expect_after(self, session: str, seq: int) -> None:
        """Declares what the subscriber already has of a session: whatever is missing behind it is accounted for."""
        self._delivered[session] = seq

    def preload(self, event: Event) -> None:
        """Queues an event on top of the capacity, as replay does."""
        self._capacity += 1
        self.offer(event)

    def offer(self, event: Event) -> None:
        """Queues an event, making room by the rule of this module. Never blocks, never raises."""
        if self._ended or self._overflowed.is_set():
            return
        self._delivered.setdefault(event.session, event.seq - 1)
        self._offered += 1
        (self._interims if is_interim(event) else self._others).append((self._offered, event))
        if len(self) > self._capacity:
            self._make_room()
        self._changed.set()

    def _make_room(self) -> None:
        if self._interims:
            _, dropped = self._interims.popleft()
            self._dropped_interims.setdefault(dropped.session, deque()).append(dropped.seq)
            self._on_drop(dropped)
        elif self._overflow is Overflow.DROP_OLDEST:
            _, dropped = self._others.popleft()
            if isinstance(dropped, SessionEnded):
                del self._delivered[dropped.session]
            self._on_drop(dropped)
        else:
            self._interims.clear()
            self._others.clear()
            self._next = None
            self._overflowed.set()
            self._changed.set()

    def end(self) -> None:
        """No event will follow: iteration ends once the queue is empty."""
        self._ended = True
        self._changed.set()

    def close(self) -> None:
        """The subscriber leaves."""
        self.end()
        self._on_close(self)

    async def wait_overflow(self) -> None:
        """Returns when the subscriber turned out too slow, even while it is busy with an event."""
        await self._overflowed.wait()

    @property
    def overflowed(self) -> bool:
        """Whether the subscriber turned out too slow; it gets nothing more."""
        return self._overflowed.is_set()

    @property
    def too_slow(self) -> SlowConsumerError:
        """The error that says so, with the last event that was delivered."""
        where = f"after {self._last[1]} of session {self._last[0]}" if self._last else "from the start"
        return SlowConsumerError(f"too slow: {self._capacity} events wait; reconnect and read on {where}")

    async def ready(self) -> bool:
        """Waits for events; nothing is taken, so it may be cancelled. False when no event will follow.

        Raises:
            SlowConsumerError: the queue overflowed.
        """
        while True:
            if self._overflowed.is_set():
                raise self.too_slow
            if len(self) or self._next is not None:
                return True
            if self._ended:
                return False
            self._changed.clear()
            await self._changed.wait()

    def take(self, limit: int) -> list[Event]:
        """Up to `limit` events that are there already, oldest first."""
        taken: list[Event] = []
        while len(taken) < limit and (event := self._pop()) is not None:
            taken.append(event)
            self._last = (event.session, event.seq)
        return taken

    async def __anext__(self) -> Event:
        if not await self.ready():
            raise StopAsyncIteration
        return self.take(1)[0]

    def _pop(self) -> Event | None:
        if self._next is not None:
            event, self._next = self._next, None
            return event
        if not len(self):
            return None
        interim_first = self._interims and (not self._others or self._interims[0][0] < self._others[0][0])
        _, event = (self._interims if interim_first else self._others).popleft()
        notice = self._account_for_gap(event)
        self._delivered[event.session] = event.seq
        if isinstance(event, SessionEnded):
            del self._delivered[event.session]
        if notice is None:
            return event
        self._next = event
        return notice

    def _account_for_gap(self, event: Event) -> Event | None:
        missing = event.seq - self._delivered[event.session] - 1
        dropped = self._dropped_interims.get(event.session, deque())
        interims = 0
        while dropped and dropped[0] < event.seq:
            dropped.popleft()
            interims += 1
        if not dropped:
            self._dropped_interims.pop(event.session, None)
        if missing <= 0:
            return None
        if missing == interims:
            return Degraded(
                session=event.session,
                channel=None,
                role=None,
                seq=event.seq - 1,
                time_s=event.time_s,
                emitted_at=event.emitted_at,
                reason="slow_consumer",
                dropped_interims=missing,
                lag_ms=0,
            )
        return ErrorEvent(
            session=event.session,
            channel=None,
            role=None,
            seq=event.seq - 1,
            time_s=event.time_s,
            emitted_at=event.emitted_at,
            code="events_lost",
            message=f"events {event.seq - missing} to {event.seq - 1} are no longer held: reconnect sooner",
            retryable=False,
        )
