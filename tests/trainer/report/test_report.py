"""The report as files: what stands in which, and that the page needs nothing but itself."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.fakes.evaluations import measurement, scored_set
from trainer.breakdown import PartScores
from trainer.evaluation import Evaluation
from trainer.measurement import measure
from trainer.report.sections import LISTED_SPEAKERS, sections_of
from trainer.report.writing import write_report

SECTIONS = [
    "Summary",
    "Aggregations compared",
    "Classes",
    "Calibration",
    "Abstention",
    "Waveform views",
    "Duration of speech",
    "Speakers",
    "Most confidently wrong",
]


class Page(HTMLParser):
    """Balance of tags, text, pictures, and everything a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.text = ""
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]
        self.anchors |= {given["id"] or ""} if "id" in given else set()
        if tag == "img":
            self.images.append(given)
        elif tag not in ("meta", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new"
    write_report(folder, measurement(note="Acted speech & no more."))
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


class TestPage:
    def test_it_is_whole_and_escapes_what_it_is_given(self, page: Page) -> None:
        assert page.open == []
        assert "made up <5 folds>" in page.text
        assert "Acted speech & no more." in page.text

    def test_it_fetches_nothing(self, page: Page, folder: Path) -> None:
        assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.fetched)
        text = (folder / "report.html").read_text(encoding="utf-8")
        assert "url(" not in text
        assert "@import" not in text
        assert not {"script", "link", "iframe"} & set(page.tags)

    def test_its_links_lead_to_its_sections(self, page: Page) -> None:
        links = {address[1:] for address in page.fetched if address.startswith("#")}
        assert len(links) == len(SECTIONS)
        assert links <= page.anchors

    def test_every_picture_is_there_for_a_light_and_a_dark_page_and_says_what_it_shows(self, page: Page) -> None:
        assert len(page.images) == 6
        assert page.tags.count("source") == 6
        assert all((image["alt"] or "").strip() for image in page.images)

    def test_it_is_made_for_phones_and_for_both_schemes(self, folder: Path) -> None:
        text = (folder / "report.html").read_text(encoding="utf-8")
        assert 'name="viewport" content="width=device-width' in text
        assert "@media (prefers-color-scheme: dark)" in text

    def test_every_table_has_a_caption(self, page: Page) -> None:
        assert page.tags.count("table") == page.tags.count("caption") == 8

    def test_speakers_and_mistakes_stand_in_it(self, page: Page) -> None:
        assert "made_up/s3" in page.text
        assert "The 20 wrong predictions of highest confidence" in page.text


class TestSections:
    def test_there_is_one_for_each_thing_measured(self) -> None:
        assert [section.title for section in sections_of(measurement())] == SECTIONS

    def test_what_was_not_measured_has_none(self) -> None:
        words = measure("p", Evaluation({"clean": scored_set(speakers=0, spoken=False)}))
        assert [s.title for s in sections_of(words)] == [
            s for s in SECTIONS if s not in ("Waveform views", "Duration of speech", "Speakers")
        ]

    def test_abstention_is_also_told_of_an_ensemble_that_may_say_what_the_corpus_has_not(self) -> None:
        def rows(labels: int) -> list[str]:
            sections = sections_of(measure("p", Evaluation({"clean": scored_set(labels=labels)})))
            (section,) = (s for s in sections if s.title == "Abstention")
            return [row[0] for row in section.tables[0].rows]

        assert rows(4) == ["the 4 of the corpus"]
        assert rows(3) == ["the 3 of the corpus", "all of the bundle, as in use"]

    def test_a_long_list_of_speakers_is_cut_and_says_so(self) -> None:
        many = tuple(PartScores(f"s{i}", 4, 2, 0.5, 0.5) for i in range(70))
        (section,) = (s for s in sections_of(replace(measurement(), speakers=many)) if s.title == "Speakers")
        assert len(section.tables[0].rows) == LISTED_SPEAKERS
        assert section.tables[0].caption.startswith("The 50 of 70 speakers")

    def test_what_was_said_has_a_column_only_where_it_was_asked_for(self) -> None:
        silent, quoted = (sections_of(measurement(said=said))[-1].tables[0] for said in (None, "what was said"))
        assert "text" not in silent.header
        assert quoted.header[4] == "text"
        assert {row[4] for row in quoted.rows} == {"what was said"}

    def test_loss_in_another_view_is_in_points(self) -> None:
        measured = measurement()
        (section,) = (s for s in sections_of(measured) if s.title == "Waveform views")
        ((view, clips, _, _, loss, interval),) = section.tables[0].rows
        assert (view, clips) == ("telephone", "240")
        assert float(loss) == pytest.approx(100 * measured.view_differences[0].loss, abs=0.051)
        assert re.fullmatch(r"[+-]\d+\.\d to [+-]\d+\.\d", interval)


class TestFiles:
    def test_json_holds_every_figure(self, folder: Path) -> None:
        measured = measurement(note="Acted speech & no more.")
        assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == measured.as_mapping()
        assert json.loads((folder / "figures.json").read_text(encoding="utf-8")) == measured.figures()

    def test_markdown_is_a_summary_that_names_nobody(self, folder: Path) -> None:
        text = (folder / "report.md").read_text(encoding="utf-8")
        assert text.startswith("# made up <5 folds>\n\n## Summary\n\nActed speech & no more.\n\n| model | examples |")
        assert re.search(r"^\| soft voting \| 0\.\d{3} \| [+-]\d", text, re.MULTILINE)
        assert "made_up/" not in text
        shown = re.findall(r"\]\((\w+\.png)\)", text)
        assert shown == ["aggregations.png", "confusion.png", "reliability.png", "risk_coverage.png", "durations.png"]
        assert all((folder / picture).is_file() for picture in shown)

    def test_the_same_figures_give_the_same_files_in_place_of_earlier_ones(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "report.html").write_text("an earlier one")
        written = write_report(tmp_path, measurement(note="Acted speech & no more."))
        assert written.read_bytes() == (folder / "report.html").read_bytes()
