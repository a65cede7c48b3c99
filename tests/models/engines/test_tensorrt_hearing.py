"""Speech encoders inside TensorRT engines: built by the real library for cards that are not here, run on fakes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

import models.compile as compiler
from models.admission import LARGEST_MOVE, admit
from models.agreement import agreement
from models.audio_batches import pad_audio
from models.check_clips import CheckClips
from models.compile import CompiledEngine, Order, compile_engine, write_graph
from models.engine_places import key_of
from models.engines.base import Engine, EngineOutput
from models.engines.onnx import OnnxEngine
from models.engines.tensorrt_file import EngineRecord, pack_engine, read_engine
from models.engines.tensorrt_runtime import TensorRTEngine
from models.engines.tensorrt_weights import numbered, structure_sha256
from models.errors import EngineError, FeatureError
from models.inspection import inspect, one_segment
from models.modalities import EngineInputs
from tests.fakes.checkpoints import MEL_BANDS
from tests.fakes.gpus import FakeCuda, FakeEngine, fake_library
from tests.fakes.hearing import Hearing, clips, heard, tiny_hearing

pytest.importorskip("tensorrt_rtx", reason="the wheel of TensorRT for RTX is for Linux on x86-64")

CAPABILITIES = ("SM80", "SM86", "SM89", "SM120")
LAYERS = 2
"""Of each encoder: a build takes seconds a layer."""
MEMBERS = ("wavlm-text", "hubert-whisper")
ENGINE = b"what TensorRT wrote"


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Hearing:
    return tiny_hearing(tmp_path_factory.mktemp("hearing"), LAYERS, MEMBERS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def compiled(order: Order, cache: Path, **changes: int) -> CompiledEngine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDUSA_CACHE", str(cache))
        for name, value in changes.items():
            patch.setattr(compiler, name, value)
        return compile_engine(order)


@pytest.fixture(scope="module")
def single(hearing: Hearing, cache: Path) -> CompiledEngine:
    return compiled(on_a_card(hearing), cache)


@pytest.fixture(scope="module")
def half(hearing: Hearing, cache: Path) -> CompiledEngine:
    """Of a graph in two files, as if its weights were too many for one."""
    return compiled(on_a_card(hearing, "fp16"), cache, MOST_FILE_BYTES=10_000)


def on_a_card(hearing: Hearing, precision: str = "fp32", **more: object) -> Order:
    return hearing.order("tensorrt_rtx", precision, capabilities=CAPABILITIES, **more)


def record_of(made: CompiledEngine) -> EngineRecord:
    return read_engine(made.content).record


class TestBuilt:
    """For four capabilities at once."""

    def test_it_reads_waveform_spectrogram_and_tokens(self, hearing: Hearing, single: CompiledEngine) -> None:
        record = record_of(single)
        assert record.capabilities == ("8.0", "8.6", "8.9", "12.0")
        assert {entry.name: (entry.dtype, entry.shape) for entry in record.inputs} == {
            "waveform": ("float32", (-1, -1)),
            "samples": ("int64", (-1,)),
            "mel_whisper": ("float32", (-1, MEL_BANDS, -1)),
            "text_tokens": ("int64", (-1, -1)),
            "text_lengths": ("int64", (-1,)),
        }
        labels = len(hearing.bundle.manifest.labels)
        assert {entry.name: (entry.dtype, entry.shape) for entry in record.outputs} == {
            "probabilities": ("float32", (-1, labels)),
            "attributes": ("float32", (-1, 3)),
        }
        assert record.hears == ("hubert", "wavlm")

    def test_its_profile_spans_the_windows_of_the_bundle(self, single: CompiledEngine) -> None:
        (profile,) = record_of(single).profiles
        assert profile.batch.steps == (1, 8, 32)
        windows_s = (6, 8, 10, 12, 16, 20, 24, 30)
        assert profile.times["mel_whisper"].steps == (2, *(100 * s for s in windows_s))
        assert profile.times["mel_whisper"].exact
        assert profile.times["waveform"].steps == (400, *(16_000 * s for s in (3, *windows_s)))
        assert profile.shapes("mel_whisper", (-1, MEL_BANDS, -1)) == (
            (1, MEL_BANDS, 2),
            (8, MEL_BANDS, 1000),
            (32, MEL_BANDS, 3000),
        )
        assert profile.shapes("waveform", (-1, -1)) == ((1, 400), (8, 48_000), (32, 480_000))
        assert profile.shapes("samples", (-1,)) == ((1,), (8,), (32,))

    def test_in_single_precision_nothing_is_halved(self, hearing: Hearing, single: CompiledEngine) -> None:
        record = record_of(single)
        assert record.precision == "fp32"
        assert record.layers["convolution"].keys() == {"float32"}

    def test_in_half_precision_norms_and_sums_between_layers_are_not(self, half: CompiledEngine) -> None:
        record = record_of(half)
        assert record.precision == "fp16"
        assert record.layers["convolution"].keys() == {"float16"}
        # The members' beside those of three encoders.
        assert record.layers["softmax"]["float16"] > 3 * LAYERS
        # Two a layer, one of each of the seven convolutions of two front ends, and one between.
        assert record.layers["normalization"]["float32"] >= 3 * LAYERS * 2 + 2 * (7 + 1)
        assert record.layers["matrix_multiply"]["float16"] > 3 * LAYERS * 8

    def test_weights_that_are_too_many_for_a_file_are_read_from_a_second(
        self, hearing: Hearing, single: CompiledEngine, half: CompiledEngine
    ) -> None:
        """As those of the engine in half precision were."""
        assert half.weights is None
        assert not list(Path(half.report.path).parent.glob("weights-*"))
        assert record_of(half).inputs == record_of(single).inputs
        # Half of the weights' bytes are more than what lies around them.
        assert len(half.content) > len(single.content) / 2

    def test_it_is_found_again_until_an_encoder_is_another(
        self, hearing: Hearing, single: CompiledEngine, cache: Path
    ) -> None:
        again = compiled(on_a_card(hearing), cache)
        assert again.report.cached
        assert again.content == single.content
        without = {name: source for name, source in hearing.speech.items() if name != "hubert"}
        keys = [key_of(on_a_card(Hearing(hearing.bundle, own, {}))) for own in (hearing.speech, without)]
        assert keys[0] != keys[1]

    def test_inspection_shows_what_it_reads(self, hearing: Hearing, half: CompiledEngine) -> None:
        inside = inspect(on_a_card(hearing, "fp16"), half)
        shapes = {tensor.name: tensor.shape for tensor in inside.inputs}
        assert (shapes["waveform"], shapes["mel_whisper"]) == ((-1, -1), (-1, MEL_BANDS, -1))
        assert inside.precision == "fp16"
        assert any(layer.startswith("convolution (float16)") for layer in inside.layers)

    def test_weights_beside_a_graph_keep_their_place_when_they_are_numbered(
        self, hearing: Hearing, tmp_path: Path
    ) -> None:
        graph = write_graph(hearing.order("tensorrt_rtx"))
        assert graph.save(tmp_path / "graph.onnx", most_bytes=10_000) is not None
        beside = (tmp_path / "graph.onnx").read_bytes()
        (tmp_path / "graph.onnx").write_bytes(numbered(beside))
        given = hearing.given(heard(pad_audio(clips([16_000])), ["well"]))
        (weights,) = tmp_path.glob("weights-*")
        found = OnnxEngine(tmp_path / "graph.onnx", hearing.bundle.modalities, threads=1, weights=weights).run(given)
        whole = OnnxEngine(graph.serialise(), hearing.bundle.modalities, threads=1).run(given)
        np.testing.assert_allclose(found.probabilities, whole.probabilities, atol=1e-6)
        assert structure_sha256(beside) == structure_sha256(graph.serialise())


class TestHalfPrecision:
    """Types stand in the graph; on a CPU it computes with few of the roundings."""

    @pytest.mark.parametrize("kept", [(), ("speech_fronts",), ("speech_layers",)])
    def test_scores_stay_near(self, hearing: Hearing, kept: tuple[str, ...]) -> None:
        given = hearing.given(heard(pad_audio(clips())))
        single, half = (
            OnnxEngine(write_graph(order).serialise(), hearing.bundle.modalities, threads=1).run(given)
            for order in (hearing.order(), hearing.order("tensorrt_rtx", "fp16", keep_fp32=kept))
        )
        assert 1e-7 < agreement(single, half).largest_difference < 0.01

    def test_layer_groups_of_encoders_are_kept_single_by_themselves(self, hearing: Hearing) -> None:
        def kinds(*kept: str) -> tuple[set[int], set[int]]:
            """Of what convolutions and products of 16 by 24, those within encoders' layers, are multiplied with."""
            graph = write_graph(hearing.order("tensorrt_rtx", "fp16", keep_fp32=kept)).serialise()
            model = onnx.load_from_string(graph).graph
            constants = {constant.name: constant for constant in model.initializer}
            convolved = {constants[node.input[1]].data_type for node in model.node if node.op_type == "Conv"}
            read = [
                constants[name]
                for node in model.node
                if node.op_type == "MatMul"
                for name in node.input[1:]
                if name in constants
            ]
            return convolved, {constant.data_type for constant in read if list(constant.dims) == [16, 24]}

        float32, float16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
        assert kinds() == ({float16}, {float16, float32})
        assert kinds("speech_fronts") == ({float32}, {float16, float32})
        assert kinds("speech_layers") == ({float16}, {float32})

    def test_kept_single_throughout_it_is_the_graph_in_single(self, hearing: Hearing) -> None:
        groups = ("readers", "first_fusion", "second_fusion", "head", "speech_fronts", "speech_layers")
        kept = write_graph(hearing.order("tensorrt_rtx", "fp16", keep_fp32=groups)).serialise()
        assert kept == write_graph(hearing.order("tensorrt_rtx")).serialise()


