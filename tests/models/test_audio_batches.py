"""Audio side by side."""

from __future__ import annotations

import numpy as np
import pytest

from models.audio_batches import AudioBatch, MelBatch, pad_audio
from models.errors import FeatureError


def clip(samples: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.arange(1, samples + 1, dtype=np.float32)


def test_a_batch_gives_back_the_clips_that_went_in() -> None:
    batch = pad_audio([clip(3), None, clip(1)])
    assert (batch.samples.shape, batch.lengths.tolist(), len(batch)) == ((3, 3), [3, 0, 1], 3)
    first, second, third = batch.clips()
    assert second is None
    assert first is not None
    assert third is not None
    assert (first.tolist(), third.tolist()) == ([1, 2, 3], [1])
    assert batch.samples[2].tolist() == [1, 0, 0]


def test_there_is_room_for_a_sample_where_nothing_is_heard() -> None:
    batch = pad_audio([None, None])
    assert (batch.samples.shape, batch.clips()) == ((2, 1), [None, None])


def test_some_rows_are_a_batch() -> None:
    batch = pad_audio([clip(3), None, clip(1)]).rows(1, 3)
    assert (batch.lengths.tolist(), batch.samples.shape) == ([0, 1], (2, 3))
    mel = MelBatch(np.zeros((3, 8, 10), dtype=np.float32), np.array([3, 0, 1])).rows(0, 2)
    assert (mel.lengths.tolist(), mel.mel.shape, len(mel)) == ([3, 0], (2, 8, 10), 2)


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2,), [1, 1], r"must be \[batch, time\]"),
        ((2, 3), [1], r"must be \[batch, time\]"),
        ((2, 0), [0, 0], "room for one sample"),
        ((2, 3), [1, 4], "do not fit 3 samples"),
        ((2, 3), [-1, 1], "do not fit 3 samples"),
    ],
)
def test_lengths_that_do_not_fit_their_clips_are_refused(
    shape: tuple[int, ...], lengths: list[int], message: str
) -> None:
    with pytest.raises(FeatureError, match=message):
        AudioBatch(np.zeros(shape, dtype=np.float32), np.array(lengths))


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 8), [1, 1], r"must be \[batch, bands, time\]"),
        ((2, 8, 10), [1], r"must be \[batch, bands, time\]"),
        ((2, 8, 1), [0, 0], "room for 2 frames"),
        ((2, 8, 10), [-1, 1], "must not be negative"),
    ],
)
def test_lengths_that_do_not_fit_their_spectrograms_are_refused(
    shape: tuple[int, ...], lengths: list[int], message: str
) -> None:
    with pytest.raises(FeatureError, match=message):
        MelBatch(np.zeros(shape, dtype=np.float32), np.array(lengths))


def test_what_is_no_row_of_samples_is_refused() -> None:
    with pytest.raises(FeatureError, match=r"clip 1 has shape \(1, 2\), expected \[samples\]"):
        pad_audio([clip(2), clip(2)[None]])
