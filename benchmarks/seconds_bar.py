"""A bar that fills with seconds, of this clock or of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trainer.progress import terminal_progress


@contextmanager
def seconds_shown(description: str, total_s: float) -> Iterator[Callable[[float], None]]:
    """A bar that fills with the seconds; nothing where stderr is no terminal."""
    whole, shown, passed_s = round(total_s), 0, 0.0
    with terminal_progress(description, whole, 0.0) as advance:

        def passed(seconds: float) -> None:
            nonlocal shown, passed_s
            passed_s += seconds
            now = min(whole, int(passed_s))
            advance(now - shown, 0.0)
            shown = now

        yield passed
