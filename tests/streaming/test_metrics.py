"""The Prometheus instruments."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streaming.config import MqttSettings
from streaming.metrics import Metrics
from streaming.outbox.outbox import EventOutbox
from tests.fakes.events import EventSource


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample's value by its name and labels."""
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def test_a_session_is_counted_while_it_is_open_and_by_why_it_ended() -> None:
    metrics, source = Metrics(), EventSource()

    metrics.observe(source.started())
    assert samples(metrics)["medusa_sessions"] == 1
    metrics.observe(source.ended())

    after = samples(metrics)
    assert after["medusa_sessions"] == 0
    assert after["medusa_sessions_started_total"] == 1
    assert after["medusa_sessions_ended_total[client_close]"] == 1


def test_finals_and_interims_are_counted_apart() -> None:
    metrics, source = Metrics(), EventSource()

    for event in (source.interim(), source.interim(), source.speech_ended(), source.final()):
        metrics.observe(event)

    counted = samples(metrics)
    assert (counted["medusa_interims_total"], counted["medusa_finals_total"]) == (2, 1)
    assert counted["medusa_segments_total"] == 1


def test_latency_is_taken_from_emotions_in_seconds_finals_and_interims_apart() -> None:
    metrics, source = Metrics(), EventSource()

    metrics.observe(source.emotion(final=False, total_ms=5000))
    metrics.observe(source.emotion(final=True, total_ms=900))

    counted = samples(metrics)
    assert counted["medusa_latency_total_seconds_count[final]"] == 1
    assert counted["medusa_latency_total_seconds_sum[final]"] == 0.9
    assert counted["medusa_latency_total_seconds_sum[interim]"] == 5.0


@pytest.mark.parametrize(
    ("stage", "seconds"),
    [("queue", 0.01), ("compute", 0.2), ("encode", 0.05), ("decode", 0.12), ("emotion", 0.03), ("emit", 0.001)],
)
def test_every_stage_has_a_histogram(stage: str, seconds: float) -> None:
    metrics = Metrics()

    metrics.observe(EventSource().emotion(final=True))

    assert samples(metrics)[f"medusa_latency_{stage}_seconds_sum[final]"] == seconds
    assert samples(metrics)[f"medusa_latency_{stage}_seconds_count[interim]"] == 0


def test_the_endpoint_silence_is_that_of_finals() -> None:
    metrics, source = Metrics(), EventSource()

    metrics.observe(source.emotion(final=False))
    metrics.observe(source.emotion(final=True))

    assert samples(metrics)["medusa_latency_endpoint_seconds_count"] == 1
    assert samples(metrics)["medusa_latency_endpoint_seconds_sum"] == 0.6


def test_what_a_subscriber_missed_is_counted_by_kind() -> None:
    metrics, source = Metrics(), EventSource()

    metrics.observe_dropped(source.interim())
    metrics.observe_dropped(source.final())

    counted = samples(metrics)
    assert counted["medusa_dropped_events_total[interim]"] == 1
    assert counted["medusa_dropped_events_total[other]"] == 1


def test_depths_are_read_when_asked_for() -> None:
    metrics = Metrics()
    depth = 3
    metrics.watch(queue_depth=lambda: depth, subscribers=lambda: 2, parked=lambda: 1, tasks=lambda: 4)

    depth = 7

    assert samples(metrics)["medusa_queue_depth"] == 7
    assert samples(metrics)["medusa_subscribers"] == 2
    assert samples(metrics)["medusa_sessions_parked"] == 1
    assert samples(metrics)["medusa_tasks"] == 4


def test_two_servers_in_a_process_count_apart() -> None:
    one, other = Metrics(), Metrics()

    one.observe(EventSource().started())

    assert samples(other)["medusa_sessions"] == 0
    assert samples(one)["medusa_sessions"] == 1


def test_no_instrument_holds_what_was_said() -> None:
    metrics, source = Metrics(), EventSource()

    metrics.observe(source.transcript(final=True, text="my card number is"))

    assert "card" not in metrics.exposition().decode()


def test_an_outbox_is_looked_into_when_the_metrics_are_asked_for() -> None:
    metrics, source = Metrics(), EventSource()
    outbox = EventOutbox(MqttSettings(queue=10))
    metrics.watch_outbox(outbox)

    for event in (source.interim(), *(source.final() for _ in range(12))):
        outbox.record(event)

    counted = samples(metrics)
    assert counted["medusa_outbox_events"] == 11
    assert counted["medusa_outbox_bytes"] == outbox.size_bytes > 0
    assert counted["medusa_outbox_write_failures_total"] == 0
    assert counted["medusa_outbox_lost_events_total"] == 2
    assert counted["medusa_outbox_superseded_interims_total"] == 1
