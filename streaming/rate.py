"""How often something may happen. Pure: it reads no clock."""

from __future__ import annotations

from typing import Final


class RateLimit:
    """Allows so many a second, and as many at once after a pause.

    Args:
        per_s: how many a second.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s: Final = per_s
        self._left = per_s
        self._asked_s: float | None = None

    def allows(self, now_s: float) -> bool:
        """Whether one more may happen now; if so, it counts."""
        if self._asked_s is not None:
            self._left = min(self._per_s, self._left + (now_s - self._asked_s) * self._per_s)
        self._asked_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
