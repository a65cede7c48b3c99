"""From speech decisions to segments."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streaming.audio.segmenter import (
    FRAME_SAMPLES,
    CutPlanned,
    Segmenter,
    SegmentEvent,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
)
from streaming.config import VadSettings
from streaming.errors import StreamingError

SETTINGS = VadSettings(
    threshold=0.5,
    start_ms=60,
    pause_ms=200,
    endpoint_ms=600,
    endpoint_min_ms=600,
    endpoint_max_ms=600,
    pre_roll_ms=300,
    post_roll_ms=160,
    min_segment_ms=200,
    max_segment_s=2.0,
)
LONG = SETTINGS.model_copy(update={"max_segment_s": 20.0})
MS = 16
"""Samples in a millisecond."""


def speech(pattern: str) -> NDArray[np.float32]:
    """Decisions written as `"#20 .30"`: 20 frames of speech, 30 of silence."""
    runs = [(run[0] == "#", int(run[1:])) for run in pattern.split()]
    return np.concatenate([np.full(count, float(spoken), dtype=np.float32) for spoken, count in runs])


def audio(frames: int) -> NDArray[np.float32]:
    """Audio in which each sample is told from all others."""
    return (np.arange(frames * FRAME_SAMPLES, dtype=np.float32) / 2**24).reshape(-1, FRAME_SAMPLES)


def run(pattern: str, chosen: VadSettings = LONG, *, flush: bool = False) -> list[SegmentEvent]:
    segmenter, decisions = Segmenter(chosen), speech(pattern)
    events = segmenter.push(audio(len(decisions)), decisions)
    return events + segmenter.flush() if flush else events


def test_a_segment_starts_with_its_pre_roll() -> None:
    assert run(".50 #20") == [SpeechStarted(1, 1000 * MS - 300 * MS)]


def test_a_pre_roll_does_not_reach_before_the_stream() -> None:
    assert run(".5 #20") == [SpeechStarted(1, 0)]


def test_a_segment_does_not_start_before_there_is_enough_speech() -> None:
    assert run(".50 #9") == []
    assert run(".50 #10") == [SpeechStarted(1, 700 * MS)]


def test_clicks_are_no_speech() -> None:
    assert run(".20 " + "#2 .3 " * 50, flush=True) == []


def test_short_speech_is_dropped_even_at_the_end_of_the_stream() -> None:
    assert run(".50 #9", flush=True) == []


def test_speech_with_gaps_shorter_than_a_pause_is_enough_together() -> None:
    assert run(".50 #5 .9 #5") == [SpeechStarted(1, 700 * MS)]


def test_speech_with_longer_gaps_is_not() -> None:
    assert run(".50 #5 .10 #5 .10 #5") == []


def test_a_pause_tells_where_the_segment_would_end() -> None:
    assert run("#50 .10") == [SpeechStarted(1, 0), SpeechPaused(1, 0, 1160 * MS)]


def test_no_pause_before_its_time() -> None:
    assert run("#50 .9") == [SpeechStarted(1, 0)]


def test_a_pause_that_goes_on_is_the_end_and_ends_where_it_said() -> None:
    assert run("#50 .30") == [
        SpeechStarted(1, 0),
        SpeechPaused(1, 0, 1160 * MS),
        SpeechEnded(1, 0, 1160 * MS, "silence"),
    ]


def test_no_end_before_its_time() -> None:
    assert run("#50 .29")[-1] == SpeechPaused(1, 0, 1160 * MS)


def test_speech_resumes_a_paused_segment() -> None:
    assert run("#50 .15 #3 .30") == [
        SpeechStarted(1, 0),
        SpeechPaused(1, 0, 1160 * MS),
        SpeechResumed(1),
        SpeechPaused(1, 0, (1360 + 160) * MS),
        SpeechEnded(1, 0, (1360 + 160) * MS, "silence"),
    ]


def test_a_click_does_not_resume_a_paused_segment_nor_move_its_end() -> None:
    assert run("#50 .15 #2 .13") == run("#50 .30")


def test_a_post_roll_never_reaches_beyond_what_made_the_pause() -> None:
    long_roll = LONG.model_copy(update={"post_roll_ms": 2000})
    assert run("#50 .30", long_roll)[-1] == SpeechEnded(1, 0, 1200 * MS, "silence")


def test_a_pre_roll_never_reaches_into_the_segment_before() -> None:
    wide = LONG.model_copy(update={"pre_roll_ms": 2000})
    first_end, second_start = 1160 * MS, run("#50 .30 #20", wide)[-1]
    assert second_start == SpeechStarted(2, first_end)


def test_segments_are_counted() -> None:
    numbers = [event.segment for event in run("#20 .40 #20 .40 #20 .40") if isinstance(event, SpeechStarted)]
    assert numbers == [1, 2, 3]


def test_flush_ends_open_speech() -> None:
    assert run("#50", flush=True) == [SpeechStarted(1, 0), SpeechEnded(1, 0, 1000 * MS, "stream_end")]


def test_flush_ends_paused_speech_where_the_pause_said() -> None:
    assert run("#50 .15", flush=True)[-2:] == [
        SpeechPaused(1, 0, 1160 * MS),
        SpeechEnded(1, 0, 1160 * MS, "stream_end"),
    ]


def test_flush_in_silence_says_nothing() -> None:
    assert run("#50 .50", flush=True) == run("#50 .50")


def test_speech_after_a_flush_is_another_segment_that_begins_where_the_last_ended() -> None:
    segmenter = Segmenter(LONG)
    segmenter.push(audio(50), speech("#50"))
    segmenter.flush()
    assert segmenter.push(audio(20), speech("#20")) == [SpeechStarted(2, 1000 * MS)]


def quiet_in(*stretches: tuple[int, int, float], frames: int = 100) -> NDArray[np.float32]:
    """Loud frames, and others from and to so many of such a level."""
    loud = np.full((frames, FRAME_SAMPLES), 0.5, dtype=np.float32)
    for start, end, level in stretches:
        loud[start:end] = level
    return loud


def test_over_long_speech_is_cut_at_the_quietest_point_of_its_last_third() -> None:
    quieter_but_too_early, quieter_but_too_short, quieter_but_too_late = (30, 40, 0.0), (81, 82, 0.0), (90, 100, 0.0)
    frames = quiet_in(quieter_but_too_early, (70, 77, 0.1), quieter_but_too_short, quieter_but_too_late)
    events = Segmenter(SETTINGS).push(frames, speech("#100"))
    cut = events[1].end_sample if isinstance(events[1], CutPlanned) else -1
    assert 70 * FRAME_SAMPLES < cut < 77 * FRAME_SAMPLES
    assert events == [
        SpeechStarted(1, 0),
        CutPlanned(1, 0, cut),
        SpeechEnded(1, 0, cut, "max_length"),
        SpeechStarted(2, cut),
    ]


def test_a_cut_is_planned_a_sixth_of_the_longest_segment_before_but_never_more_than_two_seconds() -> None:
    for longest_s, planned_s in ((2.0, 1.68), (30.0, 28.0)):
        segmenter = Segmenter(SETTINGS.model_copy(update={"max_segment_s": longest_s}))
        frames = round(planned_s * 50)
        assert [type(event) for event in segmenter.push(noise(frames - 1), np.ones(frames - 1))] == [SpeechStarted]
        assert [type(event) for event in segmenter.push(noise(1), np.ones(1))] == [CutPlanned]


def test_a_pause_makes_a_planned_cut_void_and_what_follows_it_plans_another() -> None:
    frames = quiet_in((70, 77, 0.1), (85, 97, 0.0))
    events = Segmenter(SETTINGS).push(frames, speech("#85 .12 #3"))
    first, paused, second, end = events[1], events[2], events[4], events[5]
    assert isinstance(first, CutPlanned)
    assert paused == SpeechPaused(1, 0, 1860 * MS)
    assert isinstance(second, CutPlanned)
    assert 85 * FRAME_SAMPLES < second.end_sample < 97 * FRAME_SAMPLES
    assert end == SpeechEnded(1, 0, second.end_sample, "max_length")


def test_speech_that_ends_behind_a_planned_cut_ends_where_it_does() -> None:
    chosen = SETTINGS.model_copy(update={"max_segment_s": 4.0})
    assert [event for event in run("#170 .40", chosen) if not isinstance(event, CutPlanned)] == run("#170 .40", LONG)


SLOW_TO_PAUSE = SETTINGS.model_copy(update={"pause_ms": 500})


def test_a_cut_within_a_gap_leaves_no_empty_segment_behind() -> None:
    events = Segmenter(SLOW_TO_PAUSE).push(quiet_in((82, 140, 0.0), frames=140), speech("#82 .58"))
    assert [type(event) for event in events] == [SpeechStarted, CutPlanned, SpeechEnded]


def test_a_short_word_after_a_cut_within_a_gap_is_kept() -> None:
    events = Segmenter(SLOW_TO_PAUSE).push(quiet_in((82, 104, 0.0), frames=144), speech("#82 .22 #4 .36"))
    ends = ended(events)
    assert [end.reason for end in ends] == ["max_length", "silence"]
    assert ends[0].end_sample == 82 * FRAME_SAMPLES
    assert ends[0].end_sample <= ends[1].start_sample <= 104 * FRAME_SAMPLES
    assert ends[1].end_sample >= 108 * FRAME_SAMPLES


@pytest.mark.parametrize(("spoken", "gap"), [(92, 18), (92, 29), (85, 22), (85, 29)])
def test_a_short_word_that_an_endless_segment_would_hold_is_not_lost_to_the_cut(spoken: int, gap: int) -> None:
    word = (spoken + gap) * FRAME_SAMPLES, (spoken + gap + 5) * FRAME_SAMPLES
    decisions = speech(f"#{spoken} .{gap} #5 .60")
    frames = np.where(decisions[:, None] > 0, 0.5, 0.001) * np.ones((1, FRAME_SAMPLES))
    for chosen in (LONG, SETTINGS):
        segments = ended(Segmenter(chosen).push(frames.astype(np.float32), decisions))
        assert segments[-1].start_sample <= word[0]
        assert segments[-1].end_sample >= word[1]


def test_a_short_word_after_the_silence_that_ends_a_segment_is_dropped_after_a_cut_as_well() -> None:
    assert run("#85 .31 #5 .60", SETTINGS) == run("#85 .100", SETTINGS)


def test_a_paused_segment_that_gets_too_long_ends_with_its_speech() -> None:
    assert run("#85 .30", SETTINGS)[-2:] == [
        SpeechPaused(1, 0, 1860 * MS),
        SpeechEnded(1, 0, 1860 * MS, "max_length"),
    ]


def test_a_segment_whose_pre_roll_ends_within_a_frame_is_not_too_long_either() -> None:
    odd = SETTINGS.model_copy(update={"pre_roll_ms": 30, "post_roll_ms": 200})
    longest = 970 * MS + 2000 * MS
    assert run(".50 #89 .30", odd)[-2:] == [
        SpeechPaused(1, 970 * MS, longest),
        SpeechEnded(1, 970 * MS, longest, "max_length"),
    ]


SPARSE = SETTINGS.model_copy(update={"min_segment_ms": 1000})


def test_clicks_spread_over_more_than_a_segment_never_become_one() -> None:
    assert run("#3 " + ".9 #1 " * 200, SPARSE, flush=True) == []


def test_speech_right_after_such_clicks_is_a_segment_of_its_own_with_its_own_onset() -> None:
    # The clicks fill the longest segment within the first word, whose beginning must not go with them.
    pattern = "#3 " + ".9 #1 " * 9 + ".5 #60"
    assert run(pattern, SPARSE) == [SpeechStarted(1, (98 * 20 - 300) * MS)]


def test_speech_is_enough_even_if_a_segment_is_shorter_than_what_is_enough() -> None:
    demanding = SETTINGS.model_copy(update={"min_segment_ms": 3000})
    assert run("#149", demanding, flush=True) == []
    events = run("#150", demanding, flush=True)
    assert events[0] == SpeechStarted(1, 0)
    assert sum(end.end_sample - end.start_sample for end in ended(events)) == 3000 * MS


def test_frames_pushed_one_by_one_give_the_same_segments() -> None:
    segmenter, decisions = Segmenter(SETTINGS), speech(".50 #20 .40 #150 .40")
    frames = noise(len(decisions))
    events = [event for i in range(len(decisions)) for event in segmenter.push(frames[i : i + 1], decisions[i : i + 1])]
    assert events + segmenter.flush() == heard(SETTINGS, decisions)


ADAPTIVE = LONG.model_copy(update={"endpoint_min_ms": 500, "endpoint_max_ms": 900})
WORD = "#25"
"""Half a second."""


def endings(pattern: str, chosen: VadSettings = ADAPTIVE) -> list[int]:
    """After how many frames of silence each segment ended, where silence ended it."""
    segmenter, decisions = Segmenter(chosen), speech(pattern)
    waited, silent = [], 0
    for frame, decision in zip(audio(len(decisions)), decisions, strict=True):
        silent = 0 if decision else silent + 1
        waited += [silent for end in ended(segmenter.push(frame[None], decision[None])) if end.reason == "silence"]
    return waited


class TestPatience:
    """The endpoint follows the speaker's pauses, between its bounds."""

    def test_a_speaker_who_is_not_known_yet_is_given_the_usual_time(self) -> None:
        assert endings(f"{WORD} .15 {WORD} .100") == [30]

    def test_a_brisk_speaker_is_answered_sooner_from_the_next_segment_on(self) -> None:
        assert endings(f"{WORD} .12 " * 9 + f".100 {WORD} .100") == [30, 25]

    def test_a_hesitant_speaker_is_given_more_time(self) -> None:
        assert endings(f"{WORD} .28 " * 9 + f".100 {WORD} .34 {WORD} .100") == [30, 35]

    def test_a_cut_that_came_too_early_counts_as_a_pause(self) -> None:
        # Each pause of 700 ms ends a segment, until it is known that they are pauses: 875 ms end the last one.
        assert endings(f"{WORD} .35 " * 12 + ".100") == [30] * 8 + [44]

    def test_the_silence_between_turns_counts_for_nothing(self) -> None:
        assert endings(f"{WORD} .46 " * 20) == [30] * 20

    def test_a_gap_between_words_counts_for_nothing(self) -> None:
        assert endings(f"{WORD} .9 " * 20 + f".100 {WORD} .100") == [30, 30]

    def test_clicks_in_a_pause_do_not_shorten_it(self) -> None:
        assert endings(f"{WORD} .14 #1 .13 " * 9 + f".100 {WORD} .100")[-1] == 35

    def test_what_a_flush_ended_was_no_pause(self) -> None:
        segmenter = Segmenter(ADAPTIVE)
        for _ in range(20):
            segmenter.push(audio(25), speech(WORD))
            segmenter.flush()
            segmenter.push(audio(35), speech(".35"))
        last = segmenter.push(audio(55), speech(f"{WORD} .30"))
        assert [end.reason for end in ended(last)] == ["silence"]

    def test_equal_bounds_treat_everybody_alike(self) -> None:
        assert endings(f"{WORD} .12 " * 9 + f".100 {WORD} .100", LONG) == [30, 30]


