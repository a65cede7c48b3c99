"""A batcher for audio that is not live, where nothing is gained by computing ahead."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from streaming.config import BatcherSettings
from streaming.recognition.batcher import Batcher, Deliver
from streaming.recognition.recognizer import Recognizer
from streaming.recognition.request import RecognitionRequest, RecognitionShed, RequestKind


class PatientBatcher(Batcher):
    """Computes a speculative final only once it has become the final.

    So files are cut into the same segments as live audio, with none of them recognised twice.
    """

    def __init__(
        self, recognizer: Recognizer, settings: BatcherSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """See `Batcher`."""
        super().__init__(recognizer, settings, clock=clock, deadline_s=math.inf)
        self._held: dict[tuple[str, int], tuple[RecognitionRequest, Deliver]] = {}

    def submit(self, request: RecognitionRequest, deliver: Deliver) -> None:
        """See `Batcher.submit`; a speculative final waits to be promoted or discarded."""
        if request.kind is RequestKind.SPECULATIVE:
            self._held[request.session, request.request_id] = (request, deliver)
        else:
            super().submit(request, deliver)

    def promote(self, session: str, request_id: int) -> None:
        """See `Batcher.promote`."""
        held = self._held.pop((session, request_id), None)
        if held is not None:
            request, deliver = held
            super().submit(replace(request, kind=RequestKind.FINAL), deliver)

    def discard(self, session: str, request_id: int) -> None:
        """See `Batcher.discard`."""
        held = self._held.pop((session, request_id), None)
        if held is None:
            super().discard(session, request_id)
        else:
            request, deliver = held
            deliver(RecognitionShed(request, "discarded"))

    async def aclose(self, timeout_s: float | None = None) -> None:
        """See `Batcher.aclose`."""
        for session, request_id in list(self._held):
            self.discard(session, request_id)
        await super().aclose(timeout_s)
