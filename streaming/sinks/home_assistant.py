"""Home Assistant's devices: events in, MQTT messages out.

After https://www.home-assistant.io/integrations/mqtt, "MQTT Discovery", in its form for whole devices (since 2024.11).

Sessions come and go, and a home remembers every device it ever saw. So a device is no session but what stays: all
channels of a role, in sessions whose names match, and its state is the latest emotion there. Topics are few and known
beforehand:

- `DISCOVERY/device/OBJECT/config`, retained: what the device is. OBJECT is the prefix of `[mqtt]` and the device's id.
- `PREFIX/home.assistant/ID/state` and `.../attributes`, retained: the latest emotion. Apart from each other, since
  automations would be triggered twice if a state and its attributes came in one message.
- `PREFIX/home.assistant/ID/event`, not retained: that somebody begins or ends to speak, or sounds different.
- `PREFIX/home.assistant/ID/announced`, retained: where the device was announced, by which it is found again, and taken
  back, once the settings do not know it any more.

No session can be named `home.assistant`. Words are in none of them. Pure: it reads no clock and no socket.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import Any, Final

from models.emotions import ATTRIBUTE_NAMES, MSP_NAMES
from streaming.assistant_settings import HomeAssistantSettings, HomeDevice
from streaming.events import IDENTIFIER_PATTERN, EmotionEvent, Event, SessionEnded, SpeechEnded, SpeechStarted

UNSURE: Final = "unsure"
"""The state where nothing is claimed; `unknown` means something else to Home Assistant."""
EVENT_TYPES: Final = ("speech_started", "speech_ended", "emotion_changed")
_LEVEL: Final = "home.assistant"
_MAKER: Final = "MEDUSA live"
_ONLINE: Final = b"online"
_QOS: Final = 1
_MAX_CHANNELS: Final = 4096
"""Channels whose label is remembered; the one that was not heard of for longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class MqttMessage:
    """Something to be published."""

    topic: str
    payload: bytes
    """Nothing, to remove what is retained."""
    retain: bool


