"""From features of single segments to what an engine reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import FeatureError
from models.inputs import complete, prepare
from models.modalities import Modality, PaddedBatch, group_frames, pad

SOUND = Modality("acoustic", "acoustic", "whisper-base", dim=3, stride=2)
TEXT = Modality("text", "linguistic", "minilm-l6", dim=2)
BOTH = (SOUND, TEXT)


def frames(count: int, dim: int = 3) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.arange(count * dim, dtype=np.float32).reshape(count, dim)


def test_frames_are_averaged_by_the_modalitys_stride_before_padding() -> None:
    batches = prepare({"acoustic": [frames(5), frames(2)], "text": [frames(1, 2), None]}, BOTH)
    acoustic = batches["acoustic"]
    assert acoustic.lengths.tolist() == [3, 1]
    np.testing.assert_array_equal(acoustic.features[0], [[1.5, 2.5, 3.5], [7.5, 8.5, 9.5], [12, 13, 14]])
    np.testing.assert_array_equal(acoustic.features[1, 1:], 0)
    assert batches["text"].lengths.tolist() == [1, 0]


def test_a_modality_nobody_gave_and_one_without_frames_are_missing() -> None:
    batches = prepare({"acoustic": [frames(4), frames(0)]}, BOTH)
    assert batches["acoustic"].lengths.tolist() == [2, 0]
    assert batches["text"].lengths.tolist() == [0, 0]
    assert batches["text"].features.shape == (2, 1, 2)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ({"video": [None]}, r"unknown modalities \['video'\]: the engine reads acoustic, text"),
        ({"acoustic": [frames(1)], "text": []}, "one entry a segment"),
        ({}, "at least"),
        ({"acoustic": [frames(2, dim=4)]}, r"sequence 0 has shape \(1, 4\), expected \[frames, 3\]"),
    ],
)
def test_segments_that_do_not_fit_are_refused(segments: dict[str, list[None]], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        prepare(segments, BOTH)


@given(count=st.integers(1, 60), stride=st.integers(1, 9))
def test_averaging_keeps_the_mean_of_every_group(count: int, stride: int) -> None:
    found = group_frames(frames(count), stride)
    assert len(found) == -(-count // stride)
    for group, mean in enumerate(found):
        np.testing.assert_allclose(mean, frames(count)[group * stride : (group + 1) * stride].mean(axis=0), rtol=1e-5)


def test_a_stride_below_one_is_refused() -> None:
    with pytest.raises(FeatureError, match="stride must be at least 1, got 0"):
        group_frames(frames(2), 0)


@given(count=st.integers(0, 60), stride=st.integers(2, 9))
def test_deviations_follow_the_means_of_their_groups(count: int, stride: int) -> None:
    rows = np.random.default_rng(count).normal(40.0, 0.1, (count, 3)).astype(np.float32)
    found = group_frames(rows, stride, deviations=True)
    assert found.shape == (-(-count // stride), 6)
    np.testing.assert_array_equal(found[:, :3], group_frames(rows, stride))
    for group, deviation in enumerate(found[:, 3:]):
        np.testing.assert_allclose(deviation, rows[group * stride : (group + 1) * stride].std(axis=0), atol=2e-5)


def test_a_single_frame_has_no_deviation() -> None:
    with pytest.raises(FeatureError, match="deviations need a stride of 2 at least"):
        group_frames(frames(2), 1, deviations=True)


def test_what_an_engine_reads_of_deviations_is_twice_as_wide_as_the_backbone() -> None:
    voice = Modality("voice", "acoustic", "prosody", 6, stride=2, deviations=True)
    assert prepare({"voice": [frames(4), None]}, [voice])["voice"].features.shape == (2, 2, 6)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(0, 3))
def test_a_padded_batch_gives_back_what_went_in(lengths: list[int], room: int) -> None:
    batch = pad([frames(n) if n else None for n in lengths], 3, time=max(lengths) + room)
    assert batch.features.shape == (len(lengths), max(1, max(lengths) + room), 3)
    assert len(batch) == len(lengths)
    for row, count in enumerate(lengths):
        np.testing.assert_array_equal(batch.features[row][batch.mask[row]], frames(count))
        assert not batch.features[row][~batch.mask[row]].any()


def test_padding_to_less_than_the_longest_is_refused() -> None:
    with pytest.raises(FeatureError, match="a sequence of 4 frames does not fit into 3"):
        pad([frames(4)], 3, time=3)


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 3), [1, 1], "must be"),
        ((2, 3, 4), [1], "must be"),
        ((2, 0, 4), [0, 0], "one frame of room"),
        ((2, 3, 4), [1, 4], "do not fit 3 frames"),
        ((2, 3, 4), [-1, 1], "do not fit 3 frames"),
    ],
)
def test_lengths_that_do_not_fit_their_features_are_refused(
    shape: tuple[int, ...], lengths: list[int], message: str
) -> None:
    with pytest.raises(FeatureError, match=message):
        PaddedBatch(np.zeros(shape, dtype=np.float32), np.array(lengths, dtype=np.int64))


def test_left_out_modalities_are_filled_in_as_missing() -> None:
    full = complete({"text": pad([frames(2, 2), frames(1, 2)], 2)}, BOTH)
    assert list(full) == ["acoustic", "text"]
    assert full["acoustic"].lengths.tolist() == [0, 0]


def test_a_row_with_nothing_to_read_is_refused_and_named() -> None:
    inputs = {"acoustic": pad([frames(2), None, None], 3), "text": pad([None, frames(1, 2), None], 2)}
    with pytest.raises(FeatureError, match="row 2 has no modality at all"):
        complete(inputs, BOTH)


def test_features_that_are_not_finite_are_refused_and_named() -> None:
    for value in (np.nan, np.inf):
        batch = pad([frames(2), frames(3)], 3)
        batch.features[1, 2, 0] = value
        with pytest.raises(FeatureError, match="acoustic holds values that are not finite in row 1"):
            complete({"acoustic": batch}, BOTH)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"video": pad([frames(1)], 3)}, "unknown modality 'video'"),
        ({"acoustic": pad([frames(1, 4)], 4)}, "acoustic has 4 features a frame, the engine reads 3"),
        ({"acoustic": pad([frames(1)], 3), "text": pad([None, None], 2)}, r"one batch size, got \[1, 2\]"),
        ({}, "no modality at all"),
        (
            {"acoustic": PaddedBatch(np.zeros((1, 1, 3)), np.ones(1, dtype=np.int64))},
            "float32 with int64",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, PaddedBatch], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        complete(inputs, BOTH)
