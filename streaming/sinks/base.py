"""What every sink is: something that takes all events for as long as the server runs."""

from __future__ import annotations

from typing import Protocol

from streaming.hub import EventHub


class Sink(Protocol):
    """Takes the events of all sessions somewhere. Its troubles are its own: the server goes on without it."""

    def attach(self, hub: EventHub) -> None:
        """Subscribes; events from now on will be taken."""

    async def run(self) -> None:
        """Takes events until the hub closes and all are taken, or until cancelled."""