class HomeAssistant:
    """All devices.

    Args:
        settings: the devices; where it is not enabled, there are none, and former ones are taken back.
        prefix: of `[mqtt]`.
        status_topic: where it is told whether the server is there.
    """

    def __init__(self, settings: HomeAssistantSettings, prefix: str, status_topic: str) -> None:
        self._prefix = prefix
        self._status_topic = status_topic
        self._discovery_prefix = settings.discovery_prefix
        self._expire_after_s = settings.expire_after_s
        self._devices = {device.id: device for device in settings.devices} if settings.enabled else {}
        self._states: dict[str, Sequence[MqttMessage]] = {}
        self._labels: OrderedDict[tuple[str, int], str] = OrderedDict()
        """What was claimed last of each channel."""

    @property
    def has_devices(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._devices)

    @property
    def subscriptions(self) -> Sequence[str]:
        """Topics that `heard` wants to hear."""
        wanted = [self._topic("+", "announced")]
        return [*wanted, self._birth_topic] if self._devices else wanted

    def announce(self) -> Sequence[MqttMessage]:
        """All devices and their latest states: for a broker that was connected to, or a home that has started."""
        messages: list[MqttMessage] = []
        for device in self._devices.values():
            topic = self._config_topic(device.id)
            messages.append(MqttMessage(self._topic(device.id, "announced"), _json({"topic": topic}), retain=True))
            messages.append(MqttMessage(topic, _json(self._config(device)), retain=True))
            messages.extend(self._states.get(device.id, ()))
        return messages

    def heard(self, topic: str, payload: bytes, *, retained: bool) -> Sequence[MqttMessage]:
        """Answers a message: a home that has started is told of all devices, a device of former times is taken back."""
        if topic == self._birth_topic:
            return self.announce() if payload == _ONLINE and not retained else ()
        pattern = re.escape(self._topic("+", "announced")).replace(r"\+", "(.+)")
        found = re.fullmatch(pattern, topic)
        if found is None or not payload or not re.fullmatch(IDENTIFIER_PATTERN, found[1]):
            return ()
        return tuple(self._taken_back(found[1], _announced_at(payload)))

    def observe(self, event: Event) -> Sequence[MqttMessage]:
        """What an event changes."""
        if isinstance(event, SessionEnded):
            for key in [key for key in self._labels if key[0] == event.session]:
                del self._labels[key]
        if isinstance(event, SpeechStarted | SpeechEnded | EmotionEvent):
            changed = isinstance(event, EmotionEvent) and self._changes(event)
            followers = [device for device in self._devices.values() if _follows(device, event.session, event.role)]
            return [message for device in followers for message in self._tell(device, event, changed=changed)]
        return ()

    def _changes(self, event: EmotionEvent) -> bool:
        """Whether another label is claimed of the channel than before."""
        if event.label is None:
            return False
        key = (event.session, event.channel)
        before = self._labels.pop(key, None)
        self._labels[key] = event.label
        if len(self._labels) > _MAX_CHANNELS:
            self._labels.popitem(last=False)
        return before != event.label

    def _tell(
        self, device: HomeDevice, event: SpeechStarted | SpeechEnded | EmotionEvent, *, changed: bool
    ) -> Iterator[MqttMessage]:
        whose = {"session": event.session, "channel": event.channel, "role": event.role}
        match event:
            case SpeechStarted():
                yield self._moment(device, "speech_started", whose)
            case SpeechEnded(start_s=start_s, end_s=end_s):
                yield self._moment(device, "speech_ended", {**whose, "start_s": start_s, "end_s": end_s})
            case EmotionEvent() if event.scores and (event.final or changed):
                self._states[device.id] = self._state(device, event, whose)
                yield from self._states[device.id]
                if changed:
                    yield self._moment(
                        device, "emotion_changed", {**whose, "label": event.label, "confidence": event.confidence}
                    )

    def _moment(self, device: HomeDevice, kind: str, told: Mapping[str, Any]) -> MqttMessage:
        return MqttMessage(self._topic(device.id, "event"), _json({"event_type": kind, **told}), retain=False)

    def _state(self, device: HomeDevice, event: EmotionEvent, whose: Mapping[str, Any]) -> Sequence[MqttMessage]:
        felt = {name: getattr(event.attributes, name, None) for name in ATTRIBUTE_NAMES}
        state = {"label": event.label, "confidence": event.confidence, **felt}
        told = {
            **event.scores,
            "confidence": event.confidence,
            "final": event.final,
            "start_s": event.start_s,
            "end_s": event.end_s,
            **whose,
        }
        return (
            MqttMessage(self._topic(device.id, "attributes"), _json(told), retain=True),
            MqttMessage(self._topic(device.id, "state"), _json(state), retain=True),
        )

    def _config(self, device: HomeDevice) -> dict[str, Any]:
        """The discovery payload; Home Assistant's short names where its documentation leads with them."""
        name = self._object_id(device.id)
        sensors: dict[str, dict[str, Any]] = {
            "emotion": {
                "device_class": "enum",
                "options": [*MSP_NAMES, UNSURE],
                "value_template": f"{{{{ value_json.label or '{UNSURE}' }}}}",
                "json_attributes_topic": self._topic(device.id, "attributes"),
                "icon": "mdi:emoticon-outline",
            }
        }
        for attribute in ATTRIBUTE_NAMES:
            sensors[attribute] = {
                "value_template": f"{{{{ value_json.{attribute} }}}}",
                "state_class": "measurement",
                "suggested_display_precision": 1,
            }
        if self._expire_after_s:
            for sensor in sensors.values():
                sensor["expire_after"] = self._expire_after_s
        components = {key: {"p": "sensor", "name": key.capitalize(), **sensor} for key, sensor in sensors.items()} | {
            "speech": {
                "p": "event",
                "name": "Speech",
                "event_types": list(EVENT_TYPES),
                "state_topic": self._topic(device.id, "event"),
                "icon": "mdi:account-voice",
            }
        }
        return {
            "dev": {
                "ids": [name],
                "name": device.name,
                "mf": _MAKER,
                "mdl": "Speech emotion recognition",
                "sw": version("medusa-live"),
            },
            "o": {"name": _MAKER, "sw": version("medusa-live")},
            "avty": [{"topic": self._status_topic, "value_template": "{{ value_json.status }}"}],
            "cmps": {key: {**own, "unique_id": f"{name}_{key}"} for key, own in components.items()},
            "state_topic": self._topic(device.id, "state"),
            "qos": _QOS,
        }

    def _taken_back(self, device_id: str, announced_at: str) -> Iterator[MqttMessage]:
        """Removes what is retained of a device that is not ours any more, or was announced elsewhere."""
        is_ours = device_id in self._devices
        # Nobody is to have other people's topics removed by us.
        was_ours = re.fullmatch(rf"[A-Za-z0-9_/-]+/device/{re.escape(self._object_id(device_id))}/config", announced_at)
        if was_ours and not (is_ours and announced_at == self._config_topic(device_id)):
            yield MqttMessage(announced_at, b"", retain=True)
        if not is_ours:
            for kind in ("state", "attributes", "announced"):
                yield MqttMessage(self._topic(device_id, kind), b"", retain=True)

    @property
    def _birth_topic(self) -> str:
        return f"{self._discovery_prefix}/status"

    def _topic(self, device_id: str, kind: str) -> str:
        return f"{self._prefix}/{_LEVEL}/{device_id}/{kind}"

    def _object_id(self, device_id: str) -> str:
        return f"{self._prefix.replace('/', '-')}-{device_id}"

    def _config_topic(self, device_id: str) -> str:
        return f"{self._discovery_prefix}/device/{self._object_id(device_id)}/config"


def _follows(device: HomeDevice, session: str, role: str) -> bool:
    return device.role in ("*", role) and fnmatchcase(session, device.sessions)


def _announced_at(payload: bytes) -> str:
    """Where a former run announced a device; nothing where that cannot be read."""
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    topic = said.get("topic") if isinstance(said, dict) else None
    return topic if isinstance(topic, str) else ""


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()
