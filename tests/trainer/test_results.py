from __future__ import annotations

import json
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from models.emotions import LabelSet
from models.errors import FeatureError
from trainer.errors import MetricError
from trainer.report import Table, write_report
from trainer.results import Result, restrict, score

LABELS = LabelSet(("angry", "sad", "neutral"))
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
TRUE = np.array([0, 1, 1, 2])
SPEAKERS = ["a", "a", "b", "c"]


def scored(name: str = "ensemble") -> Result:
    rated = np.array([[1.0, 2, 3], [2, 3, 4], [3, 4, 5], [np.nan, np.nan, np.nan]])
    predicted = np.array([[1.0, 3, 3], [2, 4, 3], [3, 5, 3], [7, 7, 7]])
    return score(name, PROBABILITIES, TRUE, LABELS, speakers=SPEAKERS, attributes=(rated, predicted))


class TestScore:
    def test_everything_is_measured_on_the_strongest_class(self) -> None:
        result = scored()
        assert result.examples == 4
        assert result.accuracy == 0.75
        np.testing.assert_array_equal(result.confusion, [[1, 0, 0], [1, 1, 0], [0, 0, 1]])
        assert result.classes.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
        assert result.macro_f1_interval is not None
        assert result.macro_f1_interval.low <= result.classes.macro_f1 <= result.macro_f1_interval.high

    def test_attributes_are_measured_where_they_were_rated(self) -> None:
        measured = scored().concordance
        assert measured["arousal"] == pytest.approx(1.0)
        assert measured["valence"] == pytest.approx((4 / 3) / (7 / 3))
        assert measured["dominance"] == 0.0

    def test_without_speakers_or_ratings_there_is_no_interval_and_no_concordance(self) -> None:
        unrated = np.full((4, 3), np.nan)
        result = score("m", PROBABILITIES, TRUE, LABELS, attributes=(unrated, np.ones((4, 3))))
        assert result.macro_f1_interval is None
        assert result.concordance == {}
        assert score("m", PROBABILITIES, TRUE, LABELS, speakers=["a"] * 4).macro_f1_interval is None

    @pytest.mark.parametrize(
        ("probabilities", "speakers", "message"),
        [
            (PROBABILITIES[:, :2], None, "3 labels"),
            (PROBABILITIES[:3], None, "4 examples"),
            (PROBABILITIES * 2, None, "sum to 1"),
            (PROBABILITIES * np.nan, None, "sum to 1"),
            (PROBABILITIES, ["a", "b"], "2 speakers for 4 examples"),
        ],
    )
    def test_what_does_not_fit_together_is_refused(
        self, probabilities: np.ndarray, speakers: list[str] | None, message: str
    ) -> None:
        with pytest.raises(MetricError, match=message):
            score("m", probabilities, TRUE, LABELS, speakers=speakers)


class TestRestrict:
    def test_what_remains_is_renormalised_in_the_order_asked_for(self) -> None:
        kept = restrict(PROBABILITIES, LABELS, LabelSet(("neutral", "angry")))
        np.testing.assert_allclose(kept[0], [1 / 9, 8 / 9])
        np.testing.assert_allclose(kept.sum(axis=1), 1.0)

    def test_a_row_with_nothing_left_becomes_uniform(self) -> None:
        kept = restrict(np.array([[0.0, 1.0, 0.0]]), LABELS, LabelSet(("neutral", "angry")))
        np.testing.assert_allclose(kept, [[0.5, 0.5]])

    def test_a_label_the_model_has_not_is_refused(self) -> None:
        with pytest.raises(FeatureError, match="'happy'"):
            restrict(PROBABILITIES, LABELS, LabelSet(("angry", "happy")))


class Tags(HTMLParser):
    """Balance of tags, text, and the sources of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


class TestReport:
    @pytest.fixture(scope="class")
    @staticmethod
    def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("report") / "new"
        write_report(
            folder, [scored(), scored("a | member")], title="RAVDESS <5-fold>", notes=["Acted speech & no more."]
        )
        return folder

    def test_json_holds_every_figure(self, folder: Path) -> None:
        written = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        assert [result["name"] for result in written["results"]] == ["ensemble", "a | member"]
        first = written["results"][0]
        assert first["macro_f1"] == pytest.approx(7 / 9, abs=1e-4)
        assert first["macro_f1_low"] <= first["macro_f1"] <= first["macro_f1_high"]
        assert first["per_class"]["sad"] == {"precision": 1.0, "recall": 0.5, "f1": 0.6667, "support": 2}
        assert first["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
        assert set(first["ccc"]) == {"arousal", "valence", "dominance"}
        assert {"uar", "ece", "accuracy", "risk_coverage_area"} <= first.keys()

    def test_markdown_has_a_row_a_model_and_a_row_a_class(self, folder: Path) -> None:
        text = (folder / "report.md").read_text(encoding="utf-8")
        assert "| ensemble | 4 | 0.778 |" in text
        assert r"| a \| member | 4 |" in text
        assert "| sad | 1.000 | 0.500 | 0.667 | 2 |" in text
        assert "- Acted speech & no more." in text
        for picture in re.findall(r"\]\((\w+\.png)\)", text):
            assert (folder / picture).is_file()

    def test_html_stands_alone_with_its_pictures_and_escapes_what_it_is_given(self, folder: Path) -> None:
        tags = Tags()
        tags.feed((folder / "report.html").read_text(encoding="utf-8"))
        assert tags.open == []
        assert "RAVDESS <5-fold>" in tags.text
        assert "Acted speech & no more." in tags.text
        assert len(tags.images) == 3
        assert all(source.startswith("data:image/png;base64,") for source in tags.images)

    @pytest.mark.parametrize("name", ["confusion.png", "reliability.png", "risk_coverage.png"])
    def test_pictures_are_png_of_a_readable_size(self, folder: Path, name: str) -> None:
        data = (folder / name).read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", data[16:24])
        assert width > 300
        assert height > 300

    def test_a_report_of_nothing_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MetricError, match="at least one result"):
            write_report(tmp_path, [])


def test_a_table_escapes_what_would_end_a_cell() -> None:
    table = Table(("a", "b"), (("x|y", "<z>"),))
    assert table.markdown() == "| a | b |\n| :-- | --: |\n| x\\|y | <z> |"
    assert "<td>x|y</td><td>&lt;z&gt;</td>" in table.html()
