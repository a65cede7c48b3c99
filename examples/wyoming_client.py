"""Says a recording to a MEDUSA live server as a voice assistant would, over the Wyoming protocol.

python examples/wyoming_client.py command.wav

Prints words and emotions as they come, and the transcript in the end; see docs/integrations/wyoming.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import soxr

from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import read_file
from streaming.protocols.wyoming_events import EventCutter, WyomingEvent, read_event, write_event

RATE_HZ = 16_000
SHAPE = {"rate": RATE_HZ, "width": 2, "channels": 1}
PIECE_S = 0.064
MAX_PAYLOAD_BYTES = 1_048_576
READ_BYTES = 65_536


async def said(reader: asyncio.StreamReader) -> AsyncIterator[WyomingEvent]:
    """Events of the server, until it ends the connection."""
    cutter = EventCutter(MAX_PAYLOAD_BYTES)
    while data := await reader.read(READ_BYTES):
        cutter.push(data)
        while (event := cutter.next()) is not None:
            yield read_event(event, MAX_PAYLOAD_BYTES)


async def speak(writer: asyncio.StreamWriter, voice: bytes, *, language: str | None, paced: bool) -> None:
    """Sends a whole utterance, at the pace of speech or as fast as the server takes it."""
    writer.write(write_event("transcribe", {"language": language} if language else None))
    writer.write(write_event("audio-start", SHAPE))
    size = int(PIECE_S * RATE_HZ) * SHAPE["width"]
    for first in range(0, len(voice), size):
        writer.write(write_event("audio-chunk", SHAPE, voice[first : first + size]))
        await writer.drain()
        await asyncio.sleep(PIECE_S if paced else 0)
    writer.write(write_event("audio-stop"))
    await writer.drain()


async def converse(recording: Path, host: str, port: int, *, language: str | None, paced: bool) -> None:
    """Says one recording, and prints what is told of it."""
    audio = read_file(recording)
    voice = encode(soxr.resample(np.mean(audio.samples, axis=0), audio.rate_hz, RATE_HZ)[None], Encoding.PCM16)
    reader, writer = await asyncio.open_connection(host, port)
    speaking = asyncio.create_task(speak(writer, voice, language=language, paced=paced))
    async for event in said(reader):
        sys.stdout.write(f"{event.type} {json.dumps(event.data, ensure_ascii=False)}\n")
        if event.type == "transcript-stop":
            break
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    writer.close()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--host", default="127.0.0.1", help="of the server")
    parser.add_argument("--port", type=int, default=10_300, help="[wyoming] port of the server")
    parser.add_argument("--language", help="of the recording, such as en; detected without")
    parser.add_argument("--fast", action="store_true", help="as fast as the server takes it")
    given = parser.parse_args()
    asyncio.run(converse(given.recording, given.host, given.port, language=given.language, paced=not given.fast))


if __name__ == "__main__":
    main()
