"""Shapes that engines are made for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.engines.tensorrt_shapes import Shape, ShapeBucket, Sizes, default_buckets, fitting
from models.errors import EngineError
from models.modalities import Modality

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
