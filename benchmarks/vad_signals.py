"""What detectors are measured on: speech with known pauses, the same over a telephone, and all that is not speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from streaming.audio.codecs import Encoding, decode, encode
from streaming.audio.resample import StreamResampler
from streaming.audio.segmenter import FRAME_SAMPLES

SEED: Final = 7
GAP_S: Final = 1.0
NOT_SPEECH_S: Final = 60.0
PAUSE_NOISE_DBFS: Final = -66.0
LINE_NOISE_BELOW_SPEECH_DB: Final = 10.0
TELEPHONE_RATE_HZ: Final = 8_000

BELOW_LOUD_DB: Final = 25.0
"""The reference for speech: at most so far below the clip's loud frames ..."""
ABOVE_FLOOR_DB: Final = 10.0
"""... and at least so far above its quiet ones."""
_LOUD_PERCENTILE: Final = 95
_QUIET_PERCENTILE: Final = 5
_SMOOTHING_FRAMES: Final = 3
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Signal:
    """Audio, and what is known of it."""

    name: str
    samples: NDArray[np.float32] = field(repr=False)
    """`[samples]`, 16 kHz."""
    speech: NDArray[np.bool_] = field(repr=False)
    """`[frames]`: surely speech."""
    silence: NDArray[np.bool_] = field(repr=False)
    """`[frames]`: surely none; frames that are neither are left out."""
    clips: tuple[tuple[int, int], ...] = ()
    """First and one past the last sample of the sure speech of each clip."""


