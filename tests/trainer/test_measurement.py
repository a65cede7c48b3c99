"""Everything measured of an evaluation, and what of it is written where."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.fakes.evaluations import MODELS, measurement, scored_set
from trainer.aggregation import AGGREGATIONS
from trainer.errors import MetricError
from trainer.evaluation import Evaluation
from trainer.measurement import measure
from trainer.metrics import macro_f1


def test_the_ensemble_stands_first_with_every_model_beside_it() -> None:
    measured = measurement()
    assert measured.ensemble.name == "ensemble"
    assert [result.name for result in measured.results] == list(MODELS)
    assert measured.members == ("voice", "words")


def test_aggregations_are_compared_with_the_ensemble_on_the_same_examples() -> None:
    measured = measurement()
    assert {part.name for part in measured.aggregations} == set(AGGREGATIONS)
    for part in measured.aggregations:
        assert part.examples == 240
        assert part.reference_macro_f1 == pytest.approx(measured.ensemble.classes.macro_f1)
        assert part.interval is not None
        assert part.interval.low <= part.value <= part.interval.high


def test_views_are_compared_clip_by_clip_joined_by_id() -> None:
    clean = scored_set()
    order = np.random.default_rng(0).permutation(240)[:200]
    telephone = scored_set(loss=0.8).select(order.tolist())
    (found,) = measure("p", Evaluation({"clean": clean, "telephone": telephone})).view_differences
    assert (found.name, found.examples) == ("telephone", 200)
    own = clean.probabilities["ensemble"][order].argmax(axis=1)
    assert found.reference_macro_f1 == pytest.approx(macro_f1(clean.true[order], own, 4))
    assert found.macro_f1 == pytest.approx(
        macro_f1(telephone.true, telephone.probabilities["ensemble"].argmax(axis=1), 4)
    )
    assert found.loss > 0


def test_a_clip_that_the_first_view_has_not_is_in_no_figure_of_another() -> None:
    clean = scored_set().select(range(100))
    measured = measure("p", Evaluation({"clean": clean, "telephone": scored_set(loss=0.8)}))
    assert {result.examples for result in measured.other_views["telephone"]} == {100}


def test_views_without_a_clip_in_common_are_refused() -> None:
    with pytest.raises(MetricError, match="both in view telephone"):
        measure("p", Evaluation({"clean": scored_set(), "telephone": scored_set(corpus="other")}))


def test_nothing_is_refused() -> None:
    with pytest.raises(MetricError, match="no view to measure"):
        measure("p", Evaluation({}))


def test_classes_that_are_not_there_are_named() -> None:
    measured = measure("p", Evaluation({"clean": scored_set(labels=3)}, ["First."]))
    assert measured.notes[0] == "First."
    assert measured.notes[1].startswith("There is no neutral in the corpus: ")
    assert list(measured.ensemble.labels) == ["angry", "sad", "happy"]


class TestAbstentionInUse:
    def test_a_label_that_the_corpus_has_not_is_wrong(self) -> None:
        scored = scored_set(40, labels=2)
        sure = np.tile([0.3, 0.0, 0.1, 0.6], (40, 1))
        sure[:10] = np.eye(4)[scored.true[:10]] * 0.6 + 0.1
        scored.probabilities["ensemble"][:] = sure
        measured = measure("p", Evaluation({"clean": scored}))
        in_use = measured.abstention_in_use
        assert in_use is not None
        # Of all only the first ten are right; their confidence is 0.7, that of the others 0.6, over all four classes.
        assert (in_use.coverage, in_use.accuracy, in_use.accuracy_of_all) == (1.0, 0.25, 0.25)
        # Among the classes that are there, the others are of the first class: half of them are.
        assert measured.ensemble.accuracy == pytest.approx((10 + 15) / 40)
        assert measured.figures()["abstention_in_use"]["accuracy"] == 0.25

    def test_a_corpus_with_all_classes_needs_no_second_figure(self) -> None:
        assert measurement().abstention_in_use is None
        assert measurement().figures()["abstention_in_use"] is None


class TestText:
    def test_what_nobody_speaks_has_neither_durations_nor_speakers(self) -> None:
        measured = measure("p", Evaluation({"clean": scored_set(speakers=0, spoken=False)}))
        assert measured.text_only
        assert measured.durations == ()
        assert measured.speakers == ()
        assert measured.ensemble.ece_interval is not None

    def test_it_has_no_other_view(self) -> None:
        views = {"clean": scored_set(spoken=False), "telephone": scored_set(spoken=False)}
        measured = measure("p", Evaluation(views))
        assert measured.view_differences == ()
        assert "Text has no waveform: there is nothing to hear in view telephone." in measured.notes


class TestWriting:
    def test_figures_hold_what_a_model_card_needs(self) -> None:
        written = measurement(note="A note.").figures()
        assert written["protocol"] == "made up <5 folds>"
        assert written["notes"] == ["A note."]
        assert list(written["models"]) == list(MODELS)
        assert written["members"] == ["voice", "words"]
        assert written["models"]["ensemble"]["abstention"]["gain"] > 0
        assert set(written["aggregations"]) == set(AGGREGATIONS)
        assert written["aggregations"]["soft voting"]["difference_low"] <= 0.1
        telephone = written["views"]["telephone"]
        assert telephone["loss_low"] < telephone["loss"] < telephone["loss_high"]
        assert list(telephone["models"]) == list(MODELS)
        assert written["durations"][0]["name"] == "under 1 s"

    def test_figures_name_neither_people_nor_recordings(self) -> None:
        measured = measurement(said="what was said")
        assert "made_up/" not in json.dumps(measured.figures())
        assert "what was said" not in json.dumps(measured.figures())
        assert "what was said" in json.dumps(measured.as_mapping())

    def test_what_was_said_is_written_only_where_it_was_asked_for(self) -> None:
        assert "text" not in measurement().as_mapping()["mistakes"][0]

    def test_the_whole_holds_every_speaker_curve_and_mistake(self) -> None:
        measured = measurement()
        written = json.loads(json.dumps(measured.as_mapping()))
        assert {part["name"] for part in written["speakers"]} == {f"made_up/s{i}" for i in range(8)}
        assert sum(written["reliability"]["examples"]) == 240
        assert len(written["mistakes"]) == 20
        curve = written["risk_coverage"]
        assert len(curve["coverage"]) == len(curve["risk"]) == len(curve["threshold"]) <= 200
        assert curve["coverage"][-1] == 1.0
        assert curve["risk"][-1] == pytest.approx(1 - measured.ensemble.accuracy, abs=1e-4)
        assert written.items() >= json.loads(json.dumps(measured.figures())).items()