class Astray(OnnxEngine):
    """Its first score is off."""

    def run(self, inputs: EngineInputs) -> EngineOutput:
        output = super().run(inputs)
        output.probabilities[0, 0] += 0.1
        return output


@pytest.fixture(scope="module")
def graph(hearing: Hearing) -> bytes:
    return write_graph(hearing.order("tensorrt_rtx", "fp16")).serialise()


class TestAdmitted:
    """As in every reduced precision."""

    def test_random_audio_decides_where_there_are_no_clips(self, hearing: Hearing, graph: bytes) -> None:
        engine = OnnxEngine(graph, hearing.bundle.modalities, threads=1)
        agreed = admit(engine, hearing.bundle, hearing.text, "fp16", hearing.speech)
        assert agreed.clips == 0
        assert 0 < agreed.largest_difference < LARGEST_MOVE

    def test_clips_without_audio_tell_nothing_of_what_hears(
        self, hearing: Hearing, graph: bytes, tmp_path: Path
    ) -> None:
        clip = CheckClips({m.name: [np.ones((3, m.dim), np.float16)] for m in hearing.bundle.modalities})
        bundle = tiny_hearing(tmp_path, LAYERS, MEMBERS, check=clip).bundle
        engine = OnnxEngine(graph, bundle.modalities, threads=1)
        with pytest.raises(EngineError, match="hears hubert, wavlm, whisper, and of the bundle's clips there are feat"):
            admit(engine, bundle, hearing.text, "fp16", hearing.speech)

    def test_where_the_members_alone_pass_encoders_are_to_be_kept_single(self, hearing: Hearing, graph: bytes) -> None:
        engine = Astray(graph, hearing.bundle.modalities, threads=1)
        with pytest.raises(EngineError, match="keep layer group speech_fronts or speech_layers in fp32"):
            admit(engine, hearing.bundle, hearing.text, "fp16", hearing.speech)


