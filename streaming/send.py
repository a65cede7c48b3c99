"""What `medusa stream` sends: a file, the microphone, or raw audio on stdin."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from models.windows import SAMPLE_RATE_HZ
from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFormat, microphone, read_file
from streaming.client import ListenClient
from streaming.connection import RECONNECT_S
from streaming.errors import ConnectionFailedError
from streaming.events import Event, SessionEnded

MICROPHONE: Final = "mic"
STDIN: Final = "-"
_READ_BYTES: Final = 3200
_KEEPALIVE_SHARE: Final = 0.3
"""Of the server's patience with silence, what passes between two keepalives."""


@dataclass(frozen=True, slots=True)
class Source:
    """Audio to send: all of it at hand, or coming."""

    audio: AudioFormat
    data: bytes | None = None
    """The whole of a file."""
    live: Callable[[], AsyncGenerator[bytes]] | None = None
    """Audio that comes at its own pace."""
    warning: str | None = None
    """What is wrong with a file that can be read all the same."""


def open_source(name: str, rate_hz: int = SAMPLE_RATE_HZ, encoding: Encoding = Encoding.PCM16) -> Source:
    """Opens what SOURCE names.

    Args:
        name: a path, `mic`, or `-`.
        rate_hz: of raw audio on stdin.
        encoding: of raw audio on stdin.

    Raises:
        AudioFileError: the file cannot be read.
        AudioFormatError: the rate is not one we read.
    """
    if name == MICROPHONE:
        return Source(AudioFormat(Encoding.PCM16, SAMPLE_RATE_HZ, 1), live=microphone)
    if name == STDIN:
        return Source(AudioFormat(encoding, rate_hz, 1), live=lambda: raw_audio(sys.stdin.buffer))
    file = read_file(Path(name))
    shape = AudioFormat(Encoding.PCM16, file.rate_hz, len(file.samples))
    return Source(shape, data=encode(file.samples.T.reshape(-1), shape.encoding), warning=file.warning)


async def raw_audio(file: IO[bytes]) -> AsyncGenerator[bytes]:
    """Bytes of a pipe, a terminal or a file as they come, until its end.

    Args:
        file: opened for reading; closed afterwards.
    """
    mode = os.fstat(file.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or file.isatty()):
        with file:  # the event loop cannot wait for a regular file, and need not
            while chunk := await asyncio.to_thread(file.read, _READ_BYTES):
                yield chunk
        return
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), file
    )
    try:
        while chunk := await reader.read(_READ_BYTES):
            yield chunk
    finally:
        transport.close()


async def stream_source(
    source: Source,
    url: str,
    *,
    roles: tuple[str, ...],
    token: str | None,
    language: str | None,
    paced: bool,
    follow: Callable[[Event], None],
    stopped: asyncio.Event | None = None,
    reconnect_s: float = RECONNECT_S,
) -> None:
    """Sends a source and follows the events until the server has ended the session.

    Args:
        source: from `open_source`.
        url: of the server.
        roles: of its channels.
        token: where the server asks for one.
        language: ISO 639-1 code, or None.
        paced: send a file at the pace of speech.
        follow: told of every event.
        stopped: once set, no more audio is sent; the events of what was sent still come.
        reconnect_s: how long a broken connection is tried again. Live audio waits as long as its source lets it.

    Raises:
        StreamingError: the source cannot be read, the server cannot be reached, does not take the audio, or ends the
            session before all of it was sent.
    """
    async with ListenClient(
        url, source.audio, roles=roles, language=language, token=token, reconnect_s=reconnect_s
    ) as client:
        sending = asyncio.create_task(_send(client, source, stopped or asyncio.Event(), paced=paced))
        following = asyncio.create_task(_follow(client, follow))
        try:
            await asyncio.wait({sending, following}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not isinstance(sending.exception(), ConnectionFailedError):
                sending.result()
            # Where the connection is lost, the events know best why.
            ended = await following
            if not sending.done() or sending.exception() is not None:
                raise ConnectionFailedError(
                    f"the server ended the session ({ended or 'it gave no reason'}) before all audio was sent: "
                    "send the rest in a new session"
                )
        finally:
            for task in (sending, following):
                task.cancel()
            await asyncio.gather(sending, following, return_exceptions=True)


@contextmanager
def stop_on_interrupt() -> Iterator[asyncio.Event]:
    """An event that the first Ctrl-C sets, so that a recording can end in order; the second one interrupts as usual.

    Belongs to the main thread.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _follow(client: ListenClient, follow: Callable[[Event], None]) -> str | None:
    """Follows until the end; the reason that `session.ended` gave, if it came."""
    reason = None
    async for event in client:
        if isinstance(event, SessionEnded):
            reason = event.reason
        follow(event)
    return reason


async def _send(client: ListenClient, source: Source, stopped: asyncio.Event, *, paced: bool) -> None:
    tasks = {
        asyncio.create_task(_send_audio(client, source, paced=paced)),
        asyncio.create_task(_keep_alive(client)),
        asyncio.create_task(stopped.wait()),
    }
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await client.finish()


async def _send_audio(client: ListenClient, source: Source, *, paced: bool) -> None:
    if source.data is not None:
        await (client.send_paced(source.data) if paced else client.send(source.data))
    elif source.live is not None:
        async with aclosing(source.live()) as chunks:
            async for chunk in chunks:
                await client.send(chunk)


async def _keep_alive(client: ListenClient) -> None:
    """Says that more audio will come, however long a pipe is silent."""
    while True:
        await asyncio.sleep(_KEEPALIVE_SHARE * client.started.limits.idle_timeout_s)
        await client.keep_alive()
