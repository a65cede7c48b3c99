"""Waveform views: the same clip as another channel would have carried it.

A view is applied before features are extracted, so each view is extracted and stored once. What is left to chance is
drawn from the seed, the view's name and the utterance's id alone: the same clip always sounds the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from trainer.errors import RecipeError

VIEW_SEED: Final = 2506
CLEAN: Final = "clean"

TELEPHONE_RATE_HZ: Final = 8_000
TELEPHONE_BAND_HZ: Final = (300.0, 3400.0)

_FILTER_TAPS: Final = 257
_MULAW_BIAS: Final = 132
_MULAW_CLIP: Final = 32_635
_PCM16: Final = 32_768
_SNR_DB: Final = (5.0, 20.0)
_GAIN_DB: Final = (-18.0, 6.0)
_SLOWER: Final = 0.9
_FASTER: Final = 1.1
_DECAY_S: Final = (0.2, 0.7)
_REVERBERANT_SHARE_DB: Final = (-6.0, 3.0)
_DECAY_60_DB: Final = 3 * np.log(10.0)

Samples = NDArray[np.float32]
Transform = Callable[[Samples, np.random.Generator], Samples]


@dataclass(frozen=True, slots=True)
class View:
    """A named way to change a waveform."""

    name: str
    transform: Transform
    version: int = 1
    """Raised when the same clip would come out otherwise."""

    def apply(self, samples: Samples, utterance: str, seed: int = VIEW_SEED) -> Samples:
        """The clip as this view hears it.

        Args:
            samples: `[samples]` at 16 kHz, not changed.
            utterance: the id of the utterance.
            seed: of what is left to chance.

        Returns:
            `[samples]` within -1 to 1; of another length only where the view changes the speed.
        """
        key = hashlib.sha256(f"{seed}\n{self.name}\n{utterance}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(key[:16], "big"))
        return np.asarray(np.clip(self.transform(samples, rng), -1.0, 1.0), dtype=np.float32)


def mulaw(samples: Samples) -> Samples:
    """What is left of samples after G.711 mu-law, eight bits each, there and back.

    Args:
        samples: `[samples]` within -1 to 1.
    """
    linear = np.clip(np.rint(samples * _PCM16), -_PCM16, _PCM16 - 1).astype(np.int32)
    biased = np.minimum(np.abs(linear), _MULAW_CLIP) + _MULAW_BIAS
    segment = np.floor(np.log2(biased)).astype(np.int32) - 7
    step = (biased >> (segment + 3)) & 0x0F
    decoded = (((step << 3) + _MULAW_BIAS) << segment) - _MULAW_BIAS
    return np.asarray(np.where(linear < 0, -decoded, decoded) / _PCM16, dtype=np.float32)


def telephone(samples: Samples) -> Samples:
    """A narrow-band telephone line: 300 to 3400 Hz, 8 kHz, G.711 mu-law.

    Args:
        samples: `[samples]` at 16 kHz.

    Returns:
        `[samples]` at 16 kHz, of the same length and with no delay.
    """
    narrow = np.asarray(soxr.resample(samples, SAMPLE_RATE_HZ, TELEPHONE_RATE_HZ), dtype=np.float32)
    filtered = np.convolve(narrow, _band_pass(*TELEPHONE_BAND_HZ, TELEPHONE_RATE_HZ))[_FILTER_TAPS // 2 :]
    line = mulaw(np.clip(filtered[: narrow.size], -1.0, 1.0).astype(np.float32))
    return _fit(np.asarray(soxr.resample(line, TELEPHONE_RATE_HZ, SAMPLE_RATE_HZ), dtype=np.float32), samples.size)


def add_noise(samples: Samples, snr_db: float, rng: np.random.Generator, *, pink: bool = False) -> Samples:
    """Adds noise at a signal-to-noise ratio over the whole clip; silence stays silent.

    Args:
        samples: `[samples]`.
        snr_db: signal power over noise power.
        rng: the noise.
        pink: power that falls by 3 dB an octave, as that of rooms and streets does, in place of white noise.
    """
    noise = rng.standard_normal(samples.size)
    if pink:
        spectrum = np.fft.rfft(noise)
        spectrum /= np.sqrt(np.maximum(np.arange(spectrum.size), 1))
        noise = np.fft.irfft(spectrum, n=samples.size)
    wanted = _power(samples) / 10 ** (snr_db / 10)
    loudness = np.sqrt(wanted / max(_power(noise), np.finfo(np.float64).tiny))
    return np.asarray(samples + noise * loudness, dtype=np.float32)


def gain(samples: Samples, gain_db: float) -> Samples:
    """Louder or softer; what passes full scale is clipped, as a converter does."""
    return np.asarray(np.clip(samples * 10 ** (gain_db / 20), -1.0, 1.0), dtype=np.float32)


def change_speed(samples: Samples, factor: float) -> Samples:
    """Faster (above 1) or slower, pitch and all; the length divides by `factor`."""
    return np.asarray(soxr.resample(samples, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ), dtype=np.float32)


def reverberate(samples: Samples, decay_s: float, reverberant_db: float, rng: np.random.Generator) -> Samples:
    """A room: the clip, followed by exponentially decaying diffuse reflections of it.

    Args:
        samples: `[samples]` at 16 kHz.
        decay_s: time in which the reflections fall by 60 dB.
        reverberant_db: power of the reflections over that of the direct sound.
        rng: the room.

    Returns:
        `[samples]` of the same length and peak as before; the tail past the clip's end is cut.
    """
    length = max(2, round(decay_s * SAMPLE_RATE_HZ))
    envelope = np.exp(-_DECAY_60_DB * np.arange(length) / length)
    room = rng.standard_normal(length) * envelope
    room[0] = 0.0
    room *= np.sqrt(10 ** (reverberant_db / 10) / np.sum(room**2))
    room[0] = 1.0
    size = 1 << (samples.size + length - 2).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(room, size), size)[: samples.size]
    before, after = float(np.max(np.abs(samples), initial=0.0)), float(np.max(np.abs(wet), initial=0.0))
    return (wet * (before / after if after > 0 else 1.0)).astype(np.float32)


def _band_pass(low_hz: float, high_hz: float, rate_hz: int) -> NDArray[np.float64]:
    """Linear-phase windowed-sinc filter (Blackman window), `[taps]`, of unit gain at the middle of the band."""
    n = np.arange(_FILTER_TAPS) - _FILTER_TAPS // 2
    low, high = 2 * low_hz / rate_hz, 2 * high_hz / rate_hz
    taps = (high * np.sinc(high * n) - low * np.sinc(low * n)) * np.blackman(_FILTER_TAPS)
    middle = np.sqrt(low_hz * high_hz)
    return np.asarray(taps / np.abs(np.sum(taps * np.exp(-2j * np.pi * middle / rate_hz * n))))


def _fit(samples: Samples, size: int) -> Samples:
    return samples[:size] if samples.size >= size else np.pad(samples, (0, size - samples.size))


def _power(samples: NDArray[np.floating]) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0


def _noisy(samples: Samples, rng: np.random.Generator) -> Samples:
    return add_noise(samples, rng.uniform(*_SNR_DB), rng, pink=bool(rng.integers(2)))


VIEWS: Final[Mapping[str, View]] = MappingProxyType(
    {
        view.name: view
        for view in (
            View(CLEAN, lambda samples, _: samples),
            View("telephone", lambda samples, _: telephone(samples)),
            View("noise", _noisy),
            View("noisy_telephone", lambda samples, rng: telephone(_noisy(samples, rng))),
            View("gain", lambda samples, rng: gain(samples, rng.uniform(*_GAIN_DB))),
            View("slower", lambda samples, _: change_speed(samples, _SLOWER)),
            View("faster", lambda samples, _: change_speed(samples, _FASTER)),
            View(
                "room",
                lambda samples, rng: reverberate(
                    samples, rng.uniform(*_DECAY_S), rng.uniform(*_REVERBERANT_SHARE_DB), rng
                ),
            ),
        )
    }
)


def view(name: str) -> View:
    """The view of a name.

    Raises:
        RecipeError: there is none.
    """
    try:
        return VIEWS[name]
    except KeyError:
        raise RecipeError(f"no view {name!r}; there are {', '.join(VIEWS)}") from None
