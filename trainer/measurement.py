"""Everything measured of one evaluation, taken together so that no figure is left out of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from trainer.abstention import Abstention, abstention
from trainer.aggregation import AGGREGATIONS, ENSEMBLE
from trainer.breakdown import PartScores, by_duration, by_speaker
from trainer.comparison import Difference, paired_difference
from trainer.errors import MetricError
from trainer.evaluation import Evaluation
from trainer.metrics import RiskCoverage
from trainer.mistakes import Mistake, most_confident_mistakes
from trainer.results import Result
from trainer.scored import Scored

FORMAT_VERSION: Final = 2
_CURVE_POINTS: Final = 200
"""Most points of a curve that are written: those of a large corpus would fill megabytes."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures of an evaluation, of its ensemble first."""

    protocol: str
    """What was evaluated, and how."""
    notes: tuple[str, ...]
    """What a reader must know to take the figures rightly, a sentence each."""
    view: str
    """Waveform view that the figures are of, where nothing else is said."""
    text_only: bool
    """True where nothing is spoken: the figures are of the words alone."""
    results: tuple[Result, ...]
    """Of the ensemble, its members, and the other aggregations."""
    members: tuple[str, ...]
    aggregations: tuple[Difference, ...]
    """Other aggregations less the ensemble."""
    speakers: tuple[PartScores, ...]
    """The ensemble, by speaker, the worst first; none where no speaker has two examples."""
    durations: tuple[PartScores, ...]
    """The ensemble, by seconds of speech; none where nothing is spoken."""
    other_views: Mapping[str, tuple[Result, ...]]
    """As `results`, of each further view."""
    view_differences: tuple[Difference, ...]
    """The ensemble in each further view less the ensemble in `view`, on the clips that both hold."""
    abstention_in_use: Abstention | None
    """With the ensemble choosing among all its classes, as it does in use, where the corpus has not all of them: it is
    wrong then whenever it says one that is not there. None where the corpus has them all."""
    mistakes: tuple[Mistake, ...]
    """What the ensemble is most confidently wrong about."""

    @property
    def ensemble(self) -> Result:
        """What the report is about."""
        return self.results[0]

    def figures(self) -> dict[str, Any]:
        """For model cards and the console: every figure that names no person and no recording."""
        return {
            "protocol": self.protocol,
            "notes": list(self.notes),
            "view": self.view,
            "text_only": self.text_only,
            "members": list(self.members),
            "models": {result.name: result.as_mapping() for result in self.results},
            "aggregations": {entry.name: entry.as_mapping() for entry in self.aggregations},
            "abstention_in_use": None if self.abstention_in_use is None else self.abstention_in_use.as_mapping(),
            "durations": [part.as_mapping() for part in self.durations],
            "views": {
                entry.name: {
                    **_loss(entry),
                    "models": {result.name: result.as_mapping() for result in self.other_views[entry.name]},
                }
                for entry in self.view_differences
            },
        }

    def as_mapping(self) -> dict[str, Any]:
        """For JSON: the figures, and what the pictures and lists of a report show."""
        bins = self.ensemble.reliability
        return {
            "version": FORMAT_VERSION,
            **self.figures(),
            "speakers": [part.as_mapping() for part in self.speakers],
            "reliability": {
                "edges": _rounded(bins.edges),
                "examples": bins.counts.tolist(),
                "confidence": _rounded(bins.confidence),
                "accuracy": _rounded(bins.accuracy),
            },
            "risk_coverage": _curve(self.ensemble.risk_coverage),
            "mistakes": [mistake.as_mapping() for mistake in self.mistakes],
        }


