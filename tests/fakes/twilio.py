"""A call as Twilio streams it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SID = "MZ" + "0" * 32
PIECE_BYTES = 160
"""20 ms of mu-law at 8 kHz."""


def connected() -> str:
    return json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})


def start(*tracks: str, sid: str = SID, parameters: Mapping[str, str] | None = None, **changes: Any) -> str:
    body = {
        "streamSid": sid,
        "accountSid": "AC" + "0" * 32,
        "callSid": "CA" + "0" * 32,
        "tracks": list(tracks or ("inbound",)),
        "customParameters": dict(parameters or {}),
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        **changes,
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "start": body, "streamSid": sid})


def media(track: str, chunk: int, data: bytes, *, sid: str = SID) -> str:
    body = {
        "track": track,
        "chunk": str(chunk),
        "timestamp": str((chunk - 1) * 20),
        "payload": base64.b64encode(data).decode(),
    }
    return json.dumps({"event": "media", "sequenceNumber": str(chunk + 1), "media": body, "streamSid": sid})


def stop(*, sid: str = SID) -> str:
    body = {"accountSid": "AC" + "0" * 32, "callSid": "CA" + "0" * 32}
    return json.dumps({"event": "stop", "sequenceNumber": "9999", "stop": body, "streamSid": sid})


def pieces(audio: bytes) -> list[bytes]:
    """Mu-law audio in messages of 20 ms; the last is filled up with silence."""
    cut = [audio[start : start + PIECE_BYTES] for start in range(0, len(audio), PIECE_BYTES)]
    return [one.ljust(PIECE_BYTES, b"\xff") for one in cut]


def whole_call(tracks: Mapping[str, bytes], *, parameters: Mapping[str, str] | None = None) -> Iterator[str]:
    """All messages of a call, the tracks in turn as Twilio sends them."""
    yield connected()
    yield start(*tracks, parameters=parameters)
    cut: dict[str, Sequence[bytes]] = {track: pieces(audio) for track, audio in tracks.items()}
    for place in range(max(map(len, cut.values()))):
        for track, own in cut.items():
            if place < len(own):
                yield media(track, place + 1, own[place])
    yield stop()
