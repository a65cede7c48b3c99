"""The figures of a model card, from reports of `medusa evaluate`, of whatever age: what one lacks is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from trainer.aggregation import BEST_MEMBER, ENSEMBLE, HARD_VOTING, SINGLE_META, SOFT_VOTING, SVM

_COMPARED: Final = (SINGLE_META, SOFT_VOTING, HARD_VOTING, SVM, BEST_MEMBER)

Report = Mapping[str, Any]


def figures_of(metrics: Mapping[str, Report]) -> list[str]:
    """Lines of Markdown.

    Args:
        metrics: `figures.json` by protocol.
    """
    if not metrics:
        return ["Not measured."]
    return [
        *_scores(metrics),
        *_aggregations(metrics),
        *_abstention(metrics),
        *_views(metrics),
        *_notes(metrics),
    ]


def _scores(metrics: Mapping[str, Report]) -> list[str]:
    rows = []
    for protocol, report in metrics.items():
        ensemble = report["models"][ENSEMBLE]
        heard = ", text only" if report.get("text_only") else ""
        rows.append(
            f"| {protocol}{heard} | {ensemble['examples']} | {_bounded(ensemble, 'macro_f1')} "
            f"| {ensemble['uar']:.3f} | {_bounded(ensemble, 'ece')} |"
        )
    return [
        "| protocol | examples | macro-F1 (95 % interval) | UAR | ECE (95 % interval) |",
        "| :-- | --: | --: | --: | --: |",
        *rows,
    ]


def _aggregations(metrics: Mapping[str, Report]) -> list[str]:
    """Macro-F1 of the ensemble beside other ways to make one answer of its members'."""
    rows = []
    for protocol, report in metrics.items():
        models = report["models"]
        members = report.get("members", [name for name in models if name not in (ENSEMBLE, *_COMPARED)])
        hindsight = max((models[name]["macro_f1"] for name in members), default=None)
        cells = [models[ENSEMBLE]["macro_f1"], *(models.get(name, {}).get("macro_f1") for name in _COMPARED), hindsight]
        rows.append(f"| {protocol} | {' | '.join('' if cell is None else f'{cell:.3f}' for cell in cells)} |")
    names = ("ensemble", SINGLE_META, SOFT_VOTING, HARD_VOTING, SVM, "best member, chosen before", "in hindsight")
    return [
        "",
        "Macro-F1 of the ensemble beside other ways to make one answer of its members'. The best member is chosen on "
        "development speakers, as one would have to; in hindsight it is chosen by the very figure that stands here.",
        "",
        f"| protocol | {' | '.join(names)} |",
        f"| :-- | {' | '.join(['--:'] * len(names))} |",
        *rows,
    ]


def _abstention(metrics: Mapping[str, Report]) -> list[str]:
    rows = []
    for protocol, report in metrics.items():
        among_its_own = report["models"][ENSEMBLE].get("abstention")
        among_all = report.get("abstention_in_use")
        for said, held in (("", among_its_own), (", choosing among all classes", among_all)):
            if held is not None and held["accuracy"] is not None:
                gain = _points_bounded(held["gain"], held["gain_low"], held["gain_high"])
                rows.append(
                    f"| {protocol}{said} | {100 * held['coverage']:.1f} % | {100 * held['accuracy']:.1f} % "
                    f"| {100 * held['accuracy_of_all']:.1f} % | {gain} |"
                )
    return _table(
        "Accuracy where a label is claimed, at the threshold of the confidence, and with a label for everything: over "
        "the classes that a corpus has, unless it is said that the ensemble chose among all of its own, as in use.",
        ("protocol", "claimed", "right of that", "right of all", "gain, points (95 % interval)"),
        rows,
    )


def _views(metrics: Mapping[str, Report]) -> list[str]:
    rows = [
        f"| {protocol} | {view} | {compared['examples']} | {compared['reference_macro_f1']:.3f} "
        f"| {compared['macro_f1']:.3f} "
        f"| {_points_bounded(compared['loss'], compared['loss_low'], compared['loss_high'])} |"
        for protocol, report in metrics.items()
        for view, compared in report.get("views", {}).items()
    ]
    return _table(
        "The same clips as another channel would have carried them (telephone: 300 to 3400 Hz, 8 kHz, G.711).",
        ("protocol", "view", "clips", "macro-F1", "macro-F1 in the view", "loss, points (95 % interval)"),
        rows,
    )


def _notes(metrics: Mapping[str, Report]) -> list[str]:
    noted = [
        f"- {protocol}: {' '.join(report['notes'])}" for protocol, report in metrics.items() if report.get("notes")
    ]
    return ["", *noted] if noted else []


def _table(said: str, header: Sequence[str], rows: Sequence[str]) -> list[str]:
    """Nothing at all where no report has such figures; the first column holds words."""
    if not rows:
        return []
    return ["", said, "", f"| {' | '.join(header)} |", f"| :-- | {' | '.join(['--:'] * (len(header) - 1))} |", *rows]


def _bounded(model: Mapping[str, Any], figure: str) -> str:
    low, high = model.get(f"{figure}_low"), model.get(f"{figure}_high")
    return f"{model[figure]:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")


def _points_bounded(value: float, low: float | None, high: float | None) -> str:
    return f"{100 * value:.1f}" + ("" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})")