def test_the_open_segment_is_shown_while_it_goes_on() -> None:
    segmenter = Segmenter(LONG)
    segmenter.push(audio(9), speech("#9"))
    assert segmenter.open_segment is None
    segmenter.push(audio(11), speech("#11"))
    opened = segmenter.open_segment
    assert opened is not None
    assert (opened.segment, opened.start_sample, opened.end_sample, opened.is_paused) == (1, 0, 400 * MS, False)
    segmenter.push(audio(10), speech(".10"))
    paused = segmenter.open_segment
    assert paused is not None
    assert paused.is_paused
    segmenter.push(audio(20), speech(".20"))
    assert segmenter.open_segment is None


def test_the_audio_of_a_segment_that_just_ended_can_be_read() -> None:
    segmenter, frames = Segmenter(LONG), audio(130)
    ended = segmenter.push(frames, speech(".50 #50 .30"))[-1]
    assert isinstance(ended, SpeechEnded)
    read = segmenter.audio(ended.start_sample, ended.end_sample)
    np.testing.assert_array_equal(read, frames.reshape(-1)[ended.start_sample : ended.end_sample])


def test_decisions_at_the_threshold_are_speech() -> None:
    segmenter = Segmenter(LONG)
    assert segmenter.push(audio(20), np.full(20, 0.5, dtype=np.float32))
    assert Segmenter(LONG).push(audio(20), np.full(20, 0.49, dtype=np.float32)) == []


