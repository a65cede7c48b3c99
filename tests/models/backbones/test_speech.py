"""Speech encoders on tiny checkpoints in the hub's own format: what they give, and that padding is never heard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor, AutoModel, ClapModel, WhisperModel

from models.backbones.speech import LONGEST_CLIP_S, SpeechEncoder
from models.errors import FeatureError, WeightsError
from models.windows import WindowPolicy
from tests.fakes.checkpoints import DIM, LAYERS, as_older_format, tiny_checkpoint

RATE_HZ = 16_000
WAVEFORM = ("wavlm", "hubert", "wav2vec2")
EVERY = (*WAVEFORM, "whisper", "clap")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of every architecture."""
    root = tmp_path_factory.mktemp("speech")
    return {architecture: tiny_checkpoint(architecture, root / architecture) for architecture in EVERY}


def clip(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    samples = np.random.default_rng(seed).normal(scale=0.1, size=round(seconds * RATE_HZ))
    return samples.astype(np.float32)


def encoder(folders: dict[str, Path], architecture: str, **options: object) -> SpeechEncoder:
    return SpeechEncoder(folders[architecture], architecture, device="cpu", **options)  # type: ignore[arg-type]


class TestFrames:
    @pytest.mark.parametrize("architecture", WAVEFORM)
    @pytest.mark.parametrize(("samples", "frames"), [(400, 1), (719, 1), (720, 2), (16_000, 49)])
    def test_a_waveform_gives_a_frame_for_every_25_ms_that_20_ms_apart_fit_into_it(
        self, folders: dict[str, Path], architecture: str, samples: int, frames: int
    ) -> None:
        (features,) = encoder(folders, architecture).encode([clip(samples / RATE_HZ)])
        assert features.shape == (frames, DIM)
        assert features.dtype == np.float32

    @pytest.mark.parametrize(("samples", "frames"), [(1, 1), (320, 1), (321, 2), (16_000, 50)])
    def test_whisper_gives_a_frame_for_every_20_ms_begun(
        self, folders: dict[str, Path], samples: int, frames: int
    ) -> None:
        (features,) = encoder(folders, "whisper").encode([clip(samples / RATE_HZ)])
        assert features.shape == (frames, DIM)

    @pytest.mark.parametrize(("seconds", "frames"), [(0.2, 1), (1.0, 4), (10.0, 32), (10.5, 34)])
    def test_clap_gives_32_frames_for_10_s_and_the_rest_its_share(
        self, folders: dict[str, Path], seconds: float, frames: int
    ) -> None:
        (features,) = encoder(folders, "clap").encode([clip(seconds)])
        assert features.shape == (frames, 2 * DIM)

    def test_nothing_gives_nothing(self, folders: dict[str, Path]) -> None:
        assert encoder(folders, "wavlm").encode([]) == []


class TestBatches:
    @pytest.mark.parametrize("architecture", EVERY)
    def test_a_clip_gives_the_same_alone_and_in_any_batch(self, folders: dict[str, Path], architecture: str) -> None:
        speech = encoder(folders, architecture, layers=1 if architecture == "clap" else 4)
        clips = [clip(1.0), clip(0.31, seed=1), clip(2.4, seed=2)]
        together = speech.encode(clips)
        for samples, found in zip(clips, together, strict=True):
            np.testing.assert_allclose(found, speech.encode([samples])[0], atol=1e-4)

    def test_a_front_end_that_normalises_over_the_clip_hears_no_padding(self, tmp_path: Path) -> None:
        folder = tiny_checkpoint("wav2vec2", tmp_path, feat_extract_norm="group", do_stable_layer_norm=False)
        speech = SpeechEncoder(folder, "wav2vec2", layers=4, device="cpu")
        short, long = clip(0.5), clip(2.0, seed=1)
        assert not speech.batches
        np.testing.assert_array_equal(speech.encode([short, long])[0], speech.encode([short])[0])

    @pytest.mark.parametrize("architecture", ["wavlm", "whisper"])
    def test_gain_is_normalised_clip_by_clip_as_the_preprocessor_says(
        self, folders: dict[str, Path], tmp_path: Path, architecture: str
    ) -> None:
        loud = clip(0.5)
        speech = encoder(folders, architecture)
        normalised = np.abs(speech.encode([loud])[0] - speech.encode([loud / 8])[0]).max() < 1e-3
        assert normalised == (architecture == "wavlm")

    @pytest.mark.parametrize(
        ("architecture", "seconds", "expected"),
        [
            ("wavlm", 0.5, 1.0),
            ("wavlm", 1.5, 2.0),
            ("whisper", 1.0, 10.0),
            ("whisper", 9.0, 12.0),
            ("clap", 10.1, 20.0),
        ],
    )
    def test_what_a_clip_takes_in_a_batch_is_told_in_seconds(
        self, folders: dict[str, Path], architecture: str, seconds: float, expected: float
    ) -> None:
        assert encoder(folders, architecture).padded_s(round(seconds * RATE_HZ)) == expected


class TestAgainstTransformers:
    @pytest.mark.parametrize("architecture", WAVEFORM)
    def test_the_last_four_layers_of_a_waveform_model_are_summed(
        self, folders: dict[str, Path], architecture: str
    ) -> None:
        samples = clip(0.7)
        prepared = AutoFeatureExtractor.from_pretrained(folders[architecture])(
            samples, sampling_rate=RATE_HZ, return_tensors="pt"
        )
        model = AutoModel.from_pretrained(folders[architecture]).eval()
        with torch.inference_mode():
            hidden = model(prepared["input_values"], output_hidden_states=True).hidden_states
        expected = torch.stack(hidden[-4:]).sum(dim=0)[0].numpy()
        (found,) = encoder(folders, architecture, layers=4).encode([samples])
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_whisper_in_a_window_of_30_s_is_transformers_own(self, folders: dict[str, Path]) -> None:
        samples = clip(1.3)
        mel = AutoFeatureExtractor.from_pretrained(folders["whisper"])(
            samples, sampling_rate=RATE_HZ, return_tensors="pt"
        )["input_features"]
        model = WhisperModel.from_pretrained(folders["whisper"]).eval().encoder
        with torch.inference_mode():
            output = model(mel, output_hidden_states=True)
        windows = WindowPolicy(buckets_s=(30.0,), tail_s=0.0)
        (last,) = encoder(folders, "whisper", windows=windows).encode([samples])
        np.testing.assert_allclose(last, output.last_hidden_state[0, :65].numpy(), atol=1e-4)
        (summed,) = encoder(folders, "whisper", windows=windows, layers=3).encode([samples])
        expected = torch.stack(output.hidden_states[-3:]).sum(dim=0)[0, :65].numpy()
        np.testing.assert_allclose(summed, expected, atol=1e-4)

    def test_whisper_reads_a_shorter_window_from_the_start_of_its_positions(self, folders: dict[str, Path]) -> None:
        samples = clip(1.0)
        short, long = (
            encoder(folders, "whisper", windows=WindowPolicy((window_s,), 0.0)).encode([samples])[0]
            for window_s in (2.0, 30.0)
        )
        assert short.shape == long.shape
        assert 0 < np.abs(short - long).mean() < np.abs(long).mean()

    def test_whisper_reads_the_window_it_is_told_where_a_clip_needs_another(self, folders: dict[str, Path]) -> None:
        samples = clip(1.0)
        told = encoder(folders, "whisper", windows=WindowPolicy((2.0, 4.0), 0.5))
        (needed,) = encoder(folders, "whisper", windows=WindowPolicy((4.0,), 0.0)).encode([samples])
        np.testing.assert_array_equal(told.encode([samples], 4.0)[0], needed)
        assert np.abs(told.encode([samples])[0] - needed).max() > 1e-4

    def test_clap_is_transformers_own_with_frequencies_averaged(self, folders: dict[str, Path]) -> None:
        import soxr

        samples = clip(10.0)
        prepared = AutoFeatureExtractor.from_pretrained(folders["clap"])(
            soxr.resample(samples, RATE_HZ, 48_000), sampling_rate=48_000, return_tensors="pt"
        )
        model = ClapModel.from_pretrained(folders["clap"]).eval().audio_model
        with torch.inference_mode():
            state = model(
                input_features=prepared["input_features"].float(), is_longer=torch.zeros(1, 1)
            ).last_hidden_state
        (found,) = encoder(folders, "clap").encode([samples])
        np.testing.assert_allclose(found, state[0].mean(dim=1).T.numpy(), atol=1e-4)

    @pytest.mark.parametrize("architecture", ["wavlm", "whisper"])
    def test_stacked_layers_stand_side_by_side_the_earliest_first(
        self, folders: dict[str, Path], architecture: str
    ) -> None:
        samples = clip(0.4)
        (stacked,) = encoder(folders, architecture, layers=3, stacked=True).encode([samples])
        (last,) = encoder(folders, architecture, layers=1).encode([samples])
        (summed,) = encoder(folders, architecture, layers=3).encode([samples])
        assert stacked.shape == (last.shape[0], 3 * DIM)
        np.testing.assert_allclose(stacked[:, -DIM:], last, atol=1e-5)
        np.testing.assert_allclose(stacked.reshape(-1, 3, DIM).sum(axis=1), summed, atol=1e-5)


@pytest.mark.parametrize("architecture", EVERY)
def test_in_bfloat16_features_stay_near_and_come_in_single_precision(
    folders: dict[str, Path], architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = clip(0.6)
    (single,) = encoder(folders, architecture).encode([samples])
    monkeypatch.setattr("models.backbones.speech.precision_on", lambda _device: torch.bfloat16)
    (half,) = encoder(folders, architecture).encode([samples])
    assert half.dtype == np.float32
    assert 0 < np.linalg.norm(half - single) < 0.05 * np.linalg.norm(single)


class TestRefusals:
    @pytest.mark.parametrize(
        ("samples", "message"),
        [
            (np.zeros(0, np.float32), "non-empty row"),
            (np.zeros((2, 800), np.float32), "non-empty row"),
            (np.full(800, np.nan, np.float32), "not finite"),
            (np.zeros(399, np.float32), "399 samples is too short"),
            (np.zeros(round((LONGEST_CLIP_S + 1) * RATE_HZ), np.float32), r"61\.0 s is longer than 60 s"),
        ],
    )
    def test_audio_that_gives_no_frame_is_refused(
        self, folders: dict[str, Path], samples: NDArray[np.float32], message: str
    ) -> None:
        with pytest.raises(FeatureError, match=message):
            encoder(folders, "wavlm").encode([samples])

    @pytest.mark.parametrize(("architecture", "least"), [*[(kind, 400) for kind in WAVEFORM], ("whisper", 1)])
    def test_how_much_it_needs_for_a_frame_is_known(
        self, folders: dict[str, Path], architecture: str, least: int
    ) -> None:
        speech = encoder(folders, architecture)
        assert speech.least_samples == least
        assert len(speech.encode([clip(least / RATE_HZ)])[0]) == 1

    def test_a_clip_longer_than_the_window_it_is_to_be_read_in_is_refused(self, folders: dict[str, Path]) -> None:
        with pytest.raises(FeatureError, match=r"16000 samples do not fit a window of 0\.5 s"):
            encoder(folders, "whisper").encode([clip(1.0)], 0.5)

    def test_a_clip_longer_than_the_longest_window_is_refused(self, folders: dict[str, Path]) -> None:
        with pytest.raises(FeatureError, match=r"31\.0 s does not fit a window of 30 s"):
            encoder(folders, "whisper").encode([clip(31.0)])

    def test_a_window_longer_than_the_encoders_positions_is_refused(self, tmp_path: Path) -> None:
        folder = tiny_checkpoint("whisper", tmp_path, max_source_positions=100)
        with pytest.raises(FeatureError, match="window of 10 s does not fit an encoder with positions for 2 s"):
            SpeechEncoder(folder, "whisper", device="cpu").encode([clip(1.0)])

    def test_another_architecture_is_refused(self, folders: dict[str, Path]) -> None:
        with pytest.raises(WeightsError, match="holds a model of type 'hubert', expected wavlm"):
            SpeechEncoder(folders["hubert"], "wavlm", device="cpu")

    def test_more_layers_than_there_are_are_refused(self, folders: dict[str, Path]) -> None:
        with pytest.raises(WeightsError, match=f"{LAYERS} hidden layers that can be read, 6 are asked for"):
            encoder(folders, "wavlm", layers=6)

    def test_an_architecture_that_hears_nothing_is_refused(self, folders: dict[str, Path]) -> None:
        with pytest.raises(FeatureError, match="no speech encoder of architecture 'roberta'"):
            SpeechEncoder(folders["wavlm"], "roberta", device="cpu")

    def test_a_device_that_is_not_there_is_refused(self, folders: dict[str, Path]) -> None:
        with pytest.raises(FeatureError, match="no device 'gpu'"):
            SpeechEncoder(folders["wavlm"], "wavlm", device="gpu")

    @pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
    def test_a_folder_that_lacks_a_file_is_refused(self, tmp_path: Path, name: str) -> None:
        folder = tiny_checkpoint("wavlm", tmp_path)
        (folder / name).unlink()
        with pytest.raises(WeightsError, match=str(folder)):
            SpeechEncoder(folder, "wavlm", device="cpu")

    def test_weights_of_half_a_model_are_refused(self, tmp_path: Path) -> None:
        folder = tiny_checkpoint("wavlm", tmp_path)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": LAYERS + 1}))
        with pytest.raises(WeightsError, match=r"weights lack encoder\.layers\.5"):
            SpeechEncoder(folder, "wavlm", device="cpu")

    def test_a_preprocessor_for_another_rate_is_refused(self, tmp_path: Path) -> None:
        folder = tiny_checkpoint("hubert", tmp_path)
        path = folder / "preprocessor_config.json"
        path.write_text(path.read_text().replace("16000", "8000"))
        with pytest.raises(WeightsError, match="made for audio at 8000 Hz"):
            SpeechEncoder(folder, "hubert", device="cpu")


def test_weights_as_the_hub_holds_older_models_give_the_same(tmp_path: Path) -> None:
    samples = clip(0.5)
    folder = tiny_checkpoint("wavlm", tmp_path)
    (newer,) = SpeechEncoder(folder, "wavlm", device="cpu").encode([samples])
    (older,) = SpeechEncoder(as_older_format(folder), "wavlm", device="cpu").encode([samples])
    np.testing.assert_array_equal(newer, older)
