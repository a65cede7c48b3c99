"""What a manifest says of a backbone, and where its weights are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.backbones.bundle_backbones import backbone_at_hand, stated_backbone, weights_source
from models.backbones.registry import LocalCheckpoint
from models.backbones.sources import hub_checkpoint
from models.backbones.text_source import text_sources
from models.bundle_manifest import BackboneEntry
from models.errors import FeatureError, WeightsError
from models.weights_settings import WeightsSettings
from tests.fakes.bundles import hearing_bundle, own_checkpoint
from tests.fakes.checkpoints import tiny_checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint("roberta", tmp_path_factory.mktemp("text") / "roberta")


def stated(name: str, **fields: Any) -> BackboneEntry:
    return BackboneEntry(name=name, version=1, **fields)


class TestWhatAManifestSays:
    """The registry's backbone, unless the recipe named a checkpoint."""

    def test_without_a_source_it_is_the_registrys_read_as_deep_as_stated(self) -> None:
        spec = stated_backbone(stated("roberta-large", layers=2))
        assert (spec.weights, spec.architecture, spec.layers) == ("roberta-large", "roberta", 2)
        assert stated_backbone(stated("roberta-large")).layers == 4
        with pytest.raises(FeatureError, match="no backbone 'mine'"):
            stated_backbone(stated("mine"))

    @pytest.mark.parametrize(
        "weights",
        [
            LocalCheckpoint(Path("/checkpoints/one at home"), (("config.json", "1" * 64),)),
            hub_checkpoint("them/theirs", COMMIT, "linguistic", {"config.json": "1" * 64}),
        ],
    )
    def test_a_checkpoint_that_a_recipe_named_is_found_again_from_what_the_manifest_says_of_it(
        self, weights: Any
    ) -> None:
        files = {"config.json": "1" * 64}
        entry = stated("mine", architecture="bert", layers=3, source=weights_source(weights), files=files)
        spec = stated_backbone(entry)
        assert (spec.weights, spec.kind, spec.layers) == (weights, "linguistic", 3)

    def test_of_what_the_registry_knows_it_says_nothing(self) -> None:
        assert weights_source("roberta-large") is None
        assert weights_source(None) is None

    def test_a_folder_is_named_so_that_it_is_found_from_anywhere(self) -> None:
        assert weights_source(LocalCheckpoint(Path("mine"))) == f"folder {Path.cwd() / 'mine'}"

    def test_a_checkpoint_is_held_to_the_version_of_its_name_and_read_in_its_languages(self) -> None:
        own = {"architecture": "roberta", "source": "folder x"}
        assert stated_backbone(stated("mine", **own)).languages is None
        assert stated_backbone(stated("mine", languages=("de", "fr"), **own)).languages == {"de", "fr"}
        assert stated_backbone(stated("roberta-large", **own)).languages == {"en"}
        assert stated_backbone(stated("mine", **own)).version == 1

    def test_what_no_checkpoint_can_be_found_by_is_refused(self) -> None:
        with pytest.raises(WeightsError, match="of architecture 'gpt' no checkpoint is read"):
            stated_backbone(stated("mine", architecture="gpt", source="folder x"))
        with pytest.raises(WeightsError, match="not 'somewhere'"):
            stated_backbone(stated("mine", architecture="bert", source="somewhere"))


class TestWhereItIs:
    """Found, or named with what to do."""

    def test_a_folder_is_read_where_it_lay(self, roberta: Path, tmp_path: Path) -> None:
        own = own_checkpoint(roberta, "roberta", layers=3)
        bundle = hearing_bundle(tmp_path / "bundle", backbones={"roberta-large": own})
        found = backbone_at_hand(bundle, "roberta-large")
        assert (found.folder, found.hashes, found.spec.layers) == (roberta, own["files"], 3)

    def test_a_repository_of_the_hub_is_found_among_the_weights(self, roberta: Path, tmp_path: Path) -> None:
        copied = WeightsSettings(sources=("folder",), folder=str(roberta), cache=str(tmp_path / "cache"))
        own = {**own_checkpoint(roberta, "roberta"), "source": f"them/theirs at {COMMIT}"}
        bundle = hearing_bundle(tmp_path / "bundle", backbones={"roberta-large": own})
        found = backbone_at_hand(bundle, "roberta-large", copied)
        assert found.folder == tmp_path / "cache" / "them--theirs@0123456789ab"
        nowhere = WeightsSettings(sources=("folder",), cache=str(tmp_path / "other"))
        with pytest.raises(
            WeightsError, match=f"reads roberta-large from them/theirs at {COMMIT}, which is not at hand"
        ):
            backbone_at_hand(bundle, "roberta-large", nowhere)

    def test_a_folder_that_is_gone_or_changed_is_named(self, roberta: Path, tmp_path: Path) -> None:
        own = own_checkpoint(roberta, "roberta")
        gone = hearing_bundle(
            tmp_path / "one", backbones={"roberta-large": {**own, "source": f"folder {tmp_path / 'gone'}"}}
        )
        with pytest.raises(WeightsError) as refused:
            backbone_at_hand(gone, "roberta-large")
        where = tmp_path / "gone"
        assert str(refused.value) == (
            f"bundle tiny reads roberta-large from folder {where}, which is not at hand: there is no folder {where} on "
            "this machine; bring the checkpoint that it was trained on there, or choose another bundle"
        )
        changed = {**own, "files": {**own["files"], "config.json": "0" * 64}}
        with pytest.raises(WeightsError, match=f"not the pinned {'0' * 64}; bring the checkpoint"):
            backbone_at_hand(hearing_bundle(tmp_path / "two", backbones={"roberta-large": changed}), "roberta-large")

    def test_text_encoders_of_own_checkpoints_are_found_too(self, roberta: Path, tmp_path: Path) -> None:
        own = {**own_checkpoint(roberta, "roberta"), "languages": ["de"]}
        (source,) = text_sources(hearing_bundle(tmp_path / "own", backbones={"roberta-large": own})).values()
        assert (source.folder, source.architecture, source.layers, source.languages) == (roberta, "roberta", 2, {"de"})
        assert source.hashes == own["files"]
        assert source.tokens().languages == {"de"}
