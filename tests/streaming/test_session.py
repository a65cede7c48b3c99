from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.speaker import Moments
from streaming.audio.codecs import Encoding, encode
from streaming.audio.sources import AudioFormat
from streaming.config import AsrSettings, RolesSettings, ServerSettings, Settings
from streaming.errors import AudioFormatError, CapacityError, ProtocolError
from streaming.events import EmotionEvent, ErrorEvent, SessionEnded, SessionStarted
from streaming.recognition.degradation import Degradation
from streaming.recognition.request import RecognitionRequest, RequestKind
from tests.fakes.shell import MODEL, FakeShell, interleaved, make_session, make_shell, pcm, result, silence, speech

STEREO = AudioFormat(Encoding.PCM16, 16_000, 2)
UTTERANCE = pcm(silence(0.5), speech(1.5), silence(1.0))


def types(talk: FakeShell) -> list[str]:
    return [event.type for event in talk.events]


class TestLife:
    def test_it_starts_with_what_it_hears_who_answers_and_its_limits(self) -> None:
        settings = Settings(server=ServerSettings(max_message_bytes=2048, idle_timeout_s=30, event_buffer=50))
        (started,) = make_shell(settings=settings).events
        assert isinstance(started, SessionStarted)
        assert (started.seq, started.time_s, started.channel, started.role) == (1, 0.0, None, None)
        assert (started.audio.encoding, started.audio.rate_hz, started.audio.channels) == ("pcm_s16le", 16_000, 1)
        assert started.model == MODEL
        assert started.limits.model_dump() == {
            "max_message_bytes": 2048,
            "max_segment_s": 15.0,
            "idle_timeout_s": 30.0,
            "replay_events": 50,
        }

    def test_silence_gives_nothing_but_a_start_and_an_end(self) -> None:
        talk = make_shell()
        talk.hear(pcm(silence(5.0)))
        talk.close("client")
        assert types(talk) == ["session.started", "session.ended"]
        ended = talk.events[-1]
        assert isinstance(ended, SessionEnded)
        assert ended.reason == "client"
        assert ended.totals.model_dump() == {
            "audio_s": 5.0,
            "speech_s": 0.0,
            "segments": 0,
            "finals": 0,
            "interims": 0,
        }

    def test_an_utterance_is_told_in_order(self) -> None:
        talk = make_shell(interim=False)
        talk.hear(UTTERANCE)
        talk.answer_all()
        talk.close()
        assert types(talk) == [
            "session.started",
            "speech.started",
            "speech.ended",
            "transcript",
            "emotion",
            "session.ended",
        ]
        assert [event.seq for event in talk.events] == [1, 2, 3, 4, 5, 6]

    def test_the_end_waits_for_the_last_final(self) -> None:
        talk = make_shell(interim=False)
        talk.hear(UTTERANCE)
        talk.close()
        assert not talk.session.ended
        assert talk.session.outstanding == 1
        talk.answer_all()
        assert talk.session.ended
        assert talk.session.outstanding == 0
        assert types(talk)[-1] == "session.ended"

    def test_totals_add_up(self) -> None:
        talk = make_shell()
        talk.hear(UTTERANCE)
        talk.answer_all()
        for _ in range(20):
            talk.hear(pcm(speech(0.1)))
            talk.answer_all()
        talk.close()
        talk.answer_all()
        ended = talk.events[-1]
        assert isinstance(ended, SessionEnded)
        spans = [event.end_s - event.start_s for event in talk.events if event.type == "speech.ended"]
        interims = [event for event in talk.events if event.type == "transcript" and not event.final]
        assert ended.totals.audio_s == 5.0
        assert ended.totals.speech_s == pytest.approx(sum(spans), abs=0.002)
        assert (ended.totals.segments, ended.totals.finals) == (2, 2)
        assert ended.totals.interims == len(interims) > 0

    def test_nothing_follows_the_end(self) -> None:
        talk = make_shell()
        talk.hear(UTTERANCE)
        late = talk.submitted[0]
        talk.close()
        talk.answer_all()
        assert talk.session.ended
        assert talk.session.close("again", 9.0) == []
        assert talk.session.resolve(result(late), 9.0) == []
        assert talk.session.degrade("lag", 0, 100.0) == []
        assert talk.session.report(CapacityError("full")) == []
        assert talk.session.abandon("late", 9.0) == []

    def test_a_closed_session_takes_no_audio(self) -> None:
        talk = make_shell()
        talk.close()
        with pytest.raises(ProtocolError, match="call-7 is ended, this needs it open"):
            talk.session.receive(UTTERANCE, 0.0)

    def test_it_is_opened_once_and_first(self) -> None:
        with pytest.raises(ProtocolError, match="is new"):
            make_session().receive(UTTERANCE, 0.0)
        with pytest.raises(ProtocolError, match="is open"):
            make_shell().session.open()

    @pytest.mark.parametrize("name", ["", "a/b", "a b", "call\n", "x" * 65, "+", "é"])
    def test_names_that_could_inject_a_topic_level_are_refused(self, name: str) -> None:
        with pytest.raises(ProtocolError, match="session"):
            make_session(name=name)
        with pytest.raises(ProtocolError, match="role"):
            make_session(roles=(name,))

    def test_roles_and_channels_must_match(self) -> None:
        with pytest.raises(ProtocolError, match="1 roles for 2 channels"):
            make_session(audio=STEREO)

    def test_more_channels_than_allowed_are_refused(self) -> None:
        with pytest.raises(AudioFormatError, match="2 channels are more than the 1"):
            make_session(
                settings=Settings(server=ServerSettings(max_channels=1)), audio=STEREO, roles=("customer", "agent")
            )

    def test_an_outcome_of_another_session_is_refused(self) -> None:
        one, other = make_shell(name="one"), make_shell(name="other")
        one.hear(UTTERANCE)
        with pytest.raises(ProtocolError, match="session other was given an outcome of session one"):
            other.session.resolve(result(one.submitted[0]), 0.0)

    def test_abandoning_answers_every_missing_final_with_an_error(self) -> None:
        talk = make_shell(interim=False)
        talk.hear(UTTERANCE + UTTERANCE)
        talk.close("shutdown")
        talk.perform(talk.session.abandon("the server is stopping", 9.0))
        errors = [event for event in talk.events if isinstance(event, ErrorEvent)]
        assert [event.message.split(" could")[0] for event in errors] == [
            "segment 1 of channel 0",
            "segment 2 of channel 0",
        ]
        assert all("the server is stopping" in event.message for event in errors)
        assert sorted(talk.discarded) == sorted(talk.pending)
        assert types(talk)[-1] == "session.ended"

    def test_only_a_closing_session_can_be_abandoned(self) -> None:
        with pytest.raises(ProtocolError, match="is open, this needs it closing"):
            make_shell().session.abandon("no", 0.0)


