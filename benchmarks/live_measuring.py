"""One run of `medusa bench live`: each server at each number of streams, a fresh process of it every time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.live_crew import crew
from benchmarks.live_lines import NATIVE
from benchmarks.live_records import StreamRecord
from benchmarks.live_reference import OfflineSegment, label_agreement
from benchmarks.live_result import Clients, FinalSeen, LiveRow, Span, finals_of, summed_up
from benchmarks.live_search import LargestSearch
from benchmarks.live_server import MeasuredServer, ServerKind, measured_server, overrides
from benchmarks.live_speech import TAIL_S, Talk, Talker, plan_talk
from benchmarks.long_runs import Progress, Seconds
from benchmarks.process_figures import Watch
from benchmarks.spoken_clips import Clip
from streaming.audio.codecs import Encoding, encode

LOOK_EVERY_S: Final = 0.5
_S_PER_MIN: Final = 60.0
_SPARE_SESSIONS: Final = 4
"""Places beyond those that are needed, at least as many as `[server] max_sessions` has by default."""
_DEFAULT_SESSIONS: Final = 32
_SLACK_S: Final = 60.0
"""What clients may take beyond their own patience before they count as hung."""


@dataclass(frozen=True, slots=True)
class LivePlan:
    """What is measured in every row alike."""

    talker: Talker
    minutes: float
    warm_up_s: float
    seed: int
    language: str | None
    streams_a_process: int
    patience_s: float

    @property
    def span(self) -> Span:
        """What counts of each session."""
        return Span(self.warm_up_s, self.warm_up_s + self.minutes * _S_PER_MIN)

    @property
    def audio_s(self) -> float:
        """Length of each session's audio."""
        return self.span.end_s + TAIL_S


@dataclass(slots=True)
class LiveRun:
    """Rows as they are measured, and what they were made of."""

    kinds: Mapping[str, ServerKind]
    clips: Sequence[Clip]
    plan: LivePlan
    folder: Path
    """For audio and logs."""
    progress: Progress
    config: Path | None = None
    rows: dict[tuple[str, int], LiveRow] = field(default_factory=dict)
    """By server and number of streams."""
    talks: list[Talk] = field(default_factory=list)
    _audio: list[Path] = field(default_factory=list)
    _finals: dict[tuple[str, int], list[FinalSeen]] = field(default_factory=dict)

    async def row(self, server: str, streams: int) -> LiveRow:
        """The row of a server at a number of streams, measured when it is first asked for.

        Raises:
            BenchmarkError: server or clients do not start.
        """
        if (server, streams) not in self.rows:
            row, records = await self.measured(server, streams, f"{server}-{streams}")
            self.rows[server, streams] = row
            self._finals[server, streams] = finals_of(records)
        return self.rows[server, streams]

    async def largest(self, server: str, target_ms: float, most: int) -> LargestSearch:
        """Looks for the largest number of streams that a server carries within a target.

        Args:
            server: its name.
            target_ms: for the 95th percentile of `total_ms` - `endpoint_ms`.
            most: streams that are tried at most.

        Raises:
            BenchmarkError: server or clients do not start.
        """
        search = LargestSearch(most)
        while (streams := search.next) is not None:
            search.tell(streams, (await self.row(server, streams)).carries(target_ms))
        return search

    def audio(self, streams: int) -> list[Path]:
        """The audio of so many clients, mono PCM16 at 16 kHz; a client says the same in every row."""
        for stream in range(len(self._audio), streams):
            plan = self.plan
            talk = plan_talk(self.clips, plan.talker, seconds=plan.span.end_s, seed=plan.seed, stream=stream)
            path = self.folder / f"stream-{stream}.pcm"
            path.write_bytes(encode(talk.rendered(stream), Encoding.PCM16))
            self.talks.append(talk)
            self._audio.append(path)
        return self._audio[:streams]

    def compare_labels(self, offline: Sequence[Sequence[OfflineSegment]]) -> None:
        """Holds the labels of all rows to those that the same audio gets offline."""
        for key, row in self.rows.items():
            share = label_agreement(self._finals[key], offline)
            self.rows[key] = replace(row, label_agreement=None if share is None else round(share, 4))

    async def measured(
        self, server: str, streams: int, name: str, *, protocol: str = NATIVE, telephone: bool = False
    ) -> tuple[LiveRow, list[StreamRecord]]:
        """A row that is not kept, and what its clients saw.

        Args:
            server: its name.
            streams: how many.
            name: of a folder for its files, not there yet.
            protocol: that the clients speak.
            telephone: whether their audio is mu-law at 8 kHz.

        Raises:
            BenchmarkError: server or clients do not start.
        """
        plan = self.plan
        audio = await asyncio.to_thread(self.audio, streams)
        folder = self.folder / name
        folder.mkdir()
        environment = overrides(sessions=max(_DEFAULT_SESSIONS, streams + _SPARE_SESSIONS), language=plan.language)
        async with (
            measured_server(self.kinds[server], folder, environment, config=self.config) as running,
            crew(
                running.url,
                audio,
                folder,
                language=plan.language,
                patience_s=plan.patience_s,
                streams_a_process=plan.streams_a_process,
                protocol=protocol,
                telephone=telephone,
            ) as clients,
        ):
            watch = Watch(running.pid)
            said = f"{server}, {streams} stream{'s' if streams > 1 else ''}, {protocol}"
            with self.progress(said, plan.audio_s) as passed:
                watching = asyncio.create_task(_watch(watch, running, plan.span, passed))
                began_s = time.monotonic()
                try:
                    async with asyncio.timeout(plan.audio_s + plan.patience_s + _SLACK_S):
                        records, cpu_s = await clients.run()
                except TimeoutError:
                    raise BenchmarkError(f"the clients of {server} at {streams} streams hang") from None
                finally:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
            took = Clients(clients.processes, cpu_s / (time.monotonic() - began_s))
            faults = [] if running.fault is None else [running.fault]
        row = summed_up(server, records, self.talks[:streams], plan.span, watch=watch, clients=took, faults=faults)
        return replace(row, protocol=protocol, telephone=telephone), records


async def _watch(watch: Watch, server: MeasuredServer, span: Span, passed: Seconds) -> None:
    """Looks at the server while what it hears is measured."""
    began_s = last_s = time.monotonic()
    while server.fault is None:
        await asyncio.sleep(LOOK_EVERY_S)
        now_s = time.monotonic()
        passed(now_s - last_s)
        last_s = now_s
        if span.holds(now_s - began_s):
            await asyncio.to_thread(watch.look, now_s)
