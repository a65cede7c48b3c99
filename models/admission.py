"""Whether an engine's answers are those of the bundle: PyTorch, members and encoders one by one, decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.agreement import Agreement, agreement, differences, joined
from models.audio_batches import AudioBatch
from models.backbones.speech_source import Ear, SpeechSource
from models.backbones.text_source import TextSource
from models.bundle import Bundle
from models.calibration_audio import CalibrationAudio, beside_clips
from models.check_clips import CheckClips
from models.engines.base import SINGLE, Engine, EngineOutput
from models.errors import EngineError
from models.layer_suggestion import suggest
from models.modalities import EngineBatch, EngineInputs, Modality, PaddedBatch, pad
from models.random_inputs import check_inputs
from models.reference import Reference

TOLERANCE: Final = 1e-4
"""Largest difference of any score from PyTorch's at which an engine in single precision is admitted."""

INTEGERS: Final = "int8"
"""The encoders inside in integers, the members in single precision."""
REDUCED: Final = ("fp16", "bf16", INTEGERS, "fp8")
LEAST_LABEL_AGREEMENT: Final = 0.995
"""Share of clips that must keep their label in a reduced precision."""
LARGEST_MOVE: Final = 0.02
"""Most that a score, or an attribute divided by its range, may move in a reduced precision."""

Advice = Callable[[Sequence[EngineInputs], Sequence[EngineOutput]], str]
"""What to do about an engine, from batches that it was given and what PyTorch says of them, the worst batch first."""

_SUGGESTION_ROWS: Final = 24
"""Rows that went furthest astray, on which layer groups are tried."""


def admit(
    engine: Engine,
    bundle: Bundle,
    text: Mapping[str, TextSource],
    precision: str = SINGLE,
    speech: Mapping[str, SpeechSource] = MappingProxyType({}),
    *,
    audio: CalibrationAudio | None = None,
    advise: Advice | None = None,
) -> Agreement:
    """Compares an engine with PyTorch, on random inputs and on the bundle's clips.

    Random inputs have many lengths, and modalities missing in every combination. In single precision every score must
    agree on all rows. A reduced precision has to pass the gate on the clips, where it must move few labels and no score
    by much, and only be finite on random inputs; where the bundle has no clips, these stand in for them and the
    agreement counts none. Of what hears the clips tell nothing: audio that is given stands in for them, as far as no
    range was measured on it.

    Args:
        engine: to be checked.
        bundle: what it runs.
        text: by modality, the encoders of what the engine reads as tokens, and of what the clips hold as tokens.
        precision: what the engine computes in, `fp32` or one of `REDUCED`.
        speech: by modality, the encoders of what the engine hears.
        audio: what a reduced precision is to be checked on where the engine hears.
        advise: asked what to do where a reduced precision does not pass; by default the layer group is named whose
            keeping in single precision helps most in half precision.

    Raises:
        EngineError: it does not agree; of half precision the message names the layer group to keep in single. Or
            an unknown precision, or one that is reduced while the clips cannot be read for lack of an encoder.
        BundleError: the bundle's files do not fit its manifest.
        WeightsError: an encoder cannot be loaded.
    """
    if precision != SINGLE and precision not in REDUCED:
        raise EngineError(f"no precision {precision!r}: there are {', '.join((SINGLE, *REDUCED))}")
    hears = _hears(engine)
    heard_clips = audio if precision != SINGLE and hears else None
    clips = _readable_clips(bundle, engine, text, precision, hears if heard_clips is not None else frozenset())
    wanted = engine.reads_tokens | (clips.tokens.keys() if clips is not None else set())
    heard = {name: source for name, source in speech.items() if name in hears}
    reference = Reference(bundle, {name: source for name, source in text.items() if name in wanted}, heard)
    ears = {name: source.ear(bundle.final_windows) for name, source in heard.items()}
    random = _compare(engine, reference, [check_inputs(bundle.modalities, engine.reads_tokens, hears)], ears)
    on_clips = None
    if heard_clips is not None:
        rows = beside_clips(heard_clips.held_out, hears, clips, bundle.modalities)
        on_clips = _compare(engine, reference, rows, ears)
    elif clips is not None:
        on_clips = _compare(engine, reference, clips.inputs(bundle.modalities), ears)
    if precision == SINGLE:
        return _agrees(random, on_clips)
    if on_clips is not None and not random.answer_is_finite:
        raise EngineError(f"the engine in {precision} answers random inputs with what is no number")
    of_clips = "the bundle's" if heard_clips is None else "the audio's"
    return _passes_the_gate(random, on_clips, bundle, precision, hears=bool(hears), advise=advise, of_clips=of_clips)


