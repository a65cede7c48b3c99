"""Plays a recording to a MEDUSA live server as Genesys' AudioHook would stream the call, and prints what comes back.

python examples/audiohook_call.py call.wav
python examples/audiohook_call.py call.wav --api-key TOKEN --secret-file audiohook-secret

Two channels become the external and the internal side of the call, one the external side alone. Each entity that
Genesys would be sent is printed as one JSON object; see docs/integrations/genesys.md.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import soxr
from websockets.asyncio.client import ClientConnection, connect

from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import read_file

PATH = "/v1/audiohook"
RATE_HZ = 8000
PIECE_S = 0.1


class Call:
    """Numbers one call's messages, as its client."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self.position_s = 0.0
        self._socket = socket
        self._session = session
        self._seq = 0
        self._server_seq = 0

    async def say(self, kind: str, **parameters: Any) -> None:
        """Sends one message."""
        self._seq += 1
        message = {"version": "2", "id": self._session, "type": kind, "seq": self._seq, "serverseq": self._server_seq}
        position = f"PT{self.position_s:.3f}S"
        await self._socket.send(json.dumps({**message, "position": position, "parameters": parameters}))

    async def hear(self) -> dict[str, Any]:
        """Waits for one message."""
        message: dict[str, Any] = json.loads(await self._socket.recv())
        self._server_seq = message["seq"]
        return message


async def play(recording: Path, url: str, headers: dict[str, str], *, paced: bool) -> None:
    """Plays a whole call."""
    audio = read_file(recording)
    voices = soxr.resample(audio.samples[:2].T, audio.rate_hz, RATE_HZ).reshape(-1, len(audio.samples[:2]))
    sides = ["external", "internal"][: voices.shape[1]]
    async with connect(f"{url}{PATH}", additional_headers=headers, compression=None) as socket:
        call = Call(socket, headers["audiohook-session-id"])
        await call.say(
            "open",
            organizationId=headers["audiohook-organization-id"],
            conversationId=str(uuid.uuid4()),
            participant={"id": str(uuid.uuid4()), "ani": "", "aniName": "", "dnis": ""},
            media=[{"type": "audio", "format": "PCMU", "channels": sides, "rate": RATE_HZ}],
        )
        answer = await call.hear()
        if answer["type"] != "opened":
            raise SystemExit(f"audiohook_call: the server answers {answer['type']}: {answer['parameters']}")
        told = asyncio.create_task(tell(call))
        size, began_s = int(PIECE_S * RATE_HZ), time.monotonic()
        for first in range(0, len(voices), size):
            piece = np.ascontiguousarray(voices[first : first + size].reshape(-1))
            call.position_s += len(piece) / len(sides) / RATE_HZ
            if paced:
                await asyncio.sleep(began_s + call.position_s - time.monotonic())
            await socket.send(encode(piece, Encoding.MULAW))
        await call.say("close", reason="end")
        await told


async def tell(call: Call) -> None:
    """Prints entities until the call is closed."""
    while (message := await call.hear())["type"] not in ("closed", "disconnect"):
        for entity in message["parameters"].get("entities", ()):
            sys.stdout.write(json.dumps(entity) + "\n")
            sys.stdout.flush()


def handshake(url: str, api_key: str, secret: bytes | None) -> dict[str, str]:
    """The headers that Genesys would send; signed with HTTP Message Signatures where there is a secret."""
    ids = {f"audiohook-{name}-id": str(uuid.uuid4()) for name in ("organization", "session", "correlation")}
    headers = {**ids, "x-api-key": api_key}
    if secret is None:
        return headers
    signed = {"@request-target": PATH, "@authority": urlsplit(url).netloc, **headers}
    names, created = " ".join(f'"{name}"' for name in signed), int(time.time())
    nonce, expires = secrets.token_hex(16), created + 10
    terms = f'keyid="{api_key}";nonce="{nonce}";alg="hmac-sha256";created={created};expires={expires}'
    lines = [*(f'"{name}": {value}' for name, value in signed.items()), f'"@signature-params": ({names});{terms}']
    digest = hmac.new(secret, "\n".join(lines).encode(), hashlib.sha256).digest()
    signature = f"sig1=:{base64.b64encode(digest).decode()}:"
    return {**headers, "signature-input": f"sig1=({names});{terms}", "signature": signature}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--url", default="ws://127.0.0.1:8765", help="of the server")
    parser.add_argument("--api-key", default="none", help="where the server asks for tokens, one with the scope listen")
    parser.add_argument("--secret-file", type=Path, help="the one that [audiohook] secret_file names")
    parser.add_argument("--fast", action="store_true", help="as fast as the server takes it")
    given = parser.parse_args()
    secret = base64.b64decode(given.secret_file.read_text()) if given.secret_file else None
    headers = handshake(given.url, given.api_key, secret)
    asyncio.run(play(given.recording, given.url, headers, paced=not given.fast))


if __name__ == "__main__":
    main()
