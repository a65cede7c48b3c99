"""Stored features read at random, alone and beside the training step that waits for them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.backbones.registry import backbone
from models.deepser import DeepSER
from trainer.assembly import examples_of
from trainer.corpora.manifest import Utterance
from trainer.dataset import Batch, Example, TrainingSet
from trainer.feature_library import FeatureLibrary
from trainer.fitting import fit
from trainer.members import member_config
from trainer.objectives import Objective
from trainer.recipe import MemberRecipe, Recipe
from trainer.running import one_thread
from trainer.sampling import Indices
from trainer.speakers import fit_priors

CLIP_S: Final = (2.0, 11.0)
"""Durations of made-up clips, as those of MSP-Podcast."""
TOKENS: Final = (4, 40)
MADE_UP: Final = "made_up"
SPEAKERS: Final = 100
READ_EXAMPLES: Final = 4000
"""Most that are read at random."""
STEPS: Final = 30
SEED: Final = 2506
_HOUR_S: Final = 3600.0
_WARM, _DROPPED = "warm", "dropped"


@dataclass(frozen=True, slots=True)
class ReadingRow:
    """Reading utterances by id, all their modalities, in no order."""

    measurement: str
    """`reading`."""
    page_cache: str
    """`warm`, or `dropped` before: then the disk is read."""
    stored_hours: float
    examples: int
    mb: float
    examples_per_s: float
    mb_per_s: float


@dataclass(frozen=True, slots=True)
class StepRow:
    """One training step of a member, and what it waits for."""

    measurement: str
    """`step`."""
    member: str
    parameters: int
    batch: int
    steps: int
    mb_a_batch: float
    """Read from the stores, which are in the page cache."""
    reading_ms: float
    """Of a batch: from the stores to padded tensors."""
    step_ms: float
    """Everything else: forward, backward, optimiser."""
    reading_over_step: float


class _Timed(TrainingSet):
    """Remembers how long its batches took to make."""

    spent_s = 0.0
    batches = 0

    def collate(
        self, indices: Indices, modalities: Sequence[str], *, drop: float = 0.0, rng: np.random.Generator | None = None
    ) -> Batch:
        started = time.perf_counter()
        batch = super().collate(indices, modalities, drop=drop, rng=rng)
        if len(indices):
            self.spent_s += time.perf_counter() - started
            self.batches += 1
        return batch


def measure_reading(recipe: Recipe, hours: float, folder: Path) -> tuple[list[ReadingRow], FeatureLibrary]:
    """Makes stores up and reads them at random.

    Args:
        recipe: says which stores; features are noise, since what they say does not matter to reading.
        hours: of audio they would be of.
        folder: for the stores; empty.

    Returns:
        A row by state of the page cache, and the stores.
    """
    count = _made_up(recipe, hours, folder)
    ids = [int(number) for number in np.random.default_rng(SEED).permutation(count)[:READ_EXAMPLES]]
    rows = []
    for cache in (_DROPPED, _WARM) if drop_page_cache(folder) else (_WARM,):
        library = FeatureLibrary(folder, recipe.modalities)
        if cache == _WARM:
            _read(library, ids)
        size, seconds = _read(library, ids)
        rows.append(
            ReadingRow(
                measurement="reading",
                page_cache=cache,
                stored_hours=round(hours, 2),
                examples=len(ids),
                mb=round(size / 1e6, 2),
                examples_per_s=round(len(ids) / seconds, 1),
                mb_per_s=round(size / 1e6 / seconds, 1),
            )
        )
    return rows, FeatureLibrary(folder, recipe.modalities)


def measure_steps(recipe: Recipe, library: FeatureLibrary, steps: int = STEPS) -> StepRow:
    """Trains the largest member of a recipe for some steps, by the code that trains it for good.

    Args:
        recipe: members, batch, rates.
        library: stores that `measure_reading` made.
        steps: how many, one batch each; a batch more is trained before, unmeasured.
    """
    member = max(recipe.members, key=lambda m: _parameters(DeepSER(member_config(m, recipe, library.dims))))
    batch = recipe.stage1.batch
    names = list(next(iter(library.stores.values())))[: (steps + 1) * batch]
    examples = examples_of([_utterance(recipe, name) for name in names], recipe, library)
    data = TrainingSet(examples, recipe.label_set, library.dims)
    data = data.standardised(fit_priors(examples, recipe.speaker, library.dims))
    with one_thread():
        model = DeepSER(member_config(member, recipe, library.dims))
        _train(model, member, recipe, data, range(min(batch, len(data))))
        measured = _Timed(data.examples, data.labels, data.dims, data.standardisation)
        order = range(min(batch, len(data) - 1), len(data))
        started = time.perf_counter()
        _train(model, member, recipe, measured, order)
        whole_s = time.perf_counter() - started
    size = sum(_bytes_of(measured.examples[i], member) for i in order)
    trained = max(1, measured.batches)
    reading_ms, step_ms = (1e3 * spent_s / trained for spent_s in (measured.spent_s, whole_s - measured.spent_s))
    return StepRow(
        measurement="step",
        member=member.name,
        parameters=_parameters(model),
        batch=batch,
        steps=trained,
        mb_a_batch=round(size / 1e6 / trained, 3),
        reading_ms=round(reading_ms, 3),
        step_ms=round(step_ms, 3),
        reading_over_step=round(reading_ms / step_ms, 4),
    )


def drop_page_cache(folder: Path) -> bool:
    """Asks the system to forget what it holds of the files of a folder; False where it cannot be asked.

    Files in memory, such as those of a tmpfs, are not on any disk and stay.
    """
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in folder.rglob("*.f16"):
        with path.open("rb") as file:
            # What is not on the disk yet cannot be forgotten.
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def _train(model: DeepSER, member: MemberRecipe, recipe: Recipe, data: TrainingSet, order: range) -> None:
    """One epoch over some examples, the last weights kept, nothing to choose by."""
    nothing = TrainingSet([], data.labels, data.dims)
    stage = recipe.stage1.model_copy(update={"epochs": 1, "keep": "last"})
    fit(
        model,
        data,
        nothing,
        member.modalities,
        epoch=lambda _: np.array(order, dtype=np.int64),
        stage=stage,
        objective=Objective(),
        mixup_alpha=recipe.mixup_alpha,
        weights=None,
        seed=SEED,
    )


def _made_up(recipe: Recipe, hours: float, folder: Path) -> int:
    """Fills stores with noise; returns of how many utterances."""
    rng = np.random.default_rng(SEED)
    count = max(1, round(hours * _HOUR_S / float(np.mean(CLIP_S))))
    with FeatureLibrary(folder, recipe.modalities) as library:
        for store in library.stores.values():
            spec = backbone(store.policy["backbone"])
            longest = TOKENS[1] if spec.rate_hz is None else round(CLIP_S[1] * spec.rate_hz / store.policy["stride"])
            noise = rng.standard_normal((longest, store.policy["dim"])).astype(np.float16)
            for number in range(count):
                share = rng.uniform(CLIP_S[0] / CLIP_S[1], 1.0)
                store.append(f"{MADE_UP}/{number}", noise[: max(1, round(share * longest))])
    return count


def _utterance(recipe: Recipe, name: str) -> Utterance:
    number = int(name.partition("/")[2])
    return Utterance(
        id=name,
        corpus=MADE_UP,
        audio=Path(f"{number}.wav"),
        text="made up",
        language="en",
        target=np.eye(len(recipe.labels), dtype=np.float32)[number % len(recipe.labels)],
        speaker=f"{MADE_UP}/{number % SPEAKERS}",
        labels=recipe.label_set,
    )


def _read(library: FeatureLibrary, numbers: Sequence[int]) -> tuple[int, float]:
    """Bytes that were read, and the seconds that took."""
    size = 0
    started = time.perf_counter()
    for number in numbers:
        for features in library.features(f"{MADE_UP}/{number}").values():
            if features is not None:
                size += features.copy().nbytes
    return size, time.perf_counter() - started


def _bytes_of(example: Example, member: MemberRecipe) -> int:
    return sum(f.nbytes for name in member.modalities if (f := example.features.get(name)) is not None)


def _parameters(model: DeepSER) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