@dataclass(frozen=True, slots=True)
class _Compared:
    """What PyTorch and an engine say of the same rows."""

    inputs: list[dict[str, PaddedBatch]]
    """Batch by batch, as features."""
    wanted: EngineOutput
    """Of all batches one behind the other."""
    answer: EngineOutput
    given: list[dict[str, EngineBatch]]
    """Batch by batch, as the engine was given them."""

    @property
    def answer_is_finite(self) -> bool:
        return bool(np.isfinite(self.answer.probabilities).all() and np.isfinite(self.answer.attributes).all())


def _readable_clips(
    bundle: Bundle, engine: Engine, text: Mapping[str, TextSource], precision: str, heard: Set[str]
) -> CheckClips | None:
    """The bundle's clips as far as engine and reference can both be given them, without what is heard otherwise."""
    clips = bundle.check_clips()
    if clips is not None and heard:
        clips = clips.without(heard)
    if clips is None:
        return None
    encoded = engine.reads_tokens | _hears(engine)
    unread = {name for name in clips.tokens if name not in text} | (clips.features.keys() & encoded)
    if precision != SINGLE and (unheard := clips.features.keys() & _hears(engine)):
        raise EngineError(
            f"the engine hears {', '.join(sorted(unheard))}, and of the bundle's clips there are features, not audio: "
            "a reduced precision is admitted on clips, so give a folder with a few minutes of speech, medusa compile "
            "--calibration DIR, with --check where the engine is there, or compile in fp32"
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
    all_given: list[dict[str, EngineBatch]] = []
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
        all_given.append(given)
    return _Compared(inputs, joined(wanted), joined(found), all_given)


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
    random: _Compared,
    on_clips: _Compared | None,
    bundle: Bundle,
    precision: str,
    *,
    hears: bool,
    advise: Advice | None,
    of_clips: str,
) -> Agreement:
    decides = random if on_clips is None else on_clips
    rows = len(decides.wanted.probabilities)
    found = agreement(decides.wanted, decides.answer, 0 if on_clips is None else rows)
    if within_the_gate(found):
        return found
    on_what = f"{rows} random inputs, for want of clips," if on_clips is None else f"{of_clips} {rows} clips"
    if advise is None:
        worst = np.argsort(differences(decides.wanted, decides.answer))[-_SUGGESTION_ROWS:]
        advice = _advice(decides, worst, bundle, precision, hears=hears)
    else:
        advice = advise(*_worst_first(decides))
    raise EngineError(
        f"the engine in {precision} is not admitted: on {on_what} {found.label_agreement:.2%} of labels agree with "
        f"PyTorch, {LEAST_LABEL_AGREEMENT:.2%} are needed, and a score moves by {found.largest_difference:.4f}, "
        f"{LARGEST_MOVE:g} is allowed; {advice}"
    )


def _worst_first(compared: _Compared) -> tuple[list[EngineInputs], list[EngineOutput]]:
    """Batches as the engine was given them, and what PyTorch says of each."""
    astray = differences(compared.wanted, compared.answer)
    ends = np.cumsum([_rows(batch) for batch in compared.given]).tolist()
    parts = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    order = sorted(range(len(parts)), key=lambda number: -float(astray[parts[number]].max()))
    wanted = [EngineOutput(compared.wanted.probabilities[p], compared.wanted.attributes[p]) for p in parts]
    return [compared.given[number] for number in order], [wanted[number] for number in order]


def _advice(decides: _Compared, rows: NDArray[np.int64], bundle: Bundle, precision: str, *, hears: bool) -> str:
    if precision == INTEGERS:
        return "compile in fp32: its encoders do not bear integers"
    from models.graphs.precision import BFLOAT16, SPEECH_GROUPS

    kind = BFLOAT16 if precision == "bf16" else np.float16
    rated = suggest(bundle.ensemble(), *_picked(decides, rows, bundle.modalities), kind)
    # The graph is computed in 16 bits: of others it does not tell whether the engine is at fault.
    graph_passes = precision in {"fp16", "bf16"} and rated.without <= LARGEST_MOVE
    if graph_passes and hears:
        return f"the members alone pass: keep layer group {' or '.join(SPEECH_GROUPS)} in fp32"
    return f"{rated}{'; the graph alone passes, so look for a fault of the engine first' if graph_passes else ''}"


def within_the_gate(found: Agreement) -> bool:
    """Whether a reduced precision keeps enough labels and moves no score too far."""
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


def _rows(batch: Mapping[str, EngineBatch]) -> int:
    return len(next(iter(batch.values())))
