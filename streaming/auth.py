"""Who may listen, subscribe and look at the metrics.

A tokens file holds one token a line: the SHA-256 of the token in hexadecimal, a name for the log, and the scopes it
grants, separated by commas. The token itself is nowhere on the server::

    # printf %s "$TOKEN" | sha256sum
    2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae  dashboard  listen,events
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from streaming.config import ServerSettings
from streaming.errors import AuthorisationError, ServerError

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_BEARER: Final = "bearer "


class Scope(StrEnum):
    """What a token allows."""

    LISTEN = "listen"
    """To send audio and receive its events."""
    EVENTS = "events"
    """To receive the events of all sessions."""
    ADMIN = "admin"
    """To read the metrics."""


@dataclass(frozen=True, slots=True)
class Token:
    """One accepted token."""

    sha256: str
    """Lower-case hexadecimal digest of the token."""
    name: str
    scopes: frozenset[Scope]


class Gate:
    """Lets a client through or raises.

    Without tokens everything is open to programs on this machine, but not to web pages of other origins that a browser
    on this machine happens to show.
    """

    def __init__(self, tokens: Sequence[Token] | None) -> None:
        """Builds a gate.

        Args:
            tokens: the accepted ones, or None to ask for none.
        """
        self._tokens = tokens

    @property
    def asks_for_tokens(self) -> bool:
        """Whether clients must show a token."""
        return self._tokens is not None

    def check(self, scope: Scope, *, token: str | None, origin: str | None) -> None:
        """Returns if the client may do what `scope` stands for.

        Args:
            scope: what it asks.
            token: what it showed, see `presented_token`.
            origin: its `Origin` header; browsers send one, programs do not.

        Raises:
            AuthorisationError: it may not; the message names neither the token nor its digest.
        """
        if self._tokens is None:
            if origin is not None and not _is_local_page(origin):
                raise AuthorisationError(
                    "pages of other origins need a token: set [server] tokens_file, or serve the page from localhost"
                )
            return
        if token is None:
            raise AuthorisationError("a token is needed: send 'Authorization: Bearer TOKEN' or '?token=TOKEN'")
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        granted: frozenset[Scope] | None = None
        for known in self._tokens:  # all of them, so that the time taken tells nothing
            if hmac.compare_digest(known.sha256, digest):
                granted = known.scopes
        if granted is None:
            raise AuthorisationError("the token is not known here: check it against the server's tokens file")
        if scope not in granted:
            raise AuthorisationError(f"the token does not allow '{scope}': ask the operator for that scope")


def presented_token(authorization: str | None, query_token: str | None) -> str | None:
    """The token in an `Authorization: Bearer` header, else the one in the query, else None."""
    if authorization is not None and authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip() or None
    return query_token or None


def _is_local_page(origin: str) -> bool:
    try:
        return is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_gate(settings: ServerSettings) -> Gate:
    """The gate that `[server]` asks for.

    Raises:
        ServerError: the tokens file cannot be read or a line of it is wrong, or there is none although the server would
            be reachable from other machines.
    """
    if settings.tokens_file:
        return Gate(read_tokens(Path(settings.tokens_file)))
    if not is_loopback(settings.host):
        raise ServerError(
            f"listening on {settings.host} lets other machines in, so [server] tokens_file must name a file of tokens; "
            "or set [server] host to 127.0.0.1"
        )
    return Gate(None)


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Reads a tokens file; empty lines and lines that begin with `#` are skipped.

    Raises:
        ServerError: the file cannot be read, holds no token, or a line is not `SHA256 NAME SCOPE[,SCOPE...]`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ServerError(f"cannot read the tokens file {path}: {reason}; check [server] tokens_file") from None
    tokens = tuple(
        _read_token(line, f"{path}:{number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    )
    if not tokens:
        raise ServerError(f"the tokens file {path} holds no token: nobody could connect; add a line to it")
    return tokens


def _read_token(line: str, where: str) -> Token:
    fields = line.split()
    if len(fields) != 3:
        raise ServerError(f"{where}: expected 'SHA256 NAME SCOPE[,SCOPE...]', found {len(fields)} words")
    digest, name, scopes = fields
    if not _SHA256.fullmatch(digest):
        raise ServerError(f"{where}: the first word must be a SHA-256 in 64 hexadecimal digits, not the token itself")
    known = {scope.value for scope in Scope}
    granted = scopes.split(",")
    for scope in granted:
        if scope not in known:
            raise ServerError(f"{where}: unknown scope '{scope}', known ones are {', '.join(sorted(known))}")
    return Token(digest.lower(), name, frozenset(Scope(scope) for scope in granted))
