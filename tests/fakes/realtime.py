"""A Realtime client's messages, what OpenAI's client library makes of the answers, and a check of their order."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any

from openai.types.realtime import (
    ConversationItemAdded,
    ConversationItemCreatedEvent,
    ConversationItemDone,
    ConversationItemInputAudioTranscriptionCompletedEvent,
    ConversationItemInputAudioTranscriptionDeltaEvent,
    ConversationItemInputAudioTranscriptionFailedEvent,
    InputAudioBufferClearedEvent,
    InputAudioBufferCommittedEvent,
    InputAudioBufferSpeechStartedEvent,
    InputAudioBufferSpeechStoppedEvent,
    RealtimeErrorEvent,
    SessionCreatedEvent,
    SessionUpdatedEvent,
)

from streaming.protocols.realtime_turns import EMOTION

MODELS = {
    model.model_fields["type"].annotation.__args__[0]: model
    for model in (
        ConversationItemAdded,
        ConversationItemCreatedEvent,
        ConversationItemDone,
        ConversationItemInputAudioTranscriptionCompletedEvent,
        ConversationItemInputAudioTranscriptionDeltaEvent,
        ConversationItemInputAudioTranscriptionFailedEvent,
        InputAudioBufferClearedEvent,
        InputAudioBufferCommittedEvent,
        InputAudioBufferSpeechStartedEvent,
        InputAudioBufferSpeechStoppedEvent,
        RealtimeErrorEvent,
        SessionCreatedEvent,
        SessionUpdatedEvent,
    )
}
OURS = {f"{EMOTION}.updated", f"{EMOTION}.completed"}
BETA = {"transcription_session.created", "transcription_session.updated"}
"""Types that the library does not know, or not any more."""
OUTCOMES = ("completed", "failed")


def append(audio: bytes, **fields: Any) -> str:
    return say("input_audio_buffer.append", audio=base64.b64encode(audio).decode(), **fields)


def say(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def configured(**audio_input: Any) -> str:
    return say("session.update", session={"type": "transcription", "audio": {"input": audio_input}})


def parsed(messages: Iterable[str | bytes]) -> list[dict[str, Any]]:
    """The messages, each of which the library reads as what its type says, with no field it does not know."""
    read = []
    for message in messages:
        said = json.loads(message)
        if said["type"] not in OURS | BETA:
            model = MODELS[said["type"]].model_validate(said)
            assert not model.model_extra, said
        read.append(said)
    return read


def kinds(told: Sequence[dict[str, Any]]) -> list[str]:
    """The types, less what all of them begin with."""
    return [
        one["type"].removeprefix("conversation.item.").removeprefix("input_audio_").removeprefix("buffer.")
        for one in told
    ]


def check_order(told: Sequence[dict[str, Any]]) -> None:
    """Each item is announced, committed, and has one outcome, its last message; items are a chain in that order."""
    assert len({one["event_id"] for one in told}) == len(told)
    previous, stories = None, dict[str, list[str]]()
    for one, kind in zip(told, kinds(told), strict=True):
        item = one["item"]["id"] if "item" in one else one.get("item_id")
        if item is None:
            continue
        story = stories.setdefault(item, [])
        assert not story or not story[-1].endswith(("transcription.completed", "transcription.failed"))
        story.append(kind)
        if kind == "committed":
            assert one["previous_item_id"] == previous
            previous = item
    outcomes = []
    for item, story in stories.items():
        if "committed" in story:
            place = story.index("committed")
            assert story[place + 1 : place + 3] == ["added", "done"]
            assert story[-1] in ("transcription.completed", "transcription.failed")
            outcomes.append(item)
    assert len(outcomes) == kinds(told).count("committed")


def shown(told: Sequence[dict[str, Any]], item: str) -> str:
    """What an item's deltas add up to."""
    return "".join(one["delta"] for one in told if one["type"].endswith(".delta") and one["item_id"] == item)
