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


REPORT = {
    "models": {
        "ensemble": figures(0.71349, macro_f1_low=0.6771, macro_f1_high=0.7529),
        "a": figures(0.61),
        "b": figures(0.6966),
        "soft voting": figures(0.7000),
    }
}


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


def test_a_measured_protocol_is_a_row_of_figures() -> None:
    card = model_card({**MANIFEST, "metrics": {"ravdess, 5 folds": REPORT}})
    row = "| ravdess, 5 folds | 339 | 0.713 (0.677 to 0.753) | 0.711 | 0.044 | 0.697 | 0.700 |"
    assert row in card.splitlines()


def test_without_an_interval_the_figure_stands_alone() -> None:
    models = {**REPORT["models"], "ensemble": figures(0.5, macro_f1_low=None, macro_f1_high=None)}
    assert "| x | 339 | 0.500 | " in model_card({**MANIFEST, "metrics": {"x": {"models": models}}})


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
