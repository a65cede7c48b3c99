"""A corpus at a glance, as PNG."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from trainer.canvas import LIGHT, drawing, png
from trainer.corpora.manifest import Corpus
from trainer.corpora.summary import Summary, vote_entropies_bits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE: Final = "#2f6f9f"
_PALE: Final = "#b9d2e3"
_BINS: Final = 40
_LONG_QUANTILE: Final = 0.995
"""Clips longer than this share of all go into the last bar, or a few would squeeze the others into the first."""


def corpus_picture(corpus: Corpus, summary: Summary) -> bytes:
    """Classes as soft mass and as agreed, durations, utterances per speaker, and entropy of the votes.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    with drawing(LIGHT, 10.0, 7.0) as figure:
        axes = figure.subplots(2, 2)
        figure.suptitle(
            f"{corpus.name}: {summary.utterances} utterances, {summary.speakers} speakers, {summary.audio_h:.2f} h",
            fontsize=11,
        )
        _classes(axes[0, 0], summary)
        durations_s = np.array([u.duration_s for u in corpus.utterances if u.duration_s is not None])
        _histogram(axes[0, 1], durations_s, "duration in s", "no audio")
        _speakers(axes[1, 0], corpus)
        _histogram(
            axes[1, 1], np.array(vote_entropies_bits(corpus)), "entropy of the votes in bit", "no votes, one label each"
        )
        return png(figure)


def _classes(axes: Axes, summary: Summary) -> None:
    places = np.arange(len(summary.soft_mass))
    axes.bar(places - 0.2, list(summary.soft_mass.values()), width=0.4, color=_BLUE, label="sum of the targets")
    axes.bar(places + 0.2, list(summary.consensus.values()), width=0.4, color=_PALE, label="raters agree")
    axes.set_xticks(places, list(summary.soft_mass), rotation=40, ha="right")
    axes.set_ylabel("utterances")
    axes.set_title(f"{summary.ambiguous} without agreement on one class", fontsize=9)
    axes.legend(fontsize=8)


def _speakers(axes: Axes, corpus: Corpus) -> None:
    counts = sorted(Counter(u.speaker for u in corpus.utterances).values(), reverse=True)
    axes.fill_between(np.arange(len(counts)) + 0.5, counts, step="mid", color=_PALE)
    axes.step(np.arange(len(counts)) + 0.5, counts, where="mid", color=_BLUE)
    axes.set_xlim(0, max(len(counts), 1))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("speakers, those with most first")
    axes.set_ylabel("utterances")


def _histogram(axes: Axes, values: np.ndarray, label: str, without: str) -> None:
    axes.set_xlabel(label)
    axes.set_ylabel("utterances")
    if values.size == 0:
        axes.text(0.5, 0.5, without, ha="center", va="center", transform=axes.transAxes)
        return
    longest = float(np.quantile(values, _LONG_QUANTILE))
    shown = np.minimum(values, longest)
    axes.hist(shown, bins=_BINS, range=(0.0, max(longest, 1e-3)), color=_BLUE)
