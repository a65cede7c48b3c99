"""Which backbones there are, what each gives, and where its weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from models.errors import FeatureError
from models.weights_registry import WeightSpec

Kind = Literal["acoustic", "linguistic"]
Architecture = Literal[
    "prosody", "ctranslate2", "wavlm", "hubert", "wav2vec2", "whisper", "clap", "bert", "roberta", "modernbert"
]
"""`prosody` is computed, `ctranslate2` a converted Whisper; the others are what a checkpoint's `config.json` calls its
`model_type`."""

KINDS: Final[Mapping[Architecture, Kind]] = MappingProxyType(
    {
        "prosody": "acoustic",
        "ctranslate2": "acoustic",
        "wavlm": "acoustic",
        "hubert": "acoustic",
        "wav2vec2": "acoustic",
        "whisper": "acoustic",
        "clap": "acoustic",
        "bert": "linguistic",
        "roberta": "linguistic",
        "modernbert": "linguistic",
    }
)
"""What each architecture reads: audio or words."""

_ENGLISH: Final = frozenset({"en"})


@dataclass(frozen=True, slots=True)
class LocalCheckpoint:
    """A folder in the hub's format that the user names."""

    folder: Path
    files: tuple[tuple[str, str], ...] = ()
    """SHA-256 by file, of those the user pins."""


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """One frozen encoder, described without loading it."""

    name: str
    kind: Kind
    dim: int
    """Features a frame or token, of one hidden layer."""
    rate_hz: float | None
    """Frames a second; None for tokens."""
    weights: str | WeightSpec | LocalCheckpoint | None
    """Name in the weights registry, or what a recipe names; None where there are none."""
    languages: frozenset[str] | None = None
    """Languages it represents well; None where it does not matter."""
    version: int = 1
    """Raised when the same weights would give other features."""
    architecture: Architecture = "prosody"
    layers: int = 1
    """Hidden layers that are read, counted from the last."""
    stacked: bool = False
    """Whether those layers stand side by side, for members that learn how to weigh them; else they are summed."""
    hidden_layer: int | None = None
    """Of a converted Whisper, the one hidden layer that is read, counted from 1; None for the last, after its norm."""

    @property
    def width(self) -> int:
        """Features a frame or token as they are stored."""
        return self.dim * self.layers if self.stacked else self.dim


def _specs(*specs: BackboneSpec) -> Mapping[str, BackboneSpec]:
    return MappingProxyType({spec.name: spec for spec in specs})


def _speech(
    name: str, architecture: Architecture, dim: int, rate_hz: float, layers: int, version: int = 1
) -> BackboneSpec:
    return BackboneSpec(name, "acoustic", dim, rate_hz, name, version=version, architecture=architecture, layers=layers)


def _text(name: str, architecture: Architecture, dim: int) -> BackboneSpec:
    return BackboneSpec(name, "linguistic", dim, None, name, _ENGLISH, architecture=architecture, layers=4)


BACKBONES: Final = _specs(
    # Version 1 was computed by CTranslate2, whose integers round otherwise.
    _speech("whisper-base", "ctranslate2", 512, 50.0, 1, version=2),
    # The middle of the same encoder, where more is left of how something is said (docs/experiments.md).
    BackboneSpec(
        "whisper-base-layer3", "acoustic", 512, 50.0, "whisper-base", architecture="ctranslate2", hidden_layer=3
    ),
    BackboneSpec("prosody", "acoustic", 26, 50.0, None, architecture="prosody"),
    _text("minilm-l6", "bert", 384),
    # What the paper reads: the last four hidden layers summed, of Whisper the last one.
    _speech("wavlm-large", "wavlm", 1024, 50.0, 4),
    _speech("hubert-large", "hubert", 1024, 50.0, 4),
    _speech("wav2vec2-large", "wav2vec2", 1024, 50.0, 4),
    _speech("whisper-large-v3", "whisper", 1280, 50.0, 1),
    _speech("clap-audio", "clap", 768, 3.2, 1),
    _text("roberta-large", "roberta", 1024),
    _text("modernbert-large", "modernbert", 1024),
)


def backbone(name: str) -> BackboneSpec:
    """The spec of a backbone.

    Raises:
        FeatureError: there is none of that name.
    """
    try:
        return BACKBONES[name]
    except KeyError:
        raise FeatureError(f"no backbone {name!r}; there are {', '.join(BACKBONES)}") from None
