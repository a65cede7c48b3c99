"""Files and folders through the same core as the server, several at a time, as fast as the machine can."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from streaming.analyze_rows import nobody_row, rows_of
from streaming.audio.codecs import Encoding, encode
from streaming.audio.loudness import Loudness
from streaming.audio.sources import AudioFile, AudioFormat, read_file
from streaming.audio.vad import VoiceActivityDetector, make_vad
from streaming.config import Settings, VadSettings
from streaming.errors import AudioFileError, StreamingError
from streaming.events import ErrorEvent, Event, ModelInfo
from streaming.faults import where
from streaming.hub import EventHub
from streaming.protocols.dialect import DEFAULT_ROLE
from streaming.recognition.patient import PatientBatcher
from streaming.recognition.recognizer import Recognizer
from streaming.runner import SessionRunner
from streaming.service import new_session_id
from streaming.session import Session
from streaming.subscription import Subscription, is_interim

_LOG: Final = logging.getLogger(__name__)

EXTENSIONS: Final = frozenset(
    {
        *(
            ".aac",
            ".ac3",
            ".aif",
            ".aiff",
            ".amr",
            ".au",
            ".caf",
            ".flac",
            ".gsm",
            ".m4a",
            ".m4b",
            ".mka",
            ".mp2",
            ".mp3",
        ),
        *(".oga", ".ogg", ".opus", ".spx", ".wav", ".wma", ".wv"),
        *(".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"),
    }
)
"""What is taken for audio or video when a folder is searched; a file that is named is tried whatever it is called."""

_FILES_A_PLACE: Final = 2
PIECE_S: Final = 0.1
"""Audio heard before it is asked again whether a segment has ended."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """What was found in one file."""

    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    """One a final emotion event, with the fields of the console contract; one with label null where nobody spoke."""
    error: str | None = None
    """Why it, or some of it, could not be recognised."""
    warning: str | None = None
    """What was wrong with it, where it could be read all the same."""
    duration_s: float = 0.0
    loudness: Loudness | None = None
    """Of its channels, where it was asked for."""

    @property
    def failed(self) -> bool:
        """Whether something of it was not recognised."""
        return self.error is not None


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, folders by what lies in them, each file once.

    Args:
        paths: files and folders; one that is not there, or a folder with nothing in it, is kept, so that it is
            reported.
    """
    found: dict[Path, None] = {}
    for path in paths:
        inside = _media_files(path) if path.is_dir() else []
        found.update(dict.fromkeys(inside or [path]))
    return list(found)


def _media_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )


async def analyze(
    paths: Sequence[Path],
    settings: Settings,
    load: Callable[[], Recognizer],
    *,
    jobs: int | None = None,
    language: str | None = None,
    roles: Sequence[str] = (),
    on_model: Callable[[ModelInfo], None] = lambda _model: None,
    on_result: Callable[[FileResult], None] = lambda _result: None,
    with_loudness: bool = False,
    vad: Callable[[VadSettings], VoiceActivityDetector] = make_vad,
) -> list[FileResult]:
    """Recognises files.

    What is found in a file depends on that file alone, not on `jobs` or on what else is analysed.

    Args:
        paths: files, see `find_files`.
        settings: of the runtime.
        load: makes the recogniser; called once, on a worker thread.
        jobs: files at a time, whose segments share batches; None for twice as many as a batch has places, so that
            there are enough of one length to fill it.
        language: of all of them; None for the configured one, or to detect it.
        roles: of the first channels; the others are `customer`.
        on_model: told who answers, before the first result.
        on_result: told of each file, in the order of `paths`.
        with_loudness: whether results carry the course of the loudness.
        vad: makes a channel's voice activity detector.

    Returns:
        One result a file, in the order of `paths`.

    Raises:
        StreamingError: the recogniser cannot be loaded; so does whatever else `load` raises.
    """
    recognizer = await asyncio.to_thread(load)
    on_model(recognizer.model)
    batcher = PatientBatcher(recognizer, settings.batcher)
    await batcher.start()
    analyzer = _Analyzer(
        settings, recognizer, batcher, language=language, roles=roles, with_loudness=with_loudness, vad=vad
    )
    places = asyncio.Semaphore(jobs or _FILES_A_PLACE * settings.batcher.max_batch)

    async def one(path: Path) -> FileResult:
        async with places:
            return await analyzer.analyze(path)

    tasks = [asyncio.create_task(one(path)) for path in paths]
    results: list[FileResult] = []
    try:
        for task in tasks:
            results.append(await task)
            on_result(results[-1])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.aclose(timeout_s=0)
    return results


