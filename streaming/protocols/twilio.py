"""Twilio Media Streams (https://www.twilio.com/docs/voice/media-streams/websocket-messages), `/v1/twilio`.

Text messages alone: `connected`, `start`, then `media` with 20 ms of mu-law each, `stop` in the end. Both tracks of a
call become the channels of one session: `inbound`, what the caller says, and `outbound`. Twilio drops the query of the
address, so token and language come as parameters of the `<Stream>`: `start.customParameters`.

Nothing is sent back: on a one-way stream Twilio takes it for an error (31924). Events are for subscribers.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.config import TwilioSettings
from streaming.errors import AudioFormatError, ProtocolError, StreamingError
from streaming.events import IDENTIFIER_PATTERN, Event
from streaming.protocols.dialect import Audio, Begin, Close, ListenRequest, Notice, Step, json_object
from streaming.protocols.jitter import LostAudioError, Track
from streaming.protocols.native import read_language

TRACKS: Final = ("inbound", "outbound")
RATE_HZ: Final = 8000
_MULAW_SILENCE: Final = b"\xff"
_FORMAT: Final = ("audio/x-mulaw", RATE_HZ, 1)
_BEHIND_MS: Final = 500
"""How far one track may be behind the other; then it is silent until it comes."""
_MS_PER_S: Final = 1000
_NUMBER: Final = re.compile(r"[0-9]{1,12}")


class TwilioDialect:
    """One media stream."""

    def __init__(self, settings: TwilioSettings) -> None:
        """Waits for `start`.

        Args:
            settings: the roles of the tracks.
        """
        self._roles: Final = dict(zip(TRACKS, (settings.inbound_role, settings.outbound_role), strict=True))
        self._tracks: dict[str, Track] = {}
        self._told_lost = False
        self._stopped = False

    def read(self, message: str | bytes) -> Sequence[Step]:
        """See `Dialect.read`."""
        if isinstance(message, bytes):
            raise ProtocolError("a media stream has text messages alone, this one is binary")
        said = json_object(message)
        match said.get("event"):
            case "start" if not self._tracks:
                return (self._begin(_part(said, "start")),)
            case "start":
                raise ProtocolError("the media stream starts twice")
            case "media":
                return self._media(_part(said, "media"))
            case "stop":
                return self._stop()
            case _:
                return ()  # connected, dtmf, mark, and what Twilio may add

    def tell(self, _event: Event) -> Sequence[str]:
        """Nothing: see above."""
        return ()

    def refuse(self, _error: StreamingError) -> Sequence[str]:
        """Nothing: the connection is closed with the reason."""
        return ()

    def _begin(self, start: Mapping[str, Any]) -> Begin:
        tracks = start.get("tracks")
        if not isinstance(tracks, list) or not tracks or not set(map(str, tracks)) <= set(TRACKS):
            raise ProtocolError(f"start.tracks must name some of {', '.join(TRACKS)}")
        shape = _part(start, "mediaFormat")
        given = tuple(shape.get(name) for name in ("encoding", "sampleRate", "channels"))
        if tuple(map(str, given)) != tuple(map(str, _FORMAT)):
            raise AudioFormatError("start.mediaFormat must be audio/x-mulaw at 8000 Hz with 1 channel")
        chosen = [track for track in TRACKS if track in tracks]
        self._tracks = {track: Track(RATE_HZ // _MS_PER_S, _MULAW_SILENCE) for track in chosen}
        parameters = start.get("customParameters") or {}
        if not isinstance(parameters, dict):
            raise ProtocolError("start.customParameters must be an object")
        name = start.get("streamSid")
        return Begin(
            ListenRequest(
                audio=AudioFormat(Encoding.MULAW, RATE_HZ, len(chosen)),
                roles=tuple(self._role(parameters, track) for track in chosen),
                language=read_language(str(parameters.get("language", ""))),
                interim=True,
            ),
            token=None if parameters.get("token") is None else str(parameters["token"]),
            name=name if isinstance(name, str) else None,
        )

    def _role(self, parameters: Mapping[str, Any], track: str) -> str:
        role = str(parameters.get(f"{track}_role", self._roles[track]))
        if not re.fullmatch(IDENTIFIER_PATTERN, role):
            raise ProtocolError(f"parameter {track}_role is not made of 1 to 64 letters, digits, _ and -")
        return role

    def _media(self, media: Mapping[str, Any]) -> Sequence[Step]:
        track = self._tracks.get(str(media.get("track")))
        if track is None:
            raise ProtocolError("media of a track that start.tracks does not name")
        try:
            data = binascii.a2b_base64(str(media.get("payload", "")), strict_mode=True)
        except ValueError:  # a binascii.Error is one
            raise ProtocolError("media.payload is not base64") from None
        steps: list[Step] = []
        try:
            track.push(_number(media, "chunk"), _number(media, "timestamp"), data)
        except LostAudioError as lost:
            if not self._told_lost:
                self._told_lost = True
                steps.append(Notice(lost))
        return (*steps, *self._ready())

    def _stop(self) -> Sequence[Step]:
        if self._stopped:
            return ()
        self._stopped = True
        for track in self._tracks.values():
            track.finish()
        return (*self._ready(final=True), Close())

    def _ready(self, *, final: bool = False) -> Sequence[Audio]:
        """What all tracks have, interleaved; one that is far behind is silent for so long."""
        tracks = list(self._tracks.values())
        furthest = max((track.ready for track in tracks), default=0)
        behind = 0 if final else _BEHIND_MS * RATE_HZ // _MS_PER_S
        for track in tracks:
            track.fill(furthest - behind)
        size = min((track.ready for track in tracks), default=0)
        if not size:
            return ()
        if len(tracks) == 1:
            return (Audio(tracks[0].take(size)),)
        mixed = bytearray(size * len(tracks))
        for place, track in enumerate(tracks):
            mixed[place :: len(tracks)] = track.take(size)
        return (Audio(bytes(mixed)),)


def _part(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = message.get(name)
    if not isinstance(part, dict):
        raise ProtocolError(f"the media stream's message lacks the object {name!r}")
    return part


def _number(part: Mapping[str, Any], name: str) -> int:
    value = str(part.get(name))
    if not _NUMBER.fullmatch(value):
        raise ProtocolError(f"media.{name} must be a number")
    return int(value)
