"""Prints the final emotions of all sessions of a MEDUSA live server, or of one, as they come.

python examples/subscribe.py [ws://127.0.0.1:8765] [SESSION]

Needs the package websockets alone. Set MEDUSA_TOKEN where the server asks for a token, with the scope events.
"""

import json
import os
import sys

from websockets.sync.client import connect

server, session = (*sys.argv[1:], "*")[:2] if len(sys.argv) > 1 else ("ws://127.0.0.1:8765", "*")
token = os.environ.get("MEDUSA_TOKEN")
headers = {"Authorization": f"Bearer {token}"} if token else {}
with connect(f"{server}/v1/events?session={session}&after=0", additional_headers=headers) as socket:
    for event in map(json.loads, socket):
        if event["type"] == "emotion" and event["final"]:
            label = event["label"] or "unsure"
            sys.stdout.write(
                f"{event['session']} {event['role']}: {label} ({event['confidence']:.2f}) {event['text']}\n"
            )
            sys.stdout.flush()
