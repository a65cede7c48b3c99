"""Ensembles to measure, and inputs as long as speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.shapes import frames_of, load_shape, random_shape
from models.errors import FeatureError
from models.modalities import Modality
from tests.fakes.bundles import tiny_bundle
from trainer.recipe import load_recipe

TINY_PAPER = load_recipe("medusa14", ["member_defaults.width=8", "member_defaults.feed_forward=16"])


def test_the_paper_has_fourteen_members_512_wide_over_large_backbones() -> None:
    recipe = load_recipe("medusa14")
    shape = random_shape("paper14", TINY_PAPER, seed=1)

    assert {(member.width, member.feed_forward, member.heads) for member in recipe.members} == {(512, 2048, 1)}
    assert [member.modalities for member in shape.members] == [member.modalities for member in recipe.members]
    assert len(shape.members) == 14
    dims = {modality.name: modality.dim for modality in shape.ensemble.modalities}
    assert dims == {"wavlm": 1024, "hubert": 1024, "whisper": 1280, "clap": 768, "roberta": 1024, "modernbert": 1024}


def test_random_weights_are_those_of_their_seed_and_leave_the_generator_alone() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (random_shape("paper14", TINY_PAPER, seed).ensemble.state_dict() for seed in (1, 1, 2))

    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["members.0.latent.weight"], other["members.0.latent.weight"])
    assert torch.equal(before, torch.random.get_rng_state())


def test_random_members_disagree_and_rows_differ_so_that_errors_would_show() -> None:
    shape = random_shape("paper14", TINY_PAPER, seed=1)
    inputs = shape.inputs(batch=4, seconds=1.0)
    features = {name: torch.from_numpy(batch.features) for name, batch in inputs.items()}
    lengths = {name: torch.from_numpy(batch.lengths) for name, batch in inputs.items()}

    with torch.inference_mode():
        posteriors = shape.ensemble.member_outputs(features, lengths).probabilities

    assert float(posteriors.std(dim=0).mean()) > 0.01
    assert float(posteriors.std(dim=1).mean()) > 0.01


def test_frames_follow_rate_and_stride_and_tokens_the_rate_of_speech() -> None:
    frames = load_shape("base").frames(3.0)
    assert frames == {"acoustic": 19, "prosody": 19, "text": 10}
    assert frames_of(Modality("clap", "acoustic", "clap-audio", 768), 5.0) == 16
    assert frames_of(Modality("text", "linguistic", "minilm-l6", 384), 0.1) == 1


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_speech_has_a_length(seconds: float) -> None:
    with pytest.raises(FeatureError, match="longer than 0 s"):
        frames_of(Modality("text", "linguistic", "minilm-l6", 384), seconds)


def test_without_a_known_backbone_there_is_no_rate() -> None:
    with pytest.raises(FeatureError, match="no backbone 'mine'"):
        frames_of(Modality("acoustic", "acoustic", "mine", 12), 1.0)


def test_inputs_are_the_same_for_a_seed_and_hold_no_padding() -> None:
    shape = random_shape("paper14", TINY_PAPER, seed=1)
    one, same = (shape.inputs(2, 1.0) for _ in range(2))

    for name, batch in one.items():
        np.testing.assert_array_equal(batch.features, same[name].features)
        assert batch.mask.all()
        assert batch.features.dtype == np.float32


def test_base_is_a_bundle_of_ones_own_where_one_is_named(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    shape = load_shape("base", bundle.folder)
    assert shape.told == {"bundle": "tiny", "sha256": bundle.sha256}
    assert len(shape.members) == 3
    assert load_shape("base").told["bundle"] == "base"


def test_other_shapes_are_not_known() -> None:
    with pytest.raises(FeatureError, match="no shape 'huge': there are base, paper14"):
        load_shape("huge")
