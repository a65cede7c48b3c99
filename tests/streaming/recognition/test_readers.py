"""Bundles over speech encoders of checkpoints: the same scores whether encoders stand inside the engine or outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.backbones.speech_source import SpeechSource, speech_sources
from models.backbones.text_source import TextSource, text_sources
from models.bundle import Bundle
from models.compile import Order, write_graph
from models.engines.base import Engine
from models.engines.onnx import OnnxEngine
from models.engines.torch import TorchEngine
from models.modalities import EngineInputs
from models.speaker import Moments, SpeakerPrior, SpeakerStandardisation
from streaming.recognition.readers import Readers
from streaming.recognition.recognizer import SpeechEmotionRecognizer
from streaming.recognition.request import RecognitionRequest, RecognitionResult, RequestKind, Transcript
from tests.fakes.bundles import hearing_bundle, own_checkpoint
from tests.fakes.checkpoints import DIM, stirred, tiny_checkpoint

TOLERANCE = 1e-4
ARCHITECTURES = {"wavlm-large": "wavlm", "hubert-large": "hubert", "whisper-large-v3": "whisper"}
FINAL, SPECULATIVE, INTERIM = RequestKind


@dataclass(frozen=True)
class Hearing:
    """A bundle over own checkpoints, and where they are."""

    bundle: Bundle
    speech: dict[str, SpeechSource]
    text: dict[str, TextSource]

    def onnx(self) -> Engine:
        graph = write_graph(Order(self.bundle, text=self.text, speech=self.speech))
        return OnnxEngine(graph.serialise(), self.bundle.modalities, threads=1)

    def recognizer(self, engine: Engine) -> SpeechEmotionRecognizer:
        """With a transcriber that says what the request's session is called."""
        hears = engine.reads_audio | engine.reads_mel.keys()
        windows = self.bundle.final_windows
        unused: Any = None
        readers = Readers(
            layers={},
            prosody=unused,
            text_encoders={n: one.encoder() for n, one in self.text.items() if n not in engine.reads_tokens},
            tokens={n: one.tokens() for n, one in self.text.items() if n in engine.reads_tokens},
            speech_encoders={n: one.encoder(windows) for n, one in self.speech.items() if n not in hears},
            ears={n: one.ear(windows) for n, one in self.speech.items() if n in hears},
        )
        stand_in: Any = Listener()
        return SpeechEmotionRecognizer(
            self.bundle, engine, encoder=stand_in, transcriber=stand_in, readers=readers, abstain=False
        )


