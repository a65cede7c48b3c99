"""The dashboard over HTTP: the page at `/`, as it was built, and what it has to know at `/v1/dashboard`.

The page itself is no secret, so that it can ask for a token; all it shows of calls comes over `/v1/events`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from streaming.alert_rules import AlertRule
from streaming.config import Settings
from streaming.tokens import Scope

BUILT: Final = Path(__file__).parent.parent / "dashboard" / "built"
_PAGE: Final = "index.html"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
"""For files with a digest of their content in their name."""

Refusal = Callable[[Request, Scope], Response | None]
"""Answers a request that may not be served; None for one that may."""


def dashboard_routes(settings: Settings, refusal: Refusal) -> list[Route]:
    """The page, its files, and `/v1/dashboard`.

    Args:
        settings: whose alerts the page watches.
        refusal: judges who may read them.
    """
    files = {path.name: path for path in (BUILT / "assets").glob("*")}
    known = {
        "alerts": [{"rule": text, **dataclasses.asdict(AlertRule.parse(text))} for text in settings.alerts.rules],
        "transcripts": settings.privacy.transcripts,
        "idle_timeout_s": settings.server.idle_timeout_s,
    }

    async def page(_request: Request) -> Response:
        return FileResponse(BUILT / _PAGE, headers={**_HEADERS, "Cache-Control": "no-cache"})

    async def asset(request: Request) -> Response:
        path = files.get(request.path_params["name"])
        if path is None:
            return PlainTextResponse("there is no such file\n", status_code=404)
        return FileResponse(path, headers={**_HEADERS, "Cache-Control": _FOR_EVER})

    async def describe(request: Request) -> Response:
        return refusal(request, Scope.EVENTS) or JSONResponse(known, headers={"Cache-Control": "no-store"})

    return [Route("/", page), Route("/assets/{name}", asset), Route("/v1/dashboard", describe)]
