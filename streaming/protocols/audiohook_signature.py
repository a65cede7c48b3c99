"""The signature of an AudioHook handshake: HTTP Message Signatures (draft 5) with HMAC-SHA256 over a shared secret.

Genesys signs the target of the request, the host, its own ids and the API key. A signature is good for ten seconds and
for one connection.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from streaming.config import AudiohookSettings
from streaming.errors import AuthorisationError, ServerError

SIGNED: Final = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
"""What must be under every signature."""
MAX_AGE_S: Final = 10.0
_SKEW_S: Final = 5.0
"""How far the clocks of Genesys and this machine may be apart."""
_LEAST_NONCE: Final = 22
_MOST_NONCES: Final = 10_000
_INPUT: Final = re.compile(r'([a-z][a-z0-9_-]*)=(\(("[^"]*"( "[^"]*")*)\)((;[a-z]+=("[^"]*"|[0-9]+))*))')
_PARAMETER: Final = re.compile(r';([a-z]+)=(?:"([^"]*)"|([0-9]+))')
_REFUSED: Final = "the signature of the AudioHook handshake"


class SignatureCheck:
    """Verifies handshakes; remembers what was shown lately, so that nobody shows it again."""

    def __init__(self, secret: bytes, *, now: Callable[[], float] = time.time) -> None:
        """Knows the secret.

        Args:
            secret: the client secret that Genesys was given, decoded.
            now: seconds since 1970.
        """
        self._secret = secret
        self._now = now
        self._nonces: OrderedDict[str, float] = OrderedDict()

    def check(self, target: str, headers: Mapping[str, str]) -> None:
        """Returns if the handshake is signed.

        Args:
            target: path and query of the request, as sent.
            headers: of the request, by lower-case name.

        Raises:
            AuthorisationError: it is not, or not any more; says which, and neither secret nor signature.
        """
        name, signed, parameters, raw = _parsed(headers.get("signature-input", ""))
        lacking = [component for component in SIGNED if component not in signed]
        if lacking:
            raise AuthorisationError(f"{_REFUSED} leaves out {', '.join(lacking)}")
        if parameters.get("alg", "hmac-sha256") != "hmac-sha256":
            raise AuthorisationError(f"{_REFUSED} is not of hmac-sha256")
        if parameters.get("keyid") != headers.get("x-api-key"):
            raise AuthorisationError(f"{_REFUSED} is of another key than X-API-KEY")
        derived = {"@request-target": target, "@authority": headers.get("host", "").lower()}
        lines = []
        for component in signed:
            value = derived.get(component, headers.get(component))
            if value is None:
                raise AuthorisationError(f"{_REFUSED} is over {component}, which is not there")
            lines.append(f'"{component}": {value.strip()}')
        base = "\n".join([*lines, f'"@signature-params": {raw}'])
        expected = hmac.new(self._secret, base.encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(expected, _shown(headers.get("signature", ""), name)):
            raise AuthorisationError(f"{_REFUSED} is wrong")
        self._check_time(parameters)

    def _check_time(self, parameters: Mapping[str, str]) -> None:
        now_s = self._now()
        created, expires, nonce = (parameters.get(name, "") for name in ("created", "expires", "nonce"))
        if not created.isdecimal() or (expires and not expires.isdecimal()):
            raise AuthorisationError(f"{_REFUSED} says not when it was made")
        if not -_SKEW_S <= now_s - int(created) <= MAX_AGE_S or (expires and now_s > int(expires)):
            raise AuthorisationError(f"{_REFUSED} is {now_s - int(created):.0f} s old: is the clock right?")
        if len(nonce) < _LEAST_NONCE:
            raise AuthorisationError(f"{_REFUSED} has a nonce of fewer than {_LEAST_NONCE} characters")
        while self._nonces and next(iter(self._nonces.values())) < now_s - MAX_AGE_S - _SKEW_S:
            self._nonces.popitem(last=False)
        if nonce in self._nonces or len(self._nonces) >= _MOST_NONCES:
            raise AuthorisationError(f"{_REFUSED} was shown before")
        self._nonces[nonce] = now_s


def open_signature_check(settings: AudiohookSettings) -> SignatureCheck | None:
    """The check that the settings ask for; None for none.

    Raises:
        ServerError: the secret cannot be read, or is not in base64.
    """
    if not settings.secret_file:
        return None
    try:
        text = Path(settings.secret_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ServerError(f"cannot read [audiohook] secret_file {settings.secret_file}: {reason}") from None
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not secret:
        raise ServerError("[audiohook] secret_file must hold the client secret in base64, and nothing else")
    return SignatureCheck(secret)


def _parsed(header: str) -> tuple[str, list[str], dict[str, str], str]:
    """Name, signed components, parameters, and all of that as it is signed."""
    found = _INPUT.fullmatch(header.strip())
    if found is None:
        raise AuthorisationError(f"{_REFUSED} is missing, or its Signature-Input cannot be read")
    signed = re.findall(r'"([^"]*)"', found[3])
    parameters = {name: text or number for name, text, number in _PARAMETER.findall(found[5])}
    return found[1], signed, parameters, found[2]


def _shown(header: str, name: str) -> bytes:
    found = re.fullmatch(rf"{re.escape(name)}=:([A-Za-z0-9+/=]*):", header.strip())
    try:
        return base64.b64decode(found[1], validate=True) if found else b""
    except (binascii.Error, ValueError):
        return b""