@pytest.mark.parametrize("frames", [audio(3), np.zeros((4, 319), dtype=np.float32), np.zeros(1280, dtype=np.float32)])
def test_frames_and_decisions_that_do_not_match_are_refused(frames: NDArray[np.float32]) -> None:
    with pytest.raises(StreamingError, match=r"4 judgements need frames of shape \(4, 320\)"):
        Segmenter(LONG).push(frames, np.zeros(4, dtype=np.float32))


any_settings = st.builds(
    lambda start, pause, more, brisk, hesitant, pre, post, least, longest: VadSettings(
        threshold=0.5,
        start_ms=start,
        pause_ms=pause,
        endpoint_min_ms=max(40, pause + more),
        endpoint_ms=max(40, pause + more) + brisk,
        endpoint_max_ms=max(40, pause + more) + brisk + hesitant,
        pre_roll_ms=pre,
        post_roll_ms=post,
        min_segment_ms=least,
        max_segment_s=longest,
    ),
    st.integers(20, 200),
    st.integers(20, 400),
    st.integers(0, 600),
    st.integers(0, 300),
    st.integers(0, 600),
    st.integers(0, 500),
    st.integers(0, 400),
    st.integers(20, 3000),
    st.floats(2, 4),
)
any_decisions = st.lists(
    st.tuples(st.booleans(), st.integers(1, 4) | st.integers(1, 60) | st.integers(100, 400)), min_size=1, max_size=14
).map(lambda runs: np.concatenate([np.full(count, float(spoken), dtype=np.float32) for spoken, count in runs]))


