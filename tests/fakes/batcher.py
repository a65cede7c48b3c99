"""A batcher for tests of the runner: it answers when told to."""

from __future__ import annotations

from collections.abc import Callable

from streaming.recognition.degradation import Degradation
from streaming.recognition.request import RecognitionOutcome, RecognitionRequest, RecognitionShed, RequestKind
from tests.fakes.shell import result

Deliver = Callable[[RecognitionOutcome], None]


class HeldBatcher:
    """Holds every request; as in the real one, each is delivered exactly once."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[RecognitionRequest, Deliver]] = {}
        self.promoted: list[int] = []
        self.shed_interims_at_once = False
        """Deliver interims as shed from within `submit`, as a full queue does."""

        self.step = Degradation.NONE

    @property
    def depth(self) -> int:
        return len(self.held)

    def submit(self, request: RecognitionRequest, deliver: Deliver) -> None:
        if self.shed_interims_at_once and request.kind is RequestKind.INTERIM:
            deliver(RecognitionShed(request, "overload"))
        else:
            self.held[request.request_id] = (request, deliver)

    def promote(self, _session: str, request_id: int) -> None:
        self.promoted.append(request_id)

    def discard(self, _session: str, request_id: int) -> None:
        if request_id in self.held:
            request, deliver = self.held.pop(request_id)
            deliver(RecognitionShed(request, "discarded"))

    def answer_all(self) -> None:
        while self.held:
            self.answer(next(iter(self.held)))

    def answer(self, request_id: int, text: str = "well then") -> None:
        request, deliver = self.held.pop(request_id)
        deliver(result(request, text))
