"""Plays a recording to a MEDUSA live server as Twilio would stream the call.

python examples/twilio_call.py call.wav

Two channels become the inbound and the outbound track, one the inbound track alone. Events go to whoever subscribed to
/v1/events; see docs/integrations/twilio.md.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import secrets
import sys
from pathlib import Path

import numpy as np
import soxr
from websockets.asyncio.client import connect

from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import read_file

RATE_HZ = 8000
PIECE_S = 0.02


async def play(recording: Path, url: str, *, token: str | None, paced: bool) -> str:
    """Plays a whole call; returns the name of its session."""
    audio = read_file(recording)
    telephone = soxr.resample(audio.samples.T, audio.rate_hz, RATE_HZ).reshape(-1, len(audio.samples)).T
    voices = dict(zip(("inbound", "outbound"), telephone, strict=False))
    sid = f"MZ{secrets.token_hex(16)}"
    size = int(PIECE_S * RATE_HZ)
    start = {
        "streamSid": sid,
        "accountSid": "AC" + 32 * "0",
        "callSid": "CA" + 32 * "0",
        "tracks": list(voices),
        "customParameters": {"token": token} if token else {},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": RATE_HZ, "channels": 1},
    }
    async with connect(f"{url}/v1/twilio", compression=None) as socket:
        await socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        await socket.send(json.dumps({"event": "start", "sequenceNumber": "1", "start": start, "streamSid": sid}))
        began_s = asyncio.get_running_loop().time()
        for chunk, first in enumerate(range(0, telephone.shape[1], size), start=1):
            if paced:
                await asyncio.sleep(began_s + chunk * PIECE_S - asyncio.get_running_loop().time())
            for track, voice in voices.items():
                data = encode(np.ascontiguousarray(voice[first : first + size]), Encoding.MULAW)
                media = {
                    "track": track,
                    "chunk": str(chunk),
                    "timestamp": str(round((chunk - 1) * PIECE_S * 1000)),
                    "payload": base64.b64encode(data).decode(),
                }
                await socket.send(json.dumps({"event": "media", "media": media, "streamSid": sid}))
        await socket.send(json.dumps({"event": "stop", "streamSid": sid}))
        async for _ in socket:  # the server closes once every final is told
            pass
    return sid


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--url", default="ws://127.0.0.1:8765", help="of the server")
    parser.add_argument("--token", help="where the server asks for one, with the scope listen")
    parser.add_argument("--fast", action="store_true", help="as fast as the server takes it")
    given = parser.parse_args()
    session = asyncio.run(play(given.recording, given.url, token=given.token, paced=not given.fast))
    sys.stdout.write(f"{session}\n")


if __name__ == "__main__":
    main()
