"""The recogniser: which parts see what, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.backbones.prosody import ProsodyExtractor
from models.bundle import Bundle, save_bundle
from models.engines.base import NO_MEL, EngineOutput
from models.engines.torch import TorchEngine
from models.errors import FeatureError, WeightsError
from models.modalities import EngineInputs, Modality
from models.speaker import Moments, SpeakerPrior, SpeakerStandardisation
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS, encoder_frames
from streaming.config import Settings
from streaming.errors import RecognitionError
from streaming.recognition.readers import Readers
from streaming.recognition.recognizer import Recognizer, SpeechEmotionRecognizer, load_recognizer
from streaming.recognition.request import RecognitionRequest, RecognitionResult, RequestKind, Transcript
from tests.fakes.bundles import LABELS, hearing_bundle, own_checkpoint, tiny_bundle
from tests.fakes.checkpoints import tiny_checkpoint
from trainer.audio import read_clip

CLIPS = Path(__file__).parents[2] / "data" / "librispeech"
NOTHING = Transcript("", (), "en", 0.4, -2.0, 0.95)
FINAL, SPECULATIVE, INTERIM = RequestKind


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@dataclass
class FakeEncoder:
    """Features that depend on the audio alone."""

    windows_s: list[float] = field(default_factory=list)

    def encode(self, segments: Sequence[NDArray[np.float32]], window_s: float) -> Any:
        self.windows_s.append(window_s)
        frames = tuple(np.full((encoder_frames(len(one)), 512), float(one.mean()), np.float32) for one in segments)
        return SimpleNamespace(frames={None: frames, 3: frames}, samples=tuple(map(len, segments)), window_s=window_s)


@dataclass
class FakeTranscriber:
    """Says what it is told, in the order of the batch; the last one for all that follow."""

    said: list[Transcript]
    kinds: list[RequestKind] = field(default_factory=list)

    def transcribe(self, requests: Sequence[RecognitionRequest], _encoded: Any) -> list[Transcript]:
        self.kinds += [request.kind for request in requests]
        return [self.said[min(place, len(self.said) - 1)] for place in range(len(requests))]

    def heard_nothing(self, transcript: Transcript) -> bool:
        return transcript.no_speech_probability > 0.9


@dataclass
class FakeTextEncoder:
    languages: frozenset[str] = frozenset({"en"})
    texts: list[str] = field(default_factory=list)

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        self.texts += texts
        return [np.ones((len(text.split()), 384), np.float32) for text in texts]


class RecordingEngine:
    """Scores by `TorchEngine`, and remembers its inputs."""

    name = "recording"
    reads_tokens: frozenset[str] = frozenset()
    reads_audio: frozenset[str] = frozenset()
    reads_mel = NO_MEL

    def __init__(self, bundle: Bundle) -> None:
        self._inner = TorchEngine(bundle)
        self.modalities: tuple[Modality, ...] = bundle.modalities
        self.inputs: list[EngineInputs] = []

    def run(self, inputs: EngineInputs) -> EngineOutput:
        self.inputs.append(inputs)
        return self._inner.run(inputs)


def readers(**own: Any) -> Readers:
    """Of what the converted Whisper gives, of prosody, and of what is named."""
    nobody: dict[str, Any] = {"text_encoders": {}, "tokens": {}, "speech_encoders": {}, "ears": {}}
    layers = {"whisper-base": None, "whisper-base-layer3": 3}
    return Readers(layers=layers, prosody=ProsodyExtractor(), **{**nobody, **own})


class Stage:
    """A recogniser whose parts are under the test's control; prosody is the real one."""

    def __init__(self, bundle: Bundle, *said: Transcript, **options: Any) -> None:
        self.encoder, self.text, self.engine = FakeEncoder(), FakeTextEncoder(), RecordingEngine(bundle)
        self.transcriber = FakeTranscriber(list(said) or [spoken()])
        self.recognizer = SpeechEmotionRecognizer(
            bundle,
            self.engine,
            encoder=self.encoder,  # type: ignore[arg-type]
            transcriber=self.transcriber,  # type: ignore[arg-type]
            readers=readers(text_encoders={"text": self.text}),
            **{"abstain": True, **options},
        )

    def lengths(self, modality: str) -> list[int]:
        (inputs,) = self.engine.inputs
        return inputs[modality].lengths.tolist()


