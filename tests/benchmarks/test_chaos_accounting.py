"""The account after chaos: what is lost is found, and what is not lost is not called so."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.chaos_accounting import SPARE_S, Account, Heard, Uncovered, account
from benchmarks.chaos_records import CallRecord, FinalAt, read_calls, write_calls
from benchmarks.chaos_result import ChaosRow, Health, chaos_claims
from benchmarks.soak_watching import Look

SPEECH = ((1.0, 3.0), (5.0, 7.0))


def told(
    session: str = "a", *, first: int = 1, segments: Sequence[tuple[float, float]] = SPEECH, ended: bool = True
) -> list[Heard]:
    """What a session tells of its segments, numbered from `first`."""
    events = [Heard(session, first, "session.started")]

    def say(kind: str, segment: int, start_s: float | None = None, end_s: float | None = None) -> None:
        events.append(Heard(session, events[-1].seq + 1, kind, 0, segment, start_s, end_s))

    for number, (start_s, end_s) in enumerate(segments, start=1):
        say("speech.started", number, start_s)
        say("speech.ended", number, start_s, end_s)
        say("transcript", number)
        say("emotion", number, start_s, end_s)
    if ended:
        events.append(Heard(session, events[-1].seq + 1, "session.ended"))
    return events


def call(
    *sessions: tuple[str, float], finals: Sequence[Heard] = (), sent_s: float = 10.0, error: str | None = None
) -> CallRecord:
    seen = tuple(final for event in finals if (final := event.final) is not None)
    return CallRecord(0, 0, sent_s, sessions or (("a", 0.0),), seen, error)


def counted(heard: Sequence[Heard], *records: CallRecord) -> Account:
    return account(records or (call(finals=heard),), [SPEECH], heard)


def test_what_arrived_whole_and_in_order_is_no_loss() -> None:
    found = counted(told())

    assert found.lost == 0
    assert (found.calls, found.sessions, found.finals, found.duplicates, found.speech_s) == (1, 1, 2, 0, 4.0)


def test_a_final_that_the_client_was_told_and_the_subscriber_was_not_is_missing() -> None:
    whole = told(ended=False)
    heard = [event for event in whole if not (event.type == "emotion" and event.segment == 2)]

    found = counted(heard, call(finals=whole))

    assert [(final.session, final.segment) for final in found.missing] == [("a", 2)]
    assert found.uncovered == (Uncovered(0, 0, 5.0, 7.0),)
    assert found.finals == 1


def test_speech_that_nobody_answers_is_found_although_no_client_was_told() -> None:
    found = counted(told(segments=SPEECH[:1]), call())

    assert found.missing == ()
    assert found.uncovered == (Uncovered(0, 0, 5.0, 7.0),)


def test_a_segment_without_an_answer_in_a_session_that_ended_in_order_is_found() -> None:
    heard = [event for event in told() if event.segment != 2 or event.type == "speech.started"]

    assert counted(heard, call()).unanswered == (("a", 1),)


def test_a_session_that_was_cut_off_answers_for_nothing_where_another_says_it_again() -> None:
    cut = told(ended=False)[:-2]
    again = told("b", segments=[(0.5, 2.5)])

    found = counted([*cut, *again], call(("a", 0.0), ("b", 4.5), finals=[*cut, *again]))

    assert found.lost == 0
    assert (found.sessions, found.finals) == (2, 2)


def test_the_end_that_is_told_of_a_killed_servers_session_is_no_end_in_order() -> None:
    cut = [*told(ended=False)[:-2], Heard("a", 99, "session.ended", reason="server_lost")]

    found = counted([*cut, *told("b", segments=[(0.5, 2.5)])], call(("a", 0.0), ("b", 4.5)))

    assert found.lost == 0


def test_events_that_were_given_up_are_a_loss() -> None:
    notice = Heard("stranger", 7, "error", code="events_lost")

    assert (counted([*told(), notice], call()).given_up, counted([*told(), notice], call()).lost) == (1, 1)


def test_what_a_new_session_says_counts_where_it_begins() -> None:
    heard = [*told(segments=SPEECH[:1], ended=False), *told("b", segments=[(0.5, 2.5)])]

    found = counted(heard, call(("a", 0.0), ("b", 0.0)))

    assert [(piece.start_s, piece.end_s) for piece in found.uncovered] == [(5.0, 7.0)]


def test_an_event_that_comes_again_is_a_duplicate_and_not_out_of_order() -> None:
    heard = told()

    found = counted([*heard[:5], *heard[2:5], *heard[5:]])

    assert (found.duplicates, found.out_of_order, found.lost) == (3, (), 0)


def test_an_event_that_first_comes_after_a_later_one_is_out_of_order() -> None:
    heard = told()
    heard[3], heard[4] = heard[4], heard[3]

    found = counted(heard)

    assert [event.type for event in found.out_of_order] == ["transcript"]
    assert found.duplicates == 0


def test_sessions_do_not_wait_for_each_other() -> None:
    one, other = told(), told("stranger")
    mixed = [event for pair in zip(one, other, strict=True) for event in reversed(pair)]

    assert counted(mixed, call(finals=one)).lost == 0


def test_edges_of_speech_are_the_detectors_to_choose() -> None:
    late = [(1.0 + SPARE_S - 0.01, 3.0), (5.0, 7.0 - SPARE_S + 0.01)]
    later = [(1.0 + SPARE_S + 0.01, 3.0), (5.0, 7.0)]

    assert counted(told(segments=late)).lost == 0
    assert [piece.start_s for piece in counted(told(segments=later)).uncovered] == [1.0]


def test_segments_may_be_cut_elsewhere_if_they_are_whole_together() -> None:
    assert counted(told(segments=[(0.8, 2.0), (2.0, 3.1), (4.9, 7.0)])).lost == 0


def test_speech_that_was_never_sent_needs_no_answer() -> None:
    found = counted(told(segments=SPEECH[:1]), call(sent_s=5.2))

    assert found.lost == 0
    assert found.speech_s == pytest.approx(2.2)


def test_an_error_told_in_the_place_of_an_answer_is_no_silent_loss() -> None:
    error = Heard("a", 3, "error", 0, code="recognition")
    started = [Heard("a", 1, "session.started"), Heard("a", 2, "speech.started", 0, 1, 1.0)]
    rest = [Heard("a", event.seq + 3, *_rest(event)) for event in told(segments=SPEECH[1:])[1:]]

    found = counted([*started, error, *rest], call())

    assert (found.lost, found.excused) == (0, 1)


def _rest(event: Heard) -> tuple[str, int | None, int | None, float | None, float | None]:
    segment = None if event.segment is None else event.segment + 1
    return event.type, event.channel, segment, event.start_s, event.end_s


def test_a_call_that_broke_is_told() -> None:
    assert counted(told(), call(error="connection: lost")).failures == ("line 0: connection: lost",)


def test_records_travel_between_processes(tmp_path) -> None:  # type: ignore[no-untyped-def]
    records = [call(finals=told(), error="x"), call(("a", 0.0), ("b", 4.25))]
    write_calls(tmp_path / "calls", records)

    assert read_calls(tmp_path / "calls") == records
    assert isinstance(records[0].finals[0], FinalAt)


def look(*, rss_mib: float | None = 400.0, descriptors: int = 20, tasks: int = 9) -> Look:
    return Look(0.0, 1.0, rss_mib, descriptors, 8, tasks, 0, 0)


def row(
    *,
    found: Account | None = None,
    health: Health | None = None,
    done: int = 5,
    after: Look | None = None,
    broken: tuple[str, ...] = (),
) -> ChaosRow:
    return ChaosRow(
        minutes=10.0,
        faults={"server killed": (done, 5)},
        hostile={"random bytes": 7},
        messages=(7, 7),
        account=found or counted(told()),
        health=health or Health.of([0.01, 0.2], 0, 5.0),
        lives=6,
        down_s=12.0,
        recovery_s=3.0,
        before=look(),
        after=after or look(rss_mib=450.0),
        broken=broken,
    )


def failing(one: ChaosRow) -> list[str]:
    return [claim.what for claim in chaos_claims(one) if not claim.holds]


def test_a_run_without_loss_bears_out_every_claim() -> None:
    assert failing(row()) == []
    assert row().to_json()["account"]["missing"] == {"count": 0, "first": []}


@pytest.mark.parametrize(
    ("one", "claim"),
    [
        (
            row(found=counted([*told(ended=False), *told("b")[:-2]], call(finals=told("c")))),
            "every final that a client",
        ),
        (row(found=counted(told(segments=SPEECH[:1]), call())), "all speech that was sent is answered"),
        (row(found=counted(told()[::-1], call())), "nothing is out of order"),
        (row(found=counted([*told(), Heard("b", 1, "error", code="events_lost")], call())), "nothing was given up"),
        (row(found=counted(told(), call(error="lost"))), "every call came to its end"),
        (row(health=Health.of([0.1], 1, 5.0)), "/healthz always answers"),
        (row(health=Health.of([], 0, 5.0)), "/healthz always answers"),
        (row(done=4), "all that was planned was done"),
        (row(after=look(descriptors=23)), "open files are back"),
        (row(after=look(tasks=10)), "tasks are back"),
        (row(after=look(rss_mib=501.0)), "memory is back"),
        (row(after=look(rss_mib=None)), "memory is back"),
        (row(broken=("the clients hang",)), "every call came to its end"),
    ],
)
def test_whatever_is_wrong_refutes_its_claim(one: ChaosRow, claim: str) -> None:
    (found,) = failing(one)

    assert found.startswith(claim)
