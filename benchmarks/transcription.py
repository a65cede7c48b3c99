"""Our transcriber beside plain faster-whisper: the same weights, the same clips, one run.

All ways take turns every few clips, so that whatever else the machine does slows them alike.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click
import jiwer
import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models.backbones.whisper import WhisperEncoder
from models.weights import weights_folder
from models.windows import FINAL_WINDOWS, SAMPLE_RATE_HZ, WindowPolicy
from streaming.config import AsrSettings
from streaming.recognition.repetition import words_before_repeat
from streaming.recognition.request import RecognitionRequest, RequestKind
from streaming.recognition.transcriber import Transcriber
from trainer.audio import read_clip

REFERENCES: Final = "refs.tsv"
_NOT_A_WORD: Final = re.compile(r"[^\w' ]+")

TURN_CLIPS: Final = 50
"""Clips one way transcribes before it is the next one's turn."""
BATCH: Final = 8
"""As in `[batcher] max_batch`."""

Transcribe = Callable[[Sequence[NDArray[np.float32]]], list[str]]


class CorpusFormatError(ValueError):
    """The folder is not one of clips and their reference words."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and what is said in it."""

    samples: NDArray[np.float32]
    """`[samples]`, 16 kHz mono."""
    reference: str


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


def load_clips(folder: Path, limit: int | None = None) -> list[Clip]:
    """Reads a corpus.

    Args:
        folder: with `refs.tsv`, each line a path within the folder, a tab, and the reference words.
        limit: how many clips to read at most.

    Raises:
        CorpusFormatError: there is no such file, or a line of it is not of that form.
        CorpusError: a clip cannot be read.
    """
    path = folder / REFERENCES
    if not path.is_file():
        raise CorpusFormatError(f"{path} does not exist: it lists each clip and its words, separated by a tab")
    clips: list[Clip] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[:limit], start=1):
        name, tab, reference = line.partition("\t")
        if not tab or not reference.strip():
            raise CorpusFormatError(f"{path}:{number}: expected a path, a tab and the words, got {line[:80]!r}")
        clips.append(Clip(read_clip(folder / name), reference))
    if not clips:
        raise CorpusFormatError(f"{path} lists no clips")
    return clips


def plain_text(text: str) -> str:
    """Text as it is compared: lower case, without punctuation."""
    return " ".join(_NOT_A_WORD.sub(" ", text.lower().replace("’", "'")).split())  # noqa: RUF001 - an apostrophe


def ours(
    encoder: WhisperEncoder, settings: AsrSettings, windows: WindowPolicy = FINAL_WINDOWS, *, batch: int = 1
) -> Transcribe:
    """The runtime's way: each clip as the final of one segment.

    Args:
        encoder: encodes and decodes.
        settings: the `[asr]` section.
        windows: how clips are padded.
        batch: how many clips of one length bucket are transcribed together, as the batcher does under load.
    """
    transcriber = Transcriber(encoder, settings)

    def transcribe(clips: Sequence[NDArray[np.float32]]) -> list[str]:
        texts: dict[int, str] = {}
        buckets: dict[float, list[RecognitionRequest]] = {}
        for number, samples in enumerate(clips):
            request = RecognitionRequest(
                number, "benchmark", 0, 1 + number, RequestKind.FINAL, samples, 0.0, settings.language or None
            )
            buckets.setdefault(windows.bucket_s(len(samples)), []).append(request)
        for window_s, requests in buckets.items():
            for start in range(0, len(requests), batch):
                together = requests[start : start + batch]
                encoded = encoder.encode([request.samples for request in together], window_s)
                for request, transcript in zip(together, transcriber.transcribe(together, encoded), strict=True):
                    texts[request.request_id] = transcript.text
        return [texts[number] for number in range(len(clips))]

    return transcribe


def plain(folder: Path, settings: AsrSettings) -> Transcribe:
    """The usual way: `faster_whisper.WhisperModel.transcribe`, greedy, as shipped."""
    model = WhisperModel(str(folder), device="cpu", compute_type=settings.compute_type, cpu_threads=settings.threads)

    def transcribe(clips: Sequence[NDArray[np.float32]]) -> list[str]:
        texts = []
        for samples in clips:
            segments, _ = model.transcribe(samples, beam_size=1, language=settings.language or None)
            texts.append(" ".join(segment.text for segment in segments))
        return texts

    return transcribe


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
        transcribe([clips[0].samples])
    turns = range(0, len(clips), TURN_CLIPS)
    for start in track(turns, "transcribing", console=Console(stderr=True), disable=not progress):
        turn = [clip.samples for clip in clips[start : start + TURN_CLIPS]]
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
    """Compares our transcriber with plain faster-whisper on clips with reference words."""
    settings = AsrSettings(language=language)
    folder = weights_folder(settings.model, progress=True)
    encoder = WhisperEncoder(folder, compute_type=settings.compute_type, threads=settings.threads)
    try:
        clips = load_clips(corpus, limit)
    except CorpusFormatError as error:
        raise click.ClickException(str(error)) from error
    ways = {
        "medusa": ours(encoder, settings),
        f"medusa, batches of {BATCH}": ours(encoder, settings, batch=BATCH),
        "faster-whisper": plain(folder, settings),
    }
    rows = compare(clips, ways, progress=True)
    if as_json:
        click.echo(json.dumps({"benchmark": "transcription", "results": [asdict(row) for row in rows]}))
    else:
        Console().print(table(rows))


if __name__ == "__main__":
    main()
