"""Our own wire protocol, `/v1/listen`: a pure translator between WebSocket messages and what a session understands.

The query says what the audio is; binary messages are audio; text messages are control, one JSON object each:
`{"type": "flush"}`, `{"type": "keepalive"}` or `{"type": "close"}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.errors import AudioFormatError, ProtocolError, StreamingError
from streaming.events import IDENTIFIER_PATTERN, Event
from streaming.protocols.dialect import DEFAULT_ROLE, Audio, Close, Flush, KeepAlive, ListenRequest, Message

DEFAULT_RATE_HZ: Final = 16_000
_LANGUAGE_PATTERN: Final = r"[a-z]{2,3}"
_INTEGER_PATTERN: Final = r"[0-9]{1,9}"
_BOOLEANS: Final[Mapping[str, bool]] = MappingProxyType({"true": True, "false": False, "1": True, "0": False})
_MAX_CONTROL_CHARACTERS: Final = 1024
_MAX_QUOTED: Final = 64
"""Characters of a client's value that an error repeats."""
_RESUME_PARAMETERS: Final = ("resume", "after", "token")
_PARAMETERS: Final = ("encoding", "rate_hz", "channels", "language", "interim", "roles", "token")


_CONTROLS: Final[Mapping[str, Callable[[], Message]]] = MappingProxyType(
    {"flush": Flush, "keepalive": KeepAlive, "close": Close}
)
CONTROL_NAMES: Final = tuple(_CONTROLS)
"""What a text message may be."""


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """What a client asks for that takes up a session whose connection broke."""

    resume: str
    """The session's token, from its `session.started`."""
    after: int
    """`seq` of the last event the client has."""

    @classmethod
    def from_query(cls, parameters: Iterable[tuple[str, str]]) -> ResumeRequest:
        """Reads the decoded query of `/v1/listen`.

        Raises:
            ProtocolError: a parameter is unknown here, repeated, or its value cannot be read.
        """
        given = _given(parameters, _RESUME_PARAMETERS, "a session is taken up as it was")
        after = _integer("after", given.get("after", "1"))
        if after < 1:
            raise ProtocolError("parameter 'after' is the seq of the last event received, 1 at least, got 0")
        return cls(resume=given["resume"], after=after)


def read_listen(parameters: Iterable[tuple[str, str]], *, max_channels: int) -> ListenRequest:
    """Reads the decoded query of a new session; everything has a default.

    Raises:
        ProtocolError: a parameter is unknown, repeated, or its value cannot be read.
        AudioFormatError: the encoding, rate or channel count is not one we take.
    """
    given = _given(parameters, _PARAMETERS)
    channels = _integer("channels", given.get("channels", "1"))
    if not 1 <= channels <= max_channels:
        raise AudioFormatError(f"channels must be 1 to {max_channels}, got {channels}")
    return ListenRequest(
        audio=AudioFormat(
            encoding=Encoding.named(given.get("encoding", Encoding.PCM16)[:_MAX_QUOTED]),
            rate_hz=_integer("rate_hz", given.get("rate_hz", str(DEFAULT_RATE_HZ))),
            channels=channels,
        ),
        roles=_roles(given.get("roles", ""), channels),
        language=read_language(given.get("language", "")),
        interim=_boolean("interim", given.get("interim", "true")),
    )


def read_query(parameters: Iterable[tuple[str, str]], *, max_channels: int) -> ListenRequest | ResumeRequest:
    """What the decoded query of `/v1/listen` asks for: a new session, or one that is there.

    Raises:
        ProtocolError: see `read_listen` and `ResumeRequest.from_query`.
        AudioFormatError: likewise.
    """
    parameters = list(parameters)
    if any(name == "resume" for name, _ in parameters):
        return ResumeRequest.from_query(parameters)
    return read_listen(parameters, max_channels=max_channels)


def read_message(message: str | bytes) -> Message:
    """What a WebSocket message means: `bytes` for a binary one, `str` for text.

    Raises:
        ProtocolError: a text message is not one of the controls.
    """
    if isinstance(message, bytes):
        return Audio(message)
    known = ", ".join(f'{{"type": "{name}"}}' for name in _CONTROLS)
    if len(message) > _MAX_CONTROL_CHARACTERS:
        raise ProtocolError(
            f"a text message of {len(message)} characters is no control: audio goes in binary messages, text is {known}"
        )
    try:
        control = json.loads(message)
    except (ValueError, RecursionError):
        raise ProtocolError(
            f"the text message is not JSON: audio goes in binary messages, text messages are {known}"
        ) from None
    if not isinstance(control, dict) or set(control) != {"type"} or control["type"] not in tuple(_CONTROLS):
        raise ProtocolError(f"the control message is not known: text messages are {known}")
    return _CONTROLS[control["type"]]()


class NativeDialect:
    """The native protocol: controls and audio in, events as they are out."""

    def __init__(self, own: Callable[[Event], Event] = lambda event: event) -> None:
        """Made for one connection.

        Args:
            own: makes of an event what this client is told.
        """
        self._own = own

    def read(self, message: str | bytes) -> Sequence[Message]:
        """See `read_message`."""
        return (read_message(message),)

    def tell(self, event: Event) -> Sequence[str]:
        """The event as JSON."""
        return (self._own(event).to_json(),)

    def refuse(self, _error: StreamingError) -> Sequence[str]:
        """Nothing: who is not let in is told by its endpoint."""
        return ()


def _given(parameters: Iterable[tuple[str, str]], known: Sequence[str], why: str = "") -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            because = f"{why}, and the " if why else ""
            raise ProtocolError(f"unknown parameter {_quoted(name)}: {because}known ones are {', '.join(known)}")
        if name in given:
            raise ProtocolError(f"parameter '{name}' is given twice: give it once")
        given[name] = value
    return given


def _quoted(value: str) -> str:
    return repr(value[:_MAX_QUOTED])


def _integer(name: str, value: str) -> int:
    if not re.fullmatch(_INTEGER_PATTERN, value):
        raise ProtocolError(f"parameter '{name}' must be a whole number, got {_quoted(value)}")
    return int(value)


def _boolean(name: str, value: str) -> bool:
    if value not in _BOOLEANS:
        raise ProtocolError(f"parameter '{name}' must be true or false, got {_quoted(value)}")
    return _BOOLEANS[value]


def read_language(value: str) -> str | None:
    """A language as a client names it; None for an empty value.

    Raises:
        ProtocolError: it is no ISO 639 code.
    """
    if not value:
        return None
    if not re.fullmatch(_LANGUAGE_PATTERN, value):
        raise ProtocolError(f"parameter 'language' must be an ISO 639 code such as en, got {_quoted(value)}")
    return value


def _roles(value: str, channels: int) -> tuple[str, ...]:
    roles = tuple(value.split(",")) if value else ()
    if len(roles) > channels:
        raise ProtocolError(f"{len(roles)} roles for {channels} channel(s): give at most one for each channel")
    for role in roles:
        if not re.fullmatch(IDENTIFIER_PATTERN, role):
            raise ProtocolError(f"role {_quoted(role)} is not made of 1 to 64 letters, digits, _ and -: rename it")
    return roles + (DEFAULT_ROLE,) * (channels - len(roles))
