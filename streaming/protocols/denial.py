"""How HTTP says no: to requests, and to handshakes that show their token before a WebSocket is opened."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import PlainTextResponse, Response

from streaming.errors import AuthorisationError, TooManyAttemptsError


def denial(error: AuthorisationError) -> Response:
    """The answer to somebody who may not: 401, or 429 where waiting helps."""
    if isinstance(error, TooManyAttemptsError):
        wait = {"Retry-After": str(error.retry_after_s)}
        return PlainTextResponse(f"{error}\n", status_code=HTTPStatus.TOO_MANY_REQUESTS, headers=wait)
    return PlainTextResponse(f"{error}\n", status_code=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
