"""What a simulated session asks for, and when: as `Channel`, `Segment` and `Segmenter` have it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import count, islice

import pytest

from benchmarks.agenda import Agenda
from benchmarks.live_speech import TALKERS
from benchmarks.service_table import ASSUMED_GPU, BatchTime, ServiceTable, load_service_table
from benchmarks.simulated_server import Outcome, SimulatedServer
from benchmarks.simulated_session import SimulatedVoice
from benchmarks.simulated_talk import PAUSE_BOUNDS_S, PHRASE_BOUNDS_S, Phrase, phrases
from benchmarks.simulated_tally import SessionTally
from streaming.config import BatcherSettings, Settings
from streaming.recognition.request import RequestKind

FINAL, SPECULATIVE, INTERIM = RequestKind
FOR_EVER_S = 1e6


def a_machine(seconds: float) -> ServiceTable:
    """One that takes so long for any batch."""
    times = load_service_table(ASSUMED_GPU).times
    return ServiceTable("so slow", "assumed", dict.fromkeys(times, BatchTime(seconds, 0.0)))


def said(*lengths_s: float, start_s: float = 10.0) -> Iterator[Phrase]:
    """Speech and silence in turns, then nothing any more."""
    for speech_s, silence_s in zip(lengths_s[::2], lengths_s[1::2], strict=True):
        yield Phrase(start_s, start_s + speech_s, silence_s)
        start_s += speech_s + silence_s
    yield Phrase(FOR_EVER_S, FOR_EVER_S, 0.0)


def heard(talk: Iterable[Phrase], machine: ServiceTable | None = None) -> SessionTally:
    agenda = Agenda()
    server = SimulatedServer(agenda, machine or a_machine(0.0), BatcherSettings(), interim_s=1.0)
    tally, over = SessionTally("s", 1, 0.0), list[float]()
    voice = SimulatedVoice(
        agenda,
        server,
        Settings(),
        tally,
        channel=0,
        number=count(1).__next__,
        silent=lambda: over.append(agenda.now_s),
    )
    voice.speak(iter(talk), FOR_EVER_S / 2)
    agenda.run()
    assert len(over) == 1
    assert server.unanswered == 0
    return tally


def asked(tally: SessionTally) -> list[tuple[str, float]]:
    return [(one.kind.name.lower(), round(one.at_s, 3)) for one in tally.requests]


def test_the_first_interim_comes_soon_and_the_others_in_the_usual_distance() -> None:
    assert asked(heard(said(3.0, 5.0))) == [
        ("interim", 10.6),
        ("interim", 11.6),
        ("interim", 12.6),
        ("speculative", 13.2),
    ]


def test_a_pause_that_becomes_the_end_was_computed_ahead_and_the_final_is_there_at_once() -> None:
    tally = heard(said(1.0, 5.0))

    (final,) = tally.finals
    assert (round(final.decided_s, 3), final.latency_s) == (11.6, 0.0)


def test_a_pause_that_does_not_is_computed_for_nothing() -> None:
    tally = heard(said(1.0, 0.4, 1.0, 5.0), a_machine(0.3))

    assert [one.outcome for one in tally.requests if one.kind is SPECULATIVE] == [Outcome.DISCARDED, Outcome.ANSWERED]
    assert len(tally.finals) == 1


def test_a_gap_shorter_than_a_pause_is_none() -> None:
    kinds = [kind for kind, _ in asked(heard(said(0.8, 0.15, 0.8, 5.0)))]

    assert kinds.count("speculative") == 1


def test_silence_of_the_endpoint_ends_a_segment() -> None:
    assert len(heard(said(1.0, 0.55, 1.0, 0.65, 1.0, 5.0)).decided_s) == 2


def test_no_interim_is_asked_for_while_one_is_unanswered() -> None:
    moments = [at_s for kind, at_s in asked(heard(said(4.0, 5.0), a_machine(1.7))) if kind == "interim"]

    assert moments == [10.6, 12.3, 14.0]


def test_a_final_waits_for_what_was_not_computed_by_the_end() -> None:
    tally = heard(said(1.0, 5.0), a_machine(1.0))

    (final,) = tally.finals
    assert final.latency_s == pytest.approx(1.0)
    assert [one.outcome for one in tally.requests] == [Outcome.DISCARDED, Outcome.ANSWERED]


def test_speech_that_goes_on_too_long_is_cut_and_goes_on_as_another_segment() -> None:
    tally = heard(said(20.0, 5.0))

    assert [round(at_s, 2) for at_s in tally.decided_s] == [24.7, 30.6]
    assert len(tally.finals) == 2


def test_what_is_about_to_be_cut_is_asked_for_ahead() -> None:
    tally = heard(said(20.0, 5.0), a_machine(1.5))

    assert [round(at_s, 2) for kind, at_s in asked(tally) if kind == "speculative"] == [22.7, 30.2]
    assert tally.finals[0].latency_s == pytest.approx(0.0)


def test_a_pause_just_before_the_cut_is_asked_for_instead() -> None:
    tally = heard(said(13.5, 0.4, 0.2, 5.0), a_machine(0.1))

    assert [round(at_s, 2) for kind, at_s in asked(tally) if kind == "speculative"] == [22.7, 23.7, 23.96, 24.3]
    assert [round(at_s, 2) for at_s in tally.decided_s] == [24.7]


def test_finals_are_told_in_the_order_of_their_segments() -> None:
    tally = heard(said(9.0, 0.7, 1.0, 5.0), a_machine(2.0))

    assert [final.decided_s for final in tally.finals] == tally.decided_s
    told = [final.told_s for final in tally.finals]
    assert told == sorted(told)


@pytest.mark.parametrize(("name", "share"), [("continuous", (0.65, 0.85)), ("conversation", (0.3, 0.5))])
def test_talkers_speak_as_much_as_they_are_said_to(name: str, share: tuple[float, float]) -> None:
    talk = list(islice(phrases(TALKERS[name], random.Random(1), start_s=0.0), 3000))
    spoken_s = sum(phrase.end_s - phrase.start_s for phrase in talk)

    assert share[0] < spoken_s / (talk[-1].end_s + talk[-1].silence_s) < share[1]
    assert all(PHRASE_BOUNDS_S[0] - 1e-6 < p.end_s - p.start_s < PHRASE_BOUNDS_S[1] + 1e-6 for p in talk)
    assert all(p.silence_s >= PAUSE_BOUNDS_S[0] for p in talk)