def spoken(text: str = "well then", language: str = "en") -> Transcript:
    return Transcript(text, (), language, 0.9, -0.2, 0.01)


def ask(number: int = 1, kind: RequestKind = FINAL, seconds: float = 1.0, **fields: Any) -> RecognitionRequest:
    samples = np.random.default_rng(number).normal(scale=0.1, size=round(seconds * 16_000)).astype(np.float32)
    return RecognitionRequest(number, "a", 0, number, kind, samples, 0.0, **fields)


def test_it_is_a_recogniser_and_says_what_answers(bundle: Bundle) -> None:
    recognizer = Stage(bundle).recognizer

    assert isinstance(recognizer, Recognizer)
    assert recognizer.model.bundle == "tiny"
    assert recognizer.model.sha256 == bundle.sha256
    assert recognizer.model.labels == LABELS.names


@pytest.mark.parametrize(
    ("kind", "windows"), [(FINAL, FINAL_WINDOWS), (SPECULATIVE, FINAL_WINDOWS), (INTERIM, INTERIM_WINDOWS)]
)
@pytest.mark.parametrize("seconds", [0.3, 7.0, 14.9])
def test_a_request_is_encoded_in_the_bundles_window_for_its_kind(
    bundle: Bundle, kind: RequestKind, windows: Any, seconds: float
) -> None:
    stage = Stage(bundle)

    stage.recognizer.recognize([ask(kind=kind, seconds=seconds)])

    assert stage.encoder.windows_s == [windows.bucket_s(round(seconds * 16_000))]


def test_audio_longer_than_any_window_is_refused(bundle: Bundle) -> None:
    with pytest.raises(FeatureError, match="does not fit"):
        Stage(bundle).recognizer.window_s(ask(seconds=30.1))


def test_a_batch_of_several_buckets_is_refused(bundle: Bundle) -> None:
    with pytest.raises(RecognitionError, match="one length bucket"):
        Stage(bundle).recognizer.recognize([ask(1), ask(2, seconds=14)])


def test_an_empty_batch_has_no_answers(bundle: Bundle) -> None:
    assert Stage(bundle).recognizer.recognize([]) == []


def test_the_ensemble_reads_only_real_audio_and_the_words(bundle: Bundle) -> None:
    stage = Stage(bundle, spoken("well then"), spoken("go"))

    first, second = stage.recognizer.recognize([ask(1, seconds=1.0), ask(2, seconds=0.5)])

    assert stage.lengths("acoustic") == [25, 13]
    assert stage.lengths("prosody") == [25, 13]
    assert stage.lengths("text") == [2, 1]
    for result in (first, second):
        assert result.emotion is not None
        assert result.emotion.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert 1 <= result.emotion.attributes.arousal <= 7


@pytest.mark.parametrize("said", [spoken("na dann", "de"), spoken("")])
def test_words_the_text_encoder_cannot_read_are_left_out_and_emotion_is_still_scored(
    bundle: Bundle, said: Transcript
) -> None:
    stage = Stage(bundle, said)

    (result,) = stage.recognizer.recognize([ask()])

    assert stage.lengths("text") == [0]
    assert stage.text.texts == []
    assert result.emotion is not None


def test_each_rows_words_stay_with_it_where_others_have_none(bundle: Bundle) -> None:
    stage = Stage(bundle, spoken("eins", "de"), spoken("one two"), spoken(""), spoken("three"))

    stage.recognizer.recognize([ask(number) for number in range(4)])

    assert stage.text.texts == ["one two", "three"]
    assert stage.lengths("text") == [0, 2, 0, 1]


def test_no_emotion_is_made_up_where_nothing_is_heard(bundle: Bundle) -> None:
    stage = Stage(bundle, NOTHING)

    (result,) = stage.recognizer.recognize([ask()])

    assert (result.transcript, result.emotion, dict(result.moments)) == (NOTHING, None, {})
    assert stage.engine.inputs == []


def test_a_channel_that_is_not_scored_is_transcribed_alone(bundle: Bundle) -> None:
    stage = Stage(bundle, spoken("not scored"), spoken("scored"))

    first, second = stage.recognizer.recognize([ask(1, score_emotion=False), ask(2)])

    assert first.transcript.text == "not scored"
    assert first.emotion is None
    assert second.emotion is not None
    assert stage.text.texts == ["scored"]
    assert len(stage.engine.inputs[0]["acoustic"]) == 1


