"""What clients may rely on, whatever the audio, the messages it comes in, and the order and fate of the answers."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from datetime import UTC, datetime
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.events import EmotionEvent, ErrorEvent, Event, SessionEnded, TranscriptEvent, parse_event
from tests.fakes.shell import FakeShell, make_shell, pcm, silence, without_times
from tests.fakes.talks import BRISK, CHUNKS, PATTERNS, SEEDS, audio, converse, messages

MOMENT = datetime(2025, 3, 1, tzinfo=UTC)


def answer_by_content(talk: FakeShell) -> None:
    """Answers everything pending; what is said depends on the audio asked about, and on nothing else."""
    for request in list(talk.pending.values()):
        digest = zlib.crc32(request.samples.tobytes())
        label = ("angry", "happy", "sad", None)[digest % 4]
        talk.answer(request, f"from {request.start_s:.2f} digest {digest}", label)


LETTERS = {"speech.started": "S", "speech.ended": "E"}


def story(events: list[Event]) -> dict[tuple[int, int], str]:
    """Each segment: Started, Interim (transcript i, emotion m), Ended, final Transcript and eMotion, or eXcuse."""
    letters: dict[tuple[int, int], str] = defaultdict(str)
    for event in events:
        if isinstance(event, ErrorEvent):
            named = re.match(r"segment (\d+) of channel (\d+)", event.message)
            if named:
                letters[int(named[2]), int(named[1])] += "X"
        elif isinstance(event, TranscriptEvent):
            letters[event.channel, event.segment] += "T" if event.final else "i"
        elif isinstance(event, EmotionEvent):
            letters[event.channel, event.segment] += "M" if event.final else "m"
        elif event.type in LETTERS:
            letters[event.channel, event.segment] += LETTERS[event.type]
    return letters


@settings(max_examples=250, deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=2), CHUNKS, st.booleans(), SEEDS)
def test_every_story_is_told_in_order_and_to_its_end(
    patterns: list[list[tuple[float, int]]], chunks: list[int], interim: bool, seed: int
) -> None:
    roles = ("customer", "agent")[: len(patterns)]
    heard = [audio(pattern) for pattern in patterns]
    length = max(map(len, heard))
    padded = np.stack([np.pad(one, (0, length - len(one))) for one in heard], axis=1)
    data = (padded * 32767).astype("<i2").tobytes()
    talk = make_shell(
        settings=BRISK, audio=AudioFormat(Encoding.PCM16, 16_000, len(roles)), roles=roles, interim=interim
    )

    events = converse(talk, messages(data, chunks), Random(seed))

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[0].type == "session.started"
    assert [event.type for event in events].count("session.ended") == 1
    ended = events[-1]
    assert isinstance(ended, SessionEnded)
    assert talk.session.ended
    assert talk.session.outstanding == 0
    assert [event.time_s for event in events] == sorted(event.time_s for event in events)

    stories = story(events)
    for (channel, _), told in stories.items():
        interims = "(im?)*" if interim else ""
        final = "TM" if roles[channel] == "customer" else "T"
        allowed = interims if roles[channel] == "customer" else interims.replace("m?", "")
        assert re.fullmatch(f"S{allowed}E({final}|X)", told), told
    assert ended.totals.segments == len(stories)
    assert ended.totals.finals == sum(told.endswith(("T", "M")) for told in stories.values())
    assert ended.totals.interims == sum(told.count("i") for told in stories.values())
    for channel in range(len(roles)):
        told = [event.segment for event in events if getattr(event, "final", False) and event.channel == channel]
        assert told == sorted(told)
        numbers = sorted(segment for of, segment in stories if of == channel)
        assert numbers == list(range(1, len(numbers) + 1))
    for event in events:
        sent = event.stamped(MOMENT)
        assert parse_event(sent.to_json()) == sent
        if isinstance(event, EmotionEvent):
            assert event.latency.total_ms >= event.latency.endpoint_ms


@settings(max_examples=60, deadline=None)
@given(PATTERNS, CHUNKS)
def test_how_audio_is_cut_into_messages_changes_nothing_that_is_told(
    pattern: list[tuple[float, int]], chunks: list[int]
) -> None:
    data = pcm(audio(pattern), silence(0.5))

    def told(sizes: list[int]) -> dict[int | None, list[Event]]:
        talk = make_shell(settings=BRISK, interim=False)
        for message in messages(data, sizes):
            talk.hear(message)
            answer_by_content(talk)
        talk.close()
        answer_by_content(talk)
        by_segment = defaultdict(list)
        for event in talk.events:
            # A final is told when its answer comes, which may be before or after the next segment starts.
            by_segment[getattr(event, "segment", None)].append(without_times(event).model_copy(update={"seq": 1}))
        return by_segment

    assert told(chunks) == told([640])


@settings(max_examples=40, deadline=None)
@given(PATTERNS, PATTERNS, CHUNKS, SEEDS)
def test_sessions_side_by_side_give_what_each_gives_alone(
    one: list[tuple[float, int]], other: list[tuple[float, int]], chunks: list[int], seed: int
) -> None:
    streams = {"one": messages(pcm(audio(one)), chunks), "other": messages(pcm(audio(other)), chunks)}

    def step(talk: FakeShell, message: bytes) -> None:
        talk.hear(message, took_s=0.1)
        answer_by_content(talk)

    def finish(talk: FakeShell) -> list[Event]:
        talk.close()
        answer_by_content(talk)
        return talk.events

    alone = {}
    for name, stream in streams.items():
        talk = make_shell(name=name, settings=BRISK)
        for message in stream:
            step(talk, message)
        alone[name] = finish(talk)

    talks = {name: make_shell(name=name, settings=BRISK) for name in streams}
    order = [name for name, stream in streams.items() for _ in stream]
    Random(seed).shuffle(order)
    queues = {name: iter(stream) for name, stream in streams.items()}
    for name in order:
        step(talks[name], next(queues[name]))
    assert {name: finish(talk) for name, talk in talks.items()} == alone
