"""All decisions about recognition requests: the order, the company, what is given up, who is let in.

Pure: it is told the time and what batches took, and can be driven on a virtual clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from models.windows import FINAL_WINDOWS
from streaming.config import BatcherSettings
from streaming.recognition.admission import Admission
from streaming.recognition.degradation import Degradation, DegradationLadder
from streaming.recognition.load import Load, LoadMeter
from streaming.recognition.request import RecognitionRequest, RecognitionShed, RequestKind
from streaming.recognition.request_queue import RequestQueue, Urgency
from streaming.recognition.service_times import ServiceTimes

_SHARES: Final = {
    Urgency.FINAL: 1.0,
    Urgency.SPECULATIVE: 0.5,
    Urgency.HASTY_FINAL: 0.25,
    Urgency.INTERIM: 0.25,
}
"""Of the deadline, what one batch may take: whatever is computed keeps the next final waiting, and the less urgent it
is, the less it may."""


class Scheduler:
    """The batcher's mind.

    - Order, fairness, replacement and bounds are those of `RequestQueue`.
    - A batch takes no longer than its urgency's share of the deadline, as far as service times are known; one request
      always goes.
    - Under load interims give way by the steps of `Degradation`; at the last one they are shed as they come.
    - What is put in comes out exactly once: from `take`, `discard`, `shed_unwanted`, or as shed by `add`.
    """

    def __init__(self, settings: BatcherSettings, *, interim_s: float, deadline_s: float | None = None) -> None:
        """Nothing waits.

        Args:
            settings: the `[batcher]` section.
            interim_s: new speech between two interims of a segment.
            deadline_s: within which finals are to be answered; None for the setting's.
        """
        self._settings = settings
        self._deadline_s = settings.deadline_ms / 1000 if deadline_s is None else deadline_s
        self._queue = RequestQueue(settings.max_queue)
        self._times = ServiceTimes()
        self._meter = LoadMeter(interim_s)
        self._ladder = DegradationLadder()
        self._admission = Admission()

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @property
    def step(self) -> Degradation:
        """What is given up at present."""
        return self._ladder.step

    def add(self, request: RecognitionRequest, window_s: float, now_s: float) -> list[RecognitionShed]:
        """Puts a request in.

        Args:
            request: not waiting yet.
            window_s: its length bucket.
            now_s: the moment.

        Returns:
            What is not computed because of it, maybe the request itself.

        Raises:
            RecognitionError: the session has a request of this number waiting.
        """
        place = (request.session, request.channel, request.segment)
        if request.kind is RequestKind.INTERIM:
            self._meter.asked(*place, now_s)
        else:
            self._meter.answered(*place)
        self.update(now_s)
        if request.kind is RequestKind.INTERIM and self.step is Degradation.FINALS_ONLY:
            return [RecognitionShed(request, "overload")]
        return self._queue.add(request, window_s)

    def promote(self, session: str, request_id: int) -> None:
        """See `RequestQueue.promote`."""
        self._queue.promote(session, request_id)

    def discard(self, session: str, request_id: int) -> RecognitionRequest | None:
        """See `RequestQueue.discard`."""
        return self._queue.discard(session, request_id)

    def shed_unwanted(self, reason: Literal["discarded", "overload"]) -> list[RecognitionShed]:
        """See `RequestQueue.shed_unwanted`."""
        return self._queue.shed_unwanted(reason)

    def take(self) -> list[RecognitionRequest]:
        """Takes the next batch out: of one urgency and one length bucket; empty when nothing waits."""
        return self._queue.take(self._most, self._settings.max_padded_s)

    def computed(self, batch: Sequence[RecognitionRequest], window_s: float, started_s: float, ended_s: float) -> None:
        """A batch was computed.

        Args:
            batch: as it was taken, or a part of it.
            window_s: its length bucket.
            started_s: when it began.
            ended_s: when it was done.
        """
        kind, words = batch[0].kind, any(request.transcribe for request in batch)
        self._times.observe(window_s, len(batch), ended_s - started_s, words=words)
        share_s = self._share_s(kind, window_s, words=words)
        work_s = ended_s - started_s
        if share_s is not None:
            work_s = min(work_s, len(batch) * share_s)
        self._meter.computed(kind, len(batch), work_s, ended_s, words=words)
        if kind is not RequestKind.INTERIM:
            self._admission.final_computed(work_s, ended_s)
        self.update(ended_s)

    def update(self, now_s: float) -> Degradation:
        """What is given up from now on."""
        return self._ladder.update(self._meter.load(now_s), now_s)

    def load(self, now_s: float) -> Load:
        """What is asked of the recogniser."""
        return self._meter.load(now_s)

    def session_count(self, sessions: int, now_s: float) -> None:
        """So many sessions are open from now on."""
        self._admission.session_count(sessions, now_s)

    def check_room(self, sessions: int, now_s: float) -> None:
        """Returns if there is room for one session more than are open.

        Raises:
            CapacityError: there is not; it says when to try again.
        """
        self._admission.check(sessions, self._share_s(RequestKind.FINAL, FINAL_WINDOWS.buckets_s[0]), now_s)

    def _most(self, urgency: Urgency, window_s: float) -> int:
        return self._times.largest_batch(window_s, self._settings.max_batch, _SHARES[urgency] * self._deadline_s)

    def _share_s(self, kind: RequestKind, window_s: float, *, words: bool = True) -> float | None:
        """Of the recogniser's time, what one request costs; None while nothing is known."""
        most = min(self._most(Urgency.of(kind), window_s), int(self._settings.max_padded_s / window_s))
        return self._times.share(window_s, most, words=words)
