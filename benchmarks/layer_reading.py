"""Clips as each hidden layer of the Whisper encoder hears them, read as extraction reads them: one vector a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import BenchmarkError
from models.backbones.whisper import EncodedSpeech
from models.emotions import LabelSet
from models.errors import FeatureError
from models.windows import FINAL_WINDOWS, SAMPLE_RATE_HZ
from trainer.assembly import TEST_SPLIT
from trainer.audio import read_clip
from trainer.augment import CLEAN, view
from trainer.corpora.manifest import Corpus, Problem, Utterance
from trainer.errors import CorpusError
from trainer.progress import Advance
from trainer.silence import trim_silence

DEPTH: Final = 6
"""Hidden layers of the encoder of `whisper-base`."""

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """What is asked of a `WhisperEncoder` opened for all its layers."""

    def encode(self, segments: Sequence[NDArray[np.float32]], window_s: float) -> EncodedSpeech:
        """Every layer of some segments, as `WhisperEncoder.encode`."""
        ...


class Prosody(Protocol):
    """What is asked of a `ProsodyExtractor`."""

    def extract(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The prosody stream of a segment, `[frames, columns]`."""
        ...


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe reads of a clip."""

    layer: int | None = None
    """Hidden layer, counted from 1; the last is read after its norm. None for no layer."""
    prosody: bool = False
    """Whether the prosody stream is read, beside the layer or alone."""

    @property
    def title(self) -> str:
        """For people."""
        layer = [] if self.layer is None else [f"layer {self.layer}"]
        return " + ".join([*layer, *(["prosody"] if self.prosody else [])])


@dataclass(frozen=True, slots=True, eq=False)
class ReadClips:
    """Clips with what was read of them; row by row the same ones everywhere."""

    ids: tuple[str, ...]
    labels: LabelSet
    corpora: NDArray[np.str_]
    speakers: NDArray[np.str_]
    true: NDArray[np.int64]
    """Position in `labels` of what the raters agreed on."""
    may_train: NDArray[np.bool_]
    """False where the corpus sets a clip aside for testing."""
    vectors: Mapping[Probed, Vectors]
    """Mean and standard deviation over the frames of a clip, `[clips, 2 * features]`: of each layer, of prosody."""
    problems: tuple[Problem, ...] = ()
    """Clips that could not be read."""

    @property
    def probed(self) -> tuple[Probed, ...]:
        """All that a probe can read: each layer, and where prosody was read, that alone and beside each of them."""
        layers = tuple(one for one in sorted(self.vectors, key=lambda one: one.layer or 0) if not one.prosody)
        if Probed(prosody=True) not in self.vectors:
            return layers
        return (*layers, Probed(prosody=True), *(Probed(one.layer, prosody=True) for one in layers))

    @property
    def last(self) -> Probed:
        """The last layer, which a decoder reads: what the others are compared with."""
        return max((one for one in self.vectors if not one.prosody), key=lambda one: one.layer or 0)

    def of(self, probed: Probed) -> Vectors:
        """What one probe reads, `[clips, features]`."""
        if probed in self.vectors:
            return self.vectors[probed]
        return np.concatenate([self.vectors[Probed(probed.layer)], self.vectors[Probed(prosody=True)]], axis=1)

    def rows_of(self, corpus: str) -> NDArray[np.int64]:
        """Rows of the clips of one corpus."""
        return np.flatnonzero(self.corpora == corpus)


def agreed(corpora: Sequence[Corpus]) -> list[Utterance]:
    """What can be probed: the spoken utterances on whose class their raters agreed.

    Raises:
        BenchmarkError: a corpus has none.
    """
    kept = []
    for corpus in corpora:
        own = [u for u in corpus.utterances if u.audio is not None and u.consensus is not None]
        if not own:
            raise BenchmarkError(f"corpus {corpus.name} has no spoken utterance on whose emotion its raters agree")
        kept += own
    return kept


def read(
    utterances: Sequence[Utterance], labels: LabelSet, encoder: Encoder, prosody: Prosody | None, advance: Advance
) -> ReadClips:
    """Reads clips as training does: cut to their speech, in their window, in the clean view.

    Args:
        utterances: from `agreed`, over `labels`.
        labels: what the positions of their targets mean.
        encoder: opened for all its layers.
        prosody: read beside them, unless None.
        advance: told of every clip.

    Returns:
        All that could be read, and a problem for every other.

    Raises:
        BenchmarkError: no clip could be read.
    """
    rows: dict[Probed, list[Vectors]] = {}
    kept: list[Utterance] = []
    problems: list[Problem] = []
    for utterance in utterances:
        try:
            found, seconds = _vectors(utterance, encoder, prosody)
        except (CorpusError, FeatureError) as error:
            problems.append(Problem(utterance.id, str(error)))
            advance(1, 0.0)
            continue
        for probed, vector in found.items():
            rows.setdefault(probed, []).append(vector)
        kept.append(utterance)
        advance(1, seconds)
    if not kept:
        raise BenchmarkError(
            f"none of {len(utterances)} clips could be read" + (f": {problems[0]}" if problems else "")
        )
    vectors = {probed: np.stack(own) for probed, own in rows.items()}
    return replace(unread(kept, labels), vectors=vectors, problems=tuple(problems))


def unread(utterances: Sequence[Utterance], labels: LabelSet) -> ReadClips:
    """What can be said of clips before any of them is read: no vectors yet.

    Args:
        utterances: from `agreed`, over `labels`.
        labels: what the positions of their targets mean.
    """
    return ReadClips(
        ids=tuple(u.id for u in utterances),
        labels=labels,
        corpora=np.array([u.corpus for u in utterances], dtype=np.str_),
        speakers=np.array([u.speaker for u in utterances], dtype=np.str_),
        true=np.array([int(np.argmax(u.target)) for u in utterances], dtype=np.int64),
        may_train=np.array([u.split != TEST_SPLIT for u in utterances], dtype=np.bool_),
        vectors={},
    )


def _vectors(utterance: Utterance, encoder: Encoder, prosody: Prosody | None) -> tuple[dict[Probed, Vectors], float]:
    """A vector of every layer, and the seconds of speech that were encoded."""
    if utterance.audio is None:
        raise CorpusError(f"{utterance.id}: no audio to read")
    samples = view(CLEAN).apply(trim_silence(read_clip(utterance.audio)), utterance.id)
    frames = encoder.encode([samples], FINAL_WINDOWS.bucket_s(samples.size)).frames
    found = {Probed(DEPTH if layer is None else layer): _pooled(own, utterance.id) for layer, (own,) in frames.items()}
    if prosody is not None:
        found[Probed(prosody=True)] = _pooled(prosody.extract(samples), utterance.id)
    return found, samples.size / SAMPLE_RATE_HZ


def _pooled(frames: NDArray[np.float32], utterance: str) -> Vectors:
    """Mean and standard deviation of frames, `[frames, features]` to `[2 * features]`."""
    if not len(frames) or not np.isfinite(frames).all():
        raise FeatureError(f"{utterance}: it gives no frames, or frames that are not finite")
    pooled = np.concatenate([frames.mean(axis=0, dtype=np.float64), frames.std(axis=0, dtype=np.float64)])
    return pooled.astype(np.float32)
