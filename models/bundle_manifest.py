"""The manifest of a bundle: everything about a trained ensemble but its weights."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.emotions import ATTRIBUTE_NAMES, LabelSet
from models.modalities import Modality
from models.windows import WindowPolicy

FORMAT_VERSION: Final = 1
MANIFEST_FILE: Final = "manifest.json"
MODEL_CARD_FILE: Final = "MODEL_CARD.md"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Entry):
    """One file of the bundle."""

    sha256: Sha256
    bytes: int = Field(ge=0)


class ModalityEntry(_Entry):
    """One input stream."""

    name: Name
    kind: Literal["acoustic", "linguistic"]
    backbone: Name
    dim: int = Field(ge=1)
    stride: int = Field(default=1, ge=1)
    deviations: bool = False
    """Whether the second half of `dim` are deviations within the frames of a stride."""
    layers: int = Field(default=1, ge=1)
    """Hidden layers of the backbone that stand side by side in `dim`, for members that weigh them."""

    @model_validator(mode="after")
    def _group(self) -> Self:
        if self.deviations and (self.stride == 1 or self.layers > 1 or self.dim % 2):
            raise ValueError("deviations need an even dim, a stride of 2 at least, and one layer")
        return self

    def modality(self) -> Modality:
        """The same as `models.modalities.Modality`."""
        return Modality(self.name, self.kind, self.backbone, self.dim, self.stride, self.deviations)


class BackboneEntry(_Entry):
    """A frozen encoder the features were made with."""

    name: Name
    version: int = Field(ge=1)
    weights: str | None = None
    """Name in the weights registry, where it has weights there."""
    files: dict[str, Sha256] = Field(default_factory=dict)
    """SHA-256 by file of its weights."""
    architecture: str | None = None
    """What kind of model it is, see `models.backbones.registry.Architecture`."""
    layers: int | None = Field(default=None, ge=1)
    """Hidden layers that were read, counted from the last."""
    source: str | None = None
    """Where its weights came from, if not from the registry's entry: a repository at a commit, or a folder; see
    `models.backbones.bundle_backbones`."""
    languages: tuple[str, ...] | None = None
    """ISO 639-1 codes of the languages it represents well; None where it does not matter, or the registry says so."""


class WindowsEntry(_Entry):
    """Window policy, see `models.windows.WindowPolicy`."""

    buckets_s: tuple[float, ...] = Field(min_length=1)
    tail_s: float = Field(ge=0)

    def policy(self) -> WindowPolicy:
        """The same as a `WindowPolicy`."""
        return WindowPolicy(self.buckets_s, self.tail_s)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.policy()
        return self


class MemberEntry(_Entry):
    """One member."""

    name: Name
    file: Name
    config: dict[str, Any]
    """`models.deepser.DeepSERConfig.to_dict()`."""


class SpeakerEntry(_Entry):
    """How much a modality's features are standardised to the speaker, see `models.speaker`."""

    weight_frames: float = Field(gt=0)
    memory_frames: float = Field(gt=0)


class CalibrationEntry(_Entry):
    """How scores become confidence."""

    temperature: float = Field(gt=0)
    abstain_below: float = Field(ge=0, le=1)
    fitted_on: str
    """Whose speech it was fitted on."""


class CorpusEntry(_Entry):
    """A corpus that was trained on."""

    name: str
    licence: str
    citation: str
    utterances: int = Field(ge=0)


class Manifest(_Entry):
    """`manifest.json`, format version 1."""

    format_version: Literal[1]
    name: Name
    profile: Literal["base", "large"]
    licence: str
    """Of the weights."""
    labels: tuple[str, ...] = Field(min_length=2)
    attributes: tuple[str, ...] = ATTRIBUTE_NAMES
    attributes_source: str
    """Where the attribute targets came from."""
    modalities: tuple[ModalityEntry, ...] = Field(min_length=1)
    backbones: tuple[BackboneEntry, ...] = Field(min_length=1)
    final_windows: WindowsEntry
    interim_windows: WindowsEntry
    members: tuple[MemberEntry, ...] = Field(min_length=1)
    meta_file: Name
    speaker_standardisation: dict[Name, SpeakerEntry] = Field(default_factory=dict)
    """By modality; the means and deviations lie in `speaker_file`."""
    speaker_file: Name | None = None
    check_file: Name | None = None
    """Clips that engines are checked on, see `models.check_clips`; a bundle may do without."""
    calibration: CalibrationEntry
    corpora: tuple[CorpusEntry, ...]
    recipe: dict[str, Any] = Field(default_factory=dict)
    """What it was trained with."""
    metrics: dict[str, Any] = Field(default_factory=dict)
    """Figures measured by the trainer."""
    files: dict[str, FileEntry] = Field(min_length=1)
    """Every file but the manifest itself."""

    @property
    def tensor_files(self) -> tuple[str, ...]:
        """Everything that holds weights."""
        speaker = () if self.speaker_file is None else (self.speaker_file,)
        return (*(member.file for member in self.members), self.meta_file, *speaker)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        LabelSet(self.labels)
        if self.attributes != ATTRIBUTE_NAMES:
            raise ValueError(f"attributes: this release reads {', '.join(ATTRIBUTE_NAMES)} in this order")
        names = [modality.name for modality in self.modalities]
        if len(set(names)) != len(names):
            raise ValueError("modalities: a name stands twice")
        members = [member.name for member in self.members]
        if len(set(members)) != len(members):
            raise ValueError("members: a name stands twice")
        backbones = {entry.name for entry in self.backbones}
        for modality in self.modalities:
            if modality.backbone not in backbones:
                raise ValueError(f"modalities: {modality.name} needs backbone {modality.backbone}, which is not listed")
        if self.speaker_standardisation.keys() - set(names):
            raise ValueError("speaker_standardisation: names a modality that is not listed")
        if bool(self.speaker_standardisation) != (self.speaker_file is not None):
            raise ValueError("speaker_file: must be given just where speaker_standardisation is")
        checks = () if self.check_file is None else (self.check_file,)
        for file in (*self.tensor_files, *checks, MODEL_CARD_FILE):
            if file not in self.files:
                raise ValueError(f"files: {file} is not listed")
        for file in self.files:
            if "/" in file or "\\" in file or file.startswith("."):
                raise ValueError(f"files: {file!r} must be a plain name inside the bundle")
        return self
