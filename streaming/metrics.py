"""Prometheus instruments: what an operator sees of the live runtime. They hold numbers alone, never what was said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streaming.events import (
    EmotionEvent,
    ErrorEvent,
    Event,
    Latency,
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

_LATENCY_BUCKETS_S: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.2,
    0.3,
    0.5,
    0.75,
    1.0,
    1.5,
    2.0,
    3.0,
    5.0,
    10.0,
    30.0,
)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MS_PER_S: Final = 1000.0
_STAGES: Final = MappingProxyType(
    {
        "total": "Last speech sample that was looked at to emotion event",
        "queue": "Request to the start of its batch",
        "compute": "Time of that batch",
        "encode": "Of that batch, the speech encoder",
        "decode": "Of that batch, the words",
        "emotion": "Of that batch, the ensemble and what it alone reads",
        "emit": "Answer there and due to event handed on",
    }
)
"""Of `Latency`, the fields that tell something of finals and interims alike."""
_ANSWERS: Final = ("final", "interim")


class Metrics:
    """The instruments of one server, in a registry of their own so that two servers in a process do not meet."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self.sessions = self._gauge("medusa_sessions", "Sessions open now.")
        self.parked = self._gauge("medusa_sessions_parked", "Open sessions that wait for their client to come back.")
        self.finals_load = self._gauge("medusa_load_finals", "Share of the recogniser's time that finals take.")
        self.interims_load = self._gauge(
            "medusa_load_interims", "Share that interims would take as often as they are wanted; may be above 1."
        )
        self.step = self._gauge(
            "medusa_degradation_step", "0 nothing is given up, 1 interims are slower, 2 without words, 3 finals only."
        )
        self.subscribers = self._gauge("medusa_subscribers", "Event subscriptions open now.")
        self.queue_depth = self._gauge("medusa_queue_depth", "Recognition requests that wait.")
        self.tasks = self._gauge("medusa_tasks", "Tasks on the server's event loop.")
        self.lag_s = self._histogram("medusa_lag_seconds", "Age of the oldest unanswered final, when audio arrives.")
        self.sessions_started = self._counter("medusa_sessions_started", "Sessions begun.")
        self.sessions_ended = self._counter("medusa_sessions_ended", "Sessions ended, by reason.", "reason")
        self.sessions_resumed = self._counter("medusa_sessions_resumed", "Sessions taken up again by their client.")
        self.refused = self._counter("medusa_refused", "Connections turned away, by error code.", "code")
        self.audio_s = self._counter("medusa_audio_seconds", "Audio received, on the sessions' clocks.")
        self.held_s = self._counter("medusa_held_seconds", "Time that audio waited because it came too fast.")
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
        self.endpoint_s = self._histogram("medusa_latency_endpoint_seconds", "Silence until speech counted as ended.")
        self.stages_s: Final = {
            stage: self._histogram(f"medusa_latency_{stage}_seconds", f"{what}, by answer: final or interim.", "answer")
            for stage, what in _STAGES.items()
        }
        for histogram in self.stages_s.values():
            for answer in _ANSWERS:
                histogram.labels(answer)  # there from the first scrape on, so that rates begin at zero

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(name, what, registry=self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, *labels: str) -> Histogram:
        return Histogram(name, what, labels, buckets=_LATENCY_BUCKETS_S, registry=self.registry)

    def watch(self, **figures: Callable[[], float]) -> None:
        """Reads these figures whenever the metrics are asked for: gauges by their names here."""
        for name, read in figures.items():
            getattr(self, name).set_function(read)

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
            case EmotionEvent(final=final, latency=latency):
                self._observe_latency(latency, final=final)
            case ErrorEvent(code=code):
                self.errors.labels(code).inc()
            case _:
                pass

    def _observe_latency(self, latency: Latency, *, final: bool) -> None:
        answer = _ANSWERS[not final]
        if final:
            self.endpoint_s.observe(latency.endpoint_ms / _MS_PER_S)
        for stage, histogram in self.stages_s.items():
            histogram.labels(answer).observe(getattr(latency, f"{stage}_ms") / _MS_PER_S)

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
