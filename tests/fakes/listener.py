"""A server that hears bytes instead of speech, and breaks its connections as a test says.

Every `SEGMENT_SAMPLES` of audio are a segment: announced at its beginning, answered at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from streaming.errors import CapacityError, StreamingError, UnknownSessionError
from streaming.events import (
    ErrorEvent,
    Event,
    ResumeInfo,
    SessionEnded,
    SessionResumed,
    SpeechEnded,
    SpeechStarted,
    Totals,
    TranscriptEvent,
)
from tests.fakes.elsewhere import elsewhere
from tests.fakes.events import MOMENT, EventSource

SEGMENT_SAMPLES: Final = 1600
_PATIENCE_S: Final = 10.0
_RATE_HZ: Final = 16_000
_SAMPLE_BYTES: Final = 2


class How(Enum):
    """How a connection ends."""

    CUT = "cut"
    FAULT = "fault"
    SLOW = "slow"
    AWAY = "away"
    FORGET = "forget"
    """Cut, and no session is known afterwards, as if the server were killed and started anew."""
    STOP = "stop"
    """In order, with `session.ended`, as a server that is stopped."""
    FULL = "full"
    """With an error at once: no session is taken."""
    MUTE = "mute"
    """Before a word was said."""


@dataclass(frozen=True, slots=True)
class Ending:
    """When a connection ends, and how."""

    how: How
    after_bytes: int = 0
    """Of audio."""


@dataclass(slots=True)
class Heard:
    """A session, as the server has it."""

    token: str
    audio: bytearray = field(default_factory=bytearray)
    controls: list[tuple[int, str]] = field(default_factory=list)
    """With the audio before them, in bytes."""
    events: list[Event] = field(default_factory=list)
    answered: int = 0
    """Samples whose segment was answered."""
    announced: int = 0


class FakeListener:
    """Serves `/v1/listen`.

    Args:
        endings: one for each connection; those after stay.
        resumable: whether sessions have a token.
    """

    def __init__(self, endings: Iterable[Ending] = (), *, resumable: bool = True) -> None:
        self.sessions: list[Heard] = []
        """In the order in which they began."""
        self.connections = 0
        self.url = ""
        self._endings: Iterator[Ending] = iter(endings)
        self._resumable = resumable
        self._known: dict[str, Heard] = {}

    async def serve(self, socket: ServerConnection) -> None:
        """Serves one connection."""
        self.connections += 1
        ending = next(self._endings, None)
        request = socket.request
        if request is None:
            raise ValueError("a connection without a request")
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        with contextlib.suppress(ConnectionClosed):
            if ending is not None and ending.how is How.MUTE:
                socket.transport.abort()
            elif ending is not None and ending.how is How.FULL:
                await self._refuse(socket, CapacityError("all sessions are taken"), 1013)
            elif "resume" in query and query["resume"] not in self._known:
                await self._refuse(socket, UnknownSessionError("there is no such session"), 1008)
            else:
                await self._converse(socket, await self._greet(socket, query), ending)

    async def _refuse(self, socket: ServerConnection, error: StreamingError, code: int) -> None:
        event = ErrorEvent(**_whole(1, 0), code=error.code, message=str(error), retryable=error.retryable)
        await socket.send(event.stamped(MOMENT).to_json())
        await socket.close(code, f"{error.code}: {error}")

    async def _greet(self, socket: ServerConnection, query: dict[str, str]) -> Heard:
        if "resume" in query:
            heard, after = self._known[query["resume"]], int(query["after"])
            del heard.audio[len(heard.audio) // _SAMPLE_BYTES * _SAMPLE_BYTES :]
            samples = len(heard.audio) // _SAMPLE_BYTES
            hello = SessionResumed(**_whole(after, samples), received_samples=samples)
            await socket.send(hello.stamped(MOMENT).to_json())
            for event in heard.events[after:]:
                await socket.send(event.to_json())
            return heard
        heard = Heard(f"token{len(self.sessions)}")
        self.sessions.append(heard)
        resume = ResumeInfo(token=heard.token, within_s=20) if self._resumable else None
        if self._resumable:
            self._known[heard.token] = heard
        await self._say(socket, heard, EventSource().started().model_copy(update={"resume": resume}))
        return heard

    async def _converse(self, socket: ServerConnection, heard: Heard, ending: Ending | None) -> None:
        left = None if ending is None else ending.after_bytes
        while True:
            if ending is not None and left is not None and left <= 0:
                await self._end(socket, heard, ending)
                return
            message = await socket.recv()
            if isinstance(message, str):
                heard.controls.append((len(heard.audio), json.loads(message)["type"]))
                if heard.controls[-1][1] == "close":
                    await self._finish(socket, heard, "client_close")
                    await socket.close()
                    return
                continue
            heard.audio += message if left is None else message[:left]
            left = None if left is None else left - len(message)
            await self._answer(socket, heard)

    async def _end(self, socket: ServerConnection, heard: Heard, ending: Ending) -> None:
        match ending.how:
            case How.FAULT:
                await socket.close(1011, "internal error")
            case How.SLOW:
                await socket.close(1013, "slow_consumer: too slow")
            case How.AWAY:
                await socket.close(1001, "going away")
            case How.STOP:
                await self._finish(socket, heard, "shutdown")
                self._known.clear()
                await socket.close(1001, "the server is stopping")
            case How.FORGET:
                self._known.clear()
                socket.transport.abort()
            case _:
                socket.transport.abort()

    async def _answer(self, socket: ServerConnection, heard: Heard) -> None:
        samples = len(heard.audio) // _SAMPLE_BYTES
        while heard.answered + SEGMENT_SAMPLES <= samples:
            await self._announce(socket, heard)
            await self._tell(socket, heard, heard.answered + SEGMENT_SAMPLES)
        if samples > heard.answered:
            await self._announce(socket, heard)

    async def _announce(self, socket: ServerConnection, heard: Heard) -> None:
        if heard.announced > heard.answered:
            return
        heard.announced = heard.answered + SEGMENT_SAMPLES
        start_s = heard.answered / _RATE_HZ
        await self._say(socket, heard, SpeechStarted(**_channel(heard), segment=_number(heard), start_s=start_s))

    async def _tell(self, socket: ServerConnection, heard: Heard, end: int) -> None:
        number, start_s = _number(heard), heard.answered / _RATE_HZ
        over = {"segment": number, "start_s": start_s, "end_s": end / _RATE_HZ, "reason": "silence"}
        said = {"segment": number, "final": True, "committed": "yes", "tentative": "", "language": "en", "words": ()}
        heard.answered = end
        await self._say(socket, heard, SpeechEnded(**_channel(heard), **over))
        await self._say(socket, heard, TranscriptEvent(**_channel(heard), **said))

    async def _finish(self, socket: ServerConnection, heard: Heard, reason: str) -> None:
        samples = len(heard.audio) // _SAMPLE_BYTES
        if samples > heard.answered:
            await self._tell(socket, heard, samples)
        totals = Totals(audio_s=samples / _RATE_HZ, speech_s=0, segments=0, finals=0, interims=0)
        await self._say(socket, heard, SessionEnded(**_whole(1, samples), reason=reason, totals=totals))

    async def _say(self, socket: ServerConnection, heard: Heard, event: Event) -> None:
        numbered = event.model_copy(update={"seq": len(heard.events) + 1, "session": heard.token}).stamped(MOMENT)
        heard.events.append(numbered)
        await socket.send(numbered.to_json())


def _number(heard: Heard) -> int:
    return heard.answered // SEGMENT_SAMPLES + 1


def _whole(seq: int, samples: int) -> dict[str, Any]:
    return {"session": "s", "seq": seq, "time_s": samples / _RATE_HZ, "channel": None, "role": None}


def _channel(heard: Heard) -> dict[str, Any]:
    samples = len(heard.audio) // _SAMPLE_BYTES
    return {**_whole(1, samples), "channel": 0, "role": "customer"}


@contextlib.asynccontextmanager
async def a_listener(endings: Iterable[Ending] = (), *, resumable: bool = True) -> AsyncIterator[FakeListener]:
    """Such a server on a free port, for as long as the block runs."""
    listener = FakeListener(endings, resumable=resumable)
    async with serve(listener.serve, "127.0.0.1", 0, compression=None, max_queue=None) as server:
        listener.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield listener
        server.close()
        await asyncio.sleep(0)


@contextlib.contextmanager
def a_listener_elsewhere(endings: Iterable[Ending] = ()) -> Iterator[FakeListener]:
    """Such a server on a thread of its own, for tests of programs that run their own event loop."""
    with elsewhere(a_listener(endings)) as listener:
        yield listener
