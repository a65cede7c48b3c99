"""The server as a whole: readiness, metrics, access, sinks, and how it starts and stops."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streaming.client import EventsClient, ListenClient
from streaming.config import Settings
from streaming.errors import AuthorisationError, CapacityError, ConnectionFailedError, ServerError
from streaming.events import SessionEnded, TranscriptEvent
from streaming.recognition.recognizer import Recognizer
from streaming.server import RunningServer, serve
from streaming.sinks.jsonl import JsonLinesSink
from tests.fakes.broker import free_port, payload, running_broker
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.servers import PATIENCE_S, SPEECH, a_server, all_events, converse, until
from tests.fakes.shell import pcm, silence, speech

UTTERANCE = pcm(speech(0.6), silence(1.0))
MISTAKEN = "incorrect-horse"
TOKEN = "correct-horse-battery-staple"  # noqa: S105 - a stand-in


async def get(server: RunningServer, path: str, **options: object) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"{server.http_url}{path}", **options)  # type: ignore[arg-type]


def tokens(folder: Path, scopes: str = "listen,events") -> str:
    path = folder / "tokens"
    path.write_text(f"{hashlib.sha256(TOKEN.encode()).hexdigest()} test {scopes}\n")
    return str(path)


def log_everything_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """All loggers at their most talkative, but for the client's, which runs in this process too."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "websockets.client")


# --- health, readiness, metrics


async def test_the_server_is_alive_at_once_and_ready_when_it_is_warm() -> None:
    may_load = threading.Event()

    def load() -> Recognizer:
        may_load.wait(PATIENCE_S)
        return FakeRecognizer()

    async with a_server(load=load, warm=False) as server:
        cold = [(await get(server, path)).status_code for path in ("/healthz", "/readyz")]
        with pytest.raises(CapacityError, match="warming up"):
            await converse(server, UTTERANCE)
        may_load.set()
        await asyncio.wait_for(server.service.warm(), PATIENCE_S)
        warm = [(await get(server, path)).status_code for path in ("/healthz", "/readyz")]
        events = await converse(server, UTTERANCE)

    assert (cold, warm) == ([200, 503], [200, 200])
    assert events[-1].type == "session.ended"


async def test_metrics_count_what_happened() -> None:
    async with a_server() as server:
        await converse(server, UTTERANCE)
        response = await get(server, "/metrics")

    counted = {
        sample.name: sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.labels.get("answer") != "interim"
    }
    assert counted["medusa_sessions"] == 0
    assert counted["medusa_sessions_started_total"] == 1
    assert counted["medusa_finals_total"] == 1
    assert counted["medusa_audio_seconds_total"] == pytest.approx(1.6)
    assert counted["medusa_latency_total_seconds_count"] == 1
    assert counted["medusa_batch_size_count"] >= 1


# --- access


async def test_with_tokens_nobody_comes_in_without_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log_everything_of_the_server(caplog)
    async with a_server(tokens_file=tokens(tmp_path)) as server:
        for token in (None, MISTAKEN):
            with pytest.raises(AuthorisationError, match="token"):
                async with ListenClient(server.url, SPEECH, token=token):
                    pass
            async with EventsClient(server.url, token=token) as watcher:
                with pytest.raises(AuthorisationError, match="token"):
                    await anext(watcher)
                assert watcher._socket.close_code == 1008
        events = await converse(server, UTTERANCE, token=TOKEN)

    assert events[-1].type == "session.ended"
    assert TOKEN not in caplog.text
    assert MISTAKEN not in caplog.text


async def test_a_token_in_the_query_does_too_and_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log_everything_of_the_server(caplog)
    async with a_server(tokens_file=tokens(tmp_path)) as server:
        spoken = await converse(server, UTTERANCE, token=TOKEN)
        watcher = EventsClient(server.url, session=spoken[0].session, after=0)
        watcher._address += f"&token={TOKEN}"
        async with watcher:
            seen = await all_events(watcher)

    assert len(seen) == len(spoken)
    assert TOKEN not in caplog.text


