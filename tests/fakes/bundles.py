"""Bundles with random weights, small enough to build in a moment, shaped like the shipped one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.backbones.registry import BACKBONES, BackboneSpec, LocalCheckpoint
from models.backbones.sources import backbone_hashes
from models.bundle import Bundle, save_bundle
from models.check_clips import CheckClips
from models.compile import EngineReport
from models.deepser import DeepSER, DeepSERConfig
from models.emotions import MSP8
from models.meta import MetaClassifier
from models.modalities import grouped_width
from models.speaker import SpeakerStandardisation
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS

LABELS = MSP8.without("contempt")
MEMBERS = {
    "acoustic-text": ("acoustic", "text"),
    "all": ("acoustic", "prosody", "text"),
    "prosody-text": ("prosody", "text"),
}
BACKBONE_OF = {"acoustic": "whisper-base", "prosody": "prosody", "text": "minilm-l6"}


HEARING = {
    "wavlm": {"backbone": "wavlm-large", "stride": 2, "deviations": True},
    "hubert": {"backbone": "hubert-large", "stride": 1},
    "whisper": {"backbone": "whisper-large-v3", "stride": 3},
    "text": {"backbone": "roberta-large"},
}
"""Modalities of a bundle like `large`: what hears is grouped in every way there is."""
HEARING_MEMBERS = {
    "wavlm-text": ("text", "wavlm"),
    "hubert-whisper": ("hubert", "whisper"),
    "all": ("hubert", "text", "wavlm", "whisper"),
    "text": ("text",),
}


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
    chosen = MEMBERS if members is None else members
    stacked = layers or {}
    entries = {
        name: {
            "name": name,
            "kind": BACKBONES[BACKBONE_OF[name]].kind,
            "backbone": BACKBONE_OF[name],
            "dim": _dim(name),
            "stride": 1 if name == "text" else 2,
            "deviations": name == "prosody",
            "layers": stacked.get(name, 1),
        }
        for name in sorted({m for modalities in chosen.values() for m in modalities})
    }
    return _random_bundle(folder, chosen, entries, width=width, seed=seed, widths=widths or {}, check=check)


def hearing_bundle(
    folder: Path,
    *,
    dim: int = 16,
    stacked: dict[str, int] | None = None,
    backbones: dict[str, dict[str, Any]] | None = None,
    speaker: SpeakerStandardisation | None = None,
    members: Collection[str] = tuple(HEARING_MEMBERS),
    check: CheckClips | None = None,
) -> Bundle:
    """Writes a bundle over WavLM, HuBERT, Whisper and RoBERTa, whose members are tiny and random, and loads it.

    Args:
        folder: where to.
        dim: features a frame or token of one layer.
        stacked: hidden layers that stand side by side in a modality, where there are several.
        backbones: what the manifest says of a backbone beside name and version.
        speaker: priors that features are brought relative to.
        members: which of `HEARING_MEMBERS`; together they read every modality.
        check: clips that engines are checked on.
    """
    entries = {}
    for name, stream in HEARING.items():
        count = (stacked or {}).get(name, 1)
        entries[name] = {
            "name": name,
            "kind": BACKBONES[str(stream["backbone"])].kind,
            "dim": grouped_width(dim * count, deviations=bool(stream.get("deviations"))),
            "layers": count,
            **stream,
        }
    chosen = {name: modalities for name, modalities in HEARING_MEMBERS.items() if name in members}
    return _random_bundle(
        folder, chosen, entries, width=8, seed=0, widths={}, backbones=backbones or {}, speaker=speaker, check=check
    )


def own_checkpoint(folder: Path, architecture: Any, layers: int = 2) -> dict[str, Any]:
    """What a manifest says of a checkpoint that its recipe named, see `hearing_bundle`."""
    spec = BackboneSpec("own", "acoustic", 1, 50.0, LocalCheckpoint(folder), architecture=architecture)
    return {
        "architecture": architecture,
        "layers": layers,
        "source": f"folder {folder}",
        "files": backbone_hashes(spec),
    }


def _random_bundle(
    folder: Path,
    chosen: dict[str, tuple[str, ...]],
    entries: dict[str, dict[str, Any]],
    *,
    width: int,
    seed: int,
    widths: dict[str, int],
    backbones: dict[str, dict[str, Any]] | None = None,
    check: CheckClips | None = None,
    speaker: SpeakerStandardisation | None = None,
) -> Bundle:
    torch.manual_seed(seed)
    trained = {}
    for name, modalities in chosen.items():
        own = widths.get(name, width)
        config = DeepSERConfig(
            modalities=modalities,
            dims=tuple(entries[m]["dim"] for m in modalities),
            labels=len(LABELS),
            width=own,
            feed_forward=2 * own,
            layers=tuple(entries[m]["layers"] for m in modalities),
        )
        member = DeepSER(config)
        for mix in member.layer_mixes.values():
            torch.nn.init.normal_(mix.scores)
        trained[name] = (config.to_dict(), {k: v.numpy() for k, v in member.state_dict().items()})
    meta = MetaClassifier(len(chosen), len(LABELS))
    generator = np.random.default_rng(seed)
    weights = {k: generator.normal(size=tuple(v.shape)).astype(np.float32) for k, v in meta.state_dict().items()}
    used = [str(entry["backbone"]) for entry in entries.values()]
    return save_bundle(
        folder,
        manifest={
            "name": "tiny",
            "profile": "base",
            "licence": "Apache-2.0",
            "labels": list(LABELS),
            "attributes_source": "random",
            "modalities": list(entries.values()),
            "backbones": [
                {"name": name, "version": BACKBONES[name].version, **(backbones or {}).get(name, {})} for name in used
            ],
            "final_windows": {"buckets_s": FINAL_WINDOWS.buckets_s, "tail_s": FINAL_WINDOWS.tail_s},
            "interim_windows": {"buckets_s": INTERIM_WINDOWS.buckets_s, "tail_s": INTERIM_WINDOWS.tail_s},
            "calibration": {"temperature": 1.3, "abstain_below": 0.2, "fitted_on": "nothing"},
            "corpora": [],
        },
        members=trained,
        meta=weights,
        model_card="# Tiny\n\nRandom weights, for tests.\n",
        speaker=speaker,
        check=check,
    )
