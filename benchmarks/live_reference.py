"""What the same audio amounts to offline, where nothing is in a hurry: the labels that live finals are held to."""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.live_result import FinalSeen
from models.windows import SAMPLE_RATE_HZ
from streaming.analyze import FileResult, analyze
from streaming.audio.codecs import Encoding
from streaming.audio.vad import VoiceActivityDetector, make_vad
from streaming.config import Settings, VadSettings
from streaming.recognition.recognizer import Recognizer
from streaming.word_errors import word_error_rate

SAME_SEGMENT: Final = 0.5
"""Of what two segments span together, that they must share to be the same."""


@dataclass(frozen=True, slots=True)
class OfflineSegment:
    """One segment of one stream."""

    start_s: float
    end_s: float
    label: str | None
    text: str


async def offline_segments(
    audio: Sequence[Path],
    settings: Settings,
    load: Callable[[], Recognizer],
    *,
    language: str | None,
    done: Callable[[], None] = lambda: None,
    vad: Callable[[VadSettings], VoiceActivityDetector] = make_vad,
) -> list[list[OfflineSegment]]:
    """What `medusa analyze` finds in each stream.

    Args:
        audio: files of mono PCM16 at 16 kHz, without a header.
        settings: of the runtime.
        load: makes the recogniser.
        language: of the speech; None to detect it.
        done: told of every stream that is done.
        vad: makes a stream's voice activity detector.

    Raises:
        BenchmarkError: something of a stream could not be recognised.
        StreamingError: the recogniser cannot be loaded.
    """
    files = [_with_header(path) for path in audio]

    def told(_result: FileResult) -> None:
        done()

    results = await analyze(files, settings, load, language=language, on_result=told, vad=vad)
    for result in results:
        if result.failed:
            raise BenchmarkError(f"the offline reference failed: {result.error}")
    return [
        [
            OfflineSegment(row["start_s"], row["end_s"], row["label"], row["text"])
            for row in result.rows
            if row["channel"] is not None
        ]
        for result in results
    ]


def label_agreement(finals: Sequence[FinalSeen], offline: Sequence[Sequence[OfflineSegment]]) -> float | None:
    """The share of finals that claim what their segment gets offline, abstentions included; None without finals.

    A final whose segment does not exist offline agrees with nothing.
    """
    if not finals:
        return None
    return sum(_agrees(final, offline[final.stream]) for final in finals) / len(finals)


def offline_word_errors(words: Sequence[str], offline: Sequence[Sequence[OfflineSegment]]) -> float:
    """Word error rate of the offline transcripts.

    Args:
        words: said in each stream.
        offline: segments of each stream.
    """
    heard = (" ".join(segment.text for segment in own) for own in offline)
    return word_error_rate(list(zip(words, heard, strict=True)))


def _agrees(final: FinalSeen, offline: Sequence[OfflineSegment]) -> bool:
    start_s, end_s = final.event.start_s, final.event.end_s
    for segment in offline:
        shared_s = min(end_s, segment.end_s) - max(start_s, segment.start_s)
        spanned_s = max(end_s, segment.end_s) - min(start_s, segment.start_s)
        if shared_s > SAME_SEGMENT * spanned_s:
            return segment.label == final.event.label
    return False


def _with_header(path: Path) -> Path:
    """The same audio as a WAV file, beside it."""
    file = path.with_suffix(".wav")
    with wave.open(str(file), "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(Encoding.PCM16.sample_bytes)
        written.setframerate(SAMPLE_RATE_HZ)
        written.writeframes(path.read_bytes())
    return file
