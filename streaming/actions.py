"""What a session asks of the shell around it, numbered and in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.speaker import SpeakerMoments
from models.windows import SAMPLE_RATE_HZ
from streaming.events import EmotionEvent, Event
from streaming.latency import later
from streaming.recognition.request import RecognitionRequest, RequestKind


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand a request to the recogniser; its outcome comes back through `Session.resolve`."""

    request: RecognitionRequest


@dataclass(frozen=True, slots=True)
class Promote:
    """A speculative request became the final: it is as urgent as any final now."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Discard:
    """Nobody waits for this request any more; it need not be computed."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Emit:
    """Stamp the event and send it."""

    event: Event
    as_of_s: float | None = None
    """Until which moment its latency counts; None where it has none."""

    def handed_on(self, now_s: float) -> Event:
        """The event with its latency counted until now."""
        if self.as_of_s is None or not isinstance(self.event, EmotionEvent):
            return self.event
        return self.event.model_copy(update={"latency": later(self.event.latency, now_s - self.as_of_s)})


Action = Submit | Promote | Discard | Emit


class Outbox:
    """Gathers the actions of one call into the session.

    Events are numbered from 1 without gaps, requests from 1. A request that is withdrawn before it was taken never
    leaves, and one that is promoted before it was taken leaves as a final: so a long chunk of audio does not send
    the recogniser after speech that has already gone on.
    """

    def __init__(self, session: str) -> None:
        self._session: Final = session
        self._events = 0
        self._requests = 0
        self._pending: list[Action] = []
        self.clock_s = 0.0
        """The session's audio clock; every event carries it."""
        self.hasty = False
        """Whether audio comes faster than it is spoken; every request says so."""

    def emit(self, event: type[Event], *, as_of_s: float | None = None, **fields: Any) -> None:
        """Makes the next event; `fields` are those beyond session, number and time.

        Args:
            event: its type.
            as_of_s: until which moment the latency among its fields counts.
            fields: of the event.
        """
        self._events += 1
        made = event(session=self._session, seq=self._events, time_s=self.clock_s, **fields)
        self._pending.append(Emit(made, as_of_s))

    def submit(
        self,
        kind: RequestKind,
        samples: NDArray[np.float32],
        *,
        channel: int,
        segment: int,
        start_sample: int,
        language: str | None,
        heard: SpeakerMoments,
        score_emotion: bool,
        transcribe: bool = True,
    ) -> RecognitionRequest:
        """Asks for recognition of `samples` (`[samples]`, 16 kHz), which begin at `start_sample` of the channel."""
        self._requests += 1
        request = RecognitionRequest(
            request_id=self._requests,
            session=self._session,
            channel=channel,
            segment=segment,
            kind=kind,
            samples=samples,
            start_s=start_sample / SAMPLE_RATE_HZ,
            language=language,
            heard=heard,
            score_emotion=score_emotion,
            transcribe=transcribe,
            hasty=self.hasty,
        )
        self._pending.append(Submit(request))
        return request

    def submit_again(self, request: RecognitionRequest) -> RecognitionRequest:
        """Asks for the same audio once more, as a final under a new number."""
        self._requests += 1
        again = replace(request, request_id=self._requests, kind=RequestKind.FINAL)
        self._pending.append(Submit(again))
        return again

    def promote(self, request: RecognitionRequest) -> None:
        """Makes a speculative request the final."""
        position = self._untaken(request)
        if position is None:
            self._pending.append(Promote(request.request_id))
        else:
            self._pending[position] = Submit(replace(request, kind=RequestKind.FINAL))

    def discard(self, request: RecognitionRequest) -> None:
        """Withdraws a request."""
        position = self._untaken(request)
        if position is None:
            self._pending.append(Discard(request.request_id))
        else:
            del self._pending[position]

    @property
    def last_seq(self) -> int:
        """Number of the last event; 0 before the first."""
        return self._events

    def take(self) -> list[Action]:
        """The actions since the last call, in order."""
        taken, self._pending = self._pending, []
        return taken

    def _untaken(self, request: RecognitionRequest) -> int | None:
        for position, action in enumerate(self._pending):
            if isinstance(action, Submit) and action.request.request_id == request.request_id:
                return position
        return None
