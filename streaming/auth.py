"""Who may listen, subscribe and look at the metrics."""

from __future__ import annotations

import hmac
import ipaddress
import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from streaming.attempts import FailedAttempts, peer_name
from streaming.config import ServerSettings
from streaming.errors import AuthorisationError, ServerError, TooManyAttemptsError
from streaming.tokens import Scope, Token, TokensFile, as_text, digest

_BEARER: Final = "bearer "


class Gate:
    """Lets a client through or raises.

    Without tokens everything is open to programs on this machine, but not to web pages of other origins that a browser
    on this machine happens to show. It judges a client once, when it connects: whoever was let in stays until the
    connection ends, also where the token expires or is taken away meanwhile.
    """

    def __init__(
        self,
        tokens: Callable[[], Sequence[Token]] | None,
        *,
        origins: Sequence[str] = (),
        attempts: FailedAttempts | None = None,
        clock: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Builds a gate.

        Args:
            tokens: gives those accepted now; None to ask for none.
            origins: of the pages that are let in; none to let in all that have a token, or are local where none is
                asked for.
            attempts: who showed wrong tokens lately; None to let everybody try for ever.
            clock: seconds, never going back.
            utc_now: for what expires.
        """
        self._tokens = tokens
        self._origins = frozenset(origins)
        self._attempts = attempts
        self._clock = clock
        self._utc_now = utc_now

    @property
    def asks_for_tokens(self) -> bool:
        """Whether clients must show a token."""
        return self._tokens is not None

    def check(self, scope: Scope, *, token: str | None, origin: str | None, peer: str = "") -> None:
        """Returns if the client may do what `scope` stands for.

        Args:
            scope: what it asks.
            token: what it showed, see `presented_token`.
            origin: its `Origin` header; browsers send one, programs do not.
            peer: its address.

        Raises:
            TooManyAttemptsError: too many wrong tokens came from this address lately. A right one is refused as well:
                an answer that told them apart would let a guesser go on.
            AuthorisationError: it may not; the message names neither the token nor its digest.
        """
        self._check_origin(origin)
        if self._tokens is None:
            return
        self._check_attempts(peer)
        if token is None:
            raise AuthorisationError("a token is needed: send 'Authorization: Bearer TOKEN' or '?token=TOKEN'")
        known = _find(token, self._tokens())
        if known is None:
            self._count_failure(peer)
            raise AuthorisationError("the token is not known here: check it against the server's tokens file")
        if known.expires is not None and known.has_expired(self._utc_now()):
            raise AuthorisationError(
                f"the token has expired on {as_text(known.expires)}: ask the operator for another one"
            )
        if scope not in known.scopes:
            raise AuthorisationError(f"the token does not allow '{scope}': ask the operator for that scope")

    def _check_origin(self, origin: str | None) -> None:
        if origin is None:
            return
        if self._origins:
            if origin not in self._origins:
                raise AuthorisationError("pages of this origin are not let in: add it to [server] origins")
        elif self._tokens is None and not _is_local_page(origin):
            raise AuthorisationError(
                "pages of other origins need a token: set [server] tokens_file, or serve the page from localhost"
            )

    def _check_attempts(self, peer: str) -> None:
        if self._attempts is not None:
            wait_s = math.ceil(self._attempts.refused_for_s(peer_name(peer), self._clock()))
            if wait_s:
                raise TooManyAttemptsError(f"too many wrong tokens from this address: wait {wait_s} s", wait_s)

    def _count_failure(self, peer: str) -> None:
        if self._attempts is not None:
            self._attempts.failed(peer_name(peer), self._clock())


def _find(presented: str, tokens: Sequence[Token]) -> Token | None:
    showed = digest(presented)
    found: Token | None = None
    for known in tokens:  # all of them, so that the time taken tells nothing
        if hmac.compare_digest(known.sha256, showed):
            found = known
    return found


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
    if not settings.tokens_file:
        if not is_loopback(settings.host):
            raise ServerError(
                f"listening on {settings.host} lets other machines in, so [server] tokens_file must name a file of "
                "tokens; or set [server] host to 127.0.0.1"
            )
        return Gate(None, origins=settings.origins)
    attempts = FailedAttempts(
        limit=settings.max_failed_tokens,
        window_s=settings.failed_tokens_window_s,
        refusal_s=settings.failed_tokens_refusal_s,
    )
    return Gate(TokensFile(Path(settings.tokens_file)).current, origins=settings.origins, attempts=attempts)
