"""The four stages (paper, section 2.3), each from artefacts to artefacts, each skipped where its artefact is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.calibration import fit_abstention, fit_temperature
from models.deepser import DeepSER
from models.meta import MetaClassifier, fill_silent, member_answers, soup
from models.speaker import UNHEARD, SpeakerStandardisation
from trainer.artefacts import Artefacts
from trainer.dataset import TrainingSet
from trainer.fitting import FitReport, Watch, fit
from trainer.members import member_config
from trainer.objectives import IMPOSSIBLE, class_weights
from trainer.prediction import Scores, development_macro_f1, predict
from trainer.recipe import Recipe
from trainer.sampling import Indices, balanced_epoch, full_epoch
from trainer.splits import Split, leave_part

ANSWERS = "answers"
"""Name of the meta-classifier's only input."""

Announce = Callable[[str, int, int, float], None]
"""Called with what is being trained, the epoch, the most there may be, and the development macro-F1."""


@dataclass(frozen=True, slots=True)
class TrainedEnsemble:
    """What the four stages give."""

    members: dict[str, DeepSER]
    meta: MetaClassifier
    temperature: float
    abstain_below: float
    standardisation: SpeakerStandardisation
    answers: TrainingSet
    """What the members say of the held-out speakers: what stage 3 was fitted on."""
    runs: tuple[MetaClassifier, ...]
    """The meta-classifiers of stage 3, whose soup `meta` is."""
    development: TrainingSet
    """What no member was trained on, as it was recorded, brought relative to its speakers."""


@dataclass(frozen=True, slots=True)
class EnsembleScores:
    """What a trained ensemble and its members say of a set, in its order."""

    probabilities: NDArray[np.float32]
    """Calibrated, `[examples, labels]`."""
    attributes: NDArray[np.float32]
    """`[examples, 3]`."""
    members: dict[str, NDArray[np.float32]]
    """Posteriors by member, each `[examples, labels]`; the mean of the others where one has nothing to read."""
    single: NDArray[np.float32]
    """What the first meta-classifier of stage 3 says alone, under the temperature of all, `[examples, labels]`."""


def load_members(artefacts: Artefacts, recipe: Recipe, dims: dict[str, int]) -> dict[str, DeepSER]:
    """The members after stage 2, by name."""
    members: dict[str, DeepSER] = {}
    for entry in recipe.members:
        member = DeepSER(member_config(entry, recipe, dims))
        member.load_state_dict(artefacts.weights("stage2", entry.name))
        members[entry.name] = member.eval()
    return members


def answers_of(members: dict[str, DeepSER], data: TrainingSet) -> TrainingSet:
    """What all members say of a set, as examples for the meta-classifier.

    A member that has nothing to read in an example answers what the others answer on average.
    """
    probabilities, attributes = _posteriors(members, data)
    rows = member_answers(torch.from_numpy(probabilities), torch.from_numpy(attributes)).numpy()
    examples = [
        replace(e, features={ANSWERS: row[None].astype(np.float16)}, moments=UNHEARD)
        for e, row in zip(data.examples, rows, strict=True)
    ]
    return TrainingSet(examples, data.labels, {ANSWERS: rows.shape[1]})


def _posteriors(members: dict[str, DeepSER], data: TrainingSet) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Posteriors `[examples, members, labels]` and attributes `[examples, members, 3]`."""
    probabilities = np.zeros((len(data), len(members), len(data.labels)), dtype=np.float32)
    attributes = np.zeros((len(data), len(members), 3), dtype=np.float32)
    reading = np.zeros((len(data), len(members)), dtype=np.bool_)
    for column, member in enumerate(members.values()):
        names = member.config.modalities
        reads = np.array([any(e.features.get(m) is not None for m in names) for e in data.examples], dtype=np.bool_)
        if not reads.any():
            continue
        scores = predict(member, data, names)
        reading[:, column] = reads
        probabilities[reads, column] = softmax(scores.logits[reads])
        attributes[reads, column] = scores.attributes[reads]
    filled = fill_silent(torch.from_numpy(probabilities), torch.from_numpy(attributes), torch.from_numpy(reading))
    return filled[0].numpy(), filled[1].numpy()


def stage_3(
    answers: TrainingSet,
    artefacts: Artefacts,
    recipe: Recipe,
    announce: Announce | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Several meta-classifiers, each without another part of the held-out speakers.

    Members have never heard any of them: their answers there are what they will be in use. Each run is trained like a
    member, first on all, then on balanced subsets.
    """
    power = recipe.meta.class_weight_power
    for run in range(recipe.meta.runs):
        name = f"run-{run}"
        if artefacts.has("stage3", name):
            continue
        seed = recipe.seed * 1000 + 900 + run
        part = left_out(answers, recipe, run)
        model = MetaClassifier(len(recipe.members), len(recipe.labels))
        if not recipe.meta.attributes_as_evidence:
            model.keep_attributes_from_logits()
        reports: list[FitReport] = []
        for stage in (recipe.meta.full, recipe.meta.balanced):
            full = stage is recipe.meta.full
            weights = class_weights(torch.from_numpy(part.train.targets), power) if full else None

            def epoch(rng: np.random.Generator, data: TrainingSet = part.train, full: bool = full) -> Indices:
                pool = full_epoch(data.corpora, {}, rng, data.utterances)
                return pool if full else pool[balanced_epoch(data.dominant[pool], data.ambiguous[pool], rng)]

            reports.append(
                fit(
                    model,
                    part.train,
                    part.development,
                    (ANSWERS,),
                    epoch=epoch,
                    stage=stage,
                    objective=recipe.objective,
                    mixup_alpha=recipe.mixup_alpha,
                    weights=weights,
                    seed=seed,
                    watch=announcing(Watch(stop=stop), announce, f"meta-classifier {run + 1}, stage 3"),
                )
            )
        artefacts.save("stage3", name, model.state_dict(), {"fits": [asdict(report) for report in reports]})


