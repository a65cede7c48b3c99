"""Tiny corpora and clips, written where a test wants them."""

from __future__ import annotations

import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from models.emotions import MSP8
from trainer.corpora.clips import one_hot
from trainer.corpora.manifest import Corpus, Utterance


def write_tone(
    path: Path, *, seconds: float = 0.1, rate_hz: int = 16_000, channels: int = 1, hz: float = 440.0, level: float = 0.5
) -> Path:
    """A sine in 16-bit PCM, the same on every channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = np.round(level * 32767 * np.sin(2 * np.pi * hz * times)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.repeat(samples[:, None], channels, axis=1).tobytes())
    return path


def write_clips(folder: Path, names: Iterable[str]) -> None:
    """One tone a name, relative to the folder."""
    for name in names:
        write_tone(folder / name)


def utterance(
    name: str,
    *,
    corpus: str = "made_up",
    audio: Path | None = None,
    text: str | None = "hello",
    language: str = "en",
    label: str = "happy",
    duration_s: float | None = None,
) -> Utterance:
    """An utterance with one agreed class."""
    return Utterance(
        id=f"{corpus}/{name}",
        corpus=corpus,
        audio=audio,
        text=text,
        language=language,
        target=one_hot(label),
        speaker=f"{corpus}/someone",
        labels=MSP8,
        duration_s=duration_s,
    )


def corpus_of(*utterances: Utterance, name: str = "made_up") -> Corpus:
    """A corpus of these utterances, with no problem."""
    return Corpus(name, "CC0-1.0", "nobody", utterances)
