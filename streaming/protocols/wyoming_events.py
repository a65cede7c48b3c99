"""Events of the Wyoming protocol as bytes (https://github.com/OHF-Voice/wyoming, "Format").

An event is a line of JSON, the header: `type`, and at will `data`, `data_length` and `payload_length`. As many bytes of
further JSON follow, merged on top of `data`, then as many bytes of payload, audio for one.

Pure: bytes in, whole events out. Every length has a bound, and is believed only within it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streaming.errors import ProtocolError
from streaming.protocols.dialect import json_object

MAX_HEADER_BYTES: Final = 16_384
"""Of the first line."""
MAX_DATA_BYTES: Final = 65_536
"""Of the JSON behind it."""
_NEWLINE: Final = b"\n"


@dataclass(frozen=True, slots=True)
class WyomingEvent:
    """One event."""

    type: str
    data: Mapping[str, Any]
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class _Header:
    type: str
    data: Mapping[str, Any]
    data_bytes: int
    payload_bytes: int


def _read_header(line: bytes, max_payload_bytes: int) -> _Header:
    """What the first line says; given without its end of line."""
    if len(line) > MAX_HEADER_BYTES:
        raise ProtocolError(f"the header of an event is longer than {MAX_HEADER_BYTES} bytes")
    said = _json(line)
    kind, data = said.get("type"), said.get("data")
    if not isinstance(kind, str):
        raise ProtocolError("the header of an event lacks its type")
    if data is not None and not isinstance(data, dict):
        raise ProtocolError("the data of an event is no JSON object")
    return _Header(
        kind,
        data or {},
        _length(said, "data_length", MAX_DATA_BYTES),
        _length(said, "payload_length", max_payload_bytes),
    )


def _length(said: Mapping[str, Any], name: str, most: int) -> int:
    value = said.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= most:
        raise ProtocolError(f"{name} of an event must be a whole number of 0 to {most}")
    return value


def _json(data: bytes) -> dict[str, Any]:
    try:
        return json_object(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ProtocolError("the JSON of an event is no UTF-8") from None


def read_event(message: bytes, max_payload_bytes: int) -> WyomingEvent:
    """One event, as `EventCutter` cuts it.

    Raises:
        ProtocolError: it is none, or too large.
    """
    line, _, rest = message.partition(_NEWLINE)
    header = _read_header(line, max_payload_bytes)
    if len(rest) != header.data_bytes + header.payload_bytes:
        raise ProtocolError("an event is not as long as its header says")
    data, payload = rest[: header.data_bytes], rest[header.data_bytes :]
    return WyomingEvent(header.type, {**header.data, **_json(data)} if data else header.data, payload)


def write_event(kind: str, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> bytes:
    """An event as bytes; its data stands behind the header, as Wyoming's own programs write it."""
    behind = json.dumps(data, ensure_ascii=False).encode() if data else b""
    header: dict[str, Any] = {"type": kind}
    if behind:
        header["data_length"] = len(behind)
    if payload:
        header["payload_length"] = len(payload)
    return json.dumps(header, ensure_ascii=False).encode() + _NEWLINE + behind + payload


class EventCutter:
    """Cuts a stream of bytes into events, however it arrives.

    What cannot be an event comes out as it is, once, so that `read_event` says what is wrong with it; where the next
    would begin is not known then, and nothing follows.

    Args:
        max_payload_bytes: of one event.
    """

    def __init__(self, max_payload_bytes: int) -> None:
        self._max_payload_bytes: Final = max_payload_bytes
        self._held = bytearray()
        self._searched = 0
        self._size: int | None = None
        """Of the event that is arriving, once its header is there."""
        self._is_lost = False

    @property
    def held_bytes(self) -> int:
        """Bytes that wait for the rest of their event, or to be taken."""
        return len(self._held)

    def push(self, data: bytes) -> None:
        """Takes bytes as they arrived."""
        if not self._is_lost:
            self._held += data

    def next(self) -> bytes | None:
        """The next event that is there as a whole."""
        if self._size is None:
            self._size = self._measure()
        if self._size is None or len(self._held) < self._size:
            return None
        event = bytes(self._held[: self._size])
        del self._held[: self._size]
        self._size, self._searched = None, 0
        if self._is_lost:
            self._held.clear()
        return event

    def _measure(self) -> int | None:
        """Length of the event that begins here; None where its header is not there yet."""
        end = self._held.find(_NEWLINE, self._searched, MAX_HEADER_BYTES + 1)
        self._searched = min(len(self._held), MAX_HEADER_BYTES + 1)
        if end < 0:
            self._is_lost = len(self._held) > MAX_HEADER_BYTES
            return MAX_HEADER_BYTES + 1 if self._is_lost else None
        try:
            header = _read_header(bytes(self._held[:end]), self._max_payload_bytes)
        except ProtocolError:
            self._is_lost = True
            return end
        return end + len(_NEWLINE) + header.data_bytes + header.payload_bytes