class TestFlush:
    def test_flush_ends_open_speech_and_the_session_goes_on(self) -> None:
        talk = make_shell(interim=False)
        talk.hear(pcm(silence(0.5), speech(1.5)))
        talk.perform(talk.session.flush(0.0))
        talk.answer_all()
        talk.hear(UTTERANCE)
        talk.answer_all()
        ends = talk.of_type("speech.ended")
        assert [event.reason for event in ends] == ["stream_end", "silence"]
        assert ends[0].end_s == 2.0
        assert [event.segment for event in talk.of_type("emotion")] == [1, 2]

    def test_flush_in_silence_does_nothing(self) -> None:
        talk = make_shell()
        talk.hear(pcm(silence(1.0)))
        assert talk.session.flush(0.0) == []


class TestRoles:
    def test_an_agent_is_transcribed_and_not_scored(self) -> None:
        talk = make_shell(roles=("agent",), interim=False)
        talk.hear(UTTERANCE)
        assert not any(request.score_emotion for request in talk.submitted)
        talk.answer_all()
        assert types(talk)[1:] == ["speech.started", "speech.ended", "transcript"]

    def test_an_agent_is_scored_where_the_operator_says_so(self) -> None:
        talk = make_shell(roles=("agent",), settings=Settings(roles=RolesSettings(score_agents=True)))
        talk.hear(UTTERANCE)
        talk.answer_all()
        assert talk.of_type("emotion")

    def test_channels_are_told_apart_and_share_one_sequence(self) -> None:
        talk = make_shell(audio=STEREO, roles=("customer", "agent"), interim=False)
        customer = np.concatenate([silence(0.5), speech(1.5), silence(3.0)])
        agent = np.concatenate([silence(2.5), speech(1.5), silence(1.0)])
        talk.hear(interleaved(customer, agent))
        talk.answer_all()
        assert [event.seq for event in talk.events] == list(range(1, len(talk.events) + 1))
        told = [(event.channel, event.role, event.type) for event in talk.events[1:]]
        assert [line for line in told if line[0] == 0] == [
            (0, "customer", kind) for kind in ("speech.started", "speech.ended", "transcript", "emotion")
        ]
        assert [line for line in told if line[0] == 1] == [
            (1, "agent", kind) for kind in ("speech.started", "speech.ended", "transcript")
        ]


