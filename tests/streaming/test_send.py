"""Sending a file, a pipe or a microphone to a server, and following what comes of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.errors import AudioFileError, AudioFormatError, ConnectionFailedError
from streaming.events import EmotionEvent, Event, SessionEnded
from streaming.send import Source, open_source, raw_audio, stop_on_interrupt, stream_source
from tests.fakes.events import EventSource
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.recordings import write_wav
from tests.fakes.servers import PATIENCE_S, SPEECH, a_server
from tests.fakes.shell import pcm, silence, speech

UTTERANCE = pcm(silence(0.2), speech(0.6), silence(1.0))


def opened(path: Path) -> IO[bytes]:
    """As stdin is; `raw_audio` closes it."""
    return path.open("rb")


async def send(source: Source, url: str, *, stopped: asyncio.Event | None = None, paced: bool = False) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(PATIENCE_S):
        await stream_source(
            source,
            url,
            roles=(),
            token=None,
            language=None,
            paced=paced,
            follow=events.append,
            stopped=stopped,
            reconnect_s=0,
        )
    return events


def live(*chunks: bytes, then: asyncio.Event | None = None, error: Exception | None = None) -> Source:
    """A source that brings these, waits, and may fail."""

    async def bring() -> AsyncGenerator[bytes]:
        for chunk in chunks:
            yield chunk
        if then is not None:
            await then.wait()
        if error is not None:
            raise error

    return Source(SPEECH, live=bring)


# --- what SOURCE names


def test_a_file_is_sent_as_it_is_channels_and_rate_kept(tmp_path: Path) -> None:
    data = np.arange(-800, 800, dtype="<i2").tobytes()
    source = open_source(str(write_wav(tmp_path / "a.wav", data, channels=2, rate_hz=8000)))
    assert source.audio == AudioFormat(Encoding.PCM16, 8000, 2)
    assert source.data == data


def test_a_file_that_breaks_off_is_sent_with_a_warning(tmp_path: Path) -> None:
    whole = write_wav(tmp_path / "a.wav", UTTERANCE)
    whole.write_bytes(whole.read_bytes()[:-4000])
    source = open_source(str(whole))
    assert source.data == UTTERANCE[:-4000]
    assert source.warning is not None
    assert "cut short" in source.warning


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="No such file"):
        open_source(str(tmp_path / "nothing.wav"))


def test_raw_audio_is_what_the_options_say() -> None:
    assert open_source("-", 8000, Encoding.MULAW).audio == AudioFormat(Encoding.MULAW, 8000, 1)


def test_a_rate_nobody_reads_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(AudioFormatError, match="800 Hz"):
        open_source("-", 800)


async def test_a_pipe_gives_what_comes_through_it_until_it_is_closed() -> None:
    reading, writing = os.pipe()
    audio = raw_audio(os.fdopen(reading, "rb"))
    with os.fdopen(writing, "wb", buffering=0) as pipe:
        pipe.write(b"first")
        assert await anext(audio) == b"first"
        pipe.write(b"second")
        assert await anext(audio) == b"second"
    assert [chunk async for chunk in audio] == []


async def test_a_redirected_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(UTTERANCE)
    chunks = [chunk async for chunk in raw_audio(opened(tmp_path / "raw"))]
    assert b"".join(chunks) == UTTERANCE
    assert len(chunks) > 1


async def test_a_device_without_data_is_just_empty() -> None:
    assert [chunk async for chunk in raw_audio(opened(Path(os.devnull)))] == []


# --- the session


async def test_everything_is_sent_and_everything_that_comes_back_is_followed() -> None:
    async with a_server(FakeRecognizer()) as server:
        events = await send(Source(SPEECH, data=UTTERANCE), server.url)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert any(isinstance(event, EmotionEvent) and event.final for event in events)
    assert isinstance(events[-1], SessionEnded)
    assert events[-1].totals.audio_s == pytest.approx(1.8)


async def test_once_stopped_nothing_more_is_sent_and_what_was_said_is_still_answered() -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, stopped.set)
    async with a_server(FakeRecognizer()) as server:
        events = await send(live(pcm(speech(0.8)), then=asyncio.Event()), server.url, stopped=stopped)
    ended = events[-1]
    assert isinstance(ended, SessionEnded)
    assert (ended.reason, ended.totals.finals) == ("client_close", 1)


async def test_a_source_that_fails_is_an_error_at_once() -> None:
    source = live(error=AudioFormatError("the microphone cannot be opened"))
    async with a_server(FakeRecognizer()) as server:
        with pytest.raises(AudioFormatError, match="microphone"):
            await send(source, server.url)


async def test_a_pipe_may_be_silent_for_longer_than_the_server_waits_for_audio() -> None:
    started = EventSource().started()
    hurried = started.model_copy(update={"limits": started.limits.model_copy(update={"idle_timeout_s": 0.1})})
    controls: list[str] = []
    told_to_wait = asyncio.Event()

    async def listen(socket: ServerConnection) -> None:
        await socket.send(hurried.to_json())
        async for message in socket:
            controls.append(json.loads(message)["type"])
            told_to_wait.set()
            if controls[-1] == "close":
                return

    async with serve_websocket(listen, "127.0.0.1", 0) as server:
        await send(live(then=told_to_wait), f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert controls[0] == "keepalive"
    assert controls[-1] == "close"


async def test_a_server_that_stops_midway_is_an_error_after_its_last_event() -> None:
    events: list[Event] = []
    began = asyncio.Event()

    def follow(event: Event) -> None:
        events.append(event)
        began.set()

    async with asyncio.timeout(PATIENCE_S):
        async with a_server(FakeRecognizer()) as server:
            streaming = asyncio.create_task(
                stream_source(
                    live(pcm(speech(0.8)), then=asyncio.Event()),
                    server.url,
                    roles=(),
                    token=None,
                    language=None,
                    paced=False,
                    follow=follow,
                    reconnect_s=0,
                )
            )
            await began.wait()
        with pytest.raises(ConnectionFailedError, match=r"ended the session \(shutdown\) before all audio was sent"):
            await streaming
    assert isinstance(events[-1], SessionEnded)


async def test_a_lost_connection_is_told_by_its_own_reason() -> None:
    async def vanish(socket: ServerConnection) -> None:
        await socket.send(EventSource().started().to_json())
        await socket.recv()
        socket.transport.abort()

    async with serve_websocket(vanish, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ConnectionFailedError, match="was lost"):
            await send(live(UTTERANCE, UTTERANCE, then=asyncio.Event()), url)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_the_first_interrupt_stops_in_order_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_interrupt() as stopped:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(stopped.wait(), PATIENCE_S)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)
