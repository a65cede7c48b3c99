"""What the server takes and sends, as an AsyncAPI 3 document (https://www.asyncapi.com/docs/reference/specification/v3.0.0).

Clients, documentation and tests in other languages can be generated from it. It is made from the same classes that read
and write the wire; `python -m streaming.asyncapi` prints it.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any, Final

from streaming.audio.codecs import Encoding
from streaming.config import MqttSettings
from streaming.events import IDENTIFIER_PATTERN, events_schema
from streaming.protocols.native import CONTROL_NAMES, DEFAULT_RATE_HZ

_JSON: Final = "application/json"
_WS_BINDING: Final = "0.1.0"
_MQTT_BINDING: Final = "0.2.0"


def asyncapi() -> dict[str, Any]:
    """The document: channels `listen`, `events` and `mqtt`, with every message that travels on them."""
    schema = events_schema()
    names = {definition["properties"]["type"]["const"]: name for name, definition in _events(schema).items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "MEDUSA live",
            "version": version("medusa-live"),
            "description": "Audio in, emotions and words out, while somebody speaks.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": {
            "websocket": {
                "host": "127.0.0.1:8765",
                "protocol": "ws",
                "description": "`wss` where [server] tls_cert is set.",
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("bearer", "query")],
            },
            "broker": {"host": "127.0.0.1:1883", "protocol": "mqtt", "description": "Where [mqtt] is enabled."},
        },
        "channels": {
            "listen": _listen(names),
            "subscribe": _subscribe(names),
            "publish": _publish(names),
        },
        "operations": _operations(names),
        "components": {
            "messages": {**_event_messages(names), **_client_messages()},
            "schemas": _moved(schema["$defs"]),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "Where [server] tokens_file is set."},
                "query": {"type": "httpApiKey", "in": "query", "name": "token", "description": "For browsers."},
            },
        },
    }


def _events(schema: dict[str, Any]) -> dict[str, Any]:
    """Definitions that are events, by name."""
    used = {reference.removeprefix("#/$defs/") for reference in schema["discriminator"]["mapping"].values()}
    return {name: definition for name, definition in schema["$defs"].items() if name in used}


def _listen(names: dict[str, str]) -> dict[str, Any]:
    return {
        "address": "/v1/listen",
        "title": "One connection, one session",
        "description": "Binary messages are audio; text messages are controls, one JSON object each. Events come back.",
        "servers": [{"$ref": "#/servers/websocket"}],
        "messages": _references([*_client_messages(), *names.values()]),
        "bindings": _query(
            encoding={"type": "string", "enum": [one.value for one in Encoding], "default": "pcm_s16le"},
            rate_hz={"type": "integer", "default": DEFAULT_RATE_HZ},
            channels={"type": "integer", "minimum": 1, "default": 1, "description": "Interleaved."},
            language={"type": "string", "description": "ISO 639 code; left out to detect it."},
            interim={"type": "boolean", "default": True},
            roles={"type": "string", "description": "Of the channels, separated by commas."},
            resume={"type": "string", "description": "Token of a session to be taken up again."},
            after={"type": "integer", "minimum": 1, "description": "With resume: `seq` of the last event."},
        ),
    }


def _subscribe(names: dict[str, str]) -> dict[str, Any]:
    told = [name for kind, name in names.items() if kind != "session.resumed"]
    return {
        "address": "/v1/events",
        "title": "Events of one session or of all, without sending audio",
        "servers": [{"$ref": "#/servers/websocket"}],
        "messages": _references([*told, "keepalive"]),
        "bindings": _query(
            session={"type": "string", "default": "*", "description": "Its name; * for all."},
            after={"type": "integer", "minimum": 0, "description": "Replays what is held behind it."},
            last_s={"type": "integer", "minimum": 0, "description": "Replays what is held of so many seconds."},
        ),
    }


def _query(**parameters: dict[str, Any]) -> dict[str, Any]:
    query = {"type": "object", "properties": parameters}
    return {"ws": {"method": "GET", "query": query, "bindingVersion": _WS_BINDING}}


def _publish(names: dict[str, str]) -> dict[str, Any]:
    told = [kind for kind in names if kind != "session.resumed"]
    return {
        "address": "{prefix}/{session}/{channel}/{event}",
        "title": "Events at an MQTT broker",
        "servers": [{"$ref": "#/servers/broker"}],
        "parameters": {
            "prefix": {"description": "[mqtt] prefix", "default": MqttSettings().prefix},
            "session": {"description": f"Name of the session, {IDENTIFIER_PATTERN}"},
            "channel": {"description": "Number of the channel; `session` where an event is about the whole of it."},
            "event": {"description": "Its type.", "enum": told},
        },
        "messages": _references([names[kind] for kind in told]),
    }


def _operations(names: dict[str, str]) -> dict[str, Any]:
    told = [name for kind, name in names.items() if kind != "session.resumed"]
    return {
        "hear": _operation("receive", "listen", [*_client_messages()], "The client speaks."),
        "answer": _operation("send", "listen", [*names.values()], "The session's events, in the order of `seq`."),
        "tell": _operation("send", "subscribe", told, "Whoever subscribed is told."),
        "stayAlive": _operation("receive", "subscribe", ["keepalive"], "The subscriber is still there."),
        "publish": {
            **_operation("send", "publish", told, "Interims with QoS 0, all else with QoS 1."),
            "bindings": {"mqtt": {"qos": 1, "retain": False, "bindingVersion": _MQTT_BINDING}},
        },
    }


def _operation(action: str, channel: str, messages: list[str], summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
        "summary": summary,
    }


def _references(messages: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in messages}


def _event_messages(names: dict[str, str]) -> dict[str, Any]:
    return {
        name: {"name": kind, "contentType": _JSON, "payload": {"$ref": f"#/components/schemas/{name}"}}
        for kind, name in names.items()
    }


def _client_messages() -> dict[str, Any]:
    audio = {
        "name": "audio",
        "contentType": "application/octet-stream",
        "summary": "Samples, channels interleaved; a sample may be split between two messages.",
        "payload": {"type": "string", "format": "binary"},
    }
    controls = {
        name: {
            "name": name,
            "contentType": _JSON,
            "payload": {
                "type": "object",
                "properties": {"type": {"const": name}},
                "required": ["type"],
                "additionalProperties": False,
            },
        }
        for name in CONTROL_NAMES
    }
    return {"audio": audio, **controls}


def _moved(definitions: dict[str, Any]) -> dict[str, Any]:
    """Definitions of a JSON Schema, as components of the document."""
    moved: dict[str, Any] = json.loads(json.dumps(definitions).replace("#/$defs/", "#/components/schemas/"))
    return moved


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncapi(), indent=2) + "\n")
