"""Shapes that engines are made for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.engines.tensorrt_shapes import Hearing, Shape, ShapeBucket, Sizes, default_buckets, fitting
from models.errors import EngineError
from models.modalities import Modality
from models.windows import WindowPolicy

VOICE = Modality("voice", "acoustic", "whisper-base", 512, stride=8)
CLAP = Modality("sound", "acoustic", "clap-audio", 768)
OWN = Modality("own", "acoustic", "a-checkpoint-of-mine", 768)
WORDS = Modality("words", "linguistic", "minilm-l6", 384)


def test_lengths_of_speech_become_frames_at_the_backbones_rate_and_stride() -> None:
    (bucket,) = default_buckets([VOICE, CLAP, OWN, WORDS])
    assert bucket.times["voice"].steps == (1, 19, 63, 188)
    assert bucket.times["sound"].steps == (1, 11, 33, 97)
    assert bucket.times["own"].steps == (1, 151, 501, 1501)
    assert bucket.times["words"].steps == (3, 20, 62, 128)
    assert [sizes.typical for sizes in bucket.times.values()] == [19, 11, 151, 20]
    assert bucket.batch.extremes == (1, 8, 128)


HEARING = Hearing(
    frozenset({"voice"}), {"sound": 30.0, "own": 16.0}, (WindowPolicy((5.0, 20.0), 1.0), WindowPolicy((4.0, 16.0), 0.5))
)


def test_what_is_heard_has_sizes_of_its_own_and_comes_in_smaller_batches() -> None:
    (bucket,) = default_buckets([VOICE, CLAP, OWN, WORDS], hearing=HEARING)
    assert bucket.batch.extremes == (1, 8, 32)
    assert bucket.times.keys() == {"waveform", "mel_sound", "mel_own", "words"}
    assert bucket.times["waveform"] == Sizes((400, 48_000, 64_000, 80_000, 160_000, 256_000, 320_000), 48_000)
    assert bucket.times["mel_sound"] == Sizes((2, 400, 500, 1600, 2000), 500, exact=True)
    assert bucket.times["mel_own"] == Sizes((2, 400, 500, 1600), 500, exact=True)


def test_apart_each_length_has_the_windows_it_may_need() -> None:
    buckets = default_buckets([VOICE, CLAP], hearing=HEARING, seconds=(3, 10), apart=True)
    assert [bucket.times["mel_sound"].extremes for bucket in buckets] == [(2, 500, 500), (2, 2000, 2000)]
    assert [bucket.times["waveform"].steps[-1] for bucket in buckets] == [80_000, 320_000]


def test_a_whisper_without_places_for_any_window_cannot_stand_inside() -> None:
    hearing = Hearing(frozenset(), {"sound": 3.0}, HEARING.windows)
    with pytest.raises(EngineError, match="sound has places for 3 s, the bundle's shortest window has 4 s"):
        default_buckets([CLAP], hearing=hearing)


def test_what_would_be_heard_is_not_padded() -> None:
    mel = Sizes((2, 400, 500), 400, exact=True)
    assert [mel.fit(size) for size in (1, 2, 300, 500, 501)] == [None, 2, 300, 500, None]


def test_apart_each_length_has_a_profile_tuned_for_it() -> None:
    buckets = default_buckets([VOICE], seconds=(3, 10), batches=(1,), apart=True)
    assert [bucket.times["voice"].extremes for bucket in buckets] == [(1, 19, 19), (1, 63, 63)]
    assert [bucket.times["voice"].steps for bucket in buckets] == [(1, 19), (1, 19, 63)]


@given(st.integers(1, 128), st.integers(1, 188), st.integers(1, 128), st.booleans())
def test_what_fits_is_padded_to_the_smallest_shape_with_room(batch: int, voice: int, words: int, apart: bool) -> None:
    buckets = default_buckets([VOICE, WORDS], apart=apart)
    found = fitting(buckets, batch, {"voice": voice, "words": words})
    assert found is not None
    profile, shape = found
    room = dict(shape.times)
    assert shape.batch == next(size for size in (1, 8, 32, 128) if size >= batch)
    assert room["voice"] == next(size for size in (1, 19, 63, 188) if size >= voice)
    assert room["words"] == next(size for size in (3, 20, 62, 128) if size >= words)
    assert profile == 0 or buckets[profile - 1].fit(batch, {"voice": voice, "words": words}) is None


def test_what_does_not_fit_fits_nowhere() -> None:
    buckets = default_buckets([VOICE])
    assert fitting(buckets, 129, {"voice": 1}) is None
    assert fitting(buckets, 1, {"voice": 189}) is None


def test_an_inputs_shape_takes_what_is_dynamic_from_the_call() -> None:
    shape = Shape(4, (("voice", 19),))
    assert shape.of("voice_features", (-1, -1, 512)) == (4, 19, 512)
    assert shape.of("voice_tokens", (-1, -1)) == (4, 19)
    assert shape.of("voice_lengths", (-1,)) == (4,)
    heard = Shape(4, (("mel_voice", 600), ("waveform", 48_000)))
    assert heard.of("mel_voice", (-1, 80, -1)) == (4, 80, 600)
    assert heard.of("waveform", (-1, -1)) == (4, 48_000)
    assert heard.of("samples", (-1,)) == (4,)


@pytest.mark.parametrize(
    ("steps", "typical", "said"),
    [((), 1, "ascend"), ((2, 2), 2, "ascend"), ((0, 2), 1, "ascend"), ((1, 4), 5, "not within 1 to 4")],
)
def test_sizes_that_are_none_are_refused(steps: tuple[int, ...], typical: int, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        Sizes(steps, typical)


def test_a_bucket_gives_least_typical_and_most_of_an_input() -> None:
    bucket = ShapeBucket(Sizes((1, 8), 2), {"voice": Sizes((1, 19), 19), "words": Sizes((1, 5), 3)})
    assert bucket.shapes("words_features", (-1, -1, 384)) == ((1, 1, 384), (2, 3, 384), (8, 5, 384))