def stage_4(
    answers: TrainingSet,
    artefacts: Artefacts,
    recipe: Recipe,
    members: dict[str, DeepSER],
    standardisation: SpeakerStandardisation,
    development: TrainingSet,
) -> TrainedEnsemble:
    """The soup of the meta-classifiers, and its calibration.

    Temperature and threshold are fitted on what the run that was trained without a speaker says of them.
    """
    runs = [artefacts.weights("stage3", f"run-{run}") for run in range(recipe.meta.runs)]
    meta, *single = (MetaClassifier(len(recipe.members), len(recipe.labels)).eval() for _ in range(len(runs) + 1))
    logits = np.zeros((len(answers), len(answers.labels)), dtype=np.float32)
    for run, state in enumerate(runs):
        single[run].load_state_dict(state)
        outside = {e.id for e in left_out(answers, recipe, run).development.examples}
        rows = np.array([e.id in outside for e in answers.examples])
        logits[rows] = predict(single[run], answers, (ANSWERS,)).logits[rows]
    temperature = fit_temperature(np.where(answers.possible, logits, IMPOSSIBLE), answers.targets)
    confidence = softmax(logits / temperature).max(axis=1)
    spoken = answers.spoken
    abstain_below = fit_abstention(confidence[spoken] if spoken.any() else confidence, recipe.target_coverage)
    meta.load_state_dict(_mixed(runs, answers, recipe))
    report = {"temperature": temperature, "abstain_below": abstain_below, "fitted_on": len(answers)}
    artefacts.save("stage4", "soup", meta.state_dict(), report)
    return TrainedEnsemble(
        members, meta, temperature, abstain_below, standardisation, answers, tuple(single), development
    )


def _mixed(runs: list[dict[str, torch.Tensor]], answers: TrainingSet, recipe: Recipe) -> dict[str, torch.Tensor]:
    """The soup of some runs: all, or greedily those that help.

    Whoever is to say what helps was heard in training by all runs but one: with a linear meta-classifier held near its
    start, that is little.
    """
    if recipe.meta.soup == "uniform":
        return soup(runs)

    def reached(chosen: list[dict[str, torch.Tensor]]) -> float:
        meta = MetaClassifier(len(recipe.members), len(recipe.labels))
        meta.load_state_dict(soup(chosen))
        return development_macro_f1(predict(meta, answers, (ANSWERS,)), answers)

    best_first = sorted(runs, key=lambda run: reached([run]), reverse=True)
    chosen = best_first[:1]
    for run in best_first[1:]:
        if reached([*chosen, run]) >= reached(chosen):
            chosen.append(run)
    return soup(chosen)


def left_out(answers: TrainingSet, recipe: Recipe, run: int) -> Split:
    """What a run of stage 3 is trained on, and the speakers it is kept from."""
    return leave_part(answers, run, recipe.meta.runs, recipe.seed)


def score(trained: TrainedEnsemble, data: TrainingSet) -> EnsembleScores:
    """Scores a set, each speaker heard in the order of the evaluation.

    Args:
        trained: from `run_stages`.
        data: over the same labels; it is brought relative to its speakers by the ensemble's own priors.
    """
    data = data.standardised(trained.standardisation)
    answers = answers_of(trained.members, data)
    scores: Scores = predict(trained.meta, answers, (ANSWERS,))
    probabilities, _ = _posteriors(trained.members, data)
    return EnsembleScores(
        softmax(scores.logits / trained.temperature),
        scores.attributes,
        {name: probabilities[:, column] for column, name in enumerate(trained.members)},
        softmax(predict(trained.runs[0], answers, (ANSWERS,)).logits / trained.temperature),
    )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def announcing(watch: Watch, announce: Announce | None, what: str) -> Watch:
    """The same watch, its progress announced under a name."""
    if announce is None:
        return watch
    return replace(watch, progress=lambda epoch, epochs, reached: announce(what, epoch, epochs, reached))
