"""A session on a virtual clock: it speaks, and asks as a live session does, without audio or words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from benchmarks.agenda import Agenda
from benchmarks.simulated_server import Outcome, SimulatedServer, window_s
from benchmarks.simulated_talk import Phrase
from benchmarks.simulated_tally import Asked, FinalTold, SessionTally
from models.windows import SAMPLE_RATE_HZ
from streaming.audio.segmenter import CUT_FROM, cut_planned_s
from streaming.channel import FIRST_INTERIM_MIN_S, FIRST_INTERIM_SHARE
from streaming.config import Settings
from streaming.recognition.request import RecognitionRequest, RequestKind

_MS_PER_S: Final = 1000.0
_ANY_SAMPLE: Final = np.zeros(1, dtype=np.float32)
_SOON_S: Final = 1e-9


@dataclass(slots=True)
class _Segment:
    """Speech from its first phrase on; as `streaming.segment.Segment`, of which it has the requests alone."""

    number: int
    start_s: float
    first_s: float
    """Of its speech; what is before is margin."""
    next_interim_s: float
    """So much speech from its first on, and the next interim is due."""
    interim: RecognitionRequest | None = None
    ahead: RecognitionRequest | None = None
    final: RecognitionRequest | None = None
    answered: bool = False
    decided_s: float | None = None


class SimulatedVoice:
    """One channel: its phrases, and what it asks about them.

    Segments begin, pause, go on, end and are cut as `Segmenter` does it; interims, speculative finals and finals are
    asked for as `Channel` and `Segment` do it. Moments are not rounded to frames and messages of audio.
    """

    def __init__(
        self,
        agenda: Agenda,
        server: SimulatedServer,
        settings: Settings,
        tally: SessionTally,
        *,
        channel: int,
        number: Callable[[], int],
        silent: Callable[[], None],
    ) -> None:
        """It is silent.

        Args:
            agenda: the clock.
            server: asked.
            settings: of segments and interims.
            tally: where it is noted.
            channel: which of its session's voices it is.
            number: the next request's, of the session.
            silent: told once it has spoken its last and has its last final.
        """
        vad, interim_s = settings.vad, settings.asr.interim_s
        self._agenda = agenda
        self._server = server
        self._tally = tally
        self._channel = channel
        self._number = number
        self._silent = silent
        self._open_after_s = max(vad.start_ms, vad.min_segment_ms) / _MS_PER_S
        self._start_s = vad.start_ms / _MS_PER_S
        self._pause_s = vad.pause_ms / _MS_PER_S
        self._endpoint_s = vad.endpoint_ms / _MS_PER_S
        self._pre_roll_s = vad.pre_roll_ms / _MS_PER_S
        self._post_roll_s = min(vad.post_roll_ms, vad.pause_ms) / _MS_PER_S
        self._longest_s = vad.max_segment_s
        self._plan_s = vad.max_segment_s - cut_planned_s(vad.max_segment_s)
        self._cut_s = (CUT_FROM * vad.max_segment_s + self._plan_s) / 2
        """Where speech that is too long is cut: the middle of where the segmenter looks for quiet."""
        self._interim_s = interim_s
        self._first_interim_s = max(FIRST_INTERIM_MIN_S, FIRST_INTERIM_SHARE * interim_s)
        self._phrase: Phrase | None = None
        self._segment: _Segment | None = None
        self._segments = 0
        self._paused = False
        self._ended: deque[_Segment] = deque()
        self._over = False

    def speak(self, said: Iterator[Phrase], until_s: float) -> None:
        """Says phrase after phrase; none begins after `until_s`."""
        phrase = next(said)
        if phrase.start_s >= until_s:
            self._agenda.at(until_s, self._finish)
            return
        self._agenda.at(phrase.start_s, partial(self._say, phrase, said, until_s))

    def _say(self, phrase: Phrase, said: Iterator[Phrase], until_s: float) -> None:
        """A phrase begins: all that its length and the silence behind it will bring about is put down."""
        self._phrase = phrase
        at = self._agenda.at
        after = next(said)
        last = after.start_s >= until_s
        silence_s = max(phrase.silence_s, self._endpoint_s) if last else phrase.silence_s
        if self._segment is None:
            at(phrase.start_s + self._open_after_s, partial(self._begin, phrase.start_s - self._pre_roll_s, phrase))
        elif self._paused:
            at(phrase.start_s + self._start_s, partial(self._resume, self._segment, phrase))
        else:
            self._plan_interim(self._segment)
        if silence_s >= self._pause_s:
            at(phrase.end_s + self._pause_s, self._pause)
        if silence_s >= self._endpoint_s:
            at(phrase.end_s + self._endpoint_s, partial(self._end, phrase.end_s + self._post_roll_s))
        if last:
            at(phrase.end_s + self._endpoint_s, self._finish)
        else:
            at(after.start_s, partial(self._say, after, said, until_s))

    def _begin(self, start_s: float, phrase: Phrase) -> None:
        if self._segment is not None or phrase is not self._phrase:
            return
        self._open(start_s, phrase.start_s)

    def _open(self, start_s: float, first_s: float) -> None:
        self._segments += 1
        self._paused = False
        self._segment = _Segment(self._segments, start_s, first_s, self._first_interim_s)
        self._agenda.at(start_s + self._plan_s, partial(self._plan_cut, self._segment))
        self._agenda.at(start_s + self._longest_s, partial(self._cut, self._segment))
        self._plan_interim(self._segment)

    def _pause(self) -> None:
        segment = self._segment
        if segment is None or self._phrase is None:
            return
        self._paused = True
        self._foresee(segment, self._phrase.end_s + self._post_roll_s)

    def _plan_cut(self, segment: _Segment) -> None:
        """Speech has nearly gone on for too long."""
        if segment is self._segment and not self._paused:
            self._foresee(segment, segment.start_s + self._cut_s)

    def _foresee(self, segment: _Segment, end_s: float) -> None:
        self._forget_ahead(segment)
        segment.ahead = self._request(segment, RequestKind.SPECULATIVE, end_s)
        self._submit(segment, segment.ahead)

    def _resume(self, segment: _Segment, phrase: Phrase) -> None:
        if self._segment is not segment:
            self._begin(phrase.start_s - self._pre_roll_s, phrase)
            return
        self._paused = False
        self._forget_ahead(segment)
        if self._agenda.now_s >= segment.start_s + self._plan_s:
            self._plan_cut(segment)
        self._plan_interim(segment)

    def _forget_ahead(self, segment: _Segment) -> None:
        if segment.ahead is not None and not segment.answered:
            self._server.discard(self._tally.session, segment.ahead.request_id)
        segment.ahead = None
        segment.answered = False

    def _cut(self, segment: _Segment) -> None:
        """Speech has gone on for too long."""
        if segment is not self._segment or self._phrase is None:
            return
        if self._paused:
            self._end(self._phrase.end_s + self._post_roll_s)
            return
        cut_s = segment.start_s + self._cut_s
        self._end(cut_s)
        if self._phrase.end_s > cut_s:
            self._open(cut_s, cut_s)

    def _end(self, end_s: float) -> None:
        """The segment's end is decided."""
        segment = self._segment
        if segment is None:
            return
        self._segment = None
        session = self._tally.session
        if segment.interim is not None:
            self._server.discard(session, segment.interim.request_id)
        segment.decided_s = self._agenda.now_s
        self._tally.decided_s.append(segment.decided_s)
        self._ended.append(segment)
        if segment.ahead is None:
            segment.final = self._request(segment, RequestKind.FINAL, end_s)
            self._submit(segment, segment.final)
        elif not segment.answered:
            self._server.promote(session, segment.ahead.request_id)
        self._tell()

    def _finish(self) -> None:
        self._over = True
        self._tell()

    def _plan_interim(self, segment: _Segment) -> None:
        """Asks for the next interim as soon as there is enough new speech."""
        phrase = self._phrase
        if segment is not self._segment or segment.interim is not None or phrase is None:
            return
        due_s = segment.first_s + segment.next_interim_s
        if due_s <= phrase.end_s:
            self._agenda.at(due_s, partial(self._ask_interim, segment))

    def _ask_interim(self, segment: _Segment) -> None:
        phrase = self._phrase
        if segment is not self._segment or self._paused or segment.interim is not None or phrase is None:
            return
        spoken_s = min(self._agenda.now_s, phrase.end_s) - segment.first_s
        if spoken_s + _SOON_S < segment.next_interim_s:
            return
        step = self._server.step
        segment.next_interim_s = spoken_s + step.spacing * self._interim_s
        segment.interim = self._request(segment, RequestKind.INTERIM, self._agenda.now_s, words=step.words)
        self._submit(segment, segment.interim)

    def _request(self, segment: _Segment, kind: RequestKind, end_s: float, *, words: bool = True) -> RecognitionRequest:
        length = round(min(end_s - segment.start_s, self._longest_s) * SAMPLE_RATE_HZ)
        return RecognitionRequest(
            request_id=self._number(),
            session=self._tally.session,
            channel=self._channel,
            segment=segment.number,
            kind=kind,
            samples=np.broadcast_to(_ANY_SAMPLE, length),
            start_s=segment.start_s,
            transcribe=words,
        )

    def _submit(self, segment: _Segment, request: RecognitionRequest) -> None:
        asked = Asked(request.kind, self._agenda.now_s, window_s(request))
        self._tally.requests.append(asked)
        self._server.submit(request, partial(self._resolve, segment, request, asked))

    def _resolve(self, segment: _Segment, request: RecognitionRequest, asked: Asked, outcome: Outcome) -> None:
        asked.outcome, asked.ended_s = outcome, self._agenda.now_s
        if request is segment.interim:
            segment.interim = None
            self._plan_interim(segment)
        elif request is segment.ahead:
            if outcome is Outcome.ANSWERED:
                segment.answered = True
            else:
                segment.ahead = None
                if segment.decided_s is not None:
                    again = replace(request, request_id=self._number(), kind=RequestKind.FINAL)
                    segment.final = again
                    self._submit(segment, again)
        elif request is segment.final:
            segment.answered = True
        self._tell()

    def _tell(self) -> None:
        """Finals go out in the order of their segments."""
        while self._ended and self._ended[0].answered:
            segment = self._ended.popleft()
            computed = segment.final or segment.ahead
            if segment.decided_s is not None and computed is not None:
                told = FinalTold(segment.decided_s, self._agenda.now_s, window_s(computed))
                self._tally.finals.append(told)
        if self._over and not self._ended and self._segment is None:
            self._over = False
            self._silent()
