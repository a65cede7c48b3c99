"""The ASGI application: WebSocket endpoints, and health, metrics and descriptions over HTTP."""

from __future__ import annotations

from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from streaming.asyncapi import asyncapi
from streaming.auth import Gate, presented_token
from streaming.errors import AuthorisationError
from streaming.events import events_schema
from streaming.protocols.audiohook import AudiohookDialect
from streaming.protocols.audiohook_signature import open_signature_check
from streaming.protocols.dashboard import dashboard_routes
from streaming.protocols.denial import denial
from streaming.protocols.dialect import Dialect, GreetingDialect, Handshake
from streaming.protocols.greeted import GreetedEndpoint
from streaming.protocols.hume import HumeDialect
from streaming.protocols.introduced import IntroducedEndpoint
from streaming.protocols.listen import ListenEndpoint
from streaming.protocols.realtime import RealtimeDialect
from streaming.protocols.subscribe import EventsEndpoint
from streaming.protocols.twilio import TwilioDialect
from streaming.service import LiveService
from streaming.tokens import Scope

SPOKEN_PATHS: Final = frozenset({"/v1/twilio", "/v1/realtime"})
"""Where text messages are audio."""


def create_app(service: LiveService, gate: Gate) -> Starlette:
    """The ASGI application around a service that somebody else starts and drains.

    Raises:
        ServerError: the AudioHook secret cannot be read.
    """
    settings = service.settings
    signature = open_signature_check(settings.audiohook)

    def twilio(_handshake: Handshake) -> Dialect:
        return TwilioDialect(settings.twilio)

    def audiohook(handshake: Handshake) -> Dialect:
        return AudiohookDialect(settings.audiohook, signature, handshake)

    def realtime(handshake: Handshake) -> GreetingDialect:
        return RealtimeDialect(settings, handshake)

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        if service.ready:
            return JSONResponse({"status": "ready"})
        status = "stopping" if service.stopping.is_set() else "warming up"
        return JSONResponse({"status": status}, status_code=503)

    async def describe(_request: Request) -> Response:
        return JSONResponse(asyncapi())

    async def schema(_request: Request) -> Response:
        return JSONResponse(events_schema(), media_type="application/schema+json")

    def refusal(request: Request, scope: Scope) -> Response | None:
        token = presented_token(request.headers.get("authorization"), request.query_params.get("token"))
        peer = request.client.host if request.client else ""
        try:
            gate.check(scope, token=token, origin=request.headers.get("origin"), peer=peer)
        except AuthorisationError as error:
            service.metrics.refused.labels(error.code).inc()
            return denial(error)
        return None

    async def metrics(request: Request) -> Response:
        refused = refusal(request, Scope.ADMIN)
        return refused or Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            WebSocketRoute("/v1/listen", ListenEndpoint(service, gate).serve),
            WebSocketRoute("/v1/twilio", IntroducedEndpoint(service, gate, twilio).serve),
            WebSocketRoute("/v1/audiohook", IntroducedEndpoint(service, gate, audiohook).serve),
            WebSocketRoute("/v1/expression/audio/realtime", GreetedEndpoint(service, gate, HumeDialect).serve),
            WebSocketRoute("/v1/realtime", GreetedEndpoint(service, gate, realtime).serve),
            WebSocketRoute("/v1/events", EventsEndpoint(service, gate).serve),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/asyncapi.json", describe),
            Route("/schema.json", schema),
            *dashboard_routes(settings, refusal),
        ]
    )