class Listener:
    """Stands in for the encoder that transcribes, which these members do not read, and for the transcriber."""

    def encode(self, segments: list[NDArray[np.float32]], window_s: float) -> Any:
        return SimpleNamespace(frames={}, samples=tuple(map(len, segments)), window_s=window_s)

    def transcribe(self, requests: list[RecognitionRequest], _encoded: Any) -> list[Transcript]:
        return [Transcript(one.session, (), one.language or "en", 0.9, -0.2, 0.01) for one in requests]

    def heard_nothing(self, _transcript: Transcript) -> bool:
        return False


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Hearing]:
    """Makes bundles over the same checkpoints."""
    root = tmp_path_factory.mktemp("live")
    folders = {kind: stirred(tiny_checkpoint(kind, root / kind)) for kind in ARCHITECTURES.values()}
    folders["clap"] = tiny_checkpoint("clap", root / "clap", patch_embeds_hidden_size=DIM // 8, hidden_size=DIM)
    text = own_checkpoint(stirred(tiny_checkpoint("roberta", root / "text")), "roberta")

    def made(
        name: str, speaker: SpeakerStandardisation | None = None, others: Mapping[str, str] = MappingProxyType({})
    ) -> Hearing:
        kinds = {**ARCHITECTURES, **others}
        stated = {
            name: own_checkpoint(folders[kind], kind, layers=1 if kind == "clap" else 2) for name, kind in kinds.items()
        }
        bundle = hearing_bundle(root / "bundles" / name, backbones={**stated, "roberta-large": text}, speaker=speaker)
        return Hearing(bundle, speech_sources(bundle, required=True), text_sources(bundle))

    return made


@pytest.fixture(scope="module")
def hearing(own: Callable[..., Hearing]) -> Hearing:
    return own("plain")


@pytest.fixture(scope="module")
def inside(hearing: Hearing) -> SpeechEmotionRecognizer:
    return hearing.recognizer(hearing.onnx())


@pytest.fixture(scope="module")
def outside(hearing: Hearing) -> SpeechEmotionRecognizer:
    return hearing.recognizer(TorchEngine(hearing.bundle))


def ask(number: int, samples: int, words: str, kind: RequestKind = FINAL, **fields: Any) -> RecognitionRequest:
    audio = np.random.default_rng(number).normal(0.05, 0.1, size=samples).astype(np.float32)
    return RecognitionRequest(number, words, 0, number, kind, audio, 0.0, **fields)


def scores(results: list[RecognitionResult]) -> NDArray[np.float32]:
    return np.stack([one.emotion.probabilities for one in results if one.emotion is not None])


BATCH = [
    ask(1, 27_001, "well then"),
    ask(2, 9_123, ""),
    ask(3, 16_000, "nun gut", language="de"),
    # A final of this length would be read in a window of 12 s, and those above are read in 10 s as it is.
    ask(4, 142_000, "no", INTERIM),
    ask(5, 399, "yes"),
]


def test_encoders_inside_the_engine_and_outside_give_the_same_scores(
    inside: SpeechEmotionRecognizer, outside: SpeechEmotionRecognizer
) -> None:
    found, wanted = inside.recognize(BATCH), outside.recognize(BATCH)

    np.testing.assert_allclose(scores(found), scores(wanted), atol=TOLERANCE)
    assert scores(wanted).std(axis=0).max() > 10 * TOLERANCE


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_request_scores_the_same_alone_and_in_any_batch_of_its_bucket(
    where: str, request: pytest.FixtureRequest
) -> None:
    recognizer: SpeechEmotionRecognizer = request.getfixturevalue(where)
    assert {recognizer.window_s(one) for one in BATCH} == {10.0}

    together = recognizer.recognize(BATCH)
    backwards = recognizer.recognize(BATCH[::-1])[::-1]
    alone = [recognizer.recognize([one])[0] for one in BATCH]

    np.testing.assert_allclose(scores(backwards), scores(together), atol=TOLERANCE)
    np.testing.assert_allclose(scores(alone), scores(together), atol=TOLERANCE)


def test_an_interim_is_heard_in_its_own_window(inside: SpeechEmotionRecognizer) -> None:
    final = ask(1, 27_001, "well then")
    interim = replace(final, kind=INTERIM)
    assert (inside.window_s(final), inside.window_s(interim)) == (10.0, 6.0)

    as_final, as_interim = (scores(inside.recognize([one])) for one in (final, interim))

    assert np.abs(as_final - as_interim).max() > TOLERANCE


def test_words_and_voice_have_a_say(inside: SpeechEmotionRecognizer) -> None:
    said = ask(1, 27_001, "well then")
    others = [replace(said, session=""), replace(said, samples=said.samples[::-1].copy())]

    found = scores(inside.recognize([said, *others]))

    assert (np.abs(found[1:] - found[0]).max(axis=1) > 10 * TOLERANCE).all()


def test_rows_that_are_not_scored_are_left_out_of_what_is_heard(inside: SpeechEmotionRecognizer) -> None:
    batch = [BATCH[1], replace(BATCH[0], score_emotion=False), BATCH[2]]

    first, second, third = inside.recognize(batch)

    assert second.emotion is None
    np.testing.assert_allclose(scores([first, third]), scores(inside.recognize([BATCH[1], BATCH[2]])), atol=TOLERANCE)


def test_warming_up_reads_every_encoder_in_the_shortest_window_of_each_kind(
    hearing: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = hearing.onnx()
    asked: list[EngineInputs] = []
    answer = engine.run
    monkeypatch.setattr(engine, "run", lambda inputs: asked.append(inputs) or answer(inputs))

    hearing.recognizer(engine).warm_up()

    assert [inputs["whisper"].sequence.shape[2] for inputs in asked] == [600, 1000]
    assert all((batch.lengths > 0).all() for inputs in asked for batch in inputs.values())


class TestWhatStaysOutside:
    """Beside encoders inside the engine others are computed outside."""

    def test_a_modality_relative_to_the_speaker_is_standardised_to_what_was_heard(
        self, own: Callable[..., Hearing]
    ) -> None:
        prior = SpeakerPrior(np.full(DIM, 0.1), np.full(DIM, 2.0), 10.0, 100.0)
        relative = own("relative", SpeakerStandardisation({"hubert": prior}))
        engine = relative.onnx()
        assert (engine.reads_audio, engine.reads_mel.keys()) == ({"wavlm"}, {"whisper"})
        mixed, outside = (relative.recognizer(one) for one in (engine, TorchEngine(relative.bundle)))
        heard = {"hubert": Moments.of(np.ones((90, DIM), np.float32))}
        known = replace(BATCH[0], heard=heard)

        found, wanted = mixed.recognize([BATCH[0], known]), outside.recognize([BATCH[0], known])

        np.testing.assert_allclose(scores(found), scores(wanted), atol=TOLERANCE)
        assert np.abs(scores(found)[0] - scores(found)[1]).max() > 10 * TOLERANCE
        assert found[0].moments.keys() == {"hubert"}
        assert found[0].moments["hubert"].frames == 84

    def test_what_is_not_written_as_a_graph_is_read_through_transformers(self, own: Callable[..., Hearing]) -> None:
        bundle = own("clap", others={"whisper-large-v3": "clap"})
        engine = bundle.onnx()
        assert (engine.reads_audio, engine.reads_mel) == ({"wavlm", "hubert"}, {})
        mixed, outside = (bundle.recognizer(one) for one in (engine, TorchEngine(bundle.bundle)))

        found, wanted = mixed.recognize(BATCH), outside.recognize(BATCH)

        np.testing.assert_allclose(scores(found), scores(wanted), atol=TOLERANCE)
