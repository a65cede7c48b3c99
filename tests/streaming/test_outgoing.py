"""What a client keeps of its stream, against a model that keeps everything."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streaming.audio.codecs import Encoding
from streaming.audio.sources import AudioFormat
from streaming.errors import AudioLostError, ProtocolError
from streaming.outgoing import CLOSE, FLUSH, Outgoing, Place

AUDIO = AudioFormat(Encoding.PCM16, 8000, 2)
BYTES_PER_S = 32_000
FRAME_BYTES = 4
KEPT_BYTES = 64
UNHEARD_BYTES = 40


def outgoing(*, kept_s: float = KEPT_BYTES / BYTES_PER_S, unheard_s: float = UNHEARD_BYTES / BYTES_PER_S) -> Outgoing:
    return Outgoing(AUDIO, kept_s=kept_s, unheard_s=unheard_s)


def everything(stream: Outgoing, max_bytes: int = 1000) -> list[bytes | str]:
    """All that can be taken, as a server takes it that hears at once."""
    taken = []
    while (piece := stream.take(max_bytes)) is not None:
        taken.append(piece)
        stream.heard(stream.place.position)
    return taken


def test_audio_and_controls_come_in_their_order_in_pieces_of_the_size_asked_for() -> None:
    stream = outgoing()
    stream.push(b"abcdef")
    stream.mark(FLUSH)
    stream.push(b"gh")
    stream.mark(CLOSE)

    assert everything(stream, 4) == [b"abcd", b"ef", FLUSH, b"gh", CLOSE]
    assert stream.take(4) is None


def test_a_place_is_covered_once_all_before_it_was_taken() -> None:
    stream = outgoing()
    pushed, marked = stream.push(b"abcd"), stream.mark(FLUSH)

    stream.take(2)
    assert not stream.place.covers(pushed)
    stream.take(2)
    assert stream.place.covers(pushed)
    assert not stream.place.covers(marked)
    stream.take(2)
    assert stream.place.covers(marked)


def test_what_lies_behind_a_rewind_comes_again_with_the_controls_that_may_not_have_arrived() -> None:
    stream = outgoing()
    stream.push(b"abcd")
    stream.mark(FLUSH)
    stream.push(b"efgh")
    everything(stream)

    stream.rewind(4)

    assert everything(stream) == [FLUSH, b"efgh"]


def test_controls_before_a_rewind_arrived_and_are_not_repeated() -> None:
    stream = outgoing()
    stream.push(b"ab")
    stream.mark(FLUSH)
    stream.push(b"cdef")
    everything(stream)

    stream.rewind(4)

    assert everything(stream) == [b"ef"]


def test_the_same_control_twice_in_a_row_is_one() -> None:
    stream = outgoing()
    stream.push(b"abcd")
    first, again = stream.mark(FLUSH), stream.mark(FLUSH)

    assert first == again == Place(4, 1)
    assert everything(stream) == [b"abcd", FLUSH]


def test_nothing_follows_the_close() -> None:
    stream = outgoing()
    stream.mark(CLOSE)
    stream.mark(FLUSH)

    with pytest.raises(ProtocolError, match=r"finish\(\)"):
        stream.push(b"abcd")
    assert everything(stream) == [CLOSE]


def test_of_audio_that_was_taken_the_oldest_goes_first() -> None:
    stream = outgoing()
    stream.push(bytes(KEPT_BYTES + 40))
    everything(stream, 8)

    assert (stream.start, stream.end) == (40, KEPT_BYTES + 40)


def test_audio_that_was_not_taken_stays_however_much_it_is() -> None:
    stream = outgoing()
    stream.push(bytes(100 * KEPT_BYTES))

    assert sum(len(piece) for piece in everything(stream, 8)) == 100 * KEPT_BYTES


def test_a_rewind_to_what_was_forgotten_says_how_much_is_lost_and_changes_nothing() -> None:
    stream = outgoing(kept_s=0.5, unheard_s=0.25)
    stream.push(bytes(2 * BYTES_PER_S))
    everything(stream)
    before = stream.place

    with pytest.raises(AudioLostError, match=r"1\.5 s of audio are lost"):
        stream.rewind(0)
    assert stream.place == before


def test_a_rewind_beyond_the_end_is_the_servers_mistake() -> None:
    stream = outgoing()
    stream.push(b"abcd")

    with pytest.raises(ProtocolError, match="claims 8 bytes"):
        stream.rewind(8)


def test_no_more_is_given_than_may_be_on_its_way() -> None:
    stream = outgoing()
    stream.push(bytes(100))
    first = [stream.take(10) for _ in range(5)]

    stream.heard(20)
    second = [stream.take(10) for _ in range(3)]

    assert [piece is not None for piece in first] == [True] * 4 + [False]
    assert [piece is not None for piece in second] == [True, True, False]


def test_what_is_kept_begins_with_a_whole_sample_of_every_channel() -> None:
    stream = outgoing()
    stream.push(bytes(10))
    everything(stream)

    stream.forget(7)

    assert stream.start == FRAME_BYTES


class OutgoingMachine(RuleBasedStateMachine):
    """Anything may happen in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = outgoing()
        self.audio = b""
        self.controls: list[tuple[int, str]] = []
        self.position = 0
        self.passed = 0
        self.heard = 0
        self.furthest = 0
        self.forgotten = 0

    @precondition(lambda self: not self.closed)
    @rule(data=st.binary(min_size=1, max_size=100))
    def push(self, data: bytes) -> None:
        place = self.stream.push(data)
        self.audio += data
        assert place == Place(len(self.audio), len(self.controls))

    @rule(control=st.sampled_from([FLUSH, FLUSH, FLUSH, CLOSE]))
    def mark(self, control: str) -> None:
        place = self.stream.mark(control)
        if not self.closed and self.controls[-1:] != [(len(self.audio), control)]:
            self.controls.append((len(self.audio), control))
        assert place == Place(len(self.audio), len(self.controls))

    @rule(size=st.integers(1, 50))
    def take(self, size: int) -> None:
        piece = self.stream.take(size)
        here = [control for control in self.controls[self.passed :] if control[0] == self.position]
        following = [at for at, _ in self.controls[self.passed :]]
        if here:
            assert piece == here[0][1]
            self.passed += 1
        elif self.position == len(self.audio) or self.position - self.heard >= UNHEARD_BYTES:
            assert piece is None
        else:
            until = min([self.position + size, len(self.audio), *following])
            assert piece == self.audio[self.position : until]
            self.position = until
            self.furthest = max(self.furthest, until)

    @rule(share=st.floats(0, 1))
    def hear(self, share: float) -> None:
        position = round(share * len(self.audio))
        self.stream.heard(position)
        self.heard = max(self.heard, min(position, self.position))

    @rule(share=st.floats(0, 1))
    def forget(self, share: float) -> None:
        position = round(share * len(self.audio))
        self.stream.forget(position)
        self.forgotten = max(self.forgotten, min(position, self.position))

    @rule(share=st.floats(0, 1))
    def rewind(self, share: float) -> None:
        position = round(share * len(self.audio))
        if position < self.stream.start:
            with pytest.raises(AudioLostError):
                self.stream.rewind(position)
            return
        self.stream.rewind(position)
        self.position = self.heard = position
        self.passed = sum(at < position for at, _ in self.controls)

    @property
    def closed(self) -> bool:
        return self.controls[-1:] == [(len(self.audio), CLOSE)]

    @invariant()
    def place_is_where_the_model_is(self) -> None:
        assert self.stream.place == Place(self.position, self.passed)
        assert self.stream.end == len(self.audio)

    @invariant()
    def nothing_is_dropped_that_may_be_needed(self) -> None:
        assert self.stream.start <= max(self.forgotten, self.furthest - KEPT_BYTES, 0)
        assert self.stream.start <= self.position

    @invariant()
    def no_more_is_kept_than_was_said(self) -> None:
        assert self.stream.start > self.furthest - KEPT_BYTES - FRAME_BYTES


TestOutgoingMachine = OutgoingMachine.TestCase
TestOutgoingMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