def noise(frames: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (frames, FRAME_SAMPLES)).astype(np.float32)


def ended(events: list[SegmentEvent]) -> list[SpeechEnded]:
    return [event for event in events if isinstance(event, SpeechEnded)]


def heard(chosen: VadSettings, decisions: NDArray[np.float32]) -> list[SegmentEvent]:
    segmenter = Segmenter(chosen)
    return segmenter.push(noise(len(decisions)), decisions) + segmenter.flush()


@settings(deadline=None)
@given(any_settings, any_decisions, st.lists(st.integers(0, 1000), max_size=10))
def test_how_frames_are_chunked_changes_nothing(
    chosen: VadSettings, decisions: NDArray[np.float32], cuts: list[int]
) -> None:
    segmenter, events = Segmenter(chosen), list[SegmentEvent]()
    frames = noise(len(decisions))
    read: list[NDArray[np.float32]] = []
    bounds = sorted({0, len(decisions), *(min(cut, len(decisions)) for cut in cuts)})
    for start, end in pairwise(bounds):
        new = segmenter.push(frames[start:end], decisions[start:end])
        read += [segmenter.audio(end.start_sample, end.end_sample) for end in ended(new)]
        events += new
    last = segmenter.flush()
    read += [segmenter.audio(end.start_sample, end.end_sample) for end in ended(last)]
    assert events + last == heard(chosen, decisions)
    for end, samples in zip(ended(events + last), read, strict=True):
        np.testing.assert_array_equal(samples, frames.reshape(-1)[end.start_sample : end.end_sample])


