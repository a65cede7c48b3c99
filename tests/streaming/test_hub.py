"""The hub: fan-out, replay, and what a subscriber that does not keep up sees."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import SlowConsumerError, UnknownSessionError
from streaming.events import Degraded, ErrorEvent, Event
from streaming.hub import EventHub
from streaming.subscription import Overflow, Subscription, is_interim
from tests.fakes.events import MOMENT, EventSource


def hub_of(*, event_buffer: int = 100, subscriber_queue: int = 100, ended_sessions: int = 2) -> EventHub:
    return EventHub(event_buffer=event_buffer, subscriber_queue=subscriber_queue, ended_sessions=ended_sessions)


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


def waiting(subscription: Subscription) -> list[Event]:
    return subscription.take(10_000)


async def test_every_subscriber_of_a_session_sees_the_same_events() -> None:
    hub, source = hub_of(), EventSource()
    hub.publish(source.started())
    first, second = hub.subscribe("s1"), hub.subscribe("s1")

    for event in (source.speech_started(), source.interim(), source.final()):
        hub.publish(event)

    assert seqs(waiting(first)) == [2, 3, 4]
    assert seqs(waiting(second)) == [2, 3, 4]


async def test_a_subscriber_of_one_session_sees_nothing_of_another() -> None:
    hub, one, other = hub_of(), EventSource("one"), EventSource("other")
    hub.publish(one.started())
    events = hub.subscribe("one")

    hub.publish(other.started())
    hub.publish(one.final())

    assert [(event.session, event.seq) for event in waiting(events)] == [("one", 2)]


async def test_a_subscriber_of_all_sees_sessions_that_begin_later() -> None:
    hub = hub_of()
    events = hub.subscribe()

    hub.publish(EventSource("one").started())
    hub.publish(EventSource("two").started())

    assert [event.session for event in waiting(events)] == ["one", "two"]


class Notebook:
    """Writes down what it is told; fails where it is asked to."""

    def __init__(self, hub: EventHub | None = None, *, failing: bool = False) -> None:
        self.told: list[object] = []
        self.seen_by_others: list[int] = []
        self._others = hub.subscribe() if hub else None
        self._failing = failing

    def record(self, event: Event) -> None:
        self.told.append(event.seq)
        self.seen_by_others.append(len(self._others or ()))
        self._fail()

    def abandon(self, session: str) -> None:
        self.told.append(session)
        self._fail()

    def end(self) -> None:
        self.told.append("end")
        self._fail()

    def _fail(self) -> None:
        if self._failing:
            raise ValueError("a secret")


async def test_a_journal_knows_of_everything_before_any_subscriber() -> None:
    hub, source = hub_of(), EventSource()
    journal = Notebook(hub)
    hub.journal(journal)

    for event in (source.started(), source.interim()):
        hub.publish(event)
    hub.drop("s1")
    hub.close()

    assert journal.told == [1, 2, "s1", "end"]
    assert journal.seen_by_others == [0, 1]


async def test_a_journal_that_fails_keeps_nobody_from_anything(caplog: pytest.LogCaptureFixture) -> None:
    hub, source, second = hub_of(), EventSource(), Notebook()
    hub.journal(Notebook(failing=True))
    hub.journal(second)
    events = hub.subscribe()

    hub.publish(source.started())
    hub.close()

    assert seqs([event async for event in events]) == [1]
    assert second.told == [1, "end"]
    assert "Notebook failed: ValueError at" in caplog.text
    assert "a secret" not in caplog.text


async def test_iteration_ends_after_the_session_has_ended() -> None:
    hub, source = hub_of(), EventSource()
    hub.publish(source.started())
    events = hub.subscribe("s1", after=0)
    hub.publish(source.ended())

    assert [event.type async for event in events] == ["session.started", "session.ended"]


async def test_iteration_waits_for_the_next_event() -> None:
    hub, source = hub_of(), EventSource()
    events = hub.subscribe()
    following = asyncio.create_task(anext(events))
    await asyncio.sleep(0)

    hub.publish(source.started())

    assert (await asyncio.wait_for(following, 1)).seq == 1


async def test_closing_the_hub_ends_subscriptions_after_what_they_hold() -> None:
    hub, source = hub_of(), EventSource()
    events = hub.subscribe()
    hub.publish(source.started())

    hub.close()

    assert seqs([event async for event in events]) == [1]
    assert [event async for event in hub.subscribe()] == []


async def test_a_subscriber_that_left_is_forgotten() -> None:
    hub = hub_of()
    with hub.subscribe() as events:
        assert hub.subscribers == 1

    hub.publish(EventSource().started())

    assert hub.subscribers == 0
    assert waiting(events) == []


async def test_replay_gives_what_came_after_and_goes_on_live() -> None:
    hub, source = hub_of(), EventSource()
    for event in (source.started(), source.speech_started(), source.final()):
        hub.publish(event)

    events = hub.subscribe("s1", after=1)
    hub.publish(source.final())

    assert seqs(waiting(events)) == [2, 3, 4]


async def test_replay_reaches_sessions_that_ended_lately() -> None:
    hub, source = hub_of(), EventSource()
    for event in (source.started(), source.final(), source.ended()):
        hub.publish(event)

    assert seqs([event async for event in hub.subscribe("s1", after=1)]) == [2, 3]


async def test_replay_of_all_sessions_reaches_each() -> None:
    hub = hub_of()
    for name in ("one", "two"):
        hub.publish(EventSource(name).started())

    assert [event.session for event in waiting(hub.subscribe(after=0))] == ["one", "two"]


async def test_a_replay_longer_than_the_queue_is_given_whole() -> None:
    hub, source = hub_of(subscriber_queue=10), EventSource()
    for _ in range(50):
        hub.publish(source.final())

    assert seqs(waiting(hub.subscribe("s1", after=0))) == list(range(1, 51))


async def test_a_session_that_ended_too_long_ago_is_unknown() -> None:
    hub = hub_of(ended_sessions=1)
    for name in ("old", "new"):
        source = EventSource(name)
        hub.publish(source.started())
        hub.publish(source.ended())

    with pytest.raises(UnknownSessionError, match="no session old"):
        hub.subscribe("old")
    assert seqs(waiting(hub.subscribe("new", after=0))) == [1, 2]


async def test_replay_says_which_events_are_no_longer_held() -> None:
    hub, source = hub_of(event_buffer=3), EventSource()
    for _ in range(10):
        hub.publish(source.final())

    notice, *rest = waiting(hub.subscribe("s1", after=2))

    assert isinstance(notice, ErrorEvent)
    assert (notice.code, notice.seq) == ("events_lost", 7)
    assert "events 3 to 7" in notice.message
    assert seqs(rest) == [8, 9, 10]


async def test_a_full_queue_gives_up_the_oldest_interims_and_accounts_for_them() -> None:
    hub, source = hub_of(subscriber_queue=3), EventSource()
    events = hub.subscribe()

    for event in (source.final(), source.interim(), source.interim(), source.final(), source.final()):
        hub.publish(event)
    first, notice, *rest = waiting(events)

    assert first.seq == 1
    assert isinstance(notice, Degraded)
    assert (notice.reason, notice.dropped_interims, notice.seq) == ("slow_consumer", 2, 3)
    assert seqs(rest) == [4, 5]


async def test_a_subscriber_that_would_lose_a_final_is_cut_off_and_told_where() -> None:
    hub, source = hub_of(subscriber_queue=2), EventSource()
    events = hub.subscribe()
    hub.publish(source.final())
    assert (await anext(events)).seq == 1

    for _ in range(3):
        hub.publish(source.final())

    await asyncio.wait_for(events.wait_overflow(), 1)
    with pytest.raises(SlowConsumerError, match="after 1 of session s1"):
        await anext(events)


async def test_a_slow_subscriber_costs_others_nothing() -> None:
    hub, source = hub_of(subscriber_queue=10), EventSource()
    slow, quick = hub.subscribe(), hub.subscribe()
    seen: list[Event] = []

    for _ in range(50):
        hub.publish(source.final())
        seen += waiting(quick)

    assert slow.overflowed
    assert seqs(seen) == list(range(1, 51))


async def test_a_subscriber_that_cannot_come_back_loses_the_oldest_and_is_told() -> None:
    hub, source = hub_of(), EventSource()
    dropped: list[Event] = []
    events = hub.subscribe(capacity=2, overflow=Overflow.DROP_OLDEST, on_drop=dropped.append)

    for _ in range(5):
        hub.publish(source.final())
    notice, *rest = waiting(events)

    assert seqs(dropped) == [1, 2, 3]
    assert isinstance(notice, ErrorEvent)
    assert notice.code == "events_lost"
    assert seqs(rest) == [4, 5]


async def test_a_session_that_broke_ends_its_subscriptions() -> None:
    hub, source = hub_of(), EventSource()
    hub.publish(source.started())
    events = hub.subscribe("s1", after=0)

    hub.drop("s1")

    assert seqs([event async for event in events]) == [1]


@given(
    kinds=st.lists(st.booleans(), max_size=60),
    takes=st.lists(st.integers(0, 5), max_size=60),
    capacity=st.integers(1, 10),
    overflow=st.sampled_from(Overflow),
)
async def test_whatever_is_dropped_the_sequence_rises_and_accounts_for_every_event(
    kinds: list[bool], takes: list[int], capacity: int, overflow: Overflow
) -> None:
    source, dropped = EventSource(), []
    events = Subscription(session=None, capacity=capacity, overflow=overflow, on_drop=dropped.append)
    seen: list[Event] = []
    offered = 0

    for position, final in enumerate(kinds):
        events.offer(source.final() if final else source.interim())
        offered += 1
        if events.overflowed:
            break
        assert len(events) <= capacity
        seen += events.take(takes[position] if position < len(takes) else 0)
    if not events.overflowed:
        events.offer(source.started())
        offered += 1
    if not events.overflowed:
        seen += waiting(events)

    notices = [event for event in seen if isinstance(event, Degraded | ErrorEvent)]
    dropped_interims = {event.seq for event in dropped if is_interim(event)}
    for before, after in zip([None, *seen], seen, strict=False):
        last = before.seq if before else 0
        if isinstance(after, Degraded):
            assert after.dropped_interims == after.seq - last
            assert dropped_interims.issuperset(range(last + 1, after.seq + 1))
        elif isinstance(after, ErrorEvent):
            assert not dropped_interims.issuperset(range(last + 1, after.seq + 1))
        else:
            assert after.seq == last + 1
    delivered = len(seen) - len(notices)
    if events.overflowed:
        assert overflow is Overflow.DISCONNECT
    else:
        assert delivered + len(dropped) == offered
    if overflow is Overflow.DISCONNECT:
        assert all(is_interim(event) for event in dropped)


# --- replay by time


def at(event: Event, seconds: float) -> Event:
    return event.stamped(MOMENT + timedelta(seconds=seconds))


def replayed(hub: EventHub, seconds: float, session: str | None = None) -> list[tuple[str, int]]:
    with hub.subscribe(session, since=MOMENT + timedelta(seconds=seconds)) as events:
        return [(event.session, event.seq) for event in waiting(events)]


async def test_what_is_held_since_a_moment_is_replayed_of_all_sessions() -> None:
    hub, one, other = hub_of(), EventSource("one"), EventSource("other")
    for second in range(4):
        hub.publish(at(one.interim(), second))
        hub.publish(at(other.final(), second))

    assert replayed(hub, 2) == [("one", 3), ("one", 4), ("other", 3), ("other", 4)]
    assert replayed(hub, 2, "other") == [("other", 3), ("other", 4)]
    assert len(replayed(hub, -1)) == 8


async def test_of_a_live_session_that_was_quiet_since_the_newest_event_is_replayed() -> None:
    hub, quiet, over = hub_of(), EventSource("quiet"), EventSource("over")
    for event in (quiet.started(), quiet.speech_started(), over.started(), over.ended()):
        hub.publish(at(event, 0))

    assert replayed(hub, 60) == [("quiet", 2)]


async def test_a_session_that_ended_since_is_replayed_to_its_end() -> None:
    hub, source = hub_of(), EventSource()
    hub.publish(at(source.started(), 0))
    hub.publish(at(source.final(), 5))
    hub.publish(at(source.ended(), 6))

    assert replayed(hub, 5) == [("s1", 2), ("s1", 3)]


async def test_what_a_replay_by_time_leaves_out_is_not_told_as_lost() -> None:
    hub, source = hub_of(event_buffer=10), EventSource()
    for second in range(30):
        hub.publish(at(source.final(), second))

    with hub.subscribe(since=MOMENT) as events:
        hub.publish(at(source.final(), 30))
        assert seqs(waiting(events)) == list(range(21, 32))
