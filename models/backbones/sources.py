"""Where a backbone's weights lie, and what tells them from any others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from models.backbones.checkpoint import CONFIG_FILE, READER_FILES, WEIGHT_FILES, checkpoint_files
from models.backbones.registry import Architecture, BackboneSpec, Kind, LocalCheckpoint
from models.errors import FeatureError, WeightsError
from models.weights import WeightsSettings, pinned_weights, weights_folder
from models.weights_registry import HubRepository, WeightFile, WeightSpec, weight_spec


def backbone_folder(spec: BackboneSpec, settings: WeightsSettings | None = None, *, progress: bool = False) -> Path:
    """The folder of a backbone's weights, verified, and fetched first where the cache has them not.

    Raises:
        FeatureError: it has no weights.
        WeightsError: they cannot be had, or are not the pinned ones.
    """
    if spec.weights is None:
        raise FeatureError(f"backbone {spec.name!r} has no weights")
    if not isinstance(spec.weights, LocalCheckpoint):
        return weights_folder(spec.weights, settings, progress=progress)
    _local_hashes(spec.weights, spec.architecture)
    return spec.weights.folder


def backbone_hashes(spec: BackboneSpec, settings: WeightsSettings | None = None) -> dict[str, str]:
    """SHA-256 by file of a backbone's weights, as far as they are pinned; of a local folder, of what lies there.

    Raises:
        WeightsError: the folder lacks a file, or holds another than the pinned one.
    """
    if spec.weights is None:
        return {}
    if isinstance(spec.weights, LocalCheckpoint):
        return dict(_local_hashes(spec.weights, spec.architecture))
    return {file.name: file.sha256 for file in pinned_weights(spec.weights, settings).files if file.sha256 is not None}


def backbone_identity(spec: BackboneSpec, settings: WeightsSettings | None = None) -> dict[str, str]:
    """What tells a backbone's weights from any others, file by file: a SHA-256, or the commit that fixes the file.

    It is the same before the first fetch and after, and on machines that hold features and no weights.

    Raises:
        WeightsError: nothing fixes a file before it is fetched, or a local folder is not what it should be.
    """
    if spec.weights is None or isinstance(spec.weights, LocalCheckpoint):
        return backbone_hashes(spec, settings)
    stated = weight_spec(spec.weights) if isinstance(spec.weights, str) else spec.weights
    fixed: dict[str, str] = {}
    for file, pinned in zip(stated.files, pinned_weights(stated, settings).files, strict=True):
        if file.sha256 is not None:
            fixed[file.name] = file.sha256
        elif stated.hub is not None and stated.hub.revision is not None:
            fixed[file.name] = f"{stated.hub.repository}@{stated.hub.revision}"
        elif pinned.sha256 is not None:
            fixed[file.name] = pinned.sha256
        else:
            raise WeightsError(
                f"{stated.name}: nothing fixes {file.name} before it is fetched: run medusa weights fetch {stated.name}"
            )
    return fixed


def hub_checkpoint(repository: str, revision: str, kind: Kind, pins: Mapping[str, str | None]) -> WeightSpec:
    """A checkpoint in a repository of the Hugging Face hub, at one commit.

    Args:
        repository: as `owner/name`.
        revision: the commit.
        kind: what it reads; says which file prepares its input.
        pins: SHA-256 by file, None for a file that the first fetch is to pin.
    """
    names = dict.fromkeys([CONFIG_FILE, READER_FILES[kind], *pins])
    if not names.keys() & set(WEIGHT_FILES):
        names[WEIGHT_FILES[0]] = None
    return WeightSpec(
        name=f"{repository.replace('/', '--')}@{revision[:12]}",
        description=f"{repository}, named by a recipe",
        licence="see its repository",
        files=tuple(WeightFile(file, sha256=pins.get(file)) for file in names),
        hub=HubRepository(repository, revision),
        profile="large",
    )


def _local_hashes(local: LocalCheckpoint, architecture: Architecture) -> Mapping[str, str]:
    found = {}
    for name in checkpoint_files(local.folder, architecture):
        stat = (local.folder / name).stat()
        found[name] = _sha256(local.folder / name, stat.st_size, stat.st_mtime_ns)
    for name, expected in local.files:
        if name not in found:
            raise WeightsError(f"{local.folder}: {name} is pinned and not read: this backbone reads {', '.join(found)}")
        if found[name] != expected:
            raise WeightsError(f"{local.folder / name} has SHA-256 {found[name]}, not the pinned {expected}")
    return found


@lru_cache(maxsize=256)
def _sha256(path: Path, _size: int, _modified_ns: int) -> str:
    """Read once a process: size and modification time stand in for the content after that."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
