"""DeepSER: the paper's algorithms, with padding that never counts and modalities that may be missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.deepser import (
    MASKED,
    AttentiveStatistics,
    DeepSER,
    DeepSERConfig,
    Encoder,
    LayerMix,
    TransformerLayer,
    drop_features,
)
from models.errors import FeatureError

DIMS = {"acoustic": 6, "prosody": 3, "text": 5}
CONFIG = DeepSERConfig(tuple(DIMS), tuple(DIMS.values()), labels=4, width=8, feed_forward=16)


def member(**changes: Any) -> DeepSER:
    torch.manual_seed(1)
    return DeepSER(DeepSERConfig(**{**CONFIG.to_dict(), "modalities": tuple(DIMS), **changes})).eval()


def mask_of(lengths: list[int], time: int) -> Tensor:
    return torch.arange(time)[None, :] < torch.tensor(lengths)[:, None]


def batch_of(lengths: dict[str, list[int]], room: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random inputs, the same in a row wherever it stands, and masks, with `room` more frames than needed."""
    inputs, masks = {}, {}
    for name, rows in lengths.items():
        time = max(1, *rows) + room
        frames = torch.randn(32, DIMS[name], generator=torch.Generator().manual_seed(DIMS[name]))
        inputs[name] = frames[:time].expand(len(rows), -1, -1).clone()
        masks[name] = mask_of(rows, time)
    return inputs, masks


def test_an_encoder_gives_two_sequences_and_their_mean_over_real_frames() -> None:
    encoder = Encoder(6, CONFIG).eval()
    mask = mask_of([5, 2], 5)
    h1, h2, h3 = encoder(torch.randn(2, 5, 6), mask)
    assert h1.shape == h2.shape == (2, 5, 8)
    torch.testing.assert_close(h3, torch.stack([h2[0].mean(0), h2[1, :2].mean(0)]))


def test_depth_puts_as_many_layers_behind_h1_as_behind_h2() -> None:
    encoder = Encoder(6, DeepSERConfig(("acoustic",), (6,), labels=2, width=8, feed_forward=8, depth=3))
    assert (len(encoder.first), len(encoder.second)) == (3, 3)


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("padded", [False, True])
def test_a_layer_computes_what_pytorchs_own_does(heads: int, padded: bool) -> None:
    torch.manual_seed(0)
    ours = TransformerLayer(8, heads, 16, dropout=0.1).eval()
    theirs = nn.TransformerEncoderLayer(8, heads, 16, dropout=0.1, batch_first=True).eval()
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": ours.query_key_value.weight,
            "self_attn.in_proj_bias": ours.query_key_value.bias,
            "self_attn.out_proj.weight": ours.attended.weight,
            "self_attn.out_proj.bias": ours.attended.bias,
            "linear1.weight": ours.expand.weight,
            "linear1.bias": ours.expand.bias,
            "linear2.weight": ours.contract.weight,
            "linear2.bias": ours.contract.bias,
            "norm1.weight": ours.attention_norm.weight,
            "norm1.bias": ours.attention_norm.bias,
            "norm2.weight": ours.output_norm.weight,
            "norm2.bias": ours.output_norm.bias,
        }
    )
    x, mask = torch.randn(3, 7, 8), mask_of([7, 4, 1] if padded else [7, 7, 7], 7)
    bias = torch.where(mask, 0.0, MASKED)[:, None, None, :]
    with torch.inference_mode():
        found = ours(x, bias)
    expected = theirs(x, src_key_padding_mask=~mask)  # outside inference mode, so that padding is not cut off
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-6, rtol=1e-5)


def test_the_latent_is_a_linear_map_of_every_h3_and_the_second_fusion() -> None:
    model = member()
    inputs, masks = batch_of({"acoustic": [4, 3], "prosody": [4, 2], "text": [2, 2]})
    states = [model.encoders[name](inputs[name], masks[name]) for name in DIMS]
    mask = torch.cat([masks[name] for name in DIMS], dim=1)
    first = model.first_fusion(torch.cat([s.h1 for s in states], dim=1), mask)
    both = torch.cat([*(s.h2 for s in states), first.h2], dim=1)
    second = model.second_fusion(both, torch.cat([mask, mask], dim=1))
    expected = model.latent(torch.cat([*(s.h3 for s in states), second.h3], dim=1))
    torch.testing.assert_close(model.fuse(inputs, masks), expected)


