"""Settings of what voice assistants and homes are told: `[wyoming]`, `[home_assistant]`."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Self

from pydantic import Field, model_validator

from models.settings_file import SettingsSection
from streaming.events import IDENTIFIER_PATTERN
from streaming.setting_types import Host, Levels, Network, Port, Text


class WyomingSettings(SettingsSection):
    """`[wyoming]`: voice assistants that send speech over the Wyoming protocol."""

    enabled: bool = False
    """Whether they are listened to at all."""
    host: Host = "127.0.0.1"
    """Address to listen on."""
    port: Port = 10_300
    """TCP port; 0 for a free one."""
    peers: tuple[Network, ...] = Field(default=(), max_length=100)
    """Addresses and networks that are let in; none for all that reach a loopback address."""
    max_utterance_s: float = Field(default=300.0, ge=1, le=3600)
    """Audio of one transcription."""


class HomeDevice(SettingsSection):
    """A device in Home Assistant, and whose speech it stands for."""

    id: str = Field(default="live", pattern=IDENTIFIER_PATTERN)
    """Its place in topics; what Home Assistant knows it by."""
    name: Annotated[Text, Field(min_length=1)] = "MEDUSA live"
    """For people."""
    sessions: str = Field(default="*", pattern=r"^[A-Za-z0-9_*?-]{1,64}$")
    """Names of the sessions it follows; * stands for any letters, ? for any one."""
    role: str = Field(default="customer", pattern=r"^(\*|[A-Za-z0-9_-]{1,64})$")
    """Of the channels it follows; * for all."""


class HomeAssistantSettings(SettingsSection):
    """`[home_assistant]`: devices that Home Assistant finds by MQTT."""

    enabled: bool = False
    """Whether there are any."""
    discovery_prefix: Levels = "homeassistant"
    """First levels of the topics it looks for devices at."""
    devices: tuple[HomeDevice, ...] = Field(default=(HomeDevice(),), min_length=1, max_length=32)
    """All of them."""
    expire_after_s: int = Field(default=600, ge=0, le=86_400)
    """A state that is not told again for so long is unavailable; 0 to keep it for ever."""

    @model_validator(mode="after")
    def _every_device_has_its_own_id(self) -> Self:
        twice = sorted(name for name, count in Counter(device.id for device in self.devices).items() if count > 1)
        if twice:
            raise ValueError(f"devices share the id {', '.join(twice)}; give each its own")
        return self
