"""A client that only follows events, of one session or of all, and misses none when its connection breaks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final, Self

from websockets.exceptions import ConnectionClosed

from streaming.connection import RECONNECT_S, Connection, may_recover, understood
from streaming.errors import AuthorisationError, CapacityError, StreamingError
from streaming.events import Event
from streaming.outage import Pauses

EVENTS_PATH: Final = "/v1/events"
ALL_SESSIONS: Final = "*"
REMEMBERED_SESSIONS: Final = 4096
"""Sessions whose last `seq` is kept, the latest to speak; servers keep the events of far fewer."""


class EventsClient(Connection, AsyncIterator[Event]):
    """Yields the events of one session or of all; used in an `async with` statement.

    Iteration ends when the session has ended or the server stops. A connection that breaks, or that the server closed
    because events were not taken fast enough, is tried again for `reconnect_s` seconds without a connection; the server
    then replays what it still holds, and what was yielded before is left out. Events that it holds no longer are
    accounted for by an `error` event with the code `events_lost`.
    """

    def __init__(
        self,
        url: str,
        *,
        session: str = ALL_SESSIONS,
        after: int | None = None,
        token: str | None = None,
        reconnect_s: float = RECONNECT_S,
        pauses: Pauses | None = None,
    ) -> None:
        """Connects to nothing yet.

        Args:
            url: such as `ws://127.0.0.1:8765`; the path may be left out.
            session: its name, or `*` for all.
            after: replay what the server still holds behind this `seq`; None for live events only.
            token: sent in the `Authorization` header.
            reconnect_s: how long a broken connection is tried again; 0 to raise at once.
            pauses: between attempts.
        """
        query = {"session": session}
        if after is not None:
            query["after"] = str(after)
        super().__init__(url, EVENTS_PATH, query, token, reconnect_s=reconnect_s, pauses=pauses or Pauses())
        self._followed: Final = session
        self._after: Final = after
        self._since = ""
        """When the following began: by the server's clock once it has said something live, before that by our own."""
        self._seen: Final[OrderedDict[str, int]] = OrderedDict()
        self._connected_again = False

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._since = now.replace("+00:00", "Z")
        return self

    async def __anext__(self) -> Event:
        while True:
            try:
                event = understood(await self._socket.recv())
            except ConnectionClosed as closed:
                error = self._explain(closed)
                if error is None:
                    raise StopAsyncIteration from None
                if not may_recover(closed) or self._was_refused(error):
                    raise error from None
                await self._come_back(error, self._connect_again)
                continue
            if self._is_new(event):
                self._outage.over()
                return event

    def _was_refused(self, error: StreamingError) -> bool:
        """Whether it is not let in; who was, is tried again where there is no room for now."""
        never_in = not (self._seen or self._connected_again)
        return isinstance(error, AuthorisationError) or (isinstance(error, CapacityError) and never_in)

    async def _connect_again(self) -> str:
        """Connects so that nothing is missed. One number holds for all sessions: of several, all is replayed."""
        last = self._seen.get(self._followed, self._after or 0)
        self._opened = await self._connect(self._with_query({"session": self._followed, "after": str(last)}))
        self._connected_again = True
        return "the events go on"

    def _is_new(self, event: Event) -> bool:
        """Whether it has not been yielded and is wanted; if so, it is remembered."""
        if self._after is None and not (self._seen or self._connected_again):
            self._since = event.emitted_at or self._since
        last = self._seen.get(event.session)
        if last is not None and event.seq <= last:
            return False
        if last is None and self._connected_again and not self._was_wanted(event):
            return False
        self._seen[event.session] = event.seq
        self._seen.move_to_end(event.session)
        if len(self._seen) > REMEMBERED_SESSIONS:
            self._seen.popitem(last=False)
        return True

    def _was_wanted(self, event: Event) -> bool:
        """Whether the first connection, had it lasted, would have brought this event of a session not seen yet."""
        replayed = self._after is not None and event.seq > self._after
        return replayed or (event.emitted_at or self._since) >= self._since
