"""Whether an engine's answers are those of the bundle: PyTorch, members and encoders one by one, decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.agreement import Agreement, agreement, differences, joined
from models.audio_batches import AudioBatch, pad_audio
from models.backbones.speech_source import Ear, SpeechSource
from models.backbones.text_source import TextSource
from models.bundle import Bundle
from models.check_clips import CheckClips
from models.engines.base import SINGLE, Engine, EngineOutput
from models.errors import EngineError
from models.layer_suggestion import suggest
from models.modalities import EngineBatch, EngineInputs, Modality, PaddedBatch, pad, pad_tokens
from models.reference import Reference
from models.windows import FRAME_SAMPLES, SAMPLE_RATE_HZ

TOLERANCE: Final = 1e-4
"""Largest difference of any score from PyTorch's at which an engine in single precision is admitted."""

INTEGERS: Final = "int8"
"""The encoders inside in integers, the members in single precision."""
REDUCED: Final = ("fp16", "bf16", INTEGERS, "fp8")
LEAST_LABEL_AGREEMENT: Final = 0.995
"""Share of clips that must keep their label in a reduced precision."""
LARGEST_MOVE: Final = 0.02
"""Most that a score, or an attribute divided by its range, may move in a reduced precision."""

_SUGGESTION_ROWS: Final = 24
"""Rows that went furthest astray, on which layer groups are tried."""
_LEAST_ROWS: Final = 12
_FRAMES: Final = (1, 60)
_PLAIN_TOKENS: Final = (1000, 20_000)
"""Of BERT's vocabulary: words and parts of words, no special token."""
_OPENS, _CLOSES = 101, 102
_SAMPLES: Final = (FRAME_SAMPLES, 3 * SAMPLE_RATE_HZ)
"""Of a clip."""
_LOUDNESS: Final = 0.1
_HEARD: Final = "audio that several hear"
"""Stands for all modalities that hear: no modality's name has spaces."""
_SEED: Final = 0


def admit(
    engine: Engine,
    bundle: Bundle,
    text: Mapping[str, TextSource],
    precision: str = SINGLE,
    speech: Mapping[str, SpeechSource] = MappingProxyType({}),
) -> Agreement:
    """Compares an engine with PyTorch, on random inputs and on the bundle's clips.

    Random inputs have many lengths, and modalities missing in every combination. In single precision every score must
    agree on all rows. A reduced precision has to pass the gate on the clips, where it must move few labels and no score
    by much, and only be finite on random inputs; where the bundle has no clips, these stand in for them and the
    agreement counts none.

    Args:
        engine: to be checked.
        bundle: what it runs.
        text: by modality, the encoders of what the engine reads as tokens, and of what the clips hold as tokens.
        precision: what the engine computes in, `fp32` or one of `REDUCED`.
        speech: by modality, the encoders of what the engine hears.

    Raises:
        EngineError: it does not agree; of half precision the message names the layer group to keep in single. Or
            an unknown precision, or one that is reduced while the clips cannot be read for lack of an encoder.
        BundleError: the bundle's files do not fit its manifest.
        WeightsError: an encoder cannot be loaded.
    """
    if precision != SINGLE and precision not in REDUCED:
        raise EngineError(f"no precision {precision!r}: there are {', '.join((SINGLE, *REDUCED))}")
    clips = _readable_clips(bundle, engine, text, precision)
    wanted = engine.reads_tokens | (clips.tokens.keys() if clips is not None else set())
    hears = _hears(engine)
    heard = {name: source for name, source in speech.items() if name in hears}
    reference = Reference(bundle, {name: source for name, source in text.items() if name in wanted}, heard)
    ears = {name: source.ear(bundle.final_windows) for name, source in heard.items()}
    random = _compare(engine, reference, [check_inputs(bundle.modalities, engine.reads_tokens, hears)], ears)
    on_clips = None if clips is None else _compare(engine, reference, clips.inputs(bundle.modalities), ears)
    if precision == SINGLE:
        return _agrees(random, on_clips)
    if on_clips is not None and not random.answer_is_finite:
        raise EngineError(f"the engine in {precision} answers random inputs with what is no number")
    return _passes_the_gate(random, on_clips, bundle, precision, hears=bool(hears))


