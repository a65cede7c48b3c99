"""What waits to be published for Home Assistant: the latest of everything, and nothing that is over.

Unlike events in the outbox, a state that a newer one has replaced is of no use to a home, nor is it to hear minutes
later that somebody began to speak. So nothing waits while the broker is away; once it is back it is told how things
are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from streaming.events import Event
from streaming.sinks.home_assistant import HomeAssistant, MqttMessage

_MAX_RETAINED: Final = 1024
"""Topics whose latest payload may wait: those of all devices there may be, and of as many that are taken back."""
_MAX_MOMENTS: Final = 256
"""Messages that are not retained; of more the oldest give way."""


class HomePostings:
    """A journal of the hub (`streaming.hub.Journal`), emptied by the MQTT sink while it is connected.

    Args:
        home: says what is to be published.
    """

    def __init__(self, home: HomeAssistant) -> None:
        self._home = home
        self._retained: dict[str, MqttMessage] = {}
        self._moments: deque[MqttMessage] = deque(maxlen=_MAX_MOMENTS)
        self._is_connected = False
        self._has_looked = False
        self._changed = asyncio.Event()

    def record(self, event: Event) -> None:
        """Takes a stamped event."""
        self._post(self._home.observe(event))

    def abandon(self, session: str) -> None:
        """A session is over; its states stay until they expire."""

    def end(self) -> None:
        """No event will follow; what waits is for the sink to `take`."""

    def connected(self) -> Sequence[str]:
        """The broker is there: it is told of everything.

        Returns:
            Topics to subscribe to before anything is published. Where there is no device, only the first time: a broker
            that hangs up on whoever subscribes is not to keep events from those who never asked for devices.
        """
        self._is_connected = True
        self._post(self._home.announce())
        topics = self._home.subscriptions if self._home.has_devices or not self._has_looked else ()
        self._has_looked = True
        return topics

    def disconnected(self) -> None:
        """It is gone; what waited is told anew, or over. Ends `next`, also where its cancellation was overheard."""
        self._is_connected = False
        self.take()
        self._changed.set()

    def heard(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """A message came on one of the topics."""
        self._post(self._home.heard(topic, payload, retained=retained))

    def take(self) -> list[MqttMessage]:
        """What waits now; states before moments, so that who is woken by a moment finds the state that goes with it."""
        taken = [*self._retained.values(), *self._moments]
        self._retained.clear()
        self._moments.clear()
        self._changed.clear()
        return taken

    async def next(self) -> list[MqttMessage]:
        """Waits for something to publish; nothing once the broker is gone."""
        while self._is_connected and not self._retained and not self._moments:
            self._changed.clear()
            await self._changed.wait()
        return self.take()

    def _post(self, messages: Sequence[MqttMessage]) -> None:
        if not self._is_connected:
            return
        for message in messages:
            if not message.retain:
                self._moments.append(message)
            elif message.topic in self._retained or len(self._retained) < _MAX_RETAINED:
                self._retained[message.topic] = message
        if messages:
            self._changed.set()
