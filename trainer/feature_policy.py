"""What decides the numbers in a feature store, and where a store keeps that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from models.backbones.registry import BACKBONES, BackboneSpec, backbone
from models.backbones.sources import backbone_identity
from models.modalities import grouped_width
from models.weights import WeightsSettings
from models.windows import FINAL_WINDOWS, WindowPolicy
from trainer.augment import CLEAN
from trainer.augment import view as view_named
from trainer.errors import FeatureStoreError
from trainer.silence import LEAD_S, TAIL_S, TRIM_VERSION

POLICY_FILE: Final = "policy.json"
FORMAT_VERSION: Final = 2
"""Of how a store lies on disk; nothing that is stored depends on it."""
READABLE_VERSIONS: Final = frozenset({1, FORMAT_VERSION})
"""Version 1 had one file of frames; it is read as it is, and goes on in shards."""

_LOCK_FILE: Final = ".lock"
_LOCK_PATIENCE_S: Final = 10.0

WHISPER_ARITHMETIC: Final = "int8"

_WINDOWED: Final = frozenset({"ctranslate2", "whisper"})
"""Architectures that hear the silence a clip is padded with."""


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """The policy a store is made under: whatever would change a stored number."""

    backbone: str
    dim: int
    """Features a frame."""
    stride: int = 1
    """Frames made one before they are stored."""
    view: str = CLEAN
    view_version: int = 1
    extractor_version: int = 1
    weights_sha256: str | None = None
    """Of the backbone's weights; None where it has none."""
    arithmetic: str | None = None
    """What the backbone computes in, where there is a choice, such as `int8`."""
    windows: WindowPolicy | None = None
    """How clips are padded before the backbone sees them, where it matters."""
    speech_margins_s: tuple[float, float] | None = None
    """Audio kept before and behind the speech of a clip; None for text."""
    trim_version: int | None = None
    """Of how the speech of a clip is found; None for text."""
    hidden_layers: str | None = None
    """How the backbone's hidden layers become features, where not as the registry says."""
    deviations: bool = False
    """Whether the deviations within a stride are stored beside the means, see `models.modalities.group_frames`."""

    @property
    def folder(self) -> str:
        """Name of the store's folder among those of the other stores."""
        stride = f"-stride{self.stride}" if self.stride > 1 else ""
        layers = f"-{self.hidden_layers.replace(' ', '-')}" if self.hidden_layers else ""
        deviations = "-deviations" if self.deviations else ""
        return f"{self.backbone}{layers}{stride}{deviations}-{self.view}"

    def as_mapping(self) -> dict[str, Any]:
        """For `policy.json`."""
        values = json.loads(json.dumps(asdict(self)))
        # What came to a policy later is told only where it is used: stores made before it stay valid.
        for later in ("hidden_layers", "deviations"):
            if not values[later]:
                del values[later]
        return {"format_version": FORMAT_VERSION, **values}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the whole policy."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def store_spec(
    source: str | BackboneSpec,
    *,
    stride: int = 1,
    deviations: bool = False,
    view: str = CLEAN,
    weights: WeightsSettings | None = None,
) -> StoreSpec:
    """The policy under which this version extracts a backbone's features.

    What transformers computes is not told apart by arithmetic: single precision on a CPU and bfloat16 on a GPU differ
    by rounding, and one store may be filled by both.

    Args:
        source: the backbone, or its name in the registry.
        stride: frames made one.
        deviations: whether their deviations stand beside their means.
        view: of the waveform; text has none, so a linguistic backbone is always `clean`.
        weights: where pins taken on first use lie; None reads the configuration.

    Raises:
        FeatureError: there is no such backbone.
        RecipeError: there is no such view.
        WeightsError: nothing fixes its weights before they are fetched, or a local folder is not what it should be.
    """
    spec = backbone(source) if isinstance(source, str) else source
    waveform = view_named(view if spec.kind == "acoustic" else CLEAN)
    return StoreSpec(
        backbone=spec.name,
        dim=grouped_width(spec.width, deviations),
        stride=stride,
        view=waveform.name,
        view_version=waveform.version,
        extractor_version=spec.version,
        weights_sha256=None if spec.weights is None else _weights_sha256(spec, weights),
        arithmetic=WHISPER_ARITHMETIC if spec.architecture == "ctranslate2" else None,
        windows=FINAL_WINDOWS if spec.architecture in _WINDOWED else None,
        speech_margins_s=(LEAD_S, TAIL_S) if spec.kind == "acoustic" else None,
        trim_version=TRIM_VERSION if spec.kind == "acoustic" else None,
        hidden_layers=_hidden_layers(spec),
        deviations=deviations,
    )


def _hidden_layers(spec: BackboneSpec) -> str | None:
    known = BACKBONES.get(spec.name)
    if known is not None and (known.layers, known.stacked) == (spec.layers, spec.stacked):
        return None
    return f"{spec.layers} layers {'stacked' if spec.stacked else 'summed'}"


def _weights_sha256(spec: BackboneSpec, weights: WeightsSettings | None) -> str:
    files = sorted(f"{name} {identity}" for name, identity in backbone_identity(spec, weights).items())
    return hashlib.sha256("\n".join(files).encode()).hexdigest()


def read_policy(folder: Path) -> dict[str, Any] | None:
    """The policy a store was made under; None where there is no store.

    Raises:
        FeatureStoreError: the file is damaged.
    """
    try:
        policy = json.loads((folder / POLICY_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FeatureStoreError(f"{folder / POLICY_FILE}: cannot be read ({error}); delete {folder}") from error
    if not isinstance(policy, dict):
        raise FeatureStoreError(f"{folder / POLICY_FILE}: not a JSON object; delete {folder}")
    return policy


def refuse_other_policy(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compares the policy a store was made under with the one it should have been made under.

    Raises:
        FeatureStoreError: they differ; the message names how.
    """
    if found.get("format_version") in READABLE_VERSIONS:
        found = {**found, "format_version": wanted["format_version"]}
    # What a policy does not name does not apply: the same as None.
    differing = sorted(key for key in wanted.keys() | found.keys() if found.get(key) != wanted.get(key))
    if differing:
        changes = ", ".join(f"{key} {found.get(key)!r} then, {wanted.get(key)!r} now" for key in differing)
        raise FeatureStoreError(
            f"{folder}: its features were made under another policy ({changes}); "
            "delete the folder to extract them again, or use another features folder"
        )


def claim_policy(folder: Path, policy: Mapping[str, Any]) -> None:
    """Makes sure that a store says its policy before anything is written to it; many processes may do so at a time.

    Args:
        folder: of the store.
        policy: what is about to be written was made under.

    Raises:
        FeatureStoreError: the store was made under another, or a version of this program that knew no shards is
            writing to it.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK_FILE, timeout=_LOCK_PATIENCE_S):
            found = read_policy(folder)
            if found is not None:
                refuse_other_policy(folder, found, policy)
            if found is None or found.get("format_version") != FORMAT_VERSION:
                fresh = folder / f"{POLICY_FILE}.new"
                fresh.write_text(json.dumps(policy, indent=2) + "\n", encoding="utf-8")
                fresh.replace(folder / POLICY_FILE)
    except Timeout:
        raise FeatureStoreError(
            f"{folder}: an older version of this program writes to it; wait until it is done"
        ) from None