@dataclass(frozen=True)
class Made:
    """An engine, and the fake beneath it."""

    engine: TensorRTEngine
    inside: FakeEngine
    cuda: FakeCuda

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """In which the spectrogram came."""
        return [shape for _, name, shape in self.inside.shapes if name == "mel_whisper"]


@pytest.fixture(scope="module")
def reference(hearing: Hearing) -> OnnxEngine:
    return OnnxEngine(write_graph(hearing.order("tensorrt_rtx")).serialise(), hearing.bundle.modalities, threads=1)


@pytest.fixture(params=[True, False], ids=["rtx", "tensorrt"])
def made(hearing: Hearing, single: CompiledEngine, request: pytest.FixtureRequest) -> Made:
    """The engine that was built, on a card that computes with ONNX Runtime."""
    cuda = FakeCuda()
    graph = write_graph(hearing.order("tensorrt_rtx")).serialise()
    library, opened = fake_library(cuda, {ENGINE: graph}, rtx=request.param)
    changes = {"library": library.name, "library_version": library.version, "engine_bytes": len(ENGINE)}
    record = record_of(single).model_copy(update=changes)
    engine = TensorRTEngine(pack_engine(record, ENGINE), hearing.bundle.modalities, cuda=cuda, library=library)
    return Made(engine, opened[0], cuda)


