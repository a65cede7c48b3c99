"""Silero's detector: a small recurrent network, run by ONNX Runtime from the file that faster-whisper ships."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from streaming.audio.segmenter import FRAME_SAMPLES
from streaming.errors import ConfigError

_CHUNK: Final = 512
"""The network judges 32 ms at a time."""
_CONTEXT: Final = 64
"""Samples of the chunk before that it also sees."""
_CHUNKS_AT_ONCE: Final = 256
"""8 s in one run of the network, so that a long push takes no more memory than a short one."""
_STATE: Final = (1, 1, 128)


@functools.cache
def _session() -> onnxruntime.InferenceSession:
    """The network, shared by all channels: it keeps no state itself."""
    found = importlib.util.find_spec("faster_whisper")
    places = [] if found is None or found.origin is None else [Path(found.origin).parent / "assets"]
    models = sorted(path for place in places for path in place.glob("silero_vad*.onnx"))
    if not models:
        raise ConfigError("[vad] kind silero needs the model that faster-whisper ships: install it, or use webrtc")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(models[-1]), options, providers=["CPUExecutionProvider"])


@functools.cache
def _places(count: int) -> NDArray[np.intp]:
    """Where the samples lie that the network sees of so many chunks, each with its context, `[count, samples]`."""
    return np.arange(count)[:, None] * _CHUNK + np.arange(_CHUNK + _CONTEXT)


class SileroVad:
    """The network's 32 ms decisions on frames of 20 ms, each frame judged by the chunk that holds its last sample."""

    def __init__(self) -> None:
        """Starts with nothing heard.

        Raises:
            ConfigError: the model is not installed.
        """
        self._network = _session()
        self._hidden = np.zeros(_STATE, dtype=np.float32)
        self._cell = np.zeros(_STATE, dtype=np.float32)
        self._context = np.zeros(_CONTEXT, dtype=np.float32)
        self._rest = np.zeros(0, dtype=np.float32)
        self._chunks = 0
        self._frames = 0
        self._last = np.zeros(0, dtype=np.float32)
        """Decisions of chunks that frames still to come may end in."""

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `VoiceActivityDetector.push`."""
        samples = np.concatenate([self._rest, samples])
        count = samples.size // _CHUNK
        self._rest = samples[count * _CHUNK :]
        if count == 0:
            return np.zeros(0, dtype=np.float32)
        heard = np.concatenate([self._context, samples[: count * _CHUNK]])
        self._context = heard[-_CONTEXT:]
        if count <= _CHUNKS_AT_ONCE:
            return self._on_frames(self._judge(heard, count))
        runs = [(run, min(_CHUNKS_AT_ONCE, count - run)) for run in range(0, count, _CHUNKS_AT_ONCE)]
        return self._on_frames(np.concatenate([self._judge(heard[run * _CHUNK :], size) for run, size in runs]))

    def _judge(self, heard: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Decisions on so many chunks, `[count]`; the first begins behind its context."""
        speech, self._hidden, self._cell = self._network.run(
            ["speech_probs", "hn", "cn"],
            {"input": heard[_places(count)], "h": self._hidden, "c": self._cell},
        )
        return np.asarray(speech, dtype=np.float32).reshape(-1)

    def _on_frames(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        first_held = self._chunks - self._last.size
        held = np.concatenate([self._last, chunks])
        self._chunks += chunks.size
        ready = self._chunks * _CHUNK // FRAME_SAMPLES
        ends = np.arange(self._frames + 1, ready + 1) * FRAME_SAMPLES - 1
        self._frames = ready
        next_chunk = ((ready + 1) * FRAME_SAMPLES - 1) // _CHUNK
        self._last = held[next_chunk - first_held :]
        return np.asarray(held[ends // _CHUNK - first_held], dtype=np.float32)