class TestBadAudio:
    def test_bytes_that_make_no_sample_are_named_at_the_end(self) -> None:
        talk = make_shell()
        talk.hear(pcm(silence(1.0)) + b"\x01")
        talk.close()
        error = talk.events[1]
        assert isinstance(error, ErrorEvent)
        assert (error.code, error.retryable) == ("audio_format", False)
        assert "ended with 1 bytes" in error.message
        assert types(talk)[-1] == "session.ended"

    def test_a_split_sample_is_no_error(self) -> None:
        talk = make_shell(interim=False)
        for start in range(0, len(UTTERANCE), 4_001):
            talk.hear(UTTERANCE[start : start + 4_001])
        talk.answer_all()
        talk.close()
        assert not talk.of_type("error")

    def test_samples_that_are_no_numbers_are_named_once_and_the_stream_goes_on(self) -> None:
        talk = make_shell(audio=AudioFormat(Encoding.FLOAT32, 16_000, 1), interim=False)
        broken = np.full(100, np.nan, dtype="<f4").tobytes()
        talk.hear(broken)
        talk.hear(broken)
        talk.hear(np.concatenate([silence(0.5), speech(1.5), silence(1.0)]).astype("<f4").tobytes())
        talk.answer_all()
        assert types(talk) == [
            "session.started",
            "error",
            "speech.started",
            "speech.ended",
            "transcript",
            "emotion",
        ]
        error = talk.events[1]
        assert isinstance(error, ErrorEvent)
        assert (error.code, error.retryable) == ("audio_format", False)


class TestFormats:
    @pytest.mark.parametrize(
        ("encoding", "rate_hz"), [(Encoding.MULAW, 8_000), (Encoding.ALAW, 8_000), (Encoding.FLOAT32, 44_100)]
    )
    def test_segments_lie_where_they_were_spoken_whatever_the_format(self, encoding: Encoding, rate_hz: int) -> None:
        seconds = np.arange(round(3.0 * rate_hz)) / rate_hz
        tone = 0.5 * np.sin(2 * np.pi * 300 * seconds) * ((seconds >= 0.5) & (seconds < 2.0))
        data = encode(tone, encoding)
        talk = make_shell(audio=AudioFormat(encoding, rate_hz, 1), interim=False)
        for start in range(0, len(data), 1_001):
            talk.hear(data[start : start + 1_001])
        (request,) = talk.submitted
        talk.answer_all()
        talk.close()
        (ended,) = talk.of_type("speech.ended")
        assert ended.start_s == pytest.approx(0.5 - 0.3, abs=0.02)
        assert ended.end_s == pytest.approx(2.0 + 0.16, abs=0.02)
        assert request.duration_s == pytest.approx(ended.end_s - ended.start_s, abs=0.001)
        assert talk.events[-1].totals.audio_s == pytest.approx(3.0, abs=0.001)


class TestNotices:
    def test_degraded_service_is_told(self) -> None:
        talk = make_shell()
        talk.perform(talk.session.degrade("overload", 4, 123.0))
        event = talk.events[-1]
        assert (event.type, event.reason, event.dropped_interims, event.lag_ms) == ("degraded", "overload", 4, 123.0)

    def test_an_error_of_the_shell_is_told_with_its_code(self) -> None:
        talk = make_shell()
        talk.perform(talk.session.report(CapacityError("too many sessions: try later")))
        event = talk.events[-1]
        assert (event.type, event.code, event.message, event.retryable) == (
            "error",
            "capacity",
            "too many sessions: try later",
            True,
        )


