"""Prometheus instruments: what an operator sees of the live runtime. They hold numbers alone, never what was said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streaming.events import (
    EmotionEvent,
    ErrorEvent,
    Event,
    ModelInfo,
    SessionEnded,
    SessionStarted,
    SpeechEnded,
    TranscriptEvent,
)
from streaming.recognition.request import RecognitionRequest, RecognitionResult
from streaming.subscription import is_interim

if TYPE_CHECKING:
    from streaming.outbox.outbox import EventOutbox
    from streaming.recognition.recognizer import Recognizer

_LATENCY_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MS_PER_S: Final = 1000.0


class Metrics:
    """The instruments of one server, in a registry of their own so that two servers in a process do not meet."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self.sessions = self._gauge("medusa_sessions", "Sessions open now.")
        self.subscribers = self._gauge("medusa_subscribers", "Event subscriptions open now.")
        self.queue_depth = self._gauge("medusa_queue_depth", "Recognition requests that wait.")
        self.lag_s = self._histogram("medusa_lag_seconds", "Age of the oldest unanswered final, when audio arrives.")
        self.sessions_started = self._counter("medusa_sessions_started", "Sessions begun.")
        self.sessions_ended = self._counter("medusa_sessions_ended", "Sessions ended, by reason.", "reason")
        self.refused = self._counter("medusa_refused", "Connections turned away, by error code.", "code")
        self.audio_s = self._counter("medusa_audio_seconds", "Audio received, on the sessions' clocks.")
        self.segments = self._counter("medusa_segments", "Segments of speech that ended.")
        self.finals = self._counter("medusa_finals", "Final transcripts.")
        self.interims = self._counter("medusa_interims", "Interim transcripts.")
        self.shed_interims = self._counter("medusa_shed_interims", "Interim requests shed under load.")
        self.dropped = self._counter(
            "medusa_dropped_events", "Events that some subscriber or sink did not take in time.", "kind"
        )
        self.errors = self._counter("medusa_errors", "Error events, by code.", "code")
        self.batch_size = Histogram(
            "medusa_batch_size", "Requests in one batch.", buckets=_BATCH_BUCKETS, registry=self.registry
        )
        self.total_s = self._histogram("medusa_latency_total_seconds", "Last speech sample to final emotion event.")
        self.endpoint_s = self._histogram("medusa_latency_endpoint_seconds", "Silence until speech counted as ended.")
        self.queue_s = self._histogram("medusa_latency_queue_seconds", "Final request to the start of its batch.")
        self.compute_s = self._histogram("medusa_latency_compute_seconds", "Time of the batch that held a final.")

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(name, what, registry=self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(name, what, buckets=_LATENCY_BUCKETS_S, registry=self.registry)

    def watch(self, *, queue_depth: Callable[[], int], subscribers: Callable[[], int]) -> None:
        """Reads these figures whenever the metrics are asked for."""
        self.queue_depth.set_function(queue_depth)
        self.subscribers.set_function(subscribers)

    def watch_outbox(self, outbox: EventOutbox) -> None:
        """Reads the outbox's figures whenever the metrics are asked for."""
        self.registry.register(_OutboxFigures(outbox))

    def observe(self, event: Event) -> None:
        """Counts an event that is being published."""
        match event:
            case SessionStarted():
                self.sessions_started.inc()
                self.sessions.inc()
            case SessionEnded(reason=reason):
                self.sessions_ended.labels(reason).inc()
                self.sessions.dec()
            case SpeechEnded():
                self.segments.inc()
            case TranscriptEvent(final=final):
                (self.finals if final else self.interims).inc()
            case EmotionEvent(final=True, latency=latency):
                self.total_s.observe(latency.total_ms / _MS_PER_S)
                self.endpoint_s.observe(latency.endpoint_ms / _MS_PER_S)
                self.queue_s.observe(latency.queue_ms / _MS_PER_S)
                self.compute_s.observe(latency.compute_ms / _MS_PER_S)
            case ErrorEvent(code=code):
                self.errors.labels(code).inc()
            case _:
                pass

    def observe_dropped(self, event: Event) -> None:
        """Counts an event that some subscriber did not take in time."""
        self.dropped.labels("interim" if is_interim(event) else "other").inc()

    def exposition(self) -> bytes:
        """All instruments in Prometheus's text format."""
        return generate_latest(self.registry)


class _OutboxFigures(Collector):
    """What an outbox counts by itself."""

    def __init__(self, outbox: EventOutbox) -> None:
        self._outbox = outbox

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        outbox = self._outbox
        yield GaugeMetricFamily("medusa_outbox_events", "Events that wait for the MQTT broker.", outbox.events)
        yield GaugeMetricFamily("medusa_outbox_bytes", "Their topics and payloads.", outbox.size_bytes)
        for name, what, count in (
            ("write_failures", "Writes to the MQTT outbox that failed.", outbox.write_failures),
            ("lost_events", "Events given up for want of room, interims apart.", outbox.lost),
            ("superseded_interims", "Interims overtaken before they could be sent.", outbox.superseded_interims),
        ):
            yield CounterMetricFamily(f"medusa_outbox_{name}", what, count)


class MeasuredRecognizer:
    """A recogniser whose batches are counted on their way in."""

    def __init__(self, recognizer: Recognizer, metrics: Metrics) -> None:
        self._recognizer = recognizer
        self._metrics = metrics

    @property
    def model(self) -> ModelInfo:
        """As the recogniser says."""
        return self._recognizer.model

    def window_s(self, request: RecognitionRequest) -> float:
        """As the recogniser says."""
        return self._recognizer.window_s(request)

    def recognize(self, batch: Sequence[RecognitionRequest]) -> list[RecognitionResult]:
        """As the recogniser does; errors pass through."""
        self._metrics.batch_size.observe(len(batch))
        return self._recognizer.recognize(batch)

    def warm_up(self) -> None:
        """As the recogniser does."""
        self._recognizer.warm_up()