@dataclass(frozen=True, slots=True)
class _Compared:
    """What PyTorch and an engine say of the same rows."""

    inputs: list[dict[str, PaddedBatch]]
    """Batch by batch, as features."""
    wanted: EngineOutput
    """Of all batches one behind the other."""
    answer: EngineOutput

    @property
    def answer_is_finite(self) -> bool:
        return bool(np.isfinite(self.answer.probabilities).all() and np.isfinite(self.answer.attributes).all())


def _readable_clips(
    bundle: Bundle, engine: Engine, text: Mapping[str, TextSource], precision: str
) -> CheckClips | None:
    """The bundle's clips as far as engine and reference can both be given them."""
    clips = bundle.check_clips()
    if clips is None:
        return None
    encoded = engine.reads_tokens | _hears(engine)
    unread = {name for name in clips.tokens if name not in text} | (clips.features.keys() & encoded)
    if precision != SINGLE and (unheard := clips.features.keys() & _hears(engine)):
        raise EngineError(
            f"the engine hears {', '.join(sorted(unheard))}, and of the bundle's clips there are features, not audio: "
            "a reduced precision is admitted on clips, so compile in fp32"
        )
    if unread and precision != SINGLE:
        raise EngineError(
            f"the bundle's clips hold {', '.join(sorted(unread))} otherwise than the engine reads it: a reduced "
            "precision is admitted on whole clips, so give the text encoder of a modality that is stored as tokens"
        )
    return clips.without(unread) if unread else clips


def _hears(engine: Engine) -> frozenset[str]:
    return engine.reads_audio | engine.reads_mel.keys()


def _compare(
    engine: Engine, reference: Reference, batches: Iterable[EngineInputs], ears: Mapping[str, Ear]
) -> _Compared:
    inputs: list[dict[str, PaddedBatch]] = []
    wanted: list[EngineOutput] = []
    found: list[EngineOutput] = []
    for batch in batches:
        features = reference.features(batch)
        inputs.append(features)
        wanted.append(reference.run(features))
        given: dict[str, EngineBatch] = dict(features)
        for name, own in batch.items():
            if isinstance(own, AudioBatch):
                given[name] = ears[name](own)
            elif name in engine.reads_tokens:
                given[name] = own
        found.append(engine.run(given))
    return _Compared(inputs, joined(wanted), joined(found))


def _agrees(random: _Compared, on_clips: _Compared | None) -> Agreement:
    parts = [random] if on_clips is None else [random, on_clips]
    clips = 0 if on_clips is None else len(on_clips.wanted.probabilities)
    found = agreement(joined([part.wanted for part in parts]), joined([part.answer for part in parts]), clips)
    # Not `>`: a difference that is not a number must not pass.
    if not found.largest_difference <= TOLERANCE:
        raise EngineError(
            f"the engine differs from PyTorch by {found.largest_difference:.1e}, more than {TOLERANCE:.0e}"
        )
    return found


def _passes_the_gate(
    random: _Compared, on_clips: _Compared | None, bundle: Bundle, precision: str, *, hears: bool
) -> Agreement:
    decides = random if on_clips is None else on_clips
    rows = len(decides.wanted.probabilities)
    found = agreement(decides.wanted, decides.answer, 0 if on_clips is None else rows)
    if _within_the_gate(found):
        return found
    on_what = f"{rows} random inputs, for want of clips," if on_clips is None else f"the bundle's {rows} clips"
    worst = np.argsort(differences(decides.wanted, decides.answer))[-_SUGGESTION_ROWS:]
    raise EngineError(
        f"the engine in {precision} is not admitted: on {on_what} {found.label_agreement:.2%} of labels agree with "
        f"PyTorch, {LEAST_LABEL_AGREEMENT:.2%} are needed, and a score moves by {found.largest_difference:.4f}, "
        f"{LARGEST_MOVE:g} is allowed; {_advice(decides, worst, bundle, precision, hears=hears)}"
    )


