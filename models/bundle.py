"""A trained ensemble on disk: manifest, safetensors, model card; validated whole before anything of it is used."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import ValidationError

from models.bundle_files import Tensors, file_entry, fill, publish_folder, read_tensors, verify_files, write_tensors
from models.bundle_manifest import FORMAT_VERSION, MANIFEST_FILE, MODEL_CARD_FILE, Manifest, MemberEntry, ModalityEntry
from models.check_clips import CheckClips, read_check_clips, write_check_clips
from models.emotions import LabelSet
from models.errors import BundleError, FeatureError
from models.modalities import Modality
from models.speaker import SpeakerPrior, SpeakerStandardisation
from models.windows import WindowPolicy

if TYPE_CHECKING:
    from models.ensemble import Ensemble

_META_FILE: Final = "meta.safetensors"
_SPEAKER_FILE: Final = "speaker.safetensors"
_CHECK_FILE: Final = "check.safetensors"
_PRETRAINED: Final = Path(__file__).parent / "pretrained"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A validated bundle; its weights are read when `ensemble` is called."""

    folder: Path
    manifest: Manifest
    sha256: str
    """Of the manifest, which holds that of every other file: it names the bundle's whole content."""

    @property
    def labels(self) -> LabelSet:
        """The classes it tells apart."""
        return LabelSet(self.manifest.labels)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What it reads."""
        return tuple(entry.modality() for entry in self.manifest.modalities)

    @property
    def final_windows(self) -> WindowPolicy:
        """How finals are padded before the speech encoder: what members were trained under."""
        return self.manifest.final_windows.policy()

    @property
    def interim_windows(self) -> WindowPolicy:
        """How interims are padded."""
        return self.manifest.interim_windows.policy()

    def speaker_standardisation(self) -> SpeakerStandardisation:
        """How features are brought relative to their speaker before the ensemble reads them.

        Raises:
            BundleError: its file lacks a tensor, or one has the wrong shape.
        """
        if self.manifest.speaker_file is None:
            return SpeakerStandardisation({})
        path = self.folder / self.manifest.speaker_file
        tensors = read_tensors(path)
        dims = {modality.name: modality.dim for modality in self.modalities}
        priors: dict[str, SpeakerPrior] = {}
        for name, entry in self.manifest.speaker_standardisation.items():
            try:
                mean, deviation = (tensors[f"{name}_{part}"].astype(np.float64) for part in ("mean", "deviation"))
                priors[name] = SpeakerPrior(mean, deviation, entry.weight_frames, entry.memory_frames)
            except (KeyError, FeatureError) as error:
                raise BundleError(f"{path}: prior of {name}: {error}") from error
            if mean.size != dims[name]:
                raise BundleError(f"{path}: prior of {name} has {mean.size} features, expected {dims[name]}")
        return SpeakerStandardisation(priors)

    def check_clips(self) -> CheckClips | None:
        """The clips that engines of this bundle are checked on; None where it has none.

        Raises:
            BundleError: their file is damaged, or does not fit the modalities.
        """
        if self.manifest.check_file is None:
            return None
        return read_check_clips(self.folder / self.manifest.check_file, self.modalities)

    @property
    def abstain_below(self) -> float:
        """Confidence under which nothing is claimed."""
        return self.manifest.calibration.abstain_below

    def ensemble(self) -> Ensemble:
        """Builds the ensemble in PyTorch, in evaluation mode.

        Raises:
            BundleError: a weights file lacks a tensor, has one too many, or one of another shape.
        """
        # Imported here so that serving from a compiled engine needs no PyTorch.
        from models.deepser import DeepSER, DeepSERConfig
        from models.ensemble import Ensemble
        from models.meta import MetaClassifier

        members: dict[str, DeepSER] = {}
        for entry in self.manifest.members:
            try:
                member = DeepSER(DeepSERConfig.from_dict(entry.config))
            except FeatureError as error:
                raise BundleError(f"{self.folder / MANIFEST_FILE}: member {entry.name}: {error}") from error
            fill(member, self.folder / entry.file)
            members[entry.name] = member
        meta = MetaClassifier(len(members), len(self.labels))
        fill(meta, self.folder / self.manifest.meta_file)
        temperature = self.manifest.calibration.temperature
        try:
            return Ensemble(members, meta, self.labels, self.modalities, temperature).eval()
        except FeatureError as error:
            raise BundleError(f"{self.folder / MANIFEST_FILE}: {error}") from error


def shipped_bundle(name: str = "base") -> Path:
    """Folder of a bundle that comes with the package.

    Raises:
        BundleError: none of that name is shipped.
    """
    folder = _PRETRAINED / name
    if not (folder / MANIFEST_FILE).is_file():
        shipped = sorted(path.parent.name for path in _PRETRAINED.glob(f"*/{MANIFEST_FILE}"))
        raise BundleError(f"no shipped bundle {name!r}: there are {', '.join(shipped) or 'none'}")
    return folder


def find_bundle(source: str | Path) -> Path:
    """A folder, or the name of a shipped bundle.

    Raises:
        BundleError: it is neither.
    """
    path = Path(source)
    if (path / MANIFEST_FILE).is_file():
        return path
    if path.is_dir():
        raise BundleError(f"{path} is not a bundle: it holds no {MANIFEST_FILE}")
    if path.name != str(source):
        raise BundleError(f"{path}: no such bundle")
    return shipped_bundle(path.name)


def load_bundle(folder: Path) -> Bundle:
    """Reads and validates a bundle: manifest, every file's size and SHA-256, every tensor finite.

    Args:
        folder: the bundle.

    Raises:
        BundleError: anything is missing, damaged or of another format; the message names the file or field.
    """
    path = folder / MANIFEST_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        values = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{path}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise BundleError(f"{path}: not a JSON object")
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise BundleError(f"{path}: format version {version!r}, this release reads version {FORMAT_VERSION}; update it")
    try:
        manifest = Manifest.model_validate_json(content)
    except (ValidationError, FeatureError) as error:
        raise BundleError(f"{path}: {_first_fault(error)}") from error
    verify_files(folder, manifest.files)
    for name in manifest.tensor_files:
        read_tensors(folder / name)
    bundle = Bundle(folder, manifest, hashlib.sha256(content).hexdigest())
    bundle.check_clips()
    return bundle


def save_bundle(
    folder: Path,
    *,
    manifest: Mapping[str, Any],
    members: Mapping[str, tuple[Mapping[str, Any], Tensors]],
    meta: Tensors,
    model_card: str,
    speaker: SpeakerStandardisation | None = None,
    check: CheckClips | None = None,
) -> Bundle:
    """Writes a bundle in one step: the folder appears whole and valid, or not at all.

    Members' matrices are stored in half precision and computed in single.

    Args:
        folder: where; replaced if it is there.
        manifest: all fields of `Manifest` but `format_version`, `members`, those of the speaker and the files.
        members: by name, configuration and weights.
        meta: weights of the meta-classifier.
        model_card: Markdown.
        speaker: the priors members were trained under.
        check: clips of speakers that no member was trained on, for engines to be checked on.

    Raises:
        BundleError: what was written is no valid bundle, or it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        entries: list[MemberEntry] = []
        for name, (config, weights) in members.items():
            file = f"member-{name}.safetensors"
            write_tensors(scratch / file, weights, half_matrices=True)
            entries.append(MemberEntry(name=name, file=file, config=dict(config)))
        write_tensors(scratch / _META_FILE, meta)
        (scratch / MODEL_CARD_FILE).write_text(model_card, encoding="utf-8")
        priors = {} if speaker is None else speaker.priors
        if priors:
            tensors = {f"{name}_mean": prior.mean for name, prior in priors.items()}
            tensors |= {f"{name}_deviation": prior.deviation for name, prior in priors.items()}
            write_tensors(scratch / _SPEAKER_FILE, tensors)
        if check is not None:
            read = [ModalityEntry.model_validate(entry).modality() for entry in manifest.get("modalities", ())]
            write_check_clips(scratch / _CHECK_FILE, check, read)
        files = {path.name: file_entry(path) for path in sorted(scratch.iterdir())}
        checked = Manifest.model_validate(
            {
                **manifest,
                "format_version": FORMAT_VERSION,
                "members": entries,
                "meta_file": _META_FILE,
                "speaker_standardisation": {
                    name: {"weight_frames": prior.weight_frames, "memory_frames": prior.memory_frames}
                    for name, prior in priors.items()
                },
                "speaker_file": _SPEAKER_FILE if priors else None,
                "check_file": None if check is None else _CHECK_FILE,
                "files": files,
            }
        )
        (scratch / MANIFEST_FILE).write_text(checked.model_dump_json(indent=2) + "\n", encoding="utf-8")
        written = load_bundle(scratch)
        written.ensemble()
        written.speaker_standardisation()
        scratch.chmod(0o755)
        publish_folder(scratch, folder)
    except (ValidationError, FeatureError) as error:
        raise BundleError(f"{folder}: {_first_fault(error)}") from error
    except BundleError as error:
        raise BundleError(str(error).replace(str(scratch), str(folder))) from error
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return load_bundle(folder)


def _first_fault(error: ValidationError | FeatureError) -> str:
    if isinstance(error, FeatureError):
        return str(error)
    fault = error.errors()[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{'.'.join(map(str, fault['loc'])) or 'manifest'}: {fault['msg']}{more}"
