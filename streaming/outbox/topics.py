"""Topics of events: `PREFIX/SESSION/CHANNEL/TYPE`, with `session` for the channel of what concerns a whole session."""

from __future__ import annotations

from typing import Final

from streaming.events import Event

SESSION_LEVEL: Final = "session"
"""Topic level of events that no single channel caused."""


def topic_of(prefix: str, event: Event) -> str:
    """Where an event is published."""
    channel = SESSION_LEVEL if event.channel is None else str(event.channel)
    return f"{prefix}/{event.session}/{channel}/{event.type}"


def status_topic(prefix: str) -> str:
    """Where it is retained whether the server is there."""
    return f"{prefix}/status"


def error_beside(topic: str) -> str:
    """Where errors of the whole session are published to which an event of this topic belongs."""
    session, _channel, _type = topic.rsplit("/", 2)
    return f"{session}/{SESSION_LEVEL}/error"
