"""What every text message of AudioHook is wrapped in: a version, the session's id, and numbers of both sides."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from streaming.errors import ProtocolError
from streaming.protocols.dialect import json_object

VERSION: Final = "2"
NOBODY: Final = str(uuid.UUID(int=0))
"""The conversation of a client that only wants to know whether somebody is there."""
CLIENT_MESSAGES: Final = ("open", "ping", "update", "paused", "resumed", "discarded", "close", "error")
_MAX_TEXT: Final = 65_535
_DURATION: Final = re.compile(r"PT([0-9]{1,9}(?:\.[0-9]{1,9})?)S")


class Envelope:
    """Both sides of one session's numbering."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self.session: str = NOBODY
        """The id, from the first message on."""
        self._sent = 0
        self._received = 0

    def read(self, text: str) -> tuple[str, Mapping[str, Any]]:
        """Type and parameters of the client's next message.

        Raises:
            ProtocolError: it is none, is not the next, or of another session.
        """
        if len(text) > _MAX_TEXT:
            raise ProtocolError(f"a text message has {len(text)} characters: {_MAX_TEXT} are allowed")
        message = json_object(text)
        if message.get("version") != VERSION:
            raise ProtocolError("a text message is no AudioHook message of version 2")
        kind, parameters, name = (message.get(field) for field in ("type", "parameters", "id"))
        if not isinstance(parameters, dict) or not isinstance(name, str):
            raise ProtocolError("a message lacks its id or its parameters")
        if _number(message, "seq") != self._received + 1:
            raise ProtocolError(f"seq must be {self._received + 1}: it rises by one from message to message")
        self._received += 1
        if not 0 <= _number(message, "serverseq") <= self._sent:
            raise ProtocolError(f"serverseq is not that of a message that was sent: the last is {self._sent}")
        if self.session not in (NOBODY, name):
            raise ProtocolError("the id is another session's")
        self.session = name
        if kind not in CLIENT_MESSAGES:
            raise ProtocolError(f"{str(kind)[:32]!r} is not a message that an AudioHook client sends")
        return str(kind), parameters

    def write(self, kind: str, parameters: Mapping[str, Any]) -> str:
        """The server's next message."""
        self._sent += 1
        return json.dumps(
            {
                "version": VERSION,
                "id": self.session,
                "type": kind,
                "seq": self._sent,
                "clientseq": self._received,
                "parameters": parameters,
            }
        )


def seconds(duration: Any) -> float:
    """Reads a duration.

    Raises:
        ProtocolError: it is not written as `PT1.5S`.
    """
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if found is None:
        raise ProtocolError("a duration must be written as PT1.5S")
    return float(found[1])


def duration(seconds: float) -> str:
    """Writes a duration, to the millisecond."""
    return f"PT{seconds:.3f}".rstrip("0").rstrip(".") + "S"


def _number(message: Mapping[str, Any], name: str) -> int:
    value = message.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProtocolError(f"{name} must be a whole number")
    return value
