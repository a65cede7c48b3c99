"""Engines in bfloat16 and in 8 bits: measured, checked as graphs, and built by the real library for cards elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models.compile as compiler
from models.admission import LARGEST_MOVE
from models.agreement import agreement
from models.bundle import Bundle
from models.calibration_audio import CalibrationAudio, measured_part, single_clips
from models.check_clips import CheckClips
from models.compile import check_engine, compile_engine
from models.engine_places import key_of
from models.engine_report import CompiledEngine
from models.engines.onnx import OnnxEngine
from models.engines.tensorrt_file import EngineRecord, read_engine
from models.engines.torch import TorchEngine
from models.errors import EngineError
from models.graphs.ensemble import ensemble_graph
from models.graphs.half_precision import InHalfPrecision
from models.graphs.precision import BFLOAT16
from models.order import Order
from models.order_graph import write_graph, written
from models.ranges import calibration_sha256, measured_ranges
from tests.fakes.bundles import tiny_bundle, tiny_clips
from tests.fakes.hearing import Hearing, tiny_hearing

pytest.importorskip("tensorrt_rtx", reason="the wheel of TensorRT for RTX is for Linux on x86-64")

MEMBERS = {"all": ("acoustic", "text")}
HEARING_MEMBERS = ("wavlm-text", "hubert-whisper")
WIDTH = 16
"""As wide as products must be to be worth 8 bits."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("quantised") / "tiny"
    clips = tiny_clips(8)
    held = CheckClips({name: clips.features[name] for name in ("acoustic", "text")})
    return tiny_bundle(folder, width=WIDTH, members=MEMBERS, check=held)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def built(order: Order, cache: Path, **changes: Any) -> CompiledEngine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDUSA_CACHE", str(cache))
        for name, value in changes.items():
            patch.setattr(compiler, name, value)
        return compile_engine(order)


def record_of(made: CompiledEngine) -> EngineRecord:
    return read_engine(made.content).record


def ranges_of(order: Order) -> dict[str, float]:
    return measured_ranges(order, lambda graph: (graph.serialise(), None))


class TestMeasured:
    def test_what_a_reader_multiplies_is_what_the_clips_hold(self, bundle: Bundle) -> None:
        """Its first product reads features, standardised by nothing in these members."""
        clips = bundle.check_clips()
        rows = measured_part(single_clips(clips, bundle.modalities))
        largest = {name: max(float(np.abs(row[name].sequence).max()) for row in rows) for name in ("acoustic", "text")}
        ranges = ranges_of(Order(bundle, "tensorrt_rtx", "fp8"))
        for name in ("acoustic", "text"):
            assert min(abs(reach - largest[name]) for reach in ranges.values()) < 1e-5

    def test_what_encoders_make_of_nothing_counts_for_nothing(self, tmp_path: Path) -> None:
        clips = tiny_clips(2)
        words = CheckClips({"acoustic": [clips.features["acoustic"][1]], "text": [None]})
        lone = tiny_bundle(tmp_path / "lone", width=WIDTH, members=MEMBERS, check=words)
        reaches = list(ranges_of(Order(lone, "tensorrt_rtx", "int8")).values())
        assert reaches.count(0.0) > 5
        assert max(reaches) > 1

    def test_nothing_left_in_8_bits_is_refused(self, tmp_path: Path) -> None:
        narrow = tiny_bundle(tmp_path / "narrow", width=8, members=MEMBERS, check=_clips_of("acoustic", "text"))
        with pytest.raises(EngineError, match="nothing is left to compute in int8: compile in fp16"):
            ranges_of(Order(narrow, "tensorrt_rtx", "int8"))

    def test_a_bundle_without_clips_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        bare = tiny_bundle(tmp_path / "bare", width=WIDTH, members=MEMBERS)
        with pytest.raises(EngineError, match=r"carries no clips, and the ranges of fp8 .*train it with --check-clips"):
            compile_engine(Order(bare, "tensorrt_rtx", "fp8"))

    def test_words_stored_as_tokens_need_their_encoder(self, tmp_path: Path) -> None:
        clips = tiny_clips(4, tokens=True)
        held = CheckClips({"acoustic": clips.features["acoustic"]}, clips.tokens)
        worded = tiny_bundle(tmp_path / "worded", width=WIDTH, members=MEMBERS, check=held)
        with pytest.raises(EngineError, match=r"hold text otherwise than the engine reads it.*give the text encoder"):
            calibration_sha256(Order(worded, "tensorrt_rtx", "int8"))

    def test_other_clips_make_another_engine(self, bundle: Bundle, tmp_path: Path) -> None:
        order = Order(bundle, "tensorrt_rtx", "int8")
        other = tiny_bundle(tmp_path / "other", width=WIDTH, members=MEMBERS, check=_clips_of("acoustic", "text"))
        assert calibration_sha256(order) != calibration_sha256(Order(other, "tensorrt_rtx", "int8"))


def _clips_of(*names: str) -> CheckClips:
    clips = tiny_clips(4, seed=1)
    return CheckClips({name: clips.features[name] for name in names})