class TestRun:
    """Given what it reads, padded to what it is made for."""

    def test_it_says_what_hears(self, made: Made) -> None:
        assert isinstance(made.engine, Engine)
        assert made.engine.reads_audio == {"wavlm", "hubert"}
        assert made.engine.reads_mel == {"whisper": MEL_BANDS}
        assert made.engine.reads_tokens == {"text"}

    def test_padded_to_a_shape_clips_score_as_they_do_unpadded(
        self, hearing: Hearing, made: Made, reference: OnnxEngine
    ) -> None:
        given = hearing.given(heard(pad_audio(clips())))
        found, wanted = made.engine.run(given), reference.run(given)
        np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-5)
        np.testing.assert_allclose(found.attributes, wanted.attributes, atol=6e-5)

    def test_a_waveform_is_padded_and_a_spectrogram_stays_in_its_window(self, hearing: Hearing, made: Made) -> None:
        audio = pad_audio(clips([27_001, 9_123]))
        inputs = heard(audio, ["well", "no"])
        for window_s in (6, 10):
            spectrogram = hearing.speech["whisper"].ear(hearing.bundle.final_windows)(audio, window_s)
            made.engine.run({**inputs, "whisper": spectrogram})
        shapes = {name: shape for _, name, shape in made.inside.shapes}
        assert shapes["waveform"] == (8, 48_000)
        assert made.shapes == [(8, MEL_BANDS, 600), (8, MEL_BANDS, 1000)]

    def test_words_alone_are_scored(self, made: Made, reference: OnnxEngine) -> None:
        words = {"text": heard(pad_audio([None, None]), ["well", "no"])["text"]}
        np.testing.assert_allclose(made.engine.run(words).probabilities, reference.run(words).probabilities, atol=1e-5)
        assert made.shapes == [(8, MEL_BANDS, 2)]

    def test_more_rows_than_it_takes_are_given_to_it_in_parts(
        self, hearing: Hearing, made: Made, reference: OnnxEngine
    ) -> None:
        words = ["well", "no", None] * 13
        given = hearing.given(heard(pad_audio(clips([800, None, 1200] * 13)), words))
        found, wanted = made.engine.run(given), reference.run(given)
        assert [shape[0] for shape in made.shapes] == [32, 8]
        np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-5)

    def test_what_is_longer_than_any_window_is_refused(self, made: Made, hearing: Hearing) -> None:
        given = hearing.given(heard(pad_audio(clips([16_000])), ["well"]))
        long = pad_audio([np.zeros(480_001, dtype=np.float32)])
        spectrogram = type(given["whisper"])(given["whisper"].sequence, long.lengths)
        with pytest.raises(FeatureError, match=r"'waveform': 480001.* do not fit into the engine"):
            made.engine.run({**given, "wavlm": long, "hubert": long, "whisper": spectrogram})

    def test_shapes_share_the_memory_they_compute_in(self, hearing: Hearing, made: Made) -> None:
        audio = pad_audio(clips([9_123]))
        ear = hearing.speech["whisper"].ear(hearing.bundle.final_windows)
        for window_s in (6, 8, 10):
            made.engine.run({**heard(audio, ["well"]), "whisper": ear(audio, window_s)})
        assert made.cuda.asked.count("allocate 4096") == 1

    def test_a_segment_to_time_it_with_has_everything_in_it(self, hearing: Hearing, made: Made) -> None:
        inputs = one_segment(on_a_card(hearing), made.engine)
        assert all(len(batch) == 1 and batch.lengths[0] > 0 for batch in inputs.values())
        assert made.engine.layer_times_ms(inputs) == {"everything": 1.5}
