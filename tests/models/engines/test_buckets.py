"""Shapes that batches are rounded up to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.engines.buckets import BATCH_SIZES, FRAMES, Bucket, Buckets, fill
from models.errors import EngineError
from models.modalities import PaddedBatch

DIM = 3


def batch(lengths: list[int], room: int | None = None) -> PaddedBatch:
    """Ones wherever there is room, behind sequences too."""
    time = max(1, *lengths) if room is None else room
    return PaddedBatch(np.ones((len(lengths), time, DIM), dtype=np.float32), np.array(lengths, dtype=np.int64))


def test_a_batch_gets_the_smallest_bucket_that_holds_it() -> None:
    assert Buckets().bucket([batch([19]), batch([12])]) == Bucket(1, (24, 16))
    assert Buckets().bucket([batch([19, 3, 64]), batch([7, 1, 8])]) == Bucket(4, (64, 8))


def test_room_behind_the_longest_sequence_is_not_paid_for() -> None:
    assert Buckets().bucket([batch([5, 2], room=500)]) == Bucket(2, (8,))


def test_a_modality_that_is_missing_everywhere_takes_the_least_room() -> None:
    assert Buckets().bucket([batch([5]), batch([0])]) == Bucket(1, (8, 8))


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=128))
def test_every_batch_fits_into_its_bucket_without_much_to_spare(lengths: list[int]) -> None:
    found = Buckets().bucket([batch(lengths)])
    longest = max(lengths)
    assert len(lengths) <= found.rows < 2 * len(lengths) + 1
    assert longest <= found.frames[0] <= max(FRAMES[0], 1.5 * longest) or longest > FRAMES[-1]
    assert found.frames[0] < longest + FRAMES[-1]


def test_what_is_longer_than_the_longest_bucket_gets_multiples_of_it() -> None:
    assert Buckets(frames=(4, 8)).bucket([batch([17])]).frames == (24,)


def test_a_batch_larger_than_the_largest_bucket_is_divided() -> None:
    buckets = Buckets(batch_sizes=(1, 4))
    assert buckets.divide(9) == [slice(0, 4), slice(4, 8), slice(8, 9)]
    assert buckets.divide(4) == [slice(0, 4)]
    with pytest.raises(EngineError, match="a batch of 5 does not fit: the largest bucket has 4 rows"):
        buckets.bucket([batch([1] * 5)])


@pytest.mark.parametrize("steps", [(), (0, 1), (2, 2), (4, 1)])
def test_steps_that_do_not_ascend_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match="batch_sizes of buckets must be positive and ascend"):
        Buckets(batch_sizes=steps)
    with pytest.raises(EngineError, match="frames of buckets must be positive and ascend"):
        Buckets(frames=steps)


def test_masks_of_any_modalities_in_a_row_can_be_read_in_vectors() -> None:
    assert tuple(2**power for power in range(8)) == BATCH_SIZES
    assert all(frames % 8 == 0 for frames in FRAMES)


@given(lengths=st.lists(st.integers(0, 8), min_size=1, max_size=4), room=st.integers(0, 5))
def test_a_filled_room_holds_the_batch_and_nothing_of_what_was_there(lengths: list[int], room: int) -> None:
    features = np.full((4, 8, DIM), np.nan, dtype=np.float32)
    counts = np.full(4, 7, dtype=np.int64)
    own = batch(lengths, room=max(1, *lengths) + room)
    fill(features, counts, own)
    assert counts.tolist() == lengths + [0] * (4 - len(lengths))
    assert np.isfinite(features).all()
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(features[row, :length], own.features[row, :length])
    assert not features[len(lengths) :].any()