class TestLanguage:
    def test_a_given_language_goes_with_every_request(self) -> None:
        talk = make_shell(language="de")
        talk.hear(UTTERANCE)
        for request in list(talk.pending.values()):
            talk.deliver(result(request, language="fr", language_probability=0.99))
        talk.hear(UTTERANCE)
        assert {request.language for request in talk.submitted} == {"de"}

    def test_the_configured_language_goes_with_every_request(self) -> None:
        talk = make_shell(settings=Settings(asr=AsrSettings(language="fr")))
        talk.hear(UTTERANCE)
        assert {request.language for request in talk.submitted} == {"fr"}

    def test_a_language_detected_with_confidence_holds_for_its_channel(self) -> None:
        talk = make_shell(audio=STEREO, roles=("customer", "customer"), interim=False)
        both = np.concatenate([silence(0.5), speech(1.5), silence(1.0)])
        talk.hear(interleaved(both, silence(3.0)))
        (request,) = talk.pending.values()
        talk.deliver(result(request, language="de", language_probability=0.8))
        talk.hear(interleaved(both, both))
        assert [(request.channel, request.language) for request in talk.pending.values()] == [(0, "de"), (1, None)]

    @pytest.mark.parametrize(("text", "probability"), [("well then", 0.79), ("", 0.99)])
    def test_an_unsure_language_is_detected_again(self, text: str, probability: float) -> None:
        talk = make_shell(interim=False)
        talk.hear(UTTERANCE)
        (request,) = talk.pending.values()
        talk.deliver(result(request, text, language="de", language_probability=probability))
        talk.hear(UTTERANCE)
        assert [request.language for request in talk.pending.values()] == [None]


class TestLatency:
    def test_total_counts_from_the_arrival_of_the_last_speech(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(1.0))
        talk.now_s += 0.07
        (request,) = talk.pending.values()
        talk.answer(request)
        (emotion,) = talk.of_type("emotion")
        assert isinstance(emotion, EmotionEvent)
        ended = talk.of_type("speech.ended")[0]
        decided_ms = 1000 * (ended.time_s - 2.0)
        assert emotion.latency.endpoint_ms == pytest.approx(decided_ms, abs=0.2)
        assert emotion.latency.endpoint_ms == pytest.approx(600, abs=20.2)
        assert emotion.latency.total_ms == pytest.approx(1000 * (talk.now_s - 2.0), abs=0.2)
        assert (emotion.latency.queue_ms, emotion.latency.compute_ms) == (2.0, 50.0)

    def test_an_answer_that_was_ready_costs_the_endpoint_silence_alone(self) -> None:
        talk = make_shell(interim=False)
        for start in range(0, len(UTTERANCE), 640):
            talk.hear(UTTERANCE[start : start + 640], took_s=0.02)
            for request in talk.waiting(RequestKind.SPECULATIVE):
                talk.answer(request)
        (emotion,) = talk.of_type("emotion")
        assert isinstance(emotion, EmotionEvent)
        assert emotion.latency.total_ms == emotion.latency.endpoint_ms

    def test_an_interim_counts_from_the_arrival_of_the_last_sample_it_looked_at(self) -> None:
        talk = make_shell()
        for start in range(0, len(UTTERANCE), 640):
            talk.hear(UTTERANCE[start : start + 640], took_s=0.02)
            if talk.waiting(RequestKind.INTERIM):
                break
        talk.now_s += 0.05
        talk.answer_all()
        (emotion,) = talk.of_type("emotion")
        assert isinstance(emotion, EmotionEvent)
        assert (emotion.latency.endpoint_ms, emotion.latency.total_ms) == (0.0, 50.0)

    def test_the_stages_of_the_batch_are_told(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(1.0))
        (request,) = talk.pending.values()
        talk.deliver(replace(result(request), encode_ms=10.0, decode_ms=32.0, emotion_ms=7.5))
        (emotion,) = talk.of_type("emotion")
        assert isinstance(emotion, EmotionEvent)
        assert (emotion.latency.encode_ms, emotion.latency.decode_ms, emotion.latency.emotion_ms) == (10.0, 32.0, 7.5)

    def test_a_final_computed_ahead_was_asked_for_when_speech_paused_and_waits_for_nothing_after_the_end(self) -> None:
        talk = make_shell(interim=False)
        for start in range(0, len(UTTERANCE), 640):
            talk.hear(UTTERANCE[start : start + 640], took_s=0.02)
            for request in talk.waiting(RequestKind.SPECULATIVE):
                answered = result(request, queue_ms=30.0, compute_ms=50.0)
                talk.deliver(replace(answered, answered_s=talk.now_s + 0.08))
        (emotion,) = talk.of_type("emotion")
        assert isinstance(emotion, EmotionEvent)
        assert emotion.latency.request_ms == pytest.approx(200, abs=20.2)
        assert emotion.latency.emit_ms == 0.0

    def test_what_recognition_adds_begins_where_the_endpoint_silence_ends(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(1.0))
        (request,) = talk.pending.values()
        answered = replace(result(request, queue_ms=500.0, compute_ms=200.0), answered_s=talk.now_s + 0.1)
        talk.now_s += 0.13
        talk.deliver(answered)
        (emotion,) = talk.of_type("emotion")
        assert isinstance(emotion, EmotionEvent)
        told = emotion.latency
        assert told.emit_ms == pytest.approx(30, abs=0.2)
        assert told.request_ms + told.queue_ms + told.compute_ms > told.endpoint_ms
        assert told.total_ms == pytest.approx(told.request_ms + 500 + 200 + told.emit_ms, abs=0.3)

    def test_a_final_that_waits_for_an_earlier_one_counts_that_as_telling(self) -> None:
        talk = make_shell(interim=False)
        talk.live(speech(1.5), silence(1.0), speech(1.5), silence(1.0))
        first, second = talk.waiting(RequestKind.FINAL) or talk.pending.values()
        talk.answer(second)
        talk.now_s += 0.4
        talk.answer(first)
        emotions = [event for event in talk.of_type("emotion") if isinstance(event, EmotionEvent)]
        assert [emotion.latency.emit_ms for emotion in emotions] == [0.0, 400.0]


