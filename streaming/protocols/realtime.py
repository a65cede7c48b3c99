"""OpenAI's Realtime API as far as a transcription session needs it, `/v1/realtime`.

Facts are those of OpenAI's own Python client, `openai` 3.54, and of
https://developers.openai.com/api/docs/guides/realtime-transcription. The server greets with `session.created`; audio
comes as base64 in text messages, whose first begins the session. Each turn of speech becomes an item of the
conversation, with its transcript, and with messages of ours on how it was said.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from streaming.config import Settings
from streaming.errors import ProtocolError, RecognitionError, StreamingError
from streaming.events import ErrorEvent, Event
from streaming.protocols.dialect import (
    DEFAULT_ROLE,
    Audio,
    Begin,
    Flush,
    Handshake,
    ListenRequest,
    Mark,
    Reply,
    Step,
    json_object,
)
from streaming.protocols.realtime_session import InvalidRequestError, RealtimeSession
from streaming.protocols.realtime_turns import RealtimeTurns

_SUBPROTOCOL: Final = "realtime"
_KEY_SUBPROTOCOL: Final = "openai-insecure-api-key."
"""Of browsers, which cannot send headers: the token follows."""
_BETA_SUBPROTOCOL: Final = "openai-beta.realtime-v1"
_BETA_HEADER: Final = "realtime=v1"
_MAX_UNANSWERED: Final = 64
"""Commits that may wait for their transcripts."""
_MAX_ID: Final = 512
"""Characters of a client's `event_id` that an error repeats."""
_FAULTS_OF_THE_CLIENT: Final = frozenset({"protocol", "audio_format", "too_fast", "message_too_large"})


