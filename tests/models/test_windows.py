"""The window policy: a bucket that holds the segment and its tail, where there is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import FeatureError
from models.windows import FINAL_WINDOWS, INTERIM_WINDOWS, SAMPLE_RATE_HZ, WindowPolicy, encoder_frames

POLICY = WindowPolicy(buckets_s=(6.0, 10.0, 30.0), tail_s=1.0)


@pytest.mark.parametrize(
    ("duration_s", "bucket_s"), [(0.0, 6.0), (5.0, 6.0), (5.01, 10.0), (9.0, 10.0), (9.5, 30.0), (29.5, 30.0), (30, 30)]
)
def test_the_smallest_bucket_that_leaves_room_for_the_tail(duration_s: float, bucket_s: float) -> None:
    assert POLICY.bucket_s(round(duration_s * SAMPLE_RATE_HZ)) == bucket_s


@given(st.integers(0, 30 * SAMPLE_RATE_HZ), st.sampled_from([FINAL_WINDOWS, INTERIM_WINDOWS]))
def test_a_segment_always_fits_and_interims_never_cost_more_than_finals(samples: int, policy: WindowPolicy) -> None:
    assert policy.bucket_s(samples) * SAMPLE_RATE_HZ >= samples
    assert INTERIM_WINDOWS.bucket_s(samples) <= FINAL_WINDOWS.bucket_s(samples)


def test_a_segment_longer_than_any_window_is_refused() -> None:
    with pytest.raises(FeatureError, match=r"30\.5 s does not fit a window of 30 s"):
        POLICY.bucket_s(round(30.5 * SAMPLE_RATE_HZ))


@pytest.mark.parametrize(
    ("buckets_s", "tail_s", "message"),
    [
        ((), 1.0, "must ascend"),
        ((10.0, 8.0), 1.0, "must ascend"),
        ((8.0, 8.0), 1.0, "must ascend"),
        ((0.0, 8.0), 1.0, "must ascend"),
        ((8.0, 31.0), 1.0, "must ascend within 0 to 30"),
        ((8.0,), -0.1, "tail must not be negative"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(buckets_s: tuple[float, ...], tail_s: float, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        WindowPolicy(buckets_s, tail_s)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (320, 1), (321, 2), (16_000, 50)])
def test_every_begun_frame_counts(samples: int, frames: int) -> None:
    assert encoder_frames(samples) == frames
