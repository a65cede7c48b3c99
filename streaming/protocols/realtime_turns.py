"""From a session's events to a Realtime conversation's items: a turn of speech is one item.

Where the server finds the turns, each segment is one. Where the client commits them, a turn is every segment between
two commits; which speech came before a commit is told by the number of the session's last event when it came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streaming.errors import RecognitionError
from streaming.events import EmotionEvent, ErrorEvent, Event, SpeechEnded, SpeechStarted, TranscriptEvent
from streaming.recognition.wording import join

_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"
EMOTION: Final = "conversation.item.input_audio_emotion"
"""What our own messages begin with: OpenAI has none of that name."""
_MS_PER_S: Final = 1000

Write = Callable[..., str]
"""Makes a message of its type and fields."""


@dataclass(slots=True)
class _Turn:
    item: str
    seconds: float = 0.0
    committed_at: int | None = None
    """`seq` of the last event that may belong to it; None while it goes on."""
    cleared_at: int = 0
    """`seq` of the last event before it that was to be forgotten."""
    is_announced: bool = False
    """Whether the client was told of the commit; nothing completes before."""
    is_cleared: bool = False
    """Nothing is told of it."""
    waiting: set[int] = field(default_factory=set)
    """Segments without a final."""
    texts: list[str] = field(default_factory=list)
    """Of the finals."""
    failure: str | None = None
    """Why one of its segments has none."""
    shown_last: str = ""
    """The last character that was told of it."""


@dataclass(slots=True)
class _Segment:
    turn: _Turn
    start_s: float
    shown: str = ""
    """Words that were told already."""


class RealtimeTurns:
    """The items of one session, in order."""

    def __init__(self, session: str, write: Write, *, detects: bool, is_beta: bool) -> None:
        """Nobody has spoken.

        Args:
            session: its name.
            write: makes messages.
            detects: whether speech and silence make the turns.
            is_beta: whether items are told as the beta did.
        """
        self._session: Final = session
        self._write: Final = write
        self._detects: Final = detects
        self._is_beta: Final = is_beta
        self._items = 0
        self._previous: str | None = None
        """The item committed last."""
        self._current: _Turn | None = None
        """What the client's next commit will close."""
        self._committed: Final[deque[_Turn]] = deque()
        """Not completed yet."""
        self._segments: Final[dict[int, _Segment]] = {}
        """Not settled yet, in order."""
        self._told = 0
        """`seq` of the last event that was told."""
        self._cleared_at = 0

    @property
    def unanswered(self) -> int:
        """Turns that were committed and not completed."""
        return len(self._committed)

    def commit(self, seq: int, seconds: float) -> Iterator[str]:
        """The client has closed a turn.

        Args:
            seq: of the session's last event.
            seconds: of audio in it.

        Yields:
            What it is told, each message once the one before was sent.
        """
        turn, self._current = self._current or self._begin(), None
        turn.seconds = seconds
        yield from self._commit(turn, seq)
        turn.is_announced = True
        yield from self._complete()

    def clear(self, seq: int) -> Sequence[str]:
        """What was not committed is to be forgotten.

        Args:
            seq: of the session's last event.
        """
        self._cleared_at = seq
        self._current = None
        for segment in self._segments.values():
            if segment.turn.committed_at is None:
                segment.turn.is_cleared = True
        return (self._write("input_audio_buffer.cleared"),)

    def tell(self, event: Event) -> Sequence[str]:
        """What an event of the session says of its turns."""
        told: list[str] = []
        match event:
            case SpeechStarted():
                told += self._start(event)
            case TranscriptEvent():
                told += self._words(event)
            case EmotionEvent():
                told += self._emotion(event)
            case SpeechEnded():
                told += self._end(event)
            case ErrorEvent(code=RecognitionError.code, channel=int()) if self._segments:
                # Instead of a final; finals come in the order of segments.
                number, segment = next(iter(self._segments.items()))
                segment.turn.failure = event.message
                self._settle(number)
            case _:
                pass
        self._told = event.seq
        return (*told, *self._complete())

    def _begin(self) -> _Turn:
        self._items += 1
        return _Turn(f"item_{self._session}_{self._items}")

    def _turn_of(self, seq: int) -> _Turn:
        """Whose turn it was when the session said so."""
        if not self._detects:
            for turn in self._committed:
                if turn.committed_at is not None and seq <= turn.committed_at:
                    return turn if seq > turn.cleared_at else _Turn("", is_cleared=True)
        if seq <= self._cleared_at:
            return _Turn("", is_cleared=True)
        if self._detects:
            return self._begin()
        self._current = self._current or self._begin()
        return self._current

    def _start(self, event: SpeechStarted) -> Sequence[str]:
        turn = self._turn_of(event.seq)
        turn.waiting.add(event.segment)
        self._segments[event.segment] = _Segment(turn, event.start_s)
        if turn.is_cleared or not self._detects:
            return ()
        start_ms = _ms(event.start_s)
        return (self._write("input_audio_buffer.speech_started", item_id=turn.item, audio_start_ms=start_ms),)

    def _end(self, event: SpeechEnded) -> Sequence[str]:
        segment = self._segments.get(event.segment)
        if segment is None or segment.turn.is_cleared or not self._detects:
            return ()
        turn = segment.turn
        turn.seconds = event.end_s - segment.start_s
        end_ms = _ms(event.end_s)
        stopped = self._write("input_audio_buffer.speech_stopped", item_id=turn.item, audio_end_ms=end_ms)
        turn.is_announced = True
        return (stopped, *self._commit(turn, event.seq))

    def _words(self, event: TranscriptEvent) -> Sequence[str]:
        segment = self._segments.get(event.segment)
        if segment is None:
            return ()
        turn, text = segment.turn, event.committed
        if event.final:
            turn.texts.append(text)
        # A final may contradict what was shown: then the completed transcript alone has it.
        if turn.is_cleared or not text.startswith(segment.shown) or text == segment.shown:
            return ()
        delta = text[len(segment.shown) :] if segment.shown else join([turn.shown_last, text])[len(turn.shown_last) :]
        segment.shown, turn.shown_last = text, text[-1]
        return (self._write(f"{_TRANSCRIPTION}.delta", item_id=turn.item, content_index=0, delta=delta),)

    def _emotion(self, event: EmotionEvent) -> Sequence[str]:
        segment = self._segments.get(event.segment)
        if segment is None:
            return ()
        if event.final:
            self._settle(event.segment)
        if segment.turn.is_cleared:
            return ()
        told = event.model_dump(include={"label", "abstained", "confidence", "scores", "attributes"}, mode="json")
        return (
            self._write(
                f"{EMOTION}.{'completed' if event.final else 'updated'}",
                item_id=segment.turn.item,
                content_index=0,
                audio_start_ms=_ms(event.start_s),
                audio_end_ms=_ms(event.end_s),
                **told,
            ),
        )

    def _settle(self, number: int) -> None:
        segment = self._segments.pop(number)
        segment.turn.waiting.discard(number)

    def _commit(self, turn: _Turn, seq: int) -> Sequence[str]:
        turn.committed_at, turn.cleared_at = seq, self._cleared_at
        self._committed.append(turn)
        places: dict[str, Any] = {"previous_item_id": self._previous}
        self._previous = turn.item
        item = {
            "id": turn.item,
            "object": "realtime.item",
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        kinds = ("created",) if self._is_beta else ("added", "done")
        return (
            self._write("input_audio_buffer.committed", item_id=turn.item, **places),
            *(self._write(f"conversation.item.{kind}", item=item, **places) for kind in kinds),
        )

    def _complete(self) -> Sequence[str]:
        """Ends the items of which nothing more will be told."""
        told: list[str] = []
        while self._committed:
            turn = self._committed[0]
            is_told = turn.is_announced and turn.committed_at is not None and turn.committed_at <= self._told
            if turn.waiting or not is_told:
                break
            self._committed.popleft()
            told += self._outcome(turn)
        return told

    def _outcome(self, turn: _Turn) -> Sequence[str]:
        place = {"item_id": turn.item, "content_index": 0}
        failed = {"type": "server_error", "code": RecognitionError.code, "message": turn.failure, "param": None}
        if turn.failure is not None and not turn.texts:
            return (self._write(f"{_TRANSCRIPTION}.failed", **place, error=failed),)
        usage: Mapping[str, Any] = {"type": "duration", "seconds": round(turn.seconds, 3)}
        completed = self._write(f"{_TRANSCRIPTION}.completed", **place, transcript=join(turn.texts), usage=usage)
        if turn.failure is None:
            return (completed,)
        return self._write("error", error={**failed, "event_id": None}), completed


def _ms(seconds: float) -> int:
    return round(seconds * _MS_PER_S)
