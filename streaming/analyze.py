"""Files and folders through the same core as the server, several at a time, as fast as the machine can."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFile, AudioFormat, read_file
from streaming.config import Settings
from streaming.errors import AudioFileError, StreamingError
from streaming.events import EmotionEvent, ErrorEvent, Event, TranscriptEvent
from streaming.protocols.native import ListenRequest
from streaming.recognition.recognizer import Recognizer
from streaming.service import LiveService, new_session_id

EXTENSIONS: Final = frozenset(
    {
        *(".aac", ".aif", ".aiff", ".amr", ".au", ".flac", ".m4a", ".mka", ".mp2", ".mp3", ".oga", ".ogg", ".opus"),
        *(".avi", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".wav", ".webm", ".wma"),
    }
)
"""What is taken for audio or video when a folder is searched; a file that is named is tried whatever it is called."""

ROLE: Final = "customer"


@dataclass(frozen=True, slots=True)
class FileResult:
    """What was found in one file."""

    path: Path
    rows: list[dict[str, Any]]
    """One a final emotion event, with the fields of the console contract; one with label null where nobody spoke."""
    error: str | None = None
    """Why it could not be read; no rows then."""
    warning: str | None = None
    duration_s: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether something of it was not recognised."""
        return self.error is not None


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, folders by what lies in them, each file once.

    Args:
        paths: files and folders; one that is not there is kept, so that it is reported.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in EXTENSIONS)
            found.update(dict.fromkeys(inside))
        else:
            found[path] = None
    return list(found)


def offline(settings: Settings, jobs: int, language: str | None) -> Settings:
    """Settings for files: nothing is computed ahead of a pause's end, since nobody waits for it."""
    server = settings.server.model_copy(update={"max_sessions": max(jobs, 1)})
    vad = settings.vad.model_copy(update={"pause_ms": settings.vad.endpoint_ms})
    asr = settings.asr.model_copy(update={"language": language} if language else {})
    mqtt = settings.mqtt.model_copy(update={"enabled": False})
    return settings.model_copy(update={"server": server, "vad": vad, "asr": asr, "mqtt": mqtt})


async def analyze(
    paths: Sequence[Path],
    settings: Settings,
    load: Callable[[], Recognizer],
    *,
    jobs: int = 4,
    language: str | None = None,
    on_result: Callable[[FileResult], None] = lambda _result: None,
    **service_options: Any,
) -> list[FileResult]:
    """Recognises files.

    Args:
        paths: files, see `find_files`.
        settings: of the runtime.
        load: makes the recogniser.
        jobs: files at a time; their segments share batches.
        language: of all of them; None to detect it.
        on_result: told of each file, in the order of `paths`.
        **service_options: for `LiveService`.

    Returns:
        One result a file, in the order of `paths`.

    Raises:
        StreamingError: the recogniser cannot be loaded.
    """
    service = LiveService(offline(settings, jobs, language), load, **service_options)
    service.start()
    await service.warm()
    places = asyncio.Semaphore(jobs)

    async def one(path: Path) -> FileResult:
        async with places:
            return await _analyze_file(path, service, language)

    tasks = [asyncio.create_task(one(path)) for path in paths]
    results: list[FileResult] = []
    try:
        for task in tasks:
            result = await task
            results.append(result)
            on_result(result)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await service.drain()
    return results


async def _analyze_file(path: Path, service: LiveService, language: str | None) -> FileResult:
    try:
        audio = await asyncio.to_thread(read_file, path)
        events = [event async for event in _events(audio, service, language)]
    except StreamingError as error:
        return FileResult(path, [], error=str(error))
    failures = [event.message for event in events if isinstance(event, ErrorEvent)]
    if failures:
        return FileResult(path, _rows(path, events), "; ".join(failures), audio.warning, audio.duration_s)
    return FileResult(path, _rows(path, events) or [_nobody(path, audio)], None, audio.warning, audio.duration_s)


async def _events(audio: AudioFile, service: LiveService, language: str | None) -> AsyncIterator[Event]:
    channels = audio.samples.shape[0]
    if channels > service.settings.server.max_channels:
        raise AudioFileError(
            f"{channels} channels, the limit is {service.settings.server.max_channels}: raise [server] max_channels"
        )
    shape = AudioFormat(Encoding.FLOAT32, audio.rate_hz, channels)
    request = ListenRequest(shape, (ROLE,) * channels, language, interim=False)
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(service.session(request, new_session_id()))
        capacity = max(service.settings.server.event_buffer, int(audio.duration_s) * channels * 8 + 100)
        following = stack.enter_context(service.hub.subscribe(runner.session_id, after=0, capacity=capacity))
        await runner.receive(encode(audio.samples.T.reshape(-1), Encoding.FLOAT32))
        await runner.close("file")
        async for event in following:
            yield event


def _rows(path: Path, events: Sequence[Event]) -> list[dict[str, Any]]:
    languages = {
        (event.channel, event.segment): event.language
        for event in events
        if isinstance(event, TranscriptEvent) and event.final
    }
    return [
        {
            "file": str(path),
            "channel": event.channel,
            "start_s": event.start_s,
            "end_s": event.end_s,
            "label": event.label,
            "scores": event.scores,
            "attributes": None if event.attributes is None else event.attributes.model_dump(),
            "confidence": event.confidence,
            "abstained": event.abstained,
            "text": event.text,
            "language": languages.get((event.channel, event.segment)),
        }
        for event in events
        if isinstance(event, EmotionEvent) and event.final
    ]


def _nobody(path: Path, audio: AudioFile) -> dict[str, Any]:
    return {
        "file": str(path),
        "channel": None,
        "start_s": 0.0,
        "end_s": round(audio.duration_s, 3),
        "label": None,
        "scores": {},
        "attributes": None,
        "confidence": 0.0,
        "abstained": True,
        "text": "",
        "language": None,
    }
