"""Home Assistant's devices, message for message, and through a real Mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiomqtt
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from models.emotions import MSP_NAMES
from streaming.assistant_settings import HomeAssistantSettings, HomeDevice
from streaming.config import MqttSettings, Settings
from streaming.errors import ServerError
from streaming.events import AttributesInfo, EmotionEvent, Event
from streaming.hub import EventHub
from streaming.server import running_server
from streaming.sinks.home_assistant import HomeAssistant, MqttMessage
from streaming.sinks.home_postings import HomePostings
from streaming.sinks.mqtt import MqttSink
from tests.fakes.broker import PATIENCE_S, Broker, Heard, Way, payload, running_broker
from tests.fakes.events import EventSource
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.servers import a_server, converse
from tests.fakes.shell import pcm, silence, speech

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "home-assistant-device.json").read_text(encoding="utf-8"))
CONFIG = "homeassistant/device/medusa-v1-live/config"
ROOT = "medusa/v1/home.assistant/live"
STATUS = "medusa/v1/status"


def a_home(*devices: HomeDevice, **settings: Any) -> HomeAssistant:
    chosen = HomeAssistantSettings(**{"enabled": True, "devices": devices or (HomeDevice(),), **settings})
    return HomeAssistant(chosen, "medusa/v1", STATUS)


def emotion(source: EventSource, label: str | None = "angry", *, final: bool = True, **changes: Any) -> EmotionEvent:
    attributes = AttributesInfo(arousal=5.5, valence=2.0, dominance=4.0)
    told = {"label": label, "abstained": label is None, "final": final, "attributes": attributes, **changes}
    return source.emotion(final=final).model_copy(update=told)


def nothing_said(source: EventSource) -> EmotionEvent:
    return emotion(source, None, scores={}, attributes=None, confidence=0.0, text="")


def observed(home: HomeAssistant, *events: Event) -> list[MqttMessage]:
    return [message for event in events for message in home.observe(event)]


def on(messages: Sequence[MqttMessage], topic: str) -> list[dict[str, Any]]:
    return [json.loads(message.payload) for message in messages if message.topic == topic]


def states(messages: Sequence[MqttMessage]) -> list[str | None]:
    return [state["label"] for state in on(messages, f"{ROOT}/state")]


def moments(messages: Sequence[MqttMessage], root: str = ROOT) -> list[str]:
    return [moment["event_type"] for moment in on(messages, f"{root}/event")]


def config(home: HomeAssistant, topic: str = CONFIG) -> dict[str, Any]:
    (found,) = on(home.announce(), topic)
    return found


def rendered(template: str, state: bytes) -> str:
    """As Home Assistant renders a value template."""
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    return environment.from_string(template).render(value_json=json.loads(state))


class TestAnnouncement:
    @pytest.mark.parametrize("expire_after_s", [0, 600])
    def test_it_has_the_fields_that_home_assistant_documents_and_no_others(self, expire_after_s: int) -> None:
        jsonschema.validate(config(a_home(expire_after_s=expire_after_s)), SCHEMA)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda device: device.pop("o"),
            lambda device: device["dev"].pop("ids"),
            lambda device: device["o"].pop("name"),
            lambda device: device["cmps"]["emotion"].pop("p"),
            lambda device: device["cmps"]["speech"].pop("unique_id"),
            lambda device: device["cmps"]["speech"].pop("event_types"),
            lambda device: device["cmps"]["arousal"].update(opions=["a"]),
            lambda device: device["cmps"]["emotion"].update(state_class="measurement"),
        ],
    )
    def test_one_that_home_assistant_would_not_take_is_noticed(self, spoil: Any) -> None:
        device = config(a_home())
        spoil(device)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(device, SCHEMA)

    def test_it_names_an_emotion_three_attributes_and_events(self) -> None:
        device = config(a_home())
        assert {key: own["p"] for key, own in device["cmps"].items()} == {
            "emotion": "sensor",
            "arousal": "sensor",
            "valence": "sensor",
            "dominance": "sensor",
            "speech": "event",
        }
        assert device["dev"]["ids"] == ["medusa-v1-live"]
        assert device["cmps"]["emotion"]["unique_id"] == "medusa-v1-live_emotion"
        assert device["cmps"]["emotion"]["options"] == [*MSP_NAMES, "unsure"]

    def test_state_attributes_and_events_have_topics_of_their_own(self) -> None:
        device = config(a_home())
        topics = [
            device["state_topic"],
            device["cmps"]["emotion"]["json_attributes_topic"],
            device["cmps"]["speech"]["state_topic"],
        ]
        assert topics == [f"{ROOT}/state", f"{ROOT}/attributes", f"{ROOT}/event"]

    @pytest.mark.parametrize(("told", "rendering"), [("online", "online"), ("offline", "offline")])
    def test_the_servers_status_is_the_devices_availability(self, told: str, rendering: str) -> None:
        (availability,) = config(a_home())["avty"]
        assert availability["topic"] == STATUS
        assert rendered(availability["value_template"], json.dumps({"status": told}).encode()) == rendering

    def test_a_state_expires_where_it_shall(self) -> None:
        kept, expiring = config(a_home(expire_after_s=0)), config(a_home(expire_after_s=30))
        assert not any("expire_after" in own for own in kept["cmps"].values())
        assert [own.get("expire_after") for own in expiring["cmps"].values()] == [30, 30, 30, 30, None]

    def test_all_of_it_is_retained_with_the_latest_state(self) -> None:
        home, source = a_home(), EventSource()
        observed(home, emotion(source, "angry"), emotion(source, "happy"))
        announced = home.announce()
        assert all(message.retain for message in announced)
        assert states(announced) == ["happy"]
        assert moments(announced) == []

    def test_each_device_has_its_own(self) -> None:
        home = a_home(HomeDevice(id="a", name="A"), HomeDevice(id="b", name="B", role="agent"))
        configs = [config(home, f"homeassistant/device/medusa-v1-{name}/config") for name in "ab"]
        assert [one["dev"]["name"] for one in configs] == ["A", "B"]
        uniques = [own["unique_id"] for one in configs for own in one["cmps"].values()]
        assert len(set(uniques)) == len(uniques)


class TestState:
    def test_a_final_is_the_state(self) -> None:
        messages = observed(a_home(), emotion(EventSource()))
        assert on(messages, f"{ROOT}/state") == [
            {"label": "angry", "confidence": 0.7, "arousal": 5.5, "valence": 2.0, "dominance": 4.0}
        ]
        (told,) = on(messages, f"{ROOT}/attributes")
        assert (told["angry"], told["neutral"], told["session"], told["channel"]) == (0.7, 0.3, "s1", 0)
        assert [message.retain for message in messages] == [True, True, False]

    def test_words_are_not_told(self) -> None:
        source = EventSource()
        messages = observed(a_home(), source.final(), emotion(source, text="swordfish"), source.speech_ended())
        assert b"swordfish" not in b"".join(message.payload for message in messages)
        assert b"well then" not in b"".join(message.payload for message in messages)

    @pytest.mark.parametrize(("label", "state"), [("angry", "angry"), (None, "unsure")])
    def test_its_templates_render_to_what_the_device_has_announced(self, label: str | None, state: str) -> None:
        home = a_home()
        cmps = config(home)["cmps"]
        (told,) = [m.payload for m in observed(home, emotion(EventSource(), label)) if m.topic == f"{ROOT}/state"]
        assert rendered(cmps["emotion"]["value_template"], told) == state
        assert state in cmps["emotion"]["options"]
        assert float(rendered(cmps["arousal"]["value_template"], told)) == 5.5

    def test_attributes_that_are_missing_render_to_none_which_is_unknown_there(self) -> None:
        home = a_home()
        event = emotion(EventSource(), attributes=None)
        (told,) = [m.payload for m in observed(home, event) if m.topic == f"{ROOT}/state"]
        assert rendered(config(home)["cmps"]["valence"]["value_template"], told) == "None"

    def test_speech_without_words_changes_nothing(self) -> None:
        assert observed(a_home(), nothing_said(EventSource())) == []

    def test_an_interim_is_told_where_it_changes_the_label(self) -> None:
        source = EventSource()
        messages = observed(
            a_home(),
            emotion(source, None, final=False),
            emotion(source, "angry", final=False),
            emotion(source, "angry", final=False),
            emotion(source, "happy", final=False),
            emotion(source, "happy", final=True),
        )
        assert states(messages) == ["angry", "happy", "happy"]

    def test_every_moment_is_told_as_one_of_the_announced_types(self) -> None:
        source, home = EventSource(), a_home()
        messages = observed(
            home,
            source.speech_started(),
            emotion(source),
            source.speech_ended(),
            emotion(source),
            emotion(source, "sad"),
        )
        assert moments(messages) == ["speech_started", "emotion_changed", "speech_ended", "emotion_changed"]
        assert set(moments(messages)) == set(config(home)["cmps"]["speech"]["event_types"])

    def test_a_label_changes_for_each_voice_by_itself(self) -> None:
        one, two = EventSource("one"), EventSource("two")
        messages = observed(a_home(), emotion(one, "angry"), emotion(two, "happy"), emotion(one, "angry"))
        assert moments(messages) == ["emotion_changed", "emotion_changed"]
        assert states(messages) == ["angry", "happy", "angry"]

    def test_a_voice_that_comes_again_under_the_same_name_is_a_new_one(self) -> None:
        source = EventSource()
        messages = observed(a_home(), emotion(source), source.ended(), emotion(source))
        assert moments(messages) == ["emotion_changed", "emotion_changed"]

    @pytest.mark.parametrize(
        ("device", "follows"),
        [
            ({}, True),
            ({"role": "*"}, True),
            ({"role": "agent"}, False),
            ({"sessions": "wyoming-*"}, True),
            ({"sessions": "wyoming-?"}, True),
            ({"sessions": "wyoming-"}, False),
            ({"sessions": "call-*"}, False),
        ],
    )
    def test_a_device_follows_the_sessions_and_roles_that_it_names(self, device: dict[str, str], follows: bool) -> None:
        source = EventSource("wyoming-7")
        assert bool(observed(a_home(HomeDevice(**device)), source.speech_started())) is follows

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["angry", "sad", None]), st.booleans()), max_size=20)
    )
    def test_topics_are_as_many_as_devices_whatever_is_said(self, said: list[tuple[str, str | None, bool]]) -> None:
        sources = {name: EventSource(name) for name in "abc"}
        home = a_home()
        messages = observed(home, *(emotion(sources[name], label, final=final) for name, label, final in said))
        assert {message.topic for message in messages} <= {
            f"{ROOT}/{kind}" for kind in ("state", "attributes", "event")
        }
        assert len(home.announce()) <= 4


class TestTakingBack:
    MARKER = f"{ROOT}/announced"

    def removed(self, home: HomeAssistant, marker: str = MARKER, at: str = CONFIG) -> set[str]:
        messages = home.heard(marker, json.dumps({"topic": at}).encode(), retained=True)
        assert all(message.retain and not message.payload for message in messages)
        return {message.topic for message in messages}

    def test_a_device_that_is_configured_stays(self) -> None:
        assert self.removed(a_home()) == set()

    @pytest.mark.parametrize("home", [a_home(HomeDevice(id="other")), a_home(enabled=False)])
    def test_one_that_is_not_any_more_is_taken_back_with_all_that_is_retained(self, home: HomeAssistant) -> None:
        assert self.removed(home) == {CONFIG, *(f"{ROOT}/{kind}" for kind in ("state", "attributes", "announced"))}

    def test_one_that_was_announced_elsewhere_is_taken_back_there(self) -> None:
        assert self.removed(a_home(discovery_prefix="ha")) == {CONFIG}

    @pytest.mark.parametrize(
        "at",
        [
            "homeassistant/device/of_somebody_else/config",
            "homeassistant/light/medusa-v1-live/config",
            "#",
            "$SYS/device/medusa-v1-live/config",
            "homeassistant/+/device/medusa-v1-live/config",
            7,
            None,
        ],
    )
    def test_nothing_of_others_is_removed_whoever_says_so(self, at: Any) -> None:
        assert CONFIG not in self.removed(a_home(enabled=False), at=at)
        assert self.removed(a_home(enabled=False), at=at) == {
            f"{ROOT}/{kind}" for kind in ("state", "attributes", "announced")
        }

    @pytest.mark.parametrize(
        ("topic", "said"),
        [
            (MARKER, b""),
            (f"{ROOT}/state", b"{}"),
            ("medusa/v1/home.assistant/a/b/announced", b"{}"),
            ("medusa/v1/home.assistant/a b/announced", b"{}"),
            ("medusa/v2/home.assistant/live/announced", b"{}"),
            (CONFIG, b"{}"),
        ],
    )
    def test_other_messages_change_nothing(self, topic: str, said: bytes) -> None:
        assert a_home(enabled=False).heard(topic, said, retained=True) == ()

    @given(st.binary(max_size=20))
    def test_a_marker_that_cannot_be_read_is_removed(self, said: bytes) -> None:
        messages = a_home(enabled=False).heard(self.MARKER, said, retained=True)
        assert bool(messages) is bool(said)

    def test_a_home_that_has_started_is_told_of_everything(self) -> None:
        home = a_home()
        assert home.heard("homeassistant/status", b"online", retained=False) == home.announce() != []
        assert home.heard("homeassistant/status", b"offline", retained=False) == ()
        assert home.heard("homeassistant/status", b"online", retained=True) == ()  # connecting has told it


class TestPostings:
    def test_of_states_the_latest_waits_and_moments_come_behind_them(self) -> None:
        postings, source = HomePostings(a_home()), EventSource()
        postings.connected()
        postings.take()
        for event in (source.speech_started(), emotion(source, "angry"), emotion(source, "happy")):
            postings.record(event)
        taken = postings.take()
        assert states(taken) == ["happy"]
        assert moments(taken) == ["speech_started", "emotion_changed", "emotion_changed"]
        assert [message.retain for message in taken] == [True, True, False, False, False]

    def test_nothing_waits_while_the_broker_is_away(self) -> None:
        postings, source = HomePostings(a_home()), EventSource()
        postings.record(emotion(source))
        assert postings.take() == []
        postings.connected()
        taken = postings.take()
        assert (states(taken), moments(taken)) == (["angry"], [])

    def test_where_there_are_no_devices_former_ones_are_looked_for_once(self) -> None:
        postings, busy = HomePostings(a_home(enabled=False)), HomePostings(a_home())
        assert [list(postings.connected()) for _ in range(2)] == [["medusa/v1/home.assistant/+/announced"], []]
        assert len({tuple(busy.connected()) for _ in range(2)}) == 1

    def test_moments_that_nobody_takes_are_bounded(self) -> None:
        postings, source = HomePostings(a_home()), EventSource()
        postings.connected()
        postings.take()
        for _ in range(1000):
            postings.record(source.speech_started())
        assert len(postings.take()) == 256


# --- through a broker


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with running_broker(tmp_path) as broker:
        yield broker


@contextlib.asynccontextmanager
async def telling(port: int, home: HomeAssistant) -> AsyncIterator[tuple[EventHub, asyncio.Task[None]]]:
    """A sink at work."""
    hub = EventHub(event_buffer=100, subscriber_queue=100, ended_sessions=2)
    settings = MqttSettings(enabled=True, port=port)
    sink = MqttSink(settings, home=HomePostings(home), first_retry_s=0.02, last_retry_s=0.05)
    sink.attach(hub)
    task = asyncio.create_task(sink.run())
    try:
        yield hub, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(heard: Heard, topic: str) -> aiomqtt.Message:
    while str((message := await heard.next()).topic) != topic:
        pass
    return message


async def test_a_device_is_found_with_its_state_by_a_home_that_starts_later(broker: Broker) -> None:
    source = EventSource()
    async with broker.listening("#") as heard, telling(broker.port, a_home()) as (hub, _):
        await until(heard, CONFIG)
        hub.publish(source.started())
        hub.publish(source.speech_started())
        hub.publish(emotion(source))
        await until(heard, f"{ROOT}/state")
        async with broker.listening("#") as later:
            kept = {str(message.topic): message for message in await later.take(5)}

    assert set(kept) == {STATUS, CONFIG, *(f"{ROOT}/{kind}" for kind in ("announced", "state", "attributes"))}
    assert all(message.retain for message in kept.values())
    jsonschema.validate(payload(kept[CONFIG]), SCHEMA)
    assert payload(kept[f"{ROOT}/state"])["label"] == "angry"


async def test_moments_are_told_once_and_not_retained(broker: Broker) -> None:
    source = EventSource()
    async with broker.listening(f"{ROOT}/#") as heard, telling(broker.port, a_home()) as (hub, _):
        await until(heard, f"{ROOT}/announced")
        hub.publish(source.speech_started())
        moment = await heard.next()

    assert (payload(moment)["event_type"], moment.retain) == ("speech_started", False)


async def test_a_home_that_starts_is_told_again(broker: Broker) -> None:
    async with broker.listening(CONFIG) as heard, telling(broker.port, a_home()):
        first = await heard.next()
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.publish("homeassistant/status", "online")
        again = await heard.next()

    assert first.payload == again.payload


async def test_after_the_broker_was_away_it_is_told_how_things_are_now(broker: Broker) -> None:
    way, source = Way(broker), EventSource()
    await way.open()
    async with broker.listening(f"{ROOT}/#") as heard, telling(way.port, a_home()) as (hub, _):
        await until(heard, f"{ROOT}/announced")
        await way.cut()
        async with broker.listening(STATUS) as status:
            while payload(await status.next()) != {"status": "offline"}:
                pass
        for event in (source.speech_started(), emotion(source, "angry"), emotion(source, "sad")):
            hub.publish(event)
        await way.open()
        told = [await until(heard, f"{ROOT}/state")]
        hub.publish(source.speech_ended())
        told.append(await heard.next())
    await way.cut()

    assert payload(told[0])["label"] == "sad"
    assert payload(told[1])["event_type"] == "speech_ended"  # and nothing of what was missed


async def test_what_is_left_is_told_before_the_server_stops(broker: Broker) -> None:
    source = EventSource()
    async with broker.listening("#") as heard, telling(broker.port, a_home()) as (hub, task):
        await until(heard, CONFIG)
        hub.publish(emotion(source))
        hub.close()
        await asyncio.wait_for(task, PATIENCE_S)
        state = await until(heard, f"{ROOT}/state")
        offline = await until(heard, STATUS)

    assert payload(state)["label"] == "angry"
    assert payload(offline) == {"status": "offline"}


@pytest.mark.parametrize("now", [a_home(enabled=False), a_home(HomeDevice(id="other"))])
async def test_a_device_of_former_times_is_taken_back_at_the_start(broker: Broker, now: HomeAssistant) -> None:
    source = EventSource()
    async with broker.listening("#") as heard:
        async with telling(broker.port, a_home()) as (hub, _):
            hub.publish(emotion(source))
            await until(heard, f"{ROOT}/announced")
            hub.publish(emotion(source))
            await until(heard, f"{ROOT}/state")
        async with telling(broker.port, now):
            gone = set[str]()
            while not {CONFIG, f"{ROOT}/state", f"{ROOT}/attributes", f"{ROOT}/announced"} <= gone:
                message = await heard.next()
                if not message.payload:
                    gone.add(str(message.topic))
            async with broker.listening("#") as later:
                kept = await later.next()

    assert CONFIG not in str(kept.topic)


async def test_a_server_tells_of_a_whole_session(broker: Broker) -> None:
    sections = {"mqtt": {"enabled": True, "port": broker.port}, "home_assistant": {"enabled": True}}
    async with broker.listening(f"{ROOT}/#") as heard, a_server(**sections) as server:
        await until(heard, f"{ROOT}/announced")
        await converse(server, pcm(speech(1.4), silence(1.0)))
        state = await until(heard, f"{ROOT}/state")

    assert payload(state)["label"] == "happy"


async def test_without_a_broker_there_is_no_home() -> None:
    settings = Settings.model_validate({"home_assistant": {"enabled": True}, "server": {"port": 0}})
    with pytest.raises(ServerError, match=r"\[mqtt\] enabled"):
        async with running_server(settings, FakeRecognizer):
            pass


def test_devices_may_not_share_an_id() -> None:
    with pytest.raises(ValueError, match="share the id live"):
        HomeAssistantSettings(devices=(HomeDevice(), HomeDevice()))


def test_the_page_names_the_entities_that_home_assistant_makes_of_names() -> None:
    device = config(a_home())
    page = (Path(__file__).parents[3] / "docs" / "integrations" / "home-assistant.md").read_text(encoding="utf-8")
    for own in device["cmps"].values():
        slug = f"{device['dev']['name']} {own['name']}".lower().replace(" ", "_")
        assert f"`{own['p']}.{slug}`" in page
