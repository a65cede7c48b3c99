"""What providers of telephony send in a call, message by message; pure.

Each is written from its documentation: Twilio Media Streams
(https://www.twilio.com/docs/voice/media-streams/websocket-messages) and Genesys AudioHook
(https://developer.genesys.cloud/devapps/audiohook/).
"""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

from streaming.client import CHUNK_S

_TWILIO_CHUNK_S: Final = 0.02
_MS_PER_S: Final = 1000
_RATE_HZ: Final = 8000


class Provider(Protocol):
    """One call of one voice, mu-law at 8 kHz."""

    path: str
    chunk_s: float
    """Audio in one message."""
    session: str
    """The name of its session."""
    is_answered: bool
    """Whether audio waits for the server's first word."""

    def begin(self) -> Sequence[str]:
        """What comes before audio."""
        ...

    def audio(self, data: bytes) -> str | bytes:
        """A message of audio."""
        ...

    def end(self) -> str:
        """What says that no audio will follow."""
        ...

    def told(self, message: str | bytes) -> None:
        """Takes note of what the server said."""
        ...


class Twilio:
    """A stream of the caller's track."""

    path = "/v1/twilio"
    is_answered = False
    chunk_s = _TWILIO_CHUNK_S

    def __init__(self, language: str | None) -> None:
        """Nothing was sent.

        Args:
            language: of the speech; None to detect it.
        """
        self.session = f"MZ{secrets.token_hex(16)}"
        self._parameters: Final = {"language": language} if language else {}
        self._sent = 0

    def begin(self) -> Sequence[str]:
        """See `Provider.begin`."""
        start = {
            "streamSid": self.session,
            "accountSid": "AC" + 32 * "0",
            "callSid": "CA" + 32 * "0",
            "tracks": ["inbound"],
            "customParameters": self._parameters,
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": _RATE_HZ, "channels": 1},
        }
        connected = json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        return connected, self._message("start", start)

    def audio(self, data: bytes) -> str:
        """See `Provider.audio`."""
        chunk = self._sent
        media = {
            "track": "inbound",
            "chunk": str(chunk),
            "timestamp": str(round((chunk - 1) * _TWILIO_CHUNK_S * _MS_PER_S)),
            "payload": base64.b64encode(data).decode(),
        }
        return self._message("media", media)

    def end(self) -> str:
        """See `Provider.end`."""
        return self._message("stop", {"accountSid": "AC" + 32 * "0", "callSid": "CA" + 32 * "0"})

    def told(self, _message: str | bytes) -> None:
        """Nothing is said to a one-way stream."""

    def _message(self, event: str, body: Mapping[str, Any]) -> str:
        self._sent += 1
        return json.dumps(
            {"event": event, "sequenceNumber": str(self._sent), event: body, "streamSid": self.session},
            separators=(",", ":"),
        )


class Audiohook:
    """A session of the external channel. How long its messages are is not documented; here, as long as our client's."""

    path = "/v1/audiohook"
    is_answered = True
    chunk_s = CHUNK_S

    def __init__(self, language: str | None) -> None:
        """Nothing was sent.

        Args:
            language: of the speech; None to detect it.
        """
        self.session = str(uuid.uuid4())
        self._language: Final = {"language": language} if language else {}
        self._sent = 0
        self._heard = 0

    def begin(self) -> Sequence[str]:
        """See `Provider.begin`."""
        parameters = {
            "organizationId": str(uuid.uuid4()),
            "conversationId": str(uuid.uuid4()),
            "participant": {"id": str(uuid.uuid4()), "ani": "", "aniName": "", "dnis": ""},
            "media": [{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": _RATE_HZ}],
            **self._language,
        }
        return (self._message("open", parameters),)

    def audio(self, data: bytes) -> bytes:
        """See `Provider.audio`."""
        return data

    def end(self) -> str:
        """See `Provider.end`."""
        return self._message("close", {"reason": "end"})

    def told(self, message: str | bytes) -> None:
        """Keeps the server's number, which every message repeats."""
        self._heard = json.loads(message)["seq"]

    def _message(self, kind: str, parameters: Mapping[str, Any]) -> str:
        self._sent += 1
        return json.dumps(
            {
                "version": "2",
                "id": self.session,
                "type": kind,
                "seq": self._sent,
                "serverseq": self._heard,
                "position": "PT0S",
                "parameters": parameters,
            }
        )


MESSAGES: Final[Mapping[str, Callable[[str | None], Provider]]] = MappingProxyType(
    {"twilio": Twilio, "audiohook": Audiohook}
)
