"""How a demo is judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from streaming.conversation import Clip, Conversation
from streaming.demo_result import DemoResult
from streaming.events import EmotionEvent, ErrorEvent, Event
from tests.fakes.events import EventSource

ROLES = ("customer", "agent")


def clip(channel: int, start_s: float, words: str = "well then") -> Clip:
    return Clip(channel, start_s, start_s + 2.0, words, None, "someone", "somewhere")


def played(*clips: Clip) -> Conversation:
    return Conversation(np.zeros((2, 16), dtype=np.float32), 16_000, ROLES, clips)


def emotion(make: EventSource, channel: int, start_s: float, end_s: float, **fields: object) -> EmotionEvent:
    event = make.emotion(final=True, channel=channel)
    return event.model_copy(update={"start_s": start_s, "end_s": end_s, **fields})


def conversation_of_two() -> tuple[Conversation, list[Event]]:
    """Two clips, and the events of a demo in which all went well."""
    make = EventSource()
    events: list[Event] = [
        make.started(),
        make.transcript(final=True, channel=0),
        emotion(make, 0, 1.2, 2.8),
        make.transcript(final=True, channel=1),
        emotion(make, 1, 4.1, 5.9),
        make.ended(),
    ]
    return played(clip(0, 1.0), clip(1, 4.0)), events


def judge(conversation: Conversation, events: Sequence[Event], followed: Sequence[Event] | None = None) -> DemoResult:
    return DemoResult.of(conversation, events, events if followed is None else followed)


def test_a_demo_in_which_all_went_well() -> None:
    conversation, events = conversation_of_two()
    result = judge(conversation, events)
    assert result.failures == []
    assert result.as_mapping() == {
        "finals": 2,
        "clips": 2,
        "word_error_rate": 0.0,
        "median_answer_ms": 300.0,
        "events": 6,
        "gaps": 0,
        "failures": [],
    }
    assert result.summary() == (
        "2 final emotion events for 2 spoken clips; word error rate 0.0%; median latency after the endpoint 300 ms; "
        "6 events on each of two sockets, 0 gaps"
    )


@pytest.mark.parametrize(
    ("channel", "start_s", "end_s", "fields"),
    [
        (1, 1.2, 2.8, {}),
        (0, 3.1, 3.9, {}),
        (0, 1.2, 2.8, {"scores": {}}),
        (0, 1.2, 2.8, {"final": False}),
    ],
    ids=["on another channel", "at another time", "without scores", "not final"],
)
def test_a_clip_without_a_final_emotion_of_its_own_is_a_failure(
    channel: int, start_s: float, end_s: float, fields: dict[str, object]
) -> None:
    conversation, events = conversation_of_two()
    events[2] = events[2].model_copy(update={"channel": channel, "start_s": start_s, "end_s": end_s, **fields})
    assert judge(conversation, events).failures == ["1 of 2 clips got no final emotion: channel 0 at 1.0 s"]


def test_one_emotion_over_two_clips_stands_for_the_one_it_shares_more_with() -> None:
    make = EventSource()
    events = [make.started(), emotion(make, 0, 1.5, 6.0), make.ended()]
    result = judge(played(clip(0, 1.0), clip(0, 4.0)), events)
    assert [silent.start_s for silent in result.silent_clips] == [1.0]


def test_words_are_compared_channel_by_channel_however_they_are_cut() -> None:
    conversation = played(clip(0, 1.0, "I'm on my way"), clip(0, 4.0, "to the meeting"), clip(1, 7.0, "well then"))
    make = EventSource()
    events = [
        make.transcript(final=True, text="I'm on", channel=0),
        make.transcript(final=False, text="nonsense", channel=0),
        make.transcript(final=True, text="well when", channel=1),
        make.transcript(final=True, text="my way to the meeting.", channel=0),
    ]
    assert judge(conversation, events).word_error_rate == pytest.approx(1 / 9)


def test_an_event_that_one_socket_alone_carried_is_a_gap() -> None:
    conversation, events = conversation_of_two()
    for mine, theirs in ((events, events[:3] + events[4:]), (events[:2] + events[3:], events)):
        result = judge(conversation, mine, theirs)
        assert result.gaps == 1
        assert "1 events are missing on a socket, or differ between the two" in result.failures


def test_an_event_that_says_something_else_on_the_other_socket_is_a_gap() -> None:
    conversation, events = conversation_of_two()
    told = [*events[:1], events[1].model_copy(update={"committed": "something else"}), *events[2:]]
    assert judge(conversation, events, told).gaps == 1


def test_events_out_of_order_or_twice_are_a_failure() -> None:
    conversation, events = conversation_of_two()
    swapped = [events[0], events[2], events[1], *events[3:]]
    assert judge(conversation, events, swapped).failures == ["events came out of order"]
    assert judge(conversation, events, [*events, events[-1]]).failures == ["events came out of order"]


def test_a_session_that_breaks_off_is_a_failure() -> None:
    conversation, events = conversation_of_two()
    assert judge(conversation, events[:-1]).failures == ["the session did not end in order"]


def test_nothing_at_all_is_a_failure_with_figures() -> None:
    conversation, _ = conversation_of_two()
    result = judge(conversation, [])
    assert len(result.failures) == 2
    assert result.word_error_rate == 1.0
    assert "not measured" in result.summary()


def test_words_that_are_masked_or_left_out_are_not_judged() -> None:
    conversation, events = conversation_of_two()
    result = DemoResult.of(conversation, events, events, verbatim=False)
    assert "word error rate not measured, since words are not told as they are" in result.summary()
    assert result.as_mapping()["word_error_rate"] is None
    assert result.failures == []


def test_what_the_server_reports_and_what_the_broker_did_not_take_are_failures() -> None:
    conversation, events = conversation_of_two()
    error = ErrorEvent(
        session="s1",
        channel=None,
        role=None,
        seq=6,
        time_s=1,
        code="audio_format",
        message="odd bytes",
        retryable=False,
    )
    events[5:] = [error, events[5].model_copy(update={"seq": 7})]
    result = DemoResult.of(conversation, events, events, unpublished=3)
    assert result.failures == ["the MQTT broker did not take 3 events", "the server reported: odd bytes"]