def test_every_answer_says_how_long_each_stage_of_its_batch_took(bundle: Bundle) -> None:
    ticks = iter([10.0, 10.02, 10.07, 10.08])
    stage = Stage(bundle, clock=lambda: next(ticks))

    results = stage.recognizer.recognize([ask(1), ask(2)])

    for result in results:
        assert (result.encode_ms, result.decode_ms, result.emotion_ms) == pytest.approx((20, 50, 10))


def test_answers_are_in_the_order_of_the_requests(bundle: Bundle) -> None:
    batch = [ask(number) for number in (3, 1, 2)]

    assert [result.request for result in Stage(bundle).recognizer.recognize(batch)] == batch


@pytest.mark.parametrize(
    ("abstain", "threshold", "abstained"), [(True, 1.0, True), (False, 1.0, False), (True, 0.0, False)]
)
def test_an_unsure_ensemble_abstains_where_it_may(
    bundle: Bundle, abstain: bool, threshold: float, abstained: bool
) -> None:
    calibration = bundle.manifest.calibration.model_copy(update={"abstain_below": threshold})
    strict = replace(bundle, manifest=bundle.manifest.model_copy(update={"calibration": calibration}))

    (result,) = Stage(strict, abstain=abstain).recognizer.recognize([ask()])

    assert result.emotion is not None
    assert result.emotion.abstained is abstained


def test_a_bundle_over_a_backbone_that_is_not_computed_live_is_refused(bundle: Bundle) -> None:
    with pytest.raises(RecognitionError, match="reads minilm-l6, which is not computed live"):
        SpeechEmotionRecognizer(
            bundle,
            RecordingEngine(bundle),
            encoder=FakeEncoder(),  # type: ignore[arg-type]
            transcriber=FakeTranscriber([]),  # type: ignore[arg-type]
            readers=readers(),
            abstain=True,
        )


def test_warming_up_runs_the_shortest_bucket_as_interim_and_final(bundle: Bundle) -> None:
    stage = Stage(bundle)

    stage.recognizer.warm_up()

    assert stage.encoder.windows_s == [6, 10]
    assert set(stage.transcriber.kinds) == {INTERIM, FINAL}
    assert len(stage.engine.inputs) == 2
    assert all((inputs[name].lengths > 0).all() for inputs in stage.engine.inputs for name in inputs)


def copy_of(bundle: Bundle, folder: Path, speaker: SpeakerStandardisation | None = None, **changes: Any) -> Bundle:
    """The same members under another manifest."""
    ensemble = bundle.ensemble()
    written = {"format_version", "members", "meta_file", "files", "speaker_standardisation", "speaker_file"}
    return save_bundle(
        folder,
        manifest={**bundle.manifest.model_dump(exclude=written), **changes},
        members={
            name: (member.config.to_dict(), {key: value.numpy() for key, value in member.state_dict().items()})
            for name, member in zip(ensemble.member_names, ensemble.members, strict=True)
        },
        meta={key: value.numpy() for key, value in ensemble.meta.state_dict().items()},
        model_card="# Copy\n",
        speaker=speaker,
    )