@settings(deadline=None)
@given(any_settings, any_decisions)
def test_segments_are_in_order_apart_and_never_too_long(chosen: VadSettings, decisions: NDArray[np.float32]) -> None:
    segments = ended(heard(chosen, decisions))
    assert [segment.segment for segment in segments] == list(range(1, len(segments) + 1))
    for segment in segments:
        assert 0 <= segment.start_sample < segment.end_sample <= len(decisions) * FRAME_SAMPLES
        assert segment.end_sample - segment.start_sample <= chosen.max_segment_s * 16_000
    for before, after in pairwise(segments):
        assert before.end_sample <= after.start_sample


@settings(deadline=None)
@given(any_settings, any_decisions)
def test_every_event_has_its_place_in_the_story(chosen: VadSettings, decisions: NDArray[np.float32]) -> None:
    state, opened, number = "silent", SpeechStarted(0, 0), 0
    paused_end: int | None = None
    planned: int | None = None
    for event in heard(chosen, decisions):
        match event:
            case SpeechStarted():
                assert (state, event.segment) == ("silent", number + 1)
                state, opened, number = "speaking", event, event.segment
            case SpeechPaused():
                assert state == "speaking"
                state, paused_end = "paused", event.end_sample
            case SpeechResumed():
                assert state == "paused"
                state, paused_end, planned = "speaking", None, None
            case CutPlanned():
                assert (state, planned, event.start_sample) == ("speaking", None, opened.start_sample)
                planned = event.end_sample
            case SpeechEnded():
                assert state != "silent"
                assert event.start_sample == opened.start_sample
                assert event.reason != "silence" or state == "paused"
                assert state != "paused" or event.end_sample == paused_end
                if state == "speaking" and event.reason == "max_length":
                    assert event.end_sample == planned
                state, paused_end, planned = "silent", None, None
        assert event.segment == number
    assert state == "silent"


