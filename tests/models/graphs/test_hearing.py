"""One graph from waveform, spectrogram and tokens to scores: it says what encoders and members say in PyTorch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

import models.compile as compiler
from models.admission import TOLERANCE, admit, check_inputs
from models.agreement import agreement
from models.audio_batches import AudioBatch, MelBatch, pad_audio
from models.compile import CompiledEngine, Order, check_engine, compile_engine, runnable, write_graph
from models.engine_places import key_of
from models.engines.base import EngineOutput
from models.engines.onnx import OnnxEngine
from models.engines.torch import TorchEngine
from models.errors import EngineError, FeatureError
from models.graphs.ensemble import ensemble_graph
from models.inspection import inspect
from models.modalities import EngineBatch, pad
from models.reference import Reference
from models.speaker import SpeakerPrior, SpeakerStandardisation
from tests.fakes.bundles import hearing_bundle
from tests.fakes.checkpoints import DIM, MEL_BANDS, stirred, tiny_checkpoint
from tests.fakes.hearing import SAMPLES, WORDS, Hearing, clips, heard, tiny_hearing


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Hearing:
    return tiny_hearing(tmp_path_factory.mktemp("hearing"))


@pytest.fixture(scope="module")
def graph(hearing: Hearing) -> bytes:
    return write_graph(hearing.order()).serialise()


@pytest.fixture(scope="module")
def engine(hearing: Hearing, graph: bytes) -> OnnxEngine:
    return OnnxEngine(graph, hearing.bundle.modalities, threads=1)


@dataclasses.dataclass(frozen=True)
class Kept:
    """An engine, and the cache it was kept in."""

    compiled: CompiledEngine
    cache: Path


@pytest.fixture(scope="module")
def kept(hearing: Hearing, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """In two files, as if its weights were too many for one."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDUSA_CACHE", str(cache))
        patch.setattr(compiler, "MOST_FILE_BYTES", 10_000)
        return Kept(compile_engine(hearing.order()), cache)


def assert_agree(found: EngineOutput, wanted: EngineOutput) -> None:
    assert agreement(wanted, found).largest_difference < TOLERANCE
    assert wanted.probabilities.std(axis=0).max() > 10 * TOLERANCE


def in_pytorch(hearing: Hearing, inputs: Mapping[str, EngineBatch]) -> EngineOutput:
    """Features of each clip by itself, grouped and laid side by side, then the members one by one."""
    modalities = {modality.name: modality for modality in hearing.bundle.modalities}
    features = {}
    for name, batch in inputs.items():
        if isinstance(batch, AudioBatch):
            # Whisper hears a window of silence behind a clip: that of the longest of the batch.
            encoder = hearing.speech[name].encoder(hearing.bundle.final_windows)
            frames = iter(encoder.encode([clip for clip in batch.clips() if clip is not None]))
        else:
            texts = [row[: n + 2] for row, n in zip(batch.sequence, batch.lengths, strict=True) if n]
            frames = iter(hearing.text[name].encoder().encode_tokens(texts))
        rows = [modalities[name].group(next(frames)) if length else None for length in batch.lengths]
        features[name] = pad(rows, modalities[name].dim)
    return TorchEngine(hearing.bundle).run(features)


