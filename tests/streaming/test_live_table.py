from __future__ import annotations

import io

from rich.console import Console

from streaming.events import Degraded
from streaming.live_table import LiveTable
from tests.fakes.events import EventSource


def drawn(table: LiveTable) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(table.render())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_before_any_event_it_waits() -> None:
    assert "waiting for audio" in drawn(LiveTable())


def test_it_shows_who_speaks_what_was_said_and_a_bar_a_class() -> None:
    make, table = EventSource(), LiveTable()
    for event in (make.started(), make.speech_started(), make.transcript(final=False, text="well")):
        table.take(event)
    assert "speaking" in drawn(table)
    final = make.emotion(final=True)
    for event in (make.speech_ended(), make.transcript(final=True, text="well then"), final):
        table.take(event)
    shown = drawn(table)
    assert "well then" in shown
    assert "silent" in shown
    assert "█" in shown
    assert f"{final.latency.total_ms:.0f} ms" in shown


def test_two_channels_stand_in_rows_of_their_own() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.started())
    table.take(make.transcript(final=True, text="from one side", channel=0))
    table.take(make.transcript(final=True, text="from the other", channel=1))
    lines = drawn(table).splitlines()
    one = next(i for i, line in enumerate(lines) if "from one side" in line)
    other = next(i for i, line in enumerate(lines) if "from the other" in line)
    assert one < other


def test_tentative_words_follow_the_committed_ones() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.speech_started())
    table.take(make.interim().model_copy(update={"committed": "I am", "tentative": "on my"}))
    assert "I am on my" in drawn(table)
    assert table.tentative
    table.take(make.transcript(final=True, text="I am on my way"))
    assert not table.tentative


def test_between_the_end_of_speech_and_its_final_a_channel_is_being_recognised() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.speech_started())
    table.take(make.speech_ended())
    assert "recognising" in drawn(table)


def test_the_final_of_a_segment_leaves_the_words_of_the_next_one_alone() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.speech_started())
    table.take(make.speech_started().model_copy(update={"segment": 2}))
    table.take(make.interim().model_copy(update={"segment": 2, "committed": "the second"}))
    table.take(make.speech_ended())
    table.take(make.transcript(final=True, text="the first"))
    shown = drawn(table)
    assert "speaking" in shown
    assert "the first" in shown
    assert "the second" in shown


def test_an_unsure_ensemble_names_its_best_guess_as_a_guess() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.started())
    table.take(make.emotion(final=True).model_copy(update={"label": None, "abstained": True}))
    assert "not sure (angry 70%) " in drawn(table)


def test_a_channel_that_is_transcribed_only_says_so() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.transcript(final=True))
    assert "not scored" in drawn(table)


def test_latency_is_told_apart_into_the_pause_and_the_answer() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.emotion(final=True, total_ms=912))
    cells = [line.split("│")[1].strip() for line in drawn(table).splitlines() if line.count("│") == 4]
    assert cells[-3:] == ["912 ms after", "600 pause", "312 answer"]


def test_a_bar_is_as_long_as_its_class_is_probable() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.started())
    table.take(make.emotion(final=True).model_copy(update={"scores": {"angry": 1.0, "neutral": 0.0}}))
    cells = [line.split("│")[3].split() for line in drawn(table).splitlines() if line.count("│") == 4]
    assert ["angry", "█" * 12, "100%"] in cells
    assert ["neutral", "0%"] in cells


def test_only_the_last_segments_stay_in_sight() -> None:
    make, table = EventSource(), LiveTable()
    for number in range(1, 20):
        table.take(make.transcript(final=True, text=f"sentence-{number}.").model_copy(update={"segment": number}))
    assert [f"sentence-{number}." in drawn(table) for number in (1, 16, 17, 19)] == [False, False, True, True]


def test_nothing_a_server_sends_can_control_the_terminal() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.started())
    table.take(make.transcript(final=True, text="\x1b[2J\x07gone"))
    assert "\x1b[2J" not in drawn(table)
    assert "gone" in drawn(table)


def test_trouble_stands_below_the_table() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.started())
    table.take(
        Degraded(
            session="s1", channel=None, role=None, seq=2, time_s=1.0, reason="lag", dropped_interims=0, lag_ms=2100.0
        )
    )
    assert drawn(table).splitlines()[-1].startswith("degraded (lag)")


def test_on_a_narrow_terminal_two_channels_fit_and_words_keep_most_of_the_room() -> None:
    make, table = EventSource(), LiveTable()
    table.take(make.started())
    for channel in (0, 1):
        for segment in (1, 2, 3):
            said = make.transcript(final=True, text="I am on my way to the meeting.", channel=channel)
            table.take(said.model_copy(update={"segment": segment}))
        table.take(make.emotion(final=False, channel=channel))
    console = Console(file=io.StringIO(), width=80)
    console.print(table.render())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= 24
    (first, *_) = [line for line in lines if "│" in line]
    assert len(first.split("│")[2]) >= 30


def test_a_new_session_begins_with_nothing_heard() -> None:
    before, after, table = EventSource("before"), EventSource("after"), LiveTable()
    for event in (before.started(), before.final().model_copy(update={"segment": 7, "time_s": 70.0})):
        table.take(event)
    for event in (after.started(), after.transcript(final=False, text="hello again")):
        table.take(event)

    shown = drawn(table)
    assert "hello again" in shown
    assert "session after" in shown
    assert "well then" not in shown
    assert "70.0 s" not in shown