@settings(deadline=None)
@given(any_settings, any_decisions)
def test_all_speech_long_enough_lies_within_segments(chosen: VadSettings, decisions: NDArray[np.float32]) -> None:
    covered = np.zeros(len(decisions) * FRAME_SAMPLES, dtype=np.int64)
    for segment in ended(heard(chosen, decisions)):
        covered[segment.start_sample : segment.end_sample] += 1
    assert covered.max(initial=0) <= 1
    enough = max(-(-chosen.start_ms // 20), -(-chosen.min_segment_ms // 20))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], decisions, [0]])))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= enough:
            assert covered[start * FRAME_SAMPLES : end * FRAME_SAMPLES].all()


@settings(deadline=None)
@given(any_settings)
def test_after_a_cut_the_next_segment_begins_where_the_last_ended(chosen: VadSettings) -> None:
    segments = ended(heard(chosen, np.ones(700, dtype=np.float32)))
    assert len(segments) >= 4
    assert all(segment.reason == "max_length" for segment in segments[:-1])
    assert all(before.end_sample == after.start_sample for before, after in pairwise(segments))
    assert (segments[0].start_sample, segments[-1].end_sample) == (0, 700 * FRAME_SAMPLES)


@settings(deadline=None)
@given(any_settings, any_decisions, st.integers(1, 60))
def test_memory_does_not_grow_with_the_stream(
    chosen: VadSettings, decisions: NDArray[np.float32], chunk_frames: int
) -> None:
    segmenter, stream = Segmenter(chosen), np.tile(decisions, 1 + 1500 // len(decisions))
    silence = np.zeros((chunk_frames, FRAME_SAMPLES), dtype=np.float32)
    longest = max(chosen.max_segment_s * 1000, chosen.min_segment_ms + 20)
    bound = (longest + chosen.pre_roll_ms + chosen.start_ms + 20) * MS + chunk_frames * FRAME_SAMPLES
    for start in range(0, len(stream), chunk_frames):
        part = stream[start : start + chunk_frames]
        segmenter.push(silence[: len(part)], part)
        assert segmenter.held_samples <= bound


@pytest.mark.parametrize("pattern", [".3000", "#3000", "#2 .3 " * 600, "#30 .12 " * 70, "#3 " + ".9 #1 " * 300])
def test_memory_stays_bounded_in_silence_endless_speech_and_clicks(pattern: str) -> None:
    segmenter, decisions = Segmenter(SPARSE), speech(pattern)
    held = []
    for start in range(0, len(decisions), 50):
        part = decisions[start : start + 50]
        segmenter.push(noise(len(part)), part)
        held.append(segmenter.held_samples)
    assert max(held) <= SPARSE.max_segment_s * 16_000 + 50 * FRAME_SAMPLES + (300 + 60 + 20) * MS