class RealtimeDialect:
    """One transcription session."""

    def __init__(self, settings: Settings, handshake: Handshake) -> None:
        """Nothing was said yet.

        Args:
            settings: for what a client is told is in effect.
            handshake: may hold the token, and the beta's marks.
        """
        self._settings: Final = settings
        offered = handshake.headers.get("sec-websocket-protocol", "")
        self._offered: Final = [name.strip() for name in offered.split(",")]
        beta = handshake.headers.get("openai-beta", "")
        self._is_beta = _BETA_HEADER in beta or _BETA_SUBPROTOCOL in self._offered
        self._name = ""
        self._session = RealtimeSession()
        self._turns: RealtimeTurns | None = None
        """From the first audio on."""
        self._uncommitted_bytes = 0
        self._written = 0
        self._handlers: Final[Mapping[str, Callable[[Mapping[str, Any]], Sequence[Step]]]] = {
            "session.update": self._update,
            "transcription_session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }

    @property
    def token(self) -> str | None:
        """The one among the subprotocols; without it, a bearer token may be there."""
        shown = [name.removeprefix(_KEY_SUBPROTOCOL) for name in self._offered if name.startswith(_KEY_SUBPROTOCOL)]
        return shown[0] if shown else None

    @property
    def subprotocol(self) -> str | None:
        """`realtime`, where it is offered."""
        return _SUBPROTOCOL if _SUBPROTOCOL in self._offered else None

    def greet(self, session: str) -> Sequence[Step]:
        """The session as it is by default; it begins with the first audio."""
        self._name = session
        return (self._described("created", is_beta=self._is_beta),)

    def read(self, message: str | bytes) -> Sequence[Step]:
        """See `Dialect.read`."""
        event_id = None
        try:
            if isinstance(message, bytes):
                raise InvalidRequestError(None, "audio comes in input_audio_buffer.append, not in binary messages")
            said = json_object(message)
            event_id = said.get("event_id")
            handle = self._handlers.get(str(said.get("type")))
            if handle is None:
                known = ", ".join(self._handlers)
                raise InvalidRequestError("type", f"a transcription session takes {known}")
            return handle(said)
        except ProtocolError as error:
            return (Reply(self._error(error, event_id)),)

    def tell(self, event: Event) -> Sequence[str]:
        """See `Dialect.tell`."""
        told = [] if self._turns is None else [*self._turns.tell(event)]
        if isinstance(event, ErrorEvent) and not (event.code == RecognitionError.code and event.channel is not None):
            told.append(self._wrong(event.code, event.message))
        return told

    def refuse(self, error: StreamingError) -> Sequence[str]:
        """See `Dialect.refuse`."""
        return (self._wrong(error.code, str(error)),)

    def _update(self, said: Mapping[str, Any]) -> Sequence[Step]:
        wanted = said.get("session")
        if not isinstance(wanted, dict):
            raise InvalidRequestError("session", "session must be an object")
        is_beta = said["type"] == "transcription_session.update"
        session = self._session.updated_as_beta(wanted) if is_beta else self._session.updated(wanted)
        if self._turns is not None and session != self._session:
            raise InvalidRequestError(
                "session", "format, language and turn detection cannot be changed once audio has come: set them before"
            )
        self._session = session
        self._is_beta = self._is_beta or is_beta
        return (self._described("updated", is_beta=is_beta),)

    def _append(self, said: Mapping[str, Any]) -> Sequence[Step]:
        encoded = said.get("audio")
        try:
            data = base64.b64decode(encoded if isinstance(encoded, str) else "?", validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequestError("audio", "audio must be base64") from None
        if not data:
            return ()
        self._uncommitted_bytes += len(data)
        if self._turns is not None:
            return (Audio(data),)
        self._turns = RealtimeTurns(self._name, self._write, detects=self._session.detects_turns, is_beta=self._is_beta)
        request = ListenRequest(
            audio=self._session.audio, roles=(DEFAULT_ROLE,), language=self._session.language, interim=True
        )
        return Begin(request, token=self.token), Audio(data)

    def _commit(self, _said: Mapping[str, Any]) -> Sequence[Step]:
        if self._turns is None or not self._uncommitted_bytes:
            raise InvalidRequestError(None, "there is no audio to commit: append some first")
        if self._turns.unanswered >= _MAX_UNANSWERED:
            raise InvalidRequestError(None, f"{_MAX_UNANSWERED} turns wait for their transcripts: commit more slowly")
        seconds = self._uncommitted_bytes / self._session.audio.bytes_per_s
        self._uncommitted_bytes = 0
        if self._session.detects_turns:
            return (Flush(),)
        return Flush(), Mark(partial(self._turns.commit, seconds=seconds))

    def _clear(self, _said: Mapping[str, Any]) -> Sequence[Step]:
        self._uncommitted_bytes = 0
        if self._turns is None:
            return (Reply(self._write("input_audio_buffer.cleared")),)
        return Flush(), Mark(self._turns.clear)

    def _described(self, what: str, *, is_beta: bool) -> Reply:
        if is_beta:
            session = self._session.described_as_beta(self._name, self._settings)
            return Reply(self._write(f"transcription_session.{what}", session=session))
        return Reply(self._write(f"session.{what}", session=self._session.described(self._name, self._settings)))

    def _error(self, error: ProtocolError, event_id: object) -> str:
        known = event_id[:_MAX_ID] if isinstance(event_id, str) else None
        return self._wrong(error.code, str(error), param=getattr(error, "param", None), event_id=known)

    def _wrong(self, code: str, message: str, *, param: str | None = None, event_id: str | None = None) -> str:
        is_theirs = code in _FAULTS_OF_THE_CLIENT or code == InvalidRequestError.code
        kind = "invalid_request_error" if is_theirs else "server_error"
        told = {"type": kind, "code": code, "message": message, "param": param, "event_id": event_id}
        return self._write("error", error=told)

    def _write(self, kind: str, **fields: Any) -> str:
        self._written += 1
        return json.dumps({"type": kind, "event_id": f"event_{self._written}", **fields}, separators=(",", ":"))
