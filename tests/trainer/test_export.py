"""From a finished run to a bundle that says how it came about."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import Bundle, load_bundle
from models.errors import BundleError
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS
from tests.fakes.runs import COMMENTS, LICENCES, LINES, VOICES, TinyData, TinyRun
from trainer.assembly import Excluded
from trainer.attribute_norms import SOURCE
from trainer.export import export_bundle
from trainer.recipe import Recipe, parse_recipe


def export(run: TinyRun, folder: Path, **changes: object) -> Bundle:
    spec = replace(run.spec, **changes)
    return export_bundle(run.trained, spec, folder / "out", name="mine", licence="CC0-1.0", metrics={})


@pytest.fixture(scope="module")
def bundle(whole_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(whole_run, tmp_path_factory.mktemp("export"))


class TestContents:
    def test_it_loads_with_everything_it_was_trained_with(self, whole_run: TinyRun, bundle: Bundle) -> None:
        loaded = load_bundle(bundle.folder)
        assert parse_recipe(loaded.manifest.recipe, "manifest") == whole_run.spec.recipe
        assert loaded.labels == whole_run.spec.recipe.label_set
        assert [(m.name, m.backbone, m.dim, m.stride) for m in loaded.modalities] == [
            ("prosody", "prosody", 26, 8),
            ("text", "minilm-l6", 384, 1),
        ]
        assert (loaded.final_windows, loaded.interim_windows) == (FINAL_WINDOWS, INTERIM_WINDOWS)
        assert loaded.manifest.calibration.temperature == pytest.approx(whole_run.trained.temperature)
        assert loaded.abstain_below == pytest.approx(whole_run.trained.abstain_below)

    def test_weights_are_those_of_the_run(self, whole_run: TinyRun, bundle: Bundle) -> None:
        ensemble = bundle.ensemble()
        assert ensemble.member_names == tuple(whole_run.trained.members)
        for mine, theirs in zip(ensemble.members, whole_run.trained.members.values(), strict=True):
            for name, value in theirs.state_dict().items():
                torch.testing.assert_close(mine.state_dict()[name], value, atol=2e-3, rtol=2e-3)
        for name, value in whole_run.trained.meta.state_dict().items():
            assert torch.equal(ensemble.meta.state_dict()[name], value)

    def test_speaker_priors_are_those_of_the_run(self, whole_run: TinyRun, bundle: Bundle) -> None:
        mine, theirs = bundle.speaker_standardisation().priors, whole_run.trained.standardisation.priors
        assert list(mine) == list(theirs) == ["prosody"]
        np.testing.assert_allclose(mine["prosody"].mean, theirs["prosody"].mean, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(mine["prosody"].deviation, theirs["prosody"].deviation, rtol=1e-6)
        assert (mine["prosody"].weight_frames, mine["prosody"].memory_frames) == (4, 40)

    def test_it_carries_the_held_out_clips_to_check_engines_on(self, whole_run: TinyRun, bundle: Bundle) -> None:
        clips = load_bundle(bundle.folder).check_clips()
        assert clips is not None
        assert len(clips) == len(whole_run.trained.development)
        assert set(clips.features) == {"prosody"}
        assert set(clips.tokens) == {"text"}
        assert f"holds {len(clips)} utterances" in (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")

    def test_the_same_run_gives_the_same_bundle(self, whole_run: TinyRun, bundle: Bundle, tmp_path: Path) -> None:
        assert export(whole_run, tmp_path).sha256 == bundle.sha256

    def test_backbones_are_pinned_by_the_hashes_of_their_weights(self, bundle: Bundle) -> None:
        found = {entry.name: entry for entry in bundle.manifest.backbones}
        assert set(found) == {"prosody", "minilm-l6"}
        assert found["prosody"].files == {}
        assert found["minilm-l6"].files
        assert (found["minilm-l6"].languages, found["prosody"].languages) == (("en",), None)

    def test_the_model_card_lists_every_corpus_with_its_licence(self, bundle: Bundle) -> None:
        card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        for name, licence in LICENCES.items():
            assert any(
                line.startswith(f"| {name} | ") and line.endswith(f"| {licence} |") for line in card.splitlines()
            )
            assert f"- {name}: Whoever made {name}" in card

    def test_figures_go_into_manifest_and_model_card(self, whole_run: TinyRun, tmp_path: Path) -> None:
        one = {"examples": 5, "macro_f1": 0.25, "uar": 0.3, "ece": 0.1}
        report = {"models": {"ensemble": one, "both": one, "soft voting": one}}
        bundle = export_bundle(
            whole_run.trained, whole_run.spec, tmp_path / "out", name="m", licence="MIT", metrics={"folds": report}
        )
        assert json.loads((bundle.folder / "manifest.json").read_text())["metrics"] == {"folds": report}
        assert "| folds | 5 | 0.250 |" in (bundle.folder / "MODEL_CARD.md").read_text()


class TestCorpora:
    def counts(self, bundle: Bundle) -> dict[str, int]:
        return {entry.name: entry.utterances for entry in bundle.manifest.corpora}

    def test_what_is_set_aside_for_testing_does_not_count_as_used(self, bundle: Bundle) -> None:
        assert self.counts(bundle) == {VOICES: 72, LINES: 21, COMMENTS: 36}

    def test_nor_does_what_the_run_was_kept_from(self, whole_run: TinyRun, tmp_path: Path) -> None:
        excluded = (Excluded(LINES), Excluded(VOICES, (f"{VOICES}/s0",)))
        assert self.counts(export(whole_run, tmp_path, excluded=excluded)) == {VOICES: 63, LINES: 0, COMMENTS: 36}


class TestAttributesSource:
    def source(self, run: TinyRun, folder: Path, rated: dict[str, bool], *, norms: bool) -> str:
        """Of a run on corpora in which somebody rated every utterance, or nobody did."""
        for corpus, has in rated.items():
            place = folder / "corpora" / corpus
            place.mkdir(parents=True)
            row = {"id": "a", "transcript": "words", "label": "sad"}
            row |= {"arousal": 2.0, "valence": 3.0, "dominance": 4.0} if has else {}
            (place / "manifest.jsonl").write_text(json.dumps(row) + "\n")
        values = {**run.spec.recipe.model_dump(), "corpora": list(rated), "quota": {}, "attribute_norms": norms}
        recipe = Recipe.model_validate(values)
        return export(run, folder, recipe=recipe, corpora=folder / "corpora").manifest.attributes_source

    @pytest.mark.parametrize("norms", [True, False])
    def test_ratings_are_called_ratings(self, whole_run: TinyRun, tmp_path: Path, norms: bool) -> None:
        assert self.source(whole_run, tmp_path, {"one": True}, norms=norms) == "ratings of these recordings"

    def test_norms_are_called_norms(self, whole_run: TinyRun, tmp_path: Path) -> None:
        assert self.source(whole_run, tmp_path, {"one": False}, norms=True) == SOURCE

    def test_both_are_called_both(self, whole_run: TinyRun, tmp_path: Path) -> None:
        found = self.source(whole_run, tmp_path, {"one": False, "two": True}, norms=True)
        assert found == f"ratings of these recordings where there are any, else {SOURCE}"

    def test_none_is_called_none(self, whole_run: TinyRun, tmp_path: Path) -> None:
        assert self.source(whole_run, tmp_path, {"one": False}, norms=False) == "nothing: nobody rated them"


def test_a_name_no_bundle_can_have_is_refused_and_nothing_is_left(
    tiny: TinyData, whole_run: TinyRun, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="name"):
        export_bundle(whole_run.trained, whole_run.spec, tmp_path / "o", name="my bundle", licence="MIT", metrics={})
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_of_corpora_that_may_not_be_passed_on_carries_no_clips(whole_run: TinyRun, tmp_path: Path) -> None:
    bundle = export_bundle(
        whole_run.trained, whole_run.spec, tmp_path / "o", name="o", licence="MIT", metrics={}, check_clips=0
    )
    assert bundle.check_clips() is None
    assert not list(bundle.folder.glob("check*"))