class TestSpeakerMemory:
    def test_a_final_is_remembered_for_the_next_request_of_its_channel_alone(self) -> None:
        talk = make_shell(audio=STEREO, roles=("customer", "customer"), interim=False)
        talk.hear(interleaved(np.concatenate([speech(1.5), silence(1.0)]), silence(2.5)))
        (first,) = talk.waiting(RequestKind.FINAL)
        told = {"acoustic": Moments.of(np.full((10, 2), 3.0))}
        talk.deliver(replace(result(first, "well then", "angry"), moments=told))
        talk.hear(interleaved(*[np.concatenate([speech(1.5), silence(1.0)])] * 2))
        heard = {request.channel: request.heard for request in talk.waiting(RequestKind.FINAL)}
        assert first.heard == {}
        assert heard[0]["acoustic"].frames == 10
        assert heard[1] == {}

    def test_an_interim_is_not_remembered(self) -> None:
        talk = make_shell()
        talk.hear(pcm(silence(0.5), speech(1.0)))
        (interim,) = talk.waiting(RequestKind.INTERIM)
        told = {"acoustic": Moments.of(np.full((10, 2), 3.0))}
        talk.deliver(replace(result(interim, "well", "angry"), moments=told))
        talk.hear(pcm(speech(0.5), silence(1.0)))
        (final,) = talk.waiting(RequestKind.FINAL)
        assert final.heard == {}


class TestDegradation:
    @staticmethod
    def interims(step: Degradation) -> list[RecognitionRequest]:
        """What is asked while someone speaks for eight seconds, every request answered at once."""
        shell = make_shell()
        shell.perform(shell.session.pace(step, 0.0))
        asked = []
        for _ in range(80):
            shell.hear(pcm(speech(0.1)))
            asked += shell.waiting(RequestKind.INTERIM)
            shell.answer_all()
        return asked

    def test_interims_come_half_as_often(self) -> None:
        usual = len(self.interims(Degradation.NONE))

        assert usual == pytest.approx(2 * len(self.interims(Degradation.SLOWER_INTERIMS)), abs=1)

    def test_then_they_come_without_words(self) -> None:
        assert all(request.transcribe for request in self.interims(Degradation.SLOWER_INTERIMS))
        assert not any(request.transcribe for request in self.interims(Degradation.WORDLESS_INTERIMS))


class TestHaste:
    def test_audio_at_the_pace_of_speech_is_not_hasty(self) -> None:
        shell = make_shell()
        shell.live(silence(0.5), speech(5), silence(1))

        assert shell.submitted
        assert not any(request.hasty for request in shell.submitted)

    def test_audio_that_comes_faster_than_it_was_spoken_is(self) -> None:
        shell = make_shell()
        shell.hear(pcm(silence(4), speech(2), silence(1)))

        assert shell.submitted
        assert all(request.hasty for request in shell.submitted)

    def test_it_asks_for_nothing_ahead(self) -> None:
        shell = make_shell(interim=False)
        data = pcm(silence(4), speech(2), silence(1), speech(16), silence(1))
        for start in range(0, len(data), 3200):
            shell.hear(data[start : start + 3200])

        assert {request.kind for request in shell.submitted} == {RequestKind.FINAL}
        assert shell.discarded == []

    def test_what_a_broken_line_held_up_is_not(self) -> None:
        shell = make_shell()
        shell.live(silence(0.5))
        shell.hear(pcm(silence(18), speech(1), silence(1)), took_s=20.0)

        assert shell.submitted
        assert not any(request.hasty for request in shell.submitted)
