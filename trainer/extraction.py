"""From corpora to feature stores: each clip decoded once, each backbone run once, bad clips listed and passed over."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.backbones.registry import BackboneSpec
from models.errors import FeatureError
from models.modalities import group_frames
from models.windows import SAMPLE_RATE_HZ
from trainer.audio import read_clip
from trainer.augment import View
from trainer.corpora.manifest import Problem, Utterance
from trainer.errors import CorpusError
from trainer.extractors import Clip, Extractor, applies
from trainer.features import FeatureStore
from trainer.silence import trim_silence

Progress = Callable[[int, float], None]
"""Called with utterances done and seconds of their audio, since the last call."""

_LARGEST_HALF: Final = float(np.finfo(np.float16).max)


@dataclass(slots=True)
class ExtractionReport:
    """What came of an extraction."""

    stored: Counter[str] = field(default_factory=Counter)
    """Utterances by store."""
    present: Counter[str] = field(default_factory=Counter)
    """Utterances that were there before."""
    missing: Counter[str] = field(default_factory=Counter)
    """Utterances without what the backbone reads: no audio, no transcript, or one in a language it does not know."""
    failures: list[Problem] = field(default_factory=list)
    """Clips that could not be decoded or encoded; their features are missing too."""

    def add(self, other: ExtractionReport) -> None:
        """Takes in another report."""
        self.stored.update(other.stored)
        self.present.update(other.present)
        self.missing.update(other.missing)
        self.failures.extend(other.failures)


@dataclass(frozen=True, slots=True)
class Target:
    """A store and the backbone that fills it."""

    store: FeatureStore
    backbone: BackboneSpec
    extractor: Extractor
    stride: int = 1
    """Frames made one before they are stored."""
    deviations: bool = False
    """Whether their deviations are stored beside their means."""

    @property
    def name(self) -> str:
        """For reports."""
        return self.store.folder.name

    def lacks(self, utterance: Utterance) -> bool:
        """Whether the store should hold the utterance and does not."""
        return applies(self.backbone, utterance) and not self.store.has(utterance.id)


def extract(
    utterances: Iterable[Utterance], targets: Sequence[Target], view: View, progress: Progress | None = None
) -> ExtractionReport:
    """Fills stores with what they lack; may be stopped at any point and called again.

    Args:
        utterances: of any corpora; a store takes those that it lacks and its backbone can read.
        targets: stores of one view with their backbones.
        view: what the waveform goes through before a backbone sees it.
        progress: told of every utterance.

    Returns:
        What was stored, and every clip that could not be used with the reason.

    Raises:
        FeatureStoreError: a store cannot be written.
    """
    run = _Run(targets, view, progress)
    for utterance in utterances:
        run.take(utterance)
    run.finish()
    return run.report


class _Run:
    """One pass over the corpora: clips wait in their bucket until there is a batch of them."""

    def __init__(self, targets: Sequence[Target], view: View, progress: Progress | None) -> None:
        self.report = ExtractionReport()
        self._targets = targets
        self._view = view
        self._progress = progress
        self._waiting: Mapping[tuple[int, Hashable], list[Clip]] = defaultdict(list)

    def take(self, utterance: Utterance) -> None:
        """Decodes an utterance if a store lacks it, and puts it where it waits for its batches."""
        wanted = [position for position, target in enumerate(self._targets) if target.lacks(utterance)]
        if not wanted:
            return
        samples: NDArray[np.float32] | None = None
        if utterance.audio is not None and any(self._hears(p) for p in wanted):
            try:
                samples = self._view.apply(trim_silence(read_clip(utterance.audio)), utterance.id)
            except CorpusError as error:
                self._fail(utterance.id, str(error))
                wanted = [p for p in wanted if not self._hears(p)]
        clip = Clip(utterance.id, samples, utterance.text or "")
        for position in wanted:
            self._queue(position, clip)
        if self._progress is not None:
            self._progress(1, 0.0 if samples is None else samples.size / SAMPLE_RATE_HZ)

    def finish(self) -> None:
        """Encodes what still waits."""
        for (position, _), clips in self._waiting.items():
            self._encode(self._targets[position], clips)
            clips.clear()

    def _hears(self, position: int) -> bool:
        return self._targets[position].backbone.kind == "acoustic"

    def _queue(self, position: int, clip: Clip) -> None:
        target = self._targets[position]
        try:
            bucket = target.extractor.bucket(clip)
        except FeatureError as error:
            self._fail(clip.id, f"{target.name}: {error}")
            return
        clips = self._waiting[position, bucket]
        clips.append(clip)
        if len(clips) >= target.extractor.room(clip):
            self._encode(target, clips)
            clips.clear()

    def _encode(self, target: Target, clips: Sequence[Clip]) -> None:
        """Encodes and stores a batch; one that fails is taken apart until the clip at fault stands alone."""
        if not clips:
            return
        try:
            encoded = target.extractor.encode(clips)
        except (FeatureError, RuntimeError, ValueError) as error:
            if len(clips) == 1:
                self._fail(clips[0].id, f"{target.name}: {error}")
                return
            middle = len(clips) // 2
            self._encode(target, clips[:middle])
            self._encode(target, clips[middle:])
            return
        for clip, features in zip(clips, encoded, strict=True):
            self._store(target, clip, features)

    def _store(self, target: Target, clip: Clip, features: NDArray[np.float32]) -> None:
        if features.shape[0] == 0:
            self._fail(clip.id, f"{target.name}: it gives no frames")
            return
        if not (np.abs(features) <= _LARGEST_HALF).all():
            self._fail(clip.id, f"{target.name}: its features are not finite, or too large for half precision")
            return
        target.store.append(clip.id, group_frames(features, target.stride, target.deviations))
        self.report.stored[target.name] += 1

    def _fail(self, utterance: str, what: str) -> None:
        self.report.failures.append(Problem(utterance, what))
