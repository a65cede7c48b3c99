"""What one client of `medusa bench live` saw, and how it travels from the clients' process to the one that measures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.job import Job
from streaming.events import Event, parse_event


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One client's session."""

    stream: int
    """The client's number, from 0."""
    received: tuple[tuple[float, Event], ...]
    """Seconds on the client's clock, counted from the first sample, and what came then."""
    late_ms: tuple[float, ...]
    """Of every message of audio, how long after its time it was sent."""
    error: str | None = None
    """Why the session ended before its time."""

    def to_json(self) -> str:
        """On one line."""
        return json.dumps(
            {
                "stream": self.stream,
                "received": [(round(at_s, 6), event.to_json()) for at_s, event in self.received],
                "late_ms": [round(late, 3) for late in self.late_ms],
                "error": self.error,
            }
        )

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is not that.
        """
        values = json.loads(line)
        return cls(
            stream=values["stream"],
            received=tuple((at_s, parse_event(event)) for at_s, event in values["received"]),
            late_ms=tuple(values["late_ms"]),
            error=values["error"],
        )


@dataclass(frozen=True, slots=True)
class ClientsJob(Job):
    """What one process of clients is to do; travels as JSON."""

    url: str
    """Of the server."""
    language: str | None
    chunk_s: float
    """Audio in one message."""
    patience_s: float
    """How long finals may take after the last audio."""
    streams: tuple[tuple[int, str, float], ...]
    """Of each client its number, the file with its audio (mono PCM16 at 16 kHz, without a header), and how many
    seconds after the others it begins."""
    out: str
    """The file to which the records are written, one a line; a last line is the process's own figures."""
    protocol: str = "native"
    """Which of `benchmarks.live_lines.PROTOCOLS` they speak."""
    telephone: bool = False
    """Whether audio is sent as mu-law at 8 kHz."""


def write_records(path: Path, records: Iterable[StreamRecord], cpu_s: float) -> None:
    """Writes what a process of clients saw, and the processor time that it took."""
    lines = [*(record.to_json() for record in records), json.dumps({"cpu_s": cpu_s})]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_records(path: Path) -> tuple[list[StreamRecord], float]:
    """Reads what `write_records` wrote.

    Raises:
        OSError: there is no such file.
        ValueError: it is not that.
    """
    *lines, last = path.read_text(encoding="utf-8").splitlines()
    return [StreamRecord.from_json(line) for line in lines], float(json.loads(last)["cpu_s"])
