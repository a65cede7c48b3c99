"""The two voice activity detectors side by side: what they miss, what they invent, what they cost.

Speech is judged against an energy reference on clean clips, so absolute figures depend on it; all detectors are
measured against the same one. Segments are those of the segmenter with its default settings.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.vad_signals import Signal, not_speech, spoken, telephoned
from models.machine import written
from models.windows import SAMPLE_RATE_HZ
from streaming.audio.segmenter import FRAME_SAMPLES, Segmenter, SpeechEnded
from streaming.audio.sources import read_file
from streaming.audio.vad import make_vad
from streaming.config import VadSettings
from streaming.errors import AudioFileError

SUFFIXES: Final = {".flac", ".wav"}
AFTER_SPEECH_FRAMES: Final = 15
"""Frames right after a clip are nobody's: detectors fade, and so do rooms."""

DETECTORS: Final = {
    "silero": VadSettings(kind="silero"),
    **{f"webrtc {level}": VadSettings(kind="webrtc", aggressiveness=level) for level in (1, 2, 3)},
}


@dataclass(frozen=True, slots=True)
class VadRow:
    """One detector on one signal."""

    detector: str
    signal: str
    audio_s: float
    frames_missed: float | None
    """Share of sure speech that the detector takes for silence; None where nobody speaks."""
    frames_invented: float
    """Share of sure silence that the detector takes for speech."""
    speech_outside_segments: float | None
    """Share of sure speech that lies in no segment."""
    segments: int
    clips: int
    clips_in_one_segment: int
    """Clips whose speech lies in one segment that holds no other clip's."""
    cpu_ms_per_s: float
    """Of the detector, for each second of audio, fed 20 ms at a time."""


def measure(detector: str, settings: VadSettings, signal: Signal) -> VadRow:
    """Runs one detector, and the segmenter behind it, over one signal."""
    vad = make_vad(settings)
    started = time.process_time()
    decided = np.concatenate(
        [vad.push(signal.samples[at : at + FRAME_SAMPLES]) for at in range(0, signal.samples.size, FRAME_SAMPLES)]
    )
    cpu_s = time.process_time() - started
    segments = _segments(settings, signal.samples, decided)
    heard = decided >= settings.threshold
    speech, silence = signal.speech[: heard.size], _settled(signal)[: heard.size]
    inside = _inside(segments, heard.size)
    audio_s = signal.samples.size / SAMPLE_RATE_HZ
    return VadRow(
        detector=detector,
        signal=signal.name,
        audio_s=round(audio_s, 2),
        frames_missed=_share(~heard[speech]),
        frames_invented=_share(heard[silence]) or 0.0,
        speech_outside_segments=_share(~inside[speech]),
        segments=len(segments),
        clips=len(signal.clips),
        clips_in_one_segment=_alone(signal, segments),
        cpu_ms_per_s=round(1000 * cpu_s / audio_s, 3),
    )


def compare(corpora: Mapping[str, Sequence[NDArray[np.float32]]], *, progress: bool = False) -> list[VadRow]:
    """Every detector on every signal.

    Args:
        corpora: clips at 16 kHz, by the name of where they are from.
        progress: whether to draw a progress bar on stderr.
    """
    clean = [spoken(name, clips) for name, clips in corpora.items()]
    signals = [*clean, *(telephoned(signal) for signal in clean), *not_speech()]
    for settings in DETECTORS.values():
        make_vad(settings).push(np.zeros(SAMPLE_RATE_HZ, dtype=np.float32))
    return [
        measure(detector, settings, signal)
        for signal in track(signals, "detecting", console=Console(stderr=True), disable=not progress)
        for detector, settings in DETECTORS.items()
    ]


def load_clips(folder: Path) -> list[NDArray[np.float32]]:
    """All FLAC and WAV files within a folder, which must be 16 kHz; of each its first channel.

    Raises:
        AudioFileError: there are none, or one cannot be used.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise AudioFileError(f"{folder} holds no FLAC or WAV file")
    clips = []
    for path in paths:
        audio = read_file(path)
        if audio.rate_hz != SAMPLE_RATE_HZ:
            raise AudioFileError(f"{path} has {audio.rate_hz} Hz: clips must have {SAMPLE_RATE_HZ} Hz")
        clips.append(audio.samples[0])
    return clips


def report(rows: Sequence[VadRow]) -> dict[str, Any]:
    """The rows as every benchmark writes its results."""
    settings = {name: settings.model_dump() for name, settings in DETECTORS.items()}
    return written("vad", settings, [asdict(row) for row in rows])


def table(rows: Sequence[VadRow]) -> Table:
    """The rows, for people."""
    shown = Table(title="Voice activity detectors")
    for heading in ("signal", "detector", "missed", "invented", "outside", "segments", "clips alone", "CPU ms/s"):
        shown.add_column(heading, justify="left" if heading in {"signal", "detector"} else "right")
    for row in rows:
        shown.add_row(
            row.signal,
            row.detector,
            "" if row.frames_missed is None else f"{row.frames_missed:.1%}",
            f"{row.frames_invented:.1%}",
            "" if row.speech_outside_segments is None else f"{row.speech_outside_segments:.1%}",
            str(row.segments),
            f"{row.clips_in_one_segment}/{row.clips}" if row.clips else "",
            f"{row.cpu_ms_per_s:.2f}",
        )
    return shown


def _segments(settings: VadSettings, samples: NDArray[np.float32], decided: NDArray[np.float32]) -> list[SpeechEnded]:
    segmenter = Segmenter(settings)
    frames = samples[: decided.size * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    events = [*segmenter.push(frames, decided), *segmenter.flush()]
    return [event for event in events if isinstance(event, SpeechEnded)]


def _settled(signal: Signal) -> NDArray[np.bool_]:
    """Sure silence, without what follows on other audio."""
    settled = signal.silence.copy()
    for end in np.flatnonzero(~signal.silence[:-1] & signal.silence[1:]) + 1:
        settled[end : end + AFTER_SPEECH_FRAMES] = False
    return settled


def _inside(segments: Sequence[SpeechEnded], frames: int) -> NDArray[np.bool_]:
    inside = np.zeros(frames, dtype=np.bool_)
    for segment in segments:
        inside[segment.start_sample // FRAME_SAMPLES : -(-segment.end_sample // FRAME_SAMPLES)] = True
    return inside


def _alone(signal: Signal, segments: Sequence[SpeechEnded]) -> int:
    touched = [
        [number for number, s in enumerate(segments) if s.start_sample < end and start < s.end_sample]
        for start, end in signal.clips
    ]
    uses = np.bincount([number for numbers in touched for number in numbers], minlength=len(segments))
    return sum(len(numbers) == 1 and int(uses[numbers[0]]) == 1 for numbers in touched)


def _share(found: NDArray[np.bool_]) -> float | None:
    return round(float(found.mean()), 5) if found.size else None


@click.command()
@click.option(
    "--clips",
    "folders",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    required=True,
    help="Folder of 16 kHz clips; may be given more than once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(folders: tuple[Path, ...], as_json: bool) -> None:
    """Compares the voice activity detectors on clips of speech, and on what is not speech."""
    try:
        corpora = {folder.resolve().name: load_clips(folder) for folder in folders}
    except AudioFileError as error:
        raise click.ClickException(str(error)) from error
    rows = compare(corpora, progress=True)
    if as_json:
        click.echo(json.dumps(report(rows), indent=1))
    else:
        Console().print(table(rows))


if __name__ == "__main__":
    main()
