"""Wyoming's events, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES
from hypothesis import given
from hypothesis import strategies as st
from wyoming.event import Event as Theirs
from wyoming.info import Info

from streaming.audio.codecs import Encoding
from streaming.config import Settings
from streaming.errors import AudioFormatError, CapacityError, ProtocolError, StreamingError
from streaming.events import AttributesInfo, EmotionEvent, ErrorEvent, Event, Latency
from streaming.protocols.dialect import Audio, Begin, Close, Reply, Step
from streaming.protocols.wyoming import EMOTION, WyomingDialect
from streaming.protocols.wyoming_events import WyomingEvent, read_event, write_event
from streaming.recognition.languages import WHISPER_LANGUAGES
from tests.fakes.events import MOMENT, EventSource

SHAPE = {"rate": 16_000, "width": 2, "channels": 1}
NOTHING = Latency(endpoint_ms=0, queue_ms=0, compute_ms=0, total_ms=0)


def a_dialect(**sections: Any) -> WyomingDialect:
    return WyomingDialect(Settings.model_validate(sections))


def read(dialect: WyomingDialect, kind: str, data: dict[str, Any] | None = None, payload: bytes = b"") -> list[Step]:
    return list(dialect.read(write_event(kind, data, payload)))


def begun(dialect: WyomingDialect | None = None) -> WyomingDialect:
    dialect = dialect or a_dialect()
    read(dialect, "audio-start", SHAPE)
    return dialect


def event(message: str | bytes) -> WyomingEvent:
    assert isinstance(message, bytes)
    return read_event(message, 0)


def told(dialect: WyomingDialect, *events: Event) -> list[tuple[str, Any]]:
    heard = [event(message) for one in events for message in dialect.tell(one)]
    return [(one.type, one.data) for one in heard]


class Answers(EventSource):
    """Events of one utterance."""

    def began(self, segment: int) -> Event:
        return self.speech_started().model_copy(update={"segment": segment})

    def words(self, text: str, segment: int = 1, *, final: bool = False) -> Event:
        return self.transcript(final=final, text=text).model_copy(update={"segment": segment})

    def judged(
        self, label: str | None, start_s: float, end_s: float, scores: dict[str, float], *, final: bool = True
    ) -> EmotionEvent:
        self.seq += 1
        return EmotionEvent(
            session=self.session,
            seq=self.seq,
            time_s=end_s,
            channel=0,
            role="customer",
            segment=1,
            start_s=start_s,
            end_s=end_s,
            final=final,
            label=label,
            abstained=label is None,
            confidence=max(scores.values(), default=0.0),
            scores=scores,
            attributes=AttributesInfo(arousal=end_s, valence=2.0, dominance=3.0) if scores else None,
            text="well then",
            latency=NOTHING,
        ).stamped(MOMENT)

    def failed(self, channel: int | None = 0) -> Event:
        self.seq += 1
        return ErrorEvent(
            session=self.session,
            seq=self.seq,
            time_s=1,
            channel=channel,
            role=None if channel is None else "customer",
            code="recognition",
            message="it broke",
            retryable=True,
        ).stamped(MOMENT)

    def over(self, reason: str = "client_close") -> Event:
        return self.ended().model_copy(update={"reason": reason})


def chunks(heard: Sequence[tuple[str, Any]]) -> str:
    return "".join(data["text"] for kind, data in heard if kind == "transcript-chunk")


def transcript(heard: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    (said,) = [data for kind, data in heard if kind == "transcript"]
    return dict(said)


class TestInfo:
    def test_it_is_what_wyomings_own_library_reads(self) -> None:
        (reply,) = read(a_dialect(), "describe")
        assert isinstance(reply, Reply)
        told = event(reply.message)
        (program,) = Info.from_event(Theirs(told.type, dict(told.data))).asr
        assert (program.name, program.installed, program.supports_transcript_streaming) == ("MEDUSA live", True, True)
        (model,) = program.models
        assert (model.name, model.installed, model.languages) == ("whisper-base", True, list(WHISPER_LANGUAGES))

    def test_languages_are_those_of_the_transcriber(self) -> None:
        assert set(WHISPER_LANGUAGES) == set(_LANGUAGE_CODES) - {"yue"}  # since large-v3

    def test_where_the_language_is_fixed_it_alone_is_offered(self) -> None:
        (reply,) = read(a_dialect(asr={"language": "de"}), "describe")
        assert isinstance(reply, Reply)
        assert event(reply.message).data["asr"][0]["models"][0]["languages"] == ["de"]


@pytest.mark.parametrize(("text", "echoed"), [("x", "x"), (None, None), (7, None)])
def test_a_ping_is_answered_with_its_text(text: Any, echoed: str | None) -> None:
    assert read(a_dialect(), "ping", {"text": text}) == [Reply(write_event("pong", {"text": echoed}))]


@pytest.mark.parametrize("kind", ["synthesize", "detect", "run-pipeline", "select-program", ""])
def test_events_of_other_services_are_left_aside(kind: str) -> None:
    assert read(a_dialect(), kind, {"name": "x"}) == []
    assert read(begun(), kind, {"name": "x"}) == []


class TestAudio:
    def test_audio_start_begins_a_session_of_a_customer(self) -> None:
        (begin,) = read(a_dialect(), "audio-start", {**SHAPE, "rate": 22_050, "timestamp": 0})
        assert isinstance(begin, Begin)
        shape = begin.request.audio
        assert (shape.encoding, shape.rate_hz, shape.channels) == (Encoding.PCM16, 22_050, 1)
        assert (begin.request.roles, begin.request.language, begin.request.interim) == (("customer",), None, True)
        assert (begin.token, begin.name) == (None, None)

    def test_chunks_are_its_audio_and_audio_stop_its_end(self) -> None:
        dialect = begun()
        assert read(dialect, "audio-chunk", SHAPE, b"abcd") == [Audio(b"abcd")]
        assert read(dialect, "audio-chunk", {}, b"ef") == [Audio(b"ef")]
        assert read(dialect, "audio-stop", {"timestamp": 9}) == [Close()]

    def test_after_its_end_another_may_begin(self) -> None:
        dialect = begun()
        read(dialect, "audio-stop")
        (begin,) = read(dialect, "audio-start", SHAPE)
        assert isinstance(begin, Begin)

    @pytest.mark.parametrize(
        "changes",
        [
            {"width": 1},
            {"width": 4},
            {"channels": 2},
            {"rate": "16000"},
            {"rate": True},
            {"rate": 100},
            {"width": None},
        ],
    )
    def test_audio_of_another_shape_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(AudioFormatError):
            read(a_dialect(), "audio-start", {**SHAPE, **changes})

    @pytest.mark.parametrize("changes", [{"width": 4}, {"channels": 2}, {"rate": 8000}])
    def test_a_chunk_of_another_shape_than_its_start_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ProtocolError, match=next(iter(changes))):
            read(begun(), "audio-chunk", {**SHAPE, **changes}, b"ab")

    @pytest.mark.parametrize("kind", ["audio-chunk", "audio-stop"])
    def test_what_belongs_behind_audio_start_may_not_come_before(self, kind: str) -> None:
        with pytest.raises(ProtocolError, match="before audio-start"):
            read(a_dialect(), kind)

    @pytest.mark.parametrize(("kind", "said"), [("audio-start", "twice"), ("transcribe", "before audio-start")])
    def test_what_belongs_before_audio_may_not_come_within(self, kind: str, said: str) -> None:
        with pytest.raises(ProtocolError, match=said):
            read(begun(), kind, SHAPE)

    def test_audio_without_end_is_refused(self) -> None:
        dialect = begun(a_dialect(wyoming={"max_utterance_s": 1}))
        read(dialect, "audio-chunk", SHAPE, b"x" * 32_000)
        with pytest.raises(ProtocolError, match="max_utterance_s"):
            read(dialect, "audio-chunk", SHAPE, b"xx")


class TestLanguage:
    @pytest.mark.parametrize(
        ("named", "code"), [("de", "de"), ("en-US", "en"), ("pt_BR", "pt"), ("HAW", "haw"), ("", None), (None, None)]
    )
    def test_it_is_that_of_transcribe(self, named: str | None, code: str | None) -> None:
        dialect = a_dialect()
        assert read(dialect, "transcribe", {"name": "whisper", "language": named, "context": {}}) == []
        (begin,) = read(dialect, "audio-start", SHAPE)
        assert isinstance(begin, Begin)
        assert begin.request.language == code

    @pytest.mark.parametrize("named", ["xx", "german", "e", 7, ["de"], "d" * 500])
    def test_one_that_is_not_offered_is_refused(self, named: Any) -> None:
        with pytest.raises(ProtocolError, match="none that is offered"):
            read(a_dialect(), "transcribe", {"language": named})

    def test_it_holds_for_one_utterance(self) -> None:
        dialect, said = a_dialect(), Answers()
        read(dialect, "transcribe", {"language": "de"})
        begun(dialect)
        told(dialect, said.started())
        read(dialect, "audio-stop")
        told(dialect, said.over())
        (begin,) = read(dialect, "audio-start", SHAPE)
        assert isinstance(begin, Begin)
        assert begin.request.language is None


class TestTranscript:
    def test_words_are_told_as_they_settle_and_all_together_in_the_end(self) -> None:
        said = Answers()
        heard = told(
            begun(),
            said.started(),
            said.began(1),
            said.words(""),
            said.words("turn on"),
            said.words("turn on"),
            said.words("turn on the light.", final=True),
            said.over(),
        )

        assert [kind for kind, _ in heard] == [
            "transcript-start",
            "transcript-chunk",
            "transcript-chunk",
            "transcript",
            "transcript-stop",
        ]
        assert [data["text"] for kind, data in heard if kind == "transcript-chunk"] == ["turn on", " the light."]
        assert (transcript(heard)["text"], transcript(heard)["language"]) == ("turn on the light.", "en")

    def test_segments_are_joined(self) -> None:
        said = Answers()
        heard = told(
            begun(),
            said.started(),
            *(said.began(1), said.words("turn on", 1, final=True), said.began(2), said.words("the", 2)),
            said.words("the light", 2, final=True),
            said.over(),
        )
        assert transcript(heard)["text"] == chunks(heard) == "turn on the light"

    def test_words_come_in_the_order_they_were_said(self) -> None:
        said = Answers()
        heard = told(
            begun(),
            said.started(),
            *(said.began(1), said.words("turn", 1), said.began(2), said.words("the", 2)),
            *(said.words("turn on", 1, final=True), said.words("the light", 2), said.words("the light", 2, final=True)),
            said.over(),
        )
        assert chunks(heard) == "turn on the light"

    def test_a_segment_that_failed_is_said_and_left_out(self) -> None:
        said = Answers()
        heard = told(
            begun(),
            said.started(),
            *(said.began(1), said.words("turn", 1), said.began(2), said.failed(), said.words("the", 2)),
            *(said.words("the light", 2, final=True), said.over()),
        )
        assert ("error", {"text": "it broke", "code": "recognition"}) in heard
        assert chunks(heard) == "turn the light"
        assert transcript(heard)["text"] == "the light"

    @pytest.mark.parametrize(
        ("settled", "final", "together"),
        [
            ("turn on the", "Turn on the light.", "turn on the light."),
            ("turn on the lied", "turn on the light please", "turn on the lied please"),
            ("turn on the light now", "turn on", "turn on the light now"),
            ("今日は", "今日はいい天気", "今日はいい天気"),
        ],
    )
    def test_a_final_that_contradicts_what_was_settled_is_taken_up_behind_it(
        self, settled: str, final: str, together: str
    ) -> None:
        said = Answers()
        heard = told(
            begun(), said.started(), said.began(1), said.words(settled), said.words(final, final=True), said.over()
        )
        assert (chunks(heard), transcript(heard)["text"]) == (together, final)

    @given(st.lists(st.lists(st.sampled_from(["on", "light", "Tom,", "a"]), max_size=6), max_size=4), st.randoms())
    def test_where_finals_keep_to_what_was_settled_chunks_are_the_transcript(
        self, segments: list[list[str]], chance: Any
    ) -> None:
        said, dialect = Answers(), begun()
        heard = told(dialect, said.started())
        for segment, words in enumerate(segments, start=1):
            heard += told(dialect, said.began(segment))
            for settled in sorted(chance.randint(0, len(words)) for _ in range(3)):
                heard += told(dialect, said.words(" ".join(words[:settled]), segment))
            heard += told(dialect, said.words(" ".join(words), segment, final=True))
        heard += told(dialect, said.over())
        assert chunks(heard) == transcript(heard)["text"] == " ".join(word for words in segments for word in words)

    def test_silence_has_an_empty_one(self) -> None:
        said = Answers()
        heard = told(begun(), said.started(), said.over())
        assert transcript(heard)["text"] == ""
        assert "language" not in transcript(heard)

    def test_the_language_that_was_asked_for_is_said_at_once(self) -> None:
        dialect, said = a_dialect(), Answers()
        read(dialect, "transcribe", {"language": "de"})
        begun(dialect)
        heard = told(dialect, said.started(), said.began(1), said.words("yes", final=True), said.over())
        assert heard[0] == ("transcript-start", {"language": "de"})
        assert transcript(heard)["language"] == "de"

    @pytest.mark.parametrize("reason", ["shutdown", "idle_timeout", "protocol_error", "internal_error"])
    def test_speech_that_was_cut_off_has_none(self, reason: str) -> None:
        said = Answers()
        heard = told(begun(), said.started(), said.began(1), said.words("turn it off", final=True), said.over(reason))
        assert [kind for kind, _ in heard] == ["transcript-start", "transcript-chunk", "error"]
        assert heard[-1][1]["code"] == reason

    def test_each_utterance_has_its_own(self) -> None:
        dialect, first, second = begun(), Answers("s1"), Answers("s2")
        for said, text in ((first, "one"), (second, "two")):
            heard = told(dialect, said.started(), said.began(1), said.words(text, final=True), said.over())
            assert transcript(heard)["text"] == text
            assert transcript(heard)["context"][EMOTION]["session"] == said.session


class TestEmotion:
    def test_each_is_told_without_its_words(self) -> None:
        said = Answers()
        heard = told(begun(), said.started(), said.judged("happy", 0.5, 1.5, {"happy": 0.8, "sad": 0.2}, final=False))
        assert heard[1:] == [
            (
                "medusa-emotion",
                {
                    "session": "s1",
                    "segment": 1,
                    "start_s": 0.5,
                    "end_s": 1.5,
                    "final": False,
                    "label": "happy",
                    "abstained": False,
                    "confidence": 0.8,
                    "scores": {"happy": 0.8, "sad": 0.2},
                    "attributes": {"arousal": 1.5, "valence": 2.0, "dominance": 3.0},
                },
            )
        ]

    def summary(self, *judged: Any) -> dict[str, Any]:
        said = Answers()
        heard = told(begun(), said.started(), *(said.judged(*one) for one in judged), said.over())
        return dict(transcript(heard)["context"][EMOTION])

    def test_the_summary_of_one_segment_is_what_was_said_of_it(self) -> None:
        assert self.summary(("happy", 0.5, 1.5, {"happy": 0.8, "sad": 0.2})) == {
            "session": "s1",
            "label": "happy",
            "confidence": 0.8,
            "scores": {"happy": 0.8, "sad": 0.2},
            "attributes": {"arousal": 1.5, "valence": 2.0, "dominance": 3.0},
            "segments": 1,
        }

    def test_of_several_the_longer_weigh_more(self) -> None:
        summary = self.summary(
            ("happy", 0.0, 1.0, {"happy": 1.0, "sad": 0.0}), ("sad", 1.0, 4.0, {"happy": 0.2, "sad": 0.8})
        )
        assert (summary["label"], summary["confidence"]) == ("sad", 0.6)
        assert summary["scores"] == {"happy": 0.4, "sad": 0.6}
        assert summary["attributes"]["arousal"] == 3.25

    def test_where_nothing_was_claimed_there_is_no_label(self) -> None:
        summary = self.summary((None, 0.0, 1.0, {"happy": 0.6, "sad": 0.4}))
        assert (summary["label"], summary["confidence"]) == (None, 0.6)

    @pytest.mark.parametrize("judged", [(), ((None, 0.0, 1.0, {}),)])
    def test_where_nothing_was_said_there_is_nothing(self, judged: Any) -> None:
        summary = self.summary(*judged)
        assert (summary["label"], summary["confidence"], summary["scores"]) == (None, 0.0, {})
        assert summary["attributes"] is None

    def test_interims_are_no_part_of_it(self) -> None:
        said = Answers()
        interim = said.judged("sad", 0.0, 6.0, {"happy": 0.1, "sad": 0.9}, final=False)
        final = said.judged("happy", 0.0, 1.0, {"happy": 0.7, "sad": 0.3})
        heard = told(begun(), said.started(), interim, final, said.over())
        assert transcript(heard)["context"][EMOTION]["label"] == "happy"


def test_who_is_not_let_in_is_told_why() -> None:
    (message,) = a_dialect().refuse(CapacityError("all is taken"))
    assert event(message) == WyomingEvent("error", {"text": "all is taken", "code": "capacity"})


@given(
    st.sampled_from(["transcribe", "audio-start", "audio-chunk", "audio-stop", "ping", "describe"]),
    st.dictionaries(
        st.sampled_from(["rate", "width", "channels", "language", "name", "text", "context"]),
        st.sampled_from([None, True, -1, 1, 2, 16_000, 1e300, "", "en", "x" * 999, [], ["a"], {}, {"a": [None]}]),
    ),
)
def test_nothing_raises_anything_but_our_own_errors(kind: str, data: dict[str, Any]) -> None:
    for dialect in (a_dialect(), begun()):
        try:
            read(dialect, kind, data)
        except StreamingError as error:
            assert len(str(error)) < 500


def test_text_is_no_event() -> None:
    with pytest.raises(ProtocolError):
        a_dialect().read("{}")
