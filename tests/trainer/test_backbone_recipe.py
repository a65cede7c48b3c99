"""`[backbones.NAME]`: what a table states holds, what it does not state stays as the registry has it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from models.backbones.registry import BACKBONES, LocalCheckpoint
from models.weights_registry import WeightSpec
from tests.fakes.checkpoints import DIM, LAYERS, tiny_checkpoint, tiny_large_profile
from trainer.errors import RecipeError
from trainer.members import member_config
from trainer.recipe import Recipe, load_recipe, parse_recipe

STAGE = {"learning_rate": 1e-3, "epochs": 1}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA256 = "ab" * 32
GOOD: dict[str, Any] = {
    "name": "mine",
    "labels": ["angry", "sad", "neutral"],
    "corpora": ["one"],
    "modalities": {"voice": {"backbone": "wavlm-large"}, "text": {"backbone": "roberta-large"}},
    "members": [{"name": "a", "modalities": ["voice", "text"]}],
    "stage1": STAGE,
    "stage2": STAGE,
    "meta": {"full": STAGE, "balanced": STAGE},
}


def recipe(backbones: dict[str, Any], **modalities: dict[str, Any]) -> Recipe:
    """`GOOD` with tables for backbones, and modalities changed."""
    values = copy.deepcopy(GOOD)
    for name, changes in modalities.items():
        values["modalities"][name] |= changes
    return parse_recipe({**values, "backbones": backbones}, "mine.toml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint("wavlm", tmp_path_factory.mktemp("wavlm"))


class TestFolders:
    def test_a_known_backbone_may_be_read_from_a_folder(self, folder: Path) -> None:
        spec = recipe({"wavlm-large": {"folder": str(folder)}}).backbone_of("voice")
        assert (spec.name, spec.architecture, spec.kind, spec.rate_hz) == ("wavlm-large", "wavlm", "acoustic", 50.0)
        assert (spec.dim, spec.layers) == (DIM, BACKBONES["wavlm-large"].layers)
        assert spec.weights == LocalCheckpoint(folder)

    def test_the_members_are_as_wide_as_the_checkpoint(self, folder: Path) -> None:
        found = recipe({"wavlm-large": {"folder": str(folder)}})
        dims = {name: spec.width for name, spec in found.specs.items()}
        assert member_config(found.members[0], found, dims).dims == (DIM, 1024)

    def test_a_new_backbone_is_what_its_folder_says(self, folder: Path) -> None:
        found = recipe({"mine": {"folder": str(folder), "files": {"config.json": SHA256}}}, voice={"backbone": "mine"})
        spec = found.backbone_of("voice")
        assert (spec.architecture, spec.dim, spec.layers, spec.languages) == ("wavlm", DIM, 4, None)
        assert spec.weights == LocalCheckpoint(folder, (("config.json", SHA256),))

    @pytest.mark.parametrize(
        ("architecture", "layers", "rate_hz"), [("whisper", 1, 50.0), ("clap", 1, 3.2), ("modernbert", 4, None)]
    )
    def test_layers_and_rate_follow_the_architecture(
        self, tmp_path: Path, architecture: str, layers: int, rate_hz: float | None
    ) -> None:
        tiny_checkpoint(architecture, tmp_path)
        found = recipe({"mine": {"folder": str(tmp_path)}}, voice={"backbone": "mine"})
        spec = found.backbone_of("voice")
        assert (spec.layers, spec.rate_hz) == (layers, rate_hz)

    def test_whisper_base_may_be_a_checkpoint_instead_of_the_converted_model(self, tmp_path: Path) -> None:
        tiny_checkpoint("whisper", tmp_path)
        found = recipe({"whisper-base": {"folder": str(tmp_path)}}, voice={"backbone": "whisper-base"})
        assert found.backbone_of("voice").architecture == "whisper"

    def test_a_recipe_that_states_width_and_architecture_can_be_read_where_the_folder_is_not(
        self, folder: Path
    ) -> None:
        stated = {"folder": "nowhere", "dim": DIM, "architecture": "wavlm"}
        assert recipe({"wavlm-large": stated}).backbone_of("voice").dim == DIM


class TestHub:
    def test_a_repository_at_a_commit_is_pinned_as_far_as_the_recipe_pins_it(self) -> None:
        stated = {"hub": "them/theirs", "revision": COMMIT, "architecture": "hubert", "dim": 768}
        files = {"pytorch_model.bin": SHA256, "preprocessor_config.json": "first use"}
        spec = recipe({"mine": {**stated, "files": files}}, voice={"backbone": "mine"}).backbone_of("voice")
        assert isinstance(spec.weights, WeightSpec)
        assert spec.weights.hub is not None
        assert (spec.weights.hub.repository, spec.weights.hub.revision) == ("them/theirs", COMMIT)
        assert {file.name: file.sha256 for file in spec.weights.files} == {
            "config.json": None,
            "preprocessor_config.json": None,
            "pytorch_model.bin": SHA256,
        }
        assert (spec.dim, spec.layers) == (768, 4)

    def test_without_a_weights_file_it_is_safetensors(self) -> None:
        stated = {"hub": "them/theirs", "revision": COMMIT, "dim": 768}
        spec = recipe({"roberta-large": stated}).backbone_of("text")
        assert isinstance(spec.weights, WeightSpec)
        assert {file.name for file in spec.weights.files} == {"config.json", "tokenizer.json", "model.safetensors"}


class TestLayers:
    def test_another_number_of_layers_may_be_summed(self) -> None:
        found = recipe({"wavlm-large": {"layers": 8}})
        assert found.backbone_of("voice").layers == 8
        assert found.backbone_of("voice").weights == "wavlm-large"
        assert found.backbone_of("voice").width == 1024

    def test_learnt_layers_are_kept_side_by_side_and_weighed_by_the_member(self) -> None:
        found = recipe({}, voice={"layers": "learnt"})
        assert found.backbone_of("voice").width == 4 * 1024
        dims = {name: spec.width for name, spec in found.specs.items()}
        config = member_config(found.members[0], found, dims)
        assert (config.dims, config.layers) == ((4096, 1024), (4, 1))

    def test_a_single_layer_has_nothing_to_weigh(self) -> None:
        with pytest.raises(RecipeError, match='layers = "learnt" needs several, whisper-large-v3 gives one'):
            recipe({}, voice={"backbone": "whisper-large-v3", "layers": "learnt"})


class TestRefusals:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"foldr": "x"}, "foldr: Extra inputs"),
            ({"folder": "nowhere"}, r"\[backbones.wavlm-large\]: no checkpoint in nowhere"),
            ({"folder": "x", "hub": "a/b", "revision": COMMIT}, "folder and hub exclude each other"),
            ({"hub": "a/b"}, "hub and revision go together"),
            ({"revision": COMMIT}, "hub and revision go together"),
            ({"hub": "a/b", "revision": "main"}, "revision: String should match"),
            ({"hub": "a", "revision": COMMIT}, "hub: String should match"),
            ({"hub": "a/b", "revision": COMMIT}, r"\[backbones.wavlm-large\]: dim is missing"),
            ({"files": {"config.json": SHA256}}, "files are pinned of a folder or of a hub repository"),
            ({"folder": "x", "files": {"config.json": "first use"}}, "pinned by their SHA-256, not on first use"),
            ({"folder": "x", "files": {"config.json": "abc"}}, "String should match"),
            ({"architecture": "prosody"}, "architecture prosody is not read from a checkpoint"),
            ({"architecture": "roberta"}, "roberta is linguistic; the registry's backbone of this name is acoustic"),
            ({"architecture": "wavlm", "kind": "linguistic"}, "architecture wavlm is acoustic, not linguistic"),
            ({"layers": 0}, "layers: .*greater than or equal to 1"),
        ],
    )
    def test_a_table_that_says_too_little_or_too_much(self, table: dict[str, Any], message: str) -> None:
        with pytest.raises(RecipeError, match=f"^mine.toml: .*{message}") as caught:
            recipe({"wavlm-large": table})
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"architecture": "hubert"}, "holds a model of type 'wavlm', expected hubert"),
            ({"dim": 17}, f"dim is 17, .* gives {DIM}"),
            ({"layers": LAYERS + 1}, f"layers is {LAYERS + 1}, .* has {LAYERS} to read"),
        ],
    )
    def test_a_table_that_its_folder_contradicts(self, folder: Path, table: dict[str, Any], message: str) -> None:
        with pytest.raises(RecipeError, match=message):
            recipe({"wavlm-large": {"folder": str(folder), **table}})

    def test_a_folder_of_another_kind_of_model(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
        with pytest.raises(RecipeError, match="holds a model of type 'gpt2'; features are taken from"):
            recipe({"wavlm-large": {"folder": str(tmp_path)}})

    def test_a_new_name_without_architecture(self) -> None:
        stated = {"hub": "a/b", "revision": COMMIT, "dim": 8}
        with pytest.raises(RecipeError, match=r"\[backbones.mine\]: architecture is missing"):
            recipe({"mine": stated}, voice={"backbone": "mine"})

    def test_a_table_that_no_modality_reads(self) -> None:
        with pytest.raises(RecipeError, match=r"\[backbones\] names \['hubert-large'\], which no modality reads"):
            recipe({"hubert-large": {"layers": 2}})

    def test_prosody_which_is_computed(self) -> None:
        with pytest.raises(RecipeError, match="prosody is computed, there is nothing to set"):
            recipe({"prosody": {"layers": 1}}, voice={"backbone": "prosody"})

    @pytest.mark.parametrize("name", ["whisper-base", "clap-audio"])
    def test_several_layers_of_what_gives_one(self, name: str) -> None:
        with pytest.raises(RecipeError, match="the last one alone can be read"):
            recipe({name: {"layers": 2}}, voice={"backbone": name})


def test_the_papers_ensemble_can_be_read_from_folders(tmp_path: Path) -> None:
    values = load_recipe("medusa14").model_dump(mode="json")
    found = parse_recipe({**values, "backbones": tiny_large_profile(tmp_path)}, "medusa14.toml")
    assert {name: spec.width for name, spec in found.specs.items()} == {
        "wavlm": DIM,
        "hubert": DIM,
        "whisper": DIM,
        "clap": 2 * DIM,
        "roberta": DIM,
        "modernbert": DIM,
    }


def test_it_survives_the_way_through_a_manifest(folder: Path) -> None:
    found = recipe({"wavlm-large": {"folder": str(folder), "layers": 3}}, voice={"layers": "learnt"})
    assert parse_recipe(json.loads(found.model_dump_json()), "manifest.json") == found
