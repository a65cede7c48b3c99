"""The backbones of a bundle: what its manifest says of each, and where its weights lie on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from models.backbones.registry import BACKBONES, KINDS, Architecture, BackboneSpec, LocalCheckpoint, backbone
from models.backbones.sources import backbone_folder, backbone_hashes, hub_checkpoint
from models.errors import WeightsError
from models.weights_registry import WeightSpec
from models.weights_settings import WeightsSettings

if TYPE_CHECKING:
    from models.bundle import Bundle
    from models.bundle_manifest import BackboneEntry

_FOLDER: Final = "folder "
"""In front of where a local checkpoint lies."""
_AT: Final = " at "
"""Between a repository of the hub and its commit."""


@dataclass(frozen=True, slots=True)
class BackboneAtHand:
    """A backbone whose weights are here."""

    spec: BackboneSpec
    folder: Path
    hashes: Mapping[str, str]
    """SHA-256 by file."""


def weights_source(weights: str | WeightSpec | LocalCheckpoint | None) -> str | None:
    """How a manifest says where weights come from, whatever the working folder; None where the registry says so."""
    if isinstance(weights, LocalCheckpoint):
        return f"{_FOLDER}{weights.folder.absolute()}"
    if isinstance(weights, WeightSpec) and weights.hub is not None:
        return f"{weights.hub.repository}{_AT}{weights.hub.revision}"
    return None


def stated_backbone(entry: BackboneEntry) -> BackboneSpec:
    """What a manifest means: a backbone of the registry, or a checkpoint that the bundle's recipe named.

    Of a checkpoint that a recipe named the width is not known here: the bundle's modalities state it.

    Raises:
        FeatureError: the registry has none of that name.
        WeightsError: the manifest does not say what kind of checkpoint it was, or where it lay.
    """
    known = BACKBONES.get(entry.name)
    if entry.source is None:
        spec = backbone(entry.name)
        return replace(spec, layers=entry.layers or spec.layers)
    if entry.architecture not in KINDS:
        raise WeightsError(
            f"{entry.name}: of architecture {entry.architecture!r} no checkpoint is read: train it again"
        )
    architecture = cast("Architecture", entry.architecture)
    languages = None if known is None else known.languages
    return BackboneSpec(
        entry.name,
        KINDS[architecture],
        dim=0,
        rate_hz=None,
        weights=_weights(entry, architecture),
        languages=languages if entry.languages is None else frozenset(entry.languages),
        version=1 if known is None else known.version,
        architecture=architecture,
        layers=entry.layers or 1,
    )


def backbone_at_hand(
    bundle: Bundle, name: str, settings: WeightsSettings | None = None, *, progress: bool = False
) -> BackboneAtHand:
    """A backbone of a bundle, its weights fetched first where the cache has them not.

    A local checkpoint that the recipe named is read where it lay when the bundle was trained, if it is still the same.

    Raises:
        FeatureError: the bundle names a backbone there is none of.
        WeightsError: it is not at hand; the message says which, where it was looked for and what to do.
    """
    entry = next(entry for entry in bundle.manifest.backbones if entry.name == name)
    try:
        spec = stated_backbone(entry)
        _look_for_folder(spec)
        folder = backbone_folder(spec, settings, progress=progress)
        return BackboneAtHand(spec, folder, backbone_hashes(spec, settings))
    except WeightsError as error:
        where, advice = "the registry", ""
        if entry.source is not None:
            where = entry.source
            advice = "; bring the checkpoint that it was trained on there, or choose another bundle"
        raise WeightsError(
            f"bundle {bundle.manifest.name} reads {name} from {where}, which is not at hand: {error}{advice}"
        ) from error


def _look_for_folder(spec: BackboneSpec) -> None:
    if isinstance(spec.weights, LocalCheckpoint) and not spec.weights.folder.is_dir():
        raise WeightsError(f"there is no folder {spec.weights.folder} on this machine")


def _weights(entry: BackboneEntry, architecture: Architecture) -> LocalCheckpoint | WeightSpec:
    source = entry.source or ""
    if source.startswith(_FOLDER):
        return LocalCheckpoint(Path(source.removeprefix(_FOLDER)), tuple(sorted(entry.files.items())))
    repository, at, revision = source.partition(_AT)
    if not at:
        raise WeightsError(f"{entry.name}: a source is a folder or a repository of the hub at a commit, not {source!r}")
    return hub_checkpoint(repository, revision, KINDS[architecture], entry.files)
