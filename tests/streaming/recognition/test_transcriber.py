"""What was said, with real Whisper weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.backbones.whisper import EncodedSpeech, WhisperEncoder
from models.errors import FeatureError
from models.weights import weights_folder
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS
from streaming.config import AsrSettings
from streaming.conversation import load_conversation
from streaming.recognition.request import RecognitionRequest, RequestKind, Transcript
from streaming.recognition.transcriber import SECOND_LOOK_TOKENS, Transcriber
from streaming.recognition.wording import normalise
from trainer.audio import read_clip

pytestmark = pytest.mark.weights

CLIPS = Path(__file__).parents[2] / "data" / "librispeech"
SILLY = "1688-142285-0002.flac"
PATIENCE = "2609-156975-0001.flac"
FENCE = "3005-163389-0001.flac"
START_S = 40.0


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    return WhisperEncoder(weights_folder("whisper-base"), threads=1)


@pytest.fixture(scope="module")
def transcriber(encoder: WhisperEncoder) -> Transcriber:
    return Transcriber(encoder, AsrSettings())


class CountingEncoder(WhisperEncoder):
    """Remembers the windows it was asked for."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        self.__dict__.update(encoder.__dict__)
        self.windows_s: list[float] = []

    def encode(self, segments: list[NDArray[np.float32]], window_s: float) -> EncodedSpeech:  # type: ignore[override]
        self.windows_s.append(window_s)
        return super().encode(segments, window_s)


def ask(
    clip: str | NDArray[np.float32], kind: RequestKind = RequestKind.FINAL, language: str | None = "en"
) -> RecognitionRequest:
    samples = read_clip(CLIPS / clip) if isinstance(clip, str) else clip
    return RecognitionRequest(1, "a", 0, 1, kind, samples, START_S, language)


def said(
    transcriber: Transcriber, encoder: WhisperEncoder, *requests: RecognitionRequest, window_s: float | None = None
) -> list[Transcript]:
    windows = INTERIM_WINDOWS if requests[0].kind is RequestKind.INTERIM else FINAL_WINDOWS
    chosen = window_s or max(windows.bucket_s(len(request.samples)) for request in requests)
    return transcriber.transcribe(requests, encoder.encode([request.samples for request in requests], chosen))


def plain(text: str) -> str:
    return " ".join(normalise(word) for word in text.split())


def test_words_are_found_and_follow_each_other_within_the_segment(
    transcriber: Transcriber, encoder: WhisperEncoder
) -> None:
    request = ask(SILLY)

    (found,) = said(transcriber, encoder, request)

    assert plain(found.text) == "you don't mean that you thought me so silly"
    assert " ".join(word.text for word in found.words) == found.text
    edges = [edge for word in found.words for edge in (word.start_s, word.end_s)]
    assert all(before <= after for before, after in pairwise(edges))
    assert START_S <= edges[0] <= edges[-1] <= START_S + request.duration_s
    assert all(0.3 < word.probability <= 1 for word in found.words)


def test_words_lie_where_they_are_said(transcriber: Transcriber, encoder: WhisperEncoder) -> None:
    later = np.concatenate([np.zeros(32_000, dtype=np.float32), read_clip(CLIPS / SILLY)])

    (first,) = said(transcriber, encoder, ask(SILLY))
    (second,) = said(transcriber, encoder, ask(later))

    shifts = [b.end_s - a.end_s for a, b in zip(first.words[:-1], second.words[:-1], strict=True)]
    assert np.allclose(shifts, 2.0, atol=0.15)


def test_interim_words_are_estimates_over_the_whole_audio(transcriber: Transcriber, encoder: WhisperEncoder) -> None:
    request = ask(SILLY, RequestKind.INTERIM)

    (found,) = said(transcriber, encoder, request)

    assert plain(found.text).startswith("you don't mean that")
    durations = [word.end_s - word.start_s for word in found.words]
    assert np.allclose(durations, request.duration_s / len(durations))


def test_company_in_a_batch_makes_no_difference(transcriber: Transcriber, encoder: WhisperEncoder) -> None:
    requests = [ask(SILLY), ask(PATIENCE, language=None), ask(FENCE), ask(SILLY, language="de")]

    together = said(transcriber, encoder, *requests)
    alone = [said(transcriber, encoder, request)[0] for request in requests]

    assert together == alone


def test_texts_of_other_lengths_in_a_batch_move_no_word_and_no_probability(
    transcriber: Transcriber, encoder: WhisperEncoder
) -> None:
    conversation = load_conversation()
    spans = [
        (clip.channel, round(clip.start_s * conversation.rate_hz), round(clip.end_s * conversation.rate_hz))
        for clip in conversation.clips
    ]
    clips = [conversation.samples[channel, start:end] for channel, start, end in spans]
    requests = [ask(clip) for clip in clips if FINAL_WINDOWS.bucket_s(len(clip)) == FINAL_WINDOWS.buckets_s[0]]

    together = said(transcriber, encoder, *requests)
    alone = [said(transcriber, encoder, request)[0] for request in requests]

    assert len({len(found.words) for found in alone}) > 2
    assert [found.words for found in together] == [found.words for found in alone]


