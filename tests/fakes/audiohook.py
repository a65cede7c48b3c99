"""The client's side of AudioHook."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

SESSION = "30b0e395-84d3-4570-ac13-9a62d8f514c0"
API_KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="  # noqa: S105 - of Genesys' documentation
STEREO = {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}
MONO = {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}
IDS = {
    "audiohook-organization-id": "d7934305-0972-4844-938e-9060eef73d05",
    "audiohook-session-id": SESSION,
    "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
}


class Genesys:
    """Numbers a client's messages."""

    def __init__(self, session: str = SESSION) -> None:
        self.session = session
        self.seq = 0
        self.serverseq = 0

    def say(self, kind: str, **changes: Any) -> str:
        """A message; keywords are parameters, unless they name a field of the envelope."""
        self.seq += 1
        message: dict[str, Any] = {
            "version": "2",
            "id": self.session,
            "type": kind,
            "seq": self.seq,
            "serverseq": self.serverseq,
            "position": "PT0S",
            "parameters": {},
        }
        for name, value in changes.items():
            (message if name in message else message["parameters"])[name] = value
        return json.dumps(message)

    def open(self, *media: dict[str, Any], **changes: Any) -> str:
        parameters = {
            "organizationId": IDS["audiohook-organization-id"],
            "conversationId": "090eaa2f-72fa-480a-83e0-8667ff89c0ec",
            "participant": {"id": "883efee8-3d6c-4537-b500-6d7ca4b92fa0", "ani": "", "aniName": "", "dnis": ""},
            "media": list(media or (STEREO, MONO)),
            "language": "en-US",
        }
        return self.say("open", **{**parameters, **changes})


def signed(
    target: str, authority: str, *, created: int, nonce: str = "x" * 22, key: str = API_KEY, secret: str = SECRET
) -> dict[str, str]:
    """Headers of a handshake as Genesys signs it."""
    headers = {**IDS, "x-api-key": key}
    values = {"@request-target": target, "@authority": authority, **headers}
    names = " ".join(f'"{name}"' for name in values)
    parameters = f'({names});keyid="{key}";nonce="{nonce}";alg="hmac-sha256";created={created};expires={created + 10}'
    lines = [*(f'"{name}": {value}' for name, value in values.items()), f'"@signature-params": {parameters}']
    digest = hmac.new(base64.b64decode(secret), "\n".join(lines).encode(), hashlib.sha256).digest()
    return {
        **headers,
        "signature-input": f"sig1={parameters}",
        "signature": f"sig1=:{base64.b64encode(digest).decode()}:",
    }