async def test_a_scope_that_was_not_granted_is_refused(tmp_path: Path) -> None:
    async with a_server(tokens_file=tokens(tmp_path, scopes="events")) as server:
        with pytest.raises(AuthorisationError, match="does not allow 'listen'"):
            await converse(server, UTTERANCE, token=TOKEN)


async def test_metrics_need_the_admin_scope_and_health_needs_nothing(tmp_path: Path) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    async with a_server(tokens_file=tokens(tmp_path, scopes="admin")) as server:
        without = await get(server, "/metrics")
        with_token = await get(server, "/metrics", headers=bearer)
        health = await get(server, "/healthz")

    assert (without.status_code, with_token.status_code, health.status_code) == (401, 200, 200)


async def test_a_page_of_another_origin_cannot_listen_in() -> None:
    async with a_server() as server:
        response = await get(server, "/metrics", headers={"Origin": "https://evil.example"})

    assert response.status_code == 401


async def test_other_machines_are_not_let_in_without_tokens() -> None:
    with pytest.raises(ServerError, match="tokens_file"):
        async with a_server(host="0.0.0.0"):  # noqa: S104 - the point of the test
            pass


# --- what is logged


async def test_the_log_holds_nothing_that_was_said(caplog: pytest.LogCaptureFixture) -> None:
    log_everything_of_the_server(caplog)
    async with a_server() as server:
        events = await converse(server, UTTERANCE)

    (said,) = [event.committed for event in events if isinstance(event, TranscriptEvent) and event.final]
    assert said
    assert said not in caplog.text


# --- sinks


async def test_mqtt_and_a_file_see_the_same_sequence(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with running_broker(tmp_path) as broker, broker.listening("medusa/v1/+/+/+") as heard:
        mqtt = {"enabled": True, "port": broker.port}
        async with a_server(mqtt=mqtt, sinks=[JsonLinesSink.open(path)]) as server:
            spoken = await converse(server, UTTERANCE)
            messages = await heard.take(len(spoken))

    assert [payload(message)["seq"] for message in messages] == [event.seq for event in spoken]
    assert path.read_text().splitlines() == [event.to_json() for event in spoken]


async def test_a_missing_broker_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    async with a_server(mqtt={"enabled": True, "port": port}, shutdown_grace_s=0.1) as server:
        events = await converse(server, UTTERANCE)

    assert events[-1].type == "session.ended"
    assert f"MQTT broker 127.0.0.1:{port} cannot be reached" in caplog.text


async def test_events_outlive_a_server_whose_broker_was_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port, outbox = free_port(), {"outbox_mib": 1, "outbox": str(tmp_path / "outbox.sqlite")}
    async with a_server(mqtt={"enabled": True, "port": port, **outbox}, shutdown_grace_s=0.1) as server:
        spoken = await converse(server, UTTERANCE, interim=False)
        metrics = (await get(server, "/metrics")).text
    assert f"medusa_outbox_events {len(spoken)}.0" in metrics
    assert f"{len(spoken)} events that the MQTT broker did not take wait in" in caplog.text

    async with (
        running_broker(tmp_path, port) as broker,
        broker.listening("medusa/v1/+/+/+") as heard,
        a_server(mqtt={"enabled": True, "port": port, **outbox}, warm=False),
    ):
        messages = await heard.take(len(spoken))

    assert [message.payload for message in messages] == [event.to_json().encode() for event in spoken]


async def test_two_servers_cannot_have_one_outbox(tmp_path: Path) -> None:
    mqtt = {"enabled": True, "port": free_port(), "outbox_mib": 1, "outbox": str(tmp_path / "outbox.sqlite")}
    async with a_server(mqtt=mqtt, warm=False, shutdown_grace_s=0):
        with pytest.raises(ServerError, match="is another server's"):
            async with a_server(mqtt=mqtt, warm=False):
                pass


# --- starting


async def test_a_busy_port_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .* another \[server\] port"):
            async with a_server(port=port):
                pass


async def test_a_host_that_is_not_ours_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="is no address of this machine"):
        async with a_server(host="nowhere.invalid", tokens_file=tokens(tmp_path)):
            pass


