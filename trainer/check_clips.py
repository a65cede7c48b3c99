"""The clips that a bundle carries, so that engines are checked on what members read in earnest."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.backbones.registry import BackboneSpec
from models.backbones.sources import backbone_folder
from models.backbones.text_source import WRITTEN
from models.backbones.tokens import Tokens
from models.check_clips import CheckClips
from models.errors import WeightsError
from trainer.corpora.manifest import Corpus
from trainer.dataset import TrainingSet
from trainer.recipe import Recipe
from trainer.sampling import Indices

log = logging.getLogger(__name__)

MOST_CLIPS: Final = 200
"""As few as can tell 99.5 % from less."""

_LARGEST_HALF: Final = float(np.finfo(np.float16).max)


def choose_clips(
    development: TrainingSet, recipe: Recipe, corpora: Sequence[Corpus], most: int = MOST_CLIPS
) -> CheckClips | None:
    """Draws clips evenly over corpora and labels, the same every time for the recipe's seed.

    A modality whose text encoder can stand inside an engine is kept as tokens of the transcript, others as features.

    Args:
        development: what no member was trained on, brought relative to its speakers.
        recipe: of the run.
        corpora: hold the transcripts.
        most: how many.

    Returns:
        The clips; None where there is none.
    """
    tokenisers = _tokenisers(recipe)
    transcripts = {u.id: u.text for corpus in corpora for u in corpus.utterances if u.text}
    usable = np.array(
        [
            all(e.features[name] is None for name in tokenisers) or e.utterance in transcripts
            for e in development.examples
        ],
        dtype=np.bool_,
    )
    if not usable.all():
        log.warning(
            "%d held-out utterances are not drawn from to check engines on: they have features of text, and the "
            "corpora have no transcript of them",
            int((~usable).sum()),
        )
    chosen = draw_evenly(development, np.flatnonzero(usable), most, recipe.seed)
    if not chosen.size:
        return None
    examples = [development.examples[i] for i in chosen]
    tokens = {
        name: [
            tokeniser.encode([transcripts[e.utterance]])[0] if e.features[name] is not None else None for e in examples
        ]
        for name, tokeniser in tokenisers.items()
    }
    as_features = [name for name in recipe.modalities if name not in tokens]
    return CheckClips(_features(development, chosen, as_features), tokens)


def draw_evenly(data: TrainingSet, candidates: Indices, most: int, seed: int) -> Indices:
    """Draws examples in turn from every corpus and dominant class, until there are enough or none is left.

    Args:
        data: the examples.
        candidates: which of them may be drawn.
        most: how many.
        seed: decides within a corpus and class.

    Returns:
        Ascending positions in `data`.
    """
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for position in sorted(candidates.tolist(), key=lambda i: data.examples[i].id):
        groups[data.examples[position].corpus, int(data.dominant[position])].append(position)
    turns = [(turn, group) for group in sorted(groups) for turn in range(len(groups[group]))]
    shuffled = {group: rng.permutation(groups[group]) for group in sorted(groups)}
    drawn = [int(shuffled[group][turn]) for turn, group in sorted(turns)[:most]]
    return np.array(sorted(drawn), dtype=np.int64)


def _features(
    development: TrainingSet, chosen: Indices, names: Sequence[str]
) -> dict[str, list[NDArray[np.float16] | None]]:
    batch = development.collate(chosen, names)
    features: dict[str, list[NDArray[np.float16] | None]] = {}
    for name in names:
        lengths = batch.masks[name].numpy().sum(axis=1)
        rows = np.clip(batch.inputs[name].numpy(), -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
        features[name] = [row[:length] if length else None for row, length in zip(rows, lengths, strict=True)]
    return features


def _tokenisers(recipe: Recipe) -> dict[str, Tokens]:
    """By modality, of the text encoders that a bundle's reader finds again and can put inside an engine."""
    found: dict[str, Tokens] = {}
    for name, spec in recipe.specs.items():
        if not _can_stand_inside(spec):
            continue
        try:
            found[name] = Tokens(backbone_folder(spec))
        except WeightsError as error:
            log.warning(
                "clips to check engines on hold features of %s, not tokens, so that engines with the text encoder "
                "inside are checked without it: %s",
                name,
                error,
            )
    return found


def _can_stand_inside(spec: BackboneSpec) -> bool:
    return spec.kind == "linguistic" and spec.architecture in WRITTEN and isinstance(spec.weights, str)
