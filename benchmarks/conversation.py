"""The demo's conversation through the real server at the pace of speech: how long after the speech its answers come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from models.machine import written
from streaming.config import Settings
from streaming.conversation import load_conversation
from streaming.demo import demo_settings, run_demo
from streaming.demo_result import DemoResult
from streaming.errors import StreamingError
from streaming.events import EmotionEvent
from streaming.recognition.recognizer import load_recognizer

_PERCENTILES: Final = (50, 95)


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """One playing of the conversation."""

    clips: int
    """Spoken."""
    finals: int
    interims: int
    word_error_rate: float
    gaps: int
    """Events that one of two sockets missed."""
    endpoint_ms: float
    """Median silence it took to decide that a segment had ended."""
    final_p50_ms: float
    """Of finals, from that decision to the event."""
    final_p95_ms: float
    interim_p50_ms: float
    """Of interims, from the last sample they rest on to the event."""
    interim_p95_ms: float

    @classmethod
    def of(cls, result: DemoResult) -> ConversationRow:
        """Measures a playing.

        Args:
            result: of the demo.
        """
        emotions = [event for event in result.events if isinstance(event, EmotionEvent)]
        finals = [event.latency for event in emotions if event.final]
        interims = [event.latency.total_ms for event in emotions if not event.final]
        final_ms = _percentiles([latency.total_ms - latency.endpoint_ms for latency in finals])
        interim_ms = _percentiles(interims)
        return cls(
            clips=result.clips,
            finals=result.finals,
            interims=len(interims),
            word_error_rate=round(result.word_error_rate, 4),
            gaps=result.gaps,
            endpoint_ms=_percentiles([latency.endpoint_ms for latency in finals])[0],
            final_p50_ms=final_ms[0],
            final_p95_ms=final_ms[1],
            interim_p50_ms=interim_ms[0],
            interim_p95_ms=interim_ms[1],
        )


def _percentiles(values: Sequence[float]) -> list[float]:
    if not values:
        return [float("nan")] * len(_PERCENTILES)
    return [round(float(value), 1) for value in np.percentile(values, _PERCENTILES)]


def play(settings: Settings, times: int) -> list[ConversationRow]:
    """Plays the conversation several times, each through a server of its own.

    Args:
        settings: of the server.
        times: how often.

    Raises:
        StreamingError: the recogniser cannot be loaded, or the server cannot listen.
    """
    recognizer = load_recognizer(settings)
    conversation = load_conversation()
    return [
        ConversationRow.of(asyncio.run(run_demo(demo_settings(settings), conversation, lambda: recognizer)))
        for _ in range(times)
    ]


def table(rows: Sequence[ConversationRow]) -> Table:
    """The rows, for people."""
    shown = Table(title="The demo's conversation, at the pace of speech")
    for heading in ("finals", "words wrong", "gaps", "pause ms", "final p50 ms", "p95 ms", "interim p50 ms", "p95 ms"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            f"{row.finals} for {row.clips} clips",
            f"{row.word_error_rate:.1%}",
            str(row.gaps),
            f"{row.endpoint_ms:.0f}",
            f"{row.final_p50_ms:.0f}",
            f"{row.final_p95_ms:.0f}",
            f"{row.interim_p50_ms:.0f}",
            f"{row.interim_p95_ms:.0f}",
        )
    return shown


@click.command(epilog="Example: medusa bench conversation --times 3 --json")
@click.option(
    "--times", type=click.IntRange(min=1), default=1, show_default=True, help="Playings, about a minute each."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(times: int, as_json: bool) -> None:
    """Measures how long after the speech the answers come, over the demo's conversation."""
    settings = Settings()
    try:
        rows = play(settings, times)
    except StreamingError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        stated = {"times": times, "vad": settings.vad.model_dump(), "asr": settings.asr.model_dump()}
        click.echo(json.dumps(written("conversation", stated, [asdict(row) for row in rows]), indent=1))
    else:
        Console().print(table(rows))


if __name__ == "__main__":
    main()
