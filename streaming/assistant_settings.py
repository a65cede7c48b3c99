"""Settings of what voice assistants and homes are told: `[wyoming]`."""

from __future__ import annotations

from pydantic import Field

from models.settings_file import SettingsSection
from streaming.setting_types import Host, Network, Port


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
