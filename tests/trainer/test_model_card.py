"""The model card: what a bundle was trained on, how good it is, and what it cannot do."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.model_card import model_card

MANIFEST: dict[str, Any] = {
    "name": "mine",
    "profile": "base",
    "licence": "CC-BY-NC-SA-4.0",
    "labels": ["angry", "neutral"],
    "attributes_source": "norms of words",
    "modalities": [{"name": "voice", "backbone": "prosody", "dim": 26, "stride": 8}],
    "corpora": [
        {"name": "one", "licence": "CC-BY-4.0", "citation": "Somebody (2001)", "utterances": 17},
        {"name": "two", "licence": "unknown (not verified)", "citation": "Anybody (2002)", "utterances": 4},
    ],
    "recipe": {"members": [{"name": "a", "modalities": ["voice"], "width": 48}]},
}


def figures(macro_f1: float, **more: Any) -> dict[str, Any]:
    return {"examples": 339, "macro_f1": macro_f1, "uar": 0.7111, "ece": 0.0444, **more}


OLD: dict[str, Any] = {
    "notes": ["Acted."],
    "models": {
        "ensemble": figures(0.71349, macro_f1_low=0.6771, macro_f1_high=0.7529),
        "a": figures(0.61),
        "b": figures(0.6966),
        "soft voting": figures(0.7000),
    },
}
"""As earlier versions of `medusa evaluate` wrote them."""
HELD = {
    "coverage": 0.758,
    "accuracy": 0.724,
    "accuracy_of_all": 0.661,
    "gain": 0.063,
    "gain_low": 0.038,
    "gain_high": 0.095,
}
NEW: dict[str, Any] = {
    "notes": [],
    "text_only": False,
    "members": ["a", "b"],
    "models": {
        **OLD["models"],
        "ensemble": {**OLD["models"]["ensemble"], "ece_low": 0.0333, "ece_high": 0.0555, "abstention": HELD},
        "single meta-classifier": figures(0.709),
        "hard voting": figures(0.699),
        "SVM on scores": figures(0.688),
        "best member": figures(0.61),
    },
    "views": {
        "telephone": {
            "examples": 338,
            "reference_macro_f1": 0.714,
            "macro_f1": 0.654,
            "loss": 0.06,
            "loss_low": -0.001,
            "loss_high": 0.0912,
        }
    },
}


def lines(**metrics: dict[str, Any]) -> list[str]:
    return model_card({**MANIFEST, "metrics": metrics}).splitlines()


def test_every_corpus_stands_in_it_with_licence_citation_and_how_much_of_it_was_used() -> None:
    card = model_card(MANIFEST)
    assert "| one | 17 | CC-BY-4.0 |" in card
    assert "| two | 4 | unknown (not verified) |" in card
    assert "- one: Somebody (2001)" in card
    assert "- two: Anybody (2002)" in card


def test_it_says_what_it_is_and_under_which_licence() -> None:
    card = model_card(MANIFEST)
    assert card.startswith("# MEDUSA live, bundle `mine`\n")
    assert "Weights: CC-BY-NC-SA-4.0. Code: Apache-2.0." in card
    assert "Classes: angry, neutral." in card
    assert "trained on norms of words" in card
    assert "| voice | prosody | 26 | 8 |" in card
    assert "| a | voice | 48 |" in card


class TestFigures:
    def test_a_measured_protocol_is_a_row_of_figures(self) -> None:
        assert "| folds | 339 | 0.713 (0.677 to 0.753) | 0.711 | 0.044 (0.033 to 0.056) |" in lines(folds=NEW)

    def test_without_an_interval_the_figure_stands_alone(self) -> None:
        models = {**OLD["models"], "ensemble": figures(0.5, macro_f1_low=None, macro_f1_high=None)}
        assert "| x | 339 | 0.500 | 0.711 | 0.044 |" in lines(x={**OLD, "models": models})

    def test_words_alone_are_said_to_be_that(self) -> None:
        assert any(line.startswith("| x, text only | 339 | ") for line in lines(x={**NEW, "text_only": True}))

    def test_the_ensemble_stands_beside_what_else_could_be_made_of_its_members(self) -> None:
        assert "| folds | 0.713 | 0.709 | 0.700 | 0.699 | 0.688 | 0.610 | 0.697 |" in lines(folds=NEW)

    def test_the_best_member_in_hindsight_is_told_from_the_one_chosen_before(self) -> None:
        (header,) = (line for line in lines(folds=NEW) if line.startswith("| protocol | ensemble |"))
        assert header.endswith("| best member, chosen before | in hindsight |")

    def test_what_abstaining_buys_is_in_points(self) -> None:
        assert "| folds | 75.8 % | 72.4 % | 66.1 % | 6.3 (3.8 to 9.5) |" in lines(folds=NEW)

    def test_it_stands_apart_for_an_ensemble_that_chose_among_all_its_classes(self) -> None:
        in_use = {**HELD, "coverage": 0.687, "accuracy": 0.682, "accuracy_of_all": 0.549, "gain": 0.134}
        found = lines(folds={**NEW, "abstention_in_use": in_use})
        assert "| folds | 75.8 % | 72.4 % | 66.1 % | 6.3 (3.8 to 9.5) |" in found
        assert "| folds, choosing among all classes | 68.7 % | 68.2 % | 54.9 % | 13.4 (3.8 to 9.5) |" in found

    def test_where_no_label_was_claimed_there_is_no_row_of_it(self) -> None:
        nothing = {**HELD, "coverage": 0.0, "accuracy": None, "gain": None, "gain_low": None, "gain_high": None}
        ensemble = {**NEW["models"]["ensemble"], "abstention": nothing}
        found = lines(x={**NEW, "models": {**NEW["models"], "ensemble": ensemble}})
        assert not [line for line in found if "right of that" in line]

    def test_what_the_telephone_costs_is_in_points(self) -> None:
        assert "| folds | telephone | 338 | 0.714 | 0.654 | 6.0 (-0.1 to 9.1) |" in lines(folds=NEW)

    def test_notes_of_a_report_stand_under_the_figures(self) -> None:
        assert "- x: Acted." in lines(x=OLD)

    def test_figures_of_an_earlier_version_make_a_card_with_what_they_have(self) -> None:
        found = lines(old=OLD)
        assert "| old | 339 | 0.713 (0.677 to 0.753) | 0.711 | 0.044 |" in found
        assert "| old | 0.713 |  | 0.700 |  |  |  | 0.697 |" in found
        assert not [line for line in found if "claimed" in line or "telephone" in line]

    def test_old_and_new_stand_together(self) -> None:
        found = lines(old=OLD, new=NEW)
        assert "| old | 0.713 |  | 0.700 |  |  |  | 0.697 |" in found
        assert "| new | 0.713 | 0.709 | 0.700 | 0.699 | 0.688 | 0.610 | 0.697 |" in found
        assert len([line for line in found if "telephone |" in line]) == 1


def test_what_was_not_measured_is_not_claimed() -> None:
    card = model_card(MANIFEST)
    assert "Not measured." in card
    assert "| protocol |" not in card


@pytest.mark.parametrize(
    "limit",
    [
        "Acted emotion",
        "knows English",
        "first segment of a speaker",
        "Segments under a second",
        "were not evaluated",
        "does not measure what anybody feels",
        "Article 5(1)(f)",
        "Tell people that their voice is analysed",
    ],
)
def test_it_says_what_it_cannot_do_and_must_not_be_used_for(limit: str) -> None:
    assert limit in model_card(MANIFEST)


def test_it_says_what_of_the_corpora_goes_with_it() -> None:
    assert "`check.safetensors` holds 17 utterances of these corpora" in model_card(MANIFEST, check_clips=17)
    assert "check.safetensors" not in model_card(MANIFEST)
