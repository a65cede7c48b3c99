"""The prosody stream: how something was said, apart from any learnt representation.

Frame by frame at 50 Hz: loudness, fundamental frequency and voicing, and the shape of the spectrum, after the choice
of the extended Geneva set (eGeMAPS, Eyben et al. 2016). Loudness and pitch are also given relative to the segment, so
that a recording's gain and a speaker's register need not be learnt away. F0 comes from SwiftF0.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from swift_f0 import SwiftF0

from models.errors import FeatureError
from models.windows import ENCODER_HOP_SAMPLES, SAMPLE_RATE_HZ, encoder_frames

CEPSTRA: Final = 12
FEATURE_NAMES: Final = (
    "loudness_relative_db",
    "loudness_slope",
    "log_f0",
    "f0_relative_semitones",
    "f0_slope",
    "voicing",
    "spectral_centroid",
    "spectral_spread",
    "spectral_slope",
    "spectral_flatness",
    "spectral_flux",
    "alpha_ratio_db",
    "hammarberg_index_db",
    "rolloff",
    *(f"cepstrum_{i}" for i in range(1, CEPSTRA + 1)),
)
PROSODY_DIM: Final = len(FEATURE_NAMES)

_WINDOW: Final = 640
_FFT: Final = 1024
_MEL_BANDS: Final = 26
_F0_MIN_HZ: Final = 60.0
_F0_MAX_HZ: Final = 600.0
_REFERENCE_F0_HZ: Final = 150.0
_FLOOR_DB: Final = -60.0
_VOICED: Final = 0.5
_EPSILON: Final = 1e-10


def _mel_filters(bands: int, low_hz: float, high_hz: float) -> NDArray[np.float32]:
    """Triangular filters on the mel scale (O'Shaughnessy 1987), `[bands, bins]`."""
    mel = np.linspace(2595 * np.log10(1 + low_hz / 700), 2595 * np.log10(1 + high_hz / 700), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)
    rising = (bins[None, :] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None, :]) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)


def _cosine_basis(count: int, bands: int) -> NDArray[np.float32]:
    """Rows 1 to `count` of the orthonormal DCT-II, `[count, bands]`."""
    k = np.arange(1, count + 1)[:, None]
    n = np.arange(bands)[None, :]
    return np.asarray(np.sqrt(2 / bands) * np.cos(np.pi * k * (2 * n + 1) / (2 * bands)), dtype=np.float32)