class TestGraph:
    @pytest.mark.parametrize("precision", ["int8", "fp8"])
    def test_scores_stay_near_those_of_pytorch(self, bundle: Bundle, precision: str) -> None:
        order = Order(bundle, "tensorrt_rtx", precision)
        graph = write_graph(order, ranges_of(order)).serialise()
        engine = OnnxEngine(graph, bundle.modalities, threads=1, as_written=True)
        clips = bundle.check_clips()
        assert clips is not None
        (batch,) = clips.inputs(bundle.modalities)
        moved = agreement(TorchEngine(bundle).run(batch), engine.run(batch)).largest_difference
        assert 1e-6 < moved < LARGEST_MOVE

    def test_kept_single_throughout_it_is_the_graph_in_single(self, bundle: Bundle) -> None:
        from models.graphs.ensemble import ALL_GROUPS

        order = Order(bundle, "tensorrt_rtx", "int8", keep_fp32=ALL_GROUPS)
        assert write_graph(order, {}).serialise() == written(order, np.float32, {}).serialise()

    def test_bfloat16_as_a_card_rounds_it_stays_within_the_gate(self, bundle: Bundle) -> None:
        graph = ensemble_graph(bundle.ensemble(), kind=BFLOAT16)
        clips = bundle.check_clips()
        assert clips is not None
        (batch,) = clips.inputs(bundle.modalities)
        moved = agreement(TorchEngine(bundle).run(batch), InHalfPrecision(graph).run(batch)).largest_difference
        half = InHalfPrecision(ensemble_graph(bundle.ensemble(), kind=np.float16)).run(batch)
        assert agreement(TorchEngine(bundle).run(batch), half).largest_difference < moved < LARGEST_MOVE


@pytest.fixture(scope="module")
def int8(bundle: Bundle, cache: Path) -> CompiledEngine:
    return built(Order(bundle, "tensorrt_rtx", "int8"), cache)


class TestBuilt:
    def test_int8_is_built_for_four_capabilities(self, bundle: Bundle, int8: CompiledEngine) -> None:
        record = record_of(int8)
        assert (record.precision, record.capabilities) == ("int8", ("8.0", "8.6", "8.9", "12.0"))
        assert {entry.name: (entry.dtype, entry.shape) for entry in record.inputs} == {
            **{f"{m.name}_features": ("float32", (-1, -1, m.dim)) for m in bundle.modalities},
            **{f"{m.name}_lengths": ("int64", (-1,)) for m in bundle.modalities},
        }
        assert {entry.name: entry.dtype for entry in record.outputs} == dict.fromkeys(
            ("probabilities", "attributes"), "float32"
        )
        assert record.profiles[0].batch.steps == (1, 8, 32, 128)

    def test_both_factors_of_its_products_are_rounded_and_the_rest_is_in_half_precision(
        self, int8: CompiledEngine
    ) -> None:
        layers = record_of(int8).layers
        assert layers["quantize"].keys() == {"int8"}
        assert layers["dequantize"]["float16"] > layers["quantize"]["int8"] > 20
        assert layers["matrix_multiply"]["float16"] > layers["dequantize"]["float16"] / 2
        assert layers["softmax"]["float16"] > 5

    def test_it_is_checked_as_a_graph_and_says_so(self, bundle: Bundle, int8: CompiledEngine) -> None:
        report = int8.report
        assert report.largest_difference is None
        assert 0 < (report.graph_difference or 0) < LARGEST_MOVE
        assert (report.graph_label_agreement, report.graph_rows) == (1.0, 8)

    def test_its_calibration_is_told_and_kept(self, bundle: Bundle, int8: CompiledEngine, cache: Path) -> None:
        order = Order(bundle, "tensorrt_rtx", "int8")
        assert record_of(int8).calibration_sha256 == int8.report.calibration == calibration_sha256(order)
        again = built(order, cache)
        assert again.report.cached
        assert (again.report.calibration, again.report.graph_difference) == (
            int8.report.calibration,
            int8.report.graph_difference,
        )

    @pytest.mark.parametrize(
        ("precision", "capabilities", "layer", "kinds"),
        [
            ("fp8", ("8.9", "12.0"), "quantize", {"float8"}),
            ("bf16", ("8.0", "8.6", "8.9", "12.0"), "softmax", {"bfloat16", "float32"}),
        ],
    )
    def test_the_others_are_built_for_cards_that_compute_in_them(
        self, bundle: Bundle, cache: Path, precision: str, capabilities: tuple[str, ...], layer: str, kinds: set[str]
    ) -> None:
        made = built(Order(bundle, "tensorrt_rtx", precision), cache)
        record = record_of(made)
        assert (record.precision, record.capabilities) == (precision, capabilities)
        assert record.layers[layer].keys() == kinds
        assert (made.report.graph_difference is None) == (precision == "bf16")

    def test_what_the_gate_refuses_is_not_built_and_the_groups_are_named(self, bundle: Bundle, cache: Path) -> None:
        def cut_off(order: Order, serialise: Any) -> dict[str, float]:
            return {key: reach / 50 for key, reach in measured_ranges(order, serialise).items()}

        order = Order(bundle, "tensorrt_rtx", "int8", capabilities=("8.6",))
        with pytest.raises(EngineError, match=r"in int8 is not admitted: on the bundle's 8 clips") as caught:
            built(order, cache, measured_ranges=cut_off, write_graph=write_graph)
        assert "alone" in str(caught.value)
        assert not (cache / "engines" / key_of(order) / "engine.json").exists()


