"""The Whisper encoder as a backbone: one pass per segment, read by the transcriber and by the ensemble alike.

Whisper was trained on 30 s windows, and faster-whisper pads to them. The encoder itself takes any even number of mel
frames, so a segment is encoded in the shortest window its `WindowPolicy` allows, several times faster. Members read
only the frames that hold real audio.

The decoder reads the last layer. How something is said stands in the middle of the encoder and is lost towards its
end, where the words are (docs/experiments.md), so members may read any layer of the same pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import ctranslate2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.backbones.log_mel import LogMel
from models.backbones.whisper_file import read_whisper_file
from models.errors import FeatureError, WeightsError
from models.graphs.graph import Graph
from models.graphs.products import PLAIN, RowIntegers
from models.graphs.whisper import WhisperGraph, emit_whisper_layers
from models.numeric_threads import threads_each
from models.windows import encoder_frames

_INT8: Final = frozenset({"int8", "int8_float16"})
_STATES: Final = "states"
_MEL: Final = "mel"

Frames = tuple[NDArray[np.float32], ...]
"""Per segment `[real frames, dim]` at 50 Hz: padding left out."""


@dataclass(frozen=True, slots=True)
class EncodedSpeech:
    """A batch of segments after the encoder, as its two readers want it."""

    states: NDArray[np.float32]
    """`[batch, window frames, dim]`, the last layer, what a decoder reads; no segment where nobody decodes."""
    frames: Mapping[int | None, Frames]
    """By hidden layer, counted from 1, the last one under None: those that the encoder was opened for."""
    samples: tuple[int, ...]
    """Length of each segment in samples at 16 kHz."""
    window_s: float
    """The window all of them were encoded in."""

    def __len__(self) -> int:
        return len(self.samples)


class WhisperEncoder:
    """The encoder of a converted Whisper, computed by ONNX Runtime; thread-safe, as its sessions are."""

    def __init__(
        self,
        folder: Path,
        *,
        layers: Collection[int | None] = (None,),
        decodes: bool = True,
        compute_type: str = "int8",
        threads: int = 0,
        decoder_threads: int = 1,
    ) -> None:
        """Writes the encoder as a graph and opens it.

        Args:
            folder: CTranslate2 model folder with `model.bin`, `config.json`, `tokenizer.json`, `vocabulary.json`.
            layers: hidden layers whose frames are wanted, counted from 1; None is the last, after its norm.
            decodes: whether the last layer is needed for words. Where not, no layer above the wanted ones is computed.
            compute_type: CTranslate2's name of the arithmetic: one of `int8` computes the encoder's linear maps in
                integers, any other all of it in float32.
            threads: CPU threads the encoder may use; 0 for as many as the process has processors.
            decoder_threads: as many for the decoder. One is best for a small one: it reads a token at a time, and the
                threads would wait for each other at every layer of every token.

        Raises:
            WeightsError: the folder does not hold a model that can be read.
            FeatureError: no layer is wanted, or one that the encoder has not.
        """
        self.folder = folder
        self._compute_type = compute_type
        self._decoder_threads = decoder_threads
        whisper = read_whisper_file(folder)
        self._log_mel = LogMel(whisper.mel_bands)
        count = whisper.shape.encoder_layers
        needed: list[int | None] = [None, *layers] if decodes else [*layers]
        wanted = {layer: count if layer is None else layer for layer in needed}
        if not wanted or not all(1 <= layer <= count for layer in wanted.values()):
            raise FeatureError(f"layers {sorted(wanted.values())} are to be read of an encoder that has 1 to {count}")
        if any(layer == count for layer in layers):
            raise FeatureError(f"layer {count} is the last of {folder}, which is read after its norm: ask for None")
        self._layers = tuple(layers)
        self._outputs = tuple(wanted)
        products = RowIntegers() if compute_type in _INT8 else PLAIN
        self._session = _session(_graph(replace(whisper, products=products), wanted), threads)

    @cached_property
    def model(self) -> ctranslate2.models.Whisper:
        """The decoder, loaded when it is first asked for.

        Raises:
            WeightsError: the folder does not hold a model that CTranslate2 can load.
        """
        try:
            return ctranslate2.models.Whisper(
                str(self.folder), device="cpu", compute_type=self._compute_type, intra_threads=self._decoder_threads
            )
        except (RuntimeError, ValueError) as error:
            raise WeightsError(f"no usable Whisper model in {self.folder}: {error}") from error

    def encode(self, segments: Sequence[NDArray[np.float32]], window_s: float) -> EncodedSpeech:
        """Encodes segments side by side in one window.

        Args:
            segments: each `[samples]`, 16 kHz mono, no longer than the window.
            window_s: the window, from a `WindowPolicy`.

        Raises:
            FeatureError: see `LogMel.of`; also for an empty batch.
        """
        if not segments:
            raise FeatureError("nothing to encode: the batch is empty")
        # On a CPU one segment already fills the cores, and what more of them need does not fit the caches.
        each = [self._session.run(None, {_MEL: self._log_mel.of(segment, window_s)[None]}) for segment in segments]
        together = {
            layer: np.concatenate(own) for layer, own in zip(self._outputs, zip(*each, strict=True), strict=True)
        }
        samples = tuple(len(segment) for segment in segments)
        frames = {
            layer: tuple(row[: encoder_frames(n)] for row, n in zip(together[layer], samples, strict=True))
            for layer in self._layers
        }
        nothing = np.zeros((0, 0, 0), dtype=np.float32)
        return EncodedSpeech(together.get(None, nothing), frames, samples, window_s)


def _graph(whisper: WhisperGraph, wanted: Mapping[int | None, int]) -> bytes:
    """From `[batch, mel bands, time]` to the wanted layers, `[batch, time / 2, dim]` each."""
    graph = Graph("whisper")
    mel = graph.input(_MEL, np.float32, ("batch", whisper.mel_bands, "time"))
    hidden = emit_whisper_layers(graph, whisper, mel, count=max(wanted.values()))
    for name, layer in wanted.items():
        output = _STATES if name is None else f"layer_{name}"
        own = graph.reshape(hidden.values[layer - 1], hidden.shape)
        graph.output(output, own, np.float32, ("batch", "frames", whisper.dim))
    return graph.serialise()


def _session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or threads_each(1)
    options.log_severity_level = 3
    # Threads wait for each other awake within a call; between calls the cores belong to the decoder and the ensemble.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
