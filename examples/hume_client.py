"""Plays a recording to a MEDUSA live server with Hume's own client, and prints what it measures.

python examples/hume_client.py talk.wav

Needs `pip install hume-expression-measurement`; see docs/integrations/hume.md.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import numpy as np
import soxr
from hume_expression_measurement import (
    AsyncExpressionMeasurementClient,
    AudioMeasurementResult,
    AudioSessionClosed,
    Error,
    SessionClose,
)
from hume_expression_measurement.environment import ExpressionMeasurementClientEnvironment

from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import read_file

RATE_HZ = 16_000
FRAME_S = 0.1


async def play(recording: Path, url: str, *, token: str, paced: bool) -> None:
    """Plays a whole recording, its channels mixed, and prints measurements as they come."""
    audio = read_file(recording)
    voice = soxr.resample(audio.samples.mean(axis=0), audio.rate_hz, RATE_HZ).astype(np.float32)
    frames = np.array_split(voice, range(int(FRAME_S * RATE_HZ), len(voice), int(FRAME_S * RATE_HZ)))
    client = AsyncExpressionMeasurementClient(
        environment=ExpressionMeasurementClientEnvironment(base=url.replace("ws", "http", 1), production=url),
        api_key=token,
    )
    async with client.audio.connect() as socket:

        async def send() -> None:
            for frame in frames:
                await socket.send_audio_frame(encode(frame, Encoding.PCM16))
                await asyncio.sleep(FRAME_S if paced else 0)
            await socket.send_audio_session_close(SessionClose(type="session.close"))

        sending = asyncio.create_task(send())
        async for message in socket:
            match message:
                case AudioMeasurementResult():
                    scores = [*message.expressions, *message.voice_attributes]
                    names = ", ".join(f"{score.name} {score.probability:.2f}" for score in scores)
                    place = f"{message.audio_start_ms} to {message.audio_end_ms} ms"
                    sys.stdout.write(f"utterance {message.utterance_id}, {place}: {names}\n")
                case Error():
                    sys.stdout.write(f"{message.code}: {message.message}\n")
                case AudioSessionClosed():
                    sys.stdout.write(f"closed after {message.produced.measurements} measurements\n")
        await sending


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--url", default="ws://127.0.0.1:8765", help="of the server")
    parser.add_argument("--token", default="none", help="where the server asks for one, with the scope listen")
    parser.add_argument("--fast", action="store_true", help="as fast as the server takes it")
    given = parser.parse_args()
    asyncio.run(play(given.recording, given.url, token=given.token, paced=not given.fast))


if __name__ == "__main__":
    main()
