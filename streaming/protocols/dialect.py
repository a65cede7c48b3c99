"""What every wire protocol is translated to and from, so that one conversation serves them all.

A dialect is pure: it is given messages and events, and says what they mean and what the peer is told. It is made anew
for each connection and may keep what it has seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from streaming.audio.sources import AudioFormat
from streaming.errors import ProtocolError, StreamingError
from streaming.events import Event

DEFAULT_ROLE: Final = "customer"


@dataclass(frozen=True, slots=True)
class ListenRequest:
    """What a client asks for when a session begins."""

    audio: AudioFormat
    roles: tuple[str, ...]
    """One for each channel."""
    language: str | None
    """ISO 639 code; None to detect it."""
    interim: bool
    """Whether interim transcripts and emotions are wanted."""


@dataclass(frozen=True, slots=True)
class Audio:
    """Interleaved audio bytes; a sample may be split between two messages."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    """Finalise what has been said so far."""


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The client is still there."""


@dataclass(frozen=True, slots=True)
class Close:
    """No audio will follow; answer what is open and end the session."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The peer has said what it will send: its session begins. Comes once, where the address did not say it all."""

    request: ListenRequest
    token: str | None = None
    """Shown in a message, by peers that cannot send headers."""
    name: str | None = None
    """Of the session, as the peer has it; one that cannot be a session's is left aside."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something was wrong with what the peer sent, and the session goes on."""

    error: StreamingError


@dataclass(frozen=True, slots=True)
class Reply:
    """Goes back to the peer at once."""

    message: str | bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """Asks how far the session has come: by it, events of what came before are told from those of what comes after."""

    answer: Callable[[int], Iterable[str | bytes]]
    """Given `seq` of the session's last event so far; what goes back to the peer at once. Each message is sent before
    the next one is asked for."""


Message = Audio | Flush | KeepAlive | Close
Step = Message | Begin | Notice | Reply | Mark


@dataclass(frozen=True, slots=True)
class Handshake:
    """How a connection was asked for."""

    target: str
    """Path and query, as sent."""
    headers: Mapping[str, str]
    """By lower-case name."""


def json_object(message: str) -> dict[str, Any]:
    """The object that a text message is.

    Raises:
        ProtocolError: it is none.
    """
    try:
        said = json.loads(message)
    except (ValueError, RecursionError):
        raise ProtocolError("a text message is no JSON") from None
    if not isinstance(said, dict):
        raise ProtocolError("a text message is no JSON object")
    return said


class Dialect(Protocol):
    """One connection's wire protocol."""

    def read(self, message: str | bytes) -> Sequence[Step]:
        """What a message means, in order: `bytes` for a binary one, `str` for text.

        Raises:
            ProtocolError: it is not one of the protocol's, or comes at the wrong time.
            AudioFormatError: its audio is none that we read.
        """
        ...

    def tell(self, event: Event) -> Sequence[str | bytes]:
        """What the peer is sent of an event; nothing where its protocol has no words for it."""
        ...

    def refuse(self, error: StreamingError) -> Sequence[str | bytes]:
        """What a peer is sent that is not let in, before its connection is closed."""
        ...


class GreetingDialect(Dialect, Protocol):
    """A dialect in which the server speaks first, to a peer whose handshake has said who it is."""

    @property
    def token(self) -> str | None:
        """Shown in the handshake; None where it is a bearer token or in the query."""
        ...

    @property
    def subprotocol(self) -> str | None:
        """Of those the peer offers, the one that is spoken."""
        ...

    def greet(self, session: str) -> Sequence[Step]:
        """What is done before the peer has said anything: replies, or `Begin` where nothing is left to say.

        Args:
            session: the name that its session has, or will have.
        """
        ...
