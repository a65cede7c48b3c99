"""From a finished run to a bundle with its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.backbones.bundle_backbones import weights_source
from models.backbones.sources import backbone_hashes
from models.bundle import Bundle, save_bundle
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS
from trainer.assembly import RunSpec, load_utterances, may_train_on
from trainer.attribute_norms import SOURCE as NORMS_SOURCE
from trainer.check_clips import MOST_CLIPS, choose_clips
from trainer.corpora.manifest import Corpus
from trainer.model_card import model_card
from trainer.recipe import Recipe
from trainer.stages import TrainedEnsemble

_RATED = "ratings of these recordings"
_NOTHING = "nothing: nobody rated them"


def export_bundle(
    trained: TrainedEnsemble,
    spec: RunSpec,
    folder: Path,
    *,
    name: str,
    licence: str,
    metrics: Mapping[str, Any],
    check_clips: int = MOST_CLIPS,
) -> Bundle:
    """Writes a bundle.

    Args:
        trained: what the four stages gave.
        spec: the run it came from.
        folder: where to.
        name: of the bundle.
        licence: of the weights: the strictest of the corpora's.
        metrics: reports of evaluations by protocol, for manifest and model card.
        check_clips: most held-out utterances that travel with it for engines to be checked on; 0 for none.

    Raises:
        BundleError: the folder cannot be written.
    """
    recipe = spec.recipe
    loaded = load_utterances(recipe, spec.corpora)
    modalities = []
    for modality, entry in recipe.modalities.items():
        described = recipe.backbone_of(modality)
        modalities.append(
            {
                "name": modality,
                "kind": described.kind,
                "backbone": described.name,
                "dim": recipe.dims[modality],
                "stride": entry.stride,
                "deviations": entry.deviations,
                "layers": described.layers if described.stacked else 1,
            }
        )
    corpora = [
        {
            "name": corpus.name,
            "licence": corpus.licence,
            "citation": corpus.citation,
            "utterances": sum(may_train_on(utterance, spec) for utterance in corpus.utterances),
        }
        for corpus in loaded
    ]
    manifest = {
        "name": name,
        "profile": recipe.profile,
        "licence": licence,
        "labels": list(recipe.labels),
        "attributes_source": _attributes_source(loaded, spec),
        "modalities": modalities,
        "backbones": _backbone_entries(recipe),
        "final_windows": asdict(FINAL_WINDOWS),
        "interim_windows": asdict(INTERIM_WINDOWS),
        "calibration": {
            "temperature": trained.temperature,
            "abstain_below": trained.abstain_below,
            "fitted_on": "speakers held out of training, each scored by meta-classifiers not trained on them",
        },
        "corpora": corpora,
        "recipe": _recipe_to_keep(recipe),
        "metrics": dict(metrics),
    }
    check = choose_clips(trained.development, recipe, loaded, check_clips) if check_clips else None
    return save_bundle(
        folder,
        manifest=manifest,
        members={
            member: (model.config.to_dict(), {key: value.numpy() for key, value in model.state_dict().items()})
            for member, model in trained.members.items()
        },
        meta={key: value.numpy() for key, value in trained.meta.state_dict().items()},
        model_card=model_card(manifest, check_clips=0 if check is None else len(check)),
        speaker=trained.standardisation,
        check=check,
    )


def _attributes_source(corpora: Sequence[Corpus], spec: RunSpec) -> str:
    """Where the attribute targets came from: raters, norms that stood in for them, or both."""
    rated = {u.attributes is not None for c in corpora for u in c.utterances if may_train_on(u, spec)}
    if not spec.recipe.attribute_norms:
        return _RATED if True in rated else _NOTHING
    if rated == {True}:
        return _RATED
    return f"{_RATED} where there are any, else {NORMS_SOURCE}" if True in rated else NORMS_SOURCE


def _backbone_entries(recipe: Recipe) -> list[dict[str, Any]]:
    """What every backbone was, so that features can be made again: its architecture, its weights by their hashes."""
    specs = {spec.name: spec for spec in recipe.specs.values()}
    return [
        {
            "name": spec.name,
            "version": spec.version,
            "weights": spec.weights if isinstance(spec.weights, str) else None,
            "files": backbone_hashes(spec),
            "architecture": spec.architecture,
            "layers": spec.layers,
            "source": weights_source(spec.weights),
            "languages": None if spec.languages is None else sorted(spec.languages),
        }
        for _, spec in sorted(specs.items())
    ]


def _recipe_to_keep(recipe: Recipe) -> dict[str, Any]:
    """The recipe as it can be read where a local checkpoint is not: with the width that was read from it."""
    kept = recipe.model_dump(mode="json")
    for spec in recipe.specs.values():
        if spec.name in kept["backbones"]:
            kept["backbones"][spec.name] |= {"dim": spec.dim, "architecture": spec.architecture}
    return kept