def _advice(decides: _Compared, rows: NDArray[np.int64], bundle: Bundle, precision: str, *, hears: bool) -> str:
    if precision == INTEGERS:
        return "compile in fp32: its encoders do not bear integers"
    rated = suggest(bundle.ensemble(), *_picked(decides, rows, bundle.modalities))
    # The graph is computed in half precision: of other precisions it does not tell whether the engine is at fault.
    graph_passes = precision == "fp16" and rated.without <= LARGEST_MOVE
    if graph_passes and hears:
        from models.graphs.precision import SPEECH_GROUPS

        return f"the members alone pass: keep layer group {' or '.join(SPEECH_GROUPS)} in fp32"
    return f"{rated}{'; the graph alone passes, so look for a fault of the engine first' if graph_passes else ''}"


def _within_the_gate(found: Agreement) -> bool:
    # Not `>`, as above.
    return found.label_agreement >= LEAST_LABEL_AGREEMENT and found.largest_difference <= LARGEST_MOVE


def _picked(
    compared: _Compared, rows: NDArray[np.int64], modalities: Sequence[Modality]
) -> tuple[dict[str, PaddedBatch], EngineOutput]:
    """Some rows of all batches as one batch of every modality, and what PyTorch says of them."""
    places = [(number, row) for number, batch in enumerate(compared.inputs) for row in range(_rows(batch))]
    features: dict[str, PaddedBatch] = {}
    for modality in modalities:
        chosen: list[NDArray[np.float32] | None] = []
        for number, row in (places[position] for position in rows):
            batch = compared.inputs[number].get(modality.name)
            length = 0 if batch is None else int(batch.lengths[row])
            chosen.append(None if batch is None or not length else batch.features[row, :length])
        features[modality.name] = pad(chosen, modality.dim)
    return features, EngineOutput(compared.wanted.probabilities[rows], compared.wanted.attributes[rows])


def _rows(batch: Mapping[str, PaddedBatch]) -> int:
    return len(next(iter(batch.values())))


def check_inputs(
    modalities: tuple[Modality, ...], reads_tokens: frozenset[str] = frozenset(), hears: Set[str] = frozenset()
) -> dict[str, EngineBatch]:
    """Random inputs, the same every time: other lengths in each row, and every combination of modalities there is.

    Args:
        modalities: of the bundle.
        reads_tokens: those that are to be tokens.
        hears: those that are to be audio: the same clips in all of them. All others are features.
    """
    rng = np.random.default_rng(_SEED)
    # What hears the same clips is there together.
    places = dict.fromkeys(_HEARD if modality.name in hears else modality.name for modality in modalities)
    order = list(places)
    combinations = 2 ** len(order) - 1
    rows = max(_LEAST_ROWS, combinations)
    inputs: dict[str, EngineBatch] = {}

    def lengths(place: str, bounds: tuple[int, int]) -> list[int]:
        position = order.index(place)
        return [int(rng.integers(*bounds)) if (row % combinations + 1) >> position & 1 else 0 for row in range(rows)]

    audio: AudioBatch | None = None
    for modality in modalities:
        if modality.name in hears:
            if audio is None:
                audio = pad_audio([_noise(rng, length) if length else None for length in lengths(_HEARD, _SAMPLES)])
            inputs[modality.name] = audio
        elif modality.name in reads_tokens:
            words = lengths(modality.name, _FRAMES)
            inputs[modality.name] = pad_tokens([_tokens(rng, length) if length else None for length in words])
        else:
            frames = [
                rng.standard_normal((length, modality.dim)).astype(np.float32) if length else None
                for length in lengths(modality.name, _FRAMES)
            ]
            inputs[modality.name] = pad(frames, modality.dim)
    return inputs


def _noise(rng: np.random.Generator, samples: int) -> NDArray[np.float32]:
    return rng.normal(scale=_LOUDNESS, size=samples).astype(np.float32)


def _tokens(rng: np.random.Generator, length: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.concatenate([[_OPENS], rng.integers(*_PLAIN_TOKENS, size=length), [_CLOSES]]).astype(np.int64)
