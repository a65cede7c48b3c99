from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from models.backbones.registry import BACKBONES, KINDS, Architecture, BackboneSpec, LocalCheckpoint
from models.backbones.speech import SpeechEncoder
from models.backbones.whisper import WhisperEncoder
from models.errors import FeatureError, WeightsError
from models.windows import WindowPolicy
from tests.fakes.checkpoints import DIM, tiny_checkpoint
from tests.fakes.corpora import utterance
from trainer.extractors import CheckpointFeatures, Clip, SpeechFeatures, TextFeatures, applies, open_extractor

WINDOWS = WindowPolicy(buckets_s=(4.0, 8.0, 12.0), tail_s=1.0)


def heard(seconds: float, name: str = "c/a") -> Clip:
    return Clip(name, np.sin(np.arange(round(seconds * 16_000)) / 20).astype(np.float32))


@dataclass
class Encoded:
    frames: dict[int | None, tuple[np.ndarray, ...]]


@dataclass
class RecordingEncoder:
    """Stands in for Whisper and remembers in which windows it was asked to encode."""

    windows_s: list[float] = field(default_factory=list)

    def encode(self, segments: list[np.ndarray], window_s: float) -> Encoded:
        self.windows_s.append(window_s)
        frames = {
            layer: tuple(np.full((segment.size // 320, 512), layer or 0, np.float32) for segment in segments)
            for layer in (None, 3)
        }
        return Encoded(frames)


class TestWhatABackboneReads:
    def test_an_acoustic_one_reads_audio_of_any_language(self) -> None:
        spoken = utterance("a", audio=Path("a.wav"), text=None, language="de")
        assert applies(BACKBONES["whisper-base"], spoken)
        assert applies(BACKBONES["prosody"], spoken)
        assert not applies(BACKBONES["prosody"], utterance("b", text="only text"))

    @pytest.mark.parametrize(
        ("text", "language", "expected"),
        [("hello", "en", True), ("hallo", "de", False), ("  ", "en", False), (None, "en", False)],
    )
    def test_a_linguistic_one_reads_transcripts_in_languages_it_knows(
        self, text: str | None, language: str, expected: bool
    ) -> None:
        spoken = utterance("a", audio=Path("a.wav"), text=text, language=language)
        assert applies(BACKBONES["minilm-l6"], spoken) is expected


class TestSpeech:
    def test_clips_share_a_batch_where_they_share_a_window(self) -> None:
        speech = SpeechFeatures(_as_whisper(RecordingEncoder()), windows=WINDOWS)
        assert speech.bucket(heard(1.0)) == speech.bucket(heard(3.0)) == 4.0
        assert speech.bucket(heard(3.1)) == 8.0

    def test_a_batch_is_encoded_in_the_window_of_the_policy(self) -> None:
        encoder = RecordingEncoder()
        speech = SpeechFeatures(_as_whisper(encoder), windows=WINDOWS)
        features = speech.encode([heard(1.0), heard(2.0)])
        assert encoder.windows_s == [4.0]
        assert [f.shape[0] for f in features] == [50, 100]

    @pytest.mark.parametrize("layer", [None, 3])
    def test_the_layer_that_the_backbone_stands_for_is_read(self, layer: int | None) -> None:
        (features,) = SpeechFeatures(_as_whisper(RecordingEncoder()), layer, WINDOWS).encode([heard(1.0)])
        assert features.mean() == (layer or 0)

    def test_a_clip_longer_than_the_longest_window_is_refused(self) -> None:
        with pytest.raises(FeatureError, match=r"13\.0 s does not fit"):
            SpeechFeatures(_as_whisper(RecordingEncoder()), windows=WINDOWS).bucket(heard(13.0))

    def test_a_clip_without_audio_is_refused(self) -> None:
        with pytest.raises(FeatureError, match="c/a: no audio"):
            SpeechFeatures(_as_whisper(RecordingEncoder()), windows=WINDOWS).bucket(Clip("c/a", text="x"))


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory: pytest.TempPathFactory) -> SpeechEncoder:
    return SpeechEncoder(tiny_checkpoint("wavlm", tmp_path_factory.mktemp("wavlm")), "wavlm", device="cpu")


class TestCheckpoints:
    def test_a_batch_holds_as_many_seconds_as_the_budget(self, wavlm: SpeechEncoder) -> None:
        features = CheckpointFeatures(wavlm, batch_s=12.0)
        assert [features.room(heard(seconds)) for seconds in (0.5, 1.0, 1.1, 4.0, 50.0)] == [12, 12, 6, 3, 1]

    def test_clips_of_like_length_share_a_batch(self, wavlm: SpeechEncoder) -> None:
        features = CheckpointFeatures(wavlm)
        assert features.bucket(heard(1.2)) == features.bucket(heard(1.9)) != features.bucket(heard(2.1))

    def test_what_must_not_hear_padding_is_taken_one_by_one(self, tmp_path: Path) -> None:
        folder = tiny_checkpoint("hubert", tmp_path, feat_extract_norm="group", do_stable_layer_norm=False)
        assert CheckpointFeatures(SpeechEncoder(folder, "hubert", device="cpu")).room(heard(1.0)) == 1

    def test_a_clip_too_short_for_a_frame_fits_no_bucket(self, wavlm: SpeechEncoder) -> None:
        with pytest.raises(FeatureError, match="too short"):
            CheckpointFeatures(wavlm).bucket(heard(0.01))

    @pytest.mark.parametrize(
        ("architecture", "layers", "stacked", "width"),
        [
            ("wavlm", 4, False, DIM),
            ("hubert", 2, True, 2 * DIM),
            ("whisper", 1, False, DIM),
            ("modernbert", 4, False, DIM),
        ],
    )
    def test_a_backbone_is_opened_from_its_folder_as_it_is_to_be_read(
        self, tmp_path: Path, architecture: Architecture, layers: int, stacked: bool, width: int
    ) -> None:
        local = LocalCheckpoint(tiny_checkpoint(architecture, tmp_path))
        kind = KINDS[architecture]
        spec = BackboneSpec("mine", kind, DIM, None, local, architecture=architecture, layers=layers, stacked=stacked)
        clip = heard(1.0) if kind == "acoustic" else Clip("c/a", text="well")
        (features,) = open_extractor(spec, device="cpu").encode([clip])
        assert features.shape[1] == spec.width == width

    def test_a_folder_that_is_not_the_pinned_one_is_refused(self, tmp_path: Path) -> None:
        folder = tiny_checkpoint("wavlm", tmp_path)
        local = LocalCheckpoint(folder, (("model.safetensors", "ab" * 32),))
        spec = BackboneSpec("mine", "acoustic", DIM, 50.0, local, architecture="wavlm")
        with pytest.raises(WeightsError, match=r"model\.safetensors has SHA-256 \w{64}, not the pinned abab"):
            open_extractor(spec)


def test_prosody_is_extracted_at_50_hz() -> None:
    (features,) = open_extractor("prosody").encode([heard(1.0)])
    assert features.shape == (50, BACKBONES["prosody"].dim)


def test_a_backbone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(FeatureError, match="no backbone 'wavlm'"):
        open_extractor("wavlm")


@pytest.mark.weights
def test_the_real_speech_encoder_gives_the_same_features_alone_and_in_a_batch() -> None:
    speech = open_extractor("whisper-base", threads=1)
    alone = speech.encode([heard(1.0)])[0]
    assert alone.shape == (50, BACKBONES["whisper-base"].dim)
    together = speech.encode([heard(2.0), heard(1.0)])[1]
    np.testing.assert_allclose(together, alone, atol=1e-3)


@pytest.mark.weights
def test_the_real_text_encoder_gives_the_same_features_alone_and_in_a_batch() -> None:
    text = open_extractor("minilm-l6")
    assert isinstance(text, TextFeatures)
    alone = text.encode([Clip("c/a", text="what a lovely day")])[0]
    assert alone.shape == (4, BACKBONES["minilm-l6"].dim)
    together = text.encode(
        [Clip("c/b", text="no, nobody ever asked me about it"), Clip("c/a", text="what a lovely day")]
    )
    np.testing.assert_allclose(together[1], alone, atol=1e-4)


def _as_whisper(encoder: RecordingEncoder) -> WhisperEncoder:
    return encoder  # type: ignore[return-value]
