"""A training recipe: everything that decides what comes out, in one checked TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.backbones.registry import BackboneSpec
from models.deepser import DeepSERConfig, Fusion, Pooling
from models.emotions import MSP_NAMES, LabelSet
from models.errors import FeatureError
from models.modalities import grouped_width
from trainer.augment import CLEAN, view
from trainer.backbone_recipe import BackboneRecipe, resolve
from trainer.compute import Precision
from trainer.errors import RecipeError
from trainer.objectives import Objective

Probability = Annotated[float, Field(ge=0, le=1)]
RECIPES = Path(__file__).parent / "recipes"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModalityRecipe(_Section):
    """One feature stream."""

    backbone: str
    stride: int = Field(default=1, ge=1, le=16)
    """Frames made one before the members read them."""
    deviations: bool = False
    """Whether each feature's deviation within those frames stands beside its mean."""
    layers: Literal["sum", "learnt"] = "sum"
    """Whether the backbone's hidden layers are summed, or kept side by side for each member to learn their weights."""


class SpeakerRecipe(_Section):
    """Speaker standardisation of one modality, see `models.speaker`."""

    weight_frames: float = Field(default=30.0, gt=0)
    """Frames of a speaker that weigh as much as the prior, at the members' rate."""
    memory_frames: float = Field(default=400.0, gt=0)
    """What was heard of a speaker weighs at most as many."""


class MemberRecipe(_Section):
    """One DeepSER member."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    modalities: tuple[str, ...] = Field(min_length=1)
    width: int = Field(default=64, ge=4, le=2048)
    heads: int = Field(default=1, ge=1, le=64)
    feed_forward: int = Field(default=128, ge=4, le=8192)
    depth: int = Field(default=1, ge=1, le=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the input features zeroed in training."""
    pooling: Pooling = "mean"
    fusion: Fusion = "deep"
    quota: dict[str, Annotated[int, Field(ge=1)]] | None = None
    """In place of the recipe's own: a member that only reads words may see more of a corpus that has nothing else."""


class StageRecipe(_Section):
    """What stages 1, 2 and 3 share."""

    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: int = Field(default=50, ge=0)
    """Batches over which the learning rate rises."""
    epochs: int = Field(ge=0, le=1000)
    """At most this many."""
    patience: int = Field(default=8, ge=1)
    """Epochs without a better development macro-F1 before stopping."""
    batch: int = Field(default=32, ge=1)
    """Examples a step of the optimiser."""
    accumulate: int = Field(default=1, ge=1)
    """Parts a step is computed in, one after another, where a whole batch does not fit into memory."""
    mixup: Probability = 0.3
    modality_drop: Probability = 0.0
    """Probability that an example is trained on without one of its modalities."""
    anchor: float = Field(default=0.0, ge=0)
    """Penalty on the squared distance from the weights a fit starts from (L2-SP, Li et al. 2018)."""
    keep: Literal["best", "last"] = "best"
    """Weights of the epoch best in development, or of the last: a small development set chooses by chance."""


class MetaRecipe(_Section):
    """Stages 3 and 4."""

    runs: int = Field(default=6, ge=2, le=64)
    """Meta-classifiers, each with a seed of its own and without another part of the speakers; stage 4 averages them."""
    views: tuple[str, ...] = (CLEAN,)
    """Waveform views of the held-out speakers that stages 3 and 4 read, so that both know the lines a call may come
    over."""
    class_weight_power: Probability = 0.5
    """As the recipe's own, for stage 3."""
    soup: Literal["uniform", "greedy"] = "uniform"
    """Stage 4 averages all runs, or, best first, those that do not lower macro-F1 (Wortsman et al. 2022)."""
    attributes_as_evidence: bool = True
    """Whether the emotion is read from the members' attributes too. Where these were trained on norms of emotion words,
    they say nothing that the posteriors do not, and say it otherwise in every corpus."""
    full: StageRecipe
    balanced: StageRecipe


