"""From the features of single segments to what an engine reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.audio_batches import LEAST_MEL_FRAMES, AudioBatch, MelBatch, pad_audio
from models.errors import FeatureError
from models.modalities import EngineBatch, EngineInputs, Modality, PaddedBatch, TokenBatch, pad, pad_tokens
from models.windows import FRAME_SAMPLES

Features = NDArray[np.float32]

_READ_AS: Final[Mapping[type[EngineBatch], str]] = MappingProxyType(
    {PaddedBatch: "features", TokenBatch: "tokens", AudioBatch: "audio", MelBatch: "a log-mel spectrogram"}
)


def prepare(
    segments: Mapping[str, Sequence[Features | None]], modalities: Sequence[Modality]
) -> dict[str, PaddedBatch]:
    """Groups frames by each modality's stride and lays the segments side by side.

    Args:
        segments: per modality one entry a segment, `[frames, dim]` at the backbone's own rate, or None where it is
            missing.
        modalities: what the engine reads; one that `segments` does not name is missing everywhere.

    Returns:
        A padded batch for every modality.

    Raises:
        FeatureError: an unknown modality, or lists of different lengths.
    """
    known = {modality.name for modality in modalities}
    unknown = segments.keys() - known
    if unknown:
        raise FeatureError(f"unknown modalities {sorted(unknown)}: the engine reads {', '.join(sorted(known))}")
    sizes = {len(rows) for rows in segments.values()}
    if len(sizes) != 1:
        raise FeatureError("every modality needs one entry a segment, and there must be one modality at least")
    size = sizes.pop()
    batches: dict[str, PaddedBatch] = {}
    for modality in modalities:
        rows = segments.get(modality.name) or [None] * size
        grouped = [None if row is None or not len(row) else modality.group(row) for row in rows]
        batches[modality.name] = pad(grouped, modality.dim)
    return batches


def complete(
    inputs: EngineInputs,
    modalities: Sequence[Modality],
    reads_tokens: frozenset[str] = frozenset(),
    reads_audio: frozenset[str] = frozenset(),
    reads_mel: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, EngineBatch]:
    """Checks an engine's inputs and fills in modalities that were left out as missing.

    Args:
        inputs: per modality a batch, all of one size.
        modalities: what the engine reads.
        reads_tokens: those of them that it reads as tokens.
        reads_audio: those that it hears.
        reads_mel: those that it reads as spectrograms, with their bands. All others are features.

    Raises:
        FeatureError: an unknown modality, one that is read otherwise, a wrong width or type, values that are not
            finite, batches of different sizes, other clips in one modality than in another, or a row with nothing to
            read.
    """
    known = {modality.name: modality for modality in modalities}
    kinds: dict[str, type[EngineBatch]] = dict.fromkeys(known, PaddedBatch)
    kinds |= dict.fromkeys(reads_tokens, TokenBatch) | dict.fromkeys(reads_audio, AudioBatch)
    kinds |= dict.fromkeys(reads_mel, MelBatch)
    for name, batch in inputs.items():
        if name not in known:
            raise FeatureError(f"unknown modality {name!r}: the engine reads {', '.join(known)}")
        if not isinstance(batch, kinds[name]):
            raise FeatureError(f"{name} is read as {_READ_AS[kinds[name]]} by this engine")
        if isinstance(batch, TokenBatch):
            _check_tokens(name, batch)
        elif isinstance(batch, PaddedBatch):
            _check_features(name, batch, known[name].dim)
        else:
            _check_audio(name, batch, reads_mel.get(name))
    sizes = {len(batch) for batch in inputs.values()}
    if len(sizes) != 1:
        raise FeatureError(f"modalities must share one batch size, got {sorted(sizes) or 'no modality at all'}")
    _check_same_clips(inputs, reads_audio | reads_mel.keys())
    nothing: list[None] = [None] * sizes.pop()

    def missing(name: str) -> EngineBatch:
        if name in reads_tokens:
            return pad_tokens(nothing)
        if name in reads_audio:
            return pad_audio(nothing)
        if name in reads_mel:
            silence = np.zeros((len(nothing), reads_mel[name], LEAST_MEL_FRAMES), dtype=np.float32)
            return MelBatch(silence, np.zeros(len(nothing), dtype=np.int64))
        return pad(nothing, known[name].dim)

    full = {name: inputs.get(name) or missing(name) for name in known}
    empty = np.flatnonzero(~np.any([_there(batch) for batch in full.values()], axis=0))
    if empty.size:
        raise FeatureError(f"row {empty[0]} has no modality at all: there is nothing to score")
    return full


def complete_features(inputs: EngineInputs, modalities: Sequence[Modality]) -> dict[str, PaddedBatch]:
    """As `complete`, for an engine that reads features alone."""
    full = complete(inputs, modalities)
    return {name: batch for name, batch in full.items() if isinstance(batch, PaddedBatch)}


def _there(batch: EngineBatch) -> NDArray[np.bool_]:
    """Where there is something to read, `[batch]`: less than a frame hears is nothing to waveform encoders."""
    least = FRAME_SAMPLES if isinstance(batch, AudioBatch) else 1
    return np.asarray(batch.lengths >= least)


def _check_same_clips(inputs: EngineInputs, hearing: Set[str]) -> None:
    """Speech encoders inside an engine are given one clip a row."""
    heard = {name: batch for name, batch in inputs.items() if isinstance(batch, AudioBatch | MelBatch)}
    if not heard:
        return
    left_out = sorted(hearing - heard.keys())
    if left_out:
        raise FeatureError(f"{', '.join(left_out)} hears the clips that {', '.join(heard)} hears: give it to all")
    first = next(iter(heard))
    waveforms = [batch.samples for batch in heard.values() if isinstance(batch, AudioBatch)]
    same = all(np.array_equal(batch.lengths, heard[first].lengths) for batch in heard.values())
    if not same or not all(own is waveforms[0] or np.array_equal(own, waveforms[0]) for own in waveforms):
        raise FeatureError(f"{', '.join(heard)} must be given the same clips")


def _check_tokens(name: str, batch: TokenBatch) -> None:
    if batch.tokens.dtype != np.int64 or batch.lengths.dtype != np.int64:
        raise FeatureError(f"{name} must be int64 tokens with int64 lengths")
    if (batch.tokens < 0).any():
        raise FeatureError(f"{name} holds a negative token")


def _check_audio(name: str, batch: AudioBatch | MelBatch, bands: int | None) -> None:
    if batch.sequence.dtype != np.float32 or batch.lengths.dtype != np.int64:
        raise FeatureError(f"{name} must be float32 with int64 lengths")
    if isinstance(batch, MelBatch) and batch.mel.shape[1] != bands:
        raise FeatureError(f"{name} has {batch.mel.shape[1]} mel bands, the engine reads {bands}")
    broken = np.flatnonzero(~np.isfinite(batch.sequence.reshape(len(batch), -1)).all(axis=1))
    if broken.size:
        raise FeatureError(f"{name} holds values that are not finite in row {broken[0]}")


def _check_features(name: str, batch: PaddedBatch, dim: int) -> None:
    if batch.features.shape[2] != dim:
        raise FeatureError(f"{name} has {batch.features.shape[2]} features a frame, the engine reads {dim}")
    if batch.features.dtype != np.float32 or batch.lengths.dtype != np.int64:
        raise FeatureError(f"{name} must be float32 with int64 lengths")
    broken = np.flatnonzero(~np.isfinite(batch.features).all(axis=(1, 2)))
    if broken.size:
        raise FeatureError(f"{name} holds values that are not finite in row {broken[0]}")