def test_late_fusion_reads_the_summaries_of_the_modalities_alone() -> None:
    model = member(fusion="late")
    inputs, masks = batch_of({"acoustic": [4, 3], "prosody": [4, 2], "text": [2, 2]})
    summaries = [model.encoders[name](inputs[name], masks[name]).h3 for name in DIMS]
    torch.testing.assert_close(model.fuse(inputs, masks), model.latent(torch.cat(summaries, dim=1)))
    assert not [name for name, _ in model.named_parameters() if "fusion" in name]


class TestAttentiveStatistics:
    def pooling(self) -> AttentiveStatistics:
        torch.manual_seed(0)
        return AttentiveStatistics(8).eval()

    def test_it_starts_from_mean_and_deviation_over_real_frames(self) -> None:
        pool, x = self.pooling(), torch.randn(2, 5, 8)
        found = pool(x, mask_of([5, 2], 5))
        for row, frames in ((0, 5), (1, 2)):
            real = x[row, :frames]
            statistics = torch.cat([real.mean(0), real.std(0, correction=0).clamp(min=1e-3)])
            torch.testing.assert_close(found[row], pool.merge(statistics), atol=1e-5, rtol=1e-4)

    def test_frames_it_attends_to_count_more(self) -> None:
        pool = self.pooling()
        with torch.no_grad():
            pool.hidden.weight.copy_(torch.eye(8))
            pool.score.weight.fill_(10.0)
        x = torch.zeros(1, 3, 8)
        x[0, 1] = 1.0
        merged: list[Tensor] = []
        pool.merge.register_forward_pre_hook(lambda _, given: merged.append(given[0]))
        pool(x, mask_of([3], 3))
        assert (merged[0][0, :8] > 0.99).all()

    def test_a_row_without_frames_is_zero_and_keeps_gradients_finite(self) -> None:
        pool, x = self.pooling(), torch.randn(2, 3, 8, requires_grad=True)
        found = pool(x, mask_of([3, 0], 3))
        assert torch.equal(found[1], torch.zeros(8))
        found.sum().backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


def test_the_head_is_relu_then_linear_with_attributes_from_1_to_7() -> None:
    model = member()
    latent = torch.randn(5, 8)
    logits, attributes = model.classify(latent)
    torch.testing.assert_close(logits, model.to_logits(latent.clamp(min=0)))
    torch.testing.assert_close(attributes, 1 + 6 * torch.sigmoid(model.to_attributes(latent.clamp(min=0))))
    assert logits.shape == (5, 4)
    assert attributes.shape == (5, 3)
    assert (logits < 0).any()


def test_the_forward_pass_is_fusion_and_head() -> None:
    model = member()
    inputs, masks = batch_of({"acoustic": [4], "prosody": [4], "text": [2]})
    output = model(inputs, masks)
    logits, attributes = model.classify(model.fuse(inputs, masks))
    assert torch.equal(output.logits, logits)
    assert torch.equal(output.attributes, attributes)


rows = st.fixed_dictionaries({name: st.integers(0, 9) for name in DIMS})


