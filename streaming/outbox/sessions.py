"""Which sessions are open, by the events that pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from streaming.events import Event, SessionEnded
from streaming.outbox.rows import OpenSession

UNWRITTEN_SEQ: Final = 64
"""How far a session may go on, by interims alone, beyond what was last written of it."""


class OpenSessions:
    """Follows every session from its first event to its last.

    Interims are not written one by one, so what is written of a session may be behind: by `UNWRITTEN_SEQ` numbers at
    most, if it is written again whenever it is `overdue`.
    """

    def __init__(self, known: Iterable[OpenSession] = ()) -> None:
        self._open = {session.session: session for session in known}
        self._written = {name: session.seq for name, session in self._open.items()}

    def __contains__(self, session: str) -> bool:
        return session in self._open

    def all(self) -> list[OpenSession]:
        """Every open session."""
        return list(self._open.values())

    def get(self, session: str) -> OpenSession | None:
        """How far an open session has come; None where it is not open."""
        return self._open.get(session)

    def follow(self, event: Event) -> OpenSession | None:
        """Takes the next event of a session: how far it has come, or None when that was its end."""
        if isinstance(event, SessionEnded):
            self._open.pop(event.session, None)
            self._written.pop(event.session, None)
            return None
        session = self._open.get(event.session, OpenSession(event.session)).after(event)
        self._open[event.session] = session
        return session

    def overdue(self, session: OpenSession) -> bool:
        """Whether it has to be written how far the session has come."""
        return session.seq > self._written.get(session.session, 0) + UNWRITTEN_SEQ

    def wrote(self, sessions: Iterable[OpenSession]) -> None:
        """Takes note of what was written."""
        for session in sessions:
            self._written[session.session] = session.seq
