"""The largest number of streams that a server carries: doubled until it fails, then halved in between."""

from __future__ import annotations


class LargestSearch:
    """Asks for one number after another, and is told whether the server carried it.

    What it finds was itself carried, and either the next number up was not or there is none. A server that fails at
    some number and carries a larger one was lucky at the larger: what lies above a failure is not looked for.
    """

    def __init__(self, most: int) -> None:
        """Starts at 1.

        Args:
            most: the largest number that is tried.

        Raises:
            ValueError: `most` is below 1.
        """
        if most < 1:
            raise ValueError(f"at least one stream must be tried, got {most}")
        self._most = most
        self._carried = 0
        self._failed = most + 1

    @property
    def found(self) -> int:
        """The largest number that was carried, so far; 0 for none."""
        return self._carried

    @property
    def open_ended(self) -> bool:
        """Whether the largest number tried was carried, so that there may be larger ones."""
        return self._carried == self._most

    @property
    def next(self) -> int | None:
        """What to try next; None once the answer is found."""
        if self._failed - self._carried <= 1:
            return None
        if self._failed > self._most:
            return min(max(1, 2 * self._carried), self._most)
        return (self._carried + self._failed) // 2

    def tell(self, streams: int, carried: bool) -> None:
        """Takes the outcome for a number; one outside of what is still open changes nothing."""
        if carried and self._carried < streams < self._failed:
            self._carried = streams
        elif not carried and self._carried < streams < self._failed:
            self._failed = streams
