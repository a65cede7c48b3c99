"""One connection's stream: audio in, requests out, outcomes in, events out. Pure: it never waits and reads no clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from streaming.actions import Action, Discard, Emit, Outbox, Promote, Submit
from streaming.arrivals import Arrivals
from streaming.audio.codecs import Decoder
from streaming.audio.sources import AudioFormat
from streaming.audio.vad import VoiceActivityDetector, make_vad
from streaming.channel import Channel
from streaming.config import Settings, VadSettings
from streaming.errors import AudioFormatError, ProtocolError, StreamingError
from streaming.events import (
    IDENTIFIER_PATTERN,
    AudioInfo,
    Degraded,
    ErrorEvent,
    Limits,
    ModelInfo,
    SessionEnded,
    SessionStarted,
    Totals,
)
from streaming.pace import Haste
from streaming.recognition.degradation import Degradation
from streaming.recognition.request import RecognitionOutcome
from streaming.segment import Speaker

__all__ = ["Action", "Discard", "Emit", "Promote", "Session", "Submit"]

AGENT_ROLE: Final = "agent"
"""Transcribed, and scored only if `[roles] score_agents` says so."""
_STEP_S: Final = 0.1
"""Longer messages are heard in such steps, so that events and interims fall where they would in a live stream."""


class _State(Enum):
    NEW = auto()
    OPEN = auto()
    CLOSING = auto()
    ENDED = auto()


class Session:
    """The state of one connection, all of it and nobody else's.

    Every method gives the actions the shell has to carry out, in order. Moments (`now_s`) are seconds on any clock
    that never goes back; they serve the latency figures alone. Events carry the session's own audio clock.

    What clients may rely on: the first event is `session.started`, the last and only one of its kind is
    `session.ended`; numbers have no gaps; within a segment `speech.started` comes first, then interims, `speech.ended`,
    the final transcript and, where the role is scored, the final emotion (or one `error` in place of both); finals of
    a channel come in the order of its segments.

    Args:
        session_id: 1 to 64 of `A-Z a-z 0-9 _ -`; names the session in events and topics.
        settings: all of them; their sections go to the parts.
        audio: what `receive` will be given.
        roles: one a channel, of the same characters as `session_id`.
        language: ISO 639-1 code; None for the configured one, or to detect it.
        interim: whether interims are wanted.
        model: who answers, for `session.started`.
        vad: makes a voice activity detector; called once a channel, since detectors have state.

    Raises:
        ProtocolError: a name has other characters, or roles and channels do not match in number.
        AudioFormatError: more channels than `[server] max_channels`.
    """

    def __init__(
        self,
        session_id: str,
        settings: Settings,
        audio: AudioFormat,
        roles: tuple[str, ...],
        *,
        language: str | None = None,
        interim: bool = True,
        model: ModelInfo,
        vad: Callable[[VadSettings], VoiceActivityDetector] = make_vad,
    ) -> None:
        _check_names(session_id, roles)
        _check_channels(audio.channels, roles, settings.server.max_channels)
        self.session_id: Final = session_id
        self._settings: Final = settings
        self._audio: Final = audio
        self._model: Final = model
        self._outbox: Final = Outbox(session_id)
        self._decoder: Final = Decoder(audio.encoding, audio.channels)
        self._arrivals: Final = Arrivals(settings.vad.max_segment_s + settings.vad.endpoint_max_ms / 1000)
        self._channels: Final = tuple(
            Channel(
                Speaker(
                    index,
                    role,
                    role != AGENT_ROLE or settings.roles.score_agents,
                    settings.emotion,
                    settings.privacy.transcripts,
                ),
                settings,
                rate_hz=audio.rate_hz,
                outbox=self._outbox,
                arrivals=self._arrivals,
                vad=vad(settings.vad),
                language=language or settings.asr.language or None,
                interim=interim,
            )
            for index, role in enumerate(roles)
        )
        self._received = 0
        self._haste: Final = Haste()
        self._repair_reported = False
        self._reason = ""
        self._state = _State.NEW

    @property
    def ended(self) -> bool:
        """Whether `session.ended` was emitted; nothing follows it."""
        return self._state is _State.ENDED

    @property
    def last_seq(self) -> int:
        """`seq` of the last event; 0 before the first."""
        return self._outbox.last_seq

    @property
    def outstanding(self) -> int:
        """Ended segments whose final was not emitted yet."""
        return sum(channel.outstanding for channel in self._channels)

    def open(self) -> list[Action]:
        """Starts the session.

        Raises:
            ProtocolError: it was started before.
        """
        self._require(_State.NEW)
        self._state = _State.OPEN
        server = self._settings.server
        self._outbox.emit(
            SessionStarted,
            audio=AudioInfo(
                encoding=self._audio.encoding.value, rate_hz=self._audio.rate_hz, channels=self._audio.channels
            ),
            model=self._model,
            limits=Limits(
                max_message_bytes=server.max_message_bytes,
                max_segment_s=self._settings.vad.max_segment_s,
                idle_timeout_s=server.idle_timeout_s,
                replay_events=server.event_buffer,
            ),
        )
        return self._outbox.take()

    def receive(self, data: bytes, now_s: float) -> list[Action]:
        """Hears audio as it arrived: any number of bytes, samples may be split anywhere.

        Raises:
            ProtocolError: the session is not open.
        """
        self._require(_State.OPEN)
        audio = self._decoder.push(data)
        self._report_repairs()
        for piece in self._steps(audio):
            self._received += piece.shape[1]
            self._outbox.clock_s = self._received / self._audio.rate_hz
            self._outbox.hasty = self._haste.heard(piece.shape[1] / self._audio.rate_hz, now_s)
            self._arrivals.record(self._outbox.clock_s, now_s)
            for channel, samples in zip(self._channels, piece, strict=True):
                channel.hear(samples, now_s)
        return self._outbox.take()

    @property
    def received_samples(self) -> int:
        """Samples of each channel that were heard, at the session's rate."""
        return self._received

    def interrupt(self) -> None:
        """The connection broke: the next audio begins behind the last whole sample."""
        self._decoder.flush()

    def flush(self, now_s: float) -> list[Action]:
        """Ends open speech now; the session goes on.

        Raises:
            ProtocolError: the session is not open.
        """
        self._require(_State.OPEN)
        for channel in self._channels:
            channel.flush(now_s)
        return self._outbox.take()

    def close(self, reason: str, now_s: float) -> list[Action]:
        """Takes no more audio and ends open speech; `session.ended` follows the last final, maybe at once.

        Closing again changes nothing.

        Raises:
            ProtocolError: the session was never opened.
        """
        if self._state in (_State.CLOSING, _State.ENDED):
            return []
        self._require(_State.OPEN)
        self._state = _State.CLOSING
        self._reason = reason
        leftover = self._decoder.flush()
        if leftover:
            self._error(
                AudioFormatError.code,
                f"the audio ended with {leftover} bytes that make no whole sample; they were left out: check that "
                f"it is {self._audio.encoding.value} with {self._audio.channels} channels",
            )
        for channel in self._channels:
            channel.finish(now_s)
        self._end_when_done()
        return self._outbox.take()

    def resolve(self, outcome: RecognitionOutcome, now_s: float) -> list[Action]:
        """Takes the outcome of a submitted request; of one that is not waited for any more, nothing follows.

        Raises:
            ProtocolError: the request is another session's.
        """
        request = outcome.request
        if request.session != self.session_id:
            raise ProtocolError(f"session {self.session_id} was given an outcome of session {request.session}")
        self._channels[request.channel].resolve(outcome, now_s)
        self._end_when_done()
        return self._outbox.take()

    def degrade(
        self, reason: Literal["overload", "slow_consumer", "lag"], dropped_interims: int, lag_ms: float
    ) -> list[Action]:
        """Tells the client that it gets less than it should; nothing once the session has ended."""
        if self._state in (_State.OPEN, _State.CLOSING):
            self._outbox.emit(
                Degraded, channel=None, role=None, reason=reason, dropped_interims=dropped_interims, lag_ms=lag_ms
            )
        return self._outbox.take()

    def pace(self, step: Degradation, lag_ms: float) -> list[Action]:
        """Gives up so much from now on, and tells the client; nothing once the session has ended."""
        for channel in self._channels:
            channel.pace(step)
        if self._state in (_State.OPEN, _State.CLOSING):
            self._outbox.emit(
                Degraded,
                channel=None,
                role=None,
                reason="overload",
                dropped_interims=0,
                lag_ms=lag_ms,
                step=step.name.lower(),
            )
        return self._outbox.take()

    def report(self, error: StreamingError) -> list[Action]:
        """Tells the client of an error the shell met; nothing once the session has ended."""
        if self._state in (_State.OPEN, _State.CLOSING):
            self._error(error.code, str(error), retryable=error.retryable)
        return self._outbox.take()

    def abandon(self, message: str, now_s: float) -> list[Action]:
        """Ends a closing session now: each final still waited for becomes an `error` event with `message`.

        Raises:
            ProtocolError: the session was not closed first.
        """
        if self.ended:
            return []
        self._require(_State.CLOSING)
        for channel in self._channels:
            channel.abandon(message, now_s)
        self._end_when_done()
        return self._outbox.take()

    def _steps(self, audio: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        step = max(1, round(_STEP_S * self._audio.rate_hz))
        for start in range(0, audio.shape[1], step):
            yield audio[:, start : start + step]

    def _report_repairs(self) -> None:
        if self._decoder.repaired_samples and not self._repair_reported:
            self._repair_reported = True
            self._error(
                AudioFormatError.code,
                "the audio holds samples that are not finite numbers; they are heard as silence: check the encoder "
                "(this is said once a session)",
            )

    def _end_when_done(self) -> None:
        if self._state is not _State.CLOSING or self.outstanding:
            return
        tallies = [channel.tally for channel in self._channels]
        self._outbox.emit(
            SessionEnded,
            reason=self._reason,
            totals=Totals(
                audio_s=self._outbox.clock_s,
                speech_s=sum(tally.speech_samples for tally in tallies) / SAMPLE_RATE_HZ,
                segments=sum(tally.segments for tally in tallies),
                finals=sum(tally.finals for tally in tallies),
                interims=sum(tally.interims for tally in tallies),
            ),
        )
        self._state = _State.ENDED

    def _error(self, code: str, message: str, *, retryable: bool = False) -> None:
        self._outbox.emit(ErrorEvent, channel=None, role=None, code=code, message=message, retryable=retryable)

    def _require(self, state: _State) -> None:
        if self._state is not state:
            raise ProtocolError(
                f"session {self.session_id} is {self._state.name.lower()}, this needs it {state.name.lower()}"
            )


def _check_names(session_id: str, roles: tuple[str, ...]) -> None:
    for what, name in (("session", session_id), *(("role", role) for role in roles)):
        if re.fullmatch(IDENTIFIER_PATTERN, name) is None:
            raise ProtocolError(f"{what} {name!r} may hold 1 to 64 of A-Z a-z 0-9 _ -, and nothing else")


def _check_channels(channels: int, roles: tuple[str, ...], max_channels: int) -> None:
    if channels > max_channels:
        raise AudioFormatError(f"{channels} channels are more than the {max_channels} a session may have")
    if len(roles) != channels:
        raise ProtocolError(f"got {len(roles)} roles for {channels} channels: name one role a channel")
