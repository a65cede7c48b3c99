"""Random inputs that every engine is checked on: such as no clip holds, modalities missing in every way."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.audio_batches import AudioBatch, pad_audio
from models.modalities import EngineBatch, Modality, pad, pad_tokens
from models.windows import FRAME_SAMPLES, SAMPLE_RATE_HZ

_LEAST_ROWS: Final = 12
_FRAMES: Final = (1, 60)
_PLAIN_TOKENS: Final = (1000, 20_000)
"""Of BERT's vocabulary: words and parts of words, no special token."""
_OPENS, _CLOSES = 101, 102
_SAMPLES: Final = (FRAME_SAMPLES, 3 * SAMPLE_RATE_HZ)
"""Of a clip."""
_LOUDNESS: Final = 0.1
_HEARD: Final = "audio that several hear"
"""Stands for all modalities that hear: no modality's name has spaces."""
_SEED: Final = 0


def check_inputs(
    modalities: tuple[Modality, ...], reads_tokens: frozenset[str] = frozenset(), hears: Set[str] = frozenset()
) -> dict[str, EngineBatch]:
    """Random inputs, the same every time: other lengths in each row, and every combination of modalities there is.

    Args:
        modalities: of the bundle.
        reads_tokens: those that are to be tokens.
        hears: those that are to be audio: the same clips in all of them. All others are features.
    """
    rng = np.random.default_rng(_SEED)
    # What hears the same clips is there together.
    places = dict.fromkeys(_HEARD if modality.name in hears else modality.name for modality in modalities)
    order = list(places)
    combinations = 2 ** len(order) - 1
    rows = max(_LEAST_ROWS, combinations)
    inputs: dict[str, EngineBatch] = {}

    def lengths(place: str, bounds: tuple[int, int]) -> list[int]:
        position = order.index(place)
        return [int(rng.integers(*bounds)) if (row % combinations + 1) >> position & 1 else 0 for row in range(rows)]

    audio: AudioBatch | None = None
    for modality in modalities:
        if modality.name in hears:
            if audio is None:
                audio = pad_audio([_noise(rng, length) if length else None for length in lengths(_HEARD, _SAMPLES)])
            inputs[modality.name] = audio
        elif modality.name in reads_tokens:
            words = lengths(modality.name, _FRAMES)
            inputs[modality.name] = pad_tokens([_tokens(rng, length) if length else None for length in words])
        else:
            frames = [
                rng.standard_normal((length, modality.dim)).astype(np.float32) if length else None
                for length in lengths(modality.name, _FRAMES)
            ]
            inputs[modality.name] = pad(frames, modality.dim)
    return inputs


def _noise(rng: np.random.Generator, samples: int) -> NDArray[np.float32]:
    return rng.normal(scale=_LOUDNESS, size=samples).astype(np.float32)


def _tokens(rng: np.random.Generator, length: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.concatenate([[_OPENS], rng.integers(*_PLAIN_TOKENS, size=length), [_CLOSES]]).astype(np.int64)
