"""A recipe over checkpoints in local folders: features, all four stages, and a bundle that says what was read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle, load_bundle
from tests.fakes.checkpoints import DIM, tiny_checkpoint
from tests.fakes.corpora import write_tone
from trainer.assembly import RunSpec
from trainer.corpora.registry import load_corpora
from trainer.errors import FeatureStoreError
from trainer.export import export_bundle
from trainer.feature_library import FeatureLibrary
from trainer.recipe import Recipe, parse_recipe
from trainer.running import run_stages

LABELS = ("angry", "sad")
SPEAKERS = 5
STAGE = {"learning_rate": 1e-3, "epochs": 2, "keep": "last", "warmup_steps": 0}


def recipe(checkpoints: Path) -> Recipe:
    """Two speech backbones, one of them weighed layer by layer, and one for words."""
    values = {
        "name": "mine",
        "profile": "large",
        "labels": LABELS,
        "corpora": ["calls"],
        "development_share": 0.4,
        "modalities": {
            "wavlm": {"backbone": "wavlm-large", "stride": 2, "layers": "learnt"},
            "own": {"backbone": "own"},
            "text": {"backbone": "roberta-large"},
        },
        "backbones": {
            "wavlm-large": {"folder": str(checkpoints / "wavlm"), "layers": 3},
            "own": {"folder": str(checkpoints / "whisper")},
            "roberta-large": {"folder": str(checkpoints / "roberta")},
        },
        "speaker": {"wavlm": {}},
        "members": [
            {"name": "all", "modalities": ["wavlm", "own", "text"], "width": 8, "feed_forward": 16},
            {"name": "voice", "modalities": ["wavlm"], "width": 8, "feed_forward": 16},
        ],
        "stage1": STAGE,
        "stage2": STAGE,
        "meta": {"runs": 2, "full": STAGE, "balanced": STAGE},
    }
    return parse_recipe(values, "mine.toml")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints, and a corpus of a clip for every speaker and class."""
    folder = tmp_path_factory.mktemp("calls")
    for architecture in ("wavlm", "whisper", "roberta"):
        tiny_checkpoint(architecture, folder / "checkpoints" / architecture)
    rows = []
    for speaker in range(SPEAKERS):
        for number, label in enumerate(LABELS):
            name = f"s{speaker}-{number}"
            clip = folder / "corpora" / "calls" / f"{name}.wav"
            write_tone(clip, seconds=0.2 + 0.1 * speaker, hz=200.0 * (1 + number), level=0.3)
            rows.append({"id": name, "audio": clip.name, "speaker": f"s{speaker}", "label": label, "transcript": label})
    (folder / "corpora" / "calls" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def bundle(place: Path) -> Bundle:
    spec = RunSpec(recipe(place / "checkpoints"), place / "corpora", place / "features", place / "run")
    with FeatureLibrary(spec.features, spec.recipe.modalities, specs=spec.recipe.specs) as library:
        report = library.extract(load_corpora(spec.recipe.corpora, spec.corpora))
    assert report.failures == []
    return export_bundle(run_stages(spec), spec, place / "bundle", name="mine", licence="CC0-1.0", metrics={})


@pytest.mark.usefixtures("bundle")
def test_features_are_stored_as_the_recipe_reads_them(place: Path) -> None:
    chosen = recipe(place / "checkpoints")
    library = FeatureLibrary(place / "features", chosen.modalities, specs=chosen.specs)
    assert set(library.stores) == {
        "wavlm-large-3-layers-stacked-stride2-clean",
        "own-1-layers-summed-clean",
        "roberta-large-clean",
    }
    features = library.features("calls/s0-0")
    assert {name: None if f is None else f.shape[1] for name, f in features.items()} == library.dims
    assert library.dims == {"wavlm": 3 * DIM, "own": DIM, "text": DIM}
    assert all(f is not None and f.dtype == np.float16 and np.isfinite(f).all() for f in features.values())
    assert features["text"] is not None
    assert features["text"].shape[0] == len("angry")


@pytest.mark.usefixtures("bundle")
def test_a_store_made_with_other_weights_is_refused(place: Path, tmp_path: Path) -> None:
    for architecture in ("wavlm", "whisper", "roberta"):
        tiny_checkpoint(architecture, tmp_path / architecture, seed=1)
    other = recipe(tmp_path)
    with pytest.raises(FeatureStoreError, match="weights_sha256"):
        FeatureLibrary(place / "features", other.modalities, specs=other.specs)


def test_the_bundle_says_what_was_read_and_by_which_weights(place: Path, bundle: Bundle) -> None:
    manifest = load_bundle(bundle.folder).manifest
    assert {m.name: (m.kind, m.dim, m.stride, m.layers) for m in manifest.modalities} == {
        "wavlm": ("acoustic", 3 * DIM, 2, 3),
        "own": ("acoustic", DIM, 1, 1),
        "text": ("linguistic", DIM, 1, 1),
    }
    entry = next(entry for entry in manifest.backbones if entry.name == "wavlm-large")
    folder = place / "checkpoints" / "wavlm"
    assert (entry.architecture, entry.layers, entry.weights, entry.source) == ("wavlm", 3, None, f"folder {folder}")
    assert entry.files == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("config.json", "preprocessor_config.json", "model.safetensors")
    }


def test_its_members_weigh_layers(bundle: Bundle) -> None:
    members = dict(zip(bundle.ensemble().member_names, bundle.ensemble().members, strict=True))
    assert members["all"].config.layers == (3, 1, 1)
    assert members["voice"].config.layers == (3,)
    assert (members["voice"].layer_mixes["wavlm"].scores != 0).any()


def test_its_recipe_can_be_read_where_the_checkpoints_are_not(place: Path, bundle: Bundle) -> None:
    kept = json.loads(json.dumps(bundle.manifest.recipe).replace(str(place / "checkpoints"), "gone"))
    found = parse_recipe(kept, "manifest.json")
    mine = recipe(place / "checkpoints")
    assert {name: replace(spec, weights=None) for name, spec in found.specs.items()} == {
        name: replace(spec, weights=None) for name, spec in mine.specs.items()
    }
