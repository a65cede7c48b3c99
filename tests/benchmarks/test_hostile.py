"""What nobody should send is sent, and a server that meets it goes on."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from http import HTTPStatus
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks import hostile_clients
from benchmarks.hostile_clients import FLOODS, STALLED_SPEAKERS, STALLED_SUBSCRIBERS, HostileJob, attack, run_hostile
from benchmarks.hostile_messages import Attack, hostile, hostile_kinds
from tests.fakes.servers import a_server, converse
from tests.fakes.shell import pcm, silence, speech

HOST = "127.0.0.1:8765"


def drawn(count: int, seed: int = 1) -> list[Attack]:
    rng = np.random.default_rng(seed)
    return [hostile(rng, HOST) for _ in range(count)]


def one_of_each() -> list[Attack]:
    found = {chosen.kind: chosen for chosen in drawn(1000)}
    return [found[kind] for kind in hostile_kinds()]


def test_every_kind_comes_about_as_often_as_every_other() -> None:
    counts = Counter(chosen.kind for chosen in drawn(4000))

    assert set(counts) == set(hostile_kinds())
    assert min(counts.values()) > 0.6 * 4000 / len(counts)


def test_the_seed_alone_says_what_is_sent() -> None:
    assert drawn(50) == drawn(50) != drawn(50, seed=2)


def test_no_message_takes_much_memory() -> None:
    assert max(len(chosen.data) for chosen in drawn(4000)) < 2_000_000


async def test_a_server_that_met_one_of_each_still_takes_a_call_and_holds_nothing_open() -> None:
    async with a_server(resume_s=0) as server:
        met = await asyncio.gather(*(attack(server.url, chosen) for chosen in one_of_each()))
        events = await converse(server, pcm(speech(1.0), silence(1.0)))
        async with httpx.AsyncClient() as client:
            health = await client.get(f"{server.http_url}/healthz")

        assert all(met)
        assert events[-1].type == "session.ended"
        assert "emotion" in {event.type for event in events}
        assert health.status_code == HTTPStatus.OK
        async with asyncio.timeout(10):
            await server.service.sessions.wait_empty()


async def test_a_server_that_is_away_was_not_met() -> None:
    async with a_server() as server:
        url = server.url

    assert not await attack(url, drawn(1)[0])


async def test_a_job_is_done_to_the_last_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile_clients, "_FLOOD_S", 0.3)
    audio = tmp_path / "audio.pcm"
    audio.write_bytes(pcm(speech(0.6), silence(0.6)))
    counts: Counter[str] = Counter()
    async with a_server(resume_s=0, idle_timeout_s=1) as server:
        job = HostileJob(server.url, str(audio), str(tmp_path / "out"), 0.5, 3, 20, 1, 0, 0)
        await asyncio.wait_for(run_hostile(job, counts), 30)

    assert counts[FLOODS] == 1
    assert sum(counts[kind] for kind in hostile_kinds()) == 20
    assert not counts[STALLED_SUBSCRIBERS]
    assert not counts[STALLED_SPEAKERS]
    assert HostileJob.from_json(job.to_json()) == job
    assert json.loads(job.to_json())["messages"] == 20
