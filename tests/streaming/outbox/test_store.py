"""The tables of an outbox: order, bounds, and what stands where events were given up."""

from __future__ import annotations

import sqlite3

import pytest

from streaming.events import ErrorEvent, Event, SessionEnded, parse_event
from streaming.outbox import store as store_module
from streaming.outbox.rows import Entry, Kind, OpenSession
from streaming.outbox.store import Capacity, OutboxStore
from streaming.outbox.topics import topic_of
from tests.fakes.events import EventSource


def a_store(events: float = float("inf"), size_bytes: float = float("inf")) -> OutboxStore:
    return OutboxStore.in_memory(Capacity(events, size_bytes))


def add(store: OutboxStore, *events: Event) -> None:
    for event in events:
        kind = Kind.ENDED if isinstance(event, SessionEnded) else Kind.EVENT
        payload = event.to_json().encode()
        position = store.last_position + 1
        store.append([Entry(position, event.session, event.seq, topic_of("medusa/v1", event), payload, kind)])


def held(store: OutboxStore) -> list[Event]:
    return [parse_event(entry.payload) for entry in store.after(0, 100_000)]


def test_entries_come_back_as_they_were_in_order() -> None:
    store, source = a_store(), EventSource()
    events = [source.started(), source.final(), source.ended()]
    add(store, *events)

    assert held(store) == events
    assert [entry.topic.rpartition("/")[2] for entry in store.after(1, 1)] == ["transcript"]
    assert (store.events, store.size_bytes) == (3, sum(entry.size_bytes for entry in store.after(0, 9)))


def test_what_is_removed_counts_no_more() -> None:
    store, source = a_store(), EventSource()
    add(store, *(source.final() for _ in range(3)))

    store.remove_through(2)

    assert [event.seq for event in held(store)] == [3]
    assert (store.events, store.size_bytes) == (1, store.after(0, 1)[0].size_bytes)


def test_sessions_are_noted_with_their_events_and_forgotten_at_their_end() -> None:
    store = a_store()
    store.append([], open_sessions=[OpenSession("one", 3, 1.5, 0.5, 1, 1, 2), OpenSession("two", 1)])
    store.append([], open_sessions=[OpenSession("one", 4)], ended=["two"])

    assert store.sessions() == [OpenSession("one", 4)]


@pytest.mark.parametrize("bound", ["events", "size_bytes"])
def test_when_it_is_full_the_oldest_go_and_one_notice_stands_for_all_of_a_session(bound: str) -> None:
    source = EventSource()
    size = Entry(1, "s1", 1, topic_of("medusa/v1", source.final()), source.final().to_json().encode()).size_bytes
    store, source = a_store(**{bound: 3 if bound == "events" else 3 * size + 10}), EventSource()

    add(store, *(source.final() for _ in range(8)))

    notice, *rest = held(store)
    assert isinstance(notice, ErrorEvent)
    assert (notice.code, notice.seq) == ("events_lost", 5)
    assert "events 1 to 5 were given up" in notice.message
    assert store.after(0, 1)[0].topic == "medusa/v1/s1/session/error"
    assert [event.seq for event in rest] == [6, 7, 8]
    assert store.lost == 5


def test_every_session_has_its_own_notice() -> None:
    store, one, two = a_store(events=1), EventSource("one"), EventSource("two")

    add(store, one.final(), two.final(), one.final(), two.final())

    assert [(event.session, event.type, event.seq) for event in held(store)] == [
        ("two", "error", 1),
        ("one", "error", 2),
        ("two", "transcript", 2),
    ]


def test_the_end_of_a_session_stays_when_all_else_of_it_goes() -> None:
    store, old, new = a_store(events=2), EventSource("old"), EventSource("new")

    add(store, old.started(), old.ended(), *(new.final() for _ in range(4)))

    assert [(event.session, event.type) for event in held(store)] == [
        ("old", "error"),
        ("old", "session.ended"),
        ("new", "error"),
        ("new", "transcript"),
        ("new", "transcript"),
    ]
    assert store.lost == 3


def test_notices_and_ends_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "KEPT", 4)
    store = a_store(events=1)
    for number in range(10):
        source = EventSource(f"s{number}")
        add(store, source.started(), source.ended())

    assert [event.session for event in held(store)] == ["s7", "s8", "s8", "s9", "s9"]
    assert store.lost == 17


def test_what_is_in_flight_is_not_given_up_and_counts_no_more_once_room_is_needed() -> None:
    store, source = a_store(events=3), EventSource()
    add(store, *(source.final() for _ in range(3)))
    store.hold(2)

    add(store, *(source.final() for _ in range(4)))

    assert [(event.type, event.seq) for event in held(store)] == [
        ("transcript", 1),
        ("transcript", 2),
        ("error", 4),
        ("transcript", 5),
        ("transcript", 6),
        ("transcript", 7),
    ]
    store.remove_through(7)
    assert (store.events, store.size_bytes, store.lost) == (0, 0, 2)
    add(store, *(source.final() for _ in range(4)))
    assert store.lost == 3


def test_an_append_that_fails_changes_nothing() -> None:
    store, source = a_store(), EventSource()
    add(store, source.final())
    (entry,) = store.after(0, 1)

    with pytest.raises(sqlite3.IntegrityError):
        store.append([Entry(2, "s1", 2, "t", b"p"), entry], open_sessions=[OpenSession("s1", 2)])

    assert store.after(0, 9) == [entry]
    assert (store.events, store.last_position, store.sessions()) == (1, 1, [])
