"""What `medusa stream` sends: a file, the microphone, or raw audio on stdin."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.windows import SAMPLE_RATE_HZ
from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFormat, microphone, read_file
from streaming.client import ListenClient
from streaming.events import Event

MICROPHONE: Final = "mic"
STDIN: Final = "-"
_READ_BYTES: Final = 3200


@dataclass(frozen=True, slots=True)
class Source:
    """Audio to send: all of it at hand, or coming."""

    audio: AudioFormat
    data: bytes | None = None
    """The whole of a file."""
    live: Callable[[], AsyncIterator[bytes]] | None = None


def open_source(name: str, rate_hz: int = SAMPLE_RATE_HZ) -> Source:
    """Opens what SOURCE names.

    Args:
        name: a path, `mic`, or `-`.
        rate_hz: of raw audio on stdin.

    Raises:
        AudioFileError: the file cannot be read.
        AudioFormatError: the rate is not one we read.
    """
    if name == MICROPHONE:
        return Source(AudioFormat(Encoding.PCM16, SAMPLE_RATE_HZ, 1), live=microphone)
    if name == STDIN:
        return Source(AudioFormat(Encoding.PCM16, rate_hz, 1), live=_standard_input)
    file = read_file(Path(name))
    shape = AudioFormat(Encoding.PCM16, file.rate_hz, file.samples.shape[0])
    return Source(shape, data=encode(file.samples.T.reshape(-1), shape.encoding))


async def stream_source(
    source: Source,
    url: str,
    *,
    roles: tuple[str, ...],
    token: str | None,
    language: str | None,
    paced: bool,
    follow: Callable[[Event], None],
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

    Raises:
        StreamingError: the server cannot be reached, does not take the audio, or is lost.
    """
    async with ListenClient(url, source.audio, roles=roles, language=language, token=token) as client:
        sending = asyncio.create_task(_send(client, source, paced=paced))
        try:
            async for event in client:
                follow(event)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _send(client: ListenClient, source: Source, *, paced: bool) -> None:
    if source.data is not None:
        await (client.send_paced(source.data) if paced else client.send(source.data))
    elif source.live is not None:
        async for chunk in source.live():
            await client.send(chunk)
    await client.finish()


async def _standard_input() -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(os.read, sys.stdin.fileno(), _READ_BYTES):
        yield chunk