def test_the_language_is_detected_where_none_is_given(transcriber: Transcriber, encoder: WhisperEncoder) -> None:
    detected, given = said(transcriber, encoder, ask(PATIENCE, language=None), ask(PATIENCE, language="nl"))

    assert (detected.language, given.language, given.language_probability) == ("en", "nl", 1.0)
    assert 0.5 < detected.language_probability <= 1


def test_a_language_whisper_does_not_know_is_refused(transcriber: Transcriber, encoder: WhisperEncoder) -> None:
    with pytest.raises(FeatureError, match="no language 'xx'"):
        said(transcriber, encoder, ask(SILLY, language="xx"))


def test_requests_and_encoded_audio_must_belong_together(transcriber: Transcriber, encoder: WhisperEncoder) -> None:
    encoded = encoder.encode([ask(SILLY).samples], 10.0)

    with pytest.raises(FeatureError, match="do not belong together"):
        transcriber.transcribe([ask(PATIENCE)], encoded)


@pytest.mark.parametrize("seconds", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("kind", [RequestKind.FINAL, RequestKind.INTERIM])
@pytest.mark.parametrize("level", [0.0, 0.001, 0.05])
def test_no_words_are_made_up_where_nobody_speaks(
    transcriber: Transcriber, encoder: WhisperEncoder, seconds: float, kind: RequestKind, level: float
) -> None:
    noise = np.random.default_rng(0).normal(scale=level, size=round(seconds * 16_000)).astype(np.float32)

    (found,) = said(transcriber, encoder, ask(noise, kind, language=None))

    assert (found.text, found.words) == ("", ())
    assert transcriber.heard_nothing(found)


def test_speech_is_heard(transcriber: Transcriber, encoder: WhisperEncoder) -> None:
    (found,) = said(transcriber, encoder, ask(SILLY))

    assert not transcriber.heard_nothing(found)


def test_thresholds_at_their_ends_let_everything_through(encoder: WhisperEncoder) -> None:
    trusting = Transcriber(encoder, AsrSettings(no_speech_threshold=1.0))

    (found,) = said(trusting, encoder, ask(np.zeros(32_000, dtype=np.float32)))

    assert found.text != ""


def test_what_a_speaker_says_twice_is_kept(transcriber: Transcriber, encoder: WhisperEncoder) -> None:
    (found,) = said(transcriber, encoder, ask(FENCE))

    assert plain(found.text).count("tear down the fence") == 2


def test_a_doubtful_final_is_looked_at_again_in_a_longer_window(encoder: WhisperEncoder) -> None:
    counting = CountingEncoder(encoder)

    said(Transcriber(counting, AsrSettings()), counting, ask(FENCE))

    assert counting.windows_s == [10.0, 16.0]


@pytest.mark.parametrize("kind", [RequestKind.INTERIM, RequestKind.FINAL])
def test_clear_finals_and_all_interims_are_looked_at_once(encoder: WhisperEncoder, kind: RequestKind) -> None:
    counting = CountingEncoder(encoder)
    clip = FENCE if kind is RequestKind.INTERIM else SILLY

    said(Transcriber(counting, AsrSettings()), counting, ask(clip, kind))

    assert len(counting.windows_s) == 1


def test_a_final_that_ran_out_of_tokens_is_completed_by_a_second_look(encoder: WhisperEncoder) -> None:
    tight = Transcriber(encoder, AsrSettings(tokens_floor=1, tokens_per_s=1))

    (interim,) = said(tight, encoder, ask(SILLY, RequestKind.INTERIM), window_s=10.0)
    (final,) = said(tight, encoder, ask(SILLY), window_s=10.0)

    assert plain(interim.text) == "you don't mean"
    assert plain(final.text) == "you don't mean that you thought me so silly"


def test_audio_in_the_longest_window_is_not_looked_at_again(encoder: WhisperEncoder) -> None:
    counting = CountingEncoder(encoder)
    tight = Transcriber(counting, AsrSettings(tokens_floor=1, tokens_per_s=1))

    said(tight, counting, ask(SILLY), window_s=30.0)

    assert counting.windows_s == [30.0]


def test_the_token_limit_grows_with_the_audio_up_to_whispers_own(transcriber: Transcriber) -> None:
    assert transcriber.token_limit(16_000) == 14
    assert transcriber.token_limit(17_000) == 15
    assert transcriber.token_limit(480_000) == 188
    assert transcriber.token_limit(10 * 480_000) == SECOND_LOOK_TOKENS


def test_very_short_audio_gives_a_transcript(transcriber: Transcriber, encoder: WhisperEncoder) -> None:
    (found,) = said(transcriber, encoder, ask(read_clip(CLIPS / SILLY)[8000:8100]))

    assert all(START_S <= word.start_s <= word.end_s <= START_S + 0.01 for word in found.words)


def test_a_request_may_start_anywhere_on_the_audio_clock(transcriber: Transcriber, encoder: WhisperEncoder) -> None:
    request = ask(SILLY)
    (here,) = said(transcriber, encoder, request)
    (there,) = said(transcriber, encoder, replace(request, start_s=START_S + 3600))

    assert [word.start_s + 3600 for word in here.words] == pytest.approx([word.start_s for word in there.words])
