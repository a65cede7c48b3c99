"""How fast audio may come, on a clock that tests move; and through a real server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.client import ListenClient
from streaming.errors import ProtocolError
from streaming.events import SessionEnded
from streaming.pace import UNLIMITED, AudioPace, Haste
from tests.fakes.servers import SPEECH, a_server, all_events, converse
from tests.fakes.shell import pcm, silence, speech


@given(st.lists(st.floats(0.02, 2.0), max_size=200))
def test_audio_at_the_pace_of_speech_never_waits(chunks: list[float]) -> None:
    pace, now_s = AudioPace(1.0, 1.0), 0.0
    for audio_s in chunks:
        now_s += audio_s
        assert pace.ahead_s(min(audio_s, 1.0), now_s) == pytest.approx(0, abs=1e-9)


@given(
    max_speed=st.floats(0.5, 20),
    burst_s=st.floats(1, 60),
    chunks=st.lists(st.tuples(st.floats(0.01, 5), st.floats(0, 3)), min_size=1, max_size=100),
)
def test_whoever_waits_as_told_is_never_faster_than_allowed(
    max_speed: float, burst_s: float, chunks: list[tuple[float, float]]
) -> None:
    pace, now_s, heard_s = AudioPace(max_speed, burst_s), 0.0, 0.0
    for audio_s, pause_s in chunks:
        now_s += pause_s
        heard_s += audio_s
        now_s += pace.ahead_s(audio_s, now_s)
        assert heard_s <= burst_s + max_speed * now_s + 1e-6


def test_what_was_held_up_comes_through_at_once() -> None:
    pace = AudioPace(1.0, 30.0)

    assert pace.ahead_s(30.0, 0.0) == 0
    assert pace.ahead_s(1.0, 0.0) == pytest.approx(1.0)


def test_silence_on_the_wire_is_credit_up_to_the_burst_and_no_further() -> None:
    pace = AudioPace(2.0, 10.0)
    pace.ahead_s(10.0, 0.0)

    assert pace.ahead_s(10.0, 1000.0) == 0
    assert pace.ahead_s(1.0, 1000.0) == pytest.approx(0.5)


def test_without_a_limit_nothing_waits() -> None:
    assert UNLIMITED.ahead_s(1e9, 0.0) == 0


def hurried(haste: Haste, seconds: float, *, speed: float, start_s: float) -> list[bool]:
    """What a second of audio at a time was taken for."""
    return [haste.heard(1.0, start_s + second / speed) for second in range(round(seconds))]


def test_audio_at_the_pace_of_speech_is_live() -> None:
    assert not any(hurried(Haste(), 600, speed=1.0, start_s=0))


def test_audio_that_is_faster_is_in_a_hurry_for_as_long_as_it_is() -> None:
    assert all(hurried(Haste(), 600, speed=4.0, start_s=0)[10:])


def test_whoever_began_with_a_recording_and_goes_on_live_is_live_after_a_while() -> None:
    haste = Haste()
    at_first = [haste.heard(1.0, 0.0) for _ in range(30)]

    afterwards = hurried(haste, 120, speed=1.0, start_s=1.0)

    assert at_first[-1]
    assert not any(afterwards[60:])


def test_what_a_broken_line_held_up_is_live_and_what_follows_it_too() -> None:
    haste = Haste()
    hurried(haste, 10, speed=1.0, start_s=0)

    assert not any(haste.heard(1.0, 30.0) for _ in range(20))
    assert not any(hurried(haste, 60, speed=1.0, start_s=31.0))


def test_an_hour_of_silence_is_no_licence_for_an_hour_in_a_hurry() -> None:
    haste = Haste()
    haste.heard(1.0, 0.0)

    assert haste.heard(3600.0, 3600.0)


async def test_audio_that_comes_too_fast_waits_and_none_is_lost() -> None:
    call = pcm(speech(0.6), silence(1.0)) * 3
    async with a_server(burst_s=1, max_speed=20) as server:
        events = await converse(server, call)
        held_s = server.service.metrics.held_s._value.get()

    last = events[-1]
    assert isinstance(last, SessionEnded)
    assert last.totals.audio_s == pytest.approx(4.8)
    assert last.totals.finals == 3
    assert held_s > 0


async def test_audio_that_comes_too_fast_is_refused_where_the_operator_wants_it() -> None:
    async with a_server(burst_s=1, too_fast="refuse") as server, ListenClient(server.url, SPEECH) as client:
        with pytest.raises(ProtocolError, match="see the error event"):
            await client.send(pcm(silence(60)))
            await all_events(client)

        assert server.service.metrics.errors.labels("too_fast")._value.get() == 1