async def test_a_bad_certificate_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(ServerError, match=r"cannot use the certificate .*check .* tls_cert and tls_key"):
        async with a_server(tls_cert=str(tmp_path / "cert.pem"), tls_key=str(tmp_path / "key.pem")):
            pass


async def test_with_a_certificate_the_server_speaks_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = (
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=CA:TRUE",
    )
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)  # noqa: ASYNC221 - set-up
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))

    async with a_server(tls_cert=str(cert), tls_key=str(key)) as server:
        assert server.url.startswith("wss://")
        events = await converse(server, UTTERANCE)

    assert events[-1].type == "session.ended"
    assert ssl.create_default_context().cert_store_stats()["x509"] >= 1


async def test_a_recogniser_that_cannot_be_loaded_stops_the_server_with_its_error() -> None:
    def load() -> Recognizer:
        raise ServerError("the bundle is corrupt: fetch it again")

    settings = Settings.model_validate({"server": {"port": 0}})
    with pytest.raises(ServerError, match="the bundle is corrupt"):
        await asyncio.wait_for(serve(settings, load, on_listening=lambda _server: None), PATIENCE_S)


# --- stopping


async def test_stopping_finishes_what_is_in_flight_and_tells_every_client() -> None:
    async with a_server() as server:
        client = ListenClient(server.url, SPEECH)
        watcher = EventsClient(server.url)
        await client.__aenter__()
        await watcher.__aenter__()
        await client.send(pcm(speech(0.6)))
        await until(client, "speech.started")
    events = await all_events(client)
    seen = await all_events(watcher)

    last = events[-1]
    assert isinstance(last, SessionEnded)
    assert last.reason == "shutdown"
    assert [event.type for event in events if getattr(event, "final", False)] == ["transcript", "emotion"]
    assert client._socket.close_code == 1001
    assert watcher._socket.close_code == 1001
    assert seen[-1].type == "session.ended"
    with pytest.raises(ConnectionFailedError, match="no server answers"):
        await converse(server, UTTERANCE)


async def test_stopping_does_not_wait_longer_than_its_grace_for_a_recogniser_that_hangs() -> None:
    recognizer = FakeRecognizer()
    may_answer = threading.Event()
    recognizer.recognize = lambda _batch: may_answer.wait(PATIENCE_S) and []  # type: ignore[method-assign]
    try:
        async with a_server(recognizer, shutdown_grace_s=0.5) as server:
            client = ListenClient(server.url, SPEECH)
            await client.__aenter__()
            await client.send(pcm(speech(0.6)))
            await until(client, "speech.started")
            threading.Timer(1.0, may_answer.set).start()
        events = await all_events(client)
    finally:
        may_answer.set()

    assert [event.type for event in events[-2:]] == ["error", "session.ended"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_the_server_in_order(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    ready: asyncio.Queue[RunningServer] = asyncio.Queue()
    settings = Settings.model_validate({"server": {"port": 0}})
    serving = asyncio.create_task(serve(settings, FakeRecognizer, on_ready=ready.put_nowait))
    server = await asyncio.wait_for(ready.get(), PATIENCE_S)

    async with ListenClient(server.url, SPEECH) as client:
        os.kill(os.getpid(), number)
        events = await all_events(client)
    await asyncio.wait_for(serving, PATIENCE_S)

    assert events[-1].type == "session.ended"
    assert f"{server.url}/v1/listen" in capsys.readouterr().out


async def test_two_servers_in_one_process_do_not_meet() -> None:
    async with a_server() as one, a_server() as other:
        await converse(one, UTTERANCE)
        counted = (await get(other, "/metrics")).text

    assert "medusa_sessions_started_total 0.0" in counted