class TestTheGraph:
    """What it reads and what it says."""

    def test_it_takes_waveform_spectrogram_and_tokens(self, graph: bytes, engine: OnnxEngine) -> None:
        inputs = onnx.load_from_string(graph).graph.input
        shapes = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in inputs}
        assert shapes == {
            "waveform": ["batch", "waveform_time"],
            "samples": ["batch"],
            "mel_whisper": ["batch", MEL_BANDS, "whisper_mel_time"],
            "text_tokens": ["batch", "text_time"],
            "text_lengths": ["batch"],
        }
        assert engine.reads_audio == {"wavlm", "hubert"}
        assert engine.reads_mel == {"whisper": MEL_BANDS}
        assert engine.reads_tokens == {"text"}

    def test_it_says_what_pytorch_says_of_clips_of_any_length_with_and_without_words(
        self, hearing: Hearing, engine: OnnxEngine
    ) -> None:
        inputs = heard(pad_audio(clips()))
        assert_agree(engine.run(hearing.given(inputs)), in_pytorch(hearing, inputs))

    def test_a_clip_scores_the_same_alone_and_in_any_batch_of_its_window(
        self, hearing: Hearing, engine: OnnxEngine
    ) -> None:
        own = clips([27_001, 400, 9_123])
        words = [None, "well then", "no"]
        together = engine.run(hearing.given(heard(pad_audio(own), words)))
        for row, clip in enumerate(own):
            alone = engine.run(hearing.given(heard(pad_audio([clip]), words[row : row + 1])))
            np.testing.assert_allclose(alone.probabilities[0], together.probabilities[row], atol=TOLERANCE)
            np.testing.assert_allclose(alone.attributes[0], together.attributes[row], atol=6 * TOLERANCE)

    def test_what_stands_in_the_padding_does_not_matter(self, hearing: Hearing, engine: OnnxEngine) -> None:
        given = hearing.given(heard(pad_audio(clips())))
        noisy = np.random.default_rng(1).normal(size=given["wavlm"].sequence.shape).astype(np.float32)
        for row, clip in enumerate(clips()):
            noisy[row, : 0 if clip is None else clip.size] = 0 if clip is None else clip
        audio = AudioBatch(noisy, given["wavlm"].lengths)
        found = engine.run({**given, "wavlm": audio, "hubert": audio})
        np.testing.assert_array_equal(found.probabilities, engine.run(given).probabilities)

    def test_words_alone_and_audio_alone_are_scored(self, hearing: Hearing, engine: OnnxEngine) -> None:
        inputs = heard(pad_audio(clips([16_000, 20_000])), ["well", "no"])
        words = {"text": inputs["text"]}
        assert_agree(engine.run(words), in_pytorch(hearing, words))
        audio = {name: batch for name, batch in inputs.items() if name != "text"}
        assert_agree(engine.run(hearing.given(audio)), in_pytorch(hearing, audio))

    def test_a_clip_too_short_for_a_frame_is_silence_to_who_hears_the_waveform(
        self, hearing: Hearing, engine: OnnxEngine
    ) -> None:
        inputs = heard(pad_audio(clips([399, 16_000])), ["well", "no"])
        found = engine.run(hearing.given(inputs))
        (short, _) = clips([399, 16_000])
        whisper = hearing.speech["whisper"].encoder(hearing.bundle.final_windows)
        modalities = {modality.name: modality for modality in hearing.bundle.modalities}
        assert short is not None
        (frames,) = whisper.encode([short])
        features = Reference(hearing.bundle, hearing.text).features({"text": inputs["text"].rows(0, 1)})
        features["whisper"] = pad([modalities["whisper"].group(frames)], modalities["whisper"].dim)
        wanted = TorchEngine(hearing.bundle).run(features)
        np.testing.assert_allclose(found.probabilities[0], wanted.probabilities[0], atol=TOLERANCE)

    def test_lanes_and_rows_on_several_threads_say_the_same(self, hearing: Hearing, engine: OnnxEngine) -> None:
        order = hearing.order()
        graph = ensemble_graph(
            hearing.bundle.ensemble(),
            text={"text": order.text["text"].graph()},
            speech={name: source.graph() for name, source in order.speech.items()},
            lanes=2,
        )
        dealt = OnnxEngine(graph, hearing.bundle.modalities, threads=2)
        for lengths in (SAMPLES, [16_000]):
            given = hearing.given(heard(pad_audio(clips(lengths)), WORDS[: len(lengths)]))
            np.testing.assert_allclose(dealt.run(given).probabilities, engine.run(given).probabilities, atol=1e-5)

    def test_some_encoders_stand_inside_and_others_do_not(self, hearing: Hearing) -> None:
        some = {"hubert": hearing.speech["hubert"]}
        bundle = hearing.bundle
        mixed = OnnxEngine(write_graph(Order(bundle, speech=some)).serialise(), bundle.modalities, threads=1)
        assert (mixed.reads_audio, mixed.reads_mel, mixed.reads_tokens) == ({"hubert"}, {}, set())
        inputs = check_inputs(bundle.modalities, hears={"hubert"})
        assert_agree(mixed.run(inputs), Reference(bundle, {}, some).run(inputs))
        spectrograms = {"whisper": hearing.speech["whisper"]}
        reads = OnnxEngine(write_graph(Order(bundle, speech=spectrograms)).serialise(), bundle.modalities, threads=1)
        assert (reads.reads_audio, reads.reads_mel) == (set(), {"whisper": MEL_BANDS})
        assert admit(reads, bundle, {}, speech=spectrograms).largest_difference < TOLERANCE

    def test_an_encoder_of_another_width_does_not_fit_the_members(self, hearing: Hearing, tmp_path: Path) -> None:
        bundle = hearing_bundle(tmp_path / "wide", dim=2 * DIM)
        with pytest.raises(EngineError, match=r"gives 48 features a frame, members read 32 of hubert"):
            write_graph(Order(bundle, speech={"hubert": hearing.speech["hubert"]}))

    def test_a_graph_that_does_not_say_what_hears_is_refused(self, hearing: Hearing) -> None:
        graph = write_graph(Order(hearing.bundle, speech={"hubert": hearing.speech["hubert"]}))
        for note, message in (("{", "does not say which modalities hear"), ("[]", "the bundle gives")):
            graph.note("hears", note)
            with pytest.raises(EngineError, match=message):
                OnnxEngine(graph.serialise(), hearing.bundle.modalities)