def measure(protocol: str, evaluation: Evaluation, *, texts: Mapping[str, str] | None = None) -> Measurement:
    """Measures an evaluation: over the classes that its corpus has.

    Args:
        protocol: what was evaluated, and how.
        evaluation: at least one view.
        texts: what is said, by id, only where a reader asked to see it.

    Raises:
        MetricError: there is nothing to measure, or two views have no clip in common.
    """
    if not evaluation.views:
        raise MetricError("there is no view to measure")
    (view, first), *others = evaluation.views.items()
    notes = list(evaluation.notes)
    if first.present != first.labels:
        absent = [name for name in first.labels if name not in first.present.names]
        notes.append(
            f"There is no {', '.join(absent)} in the corpus: every model chooses among the other classes, and its "
            "confidence is taken over those."
        )
    kept = first.present
    scored = first.restricted(kept)
    ensemble = scored.probabilities[ENSEMBLE]
    predicted = ensemble.argmax(axis=1)
    text_only = not np.isfinite(scored.speech_s).any()
    if text_only and others:
        notes.append(f"Text has no waveform: there is nothing to hear in view {', '.join(name for name, _ in others)}.")
        others = []
    further = {name: _shared(entry, first, name).restricted(kept) for name, entry in others}
    # Where everybody is heard once, as where nobody knows who wrote, there is no speaker to tell apart.
    told_apart = len(set(scored.speakers)) < len(scored.ids)
    return Measurement(
        protocol=protocol,
        notes=tuple(notes),
        view=view,
        text_only=text_only,
        results=tuple(scored.measured()),
        members=scored.members,
        aggregations=tuple(
            paired_difference(name, scored.true, predicted, values.argmax(axis=1), kept, scored.speakers)
            for name, values in scored.probabilities.items()
            if name in AGGREGATIONS
        ),
        speakers=by_speaker(scored.true, predicted, kept, scored.speakers) if told_apart else (),
        durations=by_duration(scored.true, predicted, kept, scored.speech_s),
        other_views={name: tuple(entry.measured()) for name, entry in further.items()},
        view_differences=tuple(_view_difference(name, scored, entry) for name, entry in further.items()),
        abstention_in_use=None if kept == first.labels else _abstention(first),
        mistakes=most_confident_mistakes(scored.ids, scored.speakers, scored.true, ensemble, kept, texts=texts),
    )


def _abstention(scored: Scored) -> Abstention:
    ensemble = scored.probabilities[ENSEMBLE]
    several = scored.speakers if len(set(scored.speakers)) > 1 else None
    right = ensemble.argmax(axis=1) == scored.true
    return abstention(ensemble.max(axis=1), right, scored.abstain_below, speakers=several)


def _shared(other: Scored, first: Scored, name: str) -> Scored:
    """The examples of another view that the first has too."""
    shared = set(first.ids)
    found = other.select([at for at, example in enumerate(other.ids) if example in shared])
    if not found.ids:
        raise MetricError(f"no example is there both in view {name} and in the one it is compared with")
    return found


def _view_difference(name: str, first: Scored, other: Scored) -> Difference:
    """The ensemble in another view less the ensemble in the first, on the spoken examples of both, joined by id."""
    place = {example: position for position, example in enumerate(first.ids)}
    there = [at for at in range(len(other.ids)) if np.isfinite(other.speech_s[at])]
    here = [place[other.ids[at]] for at in there]
    return paired_difference(
        name,
        first.true[here],
        first.probabilities[ENSEMBLE][here].argmax(axis=1),
        other.probabilities[ENSEMBLE][there].argmax(axis=1),
        first.labels,
        [first.speakers[at] for at in here],
    )


def _loss(difference: Difference) -> dict[str, Any]:
    interval = difference.loss_interval
    return {
        "examples": difference.examples,
        "reference_macro_f1": round(difference.reference_macro_f1, 4),
        "macro_f1": round(difference.macro_f1, 4),
        "loss": round(difference.loss, 4),
        "loss_low": None if interval is None else round(interval.low, 4),
        "loss_high": None if interval is None else round(interval.high, 4),
    }


def _curve(curve: RiskCoverage) -> dict[str, list[float]]:
    count = curve.coverage.size
    kept = np.unique(np.linspace(0, count - 1, min(count, _CURVE_POINTS)).round().astype(np.int64))
    return {
        "threshold": _rounded(curve.thresholds[kept]),
        "coverage": _rounded(curve.coverage[kept]),
        "risk": _rounded(curve.risk[kept]),
    }


def _rounded(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    return [round(float(value), 4) for value in values]