class TestRefused:
    @pytest.mark.parametrize(
        ("precision", "capabilities", "said"),
        [
            ("fp8", ("SM86",), "compute capability 8.6 do not compute in fp8, those from 8.9 on do: leave it out, or"),
            ("fp8", ("8.0", "8.6", "8.9"), r"capability 8\.0, 8\.6 do not compute in fp8.*leave them out"),
            ("bf16", ("7.5",), r"capability 7\.5 do not compute in bf16, those from 8\.0 on do.*or take fp16"),
        ],
    )
    def test_cards_that_do_not_compute_in_it(
        self, bundle: Bundle, precision: str, capabilities: tuple[str, ...], said: str
    ) -> None:
        with pytest.raises(EngineError, match=said):
            Order(bundle, "tensorrt_rtx", precision, capabilities=capabilities)

    def test_older_cards_compute_in_integers(self, bundle: Bundle) -> None:
        assert Order(bundle, "tensorrt_rtx", "int8", capabilities=("7.5",)).built_for == ("7.5",)

    def test_other_weights_need_other_ranges(self, bundle: Bundle) -> None:
        with pytest.raises(EngineError, match="in fp8 takes no other weights"):
            Order(bundle, "tensorrt", "fp8", refittable=True)


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Hearing:
    """Of one layer an encoder; its bundle carries clips, of features and tokens."""
    root, chance = tmp_path_factory.mktemp("hearing"), np.random.default_rng(0)
    plain = tiny_hearing(root / "plain", 1, HEARING_MEMBERS)
    dims = {m.name: m.dim for m in plain.bundle.modalities if m.kind == "acoustic"}
    features = {n: [chance.normal(size=(3, dim)).astype(np.float16) for _ in range(6)] for n, dim in dims.items()}
    tokens = {"text": [chance.integers(4, 90, size=6) for _ in range(6)]}
    return tiny_hearing(root / "own", 1, HEARING_MEMBERS, check=CheckClips(features, tokens))


@pytest.fixture(scope="module")
def audio() -> CalibrationAudio:
    chance = np.random.default_rng(1)
    return CalibrationAudio.of([chance.normal(scale=0.1, size=8_000).astype(np.float32) for _ in range(8)])


class TestHearing:
    """Audio that a user gives stands in for clips, which hold none."""

    def order(self, hearing: Hearing, audio: CalibrationAudio | None = None, precision: str = "int8") -> Order:
        """One speech encoder inside; the others are read as features."""
        speech = {"whisper": hearing.speech["whisper"]}
        return Order(hearing.bundle, "tensorrt_rtx", precision, hearing.text, speech, ("8.9",), audio=audio)

    def test_without_audio_it_is_said_what_to_give(self, hearing: Hearing, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match=r"whisper hear audio.*of int8 on: give a folder.*--calibration DIR"):
            built(self.order(hearing), tmp_path)

    def test_with_audio_it_is_built_and_found_again_without(
        self, hearing: Hearing, audio: CalibrationAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = built(self.order(hearing, audio), tmp_path)
        assert record_of(made).precision == "int8"
        assert "mel_whisper" in {entry.name for entry in record_of(made).inputs}
        # Two encoders of one layer; in each, queries, keys and values share what they read. Members are too narrow.
        assert record_of(made).layers["quantize"] == {"int8": 2 * 4}
        assert made.report.graph_rows == len(audio.held_out) == 2
        found = built(self.order(hearing), tmp_path)
        assert found.report.cached
        assert found.content == made.content
        monkeypatch.setenv("MEDUSA_CACHE", str(tmp_path))
        monkeypatch.setattr(compiler, "runnable", lambda *_: _as_graph(self.order(hearing, audio)))
        with pytest.raises(
            EngineError, match=r"give a folder with a few minutes of speech.*with --check where the eng"
        ):
            check_engine(self.order(hearing))
        checked = check_engine(self.order(hearing, audio)).report
        assert 0 < (checked.largest_difference or 0) < LARGEST_MOVE
        assert built(self.order(hearing), tmp_path).report.largest_difference == checked.largest_difference

    def test_half_precision_is_admitted_on_the_audio_too(self, hearing: Hearing, audio: CalibrationAudio) -> None:
        from models.admission import admit

        order = self.order(hearing, audio, "fp16")
        engine = OnnxEngine(write_graph(order).serialise(), hearing.bundle.modalities, threads=1)
        found = admit(engine, hearing.bundle, hearing.text, "fp16", order.speech, audio=audio)
        assert (found.clips, found.rows) == (2, 2)


def _as_graph(order: Order) -> OnnxEngine:
    graph = write_graph(order, ranges_of(order)).serialise()
    return OnnxEngine(graph, order.bundle.modalities, threads=1, as_written=True)
