"""What well-behaved clients did in the middle of chaos, and how it travels from their process."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class FinalAt:
    """A final emotion, as anybody saw it."""

    session: str
    seq: int
    channel: int
    segment: int
    start_s: float
    """On its session's clock."""
    end_s: float


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call, over as many sessions as it took."""

    line: int
    recording: int
    """Which of the recordings was played, from its beginning."""
    sent_s: float
    """Audio that the client was rid of."""
    sessions: tuple[tuple[str, float], ...]
    """Each with where in the call its clock begins, in seconds."""
    finals: tuple[FinalAt, ...]
    """That the client itself was told."""
    error: str | None = None
    """Why the call ended before its time."""

    def to_json(self) -> str:
        """On one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is not that.
        """
        values: dict[str, Any] = json.loads(line)
        sessions = tuple((str(name), float(offset_s)) for name, offset_s in values.pop("sessions"))
        finals = tuple(FinalAt(**final) for final in values.pop("finals"))
        return cls(**values, sessions=sessions, finals=finals)


def write_calls(path: Path, records: Iterable[CallRecord]) -> None:
    """Writes records, one a line."""
    path.write_text("".join(f"{record.to_json()}\n" for record in records), encoding="utf-8")


def read_calls(path: Path) -> list[CallRecord]:
    """Reads what `write_calls` wrote.

    Raises:
        OSError: there is no such file.
        ValueError: it is not that.
    """
    return [CallRecord.from_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