class ProsodyExtractor:
    """Computes the prosody stream of one segment; thread-safe."""

    def __init__(self, threads: int = 1) -> None:
        """Loads the F0 detector.

        Args:
            threads: CPU threads of the F0 detector.
        """
        self._f0 = SwiftF0(threads=threads, spin=False)
        self._window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
        self._frequencies = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ).astype(np.float32)
        self._filters = _mel_filters(_MEL_BANDS, 80.0, 7600.0)
        self._cosines = _cosine_basis(CEPSTRA, _MEL_BANDS)

    def extract(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The prosody stream of a segment.

        Args:
            samples: `[samples]`, 16 kHz mono, not empty.

        Returns:
            `[frames, PROSODY_DIM]` at 50 Hz, one row per 20 ms of audio, columns as in `FEATURE_NAMES`.

        Raises:
            FeatureError: no samples, or samples that are not finite.
        """
        if samples.ndim != 1 or samples.size == 0:
            raise FeatureError(f"a segment must be a non-empty row of samples, got shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise FeatureError("the segment holds samples that are not finite")
        samples = samples.astype(np.float32, copy=False)
        frames = encoder_frames(samples.size)
        power = self._power(samples, frames)
        return np.concatenate([*self._loudness_and_pitch(samples, power), *self._spectral_shape(power)], axis=1)

    def _power(self, samples: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
        """Power spectra of 40 ms windows centred on each 20 ms frame, `[frames, bins]`."""
        margin = (_WINDOW - ENCODER_HOP_SAMPLES) // 2
        padded = np.zeros(frames * ENCODER_HOP_SAMPLES + 2 * margin, dtype=np.float32)
        padded[margin : margin + samples.size] = samples
        views = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::ENCODER_HOP_SAMPLES]
        spectrum = np.fft.rfft(views * self._window, n=_FFT, axis=1)
        return np.asarray(spectrum.real**2 + spectrum.imag**2, dtype=np.float32)

    def _loudness_and_pitch(
        self, samples: NDArray[np.float32], power: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        """The first six columns, each `[frames, 1]`."""
        frames = power.shape[0]
        level = 10 * np.log10(power.sum(axis=1) + _EPSILON)
        loudness = np.maximum(level - np.percentile(level, 90), _FLOOR_DB)
        pitch = self._f0.detect(samples, SAMPLE_RATE_HZ, fmin=_F0_MIN_HZ, fmax=_F0_MAX_HZ)
        centres = (np.arange(frames) + 0.5) * ENCODER_HOP_SAMPLES / SAMPLE_RATE_HZ
        voicing = np.interp(centres, pitch.timestamps, pitch.confidence)
        semitones = 12 * np.log2(np.maximum(pitch.pitch_hz, _F0_MIN_HZ) / _REFERENCE_F0_HZ)
        heard = pitch.confidence >= _VOICED
        if heard.any():
            contour = np.interp(centres, pitch.timestamps[heard], semitones[heard])
            register = float(np.median(semitones[heard]))
        else:
            contour = np.zeros(frames)
            register = 0.0
        voiced = voicing >= _VOICED
        columns = (
            loudness,
            np.gradient(loudness) if frames > 1 else np.zeros(frames),
            contour / 12,
            np.where(voiced, contour - register, 0.0),
            np.where(voiced, np.gradient(contour), 0.0) if frames > 1 else np.zeros(frames),
            voicing,
        )
        return [column.astype(np.float32)[:, None] for column in columns]

    def _spectral_shape(self, power: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The other columns: moments, slope, flatness, flux, band ratios and cepstra, each `[frames, n]`."""
        hz = self._frequencies
        total = power.sum(axis=1) + _EPSILON
        share = power / total[:, None]
        centroid = share @ hz
        spread = np.sqrt(np.maximum(share @ hz**2 - centroid**2, 0.0))
        bands = np.log(power @ self._filters.T + _EPSILON)
        position = np.linspace(-1, 1, _MEL_BANDS, dtype=np.float32)
        slope = (bands - bands.mean(axis=1, keepdims=True)) @ position / (position @ position)
        flatness = np.log(power + _EPSILON).mean(axis=1) - np.log(power.mean(axis=1) + _EPSILON)
        shape = bands - bands.mean(axis=1, keepdims=True)
        flux = np.sqrt(np.square(np.diff(shape, axis=0, prepend=shape[:1])).mean(axis=1))
        columns = (
            centroid / 1000,
            spread / 1000,
            slope,
            flatness,
            flux,
            _ratio_db(_band_sum(power, hz, 50, 1000), _band_sum(power, hz, 1000, 5000)),
            _ratio_db(_band_peak(power, hz, 0, 2000), _band_peak(power, hz, 2000, 5000)),
            hz[(np.cumsum(share, axis=1) >= 0.85).argmax(axis=1)] / 1000,
        )
        return [*(column.astype(np.float32)[:, None] for column in columns), bands @ self._cosines.T]


def _band_sum(power: NDArray[np.float32], hz: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    return np.asarray(power[:, (hz >= low) & (hz < high)].sum(axis=1))


def _band_peak(power: NDArray[np.float32], hz: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    return np.asarray(power[:, (hz >= low) & (hz < high)].max(axis=1))


def _ratio_db(numerator: NDArray[np.float32], denominator: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(10 * np.log10((numerator + _EPSILON) / (denominator + _EPSILON)))
