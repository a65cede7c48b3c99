"""Where a bundle's words are represented: one folder of weights, and the three ways in which it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.backbones.bundle_backbones import backbone_at_hand
from models.backbones.tokens import Tokens
from models.weights_settings import WeightsSettings

if TYPE_CHECKING:
    from models.backbones.text import TextEncoder
    from models.bundle import Bundle
    from models.graphs.text import TextGraph

WRITTEN: Final = frozenset({"bert", "roberta", "modernbert"})
"""Architectures that `models.graphs.text` writes."""


@dataclass(frozen=True, slots=True)
class TextSource:
    """The text encoder of one modality."""

    folder: Path
    """In the hub's format."""
    languages: frozenset[str] | None
    """ISO 639-1 codes of those it represents well; None for any."""
    architecture: str
    layers: int
    """Hidden layers that are read, counted from the last."""
    stacked: bool
    """Whether they stand side by side."""
    hashes: Mapping[str, str]
    """SHA-256 by file."""

    def bytes_inside(self) -> int | None:
        """What it adds to an engine's graph; None where it cannot stand inside one."""
        from models.graphs.checkpoint import single_precision_bytes

        return single_precision_bytes(self.folder) if self.architecture in WRITTEN else None

    def graph(self) -> TextGraph:
        """As ONNX nodes.

        Raises:
            WeightsError: it cannot be written.
        """
        from models.graphs.text import TextGraph

        return TextGraph.read(self.folder, layers=self.layers, stacked=self.stacked)

    def tokens(self) -> Tokens:
        """Its tokeniser alone, for an engine that has the encoder inside.

        Raises:
            WeightsError: the folder holds none.
        """
        return Tokens(self.folder, languages=self.languages)

    def encoder(self) -> TextEncoder:
        """The encoder in PyTorch, tokeniser included.

        Raises:
            WeightsError: the folder does not hold it.
        """
        from models.backbones.text import TextEncoder

        return TextEncoder(
            self.folder,
            languages=self.languages,
            architecture=self.architecture,
            layers=self.layers,
            stacked=self.stacked,
        )


def text_sources(
    bundle: Bundle, settings: WeightsSettings | None = None, *, progress: bool = False
) -> dict[str, TextSource]:
    """The text encoders a bundle reads, by modality, see `models.backbones.bundle_backbones.backbone_at_hand`.

    Raises:
        FeatureError: the bundle names a backbone there is none of.
        WeightsError: one is not at hand.
    """
    sources = {}
    for modality in bundle.manifest.modalities:
        if modality.kind != "linguistic":
            continue
        found = backbone_at_hand(bundle, modality.backbone, settings, progress=progress)
        sources[modality.name] = TextSource(
            found.folder,
            found.spec.languages,
            found.spec.architecture,
            found.spec.layers,
            modality.layers > 1,
            found.hashes,
        )
    return sources
