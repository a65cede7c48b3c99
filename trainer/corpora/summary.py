"""What a corpus holds, in figures: classes, durations, speakers, and how far its raters agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from trainer.corpora.manifest import Corpus

_QUANTILES: Final = {"shortest": 0.0, "tenth": 0.1, "median": 0.5, "nine_tenths": 0.9, "longest": 1.0}
_UNSTATED: Final = "unstated"


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one corpus."""

    name: str
    licence: str
    utterances: int
    ambiguous: int
    """How many are without agreement on one of our classes."""
    speakers: int
    audio_h: float
    without_transcript: int
    with_attributes: int
    soft_mass: Mapping[str, float]
    """By class, the targets summed: how many utterances' worth of it there is."""
    consensus: Mapping[str, int]
    """By class, the utterances whose raters agreed on it."""
    splits: Mapping[str, int]
    genders: Mapping[str, int]
    languages: Mapping[str, int]
    durations_s: Mapping[str, float]
    """Quantiles, of the clips that say how long they are."""
    vote_entropy_bits: float | None
    """Mean over the utterances with votes, `other` counted as a class; None where there are none."""
    problems: int

    def as_mapping(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarise(corpus: Corpus) -> Summary:
    """Counts what a corpus holds."""
    utterances = corpus.utterances
    mass = np.zeros(len(corpus.labels))
    for utterance in utterances:
        mass += utterance.target
    durations_s = [u.duration_s for u in utterances if u.duration_s is not None]
    entropies = vote_entropies_bits(corpus)
    agreed = Counter(u.consensus for u in utterances if u.consensus is not None)
    return Summary(
        name=corpus.name,
        licence=corpus.licence,
        utterances=len(corpus),
        ambiguous=sum(u.ambiguous for u in utterances),
        speakers=len(corpus.speakers),
        audio_h=corpus.duration_s / 3600,
        without_transcript=sum(u.text is None for u in utterances),
        with_attributes=sum(u.attributes is not None for u in utterances),
        soft_mass=dict(zip(corpus.labels, mass.tolist(), strict=True)),
        consensus={label: agreed[label] for label in corpus.labels},
        splits=_counted(u.split for u in utterances),
        genders=_counted(u.gender for u in utterances),
        languages=_counted(u.language for u in utterances),
        durations_s={name: float(np.quantile(durations_s, share)) for name, share in _QUANTILES.items() if durations_s},
        vote_entropy_bits=float(np.mean(entropies)) if entropies else None,
        problems=len(corpus.problems),
    )


def vote_entropies_bits(corpus: Corpus) -> list[float]:
    """How far raters were apart, for each utterance with votes: 0 where all chose the same."""
    return [entropy_bits(u.votes.values()) for u in corpus.utterances if u.votes]


def entropy_bits(weights: Iterable[float]) -> float:
    """Entropy of weights taken as a distribution."""
    positive = [weight for weight in weights if weight > 0]
    total = math.fsum(positive)
    return max(0.0, -math.fsum(weight / total * math.log2(weight / total) for weight in positive))


def _counted(values: Iterable[str | None]) -> dict[str, int]:
    counts = Counter(value or _UNSTATED for value in values)
    return {value: counts[value] for value in sorted(counts)}
