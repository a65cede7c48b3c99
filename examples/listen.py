"""Streams a WAV file of 16-bit samples to a MEDUSA live server and prints every event, one JSON object a line.

python examples/listen.py call.wav [ws://127.0.0.1:8765]

Needs the package websockets alone. Set MEDUSA_TOKEN where the server asks for a token, with the scope listen.
"""

import os
import sys
import threading
import wave

from websockets.sync.client import ClientConnection, connect


def speak(call: wave.Wave_read, socket: ClientConnection) -> None:
    """Sends 100 ms at a time, as fast as the server takes it, then says that this was all."""
    while chunk := call.readframes(call.getframerate() // 10):
        socket.send(chunk)
    socket.send('{"type": "close"}')


recording, server = (*sys.argv[1:], "ws://127.0.0.1:8765")[:2]
token = os.environ.get("MEDUSA_TOKEN")
headers = {"Authorization": f"Bearer {token}"} if token else {}
with wave.open(recording) as call:
    if call.getsampwidth() != 2:
        sys.exit(f"{recording} has samples of {8 * call.getsampwidth()} bits: 16 are needed")
    address = f"{server}/v1/listen?rate_hz={call.getframerate()}&channels={call.getnchannels()}"
    with connect(address, additional_headers=headers) as socket:
        threading.Thread(target=speak, args=(call, socket)).start()
        for event in socket:
            sys.stdout.write(f"{event}\n")
