"""`medusa analyze` and its transcriber alone beside plain faster-whisper: the same weights, the same clips, one run.

All ways take turns every few clips, so that whatever else the machine does slows them alike.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click
import jiwer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.spoken_clips import Clip, CorpusFormatError, load_clips
from benchmarks.transcribers import Transcribe, plain_whisper, transcriber_alone, whole_analysis
from models.backbones.whisper import WhisperEncoder
from models.machine import written
from models.weights import weights_folder
from models.windows import SAMPLE_RATE_HZ
from streaming.config import AsrSettings, Settings
from streaming.recognition.recognizer import load_recognizer
from streaming.recognition.repetition import words_before_repeat

_NOT_A_WORD: Final = re.compile(r"[^\w' ]+")

TURN_CLIPS: Final = 50
"""Clips one way transcribes before it is the next one's turn."""
ANALYZE: Final = "medusa analyze"
PLAIN: Final = "faster-whisper"
BATCH: Final = 8
"""As in `[batcher] max_batch`."""


@dataclass(frozen=True, slots=True)
class TranscriptionRow:
    """What one way of transcribing amounted to."""

    transcriber: str
    clips: int
    audio_s: float
    wer: float
    """Word error rate over all clips, without case and punctuation."""
    wall_s: float
    cpu_s: float
    """Of all threads."""
    repeating: int
    """Transcripts that say the same phrase again at once where the speaker does not."""


def plain_text(text: str) -> str:
    """Text as it is compared: lower case, without punctuation."""
    return " ".join(_NOT_A_WORD.sub(" ", text.lower().replace("’", "'")).split())  # noqa: RUF001 - an apostrophe


def compare(clips: Sequence[Clip], ways: dict[str, Transcribe], *, progress: bool = False) -> list[TranscriptionRow]:
    """Transcribes every clip in every way.

    Args:
        clips: what to transcribe.
        ways: transcribers by name.
        progress: whether to draw a progress bar on stderr.
    """
    texts: dict[str, list[str]] = {name: [] for name in ways}
    wall_s, cpu_s = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for transcribe in ways.values():
        transcribe(clips[:1])
    turns = range(0, len(clips), TURN_CLIPS)
    for start in track(turns, "transcribing", console=Console(stderr=True), disable=not progress):
        turn = clips[start : start + TURN_CLIPS]
        for name, transcribe in ways.items():
            started = time.perf_counter(), time.process_time()
            texts[name].extend(plain_text(text) for text in transcribe(turn))
            wall_s[name] += time.perf_counter() - started[0]
            cpu_s[name] += time.process_time() - started[1]
    references = [plain_text(clip.reference) for clip in clips]
    return [
        TranscriptionRow(
            transcriber=name,
            clips=len(clips),
            audio_s=sum(len(clip.samples) for clip in clips) / SAMPLE_RATE_HZ,
            wer=float(jiwer.wer(references, texts[name])),
            wall_s=wall_s[name],
            cpu_s=cpu_s[name],
            repeating=sum(
                _repeats(text) and not _repeats(spoken) for text, spoken in zip(texts[name], references, strict=True)
            ),
        )
        for name in ways
    ]


def _repeats(text: str) -> bool:
    words = text.split()
    return words_before_repeat(words, strict=True) < len(words)


def table(rows: Sequence[TranscriptionRow]) -> Table:
    """The rows side by side; shares are of the last row's time."""
    shown = Table(title=f"{rows[0].clips} clips, {rows[0].audio_s:.0f} s of speech")
    for heading in ("transcriber", "word error rate", "wall s", "CPU s", "wall share", "CPU share", "repeating"):
        shown.add_column(heading, justify="left" if heading == "transcriber" else "right")
    for row in rows:
        shown.add_row(
            row.transcriber,
            f"{row.wer:.1%}",
            f"{row.wall_s:.1f}",
            f"{row.cpu_s:.1f}",
            f"{row.wall_s / rows[-1].wall_s:.0%}",
            f"{row.cpu_s / rows[-1].cpu_s:.0%}",
            str(row.repeating),
        )
    return shown


@click.command()
@click.option("--corpus", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--clips", "limit", type=click.IntRange(min=1), help="Only the first so many clips.")
@click.option("--language", default="en", show_default=True, help="Language of the clips; empty to detect it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(corpus: Path, limit: int | None, language: str, as_json: bool) -> None:
    """Compares `medusa analyze` with plain faster-whisper on clips with reference words.

    Its time holds all that it does, down to the emotion; that of the transcriber alone stands beside it.
    """
    settings = Settings(asr=AsrSettings(language=language))
    try:
        clips = load_clips(corpus, limit)
    except CorpusFormatError as error:
        raise click.ClickException(str(error)) from error
    recognizer = load_recognizer(settings)
    recognizer.warm_up()
    encoder = WhisperEncoder(
        weights_folder(settings.asr.model),
        compute_type=settings.asr.compute_type,
        threads=settings.asr.threads,
        decoder_threads=settings.asr.decoder_threads,
    )
    ways = {
        ANALYZE: whole_analysis(recognizer, settings),
        f"{ANALYZE} --jobs 1": whole_analysis(recognizer, settings, jobs=1),
        "its transcriber": transcriber_alone(encoder, settings.asr),
        f"its transcriber, batches of {BATCH}": transcriber_alone(encoder, settings.asr, batch=BATCH),
        PLAIN: plain_whisper(settings.asr),
    }
    rows = compare(clips, ways, progress=True)
    if as_json:
        stated = {"clips": len(clips), "language": language, "asr": settings.asr.model_dump()}
        click.echo(json.dumps(written("transcription", stated, [asdict(row) for row in rows]), indent=1))
    else:
        Console().print(table(rows))


if __name__ == "__main__":
    main()
