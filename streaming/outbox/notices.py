"""What an outbox says on behalf of others: of events it gave up, and of sessions that cannot speak any more."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Final

from streaming.events import ErrorEvent, SessionEnded, Totals
from streaming.outbox.rows import Entry, Kind, OpenSession
from streaming.outbox.topics import error_beside

EVENTS_LOST: Final = "events_lost"
SERVER_RESTARTED: Final = "server_restarted"
SERVER_LOST: Final = "server_lost"
"""Reason of a session's end that the server's own end caused."""
INTERNAL_ERROR: Final = "internal_error"


def events_lost(last: Entry, *, lost_from: int) -> Entry:
    """The notice that takes the place of `last` and stands for all the session's events from `lost_from` to it."""
    told = json.loads(last.payload)
    notice = ErrorEvent(
        session=last.session,
        channel=None,
        role=None,
        seq=last.seq,
        time_s=told["time_s"],
        emitted_at=told["emitted_at"],
        code=EVENTS_LOST,
        message=f"events {lost_from} to {last.seq} were given up, because the broker took too few for too long: look "
        "after the broker, or raise [mqtt] outbox_mib or queue",
        retryable=False,
    )
    return replace(
        last,
        topic=error_beside(last.topic),
        payload=notice.to_json().encode(),
        kind=Kind.NOTICE,
        lost_from=lost_from,
    )


def server_restarted(session: OpenSession, now: datetime) -> tuple[ErrorEvent, SessionEnded]:
    """The last words of a session whose server was killed; their `seq` follow `session.seq`."""
    error = ErrorEvent(
        session=session.session,
        channel=None,
        role=None,
        seq=session.seq + 1,
        time_s=session.time_s,
        code=SERVER_RESTARTED,
        message="the server ended unexpectedly and was started again; what it had not answered is lost: begin a new "
        "session",
        retryable=True,
    ).stamped(now)
    return error, session_ended(session.after(error), SERVER_LOST, now)


def session_ended(session: OpenSession, reason: str, now: datetime) -> SessionEnded:
    """The end of a session that did not say so itself, with totals as far as its events tell."""
    return SessionEnded(
        session=session.session,
        seq=session.seq + 1,
        time_s=session.time_s,
        reason=reason,
        totals=Totals(
            audio_s=session.time_s,
            speech_s=session.speech_s,
            segments=session.segments,
            finals=session.finals,
            interims=session.interims,
        ),
    ).stamped(now)
