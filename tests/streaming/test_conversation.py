"""The demo's conversation."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from models.emotions import MSP_NAMES
from streaming.audio.segmenter import FRAME_SAMPLES, Segmenter, SpeechEnded
from streaming.audio.vad import make_vad
from streaming.config import VadSettings
from streaming.conversation import Clip, Conversation, load_conversation
from streaming.conversation.build import build, main, write
from streaming.errors import AudioFileError

CLIPS = Path(__file__).parents[1] / "data"
STEP = 1 / 32_768
"""Between two values of 16 bits."""


@pytest.fixture(scope="module")
def conversation() -> Conversation:
    return load_conversation()


@pytest.fixture(scope="module")
def rebuilt() -> Conversation:
    return build(CLIPS)


def segments(conversation: Conversation, channel: int) -> list[SpeechEnded]:
    chosen, samples = VadSettings(), conversation.samples[channel]
    decided = make_vad(chosen).push(samples)
    segmenter = Segmenter(chosen)
    events = segmenter.push(samples[: len(decided) * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES), decided)
    return [event for event in events if isinstance(event, SpeechEnded)]


def test_the_packaged_audio_is_what_the_clips_give(conversation: Conversation, rebuilt: Conversation) -> None:
    np.testing.assert_allclose(conversation.samples, rebuilt.samples, atol=1.5 * STEP)
    assert conversation.clips == rebuilt.clips
    assert conversation.roles == rebuilt.roles == ("customer", "agent")


def test_writing_loses_nothing(rebuilt: Conversation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(rebuilt, tmp_path)
    monkeypatch.setattr("streaming.conversation.FOLDER", tmp_path)
    again = load_conversation()
    np.testing.assert_array_equal(again.samples, rebuilt.samples)
    assert again.clips == rebuilt.clips


def test_it_is_16_khz_stereo_of_30_to_60_s(conversation: Conversation) -> None:
    assert conversation.rate_hz == 16_000
    assert conversation.samples.shape[0] == 2
    assert 30 <= conversation.duration_s <= 60


def test_clips_alternate_with_a_breath_between_them(conversation: Conversation) -> None:
    for before, after in pairwise(conversation.clips):
        assert 0.9 <= after.start_s - before.end_s <= 1.2
    assert {clip.channel for clip in conversation.clips} == {0, 1}
    assert sum(a.channel != b.channel for a, b in pairwise(conversation.clips)) >= 10


def test_the_customer_acts_and_the_agent_reads(conversation: Conversation) -> None:
    acted = {clip.emotion for clip in conversation.clips if clip.channel == 0}
    assert acted == {"angry", "disgust", "fear", "happy", "neutral", "sad"}
    assert acted <= set(MSP_NAMES)
    assert all(clip.emotion is None for clip in conversation.clips if clip.channel == 1)


def test_every_clip_is_of_the_described_ones(conversation: Conversation) -> None:
    described = {clip["file"]: clip for clip in json.loads((CLIPS / "clips.json").read_text(encoding="utf-8"))}
    for clip in conversation.clips:
        assert asdict(clip).items() >= {k: v for k, v in described[clip.source].items() if k != "file"}.items()
        assert (CLIPS / clip.source).is_file()


def test_there_is_no_digital_silence(conversation: Conversation) -> None:
    frames = conversation.samples[:, : conversation.samples.shape[1] // 320 * 320].reshape(2, -1, 320)
    assert (np.abs(frames).max(axis=2) > 0).all()


def test_speech_is_equally_loud_and_never_clips(conversation: Conversation) -> None:
    assert np.abs(conversation.samples).max() < 0.95
    levels = []
    for clip in conversation.clips:
        start, end = round(clip.start_s * 16_000), round(clip.end_s * 16_000)
        frames = conversation.samples[clip.channel, start : end - (end - start) % 320].reshape(-1, 320)
        power = np.square(frames).mean(axis=1)
        levels.append(10 * np.log10(power[power > power.max() / 300].mean()))
    assert max(levels) - min(levels) < 1


@pytest.mark.parametrize("channel", [0, 1])
def test_every_clip_becomes_one_segment_of_its_own(conversation: Conversation, channel: int) -> None:
    clips = [clip for clip in conversation.clips if clip.channel == channel]
    found = segments(conversation, channel)
    assert [segment.reason for segment in found] == ["silence"] * len(clips)
    for clip, segment in zip(clips, found, strict=True):
        assert clip.start_s - 0.3 <= segment.start_sample / 16_000 < segment.end_sample / 16_000 <= clip.end_s + 0.2


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "clips.json").write_text((CLIPS / "clips.json").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(AudioFileError, match=r"1001_IOM_NEU_XX\.wav"):
        build(tmp_path)


def test_the_builder_has_a_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.conversation.build.FOLDER", tmp_path)
    done = CliRunner().invoke(main, [str(CLIPS)])
    assert (done.exit_code, done.output) == (0, "")
    script = json.loads((tmp_path / "script.json").read_text(encoding="utf-8"))
    assert tuple(Clip(**clip) for clip in script["clips"]) == load_conversation().clips
    assert (tmp_path / "conversation.flac").stat().st_size > 500_000
