"""Where events fan out: a ring of past events for each session, and any number of subscribers.

Publishing never waits. What a subscriber cannot take in time is a matter between it and its `Subscription`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from streaming.errors import UnknownSessionError
from streaming.events import Event, SessionEnded, timestamp
from streaming.faults import where
from streaming.subscription import Overflow, Subscription

_LOG: Final = logging.getLogger(__name__)


class Journal(Protocol):
    """Knows of everything before any subscriber does. It must not take long: sessions wait for it."""

    def record(self, event: Event) -> None:
        """Takes an event; once it returns the event may be seen."""

    def abandon(self, session: str) -> None:
        """A session is over; if it did not say `session.ended`, it broke."""

    def end(self) -> None:
        """No event will follow."""


class EventHub:
    """Keeps the last events of each session for replay, and hands new ones to whoever subscribed."""

    def __init__(
        self,
        *,
        event_buffer: int,
        subscriber_queue: int,
        ended_sessions: int,
        on_drop: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        """Makes an empty hub.

        Args:
            event_buffer: events kept of each session.
            subscriber_queue: events that may wait for one subscriber.
            ended_sessions: sessions whose events are kept after their end, for late replay.
            on_drop: told of each event some subscriber did not get.
        """
        self._event_buffer = event_buffer
        self._subscriber_queue = subscriber_queue
        self._ended_sessions = ended_sessions
        self._on_drop = on_drop
        self._live: dict[str, deque[Event]] = {}
        self._ended: OrderedDict[str, deque[Event]] = OrderedDict()
        self._subscriptions: set[Subscription] = set()
        self._journals: list[Journal] = []
        self._closed = False

    @property
    def subscribers(self) -> int:
        """Subscriptions that are open."""
        return len(self._subscriptions)

    def knows(self, session: str) -> bool:
        """Whether a session of this name is live, or ended lately."""
        return session in self._live or session in self._ended

    def journal(self, journal: Journal) -> None:
        """Tells a journal of all that happens from now on, before anybody else. Its troubles are its own."""
        self._journals.append(journal)

    def _tell_journals(self, tell: Callable[[Journal], None]) -> None:
        for journal in self._journals:
            try:
                tell(journal)
            except Exception as error:  # noqa: BLE001 - a session must not break by it
                _LOG.error("%s failed: %s", type(journal).__name__, where(error))

    def publish(self, event: Event) -> None:
        """Keeps a stamped event and offers it to every subscriber it concerns.

        A session is known from its first event on; `session.ended` ends the subscriptions to it.
        """
        self._tell_journals(lambda journal: journal.record(event))
        self._live.setdefault(event.session, deque(maxlen=self._event_buffer)).append(event)
        ended = isinstance(event, SessionEnded)
        for subscription in list(self._subscriptions):
            if subscription.session in (None, event.session):
                subscription.offer(event)
            if ended and subscription.session == event.session:
                subscription.end()
        if ended:
            self._ended[event.session] = self._live.pop(event.session)
            while len(self._ended) > self._ended_sessions:
                self._ended.popitem(last=False)

    def subscribe(
        self,
        session: str | None = None,
        *,
        after: int | None = None,
        since: datetime | None = None,
        capacity: int | None = None,
        overflow: Overflow = Overflow.DISCONNECT,
        on_drop: Callable[[Event], None] = lambda _event: None,
    ) -> Subscription:
        """Opens a subscription; close it (or use it in a `with` statement) when done.

        Args:
            session: the session wanted, live or lately ended; None for all.
            after: replay what is still held of events with a greater `seq` (for all sessions, of each), then go on
                live; None for live events only.
            since: replay instead what is still held of events since that moment, and of every live session at least
                its newest event, so that a subscriber to all learns which there are.
            capacity: events that may wait; None for the hub's own figure. Replayed events come on top.
            overflow: what happens when more wait and none of them is an interim.
            on_drop: told of each event this subscriber did not get, beside the hub's own listener.

        Raises:
            UnknownSessionError: there is no such session, or it ended too long ago.
        """
        if session is not None and not self.knows(session):
            raise UnknownSessionError(f"there is no session {session}: it never was, or ended too long ago")

        def dropped(event: Event) -> None:
            self._on_drop(event)
            on_drop(event)

        subscription = Subscription(
            session=session,
            capacity=capacity or self._subscriber_queue,
            overflow=overflow,
            on_drop=dropped,
            on_close=self._subscriptions.discard,
        )
        for name, events in (*self._ended.items(), *self._live.items()):
            if session not in (None, name):
                continue
            if since is not None:
                self._replay(subscription, name, events, _seq_before(events, since, live=name in self._live))
            elif after is not None:
                self._replay(subscription, name, events, after)
        if self._closed or session in self._ended:
            subscription.end()
        else:
            self._subscriptions.add(subscription)
        return subscription

    @staticmethod
    def _replay(subscription: Subscription, name: str, events: deque[Event], after: int) -> None:
        # A number the session has not reached yet is some other session's: there is nothing to account for.
        if events[-1].seq >= after:
            subscription.expect_after(name, after)
        for event in events:
            if event.seq > after:
                subscription.preload(event)

    def drop(self, session: str) -> None:
        """Ends a session that broke before it could say `session.ended`; nothing for one that said so."""
        self._tell_journals(lambda journal: journal.abandon(session))
        if self._live.pop(session, None) is not None:
            for subscription in self._subscriptions:
                if subscription.session == session:
                    subscription.end()

    def close(self) -> None:
        """No event will follow: every subscription ends once it has delivered what it holds."""
        self._closed = True
        self._tell_journals(lambda journal: journal.end())
        for subscription in self._subscriptions:
            subscription.end()


def _seq_before(events: deque[Event], moment: datetime, *, live: bool) -> int:
    """The `seq` behind which a session's events are of that moment or later; of a live one at least its newest is."""
    wanted, seq = timestamp(moment), events[-1].seq
    for event in reversed(events):
        if (event.emitted_at or "") < wanted:  # both as `timestamp` writes them, so they sort by time
            return min(event.seq, seq - 1) if live else event.seq
    return events[0].seq - 1
