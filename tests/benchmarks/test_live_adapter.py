"""What a protocol of telephony costs: its messages, its clients, and the figures that rows amount to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import live
from benchmarks.live_adapter import LEAST_ROUNDS, adapter_cost, dialect_cost_s
from benchmarks.live_clients import run_client
from benchmarks.live_lines import TELEPHONE, as_telephone
from benchmarks.live_messages import MESSAGES
from benchmarks.live_records import ClientsJob
from benchmarks.live_report import remarks
from benchmarks.live_result import LiveRow, failures_of
from streaming.audio.codecs import Encoding
from streaming.config import TwilioSettings
from streaming.events import EmotionEvent, SessionStarted
from streaming.protocols.dialect import Audio, Begin, Close
from streaming.protocols.twilio import TwilioDialect
from tests.benchmarks.test_live_result import Client, row
from tests.fakes.servers import a_server
from tests.fakes.shell import pcm, silence, speech

CALL = pcm(silence(0.2), speech(0.8), silence(0.8))


def a_row(protocol: str, *, loop_ms: float, whole_ms: float = 300.0) -> LiveRow:
    """Two calls that took so many milliseconds of the event loop and of the process, a second of each."""
    client = Client()
    client.segment()
    cores = {"loop_cores": 2 * loop_ms / 1000, "cpu_cores": 2 * whole_ms / 1000}
    return replace(row(client.record()), protocol=protocol, telephone=True, **cores)


def alternating(*pairs: tuple[float, float]) -> list[LiveRow]:
    return [
        a_row(protocol, loop_ms=ms) for pair in pairs for protocol, ms in zip(("native", "twilio"), pair, strict=True)
    ]


def test_a_twilio_call_is_heard_as_what_was_said() -> None:
    provider, dialect = MESSAGES["twilio"]("en"), TwilioDialect(TwilioSettings())
    audio = as_telephone(CALL)
    size = round(provider.chunk_s * TELEPHONE.rate_hz)
    parts = (audio[start : start + size] for start in range(0, len(audio), size))
    messages = [*provider.begin(), *map(provider.audio, parts), provider.end()]

    begin, *heard, close = (step for message in messages for step in dialect.read(message))

    assert isinstance(begin, Begin)
    assert (begin.name, begin.request.audio, begin.request.language) == (provider.session, TELEPHONE, "en")
    assert b"".join(step.data for step in heard if isinstance(step, Audio)) == audio
    assert isinstance(close, Close)


async def test_clients_of_every_protocol_hear_the_same(tmp_path: Path) -> None:
    audio = tmp_path / "call.pcm"
    audio.write_bytes(CALL)
    async with a_server() as server:
        jobs = [
            ClientsJob(server.url, "en", 0.1, 10.0, (), "", protocol, telephone=True)
            for protocol in ("native", *MESSAGES)
        ]
        records = await asyncio.gather(*(run_client(job, 0, audio, 0.0) for job in jobs))

    assert [failures_of([record], 1) for record in records] == [[]] * 3
    for record in records:
        started, *events = (event for _, event in record.received)
        assert isinstance(started, SessionStarted)
        assert (started.audio.encoding, started.audio.rate_hz) == (Encoding.MULAW.value, 8000)
        finals = [event.text for event in events if isinstance(event, EmotionEvent) and event.final]
        assert finals == ["word1 word2 word3 word4"]


@pytest.mark.parametrize("protocol", MESSAGES)
def test_a_translator_takes_its_time_for_the_very_messages_of_a_call(protocol: str, tmp_path: Path) -> None:
    audio = tmp_path / "call.pcm"
    audio.write_bytes(CALL)
    client = Client()
    client.segment()
    events = [event for _, event in client.record().received]

    assert 0 < dialect_cost_s(protocol, audio, events) < 0.1


def test_a_cost_is_what_the_loop_takes_more_beside_what_the_recogniser_takes() -> None:
    cost = adapter_cost("twilio", 2, alternating((20, 30), (22, 33), (21, 30), (21, 31)), dialect_s=0.001)

    assert cost is not None
    recogniser = 300 - np.mean([20, 30, 22, 33, 21, 30, 21, 31])
    assert cost.recogniser_ms_per_s == pytest.approx(recogniser, abs=0.01)
    assert cost.native_loop_ms_per_s == pytest.approx(21.0)
    assert cost.difference_ms_per_s == pytest.approx(10.0)
    assert cost.difference_low is not None and cost.difference_high is not None
    assert cost.difference_low < 10 < cost.difference_high
    assert cost.difference_share == pytest.approx(10 / recogniser, abs=1e-4)
    assert cost.dialect_share == pytest.approx(1 / recogniser, abs=1e-4)
    assert cost.process_difference_ms_per_s == 0.0


def test_with_too_few_rounds_nobody_knows_how_sure_a_cost_is() -> None:
    cost = adapter_cost("twilio", 2, alternating(*[(20, 30)] * (LEAST_ROUNDS - 1)), dialect_s=0.001)

    assert cost is not None
    assert cost.share_low is cost.share_high is cost.difference_low is None
    assert cost.difference_share > 0


def test_where_the_system_tells_no_times_there_is_no_cost() -> None:
    rows = [replace(one, loop_cores=None) for one in alternating((20, 30))]

    assert adapter_cost("twilio", 2, rows, dialect_s=0.001) is None


def test_a_cost_is_said_in_words() -> None:
    cost = adapter_cost("twilio", 2, alternating(*[(20, 30), (20, 31)] * 2), dialect_s=0.001)
    assert cost is not None
    settings = {
        "largest": {},
        "adapter": [{name: getattr(cost, name) for name in cost.__slots__}],
        "offline_word_error_rate": None,
        "busy": None,
    }

    (said,) = [line for line in remarks([], settings) if line.startswith("twilio at 2")]
    assert "takes 10.5 ms of the event loop" in said
    assert "of the recogniser's 275 ms" in said


def test_the_plain_server_speaks_our_own_protocol_alone() -> None:
    result = CliRunner().invoke(live.main, ["--protocol", "twilio", "--server", "plain"])

    assert result.exit_code == 2
    assert "our own protocol alone, not twilio" in result.output
