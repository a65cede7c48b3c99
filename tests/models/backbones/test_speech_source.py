"""Where a bundle's speech encoders are found, and what stays outside an engine."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch

from models.audio_batches import MelBatch, pad_audio
from models.backbones.speech_source import SpeechSource, speech_sources
from models.errors import FeatureError, WeightsError
from models.graphs.speech import SpeechGraph
from models.graphs.whisper import WhisperGraph
from models.speaker import SpeakerPrior, SpeakerStandardisation
from models.windows import FINAL_WINDOWS, WindowPolicy
from tests.fakes.bundles import hearing_bundle, own_checkpoint, tiny_bundle
from tests.fakes.checkpoints import DIM, MEL_BANDS, as_older_format, tiny_checkpoint

if TYPE_CHECKING:
    from models.engines.base import Engine

BACKBONE_OF = {"wavlm": "wavlm-large", "hubert": "hubert-large", "whisper": "whisper-large-v3"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("speech")
    return {kind: tiny_checkpoint(kind, root / kind) for kind in (*BACKBONE_OF, "clap")}


def source(folder: Path, architecture: str, layers: int = 1) -> SpeechSource:
    return SpeechSource(folder, architecture, layers, False, {})


class TestASource:
    """One encoder, read in three ways."""

    def test_it_knows_what_can_stand_inside(self, folders: dict[str, Path]) -> None:
        assert [source(folders[kind], kind).fault() for kind in BACKBONE_OF] == [None] * 3
        assert source(folders["clap"], "clap").fault() == "clap is not written as a graph"
        relative = SpeechSource(folders["hubert"], "hubert", 1, False, {}, relative=True)
        assert "relative to the speaker" in str(relative.fault())

    def test_it_says_what_is_wrong_with_a_checkpoint_that_cannot(
        self, folders: dict[str, Path], tmp_path: Path
    ) -> None:
        older = as_older_format(tiny_checkpoint("hubert", tmp_path / "older"))
        assert "holds no model.safetensors" in str(source(older, "hubert").fault())
        base = tiny_checkpoint("wav2vec2", tmp_path / "base", feat_extract_norm="group", do_stable_layer_norm=False)
        assert "feat_extract_norm" in str(source(base, "wav2vec2").fault())
        assert "5 hidden layers, 6 are to be read" in str(source(folders["wavlm"], "wavlm", 6).fault())
        assert "5 hidden layers, 6 are to be read" in str(source(folders["whisper"], "whisper", 6).fault())
        other = tiny_checkpoint("whisper", tmp_path / "other")
        described = json.loads((other / "preprocessor_config.json").read_text())
        (other / "preprocessor_config.json").write_text(json.dumps({**described, "hop_length": 200}))
        assert "hop_length" in str(source(other, "whisper").fault())
        with pytest.raises(WeightsError, match="hop_length"):
            source(other, "whisper").ear(FINAL_WINDOWS)

    def test_whisper_has_places_for_so_long_a_window(self, folders: dict[str, Path]) -> None:
        assert source(folders["whisper"], "whisper").places_s() == 30.0
        assert source(folders["hubert"], "hubert").places_s() is None

    def test_it_is_read_as_a_graph(self, folders: dict[str, Path]) -> None:
        assert isinstance(source(folders["wavlm"], "wavlm", 4).graph(), SpeechGraph)
        assert isinstance(source(folders["whisper"], "whisper").graph(), WhisperGraph)

    def test_what_hears_the_waveform_is_given_it(self, folders: dict[str, Path]) -> None:
        audio = pad_audio([np.ones(500, dtype=np.float32)])
        assert source(folders["hubert"], "hubert").ear(FINAL_WINDOWS)(audio) is audio

    def test_whisper_is_given_spectrograms_in_one_window(self, folders: dict[str, Path]) -> None:
        ear = source(folders["whisper"], "whisper").ear(WindowPolicy((1.0, 2.0), 0.5))
        clips = [np.ones(n, dtype=np.float32) for n in (8_000, 8_001)]
        batch = ear(pad_audio([clips[0], None]))
        assert isinstance(batch, MelBatch)
        assert (batch.mel.shape, batch.lengths.tolist()) == ((2, MEL_BANDS, 100), [8_000, 0])
        assert ear(pad_audio(clips)).sequence.shape == (2, MEL_BANDS, 200)
        assert ear(pad_audio([None])).sequence.shape == (1, MEL_BANDS, 2)

    def test_the_window_may_be_another_than_the_clips_need(self, folders: dict[str, Path]) -> None:
        ear = source(folders["whisper"], "whisper").ear(FINAL_WINDOWS)
        audio = pad_audio([np.ones(8_000, dtype=np.float32)])
        assert ear(audio, 6.0).sequence.shape == (1, MEL_BANDS, 600)
        with pytest.raises(FeatureError, match=r"8000 samples do not fit a window of 0\.4 s"):
            ear(audio, 0.4)

    def test_a_clip_that_fits_no_window_is_refused(self, folders: dict[str, Path], tmp_path: Path) -> None:
        long = pad_audio([np.ones(40_000, dtype=np.float32)])
        with pytest.raises(FeatureError, match="does not fit a window of 2 s"):
            source(folders["whisper"], "whisper").ear(WindowPolicy((1.0, 2.0), 0.5))(long)
        short_sighted = tiny_checkpoint("whisper", tmp_path / "short", max_source_positions=100)
        with pytest.raises(FeatureError, match="a window of 3 s does not fit an encoder with positions for 2 s"):
            source(short_sighted, "whisper").ear(WindowPolicy((3.0,), 0.0))(long)


class TestBesideAnEngine:
    """Outside it, in PyTorch."""

    @pytest.fixture
    def devices(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Asked for; each turns out to be the CPU, on which reduced precision is that of a GPU."""
        asked: list[str] = []

        def chosen(device: str) -> torch.device:
            asked.append(device)
            return torch.device("cpu")

        monkeypatch.setattr("models.backbones.speech.choose_device", chosen)
        monkeypatch.setattr("models.backbones.speech.precision_on", lambda _device: torch.bfloat16)
        return asked

    def test_it_is_computed_where_the_engine_is(
        self, folders: dict[str, Path], devices: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        hubert = source(folders["hubert"], "hubert")
        with caplog.at_level(logging.INFO):
            for name in ("tensorrt", "cuda", "onnx", "torch"):
                hubert.encoder(FINAL_WINDOWS, beside=cast("Engine", SimpleNamespace(name=name)))
        hubert.encoder(FINAL_WINDOWS)
        assert devices == ["auto", "auto", "cpu", "cpu", "cpu"]
        assert caplog.text.count("is computed beside the engine, on cpu") == 4

    @pytest.mark.usefixtures("devices")
    def test_it_is_as_exact_as_the_engine(self, folders: dict[str, Path]) -> None:
        clip = np.random.default_rng(0).normal(size=4_000).astype(np.float32)
        wavlm, engine = source(folders["wavlm"], "wavlm"), cast("Engine", SimpleNamespace(name="tensorrt"))
        (alone,) = wavlm.encoder(FINAL_WINDOWS).encode([clip])
        (single,) = wavlm.encoder(FINAL_WINDOWS, beside=engine).encode([clip])
        (reduced,) = wavlm.encoder(FINAL_WINDOWS, beside=engine, precision="fp16").encode([clip])
        np.testing.assert_array_equal(single, alone)
        assert 1e-5 < np.abs(reduced - alone).max() < 0.1 * np.abs(alone).max()


class TestSourcesOfABundle:
    """Found where weights lie; what is not found is named, and what cannot stand inside an engine."""

    def test_weights_of_the_registry_are_found_in_the_cache(
        self, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at = {BACKBONE_OF[kind]: folders[kind] for kind in BACKBONE_OF}
        monkeypatch.setattr("models.backbones.bundle_backbones.backbone_folder", lambda spec, *_, **__: at[spec.name])
        bundle = hearing_bundle(tmp_path / "bundle", stacked={"hubert": 3}, backbones={"hubert-large": {"layers": 3}})
        found = speech_sources(bundle)
        assert {name: (s.folder, s.architecture, s.layers, s.stacked) for name, s in found.items()} == {
            "wavlm": (folders["wavlm"], "wavlm", 4, False),
            "hubert": (folders["hubert"], "hubert", 3, True),
            "whisper": (folders["whisper"], "whisper", 1, False),
        }

    def test_checkpoints_of_its_own_are_found_where_they_lay(self, folders: dict[str, Path], tmp_path: Path) -> None:
        backbones = {BACKBONE_OF[kind]: own_checkpoint(folders[kind], kind) for kind in BACKBONE_OF}
        found = speech_sources(hearing_bundle(tmp_path / "bundle", backbones=backbones))
        assert {name: (s.folder, s.layers) for name, s in found.items()} == {
            kind: (folders[kind], 2) for kind in BACKBONE_OF
        }
        assert found["hubert"].hashes.keys() == {"config.json", "preprocessor_config.json", "model.safetensors"}

    def test_what_is_missing_or_changed_is_named_and_left_out(
        self, folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        changed = own_checkpoint(folders["wavlm"], "wavlm")
        changed["files"] = {**changed["files"], "model.safetensors": "0" * 64}
        gone = {**own_checkpoint(folders["hubert"], "hubert"), "source": f"folder {tmp_path / 'gone'}"}
        elsewhere = {"architecture": "whisper", "source": "somewhere"}
        backbones = {"wavlm-large": changed, "hubert-large": gone, "whisper-large-v3": elsewhere}
        bundle = hearing_bundle(tmp_path / "bundle", backbones=backbones)
        with caplog.at_level(logging.WARNING):
            assert speech_sources(bundle) == {}
        assert "wavlm (wavlm-large) stays outside the engine" in caplog.text
        assert f"not the pinned {'0' * 64}" in caplog.text
        assert (
            f"hubert (hubert-large) stays outside the engine: bundle tiny reads hubert-large from {gone['source']}"
            in caplog.text
        )
        assert (
            "whisper-large-v3: a source is a folder or a repository of the hub at a commit, not 'somewhere'"
            in caplog.text
        )
        with pytest.raises(WeightsError, match=rf"there is no folder {tmp_path / 'gone'} on this machine; bring"):
            speech_sources(
                hearing_bundle(
                    tmp_path / "other",
                    backbones={"wavlm-large": own_checkpoint(folders["wavlm"], "wavlm"), "hubert-large": gone},
                ),
                required=True,
            )

    def test_weights_that_cannot_be_had_leave_the_encoder_outside(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def nowhere(*_: object, **__: object) -> Path:
            raise WeightsError("hubert-large: no source gives it")

        monkeypatch.setattr("models.backbones.bundle_backbones.backbone_folder", nowhere)
        with caplog.at_level(logging.WARNING):
            assert speech_sources(hearing_bundle(tmp_path / "bundle")) == {}
        assert "hubert (hubert-large) stays outside the engine: bundle tiny reads hubert-large" in caplog.text
        assert "which is not at hand: hubert-large: no source gives it" in caplog.text

    def test_what_is_relative_to_the_speaker_and_what_is_not_written_is_found_and_named(
        self, folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        backbones = {
            "wavlm-large": own_checkpoint(folders["wavlm"], "wavlm"),
            "hubert-large": own_checkpoint(folders["hubert"], "hubert"),
            "whisper-large-v3": own_checkpoint(folders["clap"], "clap"),
        }
        relative = SpeakerStandardisation({"hubert": SpeakerPrior(np.zeros(DIM), np.ones(DIM), 10.0, 100.0)})
        bundle = hearing_bundle(tmp_path / "bundle", backbones=backbones, speaker=relative)
        with caplog.at_level(logging.WARNING):
            found = speech_sources(bundle)
        assert {name for name, one in found.items() if one.fault() is None} == {"wavlm"}
        assert found.keys() == {"wavlm", "hubert", "whisper"}
        assert "hubert (hubert-large) stays outside the engine: its features are brought relative" in caplog.text
        assert "clap is not written as a graph" in caplog.text

    def test_of_prosody_and_a_converted_whisper_nothing_is_said(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            assert speech_sources(tiny_bundle(tmp_path / "bundle")) == {}
        assert caplog.text == ""
