"""Rows of the live benchmark, summed up from what clients saw."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.live_records import ClientsJob, StreamRecord, read_records, write_records
from benchmarks.live_reference import OfflineSegment, label_agreement
from benchmarks.live_result import Clients, LiveRow, Span, finals_of, summed_up
from benchmarks.live_speech import Talk
from benchmarks.process_figures import Watch, process_usage
from benchmarks.spoken_clips import Clip
from streaming.events import Degraded, EmotionEvent, ErrorEvent, Event
from tests.fakes.events import MOMENT, EventSource

SPAN = Span(0.0, 60.0)
TALK = Talk(16_000, (Clip(Path("a.flac"), np.zeros(1, dtype=np.float32), "well then"),), (0,))


class Client:
    """Gathers what one client receives; segments are two seconds long and come every ten."""

    def __init__(self, stream: int = 0) -> None:
        self.stream = stream
        self.source = EventSource(f"s{stream}")
        self.received: list[tuple[float, Event]] = [(0.0, self.source.started())]

    def see(self, event: Event, at_s: float, segment: int = 1, **changed: Any) -> Event:
        update = {"segment": segment, **changed} if hasattr(event, "segment") else changed
        self.received.append((at_s, event.model_copy(update=update)))
        return event

    def segment(self, number: int = 1, *, compute_ms: float = 100.0, final: bool = True, labels: str = "") -> None:
        """A whole segment: its start, interims with labels (by initial, . for none), its end and its final."""
        start_s = 10.0 * (number - 1)
        self.see(self.source.speech_started(), start_s + 0.3, number, start_s=start_s)
        for place, initial in enumerate(labels):
            label = {"a": "angry", "n": "neutral", ".": None}[initial]
            at_s = start_s + 1.0 + place / 10
            self.see(self.source.interim(), at_s, number, time_s=at_s)
            shown = {"label": label, "abstained": label is None, "start_s": start_s, "end_s": start_s + 1.0}
            self.see(self.source.emotion(final=False), at_s, number, **shown)
        self.see(self.source.speech_ended(), start_s + 2.6, number, start_s=start_s, end_s=start_s + 2.0)
        if final:
            self.see(self.source.final(), start_s + 2.7, number)
            told = self.source.emotion(final=True, total_ms=600 + compute_ms)
            self.see(told, start_s + 2.7, number, start_s=start_s, end_s=start_s + 2.0)

    def record(self, *, ended: bool = True, error: str | None = None, late_ms: tuple[float, ...] = (1.0, 3.0)):  # type: ignore[no-untyped-def]
        if ended:
            self.see(self.source.ended(), 60.0)
        return StreamRecord(self.stream, tuple(self.received), late_ms, error)


def row(*records: StreamRecord, span: Span = SPAN, faults: tuple[str, ...] = ()) -> LiveRow:
    return summed_up(
        "medusa", records, [TALK] * len(records), span, watch=Watch(os.getpid()), clients=Clients(1, 0.1), faults=faults
    )


def test_finals_are_counted_against_segments_and_timed_after_the_silence() -> None:
    client = Client()
    for number, compute_ms in enumerate((100.0, 200.0, 300.0), start=1):
        client.segment(number, compute_ms=compute_ms)

    found = row(client.record())

    assert (found.finals, found.finals_expected, found.failures) == (3, 3, ())
    assert (found.compute_p50_ms, found.compute_p95_ms) == (200.0, 290.0)
    assert found.total_p50_ms == 800.0
    assert found.client_p95_ms == 700.0
    assert found.carries(290.0)
    assert not found.carries(289.0)


def test_a_missing_final_fails_the_row_however_quick_the_others_are() -> None:
    client = Client()
    client.segment(1)
    client.segment(2, final=False)

    found = row(client.record())

    assert found.failures == ("1 of 2 finals are missing",)
    assert not found.carries(10_000)


def test_a_broken_session_an_error_and_a_silent_client_fail_the_row() -> None:
    broken, silent, told = Client(0), Client(1), Client(2)
    for client in (broken, silent, told):
        client.segment()
    message = "segment 1 of channel 0 could not be recognised: out of memory"
    told.see(told.source._make(ErrorEvent, channel=None, role=None, code="x", message=message, retryable=True), 5.0)

    found = row(broken.record(ended=False, error="connection: lost"), silent.record(ended=False), told.record())

    assert found.failures == (
        "stream 0: connection: lost",
        "stream 1: its session did not end",
        f"stream 2: 1 error events, the first: {message}",
    )


def test_a_client_that_told_nothing_and_a_server_that_fell_fail_the_row() -> None:
    client = Client()
    client.segment()
    arguments = {"watch": Watch(os.getpid()), "clients": Clients(1, 0.1), "faults": ["the server ended"]}

    found = summed_up("medusa", [client.record()], [TALK, TALK], SPAN, **arguments)  # type: ignore[arg-type]

    assert found.failures == ("the server ended", "1 of 2 clients told nothing")


def test_what_lies_in_the_warm_up_is_expected_but_not_timed() -> None:
    client = Client()
    client.segment(1, compute_ms=5000)
    client.segment(2, compute_ms=100)

    found = row(client.record(), span=Span(5.0, 60.0))

    assert (found.finals, found.compute_p99_ms) == (2, 100.0)


def test_nothing_measured_is_a_failure_and_has_no_figures() -> None:
    found = row(Client().record())

    assert found.failures == ("no final fell into the measured minutes",)
    assert found.compute_p95_ms is found.first_interim_p50_ms is found.flips_per_min is None
    assert not found.carries(10_000)


@pytest.mark.parametrize(
    ("labels", "flips"), [("", 0), ("aaa", 0), ("..a", 0), ("ana", 2), ("a.a", 1), ("nnn", 1), ("na", 1)]
)
def test_a_label_flips_when_one_that_was_shown_is_taken_back(labels: str, flips: int) -> None:
    client = Client()
    client.segment(labels=labels)

    assert row(client.record()).flips_per_min == pytest.approx(flips / (2 / 60), abs=0.01)


def test_the_first_interim_is_timed_from_the_start_of_its_segment_and_only_where_there_is_one() -> None:
    client = Client()
    client.segment(1, labels="aa")
    client.segment(2)

    found = row(client.record())

    assert found.first_interim_p50_ms == pytest.approx(700.0)
    assert found.interims == 2


def test_dropped_interims_are_summed_and_a_growing_lag_has_its_slope() -> None:
    client = Client()
    for number in range(1, 7):
        client.segment(number, compute_ms=100.0 * number)
    for dropped in (2, 3):
        fields = {"channel": None, "role": None, "reason": "overload", "lag_ms": 0.0}
        client.see(client.source._make(Degraded, dropped_interims=dropped, **fields), 30.0)

    found = row(client.record())

    assert found.dropped_interims == 5
    assert found.lag_slope_ms_per_min == found.lag_slope_low == found.lag_slope_high == 600.0


def test_words_are_held_to_what_was_said_and_a_missing_stream_is_all_wrong() -> None:
    client = Client()
    client.segment()

    assert row(client.record()).word_error_rate == 0.0
    assert row(client.record(), Client(1).record()).word_error_rate == 0.5


def test_late_clients_are_noticed() -> None:
    client = Client()
    client.segment()

    assert not row(client.record(late_ms=(49.0,) * 10)).clients_late
    assert row(client.record(late_ms=(51.0,) * 10)).clients_late
    assert row(client.record(late_ms=(1.0,) * 99 + (800.0,))).sender_late_max_ms == 800.0


def test_labels_agree_where_the_same_segment_gets_the_same_offline() -> None:
    client = Client()
    for number in (1, 2, 3):
        client.segment(number)
    offline = [
        [
            OfflineSegment(0.1, 2.1, "angry", "well then"),
            OfflineSegment(10.0, 12.0, None, "well then"),
            OfflineSegment(24.0, 26.0, "angry", "well then"),
        ]
    ]

    assert label_agreement(finals_of([client.record()]), offline) == pytest.approx(1 / 3)
    assert label_agreement([], offline) is None


def test_records_survive_the_way_between_processes(tmp_path: Path) -> None:
    client = Client(3)
    client.segment(labels="a")
    told = client.record(error="capacity: full")

    write_records(tmp_path / "records", [told], 1.5)

    assert read_records(tmp_path / "records") == ([told], 1.5)
    assert isinstance(finals_of([told])[0].event, EmotionEvent)
    assert finals_of([told])[0].event.emitted_at == MOMENT.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_job_survives_the_way_between_processes() -> None:
    job = ClientsJob("ws://127.0.0.1:1", None, 0.1, 30.0, ((0, "a.pcm", 0.0), (1, "b.pcm", 0.05)), "records")

    assert ClientsJob.from_json(job.to_json()) == job


def test_a_process_is_watched_where_the_system_tells() -> None:
    watch = Watch(os.getpid())
    usage = process_usage(os.getpid())
    for now_s in (0.0, 1.0):
        watch.look(now_s)

    if usage is None:
        assert watch.cpu_cores is watch.peak_rss_mib is None
    else:
        assert usage.cpu_s > 0
        assert watch.cpu_cores is not None and watch.cpu_cores >= 0
        assert watch.peak_rss_mib is not None and 10 < watch.peak_rss_mib < 100_000


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    assert process_usage(2**30) is None
