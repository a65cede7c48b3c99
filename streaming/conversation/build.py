"""Builds the conversation from single clips: `python -m streaming.conversation.build tests/data`.

The same clips always give the same samples.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import av
import click
import numpy as np
from numpy.typing import NDArray

from models.windows import SAMPLE_RATE_HZ
from streaming.audio.sources import read_file
from streaming.conversation import AUDIO, FOLDER, SCRIPT, Clip, Conversation
from streaming.errors import AudioFileError

CLIPS: Final = "clips.json"
ROLES: Final = ("customer", "agent")
CUSTOMER, AGENT = 0, 1

TURNS: Final = (
    (CUSTOMER, "crema_d/1001_IOM_NEU_XX.wav"),
    (AGENT, "librispeech/3331-159605-0006.flac"),
    (CUSTOMER, "crema_d/1001_DFA_ANG_XX.wav"),
    (AGENT, "librispeech/3331-159605-0003.flac"),
    (CUSTOMER, "crema_d/1001_IOM_DIS_XX.wav"),
    (AGENT, "librispeech/3331-159605-0001.flac"),
    (CUSTOMER, "crema_d/1001_IOM_FEA_XX.wav"),
    (AGENT, "librispeech/3331-159605-0005.flac"),
    (CUSTOMER, "crema_d/1050_TIE_SAD_XX.wav"),
    (AGENT, "librispeech/3331-159605-0007.flac"),
    (CUSTOMER, "crema_d/1001_IOM_ANG_XX.wav"),
    (CUSTOMER, "crema_d/1001_IOM_HAP_XX.wav"),
)

_SEED: Final = 9556
_LEAD_S: Final = 0.8
_GAP_S: Final = (0.9, 1.2)
_TAIL_S: Final = 1.5
"""Long enough for the last turn to end by its silence."""
_SPEECH_RMS: Final = 10 ** (-26 / 20)
"""Of the speech in every clip, ITU-T P.56's usual level."""
_HIGHEST_PEAK: Final = 0.9
_SPEECH_BELOW_LOUDEST_DB: Final = 25
"""A frame counts as speech when it is at most so far below the clip's loudest."""
_FRAME_SAMPLES: Final = 320
_FADE_SAMPLES: Final = 160
_ROOM_RMS: Final = 10 ** (-62 / 20)
_FULL_SCALE: Final = 32_768


def build(clips_folder: Path) -> Conversation:
    """Puts the clips on their channels, equally loud, over the quiet noise of a room.

    Args:
        clips_folder: with `clips.json`, which describes each clip.

    Raises:
        AudioFileError: a clip is missing, or not 16 kHz mono.
    """
    described = {clip["file"]: clip for clip in json.loads((clips_folder / CLIPS).read_text(encoding="utf-8"))}
    random = np.random.default_rng(_SEED)
    turns: list[tuple[Clip, NDArray[np.float32]]] = []
    position = round(_LEAD_S * SAMPLE_RATE_HZ)
    for channel, name in TURNS:
        samples = _levelled(_read(clips_folder / name))
        clip = _clip(described[name], channel, position, position + samples.size)
        turns.append((clip, samples))
        position += samples.size + round(random.uniform(*_GAP_S) * SAMPLE_RATE_HZ)
    length = round(turns[-1][0].end_s * SAMPLE_RATE_HZ) + round(_TAIL_S * SAMPLE_RATE_HZ)
    mixed = np.stack([_room(random, length) for _ in ROLES])
    for clip, samples in turns:
        start = round(clip.start_s * SAMPLE_RATE_HZ)
        mixed[clip.channel, start : start + samples.size] += samples
    pcm = np.rint(mixed * _FULL_SCALE).astype(np.int16)
    return Conversation(
        pcm.astype(np.float32) / np.float32(_FULL_SCALE), SAMPLE_RATE_HZ, ROLES, tuple(clip for clip, _ in turns)
    )


def write(conversation: Conversation, folder: Path) -> None:
    """Writes it as 16-bit FLAC and its script as JSON."""
    pcm = np.rint(conversation.samples * _FULL_SCALE).astype(np.int16)
    with av.open(str(folder / AUDIO), "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=conversation.rate_hz)
        stream.layout = "stereo"
        stream.format = "s16"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm.T).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = conversation.rate_hz
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    script = {"roles": list(conversation.roles), "clips": [asdict(clip) for clip in conversation.clips]}
    (folder / SCRIPT).write_text(json.dumps(script, indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> NDArray[np.float32]:
    audio = read_file(path)
    if audio.rate_hz != SAMPLE_RATE_HZ or len(audio.samples) != 1:
        raise AudioFileError(f"{path} is not 16 kHz mono: {len(audio.samples)} channels at {audio.rate_hz} Hz")
    samples: NDArray[np.float32] = audio.samples[0]
    return samples


def _clip(described: dict[str, Any], channel: int, start: int, end: int) -> Clip:
    return Clip(
        channel=channel,
        start_s=start / SAMPLE_RATE_HZ,
        end_s=end / SAMPLE_RATE_HZ,
        words=described["words"],
        emotion=described["emotion"],
        speaker=described["speaker"],
        source=described["file"],
    )


def _levelled(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    whole = samples[: samples.size // _FRAME_SAMPLES * _FRAME_SAMPLES].reshape(-1, _FRAME_SAMPLES)
    power = np.square(whole).mean(axis=1)
    speech = power >= power.max() * 10 ** (-_SPEECH_BELOW_LOUDEST_DB / 10)
    gain = min(_SPEECH_RMS / float(np.sqrt(power[speech].mean())), _HIGHEST_PEAK / float(np.abs(samples).max()))
    levelled: NDArray[np.float32] = samples * np.float32(gain)
    fade = np.linspace(0, 1, _FADE_SAMPLES, dtype=np.float32)
    levelled[:_FADE_SAMPLES] *= fade
    levelled[-_FADE_SAMPLES:] *= fade[::-1]
    return levelled


def _room(random: np.random.Generator, length: int) -> NDArray[np.float32]:
    """Noise whose power falls by 3 dB an octave, as that of quiet rooms does."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.size), 1))
    noise = np.fft.irfft(spectrum, length)
    levelled: NDArray[np.float32] = (noise * (_ROOM_RMS / np.sqrt(np.square(noise).mean()))).astype(np.float32)
    return levelled


@click.command()
@click.argument("clips", type=click.Path(path_type=Path, file_okay=False, exists=True))
def main(clips: Path) -> None:
    """Builds the packaged conversation from the folder CLIPS."""
    write(build(clips), FOLDER)


if __name__ == "__main__":
    main()