@given(
    batch=st.lists(rows, min_size=1, max_size=5),
    room=st.integers(0, 6),
    garbage=st.floats(-1e3, 1e3),
    shape=st.sampled_from([{}, {"pooling": "attentive_statistics"}, {"fusion": "late"}]),
)
@settings(max_examples=60, deadline=None)
def test_a_row_scores_the_same_alone_and_in_any_batch_whatever_the_padding_holds(
    batch: list[dict[str, int]], room: int, garbage: float, shape: dict[str, str]
) -> None:
    model = member(heads=2, depth=2, **shape)
    lengths = {name: [row[name] for row in batch] for name in DIMS}
    inputs, masks = batch_of(lengths, room)
    for name in DIMS:
        inputs[name][~masks[name]] = garbage
    with torch.inference_mode():
        together = model(inputs, masks)
        for position, row in enumerate(batch):
            alone = model(*batch_of({name: [row[name]] for name in DIMS}))
            torch.testing.assert_close(together.logits[position], alone.logits[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.attributes[position], alone.attributes[0], atol=1e-5, rtol=0)


def test_frames_behind_a_truncated_length_are_not_read() -> None:
    model = member()
    inputs, masks = batch_of({"acoustic": [8], "prosody": [8], "text": [3]})
    masks["acoustic"] = mask_of([3], 8)
    short = {**inputs, "acoustic": inputs["acoustic"][:, :3]}
    short_masks = {**masks, "acoustic": mask_of([3], 3)}
    torch.testing.assert_close(model(inputs, masks).logits, model(short, short_masks).logits, atol=1e-5, rtol=0)


def test_a_missing_modality_gives_a_zero_summary_and_no_frames_to_fusion() -> None:
    model = member()
    inputs, masks = batch_of({"acoustic": [4], "prosody": [0], "text": [2]})
    assert torch.equal(model.encoders["prosody"](inputs["prosody"], masks["prosody"]).h3, torch.zeros(1, 8))
    other = {**inputs, "prosody": inputs["prosody"] + 5.0}
    torch.testing.assert_close(model(inputs, masks).logits, model(other, masks).logits, atol=1e-6, rtol=0)


def test_a_modality_that_is_present_matters() -> None:
    model = member()
    lengths = {"acoustic": [4], "prosody": [4], "text": [2]}
    full = model(*batch_of(lengths)).logits
    for name in DIMS:
        assert not torch.allclose(full, model(*batch_of({**lengths, name: [0]})).logits, atol=1e-4)


@pytest.mark.parametrize("missing", [["acoustic"], ["prosody", "text"], ["acoustic", "prosody", "text"]])
def test_gradients_stay_finite_with_modalities_missing(missing: list[str]) -> None:
    model = member(dropout=0.1, input_dropout=0.1).train()
    lengths = {name: [3, 0 if name in missing else 2] for name in DIMS}
    output = model(*batch_of(lengths))
    (output.logits.square().sum() + output.attributes.sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


class TestDropFeatures:
    def test_a_feature_is_dropped_in_all_frames_of_a_sequence_or_in_none(self) -> None:
        torch.manual_seed(3)
        dropped = drop_features(torch.ones(40, 5, 50), 0.25, training=True)
        assert ((dropped == 0).all(dim=1) | (dropped == 1 / 0.75).all(dim=1)).all()
        assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)
        assert not torch.equal(dropped[0], dropped[1])

    @pytest.mark.parametrize(("share", "training"), [(0.0, True), (0.5, False)])
    def test_nothing_is_dropped_where_nothing_should_be(self, share: float, training: bool) -> None:
        x = torch.randn(2, 3, 4)
        torch.testing.assert_close(drop_features(x, share, training), x, rtol=0, atol=0)


def test_an_encoder_whose_modality_is_missing_everywhere_learns_nothing_from_the_batch() -> None:
    model = member().train()
    model(*batch_of({"acoustic": [3], "prosody": [0], "text": [2]})).logits.sum().backward()
    weight = model.encoders["prosody"].project[0].weight
    torch.testing.assert_close(weight.grad, torch.zeros_like(weight))


def test_standardisation_is_identity_until_it_is_set_and_is_kept_with_the_weights() -> None:
    model = member()
    inputs, masks = batch_of({"acoustic": [4], "prosody": [4], "text": [2]})
    before = model(inputs, masks).logits
    mean, deviation = torch.full((6,), 3.0), torch.full((6,), 2.0)
    model.set_standardisation("acoustic", mean, deviation)
    shifted = {**inputs, "acoustic": inputs["acoustic"] * deviation + mean}
    torch.testing.assert_close(model(shifted, masks).logits, before, atol=1e-5, rtol=1e-4)
    copy = DeepSER(CONFIG).eval()
    copy.load_state_dict(model.state_dict())
    torch.testing.assert_close(copy(shifted, masks).logits, before, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("modality", "mean", "deviation", "message"),
    [
        ("video", torch.zeros(6), torch.ones(6), "not video"),
        ("acoustic", torch.zeros(5), torch.ones(6), "needs 6 means"),
        ("acoustic", torch.zeros(6), torch.zeros(6), "positive deviations"),
    ],
)
def test_standardisation_that_does_not_fit_is_refused(
    modality: str, mean: Tensor, deviation: Tensor, message: str
) -> None:
    with pytest.raises(FeatureError, match=message):
        member().set_standardisation(modality, mean, deviation)


class TestLayers:
    def test_layers_side_by_side_are_averaged_with_equal_weights_at_first(self) -> None:
        inputs, masks = batch_of({"acoustic": [4], "prosody": [4], "text": [2]})
        stacked = member(layers=(2, 1, 1))
        plain = member(dims=(3, 3, 5))
        plain.load_state_dict(
            {
                name: value
                for name, value in stacked.state_dict().items()
                if not name.startswith(("layer", "acoustic_"))
            },
            strict=False,
        )
        halves = inputs["acoustic"].split(3, dim=-1)
        averaged = {**inputs, "acoustic": (halves[0] + halves[1]) / 2}
        torch.testing.assert_close(stacked(inputs, masks).logits, plain(averaged, masks).logits, atol=1e-6, rtol=1e-5)

    def test_their_weights_are_learnt_and_add_up_to_one(self) -> None:
        mix = LayerMix(2)
        with torch.no_grad():
            mix.scores.copy_(torch.tensor([0.0, 3.0]).log1p())
        mixed = mix(torch.tensor([[[1.0, 2.0, 11.0, 12.0]]]))
        torch.testing.assert_close(mixed, torch.tensor([[[9.0, 10.0]]]))
        mixed.sum().backward()
        assert mix.scores.grad is not None
        assert (mix.scores.grad != 0).all()

    def test_standardisation_is_of_every_layer(self) -> None:
        model = member(layers=(2, 1, 1))
        model.set_standardisation("acoustic", torch.zeros(6), torch.ones(6))
        with pytest.raises(FeatureError, match="needs 6 means"):
            model.set_standardisation("acoustic", torch.zeros(3), torch.ones(3))

    def test_a_configuration_names_layers_only_where_there_are_any_to_weigh(self) -> None:
        assert CONFIG.layers == (1, 1, 1)
        assert "layers" not in CONFIG.to_dict()
        assert member(layers=(3, 1, 1)).config.to_dict()["layers"] == [3, 1, 1]


def test_a_configuration_survives_a_round_trip_through_plain_values() -> None:
    assert DeepSERConfig.from_dict(CONFIG.to_dict()) == CONFIG
    several = replace(CONFIG, layers=(3, 1, 5))
    assert DeepSERConfig.from_dict(several.to_dict()) == several


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modalities": []}, "0 modalities and 3 dims"),
        ({"dims": [6, 3]}, "3 modalities and 2 dims"),
        ({"modalities": ["acoustic", "acoustic", "text"]}, "repeat"),
        ({"modalities": ["a.b", "prosody", "text"]}, "'a.b' cannot name a modality"),
        ({"modalities": ["keys", "prosody", "text"]}, "'keys' cannot name a modality"),
        ({"modalities": "abc"}, "must be a list"),
        ({"dims": [6, 0, 5]}, "dim of prosody=0"),
        ({"width": 8.0}, "width=8.0"),
        ({"labels": True}, "labels=True"),
        ({"depth": 0}, "depth=0"),
        ({"heads": 3}, "cannot be shared by 3 heads"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"input_dropout": -0.1}, "dropout must lie in"),
        ({"pooling": "max"}, "unknown pooling 'max'"),
        ({"fusion": "none"}, "fusion 'none'"),
        ({"colour": "red"}, "colour"),
        ({"layers": [4, 1, 1]}, r"dims \[6, 3, 5\] do not hold \[4, 1, 1\] layers"),
        ({"layers": [2, 1]}, r"do not hold \[2, 1\] layers"),
        ({"layers": [2, 0, 1]}, r"do not hold \[2, 0, 1\] layers"),
    ],
)
def test_an_impossible_configuration_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        DeepSERConfig.from_dict({**CONFIG.to_dict(), **changes})


def test_a_configuration_without_its_modalities_is_refused() -> None:
    with pytest.raises(FeatureError, match="dims"):
        DeepSERConfig.from_dict({"modalities": ["text"], "labels": 2})
