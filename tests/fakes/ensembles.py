"""Ensembles with random weights, of any mix of members, and batches for them."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from models.deepser import DeepSER, DeepSERConfig
from models.ensemble import Ensemble
from models.meta import MetaClassifier
from models.modalities import Modality
from tests.fakes.bundles import LABELS

DIMS = {"acoustic": 12, "prosody": 5, "text": 8}
LAYERS = {"acoustic": 1, "prosody": 1, "text": 2}


def modality(name: str) -> Modality:
    return Modality(name, "linguistic" if name == "text" else "acoustic", f"{name}-backbone", DIMS[name])


@st.composite
def configs(draw: st.DrawFn) -> DeepSERConfig:
    """Of few different shapes, so that some members are alike."""
    names = tuple(sorted(draw(st.sets(st.sampled_from(list(DIMS)), min_size=1))))
    mixed = draw(st.booleans())
    heads = draw(st.sampled_from([1, 2, 4]))
    return DeepSERConfig(
        modalities=names,
        dims=tuple(DIMS[name] for name in names),
        labels=len(LABELS),
        width=draw(st.sampled_from([4, 8])),
        heads=heads,
        feed_forward=draw(st.sampled_from([8, 12])),
        depth=draw(st.sampled_from([1, 1, 2])),
        dropout=0.3,
        fusion=draw(st.sampled_from(["deep", "deep", "late"])),
        pooling=draw(st.sampled_from(["mean", "mean", "attentive_statistics"])),
        layers=tuple(LAYERS[name] if mixed else 1 for name in names),
    )


def random_ensemble(shapes: list[DeepSERConfig], seed: int, *, alike: bool = True) -> Ensemble:
    """Members with random weights; `alike` says whether all are standardised by the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    members = {}
    for number, config in enumerate(shapes):
        member = DeepSER(config).eval()
        for parameter in member.parameters():
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
        own = torch.Generator().manual_seed(0 if alike else number)
        for name in sorted(DIMS):
            mean, deviation = (torch.rand(DIMS[name], generator=own) + 0.5 for _ in range(2))
            if name in config.modalities:
                member.set_standardisation(name, mean, deviation)
        members[f"m{number}"] = member
    meta = MetaClassifier(len(members), len(LABELS))
    torch.nn.init.normal_(meta.to_logits.weight, generator=generator)
    used = [name for name in DIMS if any(name in config.modalities for config in shapes)]
    return Ensemble(members, meta, LABELS, [modality(name) for name in used], temperature=1.7).eval()


def random_batch(
    ensemble: Ensemble, lengths: list[list[int]], room: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """`lengths` holds one list a row, one number a modality; what lies behind a sequence is rubbish."""
    generator = torch.Generator().manual_seed(5)
    features, frames = {}, {}
    for position, one in enumerate(ensemble.modalities):
        own = [row[position] for row in lengths]
        features[one.name] = 3 * torch.randn(len(own), max(1, *own) + room, one.dim, generator=generator)
        frames[one.name] = torch.tensor(own)
    return features, frames


def some_row_is_read(lengths: list[list[int]], count: int) -> list[list[int]]:
    """Engines refuse rows without anything; one frame of the first modality makes up for it."""
    return [row[:count] if any(row[:count]) else [1, *row[1:count]] for row in lengths]


rows = st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=1, max_size=4)


def config(*modalities: str, **changes: Any) -> DeepSERConfig:
    dims = tuple(DIMS[name] for name in modalities)
    return DeepSERConfig(modalities, dims, len(LABELS), **{"width": 8, "feed_forward": 12, **changes})