class Recipe(_Section):
    """All of it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    profile: Literal["base", "large"] = "base"
    seed: int = Field(default=2506, ge=0)
    labels: tuple[str, ...] = MSP_NAMES
    corpora: tuple[str, ...] = Field(min_length=1)
    quota: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Most examples a corpus gives to one epoch, drawn anew each epoch."""
    views: tuple[str, ...] = ("clean",)
    """Waveform views of every clip that training sees; `clean` alone is used to choose and to test."""
    attribute_norms: bool = True
    """Fill attributes nobody rated from published norms of emotion words."""
    development_share: float = Field(default=0.15, gt=0, lt=1)
    """Share of each corpus's speakers held out to choose, to fit the meta-classifier and to calibrate."""
    hard_targets: bool = False
    """Learn the raters' strongest class alone, in place of their distribution."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of every target spread evenly over all classes."""
    restricted_softmax: bool = True
    """A corpus that lacks a class says nothing against it: its examples choose among the classes that it tells of."""
    precision: Precision = "fp32"
    """Of the forward pass; `bf16` halves memory and time on GPUs."""
    cross_entropy_weight: float = Field(default=1.5, gt=0)
    attribute_weight: float = Field(default=0.4, ge=0)
    contrastive_weight: float = Field(default=0.0, ge=0)
    """Of a supervised contrastive term on the members' latents; 0 leaves it out, as the paper does."""
    contrastive_temperature: float = Field(default=0.1, gt=0)
    corpus_balance: Probability = 0.0
    """How far an epoch evens out corpora with audio: 0 takes all of each, 1 as much of each as the smallest has."""
    class_weight_power: Probability = 0.5
    mixup_alpha: float = Field(default=0.2, gt=0)
    target_coverage: Probability = 0.9
    """Share of development segments the abstention threshold lets through."""
    modalities: dict[str, ModalityRecipe] = Field(min_length=1)
    backbones: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")], BackboneRecipe] = Field(
        default_factory=dict
    )
    """Checkpoints of one's own, and other readings of the registry's backbones."""
    speaker: dict[str, SpeakerRecipe] = Field(default_factory=dict)
    """Modalities whose features are standardised to their speaker."""
    members: tuple[MemberRecipe, ...] = Field(min_length=1)
    """In a file, `[member_defaults]` states what members share and do not say otherwise."""
    stage1: StageRecipe
    stage2: StageRecipe
    meta: MetaRecipe

    @model_validator(mode="before")
    @classmethod
    def _share_defaults(cls, values: Any) -> Any:
        """Gives every member what `[member_defaults]` states."""
        if not isinstance(values, Mapping) or "member_defaults" not in values:
            return values
        shared, members = values["member_defaults"], values.get("members")
        if not isinstance(shared, Mapping) or {"name", "modalities"} & shared.keys():
            raise ValueError("[member_defaults] is a table of what members share; names and modalities are their own")
        if isinstance(members, list | tuple):
            members = [{**shared, **member} if isinstance(member, Mapping) else member for member in members]
        return {**{key: value for key, value in values.items() if key != "member_defaults"}, "members": members}

    @model_validator(mode="after")
    def _agree(self) -> Self:
        names = [member.name for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError("two members have the same name")
        strangers = self.speaker.keys() - self.modalities.keys()
        if strangers:
            raise ValueError(f"[speaker] names {sorted(strangers)}, which [modalities] does not define")
        for quota in (self.quota, *(member.quota or {} for member in self.members)):
            strangers = quota.keys() - set(self.corpora)
            if strangers:
                raise ValueError(f"a quota names {sorted(strangers)}, which corpora does not list")
        strangers = self.backbones.keys() - {entry.backbone for entry in self.modalities.values()}
        if strangers:
            raise ValueError(f"[backbones] names {sorted(strangers)}, which no modality reads")
        for member in self.members:
            missing = set(member.modalities) - set(self.modalities)
            if missing:
                raise ValueError(f"member {member.name} reads {sorted(missing)}, which [modalities] does not define")
            self._shape(member)
        unread = self.modalities.keys() - {name for member in self.members for name in member.modalities}
        if unread:
            raise ValueError(f"no member reads {sorted(unread)}: take it out of [modalities]")
        LabelSet(self.labels)
        for name in self.views:
            view(name)
        strangers = set(self.meta.views) - set(self.views)
        if strangers:
            raise ValueError(f"meta.views names {sorted(strangers)}, which views does not list")
        return self

    def _shape(self, member: MemberRecipe) -> None:
        """Builds the member's configuration, so that what cannot be built is found before anything is trained."""
        try:
            DeepSERConfig(
                modalities=member.modalities,
                dims=tuple(self.dims[name] for name in member.modalities),
                labels=len(self.labels),
                width=member.width,
                heads=member.heads,
                layers=self.layers_of(member),
            )
        except ValueError as error:
            raise ValueError(f"member {member.name}: {error}") from error

    def backbone_of(self, modality: str) -> BackboneSpec:
        """The backbone of a modality, as the recipe reads it.

        Raises:
            FeatureError: there is no such backbone, or its table in `[backbones]` is wrong.
        """
        entry = self.modalities[modality]
        spec = resolve(entry.backbone, self.backbones.get(entry.backbone))
        if entry.deviations and (entry.stride == 1 or entry.layers == "learnt"):
            raise FeatureError(f"[modalities.{modality}]: deviations need a stride of 2 at least, and summed layers")
        if entry.layers == "sum":
            return spec
        if spec.layers == 1:
            raise FeatureError(f'[modalities.{modality}]: layers = "learnt" needs several, {spec.name} gives one')
        return dataclasses.replace(spec, stacked=True)

    @property
    def dims(self) -> dict[str, int]:
        """Features a frame that the members read, by modality."""
        return {
            name: grouped_width(self.backbone_of(name).width, entry.deviations)
            for name, entry in self.modalities.items()
        }

    @property
    def specs(self) -> dict[str, BackboneSpec]:
        """The backbone of every modality."""
        return {modality: self.backbone_of(modality) for modality in self.modalities}

    def layers_of(self, member: MemberRecipe) -> tuple[int, ...]:
        """Hidden layers side by side in each of a member's modalities."""
        specs = [self.backbone_of(name) for name in member.modalities]
        return tuple(spec.layers if spec.stacked else 1 for spec in specs)

    @property
    def objective(self) -> Objective:
        """What stage 3 minimises, and stages 1 and 2 among other things."""
        return Objective(
            self.cross_entropy_weight,
            self.attribute_weight,
            hard=self.hard_targets,
            label_smoothing=self.label_smoothing,
        )

    @property
    def member_objective(self) -> Objective:
        """What stages 1 and 2 minimise: theirs is a latent that can be asked for something."""
        return dataclasses.replace(
            self.objective, contrastive=self.contrastive_weight, contrastive_temperature=self.contrastive_temperature
        )

    @property
    def label_set(self) -> LabelSet:
        """The labels as a `LabelSet`."""
        return LabelSet(self.labels)


def load_recipe(source: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        source: path of a TOML file, or the name of a packaged recipe such as `base`.
        changes: what it shall say otherwise, each a line of TOML such as `stage1.epochs = 3`.

    Raises:
        RecipeError: no such file or recipe, not TOML, or a key that is unknown, missing or out of bounds.
    """
    path = Path(source)
    if not path.suffix:
        path = RECIPES / f"{source}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        packaged = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise RecipeError(f"no recipe {source}: give a TOML file, or one of the packaged ones ({packaged})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path}: {error}") from error
    for change in changes:
        values = _merged(values, _read_change(change))
    return parse_recipe(values, str(path) if not changes else f"{path}, changed by {', '.join(changes)}")


def _read_change(change: str) -> dict[str, Any]:
    try:
        return tomllib.loads(change)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f'{change!r} is no line of TOML such as stage1.epochs=3 or name="mine": {error}') from error


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merged, anything else replaced."""
    merged = dict(values)
    for key, value in changes.items():
        before = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        merged[key] = _merged(before, value) if both else value  # type: ignore[arg-type]
    return merged


def parse_recipe(values: Mapping[str, Any], source: str) -> Recipe:
    """Checks a recipe that has been read.

    Args:
        values: as in a recipe's file, or a bundle's manifest.
        source: where they come from, for the message.

    Raises:
        RecipeError: a key is unknown, missing or out of bounds.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()]
        raise RecipeError(f"{source}: " + "; ".join(lines)) from error
