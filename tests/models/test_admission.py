"""Engines are admitted on a bundle's clips: exactly in single precision, through a gate in a reduced one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.admission import LARGEST_MOVE, Agreement, admit
from models.agreement import agreement
from models.backbones.text_source import TextSource
from models.bundle import Bundle
from models.deepser import DeepSER
from models.engines.base import EngineOutput
from models.engines.torch import TorchEngine
from models.ensemble import Ensemble
from models.errors import EngineError
from models.graphs.ensemble import LAYER_GROUPS, ensemble_graph
from models.graphs.half_precision import InHalfPrecision
from models.inputs import complete_features
from models.layer_suggestion import suggest
from models.modalities import EngineInputs, PaddedBatch
from tests.fakes.bundles import tiny_bundle, tiny_clips
from tests.fakes.checkpoints import tiny_checkpoint
from tests.fakes.ensembles import config, random_batch, random_ensemble

CLIPS = 5
RANDOM_ROWS = 12


class AnEngine(TorchEngine):
    """PyTorch, its answers changed."""

    def __init__(self, bundle: Bundle, change: Callable[[EngineOutput], None] = lambda _: None) -> None:
        super().__init__(bundle)
        self._change = change
        self.given: list[EngineInputs] = []

    def run(self, inputs: EngineInputs) -> EngineOutput:
        self.given.append(inputs)
        output = super().run(inputs)
        self._change(output)
        return output


class InHalf(TorchEngine):
    """The graph as a GPU computes it."""

    def run(self, inputs: EngineInputs) -> EngineOutput:
        graph = ensemble_graph(self.ensemble, kind=np.float16)
        return InHalfPrecision(graph).run(complete_features(inputs, self.modalities))


def on_clips(change: Callable[[EngineOutput], None]) -> Callable[[EngineOutput], None]:
    """The same change, random inputs let alone."""
    return lambda output: change(output) if len(output.probabilities) != RANDOM_ROWS else None


def moved_by(amount: float) -> Callable[[EngineOutput], None]:
    """One score of one row, which keeps its label."""

    def move(output: EngineOutput) -> None:
        row = output.probabilities[0]
        row[row.argmin()] -= amount

    return move


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("plain") / "tiny")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("clips") / "tiny", check=tiny_clips(CLIPS))


@pytest.fixture(scope="module")
def with_tokens(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("tokens") / "tiny", check=tiny_clips(CLIPS, tokens=True))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TextSource:
    """A text encoder of the width that members of a tiny bundle read."""
    folder = tiny_checkpoint("bert", tmp_path_factory.mktemp("wide"), hidden_size=384, num_attention_heads=4)
    return TextSource(folder, frozenset({"en"}), "bert", 4, False, {})


class TestInSinglePrecision:
    def test_clips_count_beside_random_inputs(self, bundle: Bundle) -> None:
        assert admit(AnEngine(bundle), bundle, {}) == Agreement(0.0, 1.0, RANDOM_ROWS + CLIPS, CLIPS)

    def test_a_bundle_without_clips_is_checked_on_random_inputs_alone(self, plain: Bundle) -> None:
        assert admit(AnEngine(plain), plain, {}) == Agreement(0.0, 1.0, RANDOM_ROWS, 0)

    def test_an_engine_that_goes_astray_on_the_clips_alone_is_refused(self, bundle: Bundle) -> None:
        engine = AnEngine(bundle, on_clips(moved_by(2e-4)))
        with pytest.raises(EngineError, match=r"differs from PyTorch by 2\.0e-04, more than 1e-04"):
            admit(engine, bundle, {})

    def test_an_engine_whose_attributes_go_astray_is_refused(self, bundle: Bundle) -> None:
        def change(output: EngineOutput) -> None:
            output.attributes[-1, 2] += 0.6

        with pytest.raises(EngineError, match=r"by 1\.0e-01"):
            admit(AnEngine(bundle, on_clips(change)), bundle, {})


class TestTheGate:
    def test_half_precision_passes(self, bundle: Bundle) -> None:
        found = admit(InHalf(bundle), bundle, {}, "fp16")
        assert 0 < found.largest_difference < LARGEST_MOVE
        assert (found.label_agreement, found.rows, found.clips) == (1.0, CLIPS, CLIPS)

    @pytest.mark.parametrize("precision", ["fp16", "bf16", "fp8"])
    def test_a_score_that_moves_too_far_is_refused_with_the_group_to_keep(self, bundle: Bundle, precision: str) -> None:
        engine = AnEngine(bundle, on_clips(moved_by(0.034)))
        with pytest.raises(EngineError) as caught:
            admit(engine, bundle, {}, precision)
        message = str(caught.value)
        assert f"the engine in {precision} is not admitted: on the bundle's 5 clips" in message
        assert "a score moves by 0.0340, 0.02 is allowed" in message
        assert any(f"keep layer group {group} in fp32" in message for group in LAYER_GROUPS)
        assert ("the graph alone passes, so look for a fault of the engine first" in message) == (precision != "fp8")

    def test_of_integers_the_encoders_are_to_blame(self, bundle: Bundle) -> None:
        with pytest.raises(EngineError, match=r"moves by 0\.0340, 0\.02 is allowed; compile in fp32"):
            admit(AnEngine(bundle, on_clips(moved_by(0.034))), bundle, {}, "int8")

    def test_what_moves_within_the_gate_passes_and_is_told(self, bundle: Bundle) -> None:
        found = admit(AnEngine(bundle, on_clips(moved_by(0.015))), bundle, {}, "fp16")
        assert found.largest_difference == pytest.approx(0.015, abs=1e-6)

    @pytest.mark.parametrize(("flipped", "passes"), [(1, True), (2, False)])
    def test_one_label_in_two_hundred_may_change(self, tmp_path: Path, flipped: int, passes: bool) -> None:
        bundle = unsure(tiny_bundle(tmp_path / "tiny", check=tiny_clips(200)))
        left = [flipped]

        def flip(output: EngineOutput) -> None:
            for row in output.probabilities[: left[0]]:
                row[:] = np.roll(row, 1)
            left[0] = 0

        engine = AnEngine(bundle, on_clips(flip))
        if passes:
            found = admit(engine, bundle, {}, "fp16")
            assert (found.label_agreement, found.clips) == (0.995, 200)
            assert found.largest_difference < LARGEST_MOVE
            return
        with pytest.raises(EngineError, match=r"99\.00% of labels agree with PyTorch, 99\.50% are needed"):
            admit(engine, bundle, {}, "fp16")

    def test_without_clips_random_inputs_decide_and_the_agreement_says_so(self, plain: Bundle) -> None:
        assert admit(InHalf(plain), plain, {}, "fp16").clips == 0
        with pytest.raises(EngineError, match="on 12 random inputs, for want of clips"):
            admit(AnEngine(plain, moved_by(0.05)), plain, {}, "fp16")

    def test_random_inputs_must_give_numbers_all_the_same(self, bundle: Bundle) -> None:
        def spoil(output: EngineOutput) -> None:
            if len(output.probabilities) == RANDOM_ROWS:
                output.attributes[3, 1] = np.nan

        with pytest.raises(EngineError, match="in fp16 answers random inputs with what is no number"):
            admit(AnEngine(bundle, spoil), bundle, {}, "fp16")

    def test_clips_that_are_answered_with_no_number_are_refused(self, bundle: Bundle) -> None:
        def spoil(output: EngineOutput) -> None:
            output.probabilities[0] = np.nan

        with pytest.raises(EngineError, match="a score moves by nan"):
            admit(AnEngine(bundle, on_clips(spoil)), bundle, {}, "fp16")

    def test_a_precision_there_is_none_of_is_refused(self, bundle: Bundle) -> None:
        with pytest.raises(EngineError, match="no precision 'fp4': there are fp32, fp16, bf16, int8, fp8"):
            admit(AnEngine(bundle), bundle, {}, "fp4")


def unsure(bundle: Bundle) -> Bundle:
    """The same with scores so near each other that none can move far."""
    flat = bundle.manifest.calibration.model_copy(update={"temperature": 1e4})
    manifest = bundle.manifest.model_copy(update={"calibration": flat})
    return Bundle(bundle.folder, manifest, bundle.sha256)


class TestWordsAsTokens:
    def test_an_engine_that_reads_features_is_given_the_encoders(self, with_tokens: Bundle, source: TextSource) -> None:
        engine = AnEngine(with_tokens)
        assert admit(engine, with_tokens, {"text": source}).clips == CLIPS
        words = engine.given[-1]["text"]
        assert isinstance(words, PaddedBatch)
        assert np.abs(words.features).max() > 0
        clips = tiny_clips(CLIPS, tokens=True).tokens["text"]
        assert sorted(words.lengths.tolist()) == sorted(0 if text is None else text.size - 2 for text in clips)

    def test_without_the_encoder_single_precision_is_checked_on_the_voices(self, with_tokens: Bundle) -> None:
        engine = AnEngine(with_tokens)
        assert admit(engine, with_tokens, {}).clips == CLIPS - 1
        assert "text" not in engine.given[-1]

    def test_without_the_encoder_no_reduced_precision_is_admitted(self, with_tokens: Bundle) -> None:
        with pytest.raises(EngineError, match="clips hold text otherwise than the engine reads it"):
            admit(InHalf(with_tokens), with_tokens, {}, "fp16")


class TestTheGroupToKeep:
    def asked(self, ensemble: Ensemble) -> tuple[dict[str, PaddedBatch], EngineOutput]:
        inputs, frames = random_batch(ensemble, [[3, 2], [5, 0], [0, 4]], 0)
        with torch.inference_mode():
            said = ensemble(inputs, frames)
        batches = {name: PaddedBatch(inputs[name].numpy(), frames[name].numpy()) for name in inputs}
        return batches, EngineOutput(said.probabilities.numpy(), said.attributes.numpy())

    def ensemble(self) -> tuple[Ensemble, DeepSER]:
        ensemble = random_ensemble([config("acoustic", "text")], 0)
        member = next(iter(ensemble.members))
        assert isinstance(member, DeepSER)
        return ensemble, member

    @pytest.mark.parametrize(
        ("group", "parameter"),
        [
            ("readers", "encoders.acoustic.project.0.weight"),
            ("first_fusion", "first_fusion.project.0.weight"),
            ("second_fusion", "second_fusion.project.0.weight"),
            ("head", "latent.weight"),
        ],
    )
    def test_it_is_the_one_that_overflows(self, group: str, parameter: str) -> None:
        ensemble, member = self.ensemble()
        torch.nn.init.constant_(member.get_parameter(parameter), 7e4)
        found = suggest(ensemble, *self.asked(ensemble))
        assert found.group == group
        assert found.difference < 0.1
        assert found.without == np.inf

    def test_it_is_the_one_that_brings_scores_nearest(self) -> None:
        ensemble, _ = self.ensemble()
        inputs, wanted = self.asked(ensemble)
        found = suggest(ensemble, inputs, wanted)
        for group in LAYER_GROUPS:
            graph = ensemble_graph(ensemble, kind=np.float16, keep_fp32={group})
            there = agreement(wanted, InHalfPrecision(graph).run(inputs)).largest_difference
            assert found.difference <= there
            assert (found.difference == there) == (found.group == group)

    def test_where_two_overflow_several_are_to_be_kept(self) -> None:
        ensemble, member = self.ensemble()
        for parameter in ("latent.weight", "first_fusion.project.0.weight"):
            torch.nn.init.constant_(member.get_parameter(parameter), 7e4)
        found = suggest(ensemble, *self.asked(ensemble))
        assert found.group is None
        assert "keep several in fp32" in str(found)
