"""What an ensemble's graph calls its inputs and outputs, and how an engine gives it a batch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from numpy.typing import NDArray

from models.errors import EngineError
from models.inputs import complete
from models.modalities import EngineInputs, Modality

OUTPUTS: Final = ("probabilities", "attributes")

WAVEFORM_INPUT: Final = "waveform"
"""`[batch, time]`: what all encoders inside hear that read no spectrogram."""
SAMPLES_INPUT: Final = "samples"
"""`[batch]`: of each clip, whichever way encoders hear it."""
HEARS_NOTE: Final = "hears"
"""In the graph's metadata: the modalities that the waveform stands for, as JSON."""

LANE_INPUT: Final = "lane"
"""Of a graph in lanes: which of them is computed; `ALL_LANES`, or a number that none has."""
GIVEN_INPUT: Final = "given"
"""`[batch, members, labels + 3]`: what the members of all other lanes say."""
ANSWERS_OUTPUT: Final = "answers"
"""The same, lanes that were computed put in their places."""
LANES_NOTE: Final = "lanes"
"""In the graph's metadata: the members of each lane, as JSON."""
ALL_LANES: Final = -1


def feature_input(modality: str) -> str:
    """Name of a modality's features among the graph's inputs."""
    return f"{modality}_features"


def token_input(modality: str) -> str:
    """Name of a modality's tokens among the graph's inputs, where its text encoder is inside."""
    return f"{modality}_tokens"


def mel_input(modality: str) -> str:
    """Name of a modality's spectrograms among the graph's inputs, where its Whisper encoder is inside."""
    return f"mel_{modality}"


def length_input(modality: str) -> str:
    """Name of a modality's lengths among the graph's inputs."""
    return f"{modality}_lengths"


def told_hearing(notes: Mapping[str, str]) -> frozenset[str]:
    """The modalities that the waveform stands for, as the graph's metadata says.

    Raises:
        EngineError: it says something else.
    """
    try:
        return frozenset(map(str, json.loads(notes.get(HEARS_NOTE) or "[]")))
    except (TypeError, ValueError) as error:
        raise EngineError(f"the graph does not say which modalities hear its waveform: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Reading:
    """How a graph is given each modality."""

    modalities: tuple[Modality, ...]
    tokens: frozenset[str]
    """See `Engine.reads_tokens`."""
    audio: frozenset[str]
    """See `Engine.reads_audio`."""
    mel: Mapping[str, int]
    """See `Engine.reads_mel`."""

    @classmethod
    def of(cls, modalities: tuple[Modality, ...], shapes: Mapping[str, Sequence[Any]], hears: Collection[str]) -> Self:
        """As the graph's inputs tell.

        Args:
            modalities: of the bundle.
            shapes: of the graph's inputs, by name; those of its lanes left out.
            hears: modalities that the waveform stands for.

        Raises:
            EngineError: the inputs are not those of the bundle.
        """
        names = [modality.name for modality in modalities]
        reading = cls(
            modalities,
            frozenset(name for name in names if token_input(name) in shapes),
            frozenset(hears) & frozenset(names),
            {name: int(shapes[mel_input(name)][1]) for name in names if mel_input(name) in shapes},
        )
        expected = {given for name in names for given in reading.names(name)}
        if shapes.keys() != expected:
            raise EngineError(f"the graph reads {sorted(shapes)}, the bundle gives {sorted(expected)}")
        return reading

    def names(self, modality: str) -> tuple[str, str]:
        """Of a modality's sequences and lengths among the graph's inputs; those of audio are shared."""
        if modality in self.audio:
            return WAVEFORM_INPUT, SAMPLES_INPUT
        if modality in self.mel:
            return mel_input(modality), SAMPLES_INPUT
        sequence = token_input(modality) if modality in self.tokens else feature_input(modality)
        return sequence, length_input(modality)

    def feed(self, inputs: EngineInputs) -> tuple[dict[str, NDArray[Any]], int]:
        """The graph's inputs by name, what is missing filled in, and how many rows they have.

        Raises:
            FeatureError: as `models.inputs.complete`.
        """
        full = complete(inputs, self.modalities, self.tokens, self.audio, self.mel)
        feed: dict[str, NDArray[Any]] = {}
        for name, batch in full.items():
            sequence, lengths = self.names(name)
            feed[sequence], feed[lengths] = batch.sequence, batch.lengths
        return feed, len(next(iter(full.values())))