def spoken(name: str, clips: Sequence[NDArray[np.float32]]) -> Signal:
    """Clips one after another, with pauses of quiet noise."""
    random = np.random.default_rng(SEED)
    parts, speech, silence = [], [], []
    edges: list[tuple[int, int]] = []
    frames = 0
    for clip in clips:
        pause = _white(random, GAP_S, PAUSE_NOISE_DBFS)
        whole = clip[: clip.size // FRAME_SAMPLES * FRAME_SAMPLES]
        sure = _surely_speech(whole)
        found = np.flatnonzero(sure)
        frames += pause.size // FRAME_SAMPLES
        if found.size:
            edges.append(((frames + int(found[0])) * FRAME_SAMPLES, (frames + int(found[-1]) + 1) * FRAME_SAMPLES))
        frames += sure.size
        parts += [pause, whole]
        speech += [np.zeros(pause.size // FRAME_SAMPLES, dtype=np.bool_), sure]
        silence += [np.ones(pause.size // FRAME_SAMPLES, dtype=np.bool_), np.zeros(sure.size, dtype=np.bool_)]
    last = _white(random, GAP_S, PAUSE_NOISE_DBFS)
    last_frames = last.size // FRAME_SAMPLES
    return Signal(
        name,
        np.concatenate([*parts, last]),
        np.concatenate([*speech, np.zeros(last_frames, dtype=np.bool_)]),
        np.concatenate([*silence, np.ones(last_frames, dtype=np.bool_)]),
        tuple(edges),
    )


def telephoned(signal: Signal) -> Signal:
    """The same over a noisy telephone line: 10 dB of white noise, 8 kHz, mu-law."""
    power = np.square(signal.samples.reshape(-1, FRAME_SAMPLES)[signal.speech]).mean()
    noise_dbfs = 10 * np.log10(power) - LINE_NOISE_BELOW_SPEECH_DB
    noisy = signal.samples + _white(np.random.default_rng(SEED), signal.samples.size / SAMPLE_RATE_HZ, noise_dbfs)
    # Told that these are samples at twice their rate, the resampler halves it.
    line = StreamResampler(2 * SAMPLE_RATE_HZ)
    sent = np.concatenate([line.push(noisy), line.flush()])
    phone = StreamResampler(TELEPHONE_RATE_HZ)
    heard = decode(encode(sent, Encoding.MULAW), Encoding.MULAW)
    received = np.concatenate([phone.push(heard), phone.flush()])
    samples = np.zeros_like(signal.samples)
    samples[: received.size] = received[: samples.size]
    return Signal(f"{signal.name}, telephone", samples, signal.speech, signal.silence, signal.clips)


def not_speech(seconds: float = NOT_SPEECH_S) -> list[Signal]:
    """Silence, noises, tones and music.

    Args:
        seconds: of each.
    """
    random = np.random.default_rng(SEED)
    t = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    sounds = {"digital silence": np.zeros(t.size, dtype=np.float32)}
    for dbfs in (-60.0, -40.0, -20.0):
        sounds[f"white noise, {dbfs:.0f} dBFS"] = _white(random, t.size / SAMPLE_RATE_HZ, dbfs)
        sounds[f"pink noise, {dbfs:.0f} dBFS"] = _pink(random, t.size, dbfs)
    sounds["mains hum"] = _sum(t, [(50.0 * n, 0.1 / n) for n in range(1, 12)])
    sounds["ringing tone"] = np.where(t % 5 < 1, _sum(t, [(425.0, 0.2)]), np.float32(0))
    sounds["dial tone"] = _sum(t, [(350.0, 0.1), (440.0, 0.1)])
    sounds["held chord"] = _sum(t, [(f, 0.08) for f in (261.6, 329.6, 392.0, 523.3)])
    sounds["hold music"] = _melody(t)
    sounds["clicks"] = _clicks(random, t.size)
    return [_no_speech_in(name, samples) for name, samples in sounds.items()]


def _no_speech_in(name: str, samples: NDArray[np.float32]) -> Signal:
    frames = samples.size // FRAME_SAMPLES
    return Signal(name, samples, np.zeros(frames, dtype=np.bool_), np.ones(frames, dtype=np.bool_))


def _surely_speech(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    power = np.square(samples.reshape(-1, FRAME_SAMPLES)).mean(axis=1)
    smooth = np.convolve(power, np.full(_SMOOTHING_FRAMES, 1 / _SMOOTHING_FRAMES), mode="same")
    level = 10 * np.log10(smooth + _TINY)
    loud, quiet = np.percentile(level, [_LOUD_PERCENTILE, _QUIET_PERCENTILE])
    return np.asarray((level >= loud - BELOW_LOUD_DB) & (level >= quiet + ABOVE_FLOOR_DB))


def _white(random: np.random.Generator, seconds: float, dbfs: float) -> NDArray[np.float32]:
    samples = random.standard_normal(round(seconds * SAMPLE_RATE_HZ)) * 10 ** (dbfs / 20)
    return np.asarray(np.clip(samples, -1, 1), dtype=np.float32)


def _pink(random: np.random.Generator, count: int, dbfs: float) -> NDArray[np.float32]:
    spectrum = np.fft.rfft(random.standard_normal(count)) / np.sqrt(np.maximum(np.arange(count // 2 + 1), 1))
    samples = np.fft.irfft(spectrum, count)
    return np.asarray(np.clip(samples * 10 ** (dbfs / 20) / samples.std(), -1, 1), dtype=np.float32)


def _sum(t: NDArray[np.float64], partials: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    total = np.zeros_like(t)
    for frequency_hz, amplitude in partials:
        total += amplitude * np.sin(2 * np.pi * frequency_hz * t)
    return np.asarray(total, dtype=np.float32)


def _melody(t: NDArray[np.float64]) -> NDArray[np.float32]:
    """Plucked notes with overtones over a bass, three a second: the dullest of hold music."""
    notes_hz = np.array([261.6, 329.6, 392.0, 523.3, 392.0, 329.6, 293.7, 349.2, 440.0, 587.3, 440.0, 349.2])
    beat = (t * 3).astype(np.int64)
    since = t - beat / 3
    pitch = notes_hz[beat % notes_hz.size]
    bass = notes_hz[(beat // 6 * 6) % notes_hz.size] / 2
    plucked = sum(np.sin(2 * np.pi * n * pitch * since) / n**1.5 for n in range(1, 7)) * np.exp(-5 * since)
    low = sum(np.sin(2 * np.pi * n * bass * t) / n**2 for n in range(1, 4))
    return np.asarray(0.15 * plucked + 0.08 * low, dtype=np.float32)


def _clicks(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Four keystrokes a second."""
    samples = np.zeros(count, dtype=np.float32)
    decay = np.exp(-np.arange(160) / 30)
    for start in random.integers(0, count - decay.size, round(4 * count / SAMPLE_RATE_HZ)):
        samples[start : start + decay.size] += (0.3 * random.standard_normal(decay.size) * decay).astype(np.float32)
    return np.clip(samples, -1, 1)
