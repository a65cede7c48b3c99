"""Ensembles to measure: a trained bundle, or the paper's with random weights; and inputs as long as speech is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from models.backbones.registry import backbone
from models.bundle import find_bundle, load_bundle
from models.deepser import DeepSER, DeepSERConfig
from models.emotions import LabelSet
from models.ensemble import Ensemble
from models.errors import FeatureError
from models.meta import MetaClassifier
from models.modalities import Modality, PaddedBatch, grouped_width
from trainer.members import member_config
from trainer.recipe import Recipe, load_recipe

BASE: Final = "base"
PAPER14: Final = "paper14"
SHAPES: Final = (BASE, PAPER14)
PAPER_RECIPE: Final = "medusa14"
SEED: Final = 2506

TOKENS_PER_S: Final = 3.3
"""Of a text encoder: English is spoken at about 150 words a minute, and a word is about 1.3 tokens."""

_LOGIT_SPREAD: Final = 2.0
"""Of random heads: as they come from initialisation all classes would be equally likely, and no error would show."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An ensemble to measure, and what is told of it."""

    name: str
    ensemble: Ensemble
    told: dict[str, Any]
    """Where its weights come from."""

    @property
    def members(self) -> tuple[DeepSERConfig, ...]:
        """The shape of each member."""
        return tuple(member.config for member in self.ensemble.members if isinstance(member, DeepSER))

    @property
    def parameters(self) -> int:
        """Weights of the members and of the meta-classifier."""
        return sum(parameter.numel() for parameter in self.ensemble.parameters())

    def frames(self, seconds: float) -> dict[str, int]:
        """Frames or tokens of so much speech, by modality.

        Raises:
            FeatureError: a backbone is not in the registry, so that nothing says how many frames a second it gives.
        """
        return {modality.name: frames_of(modality, seconds) for modality in self.ensemble.modalities}

    def inputs(self, batch: int, seconds: float, seed: int = SEED) -> dict[str, PaddedBatch]:
        """Random features of so much speech, without padding; rows differ from each other as voices do.

        Args:
            batch: rows.
            seconds: of speech in each.
            seed: of the features.

        Raises:
            FeatureError: as `frames`.
        """
        rng = np.random.default_rng(seed)
        made: dict[str, PaddedBatch] = {}
        frames = self.frames(seconds)
        for modality in self.ensemble.modalities:
            time = frames[modality.name]
            features = rng.standard_normal((batch, time, modality.dim), dtype=np.float32)
            features += rng.standard_normal((batch, 1, modality.dim), dtype=np.float32)
            made[modality.name] = PaddedBatch(features, np.full(batch, time, dtype=np.int64))
        return made


def frames_of(modality: Modality, seconds: float) -> int:
    """Frames or tokens that members read of so much speech, at least one.

    Raises:
        FeatureError: its backbone is not in the registry, or the speech has no length.
    """
    if not (seconds > 0 and math.isfinite(seconds)):
        raise FeatureError(f"speech must last longer than 0 s, got {seconds}")
    rate_hz = backbone(modality.backbone).rate_hz
    if rate_hz is None:
        return max(1, round(seconds * TOKENS_PER_S))
    return max(1, math.ceil(math.ceil(seconds * rate_hz) / modality.stride))


def load_shape(name: str, bundle: str | Path = BASE) -> Shape:
    """An ensemble by name.

    Args:
        name: `base`, a trained bundle; or `paper14`, the paper's ensemble with random weights.
        bundle: a folder, or the name of a shipped bundle; of `base` alone.

    Raises:
        FeatureError: no such shape.
        BundleError: no such bundle, or it is damaged.
    """
    if name == PAPER14:
        return random_shape(PAPER14, load_recipe(PAPER_RECIPE), SEED)
    if name != BASE:
        raise FeatureError(f"no shape {name!r}: there are {', '.join(SHAPES)}")
    found = load_bundle(find_bundle(bundle))
    return Shape(BASE, found.ensemble(), {"bundle": found.manifest.name, "sha256": found.sha256})


def random_shape(name: str, recipe: Recipe, seed: int) -> Shape:
    """The ensemble that a recipe would train, with random weights.

    Args:
        name: of the shape.
        recipe: members and modalities.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        members = {member.name: DeepSER(member_config(member, recipe, recipe.dims)) for member in recipe.members}
        for model in members.values():
            _spread([model.to_logits, model.to_attributes])
        meta = MetaClassifier(len(members), len(recipe.labels))
    ensemble = Ensemble(members, meta, LabelSet(recipe.labels), _modalities(recipe)).eval()
    return Shape(name, ensemble, {"recipe": recipe.name, "weights": "random", "seed": seed})


def _spread(heads: Sequence[nn.Linear]) -> None:
    for head in heads:
        nn.init.normal_(head.weight, std=_LOGIT_SPREAD / math.sqrt(head.in_features))


def _modalities(recipe: Recipe) -> list[Modality]:
    made = []
    for name, entry in recipe.modalities.items():
        spec = recipe.backbone_of(name)
        dim = grouped_width(spec.width, entry.deviations)
        made.append(Modality(name, spec.kind, entry.backbone, dim, entry.stride, entry.deviations))
    return made
