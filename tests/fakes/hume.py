"""What Hume's client library makes of what it is sent, and a check that it is in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hume_expression_measurement.audio.socket_client import AudioSocketClientResponse
from hume_expression_measurement.core.pydantic_utilities import parse_obj_as


def parsed(messages: Iterable[str]) -> list[dict[str, Any]]:
    """The messages, each of which the library reads as what its type says, with no field it does not know."""
    read = []
    for message in messages:
        said = json.loads(message)
        model = parse_obj_as(AudioSocketClientResponse, said)
        assert not getattr(model, "model_extra", None), f"{said} is read as a {type(model).__name__}"
        assert model.type == said["type"]
        read.append(said)
    return read


def check_order(told: Sequence[dict[str, Any]]) -> None:
    """Utterances come one after another, measurements inside of theirs; both are numbered from 0."""
    utterances, measurements, opened = 0, 0, None
    for one in told:
        match one["type"]:
            case "utterance.start":
                assert opened is None
                assert one["utterance_id"] == utterances
                opened = one
            case "measurement.result":
                assert opened is not None
                assert one["utterance_id"] == utterances
                assert one["measurement_id"] == measurements
                assert opened["audio_start_ms"] <= one["audio_start_ms"] < one["audio_end_ms"]
                for scores in (one["expressions"], one["voice_attributes"]):
                    ranks = [score["probability"] for score in scores]
                    assert ranks == sorted(ranks, reverse=True)
                measurements += 1
            case "utterance.end":
                assert opened is not None
                assert (one["utterance_id"], one["audio_start_ms"]) == (utterances, opened["audio_start_ms"])
                assert one["audio_end_ms"] > one["audio_start_ms"]
                utterances, opened = utterances + 1, None
            case "session.closed":
                assert opened is None
                assert one is told[-1]
                assert one["produced"] == {"utterances": utterances, "measurements": measurements}