@pytest.fixture(scope="module")
def standardising(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Bundle:
    prior = SpeakerPrior(np.full(512, 2.0), np.full(512, 4.0), weight_frames=10.0, memory_frames=100.0)
    folder = tmp_path_factory.mktemp("bundles") / "speaker"
    return copy_of(bundle, folder, SpeakerStandardisation({"acoustic": prior}))


class TestSpeakers:
    """Features are standardised to what was heard of the speaker before, where the bundle says so."""

    def test_a_first_segment_is_standardised_by_the_prior(self, standardising: Bundle) -> None:
        stage = Stage(standardising)
        request = replace(ask(), samples=np.full(16_000, 0.5, np.float32))

        stage.recognizer.recognize([request])

        assert np.allclose(stage.engine.inputs[0]["acoustic"].features, (0.5 - 2.0) / 4.0)

    def test_what_was_heard_before_counts_and_company_does_not(self, standardising: Bundle) -> None:
        stage = Stage(standardising)
        heard = Moments.of(np.full((90, 512), 1.0, np.float32))
        request = replace(ask(), samples=np.full(16_000, 0.5, np.float32))

        stage.recognizer.recognize([replace(request, heard={"acoustic": heard}), request])

        first, second = stage.engine.inputs[0]["acoustic"].features
        assert np.allclose(second, (0.5 - 2.0) / 4.0)
        assert not np.allclose(first, second)

    def test_a_result_tells_what_its_audio_adds(self, standardising: Bundle) -> None:
        (result,) = Stage(standardising).recognizer.recognize([ask(seconds=1.0)])

        assert result.moments.keys() == {"acoustic"}
        assert result.moments["acoustic"].frames == 25


@pytest.fixture(scope="module")
def real(bundle: Bundle) -> SpeechEmotionRecognizer:
    settings = {"asr": {"threads": 1}, "ensemble": {"bundle": str(bundle.folder), "engine": "torch"}}
    return load_recognizer(Settings.model_validate(settings))


def heard(name: str, number: int, **fields: Any) -> RecognitionRequest:
    return RecognitionRequest(number, "a", 0, number, FINAL, read_clip(CLIPS / name), 0.0, **fields)


def scores(result: RecognitionResult) -> NDArray[np.float32]:
    assert result.emotion is not None
    return result.emotion.probabilities


@pytest.mark.weights
def test_a_segment_scores_the_same_alone_and_in_any_batch(real: SpeechEmotionRecognizer) -> None:
    names = ["1688-142285-0002.flac", "2609-156975-0001.flac", "3005-163389-0001.flac"]
    batch = [heard(name, number) for number, name in enumerate(names, start=1)]

    together = real.recognize(batch)
    backwards = real.recognize(batch[::-1])[::-1]
    alone = [real.recognize([request])[0] for request in batch]

    for other in (backwards, alone):
        assert [result.transcript for result in other] == [result.transcript for result in together]
        for one, two in zip(together, other, strict=True):
            np.testing.assert_allclose(scores(one), scores(two), atol=1e-5)


@pytest.mark.weights
def test_real_silence_has_neither_words_nor_emotion(real: SpeechEmotionRecognizer) -> None:
    silence = replace(heard("1688-142285-0002.flac", 1), samples=np.zeros(32_000, np.float32))

    (result,) = real.recognize([silence])

    assert (result.transcript.text, result.emotion) == ("", None)


@pytest.mark.weights
def test_broken_audio_is_refused_by_name(real: SpeechEmotionRecognizer) -> None:
    broken = replace(heard("1688-142285-0002.flac", 1), samples=np.full(1600, np.nan, np.float32))

    with pytest.raises(FeatureError, match="not finite"):
        real.recognize([broken])


@pytest.mark.weights
def test_a_bundle_of_another_backbone_version_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    backbones = [{**entry.model_dump(), "version": 99} for entry in bundle.manifest.backbones]
    other = copy_of(bundle, tmp_path / "other", backbones=backbones)

    with pytest.raises(RecognitionError, match="trained on version 99 of"):
        load_recognizer(Settings.model_validate({"ensemble": {"bundle": str(other.folder)}}))


def test_a_bundle_whose_checkpoint_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    gone = {"architecture": "hubert", "source": f"folder {tmp_path / 'gone'}"}
    text = own_checkpoint(tiny_checkpoint("roberta", tmp_path / "text"), "roberta")
    wavlm = own_checkpoint(tiny_checkpoint("wavlm", tmp_path / "wavlm"), "wavlm")
    backbones = {"roberta-large": text, "wavlm-large": wavlm, "hubert-large": gone}
    folder = hearing_bundle(tmp_path / "bundle", backbones=backbones).folder

    with pytest.raises(WeightsError, match=rf"reads hubert-large from {gone['source']}, which is not at hand"):
        load_recognizer(Settings.model_validate({"ensemble": {"bundle": str(folder)}}))


@pytest.mark.weights
def test_an_interim_without_words_is_scored_by_how_it_was_said_alone(real: SpeechEmotionRecognizer) -> None:
    names = ["1688-142285-0002.flac", "2609-156975-0001.flac"]
    spoken = [replace(heard(name, number), kind=RequestKind.INTERIM) for number, name in enumerate(names, start=1)]
    wordless = [replace(request, transcribe=False) for request in spoken]

    alone = real.recognize(wordless)
    beside = real.recognize([wordless[0], spoken[1]])

    assert [result.transcript.text for result in alone] == ["", ""]
    assert beside[0].transcript.text == ""
    assert beside[1].transcript.text != ""
    np.testing.assert_allclose(scores(alone[0]), scores(beside[0]), atol=1e-5)
    assert np.abs(scores(alone[1]) - scores(beside[1])).max() > 1e-3
