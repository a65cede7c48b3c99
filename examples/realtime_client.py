"""Plays a recording to a MEDUSA live server with OpenAI's own client, and prints what was said and how.

python examples/realtime_client.py talk.wav

Needs `pip install openai`; see docs/integrations/openai-realtime.md.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import read_file

RATE_HZ = 24_000
CHUNK_S = 0.1
TRANSCRIPTION: Any = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
"""The whole recording is one turn, which ends with our commit."""


async def play(recording: Path, url: str, *, token: str, paced: bool) -> None:
    """Plays a whole recording, its channels mixed, and prints what comes back."""
    audio = read_file(recording)
    voice = soxr.resample(audio.samples.mean(axis=0), audio.rate_hz, RATE_HZ).astype(np.float32)
    chunks = np.array_split(voice, range(int(CHUNK_S * RATE_HZ), len(voice), int(CHUNK_S * RATE_HZ)))

    async def send(connection: AsyncRealtimeConnection) -> None:
        for chunk in chunks:
            data = encode(chunk, Encoding.PCM16)
            await connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())
            await asyncio.sleep(CHUNK_S if paced else 0)
        await connection.input_audio_buffer.commit()

    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key=token) as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        await connection.session.update(session=TRANSCRIPTION)
        sending = asyncio.create_task(send(connection))
        async for event in connection:
            told: Any = event
            match told.type:
                case "conversation.item.input_audio_emotion.completed":
                    place = f"{told.audio_start_ms} to {told.audio_end_ms} ms"
                    sys.stdout.write(f"{place}: {told.label or 'not sure'} {told.confidence:.2f}\n")
                case "conversation.item.input_audio_transcription.completed":
                    sys.stdout.write(f"{told.transcript}\n")
                    break
                case "conversation.item.input_audio_transcription.failed" | "error":
                    sys.stdout.write(f"{told.error.message}\n")
                    break
        sending.cancel()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8765", help="of the server")
    parser.add_argument("--token", default="none", help="where the server asks for one, with the scope listen")
    parser.add_argument("--fast", action="store_true", help="as fast as the server takes it")
    given = parser.parse_args()
    asyncio.run(play(given.recording, given.url, token=given.token, paced=not given.fast))


if __name__ == "__main__":
    main()
