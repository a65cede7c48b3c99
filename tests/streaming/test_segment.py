"""A segment on its way from its first frame to its final answer, heard through a session."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from models.speaker import UNHEARD
from streaming.actions import Discard, Emit, Outbox, Submit
from streaming.answers import Stretch
from streaming.config import AsrSettings, EmotionSettings, Settings
from streaming.errors import RecognitionError
from streaming.events import EmotionEvent, ErrorEvent, TranscriptEvent
from streaming.recognition.request import RecognitionRequest, RecognitionShed, RequestKind
from streaming.segment import Known, Segment, Speaker, Tally
from tests.fakes.shell import TICK_S, FakeShell, make_shell, pcm, silence, speech
from tests.fakes.vad import LateVad, LoudnessVad

FINAL, SPECULATIVE, INTERIM = RequestKind.FINAL, RequestKind.SPECULATIVE, RequestKind.INTERIM


NOTHING_KNOWN = Known(language=None, heard=UNHEARD)


def types_of(talk: FakeShell, segment: int = 1) -> list[str]:
    return [event.type for event in talk.events if getattr(event, "segment", None) == segment]


def only(talk: FakeShell, kind: RequestKind) -> RecognitionRequest:
    (request,) = talk.waiting(kind)
    return request


def kinds(talk: FakeShell) -> list[RequestKind]:
    return [request.kind for request in talk.submitted]


def emotions(talk: FakeShell) -> list[EmotionEvent]:
    return [event for event in talk.events if isinstance(event, EmotionEvent)]


def transcripts(talk: FakeShell) -> list[TranscriptEvent]:
    return [event for event in talk.events if isinstance(event, TranscriptEvent)]


def errors(talk: FakeShell) -> list[ErrorEvent]:
    return [event for event in talk.events if isinstance(event, ErrorEvent)]


def make_segment(outbox: Outbox) -> Segment:
    speaker = Speaker(0, "customer", True, EmotionSettings(), "full")
    return Segment(1, 0, speaker=speaker, outbox=outbox, tally=Tally())


def stretch(start_sample: int, end_sample: int) -> Stretch:
    length = end_sample - start_sample
    return Stretch(start_sample, end_sample, length, arrived_s=1.0, samples=np.zeros(length, dtype=np.float32))


class TestInterims:
    def test_the_first_comes_sooner_than_the_others(self) -> None:
        talk = make_shell()
        talk.live(silence(0.5))
        asked = []
        for _ in range(200):
            talk.live(speech(0.02))
            for request in talk.waiting(INTERIM):
                asked.append(request.duration_s)
                talk.answer(request)
        assert 0.6 <= asked[0] < 1.0
        assert [later - sooner for sooner, later in itertools.pairwise(asked)] == pytest.approx(
            [1.0] * (len(asked) - 1), abs=TICK_S
        )
        assert len(asked) == 4

    def test_the_first_waits_for_enough_speech_even_where_interims_are_frequent(self) -> None:
        talk = make_shell(settings=Settings(asr=AsrSettings(interim_s=0.2)), interim=True)
        talk.live(silence(0.5), speech(0.5))
        assert talk.submitted == []
        talk.live(speech(0.2))
        assert kinds(talk) == [INTERIM]

    def test_only_one_is_in_flight_at_a_time(self) -> None:
        talk = make_shell()
        talk.live(silence(0.5), speech(5.0))
        assert kinds(talk) == [INTERIM]
        talk.answer(only(talk, INTERIM))
        talk.live(speech(0.02))
        assert only(talk, INTERIM).duration_s > 5.0

    def test_a_message_of_seconds_asks_as_often_as_a_live_stream_that_is_not_answered(self) -> None:
        talk = make_shell()
        talk.hear(pcm(silence(0.5), speech(5.0)))
        assert kinds(talk) == [INTERIM]

    def test_none_is_asked_for_where_none_is_wanted(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(5.0))
        assert talk.submitted == []

    def test_none_is_asked_for_while_speech_pauses(self) -> None:
        talk = make_shell(settings=Settings(asr=AsrSettings(interim_s=0.2)))
        talk.live(silence(0.5), speech(1.0))
        talk.answer(only(talk, INTERIM))
        talk.live(silence(0.3))
        before = len([kind for kind in kinds(talk) if kind is INTERIM])
        talk.live(silence(0.2))
        assert len([kind for kind in kinds(talk) if kind is INTERIM]) == before

    def test_none_is_asked_for_in_a_pause_even_where_one_is_due(self) -> None:
        talk = make_shell()
        talk.live(silence(0.5), speech(3.0), silence(0.3))
        talk.answer(only(talk, INTERIM))
        talk.live(silence(0.1))
        assert kinds(talk) == [INTERIM, SPECULATIVE]

    def test_the_first_of_every_segment_comes_sooner(self) -> None:
        talk = make_shell()
        talk.live(silence(0.5), speech(5.0), silence(1.0))
        talk.answer_all()
        talk.live(silence(0.5), speech(0.7))
        assert only(talk, INTERIM).segment == 2

    @pytest.mark.parametrize("miss", ["fail", "shed"])
    def test_one_that_is_missed_is_followed_by_the_next(self, miss: str) -> None:
        talk = make_shell()
        talk.live(silence(0.5), speech(1.0))
        getattr(talk, miss)(only(talk, INTERIM))
        talk.live(speech(1.0))
        talk.answer(only(talk, INTERIM))
        assert types_of(talk) == ["speech.started", "transcript", "emotion"]
        assert not errors(talk)

    def test_one_is_withdrawn_when_speech_ends_and_its_answer_ignored(self) -> None:
        talk = make_shell()
        talk.live(silence(0.5), speech(1.0))
        late = only(talk, INTERIM)
        talk.live(silence(1.0))
        assert talk.discarded == [late.request_id]
        talk.answer(late)
        talk.answer_all()
        assert types_of(talk) == ["speech.started", "speech.ended", "transcript", "emotion"]

    def test_words_are_committed_when_two_agree_on_them(self) -> None:
        talk = make_shell()
        talk.live(silence(0.5), speech(1.0))
        talk.answer(only(talk, INTERIM), "well i")
        talk.live(speech(1.2))
        talk.answer(only(talk, INTERIM), "well i never did")
        first, second = transcripts(talk)
        assert (first.final, first.committed, first.tentative) == (False, "", "well i")
        assert (second.final, second.committed, second.tentative) == (False, "well i", "never did")
        assert first.words == second.words == ()

    def test_the_shown_label_changes_only_when_a_new_one_holds(self) -> None:
        talk = make_shell()
        talk.live(silence(0.5), speech(1.2))
        for label in ("angry", "happy", "angry", "happy", "happy"):
            talk.answer(only(talk, INTERIM), label=label)
            talk.live(speech(1.2))
        shown = emotions(talk)
        # The first interim looked at less speech than can be judged.
        assert [event.label for event in shown] == [None, "happy", "happy", "happy", "happy"]

    def test_confidence_is_that_of_the_label_shown(self) -> None:
        talk = make_shell(settings=Settings(emotion=EmotionSettings(low_confidence_s=0)))
        talk.live(silence(0.5), speech(1.2))
        for label in ("angry", "happy"):
            talk.answer(only(talk, INTERIM), label=label)
            talk.live(speech(1.2))
        first, second = emotions(talk)
        assert (first.label, first.confidence) == ("angry", 0.65)
        assert (second.label, second.confidence) == ("angry", 0.05)
        assert second.scores["happy"] == 0.65

    def test_one_in_which_nothing_was_said_has_no_emotion(self) -> None:
        talk = make_shell()
        talk.live(silence(0.5), speech(1.0))
        talk.answer(only(talk, INTERIM), "")
        assert types_of(talk) == ["speech.started", "transcript"]
        assert transcripts(talk)[0].language is None


class TestSpeculation:
    def test_a_pause_asks_ahead_for_the_final(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(0.3))
        assert kinds(talk) == [SPECULATIVE]
        assert types_of(talk) == ["speech.started"]

    def test_its_answer_is_told_the_moment_speech_has_ended(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(0.3))
        talk.answer(only(talk, SPECULATIVE))
        assert types_of(talk) == ["speech.started"]
        talk.live(silence(0.7))
        assert types_of(talk) == ["speech.started", "speech.ended", "transcript", "emotion"]
        assert talk.promoted == []
        assert len(talk.submitted) == 1

    def test_it_is_promoted_when_speech_ends_before_its_answer(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(1.0))
        request = only(talk, SPECULATIVE)
        assert talk.promoted == [request.request_id]
        talk.answer(request)
        assert types_of(talk) == ["speech.started", "speech.ended", "transcript", "emotion"]

    def test_it_is_void_when_speech_resumes(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(0.3))
        stale = only(talk, SPECULATIVE)
        talk.live(speech(0.5))
        assert talk.discarded == [stale.request_id]
        talk.answer(stale, "stale")
        talk.live(silence(1.0))
        talk.answer_all()
        assert [event.committed for event in transcripts(talk)] == ["well then"]

    def test_an_answer_that_was_there_is_void_when_speech_resumes(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(0.3))
        talk.answer(only(talk, SPECULATIVE), "stale")
        talk.live(speech(0.5))
        assert talk.discarded == []
        talk.live(silence(1.0))
        talk.answer_all()
        assert [event.committed for event in transcripts(talk)] == ["well then"]

    @pytest.mark.parametrize("miss", ["fail", "shed"])
    def test_one_missed_during_the_pause_is_asked_again_as_a_final(self, miss: str) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(0.3))
        ahead = only(talk, SPECULATIVE)
        getattr(talk, miss)(ahead)
        assert kinds(talk) == [SPECULATIVE]
        talk.live(silence(0.7))
        assert kinds(talk) == [SPECULATIVE, FINAL]
        assert (only(talk, FINAL).samples == ahead.samples).all()
        talk.answer(only(talk, FINAL))
        assert types_of(talk) == ["speech.started", "speech.ended", "transcript", "emotion"]

    @pytest.mark.parametrize("miss", ["fail", "shed"])
    def test_one_missed_after_the_end_is_asked_again_as_a_final(self, miss: str) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(1.0))
        ahead = only(talk, SPECULATIVE)
        getattr(talk, miss)(ahead)
        again = only(talk, FINAL)
        assert again.request_id != ahead.request_id
        assert (again.samples == ahead.samples).all()
        assert again.start_s == ahead.start_s
        talk.answer(again)
        assert types_of(talk) == ["speech.started", "speech.ended", "transcript", "emotion"]

    def test_it_is_promoted_when_the_stream_ends_in_a_pause(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(0.3))
        talk.close()
        assert talk.promoted == [only(talk, SPECULATIVE).request_id]
        talk.answer_all()
        assert types_of(talk) == ["speech.started", "speech.ended", "transcript", "emotion"]

    def test_it_is_replaced_when_speech_ended_elsewhere(self) -> None:
        outbox = Outbox("call-7")
        segment = make_segment(outbox)
        segment.foresee(stretch(0, 8000), NOTHING_KNOWN)
        outbox.take()
        segment.end(stretch(0, 8320), "stream_end", NOTHING_KNOWN, 2.0)
        discard, submit = (action for action in outbox.take() if not isinstance(action, Emit))
        assert discard == Discard(1)
        assert isinstance(submit, Submit)
        assert (submit.request.kind, len(submit.request.samples)) == (FINAL, 8320)

    def test_speech_that_is_about_to_be_cut_asks_ahead_and_is_told_at_the_cut(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(14.0))
        ahead = only(talk, SPECULATIVE)
        talk.answer(ahead)
        assert types_of(talk) == ["speech.started"]
        talk.live(speech(1.5))
        assert types_of(talk) == ["speech.started", "speech.ended", "transcript", "emotion"]
        (ended,) = talk.of_type("speech.ended")
        assert (ended.reason, ended.end_s - ended.start_s) == ("max_length", len(ahead.samples) / 16_000)
        assert len(talk.submitted) == 1

    def test_a_pause_before_the_cut_asks_for_its_own_end_instead(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(13.6))
        cut = only(talk, SPECULATIVE)
        talk.live(silence(0.3))
        assert talk.discarded == [cut.request_id]
        talk.answer(cut, "stale")
        talk.live(silence(0.7))
        talk.answer_all()
        assert [event.committed for event in transcripts(talk)] == ["well then"]
        assert [event.reason for event in talk.of_type("speech.ended")] == ["silence"]

    def test_audio_that_came_at_once_asks_for_its_finals_alone(self) -> None:
        talk = make_shell(interim=False)
        talk.hear(pcm(silence(0.5), speech(1.0), silence(0.3), speech(1.0), silence(1.0)))
        assert kinds(talk) == [FINAL]
        assert talk.promoted == talk.discarded == []


class TestFinals:
    def test_its_audio_is_the_range_that_is_told(self) -> None:
        talk = make_shell(interim=False)
        heard = [silence(0.5), speech(0.7, 0.3), speech(0.8, 0.6), silence(1.0)]
        talk.live(*heard)
        ended = talk.of_type("speech.ended")[0]
        (request,) = talk.submitted
        whole = np.concatenate(heard)
        start, end = round(ended.start_s * 16_000), round(ended.end_s * 16_000)
        assert request.start_s == ended.start_s
        np.testing.assert_allclose(request.samples, whole[start:end], atol=1e-3)

    def test_all_its_words_are_committed(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(1.0))
        talk.answer_all()
        (said,) = transcripts(talk)
        assert (said.final, said.committed, said.tentative, said.language) == (True, "well then", "", "en")
        assert [word.text for word in said.words] == ["well", "then"]

    def test_its_label_is_its_own_whatever_interims_showed(self) -> None:
        talk = make_shell()
        talk.live(silence(0.5), speech(1.5))
        talk.answer(only(talk, INTERIM), label="happy")
        talk.live(silence(0.3))
        talk.answer(only(talk, SPECULATIVE), label="sad")
        talk.live(silence(0.5))
        assert emotions(talk)[-1].final
        assert emotions(talk)[-1].label == "sad"

    def test_an_unsure_ensemble_abstains_and_its_scores_stand(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(1.0))
        (request,) = talk.submitted
        talk.answer(request, label=None)
        (event,) = emotions(talk)
        assert (event.label, event.abstained, event.confidence) == (None, True, 0.65)
        assert event.scores["angry"] == 0.65

    @pytest.mark.parametrize(("seconds", "label"), [(0.98, None), (1.0, "angry")])
    def test_speech_too_short_to_judge_abstains_and_its_scores_stand(self, seconds: float, label: str | None) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(seconds), silence(1.0))
        talk.answer_all()
        (event,) = emotions(talk)
        assert (event.label, event.abstained) == (label, label is None)
        assert event.scores["angry"] == 0.65

    def test_one_in_which_nothing_was_said_abstains_without_scores(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5), silence(1.0))
        (request,) = talk.submitted
        talk.answer(request, "")
        assert types_of(talk) == ["speech.started", "speech.ended", "transcript", "emotion"]
        (event,) = emotions(talk)
        assert (event.label, event.abstained, event.confidence, event.scores, event.attributes, event.text) == (
            None,
            True,
            0.0,
            {},
            None,
            "",
        )

    def test_one_that_fails_is_an_error_that_names_the_segment(self) -> None:
        talk = make_shell(interim=False)
        talk.hear(pcm(silence(0.5), speech(1.5), silence(1.0)))
        talk.fail(only(talk, FINAL), "out of memory")
        talk.fail(only(talk, FINAL), "out of memory")
        (event,) = errors(talk)
        assert (event.channel, event.role, event.code, event.retryable) == (0, "customer", "recognition", True)
        assert event.message == "segment 1 of channel 0 could not be recognised: out of memory"
        assert types_of(talk) == ["speech.started", "speech.ended"]

    def test_one_that_is_shed_against_the_rules_is_an_error_too(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.0))
        talk.close()
        talk.deliver(RecognitionShed(only(talk, FINAL), "overload"))
        assert "was shed (overload)" in errors(talk)[0].message
        assert talk.session.ended

    def test_they_come_in_the_order_of_their_segments(self) -> None:
        talk = make_shell(interim=False)
        utterance = (silence(0.5), speech(1.5), silence(1.0))
        talk.live(*utterance, *utterance, *utterance)
        first, second, third = talk.pending.values()
        talk.answer(third)
        talk.answer(second)
        assert not transcripts(talk)
        talk.answer(first)
        assert [(event.type, event.segment) for event in talk.events[-6:]] == [
            ("transcript", 1),
            ("emotion", 1),
            ("transcript", 2),
            ("emotion", 2),
            ("transcript", 3),
            ("emotion", 3),
        ]

    def test_a_failed_one_does_not_hold_up_those_after_it(self) -> None:
        talk = make_shell(interim=False)
        utterance = (silence(0.5), speech(1.5), silence(1.0))
        talk.live(*utterance, *utterance)
        first, second = talk.pending.values()
        talk.answer(second)
        talk.fail(first)
        talk.fail(only(talk, FINAL))
        assert [event.type for event in talk.events[-3:]] == ["error", "transcript", "emotion"]

    def test_the_end_of_the_stream_is_the_end_of_speech(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(1.5))
        talk.close()
        assert kinds(talk) == [FINAL]
        talk.answer_all()
        ended = talk.of_type("speech.ended")[0]
        assert (ended.reason, ended.end_s) == ("stream_end", 2.0)

    @pytest.mark.parametrize("vad", [LoudnessVad, LateVad])
    def test_audio_that_fills_no_frame_is_not_lost_and_no_silence_is_added(self, vad: type[LoudnessVad]) -> None:
        talk = make_shell(interim=False, vad=vad)
        talk.hear(pcm(silence(0.5), speech(1.5), speech(0.5)[:123]))
        talk.close()
        (request,) = talk.submitted
        talk.answer_all()
        (ended,) = talk.of_type("speech.ended")
        assert ended.end_s == round(2.0 + 123 / 16_000, 3)
        assert request.samples[-123:].min() > 0.4

    def test_speech_that_does_not_end_is_cut_and_loses_nothing(self) -> None:
        talk = make_shell(interim=False)
        talk.live(silence(0.5), speech(40.0))
        talk.close()
        talk.answer_all()
        ends = talk.of_type("speech.ended")
        assert [event.reason for event in ends][:2] == ["max_length", "max_length"]
        assert ends[-1].reason == "stream_end"
        assert all(before.end_s == after.start_s for before, after in itertools.pairwise(ends))
        assert ends[-1].end_s == 40.5
        assert len(emotions(talk)) == len(ends)


def test_a_segment_without_its_answer_cannot_be_delivered() -> None:
    with pytest.raises(RecognitionError, match="segment 1 has no answer yet"):
        make_segment(Outbox("call-7")).deliver(0.0)
