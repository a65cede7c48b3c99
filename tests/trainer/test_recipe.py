"""Recipes: checked whole when they are read, and wrong in one line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from models.backbones.registry import BACKBONES
from models.deepser import DeepSER
from models.emotions import MSP_NAMES
from trainer.errors import RecipeError
from trainer.members import member_config
from trainer.recipe import RECIPES, Recipe, load_recipe, parse_recipe

STAGE = {"learning_rate": 1e-3, "epochs": 1}
GOOD: dict[str, Any] = {
    "name": "mine",
    "labels": ["angry", "sad", "neutral"],
    "corpora": ["one", "two"],
    "modalities": {"prosody": {"backbone": "prosody", "stride": 8}, "text": {"backbone": "minilm-l6"}},
    "members": [{"name": "a", "modalities": ["prosody", "text"]}, {"name": "b", "modalities": ["text"]}],
    "stage1": STAGE,
    "stage2": STAGE,
    "meta": {"full": STAGE, "balanced": STAGE},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """`GOOD` with one value set; a path such as `members.0.width`."""
    values = copy.deepcopy(GOOD)
    *way, last = path.split(".")
    place: Any = values
    for step in way:
        place = place[int(step)] if step.isdigit() else place.setdefault(step, {})
    place[last] = value
    return values


class TestPackaged:
    def test_every_packaged_recipe_is_valid_and_named_for_its_file(self) -> None:
        found = {path.stem: load_recipe(path.stem) for path in RECIPES.glob("*.toml")}
        assert "base" in found
        assert all(recipe.name == name for name, recipe in found.items())

    def test_base_has_five_members_or_more_over_several_subsets_of_its_modalities(self) -> None:
        recipe = load_recipe("base")
        assert len(recipe.members) >= 5
        assert len({frozenset(member.modalities) for member in recipe.members}) >= 3

    def test_base_standardises_what_it_hears_and_not_what_it_reads(self) -> None:
        recipe = load_recipe("base")
        kinds = {name: BACKBONES[entry.backbone].kind for name, entry in recipe.modalities.items()}
        assert set(recipe.speaker) == {name for name, kind in kinds.items() if kind == "acoustic"}

    def test_base_weighs_and_mixes_as_the_paper_does(self) -> None:
        recipe = load_recipe("base")
        assert recipe.stage2.learning_rate <= recipe.stage1.learning_rate / 10
        assert (recipe.cross_entropy_weight, recipe.attribute_weight) == (1.5, 0.4)
        assert (recipe.class_weight_power, recipe.mixup_alpha) == (0.5, 0.2)
        assert (recipe.stage1.mixup, recipe.meta.full.mixup, recipe.meta.balanced.mixup) == (0.3, 1.0, 1.0)
        assert recipe.meta.runs == 6

    def test_medusa14_is_the_papers_ensemble(self) -> None:
        recipe = load_recipe("medusa14")
        assert (recipe.profile, recipe.corpora, recipe.labels) == ("large", ("msp_podcast",), MSP_NAMES)
        assert len(recipe.members) == 14
        assert {len(member.modalities) for member in recipe.members} == {2, 3}
        assert len({frozenset(member.modalities) for member in recipe.members}) == 14
        shapes = {(m.width, m.heads, m.feed_forward, m.dropout, m.depth) for m in recipe.members}
        assert shapes == {(512, 1, 2048, 0.1, 1)}
        assert {entry.backbone for entry in recipe.modalities.values()} == {
            "wavlm-large",
            "hubert-large",
            "whisper-large-v3",
            "clap-audio",
            "roberta-large",
            "modernbert-large",
        }
        assert not recipe.speaker

    def test_medusa14_is_trained_as_the_paper_says(self) -> None:
        recipe = load_recipe("medusa14")
        first, second = recipe.stage1, recipe.stage2
        assert (first.learning_rate, first.batch, first.epochs, first.mixup) == (1e-5, 32, 4, 0.3)
        assert (second.learning_rate, second.epochs, second.patience, second.mixup) == (1e-6, 50, 8, 0.3)
        assert (recipe.meta.runs, recipe.meta.full.mixup, recipe.meta.balanced.mixup) == (6, 1.0, 1.0)
        assert (recipe.cross_entropy_weight, recipe.attribute_weight, recipe.class_weight_power) == (1.5, 0.4, 0.5)

    def test_every_member_of_base_can_be_built(self) -> None:
        recipe = load_recipe("base")
        assert recipe.dims == {"acoustic": 512, "prosody": 2 * BACKBONES["prosody"].dim, "text": 384}
        for member in recipe.members:
            assert DeepSER(member_config(member, recipe, recipe.dims)).config.modalities == member.modalities


class TestReading:
    def test_a_file_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        path.write_text((RECIPES / "base.toml").read_text().replace('name = "base"', 'name = "mine"', 1))
        assert load_recipe(path).name == "mine"

    def test_what_is_not_there_lists_what_is(self) -> None:
        with pytest.raises(
            RecipeError, match=r"no recipe bsae: give a TOML file, or one of the packaged ones \(.*base"
        ):
            load_recipe("bsae")

    def test_what_is_no_toml_names_file_and_line(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        path.write_text("name = \nseed = 1\n")
        with pytest.raises(RecipeError, match=r"mine\.toml: .*line 1"):
            load_recipe(path)

    @pytest.mark.parametrize("content", [b"\xff\xfe", None])
    def test_what_cannot_be_read_is_named(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "mine.toml"
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        with pytest.raises(RecipeError, match=r"mine\.toml"):
            load_recipe(path)

    def test_it_survives_the_way_through_a_manifest(self) -> None:
        recipe = load_recipe("base")
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
        assert parse_recipe(recipe.model_dump(mode="json"), "manifest.json") == recipe


class TestChecking:
    def test_the_recipe_these_tests_change_is_good(self) -> None:
        assert parse_recipe(GOOD, "good").labels == ("angry", "sad", "neutral")

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ("seeed", 1, "seeed: Extra inputs"),
            ("stage1.lr", 1, "stage1.lr: Extra inputs"),
            ("members.0.witdh", 64, "members.0.witdh: Extra inputs"),
            ("name", "My recipe", "name: String should match"),
            ("profile", "huge", "profile: "),
            ("seed", -1, "seed: .*greater than or equal to 0"),
            ("development_share", 1.0, "development_share: .*less than 1"),
            ("development_share", 0, "development_share: .*greater than 0"),
            ("target_coverage", 1.5, "target_coverage: .*less than or equal to 1"),
            ("mixup_alpha", 0, "mixup_alpha: .*greater than 0"),
            ("attribute_weight", float("inf"), "attribute_weight: .*finite"),
            ("stage1.learning_rate", float("nan"), "stage1.learning_rate: .*finite"),
            ("stage1.learning_rate", 0, "stage1.learning_rate: .*greater than 0"),
            ("stage2.epochs", -1, "stage2.epochs: "),
            ("stage2.patience", 0, "stage2.patience: "),
            ("stage2.batch", 0, "stage2.batch: "),
            ("meta.full.mixup", 2, "meta.full.mixup: .*less than or equal to 1"),
            ("meta.runs", 0, "meta.runs: "),
            ("modalities.text.stride", 0, "modalities.text.stride: "),
            ("modalities.text.deviations", True, r"\[modalities.text\]: deviations need a stride of 2 at least"),
            ("speaker.prosody", {"weight_frames": 0}, "speaker.prosody.weight_frames: "),
            ("corpora", [], "corpora: "),
            ("members", [], "members: "),
            ("members.0.modalities", [], "members.0.modalities: "),
            ("members.0.modalities", ["prosody", "txet"], r"member a reads \['txet'\], which \[modalities\] does not"),
            ("members.0.modalities", ["prosody", "prosody"], "member a: modalities repeat"),
            ("members.0.heads", 3, "member a: width 64 cannot be shared by 3 heads"),
            ("members.1.name", "a", "two members have the same name"),
            ("modalities.extra", {"backbone": "prosody"}, r"no member reads \['extra'\]"),
            ("modalities.text.backbone", "roberta", "member a: no backbone 'roberta'"),
            ("speaker.voice", {}, r"\[speaker\] names \['voice'\], which \[modalities\] does not define"),
            ("quota.three", 5, r"a quota names \['three'\], which corpora does not list"),
            ("quota.two", 0, "quota.two: "),
            ("labels", ["angry", "joyful"], r"unknown labels \['joyful'\]"),
            ("labels", ["angry", "angry"], "labels repeat"),
            ("views", ["clean", "underwater"], "no view 'underwater'"),
            ("meta.views", ["clean", "telephone"], r"meta.views names \['telephone'\], which views does not list"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, path: str, value: Any, message: str) -> None:
        with pytest.raises(RecipeError, match=f"^mine.toml: .*{message}") as caught:
            parse_recipe(changed(path, value), "mine.toml")
        assert "\n" not in str(caught.value)

    def test_everything_wrong_is_said_at_once(self) -> None:
        values = {**changed("seed", -1), "nmae": "x"}
        with pytest.raises(RecipeError, match=r"seed: .*; nmae: "):
            parse_recipe(values, "mine.toml")

    @pytest.mark.parametrize("key", ["name", "corpora", "modalities", "members", "stage1", "stage2", "meta"])
    def test_what_is_missing_is_named(self, key: str) -> None:
        values = {name: value for name, value in GOOD.items() if name != key}
        with pytest.raises(RecipeError, match=f"{key}: Field required"):
            parse_recipe(values, "mine.toml")


class TestSharedDefaults:
    def test_members_have_what_they_do_not_say_themselves(self) -> None:
        values = changed("member_defaults", {"width": 16, "heads": 2, "pooling": "attentive_statistics"})
        values["members"][1]["width"] = 32
        recipe = parse_recipe(values, "test")
        assert [(m.width, m.heads, m.pooling) for m in recipe.members] == [
            (16, 2, "attentive_statistics"),
            (32, 2, "attentive_statistics"),
        ]

    def test_what_is_kept_of_a_recipe_reads_back_as_the_same(self) -> None:
        recipe = parse_recipe(changed("member_defaults", {"width": 16}), "test")
        assert parse_recipe(recipe.model_dump(mode="json"), "manifest") == recipe

    @pytest.mark.parametrize("defaults", [{"name": "a"}, {"modalities": ["text"]}, 3])
    def test_names_and_modalities_are_a_member_s_own(self, defaults: object) -> None:
        with pytest.raises(RecipeError, match="names and modalities are their own"):
            parse_recipe(changed("member_defaults", defaults), "test")

    def test_an_unknown_default_is_named(self) -> None:
        with pytest.raises(RecipeError, match=r"members\.0\.colour"):
            parse_recipe(changed("member_defaults", {"colour": "red"}), "test")


class TestChanges:
    def test_a_packaged_recipe_can_be_changed_where_it_is_used(self) -> None:
        recipe = load_recipe("base", ["stage1.epochs=3", 'name = "mine"', "member_defaults.dropout = 0.2"])
        base = load_recipe("base")
        assert (recipe.name, recipe.stage1.epochs) == ("mine", 3)
        assert {m.dropout for m in recipe.members} == {0.2}
        assert recipe.stage1.learning_rate == base.stage1.learning_rate
        assert recipe.stage2 == base.stage2

    def test_a_change_that_is_no_toml_is_explained(self) -> None:
        with pytest.raises(RecipeError, match=r"'name=mine' is no line of TOML such as stage1\.epochs=3"):
            load_recipe("base", ["name=mine"])

    def test_a_change_out_of_bounds_says_where_it_came_from(self) -> None:
        with pytest.raises(RecipeError, match=r"base\.toml, changed by stage1\.epochs=-1: stage1\.epochs"):
            load_recipe("base", ["stage1.epochs=-1"])


def test_a_member_s_own_quota_names_corpora_of_the_recipe() -> None:
    with pytest.raises(RecipeError, match=r"a quota names \['three'\]"):
        parse_recipe(changed("members.1.quota", {"three": 5}), "test")
    assert parse_recipe(changed("members.1.quota", {"two": 5}), "test").members[1].quota == {"two": 5}
