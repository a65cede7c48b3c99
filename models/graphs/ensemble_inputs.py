"""What the graph of an ensemble reads: features as they are, tokens and audio through encoders that stand inside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from models.engines.graph_inputs import (
    HEARS_NOTE,
    SAMPLES_INPUT,
    WAVEFORM_INPUT,
    feature_input,
    length_input,
    mel_input,
    token_input,
)
from models.errors import EngineError
from models.graphs.graph import Graph, Value
from models.graphs.groups import emit_groups
from models.graphs.speech import SpeechGraph, emit_speech_encoder
from models.graphs.text import TextGraph, emit_text_encoder
from models.graphs.whisper import WhisperGraph, emit_whisper_encoder
from models.modalities import Modality, grouped_width

Speech = SpeechGraph | WhisperGraph
"""A speech encoder that can stand inside: it hears the waveform, or reads a log-mel spectrogram."""


@dataclass(frozen=True, slots=True)
class GraphInputs:
    """Of each modality the sequence that is given, or what a speech encoder has made of it, and its length."""

    lengths: dict[str, Value]
    """`[batch]`, by modality in the ensemble's order: frames or tokens that members see."""
    sequences: dict[str, Value]
    text: Mapping[str, TextGraph]

    @classmethod
    def declare(
        cls, graph: Graph, modalities: Sequence[Modality], text: Mapping[str, TextGraph], speech: Mapping[str, Speech]
    ) -> Self:
        """Declares the inputs, and writes the speech encoders: how long what they give is, all members must know.

        Args:
            graph: to add to.
            modalities: of the ensemble.
            text: encoders to put inside, by modality.
            speech: likewise; all of them hear the same clips.

        Raises:
            EngineError: an encoder gives other features than members read.
            WeightsError: an encoder's checkpoint lacks a tensor.
        """
        lengths, sequences = {}, {}
        ears = _Ears(graph, {m.name: speech[m.name] for m in modalities if m.name in speech})
        for m in modalities:
            if m.name in speech:
                sequences[m.name], lengths[m.name] = ears.heard(m)
                continue
            time = f"{m.name}_time"
            lengths[m.name] = graph.input(length_input(m.name), np.int64, ("batch",))
            if m.name not in text:
                sequences[m.name] = graph.input(feature_input(m.name), np.float32, ("batch", time, m.dim))
                continue
            if (dim := text[m.name].dim) != m.dim:
                raise EngineError(f"the text encoder gives {dim} features a token, members read {m.dim} of {m.name}")
            sequences[m.name] = graph.input(token_input(m.name), np.int64, ("batch", time))
        return cls(lengths, sequences, text)

    def features(self, graph: Graph, name: str) -> Value:
        """Of one modality, as they are there or as the graph computes them from tokens, here and now."""
        if name not in self.text:
            return self.sequences[name]
        return emit_text_encoder(graph, self.text[name], self.sequences[name], self.lengths[name])


class _Ears:
    """The inputs that speech encoders share, and the encoders."""

    def __init__(self, graph: Graph, speech: Mapping[str, Speech]) -> None:
        self._graph = graph
        self._speech = speech
        hearing = sorted(name for name, encoder in speech.items() if isinstance(encoder, SpeechGraph))
        if speech:
            self._samples = graph.input(SAMPLES_INPUT, np.int64, ("batch",))
        if hearing:
            self._waveform = graph.input(WAVEFORM_INPUT, np.float32, ("batch", "waveform_time"))
            graph.note(HEARS_NOTE, json.dumps(hearing))

    def heard(self, modality: Modality) -> tuple[Value, Value]:
        """Frames as members see them, and how many."""
        graph, name = self._graph, modality.name
        encoder = self._speech[name]
        if (dim := grouped_width(encoder.dim, modality.deviations)) != modality.dim:
            raise EngineError(f"the speech encoder gives {dim} features a frame, members read {modality.dim} of {name}")
        if isinstance(encoder, WhisperGraph):
            mel = graph.input(mel_input(name), np.float32, ("batch", encoder.mel_bands, f"{name}_mel_time"))
            features, frames = emit_whisper_encoder(graph, encoder, mel, self._samples)
        else:
            features, frames = emit_speech_encoder(graph, encoder, self._waveform, self._samples)
        return emit_groups(
            graph, features, frames, dim=encoder.dim, stride=modality.stride, deviations=modality.deviations
        )
