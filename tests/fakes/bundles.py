"""Bundles with random weights, small enough to build in a moment, shaped like the shipped one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.backbones.registry import BACKBONES
from models.bundle import Bundle, save_bundle
from models.check_clips import CheckClips
from models.compile import EngineReport
from models.deepser import DeepSER, DeepSERConfig
from models.emotions import MSP8
from models.meta import MetaClassifier
from models.modalities import grouped_width
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS

LABELS = MSP8.without("contempt")
MEMBERS = {
    "acoustic-text": ("acoustic", "text"),
    "all": ("acoustic", "prosody", "text"),
    "prosody-text": ("prosody", "text"),
}
BACKBONE_OF = {"acoustic": "whisper-base", "prosody": "prosody", "text": "minilm-l6"}


def _dim(modality: str) -> int:
    dim = BACKBONES[BACKBONE_OF[modality]].dim
    return grouped_width(dim, deviations=modality == "prosody")


@dataclass(frozen=True)
class CompiledBundle:
    """A bundle, the cache its engine lies in, and what the check of that engine found."""

    bundle: Bundle
    cache: Path
    report: EngineReport


def tiny_clips(count: int = 5, *, tokens: bool = False, seed: int = 0) -> CheckClips:
    """Clips that members of a tiny bundle read: the first has words alone, the second none.

    Args:
        count: how many.
        tokens: whether words are tokens, of a vocabulary of a hundred; else features.
        seed: of what is in them.
    """
    rng = np.random.default_rng(seed)

    def sequences(modality: str) -> list[NDArray[np.float16]]:
        shapes = ((int(rng.integers(1, 4)), _dim(modality)) for _ in range(count))
        return [rng.normal(size=shape).astype(np.float16) for shape in shapes]

    voice = {name: [None, *sequences(name)[1:]] for name in ("acoustic", "prosody")}
    texts = [np.array([1, *rng.integers(5, 90, size=int(rng.integers(1, 5))), 2], dtype=np.int64) for _ in range(count)]
    said = texts if tokens else sequences("text")
    words = {"text": [None if clip == 1 else row for clip, row in enumerate(said)]}
    return CheckClips(voice, words) if tokens else CheckClips({**voice, **words})


def tiny_bundle(
    folder: Path,
    *,
    width: int = 8,
    seed: int = 0,
    members: dict[str, tuple[str, ...]] | None = None,
    layers: dict[str, int] | None = None,
    widths: dict[str, int] | None = None,
    check: CheckClips | None = None,
) -> Bundle:
    """Writes a bundle of tiny random members to `folder` and loads it.

    Args:
        folder: where to.
        width: of the members.
        seed: of their weights.
        members: modalities by member.
        layers: hidden layers that stand side by side in a modality, where there are several.
        widths: of single members, where they are not `width`.
        check: clips that engines are checked on.
    """
    torch.manual_seed(seed)
    stacked = layers or {}
    chosen = MEMBERS if members is None else members
    trained = {}
    for name, modalities in chosen.items():
        own = (widths or {}).get(name, width)
        config = DeepSERConfig(
            modalities=modalities,
            dims=tuple(_dim(m) for m in modalities),
            labels=len(LABELS),
            width=own,
            feed_forward=2 * own,
            layers=tuple(stacked.get(m, 1) for m in modalities),
        )
        member = DeepSER(config)
        for mix in member.layer_mixes.values():
            torch.nn.init.normal_(mix.scores)
        trained[name] = (config.to_dict(), {k: v.numpy() for k, v in member.state_dict().items()})
    meta = MetaClassifier(len(chosen), len(LABELS))
    generator = np.random.default_rng(seed)
    weights = {k: generator.normal(size=tuple(v.shape)).astype(np.float32) for k, v in meta.state_dict().items()}
    used = sorted({m for modalities in chosen.values() for m in modalities})
    return save_bundle(
        folder,
        manifest={
            "name": "tiny",
            "profile": "base",
            "licence": "Apache-2.0",
            "labels": list(LABELS),
            "attributes_source": "random",
            "modalities": [
                {
                    "name": m,
                    "kind": BACKBONES[BACKBONE_OF[m]].kind,
                    "backbone": BACKBONE_OF[m],
                    "dim": _dim(m),
                    "stride": 1 if m == "text" else 2,
                    "deviations": m == "prosody",
                    "layers": stacked.get(m, 1),
                }
                for m in used
            ],
            "backbones": [{"name": BACKBONE_OF[m], "version": BACKBONES[BACKBONE_OF[m]].version} for m in used],
            "final_windows": {"buckets_s": FINAL_WINDOWS.buckets_s, "tail_s": FINAL_WINDOWS.tail_s},
            "interim_windows": {"buckets_s": INTERIM_WINDOWS.buckets_s, "tail_s": INTERIM_WINDOWS.tail_s},
            "calibration": {"temperature": 1.3, "abstain_below": 0.2, "fitted_on": "nothing"},
            "corpora": [],
        },
        members=trained,
        meta=weights,
        model_card="# Tiny\n\nRandom weights, for tests.\n",
        check=check,
    )
