"""The server that `medusa bench live` compares ours with: what one would write today, and write well.

A WebSocket server; a voice detector that ends a segment after the same silence; each segment to one worker thread that
transcribes it and then scores it. It speaks our wire protocol, so that both are measured by one client: audio as mono
PCM16 at 16 kHz, `close` when it is over. There are no interims, nothing is computed ahead, and nothing is batched.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

import click
import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from benchmarks.plain_hearing import PlainHearing, Spoken
from benchmarks.plain_session import PLAIN_SPEECH, PlainSession, Timed
from models.speaker import UNHEARD, SpeakerMoments
from streaming.audio.vad import VoiceActivityDetector, make_vad
from streaming.config import Settings, VadSettings
from streaming.errors import AudioFormatError, CapacityError, StreamingError
from streaming.events import ModelInfo
from streaming.protocols.native import read_listen

if TYPE_CHECKING:
    from benchmarks.plain_recognizer import PlainAnswer

_REFUSED: Final = 1008
_TRY_LATER: Final = 1013
_REASON_LENGTH: Final = 120
"""What of a message fits into a close frame."""
_READY_PATH: Final = "/readyz"


class Answers(Protocol):
    """What the server asks of a recogniser; see `benchmarks.plain_recognizer.PlainRecognizer`."""

    @property
    def model(self) -> ModelInfo:
        """Who answers."""
        ...

    def recognize(
        self, samples: NDArray[np.float32], *, language: str | None = None, heard: SpeakerMoments = UNHEARD
    ) -> PlainAnswer:
        """Words and emotion of one segment."""
        ...


class PlainServer:
    """One recogniser on one worker thread, and the sessions that wait for it."""

    def __init__(
        self,
        settings: Settings,
        recognizer: Answers,
        *,
        vad: Callable[[VadSettings], VoiceActivityDetector] = make_vad,
    ) -> None:
        """Serves nobody yet.

        Args:
            settings: `[server]`, `[vad]`, `[asr]` and `[emotion]` are read.
            recognizer: loaded and warm.
            vad: makes a session's detector.
        """
        self.settings: Final = settings
        self._recognizer = recognizer
        self._worker = ThreadPoolExecutor(1)
        self._vad = vad
        self._open = 0

    async def converse(self, socket: ServerConnection) -> None:
        """Serves one connection from its first message to its last."""
        if self._open >= self.settings.server.max_sessions:
            await socket.close(_TRY_LATER, f"{CapacityError.code}: all places are taken")
            return
        self._open += 1
        try:
            query = urlsplit("" if socket.request is None else socket.request.path).query
            request = read_listen(parse_qsl(query), max_channels=1)
            if request.audio != PLAIN_SPEECH:
                raise AudioFormatError("the plain server takes mono pcm_s16le at 16 kHz, nothing else")
            session = PlainSession(
                socket.send,
                PlainHearing(self.settings.vad, self._vad(self.settings.vad)),
                self._recognize,
                self.settings,
                self._recognizer.model,
                request.language or self.settings.asr.language or None,
            )
            await session.run(socket)
        except StreamingError as error:
            with suppress(ConnectionClosed):
                await socket.close(_REFUSED, f"{error.code}: {error}"[:_REASON_LENGTH])
        except ConnectionClosed:
            pass
        finally:
            self._open -= 1

    async def _recognize(self, spoken: Spoken, language: str | None, heard: SpeakerMoments) -> Timed:
        def work() -> Timed:
            began_s = time.monotonic()
            answer = self._recognizer.recognize(spoken.samples, language=language, heard=heard)
            return Timed(answer, began_s, time.monotonic())

        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def close(self) -> None:
        """Gives up the worker; what it is at is finished, what waits is not begun."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def listen(self, port: int) -> Server:
        """Accepts connections on loopback, from now on.

        Args:
            port: 0 for a free one.
        """
        return await serve(
            self.converse,
            "127.0.0.1",
            port,
            compression=None,
            max_size=self.settings.server.max_message_bytes,
            process_request=_answer_http,
        )


def _answer_http(socket: ServerConnection, request: Request) -> Response | None:
    """Says that it is ready; it listens only once it is. Anything but that goes on to the handshake."""
    if urlsplit(request.path).path == _READY_PATH:
        return socket.respond(HTTPStatus.OK, "ready\n")
    return None


async def run_server(server: PlainServer, port: int) -> None:
    """Serves until SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    listening = await server.listen(port)
    host, real_port = listening.sockets[0].getsockname()[:2]
    sys.stdout.write(f"audio in:  ws://{host}:{real_port}/v1/listen\n")
    sys.stdout.flush()
    await stopped.wait()
    listening.close()
    await listening.wait_closed()
    server.close()


@click.command(epilog="Example: python -m benchmarks.plain_server --port 8765")
@click.option("--port", type=click.IntRange(0, 65_535), default=8765, show_default=True, help="Port; 0 for a free one.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), default=None, help="config.toml.")
def main(port: int, config: Path | None) -> None:
    """The plain server on loopback, until it is interrupted."""
    from benchmarks.plain_recognizer import PlainRecognizer
    from streaming.config import load_settings

    settings = load_settings(config)
    recognizer = PlainRecognizer.load(settings)
    recognizer.warm_up()
    asyncio.run(run_server(PlainServer(settings, recognizer), port))


if __name__ == "__main__":
    main()
