"""Which backbones there are, what each gives, and where its weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from models.errors import FeatureError


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """One frozen encoder, described without loading it."""

    name: str
    kind: Literal["acoustic", "linguistic"]
    dim: int
    """Features a frame or token."""
    rate_hz: float | None
    """Frames a second; None for tokens."""
    weights: str | None
    """Name in the weights registry; None where nothing is fetched."""
    languages: frozenset[str] | None = None
    """Languages it represents well; None where it does not matter."""
    version: int = 1
    """Raised when the same weights would give other features."""


def _specs(*specs: BackboneSpec) -> Mapping[str, BackboneSpec]:
    return MappingProxyType({spec.name: spec for spec in specs})


BACKBONES: Final = _specs(
    BackboneSpec("whisper-base", "acoustic", 512, 50.0, "whisper-base"),
    BackboneSpec("prosody", "acoustic", 26, 50.0, None),
    BackboneSpec("minilm-l6", "linguistic", 384, None, "minilm-l6", frozenset({"en"})),
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
