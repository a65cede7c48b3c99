"""Scored sets made up where a test wants a report of one."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np

from models.emotions import LabelSet
from trainer.evaluation import Evaluation
from trainer.measurement import Measurement, measure
from trainer.scored import Scored

LABELS: Final = LabelSet(("angry", "sad", "happy", "neutral"))
MODELS: Final = {
    "ensemble": 2.0,
    "voice": 1.2,
    "words": 0.8,
    "single meta-classifier": 1.9,
    "soft voting": 1.7,
    "hard voting": 1.5,
    "SVM on scores": 1.4,
    "best member": 1.2,
}
"""By model, how clearly it tells the classes apart."""


def scored_set(
    count: int = 240,
    *,
    seed: int = 0,
    loss: float = 0.0,
    speakers: int = 8,
    corpus: str = "made_up",
    spoken: bool = True,
    labels: int = 4,
) -> Scored:
    """Examples of some speakers, `labels` of the four classes, and 0.4 to 6 s of speech.

    Args:
        count: of examples.
        seed: of the predictions.
        loss: how much less clearly every model tells the classes apart.
        speakers: how many; 0 makes everybody heard once.
        corpus: what ids and speakers begin with.
        spoken: False makes text of it.
        labels: how many of the classes occur.
    """
    rng = np.random.default_rng(seed)
    true = np.arange(count) % labels
    probabilities = {}
    for name, clear in MODELS.items():
        weights = np.exp((clear - loss) * np.eye(4)[true] + rng.normal(size=(count, 4)))
        probabilities[name] = weights / weights.sum(axis=1, keepdims=True)
    return Scored(
        ids=[f"{corpus}/{i}" for i in range(count)],
        speakers=[f"{corpus}/s{i // 4 % speakers}" if speakers else f"{corpus}/{i}" for i in range(count)],
        labels=LABELS,
        true=true,
        speech_s=rng.uniform(0.4, 6.0, count) if spoken else np.full(count, np.nan),
        abstain_below=np.full(count, 0.5),
        probabilities=probabilities,
    )


@functools.cache
def measurement(*, note: str | None = None, said: str | None = None) -> Measurement:
    """Everything measured of a made-up set, heard clean and through the telephone.

    Args:
        note: one that the report holds.
        said: what is said in every example, where a reader asked for it.
    """
    views = {"clean": scored_set(), "telephone": scored_set(loss=0.8)}
    texts = None if said is None else dict.fromkeys(views["clean"].ids, said)
    return measure("made up <5 folds>", Evaluation(views, [] if note is None else [note]), texts=texts)
