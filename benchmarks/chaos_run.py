"""One run of chaos: a server and its broker, clients that behave, clients that do not, and faults on schedule."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.chaos_accounting import account
from benchmarks.chaos_broker import Broker, free_port
from benchmarks.chaos_calls import CallsJob
from benchmarks.chaos_crowd import call_off, give_the_word, started
from benchmarks.chaos_lives import ChaosServer, HealthWatch
from benchmarks.chaos_plan import ChaosPlan, Deed, Fault, schedule
from benchmarks.chaos_recordings import Recordings, record
from benchmarks.chaos_records import CallRecord, read_calls
from benchmarks.chaos_result import ChaosRow, Health
from benchmarks.chaos_server import inside_faults
from benchmarks.chaos_subscriber import Subscriber, subscribed
from benchmarks.chaos_way import Way, way_to
from benchmarks.children import complaint
from benchmarks.errors import BenchmarkError
from benchmarks.hostile_clients import FLOODS, STALLED_SPEAKERS, STALLED_SUBSCRIBERS, HostileJob
from benchmarks.hostile_messages import hostile_kinds
from benchmarks.live_crew import crew
from benchmarks.live_server import ServerKind, overrides
from benchmarks.long_runs import Progress, Seconds
from benchmarks.report_files import new_folder
from benchmarks.soak_watching import Look, when_idle
from benchmarks.spoken_clips import Clip
from streaming.audio.vad import VoiceActivityDetector, make_vad
from streaming.config import VadSettings

MAX_SESSIONS: Final = 64
PREFIX: Final = "medusa/chaos"
_BROKER_AWAY_BOUNDS_S: Final = (0.2, 3.0)
_QUIET_S: Final = 3.0
"""Without anything new at the subscriber, and with nothing left to compute, all is there."""
_LAST_WORD_S: Final = 60.0
"""What the outbox may take to deliver what is left once nothing is computed any more."""
_HEALTH_BOUND_S: Final = 5.0
_TICK_S: Final = 0.5
_GROUPS: Final = (
    (Fault.DISCONNECT, Fault.HALF_MESSAGE),
    (Fault.BROKER_STOP, Fault.BROKER_KILL),
    (Fault.SERVER_KILL,),
)
"""Faults of a group wait for each other."""


async def chaos(
    kind: ServerKind,
    clips: Sequence[Clip],
    plan: ChaosPlan,
    folder: Path,
    progress: Progress,
    *,
    config: Path | None = None,
    vad_settings: VadSettings | None = None,
    vad: Callable[[VadSettings], VoiceActivityDetector] = make_vad,
) -> ChaosRow:
    """Does it all, and counts what is left.

    Args:
        kind: of server; its last argument is the port.
        clips: to say.
        plan: what is done.
        folder: an empty one, for audio, logs, the broker's memory and the outbox.
        progress: shows the time.
        config: the server's config.toml, by an absolute path; None for the defaults.
        vad_settings: the server's.
        vad: makes a detector like the server's.

    Raises:
        BenchmarkError: Mosquitto is not installed; server, broker or clients do not start.
    """
    broker = Broker(new_folder(folder / "broker"), free_port())
    said = await asyncio.to_thread(
        record, clips, plan, new_folder(folder / "audio"), vad_settings or VadSettings(), vad
    )
    environment = {
        **overrides(sessions=MAX_SESSIONS, language=plan.language),
        "MEDUSA_MQTT__ENABLED": "true",
        "MEDUSA_MQTT__HOST": "127.0.0.1",
        "MEDUSA_MQTT__PORT": str(broker.port),
        "MEDUSA_MQTT__PREFIX": PREFIX,
        "MEDUSA_MQTT__TLS": "false",
        "MEDUSA_MQTT__USERNAME": "",
        "MEDUSA_MQTT__OUTBOX": str(new_folder(folder / "outbox") / "events.sqlite"),
        **plan.settings,
    }
    server = ChaosServer(kind, free_port(), new_folder(folder / "server"), environment, config)
    run = _Run(plan, broker, server, said, folder)
    await broker.start()
    try:
        async with subscribed(broker.port, f"{PREFIX}/#") as subscriber, way_to(server.port, plan.seed) as way:
            try:
                await server.start()
                row = await run.through(subscriber, way, progress)
            finally:
                await server.stop()
    finally:
        await broker.stop()
    return replace(row, inside=inside_faults(server.folder))


class _Run:
    def __init__(self, plan: ChaosPlan, broker: Broker, server: ChaosServer, said: Recordings, folder: Path) -> None:
        self._plan = plan
        self._broker = broker
        self._server = server
        self._said = said
        self._folder = folder
        self._done: Counter[Fault] = Counter()
        self._broken: list[str] = []

    async def through(self, subscriber: Subscriber, way: Way, progress: Progress) -> ChaosRow:
        plan = self._plan
        before = await self._warm_up()
        health = HealthWatch(self._server, _HEALTH_BOUND_S)
        calls_out, hostile_out = self._folder / "calls.jsonl", self._folder / "hostile.json"
        calls = CallsJob(
            way.url,
            plan.language,
            plan.streams,
            tuple(map(str, self._said.paths)),
            plan.patience_s,
            plan.seed,
            str(calls_out),
        )
        hostile = HostileJob(
            self._server.url,
            str(self._said.paths[0]),
            str(hostile_out),
            plan.seconds,
            plan.seed,
            plan.messages,
            plan.floods,
            plan.stalled_subscribers,
            plan.stalled_speakers,
        )
        watching = asyncio.create_task(health.run())
        try:
            async with (
                started("benchmarks.chaos_calls", calls.to_json(), "calls", self._folder) as callers,
                started("benchmarks.hostile_clients", hostile.to_json(), "hostile", self._folder) as attackers,
            ):
                with progress(f"{plan.streams} callers in chaos", plan.seconds) as passed:
                    await self._have_it_out(way, subscriber, callers, attackers, passed)
            ended_s = time.monotonic()
            records, counts = _written(calls_out, hostile_out, self._folder)
            after = await self._recovered(subscriber, records)
            recovery_s = time.monotonic() - ended_s
        finally:
            await _cancel(watching)
        meant = {
            FLOODS: plan.floods,
            STALLED_SUBSCRIBERS: plan.stalled_subscribers,
            STALLED_SPEAKERS: plan.stalled_speakers,
        }
        messages = {name: counts.get(name, 0) for name in hostile_kinds()}
        return ChaosRow(
            minutes=plan.minutes,
            faults={
                **{fault.value: (self._done[fault], plan.faults.get(fault, 0)) for fault in Fault},
                **{name: (counts.get(name, 0), count) for name, count in meant.items()},
            },
            hostile=messages,
            messages=(sum(messages.values()), plan.messages),
            account=account(records, self._said.speech, subscriber.heard),
            health=Health.of(health.answers_s, health.unanswered, _HEALTH_BOUND_S),
            lives=self._server.lives,
            down_s=self._server.down_s,
            recovery_s=recovery_s,
            before=before,
            after=after,
            broken=tuple(self._broken),
        )

    async def _warm_up(self) -> Look:
        """A call on every line, without any fault: what is opened once is open, and memory is taken."""
        running = self._server.running
        if running is None:
            raise BenchmarkError("there is no server to warm up")
        paths = self._said.paths
        async with crew(
            running.url,
            [paths[line % len(paths)] for line in range(self._plan.streams)],
            new_folder(self._folder / "first"),
            language=self._plan.language,
            patience_s=self._plan.patience_s,
            streams_a_process=self._plan.streams,
        ) as callers:
            await callers.run()
        return await when_idle(running, self._plan.patience_s)

    async def _have_it_out(
        self,
        way: Way,
        subscriber: Subscriber,
        callers: asyncio.subprocess.Process,
        attackers: asyncio.subprocess.Process,
        passed: Seconds,
    ) -> None:
        """Lets everybody loose, and returns once all was done and the last call is over."""
        plan = self._plan
        deeds = schedule(plan.faults, seconds=plan.seconds, seed=plan.seed)
        give_the_word(callers, attackers)
        ticking = asyncio.create_task(_tick(passed))
        longest_s = plan.seconds + 3 * plan.patience_s + 2 * plan.call_s + _LAST_WORD_S
        try:
            async with asyncio.timeout(longest_s), asyncio.TaskGroup() as doing:
                for group in _GROUPS:
                    doing.create_task(self._faults(deeds, group, way, subscriber))
                doing.create_task(asyncio.sleep(plan.seconds))
                doing.create_task(attackers.wait())
            give_the_word(callers)
            async with asyncio.timeout(longest_s):
                await callers.wait()
        except* TimeoutError:
            self._broken.append(f"clients or faults were not done {longest_s:.0f} s after the beginning")
            await call_off((callers, attackers))
        except* BenchmarkError as errors:
            self._broken += [str(error) for error in errors.exceptions]
            await call_off((callers, attackers))
        finally:
            await _cancel(ticking)

    async def _faults(self, deeds: Sequence[Deed], group: Sequence[Fault], way: Way, subscriber: Subscriber) -> None:
        """One kind of fault after the other, each at its time or as soon after it as can be."""
        began_s = time.monotonic()
        rng = np.random.default_rng([self._plan.seed, len(group)])
        for deed in deeds:
            if deed.fault not in group:
                continue
            await asyncio.sleep(max(0.0, deed.at_s - (time.monotonic() - began_s)))
            match deed.fault:
                case Fault.DISCONNECT | Fault.HALF_MESSAGE:
                    await way.break_one(halve=deed.fault is Fault.HALF_MESSAGE)
                case Fault.BROKER_STOP | Fault.BROKER_KILL:
                    # A broker acknowledges before it saves: what it said it has must be on its way to somebody.
                    await subscriber.connected.wait()
                    await self._broker.stop(kill=deed.fault is Fault.BROKER_KILL)
                    await asyncio.sleep(float(rng.uniform(*_BROKER_AWAY_BOUNDS_S)))
                    await self._broker.start()
                case Fault.SERVER_KILL:
                    await self._server.kill_and_start()
            self._done[deed.fault] += 1

    async def _recovered(self, subscriber: Subscriber, records: Sequence[CallRecord]) -> Look:
        """Waits until the subscriber has what clients were told, and nothing is under way any more."""
        running = self._server.running
        if running is None or running.fault is not None:
            raise BenchmarkError(self._server.fault or "there is no server left")
        look = await when_idle(running, 2 * self._plan.patience_s + _LAST_WORD_S)
        told = {(final.session, final.seq) for record in records for final in record.finals}
        deadline_s = time.monotonic() + _LAST_WORD_S
        while time.monotonic() < deadline_s:
            count = len(subscriber.heard)
            await asyncio.sleep(_QUIET_S)
            has_all = told <= {(event.session, event.seq) for event in subscriber.heard}
            if has_all and len(subscriber.heard) == count:
                break
        return look


def _written(calls: Path, hostile: Path, folder: Path) -> tuple[list[CallRecord], dict[str, Any]]:
    try:
        return read_calls(calls), json.loads(hostile.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        logs = "; ".join(f"{name}: {complaint(folder / f'{name}.log')}" for name in ("calls", "hostile"))
        raise BenchmarkError(f"the clients broke: {logs}") from error


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _tick(passed: Seconds) -> None:
    last_s = time.monotonic()
    while True:
        await asyncio.sleep(_TICK_S)
        now_s = time.monotonic()
        passed(now_s - last_s)
        last_s = now_s