class TestWhatItIsGiven:
    """Everything else is refused."""

    def test_one_kind_is_not_mistaken_for_another(self, hearing: Hearing, engine: OnnxEngine) -> None:
        audio = pad_audio(clips([16_000]))
        mel = hearing.speech["whisper"].ear(hearing.bundle.final_windows)(audio)
        both = {"wavlm": audio, "hubert": audio}
        with pytest.raises(FeatureError, match="whisper is read as a log-mel spectrogram by this engine"):
            engine.run({**both, "whisper": audio})
        with pytest.raises(FeatureError, match="wavlm is read as audio by this engine"):
            engine.run({"wavlm": mel, "hubert": audio, "whisper": mel})
        with pytest.raises(FeatureError, match="hubert is read as features by this engine"):
            TorchEngine(hearing.bundle).run({"hubert": audio})
        with pytest.raises(FeatureError, match="whisper is a spectrogram: the reference encodes audio"):
            Reference(hearing.bundle, {}).features({"whisper": mel})

    def test_all_that_hears_is_given_the_same_clips(self, hearing: Hearing, engine: OnnxEngine) -> None:
        given = hearing.given(heard(pad_audio(clips([16_000])), ["well"]))
        other = pad_audio([np.ones(16_000, dtype=np.float32)])
        shorter = pad_audio(clips([15_000]))
        for wrong in (other, shorter):
            with pytest.raises(FeatureError, match=r"wavlm, hubert, whisper must be given the same clips"):
                engine.run({**given, "hubert": wrong})
        with pytest.raises(FeatureError, match=r"hubert, whisper hears the clips that wavlm hears: give it to all"):
            engine.run({"wavlm": given["wavlm"]})

    def test_values_types_and_bands_are_checked(self, hearing: Hearing, engine: OnnxEngine) -> None:
        given = hearing.given(heard(pad_audio(clips([16_000])), ["well"]))
        audio, mel = given["wavlm"], given["whisper"]
        broken = pad_audio([np.full(16_000, np.nan, dtype=np.float32)])
        with pytest.raises(FeatureError, match="wavlm holds values that are not finite in row 0"):
            engine.run({**given, "wavlm": broken, "hubert": broken})
        wide = AudioBatch(audio.sequence.astype(np.float64), audio.lengths)
        with pytest.raises(FeatureError, match="wavlm must be float32 with int64 lengths"):
            engine.run({**given, "wavlm": wide, "hubert": wide})
        more = MelBatch(np.repeat(mel.sequence, 2, axis=1), mel.lengths)
        with pytest.raises(FeatureError, match=f"whisper has {2 * MEL_BANDS} mel bands, the engine reads {MEL_BANDS}"):
            engine.run({**given, "whisper": more})

    def test_a_row_with_nothing_to_hear_or_read_is_refused(self, hearing: Hearing) -> None:
        bundle = hearing.bundle
        some = {name: hearing.speech[name] for name in ("hubert", "wavlm")}
        engine = OnnxEngine(write_graph(Order(bundle, speech=some)).serialise(), bundle.modalities, threads=1)
        audio = pad_audio(clips([16_000, 399]))
        with pytest.raises(FeatureError, match="row 1 has no modality at all"):
            engine.run({"hubert": audio, "wavlm": audio})


