"""One long run: a server process, and calls that come and go in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.live_crew import crew
from benchmarks.live_lines import SPEECH
from benchmarks.live_result import Span
from benchmarks.live_server import ServerKind, measured_server, overrides
from benchmarks.live_speech import TAIL_S, Talker, plan_talk
from benchmarks.long_runs import Progress
from benchmarks.report_files import new_folder
from benchmarks.soak_calls import Calls, plan_calls
from benchmarks.soak_result import Idle, SoakRow, soak_row
from benchmarks.soak_watching import LOOK_EVERY_S, Look, keep_looking, when_idle
from benchmarks.spoken_clips import Clip
from streaming.audio.codecs import Encoding, encode

LINES_A_PROCESS: Final = 16
_S_PER_MIN: Final = 60.0
_SPARE_SESSIONS: Final = 4
_DEFAULT_SESSIONS: Final = 32
_FIRST_CALL_S: Final = 8.0
"""Before anything is held against it, the server has had a call on every line: what is opened once is open."""
_SLACK_S: Final = 60.0
"""What clients may take beyond their own patience before they count as hung."""


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """What is run."""

    talker: Talker
    streams: int
    """Calls at a time."""
    minutes: float
    """That count."""
    warm_up_s: float
    """Before them: memory is still being taken."""
    call_minutes: float
    """Length of a call, on average."""
    seed: int
    language: str | None
    patience_s: float
    look_every_s: float = LOOK_EVERY_S

    @property
    def span(self) -> Span:
        """What counts, on the run's clock."""
        return Span(self.warm_up_s, self.warm_up_s + self.minutes * _S_PER_MIN)


async def soak(
    kind: ServerKind,
    clips: Sequence[Clip],
    plan: SoakPlan,
    folder: Path,
    progress: Progress,
    *,
    config: Path | None = None,
) -> tuple[SoakRow, list[Look]]:
    """Runs it, and says what became of the server.

    Args:
        kind: of server.
        clips: to say.
        plan: what is run.
        folder: an empty one, for audio and logs.
        progress: shows the time.
        config: the server's config.toml, by an absolute path; None for the defaults.

    Raises:
        BenchmarkError: server or clients do not start, or hang.
    """
    calls = plan_calls(
        lines=plan.streams, seconds=plan.span.end_s, usual_s=plan.call_minutes * _S_PER_MIN, seed=plan.seed
    )
    audio, first = await asyncio.to_thread(_recorded, calls, clips, plan, folder)
    environment = overrides(sessions=max(_DEFAULT_SESSIONS, plan.streams + _SPARE_SESSIONS), language=plan.language)
    processes = -(-plan.streams // LINES_A_PROCESS)
    looks: list[Look] = []
    async with measured_server(kind, new_folder(folder / "server"), environment, config=config) as server:
        async with crew(
            server.url,
            [first] * plan.streams,
            new_folder(folder / "first"),
            language=plan.language,
            patience_s=plan.patience_s,
            streams_a_process=LINES_A_PROCESS,
        ) as callers:
            await callers.run()
        before = await when_idle(server, plan.patience_s)
        async with crew(
            server.url,
            audio,
            new_folder(folder / "clients"),
            language=plan.language,
            patience_s=plan.patience_s,
            streams_a_process=-(-len(audio) // processes),
            begins_s=[call.begin_s for call in calls.calls],
        ) as callers:
            with progress(f"{plan.streams} calls at a time", plan.span.end_s) as passed:
                looking = asyncio.create_task(keep_looking(server, looks, passed, every_s=plan.look_every_s))
                try:
                    async with asyncio.timeout(plan.span.end_s + plan.patience_s + _SLACK_S):
                        records, _ = await callers.run()
                except TimeoutError:
                    raise BenchmarkError(f"the clients hang {_SLACK_S:g} s after they should have given up") from None
                finally:
                    looking.cancel()
                    await asyncio.gather(looking, return_exceptions=True)
        faults = [] if server.fault is None else [server.fault]
        after = before if faults else await when_idle(server, plan.patience_s)
    row = soak_row(calls.calls, records, looks, plan.span, idle=Idle(before, after), faults=faults)
    return row, looks


def _recorded(calls: Calls, clips: Sequence[Clip], plan: SoakPlan, folder: Path) -> tuple[list[Path], Path]:
    """The audio of each call, shared where calls are alike, and that of a call before all of them."""
    played = {call.recording for call in calls.calls}
    whole = {}
    for recording in sorted({0, *played}):
        seconds = max(TAIL_S, calls.lengths_s[recording] - TAIL_S)
        talk = plan_talk(clips, plan.talker, seconds=seconds, seed=plan.seed, stream=recording)
        whole[recording] = folder / f"recording-{recording}.pcm"
        whole[recording].write_bytes(encode(talk.rendered(recording), Encoding.PCM16))
    first = _cut(whole[0], _FIRST_CALL_S, folder / "first.pcm")
    audio = []
    for number, call in enumerate(calls.calls):
        path = whole[call.recording]
        if call.seconds < calls.lengths_s[call.recording]:
            path = _cut(path, call.seconds, folder / f"call-{number}.pcm")
        audio.append(path)
    return audio, first


def _cut(path: Path, seconds: float, to: Path) -> Path:
    samples = round(seconds * SPEECH.rate_hz)
    with path.open("rb") as whole:
        to.write_bytes(whole.read(samples * SPEECH.encoding.sample_bytes))
    return to
