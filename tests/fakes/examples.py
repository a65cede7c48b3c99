"""Training examples made up where a test wants them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.emotions import LabelSet
from models.speaker import Moments, SpeakerMoments
from trainer.dataset import Example, TrainingSet

LABELS = LabelSet(("angry", "sad", "happy", "neutral"))
DIMS = {"voice": 3, "words": 2}


def example(
    name: str,
    label: int = 0,
    *,
    speaker: str = "someone",
    corpus: str = "made_up",
    ambiguous: bool = False,
    attributes: NDArray[np.float32] | None = None,
    voice: NDArray[np.floating] | None = None,
    words: NDArray[np.floating] | None = None,
    moments: SpeakerMoments | None = None,
) -> Example:
    """An example of one class; of neither voice nor words where they are not given."""
    features = {m: None if v is None else v.astype(np.float16) for m, v in {"voice": voice, "words": words}.items()}
    return Example(
        id=name,
        corpus=corpus,
        speaker=speaker,
        target=np.eye(len(LABELS), dtype=np.float32)[label],
        ambiguous=ambiguous,
        attributes=attributes,
        features=features,
        spoken=voice is not None,
        moments=moments or {},
    )


def frames(*values: float, dim: int = DIMS["voice"]) -> NDArray[np.float16]:
    """`[values, dim]`, a frame a value."""
    return np.repeat(np.array(values, dtype=np.float16)[:, None], dim, axis=1)


def voice_moments(features: NDArray[np.floating], memory_frames: float = np.inf) -> Mapping[str, Moments]:
    """What a clip's voice adds to what is known of its speaker."""
    return {"voice": Moments.of(features, memory_frames)}


def learnable_set(count: int = 48, *, seed: int = 0, noise: float = 0.5) -> TrainingSet:
    """Examples of four classes and six speakers, whose voice and words tell the class."""
    rng = np.random.default_rng(seed)
    directions = {m: np.random.default_rng(99).normal(scale=2.0, size=(len(LABELS), d)) for m, d in DIMS.items()}
    made = []
    for i in range(count):
        label = i % len(LABELS)
        drawn = {
            m: directions[m][label] + rng.normal(scale=noise, size=(int(rng.integers(2, 6)), d))
            for m, d in DIMS.items()
        }
        made.append(
            example(
                f"clip-{i}",
                label,
                speaker=f"speaker-{i // len(LABELS) % 6}",
                voice=drawn["voice"],
                words=drawn["words"],
            )
        )
    return TrainingSet(made, LABELS, DIMS)
