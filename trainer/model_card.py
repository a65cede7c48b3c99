"""The model card: what a bundle is, what it was trained on, how good it is, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trainer.model_card_figures import figures_of

_LIMITS: Final = (
    "Its figures hold for speech like that of the corpora they were measured on. Acted emotion (RAVDESS, TESS, EmoDB, "
    "CREMA-D) is stronger and clearer than what people show in real calls: on spontaneous speech expect less.",
    "The text modality knows English. In other languages it is left out, and the voice alone decides.",
    "It tells apart the classes it has. A voice that expresses something else still gets a label, unless the ensemble "
    "abstains.",
    "The first segment of a speaker is scored against the training speakers; later ones against the speaker's own "
    "running mean, and are more reliable.",
    "Segments under a second hold too little to judge by.",
    "Children, whispering, singing, strong background voices and heavily compressed lines were not evaluated.",
    "It does not measure what anybody feels: it measures how a voice and words would be labelled by raters.",
)


def model_card(manifest: Mapping[str, Any], *, check_clips: int = 0) -> str:
    """Markdown from a manifest's fields; every figure comes from its metrics.

    Args:
        manifest: as for `models.bundle.save_bundle`.
        check_clips: how many clips the bundle holds to check engines on.
    """
    lines = [
        f"# MEDUSA live, bundle `{manifest['name']}`",
        "",
        f"Weights: {manifest['licence']}. Code: Apache-2.0. Profile `{manifest['profile']}`.",
        "",
        f"Classes: {', '.join(manifest['labels'])}. Attributes: arousal, valence, dominance, 1 to 7, trained on "
        f"{manifest['attributes_source']}.",
        "",
        "## How it is built",
        "",
        "An ensemble of DeepSER members (arXiv 2506.09556) over frozen backbones, trained in four stages: soft "
        "targets on all data, balanced subsets with ambiguous examples, a linear meta-classifier, a soup of its runs. "
        "Acoustic features are brought relative to the speaker's running mean and deviation. Its "
        "confidence is scaled by a temperature fitted on held-out speakers; the expected calibration error (ECE) says "
        "how far it is from the share of right answers on others.",
        "",
        "| modality | backbone | features | frames averaged |",
        "| :-- | :-- | --: | --: |",
        *(f"| {m['name']} | {m['backbone']} | {m['dim']} | {m['stride']} |" for m in manifest["modalities"]),
        "",
        "| member | modalities | width |",
        "| :-- | :-- | --: |",
        *(
            f"| {m['name']} | {', '.join(m['modalities'])} | {m['width']} |"
            for m in manifest.get("recipe", {}).get("members", ())
        ),
        "",
        "## Trained on",
        "",
        "| corpus | utterances used | licence |",
        "| :-- | --: | :-- |",
        *(f"| {c['name']} | {c['utterances']} | {c['licence']} |" for c in manifest["corpora"]),
        "",
        *(f"- {c['name']}: {c['citation']}" for c in manifest["corpora"]),
        "",
        *(_clips_held(check_clips) if check_clips else ()),
        "## Figures",
        "",
        "Unless a note below says otherwise, each is measured on speakers that the ensemble measured there was not "
        "trained on: for folds and corpora left out the trainer trained further ensembles with the same recipe. Clips "
        "of a speaker are heard one after another in random order, as a call would bring them; only what came before "
        "counts.",
        "",
        *figures_of(manifest.get("metrics", {})),
        "",
        "## What it cannot do",
        "",
        *(f"- {limit}" for limit in _LIMITS),
        "",
        "## Use it responsibly",
        "",
        "In the EU, inferring the emotions of people at work is prohibited (AI Act, Article 5(1)(f)); the runtime does "
        "not score agents' channels unless its operator turns that on. Tell people that their voice is analysed, do "
        "not decide about anybody on these scores alone, and keep a way to object.",
        "",
    ]
    return "\n".join(lines)


def _clips_held(count: int) -> tuple[str, ...]:
    """Whoever passes the bundle on must know what of the corpora goes with it."""
    return (
        f"`check.safetensors` holds {count} utterances of these corpora as members read them, features and tokens, "
        "from speakers no member was trained on: compiled engines are checked on them. It holds no audio.",
        "",
    )
