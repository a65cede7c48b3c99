"""What is made of audio in which nobody speaks: nothing, it is to be hoped.

Silence, noises, tones and music go through detector, segmenter, recogniser and session as live streams do, but faster.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import run_options
from benchmarks.claims import Claim, all_hold, claims_table
from benchmarks.long_runs import Progress
from benchmarks.report_files import file_stem, write_report
from benchmarks.seconds_bar import seconds_shown
from benchmarks.vad_signals import Signal, not_speech
from models.errors import ModelsError
from models.machine import written
from models.windows import SAMPLE_RATE_HZ
from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFormat
from streaming.audio.vad import VoiceActivityDetector, make_vad
from streaming.config import Settings, VadSettings, load_settings
from streaming.errors import StreamingError
from streaming.events import EmotionEvent, Event, SpeechStarted, TranscriptEvent
from streaming.protocols.dialect import DEFAULT_ROLE, ListenRequest
from streaming.recognition.recognizer import Recognizer, load_recognizer
from streaming.service import LiveService, new_session_id
from streaming.subscription import Subscription

MINUTES: Final = 10.0
CHUNK_S: Final = 0.1
_AUDIO: Final = AudioFormat(Encoding.PCM16, SAMPLE_RATE_HZ, 1)
_S_PER_MIN: Final = 60.0
_SOON_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class QuietRow:
    """What was made of one kind of audio."""

    signal: str
    audio_s: float
    segments: int
    """Stretches that were taken for speech."""
    transcripts: int
    """Transcripts with words, interims included."""
    emotions: int
    """Emotions with a score, interims included."""
    words: str
    """All words of the finals, invented as they are."""


async def hear_nothing(
    settings: Settings,
    load: Callable[[], Recognizer],
    signals: Sequence[Signal],
    *,
    progress: Progress = seconds_shown,
    vad: Callable[[VadSettings], VoiceActivityDetector] = make_vad,
) -> list[QuietRow]:
    """Takes each signal through a session of its own.

    Args:
        settings: of the runtime.
        load: makes the recogniser.
        signals: in which nobody speaks.
        progress: shows how much audio was heard.
        vad: makes a session's voice activity detector.

    Raises:
        StreamingError: the recogniser cannot be loaded.
    """
    service = LiveService(settings, load, vad=vad)
    service.start()
    try:
        await service.warm()
        with progress("audio without speech, seconds", sum(_seconds(signal) for signal in signals)) as passed:
            return [await _hear(service, signal, passed) for signal in signals]
    finally:
        await service.drain()


async def _hear(service: LiveService, signal: Signal, passed: Callable[[float], None]) -> QuietRow:
    request = ListenRequest(audio=_AUDIO, roles=(DEFAULT_ROLE,), language=None, interim=True)
    live = service.open_session(request, new_session_id())
    data = encode(signal.samples, _AUDIO.encoding)
    size = round(CHUNK_S * _AUDIO.bytes_per_s)
    try:
        with service.hub.subscribe(live.runner.session_id) as told:
            following = asyncio.create_task(_taken(told))
            for start in range(0, len(data), size):
                await live.runner.receive(data[start : start + size])
                passed(CHUNK_S)
                # Faster than real time, an interim would be replaced or given up before it says anything.
                while not service.idle:  # noqa: ASYNC110 - the batcher tells nobody when it is
                    await asyncio.sleep(_SOON_S)
            await live.runner.close("end_of_file")
            events = await following
    finally:
        service.sessions.leave(live)
    return row_of(signal.name, _seconds(signal), events)


async def _taken(told: Subscription) -> list[Event]:
    return [event async for event in told]


def row_of(signal: str, audio_s: float, events: Sequence[Event]) -> QuietRow:
    """What a session's events amount to."""
    transcripts = [e for e in events if isinstance(e, TranscriptEvent) and (e.committed or e.tentative)]
    return QuietRow(
        signal=signal,
        audio_s=round(audio_s, 2),
        segments=sum(isinstance(event, SpeechStarted) for event in events),
        transcripts=len(transcripts),
        emotions=sum(isinstance(event, EmotionEvent) and bool(event.scores) for event in events),
        words=" ".join(event.committed for event in transcripts if event.final),
    )


def claims_of(rows: Sequence[QuietRow]) -> list[Claim]:
    """What is claimed of audio without speech."""
    audio_s = sum(row.audio_s for row in rows)
    transcripts, emotions = sum(row.transcripts for row in rows), sum(row.emotions for row in rows)
    within = f"in {audio_s / _S_PER_MIN:.1f} min without speech"
    return [
        Claim(f"no words {within}", f"{transcripts} transcripts with words", transcripts == 0),
        Claim(f"no emotion {within}", f"{emotions} emotions with scores", emotions == 0),
    ]


def _seconds(signal: Signal) -> float:
    return signal.samples.size / SAMPLE_RATE_HZ


def _table(rows: Sequence[QuietRow]) -> Table:
    shown = Table(title="Audio without speech", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("audio", "seconds", "segments", "transcripts", "emotions", "words"):
        shown.add_column(name, justify="left" if name in {"audio", "words"} else "right")
    for row in rows:
        figures = f"{row.audio_s:.1f}", str(row.segments), str(row.transcripts), str(row.emotions)
        shown.add_row(row.signal, *figures, row.words)
    return shown


@click.command(epilog="Example: medusa bench quiet --minutes 10 --out bench-out")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.05),
    default=MINUTES,
    show_default=True,
    help="Of audio, shared equally by all kinds.",
)
@run_options.config
@run_options.out
@run_options.as_json
def main(minutes: float, config: Path | None, out: Path | None, as_json: bool) -> None:
    """Takes silence, noise, tones and music through the real recogniser, and counts what it makes of them.

    Exits with 1 where anything was transcribed or scored.
    """
    try:
        settings = Settings() if config is None else load_settings(config)
        kinds = len(not_speech(CHUNK_S))
        signals = not_speech(minutes * _S_PER_MIN / kinds)
        rows = asyncio.run(hear_nothing(settings, lambda: load_recognizer(settings), signals, vad=make_vad))
    except (ModelsError, StreamingError) as error:
        raise click.ClickException(str(error)) from error
    claims = claims_of(rows)
    stated: dict[str, Any] = {
        "minutes": minutes,
        "claims": [claim.to_row() for claim in claims],
        **{name: getattr(settings, name).model_dump() for name in ("asr", "vad", "ensemble")},
    }
    report = written("quiet", stated, [asdict(row) for row in rows])
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        console = Console()
        console.print(_table(rows))
        console.print(claims_table(claims))
    if out is not None:
        file = write_report(out, file_stem("quiet", report), report)
        if not as_json:
            click.echo(f"wrote {os.fspath(file)}")
    if not all_hold(claims):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
