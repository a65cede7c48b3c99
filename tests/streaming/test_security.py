"""What a stranger, or a client with ill intent, gets from a real server: nothing, and a clear answer."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streaming.client import EventsClient, ListenClient
from streaming.errors import AuthorisationError, ProtocolError, TooManyAttemptsError
from streaming.recognition.request import RecognitionRequest
from streaming.server import RunningServer
from streaming.sinks.jsonl import JsonLinesSink
from streaming.tokens import read_tokens
from tests.fakes.broker import running_broker
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.servers import PATIENCE_S, SPEECH, a_server, all_events, converse
from tests.fakes.shell import pcm, silence, speech
from tests.fakes.tokens import write_tokens

UTTERANCE = pcm(speech(0.6), silence(1.0))
WELCOME = {"/v1/listen?encoding=none": "audio_format", "/v1/events?session=nobody&after=0": "unknown_session"}
"""WebSocket requests that are wrong, and what only those are told of it who are let in."""
LISTEN, EVENTS = WELCOME


async def told(server: RunningServer, path: str, **headers: str) -> str:
    """The code of the error that a WebSocket is closed for."""
    async with connect(f"{server.url}{path}", additional_headers=headers, compression=None) as socket:
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await socket.recv()
    return (socket.close_reason or "").partition(":")[0]


async def get(server: RunningServer, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"{server.http_url}{path}", headers=headers)


def bearer(token: str) -> str:
    return f"Bearer {token}"


def with_token(path: str, token: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}token={token}"


# --- every route, with every kind of token


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    """The token of each kind; what stands for none of them, too."""
    known = write_tokens(tmp_path / "tokens")
    digest = read_tokens(tmp_path / "tokens")[0].sha256
    return {**known, "wrong": "wrong", "cut short": known["listen"][:-1], "the digest": digest}


@pytest.mark.parametrize("shown", ["in the header", "in the query"])
@pytest.mark.parametrize(("path", "scope"), [(LISTEN, "listen"), (EVENTS, "events")])
async def test_a_websocket_opens_for_its_scope_alone(
    path: str, scope: str, shown: str, tokens: dict[str, str], tmp_path: Path
) -> None:
    async with a_server(tokens_file=str(tmp_path / "tokens"), max_failed_tokens=0) as server:
        outcomes = {"no token": await told(server, path)}
        for kind, token in tokens.items():
            if shown == "in the header":
                outcomes[kind] = await told(server, path, Authorization=bearer(token))
            else:
                outcomes[kind] = await told(server, with_token(path, token))

    let_in = {scope, "every scope"}
    assert outcomes == {kind: WELCOME[path] if kind in let_in else "not_authorised" for kind in outcomes}


@pytest.mark.parametrize(
    ("path", "let_in"), [("/metrics", {"admin", "every scope"}), ("/healthz", None), ("/readyz", None)]
)
async def test_metrics_ask_for_their_scope_and_health_for_nothing(
    path: str, let_in: set[str] | None, tokens: dict[str, str], tmp_path: Path
) -> None:
    async with a_server(tokens_file=str(tmp_path / "tokens"), max_failed_tokens=0) as server:
        outcomes = {"no token": (await get(server, path)).status_code}
        for kind, token in tokens.items():
            outcomes[kind] = (await get(server, path, Authorization=bearer(token))).status_code
            assert outcomes[kind] == (await get(server, with_token(path, token))).status_code

    assert outcomes == {kind: 200 if let_in is None or kind in let_in else 401 for kind in outcomes}


# --- tokens that come and go


async def test_a_token_taken_away_opens_no_session_any_more_and_ends_none(
    tokens: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.tokens._LOOK_EVERY_S", 0.0)
    path = tmp_path / "tokens"
    async with a_server(tokens_file=str(path)) as server:
        async with ListenClient(server.url, SPEECH, token=tokens["listen"]) as client:
            path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
            with pytest.raises(AuthorisationError, match="not known"):
                await converse(server, UTTERANCE, token=tokens["listen"])
            await client.send(UTTERANCE)
            await client.finish()
            events = await all_events(client)
        others = await converse(server, UTTERANCE, token=tokens["every scope"])

    assert [event.type for event in events if getattr(event, "final", False)] == ["transcript", "emotion"]
    assert others[-1].type == "session.ended"


# --- guessing


async def test_who_guesses_has_to_wait_also_with_a_right_token(tokens: dict[str, str], tmp_path: Path) -> None:
    async with a_server(tokens_file=str(tmp_path / "tokens"), max_failed_tokens=3) as server:
        guesses = [await told(server, LISTEN, Authorization=bearer("a")), await told(server, with_token(EVENTS, "b"))]
        guess = await get(server, with_token("/metrics", "c"))
        with pytest.raises(TooManyAttemptsError, match=r"wait \d+ s"):
            await converse(server, UTTERANCE, token=tokens["every scope"])
        watcher = EventsClient(server.url, token=tokens["every scope"])
        with pytest.raises(TooManyAttemptsError):
            await all_events(await watcher.__aenter__())
        metrics = await get(server, "/metrics", Authorization=bearer(tokens["admin"]))
        health = await get(server, "/healthz")

    assert (guesses, guess.status_code) == (["not_authorised"] * 2, 401)
    assert watcher._socket.close_code == 1013
    assert (metrics.status_code, health.status_code) == (429, 200)
    assert 0 < int(metrics.headers["Retry-After"]) <= 60


@pytest.mark.parametrize(("proxies", "last"), [([], "too_many_attempts"), (["127.0.0.1"], "not_authorised")])
async def test_only_a_trusted_proxy_says_who_the_client_is(
    proxies: list[str], last: str, tokens: dict[str, str], tmp_path: Path
) -> None:
    async with a_server(tokens_file=str(tmp_path / "tokens"), max_failed_tokens=2, trusted_proxies=proxies) as server:
        outcomes = [
            await told(server, LISTEN, Authorization=bearer("wrong"), **{"X-Forwarded-For": f"192.0.2.{n}"})
            for n in range(3)
        ]

    assert outcomes == ["not_authorised", "not_authorised", last]


# --- web pages


@pytest.mark.parametrize("with_tokens", [True, False])
async def test_only_pages_of_listed_origins_are_let_in(
    with_tokens: bool, tokens: dict[str, str], tmp_path: Path
) -> None:
    show = {"Authorization": bearer(tokens["every scope"])}
    path = str(tmp_path / "tokens") if with_tokens else ""
    async with a_server(tokens_file=path, origins=["https://app.example"]) as server:
        ours = [await told(server, path, Origin="https://app.example", **show) for path in WELCOME]
        theirs = [await told(server, path, Origin="https://evil.example", **show) for path in WELCOME]
        program = [await told(server, path, **show) for path in WELCOME]
        metrics = await get(server, "/metrics", Origin="http://localhost:3000", **show)

    assert ours == program == list(WELCOME.values())
    assert theirs == ["not_authorised", "not_authorised"]
    assert metrics.status_code == 401


# --- names that would be more than names

INJECTIONS = ("a/b", "a/#", "+", "#", "../../etc/passwd", "a b", "a\n", "a\x00", "%2F", "$SYS", "ä", "x" * 65)


async def test_no_name_reaches_a_topic_but_what_is_a_plain_word() -> None:
    async with a_server() as server:
        for name in INJECTIONS:
            with pytest.raises(ProtocolError, match="role"):
                await converse(server, UTTERANCE, roles=(name,))
            with pytest.raises(ProtocolError, match="session must be"):
                await all_events(await EventsClient(server.url, session=name).__aenter__())


async def test_every_topic_of_a_session_has_four_levels_of_ours(tmp_path: Path) -> None:
    async with (
        running_broker(tmp_path) as broker,
        broker.listening("#") as heard,
        a_server(mqtt={"enabled": True, "port": broker.port}) as server,
    ):
        for name in INJECTIONS:
            with pytest.raises(ProtocolError):
                await converse(server, UTTERANCE, roles=(name,))
        spoken = await converse(server, UTTERANCE, roles=("customer",))
        topics = [str(message.topic) for message in await heard.take(1 + len(spoken))]

    level = r"[A-Za-z0-9_-]+"
    assert all(re.fullmatch(rf"medusa/v1/({level}/(session|0)/[a-z.]+|status)", topic) for topic in topics)


PATHS = (
    *("/", "/v1", "/v1/", "/etc/passwd", "/../../etc/passwd", "/v1/../../config.toml", "//etc/passwd"),
    *("/%2e%2e/%2e%2e/etc/passwd", "/v1/listen/../../config.toml", "/metrics/../tokens", "/metrics%00", "/\x7f"),
)


async def test_no_path_leads_anywhere_but_to_the_routes() -> None:
    outcomes = {}
    async with a_server() as server:
        for path in PATHS:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            async with asyncio.timeout(PATIENCE_S):
                outcomes[path] = (await reader.readline()).split()[1]
            writer.close()

    assert outcomes == {path: {"/": b"200", "/\x7f": b"400"}.get(path, b"404") for path in PATHS}


@pytest.mark.parametrize("path", ["/", "/v1/listen/../../secret", "/v2/listen", "/metrics"])
async def test_no_websocket_opens_elsewhere(path: str) -> None:
    async with a_server() as server:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{server.url}{path}"):
                pass

    assert refused.value.response.status_code == 403


# --- messages that are too much


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\x00" * 2000, 1009),
        ("x" * 2000, 1009),
        ('{"type": "flush"' + " " * 1010 + "}", 1008),
        ("[" * 1000, 1008),
        ('{"type": "flush", "session": "other"}', 1008),
        ('{"type": ["flush"]}', 1008),
        ("\x00", 1008),
    ],
    ids=["audio", "text", "control", "nested", "fields", "types", "nul"],
)
async def test_a_message_that_is_too_much_ends_its_own_session_alone(message: str | bytes, code: int) -> None:
    async with a_server(max_message_bytes=1500) as server, ListenClient(server.url, SPEECH) as other:
        async with connect(f"{server.url}/v1/listen", compression=None) as socket:
            await socket.send(message)
            async with asyncio.timeout(PATIENCE_S):
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        await socket.recv()
        await other.send(UTTERANCE)
        await other.finish()
        events = await all_events(other)

    assert socket.close_code == code
    assert [event.type for event in events if getattr(event, "final", False)] == ["transcript", "emotion"]


# --- what is not to be told


def card_number(_request: RecognitionRequest) -> str:
    return "my number is 4929 1234, write to vera.karlsson@posteo.example"


@pytest.mark.parametrize("transcripts", ["masked", "off"])
async def test_what_is_masked_is_in_no_sink_no_replay_and_on_no_socket(transcripts: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with (
        running_broker(tmp_path) as broker,
        broker.listening("medusa/v1/+/+/+") as heard,
        a_server(
            FakeRecognizer(card_number),
            sinks=[JsonLinesSink.open(path)],
            mqtt={"enabled": True, "port": broker.port},
            transcripts=transcripts,
        ) as server,
    ):
        spoken = await converse(server, pcm(speech(3), silence(1)))
        async with EventsClient(server.url, session=spoken[0].session, after=0) as watcher:
            replayed = await all_events(watcher)
        published: list[str] = []
        while not any('"session.ended"' in payload for payload in published):
            published += [str(message.payload) for message in await heard.take(1)]

    everything = "".join([path.read_text(), *(event.to_json() for event in [*spoken, *replayed]), *published])
    assert not [said for said in ("4929", "1234", "vera", "karlsson", "posteo") if said in everything]
    assert ("my number is #### ####, write to [email]" in everything) == (transcripts == "masked")
    assert '"label":"happy"' in everything