class _Analyzer:
    """Takes one file after another, or several at a time, to a shared recogniser."""

    def __init__(
        self,
        settings: Settings,
        recognizer: Recognizer,
        batcher: PatientBatcher,
        *,
        language: str | None,
        roles: Sequence[str],
        with_loudness: bool,
        vad: Callable[[VadSettings], VoiceActivityDetector],
    ) -> None:
        self._settings = settings
        self._recognizer = recognizer
        self._batcher = batcher
        self._language = language
        self._roles = roles
        self._with_loudness = with_loudness
        self._vad = vad

    async def analyze(self, path: Path) -> FileResult:
        """Recognises one file; whatever is wrong with it is in the result."""
        try:
            audio = await asyncio.to_thread(_read, path)
            events = await self._events(audio)
        except StreamingError as error:
            return FileResult(path, error=str(error))
        except Exception as error:  # noqa: BLE001 - one file's trouble is its own
            _LOG.error("%s failed: %s", path, where(error))
            return FileResult(path, error=f"unexpected {type(error).__name__}: {error}")
        failures = [event.message for event in events if isinstance(event, ErrorEvent)]
        rows = rows_of(str(path), events)
        if not rows and not failures:
            rows = [nobody_row(str(path), audio.duration_s)]
        loudness = None
        if self._with_loudness:
            loudness = await asyncio.to_thread(Loudness.of, audio.samples, audio.rate_hz)
        return FileResult(path, rows, "; ".join(failures) or None, audio.warning, audio.duration_s, loudness)

    async def _events(self, audio: AudioFile) -> list[Event]:
        channels = len(audio.samples)
        shape = AudioFormat(Encoding.FLOAT32, audio.rate_hz, channels)
        server = self._settings.server
        session = Session(
            new_session_id(),
            # The limit is there to protect a server.
            self._settings.model_copy(update={"server": server.model_copy(update={"max_channels": channels})}),
            shape,
            (*self._roles[:channels], *(DEFAULT_ROLE,) * (channels - len(self._roles))),
            language=self._language,
            interim=False,
            model=self._recognizer.model,
            vad=self._vad,
        )
        hub = EventHub(event_buffer=server.event_buffer, subscriber_queue=server.subscriber_queue, ended_sessions=1)
        # How a speaker has sounded so far, and which language was heard, must be known before the next segment.
        runner = SessionRunner(session, self._batcher, hub, audio=shape, max_outstanding=1)
        runner.start()
        with hub.subscribe(runner.session_id) as told:
            following = asyncio.create_task(_taken(told))
            try:
                for piece in _pieces(audio):
                    await runner.receive(piece)
                await runner.close("end_of_file")
                return await following
            finally:
                following.cancel()


def _read(path: Path) -> AudioFile:
    if path.is_dir():
        raise AudioFileError(f"{path} holds no audio or video file")
    audio = read_file(path)
    if all(np.array_equal(channel, audio.samples[0]) for channel in audio.samples[1:]):
        return AudioFile(audio.samples[:1], audio.rate_hz, audio.warning)  # one voice, stored several times
    return audio


def _pieces(audio: AudioFile) -> Iterator[bytes]:
    size = max(1, round(PIECE_S * audio.rate_hz))
    for start in range(0, audio.samples.shape[1], size):
        yield encode(audio.samples[:, start : start + size].T.reshape(-1), Encoding.FLOAT32)


async def _taken(told: Subscription) -> list[Event]:
    return [event async for event in told if not is_interim(event)]