class TestCompiled:
    """Through the cache, checked against PyTorch."""

    def test_it_is_checked_against_pytorch_and_its_report_kept(
        self, hearing: Hearing, kept: Kept, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MEDUSA_CACHE", str(kept.cache))
        report = kept.compiled.report
        assert report.largest_difference is not None
        assert report.largest_difference <= TOLERANCE
        assert (report.label_agreement, report.rows, report.cached) == (1, 12, False)
        (stamp,) = kept.cache.rglob("engine.json")
        assert json.loads(stamp.read_text())["facts"]["largest_difference"] == report.largest_difference
        assert check_engine(hearing.order()).report.largest_difference == report.largest_difference

    def test_weights_beside_the_graph_give_the_same_scores(
        self, hearing: Hearing, engine: OnnxEngine, kept: Kept
    ) -> None:
        made = kept.compiled
        assert made.weights is not None
        assert made.weights.stat().st_size > len(made.content)
        opened = runnable(hearing.order(), made, threads=1)
        given = hearing.given(heard(pad_audio(clips())))
        np.testing.assert_array_equal(opened.run(given).probabilities, engine.run(given).probabilities)
        inside = inspect(hearing.order(), made)
        assert inside.weights_bytes is not None
        assert inside.weights_bytes > made.weights.stat().st_size / 2
        assert "waveform" in {tensor.name for tensor in inside.inputs}

    def test_other_encoders_have_engines_of_their_own(self, hearing: Hearing) -> None:
        other = dataclasses.replace(hearing.speech["hubert"], hashes={"weights": "other"})
        orders = [
            hearing.order(),
            Order(hearing.bundle, text=hearing.text),
            Order(hearing.bundle, text=hearing.text, speech={**hearing.speech, "hubert": other}),
        ]
        assert len({key_of(order) for order in orders}) == 3

    def test_an_encoder_of_other_weights_is_not_admitted(
        self, hearing: Hearing, engine: OnnxEngine, tmp_path: Path
    ) -> None:
        other = stirred(tiny_checkpoint("hubert", tmp_path / "other", seed=1), seed=1)
        wrong = {**hearing.speech, "hubert": dataclasses.replace(hearing.speech["hubert"], folder=other)}
        with pytest.raises(EngineError, match="the engine differs from PyTorch by"):
            admit(engine, hearing.bundle, hearing.text, speech=wrong)

    def test_what_is_brought_relative_to_the_speaker_is_not_put_inside(self, hearing: Hearing, tmp_path: Path) -> None:
        prior = SpeakerPrior(np.zeros(DIM), np.ones(DIM), 100.0, 1000.0)
        bundle = hearing_bundle(tmp_path / "relative", speaker=SpeakerStandardisation({"hubert": prior}))
        with pytest.raises(EngineError, match="hubert is brought relative to the speaker"):
            Order(bundle, speech=hearing.speech)
        relative = dataclasses.replace(hearing.speech["hubert"], relative=True)
        assert Order(bundle, speech={**hearing.speech, "hubert": relative}).hearing.keys() == {"wavlm", "whisper"}
