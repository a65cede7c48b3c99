"""The demo's conversation: an acted customer and an agent, on two channels, and what each of them says when."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streaming.audio.sources import read_file

FOLDER: Final = Path(__file__).parent
AUDIO: Final = "conversation.flac"
SCRIPT: Final = "script.json"


@dataclass(frozen=True, slots=True)
class Clip:
    """One turn of the conversation."""

    channel: int
    start_s: float
    """Where the recording begins; the speech in it begins a little later."""
    end_s: float
    words: str
    """What is said, in lower case and without punctuation."""
    emotion: str | None
    """What the actor was asked to act; None for read speech."""
    speaker: str
    """The corpus's own name of the speaker."""
    source: str
    """Corpus and file."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """All of it."""

    samples: NDArray[np.float32] = field(repr=False)
    """`[channels, samples]`, -1 to 1."""
    rate_hz: int
    roles: tuple[str, ...]
    """One of each channel."""
    clips: tuple[Clip, ...]
    """In the order in which they are spoken; no two overlap."""

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return float(self.samples.shape[1]) / self.rate_hz


def load_conversation() -> Conversation:
    """Reads the packaged conversation.

    Raises:
        AudioFileError: the package was installed without it.
    """
    audio = read_file(FOLDER / AUDIO)
    script = json.loads((FOLDER / SCRIPT).read_text(encoding="utf-8"))
    clips = tuple(Clip(**clip) for clip in script["clips"])
    return Conversation(audio.samples, audio.rate_hz, tuple(script["roles"]), clips)
