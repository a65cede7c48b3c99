"""`[backbones.NAME]` of a recipe: a checkpoint of one's own, or another reading of one that the registry knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.backbones.checkpoint import CONFIG_FILE, CheckpointShape, checkpoint_shape
from models.backbones.registry import BACKBONES, KINDS, Architecture, BackboneSpec, Kind, LocalCheckpoint, backbone
from models.backbones.sources import hub_checkpoint
from models.errors import FeatureError, WeightsError
from models.weights_registry import WeightSpec

FIRST_USE: Final = "first use"
Pin = Annotated[str, Field(pattern=rf"^([0-9a-f]{{64}}|{FIRST_USE})$")]

_USUAL_LAYERS: Final = 4
"""The paper sums the last four; of these it reads the last alone."""
_LAYERS: Final[dict[str, int]] = {"whisper": 1, "clap": 1}
_SPEECH_RATES_HZ: Final[dict[str, float]] = {"clap": 3.2}
_RATE_HZ: Final = 50.0


class BackboneRecipe(BaseModel):
    """One table; for a name the registry knows, what it does not state stays as it is there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str | None = None
    """A local folder in the hub's format."""
    hub: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")
    """A repository on the Hugging Face hub."""
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    """Its commit."""
    files: dict[str, Pin] = Field(default_factory=dict)
    """SHA-256 by file; `first use` for a file of the repository that the first fetch is to pin."""
    architecture: Architecture | None = None
    kind: Kind | None = None
    dim: int | None = Field(default=None, ge=1)
    """Features a frame of one hidden layer; of a folder, read from its `config.json` unless stated."""
    layers: int | None = Field(default=None, ge=1)
    """Hidden layers that are read, counted from the last."""
    languages: tuple[str, ...] | None = None
    """ISO 639-1 codes of the languages it represents well; for text."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.folder is not None and self.hub is not None:
            raise ValueError("folder and hub exclude each other")
        if (self.hub is None) != (self.revision is None):
            raise ValueError("hub and revision go together: the commit fixes what is fetched")
        if self.files and self.folder is None and self.hub is None:
            raise ValueError("files are pinned of a folder or of a hub repository: name one")
        if self.folder is not None and FIRST_USE in self.files.values():
            raise ValueError(f"files of a folder are pinned by their SHA-256, not on {FIRST_USE}")
        if self.architecture in {"prosody", "ctranslate2"}:
            raise ValueError(f"architecture {self.architecture} is not read from a checkpoint in the hub's format")
        if self.architecture is not None and self.kind not in {None, KINDS[self.architecture]}:
            raise ValueError(f"architecture {self.architecture} is {KINDS[self.architecture]}, not {self.kind}")
        return self


def resolve(name: str, stated: BackboneRecipe | None) -> BackboneSpec:
    """What a recipe means by a backbone's name.

    Args:
        name: as the recipe uses it.
        stated: its table, where it has one.

    Raises:
        FeatureError: the registry knows no such backbone and the table does not say enough, the two contradict each
            other, or the folder holds something else.
    """
    if stated is None:
        return backbone(name)
    try:
        return _resolve(name, stated, BACKBONES.get(name))
    except FeatureError as error:
        raise FeatureError(f"[backbones.{name}]: {error}") from error


def _resolve(name: str, stated: BackboneRecipe, known: BackboneSpec | None) -> BackboneSpec:
    if known is not None and known.architecture == "prosody":
        raise FeatureError("prosody is computed, there is nothing to set")
    shape = _shape(stated)
    architecture = _architecture(stated, known, shape)
    kind = KINDS[architecture]
    if known is not None and kind != known.kind:
        raise FeatureError(f"{architecture} is {kind}; the registry's backbone of this name is {known.kind}")
    base = known or BackboneSpec(name, kind, 1, None, None)
    return replace(
        base,
        dim=_dim(stated, known, shape),
        rate_hz=_SPEECH_RATES_HZ.get(architecture, _RATE_HZ) if kind == "acoustic" else None,
        weights=_weights(stated, kind) or base.weights,
        languages=base.languages if stated.languages is None else frozenset(stated.languages),
        architecture=architecture,
        layers=_layers(stated, known, shape, architecture),
    )


def _shape(stated: BackboneRecipe) -> CheckpointShape | None:
    """What the folder holds; None without one, or where a width is stated and the folder is not there."""
    if stated.folder is None:
        return None
    try:
        return checkpoint_shape(_folder(stated.folder))
    except WeightsError as error:
        # A bundle's recipe states the width, so that it can be read where the folder is not.
        if stated.dim is None or stated.architecture is None:
            raise FeatureError(str(error)) from error
        return None


def _architecture(stated: BackboneRecipe, known: BackboneSpec | None, shape: CheckpointShape | None) -> Architecture:
    expected = stated.architecture or (None if known is None else known.architecture)
    if expected == "ctranslate2" and (shape is not None or stated.hub is not None):
        expected = None  # a checkpoint takes the place of the converted model
    if shape is not None:
        if expected not in {None, shape.architecture}:
            raise FeatureError(f"{stated.folder} holds a model of type {shape.architecture!r}, expected {expected}")
        return shape.architecture
    if expected is None:
        raise FeatureError(f"architecture is missing: one of {', '.join(KINDS)}")
    return expected


def _dim(stated: BackboneRecipe, known: BackboneSpec | None, shape: CheckpointShape | None) -> int:
    if shape is not None:
        if stated.dim not in {None, shape.dim}:
            raise FeatureError(f"dim is {stated.dim}, {stated.folder} gives {shape.dim}")
        return shape.dim
    if stated.dim is not None:
        return stated.dim
    if known is None or stated.hub is not None:
        raise FeatureError(f"dim is missing: hidden_size in the repository's {CONFIG_FILE}")
    return known.dim


def _layers(
    stated: BackboneRecipe, known: BackboneSpec | None, shape: CheckpointShape | None, architecture: Architecture
) -> int:
    usual = _LAYERS.get(architecture, _USUAL_LAYERS) if known is None else known.layers
    layers = stated.layers or usual
    if layers > 1 and architecture in {"ctranslate2", "clap"}:
        raise FeatureError(f"layers is {layers}, of {architecture} the last one alone can be read")
    if shape is not None and layers > shape.layers:
        raise FeatureError(f"layers is {layers}, {stated.folder} has {shape.layers} to read")
    return layers


def _folder(folder: str) -> Path:
    return Path(folder).expanduser()


def _weights(stated: BackboneRecipe, kind: Literal["acoustic", "linguistic"]) -> WeightSpec | LocalCheckpoint | None:
    if stated.folder is not None:
        return LocalCheckpoint(_folder(stated.folder), tuple(sorted(stated.files.items())))
    if stated.hub is None or stated.revision is None:
        return None
    pins = {name: None if pin == FIRST_USE else pin for name, pin in stated.files.items()}
    return hub_checkpoint(stated.hub, stated.revision, kind, pins)
