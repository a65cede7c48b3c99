"""The description of the wire is that of the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

import streaming.asyncapi
from streaming.asyncapi import asyncapi
from streaming.errors import ProtocolError
from streaming.events import events_schema
from streaming.protocols.dialect import ListenRequest
from streaming.protocols.native import CONTROL_NAMES, read_message, read_query
from streaming.protocols.subscribe import EventsRequest
from tests.fakes.servers import a_server

COMMITTED = Path(streaming.asyncapi.__file__).with_name("asyncapi.json")
SPECIFICATION = Path(__file__).parents[1] / "schemas" / "asyncapi-3.0.0.json"


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def at(document: Any, pointer: str) -> Any:
    for step in pointer.removeprefix("#/").split("/"):
        document = document[step]
    return document


def query(channel: str) -> dict[str, Any]:
    properties: dict[str, Any] = asyncapi()["channels"][channel]["bindings"]["ws"]["query"]["properties"]
    return properties


def test_the_committed_document_is_the_one_the_code_generates() -> None:
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == asyncapi(), (
        "run: python -m streaming.asyncapi > streaming/asyncapi.json"
    )


def test_it_keeps_to_the_specification() -> None:
    specification = json.loads(SPECIFICATION.read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(specification).validate(asyncapi())


def test_a_document_that_does_not_is_found_out() -> None:
    broken = {**asyncapi(), "operations": {"hear": {"action": "listen"}}}
    specification = json.loads(SPECIFICATION.read_text(encoding="utf-8"))
    assert not jsonschema.Draft7Validator(specification).is_valid(broken)


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi()
    found = set(references(document))
    assert len(found) > 30
    for reference in found:
        assert at(document, reference)


def test_every_event_is_told_on_every_channel_that_it_travels_on() -> None:
    document = asyncapi()
    types = set(events_schema()["discriminator"]["mapping"])
    sent = {"listen": types, "subscribe": types - {"session.resumed"}, "publish": types - {"session.resumed"}}
    for operation in document["operations"].values():
        channel = operation["channel"]["$ref"].rpartition("/")[2]
        told = {at(document, at(document, one["$ref"])["$ref"])["name"] for one in operation["messages"]}
        if operation["action"] == "send":
            assert told == sent[channel]


def test_payloads_are_those_of_the_schema() -> None:
    document, schema = asyncapi(), events_schema()
    for kind, reference in schema["discriminator"]["mapping"].items():
        (message,) = (one for one in document["components"]["messages"].values() if one["name"] == kind)
        told = at(document, message["payload"]["$ref"])
        assert set(told["properties"]) == set(at(schema, reference)["properties"])


def test_every_control_that_is_told_is_understood() -> None:
    messages = asyncapi()["components"]["messages"]
    for name in CONTROL_NAMES:
        (kind,) = [messages[name]["payload"]["properties"]["type"]["const"]]
        assert read_message(json.dumps({"type": kind}))


def test_every_parameter_that_is_told_is_understood_and_no_other() -> None:
    told = query("listen")
    new = {name: str(told[name].get("default", "")).lower() for name in told if name not in ("resume", "after")}
    assert isinstance(read_query(new.items(), max_channels=2), ListenRequest)
    assert read_query([("resume", "x"), ("after", "1")], max_channels=2)
    EventsRequest.from_query([("session", "*"), ("after", "0")])
    assert set(query("subscribe")) == {"session", "after", "last_s"}
    for read, parameters in (
        (lambda given: read_query(given, max_channels=2), told),
        (EventsRequest.from_query, query("subscribe")),
    ):
        with pytest.raises(ProtocolError, match="known ones are") as refused:
            read([("nonsense", "1")])
        known = set(re.split(r",? ", str(refused.value).partition("known ones are ")[2])) - {"token"}
        assert known <= set(parameters)


async def test_the_server_tells_both() -> None:
    async with a_server() as server, httpx.AsyncClient() as client:
        described = await client.get(f"{server.http_url}/asyncapi.json")
        schema = await client.get(f"{server.http_url}/schema.json")

    assert described.json() == asyncapi()
    assert schema.json() == events_schema()
    assert schema.headers["content-type"].startswith("application/schema+json")
