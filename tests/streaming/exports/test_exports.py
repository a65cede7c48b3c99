"""What was found in recordings, in the formats of other programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from models.emotions import MSP8
from streaming.analyze import FileResult
from streaming.audio.loudness import LOUDNESS_STEP_S, Loudness
from streaming.errors import ExportError
from streaming.exports.call_picture import call_picture
from streaming.exports.folder import ExportFolder
from streaming.exports.formats import FORMATS

EMOTIONML = "{http://www.w3.org/2009/10/emotionml}"
SVG = "{http://www.w3.org/2000/svg}"
LABELS = MSP8.names


def row(
    start_s: float = 1.0,
    end_s: float = 3.5,
    text: str = "well then",
    *,
    label: str | None = "angry",
    scored: bool = True,
    channel: int = 0,
    role: str = "customer",
) -> dict[str, Any]:
    scores = {name: 0.65 if name == "angry" else 0.05 for name in LABELS}
    return {
        "file": "calls/a call.wav",
        "channel": channel,
        "role": role,
        "start_s": start_s,
        "end_s": end_s,
        "label": label if scored else None,
        "scores": scores if scored else {},
        "attributes": {"arousal": 7.0, "valence": 1.0, "dominance": 4.0} if scored else None,
        "confidence": 0.65 if scored else 0.0,
        "abstained": label is None or not scored,
        "text": text,
        "language": "en",
    }


NOBODY = {**row(0.0, 3.0, "", scored=False), "channel": None, "role": None, "language": None}


def document(name: str, *rows: dict[str, Any], error: str | None = None) -> str:
    form = FORMATS[name]
    result = FileResult(Path("calls/a call.wav"), list(rows), error)
    return form.head(LABELS) + form.body(result, LABELS) + form.tail


class TestCsv:
    def test_every_row_has_a_cell_for_every_column(self) -> None:
        rows = list(csv.DictReader(io.StringIO(document("csv", row(), row(scored=False, role="agent"), NOBODY))))
        assert [one["label"] for one in rows] == ["angry", "", ""]
        assert [one["score_angry"] for one in rows] == ["0.65", "", ""]
        assert [one["arousal"] for one in rows] == ["7.0", "", ""]
        assert [one["abstained"] for one in rows] == ["false", "true", "true"]
        assert all(None not in one and None not in one.values() for one in rows)
        assert [name for name in rows[0] if name.startswith("score_")] == [f"score_{name}" for name in LABELS]

    @pytest.mark.parametrize("text", ['she said "no", twice', "two\nlines", "ünï—cödé"])
    def test_words_come_back_as_they_were(self, text: str) -> None:
        (only,) = csv.DictReader(io.StringIO(document("csv", row(text=text))))
        assert only["text"] == text

    @pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
    def test_words_are_nobodys_formula(self, text: str) -> None:
        (only,) = csv.DictReader(io.StringIO(document("csv", row(text=text))))
        assert only["text"] == f"'{text}"

    def test_negative_numbers_stay_numbers(self) -> None:
        (only,) = csv.DictReader(io.StringIO(document("csv", row(start_s=-0.5))))
        assert float(only["start_s"]) == -0.5


class TestVtt:
    def test_a_cue_says_who_how_and_what(self) -> None:
        assert document("vtt", row()) == (
            "WEBVTT\n\n00:00:01.000 --> 00:00:03.500\n<v customer><c.angry>[angry 65%] well then</c>\n\n"
        )

    def test_hours_are_counted(self) -> None:
        assert "01:01:01.250 --> 01:01:02.000" in document("vtt", row(3661.25, 3662.0))

    def test_who_abstains_is_not_sure_and_who_is_not_scored_only_speaks(self) -> None:
        told = document("vtt", row(label=None), row(4.0, 5.0, scored=False, role="agent", channel=1))
        assert "<v customer><c.unsure>[not sure] well then</c>" in told
        assert "<v agent>well then\n" in told

    def test_cues_are_in_the_order_of_time_and_voices_of_one_role_are_told_apart(self) -> None:
        told = document("vtt", row(5.0, 6.0, "later"), row(1.0, 2.0, "sooner", channel=1))
        assert re.findall(r"<v ([^>]+)>.*(later|sooner)", told) == [("customer 1", "sooner"), ("customer 0", "later")]

    @pytest.mark.parametrize("text", ["a --> b", "<i>hm</i> & so", "one\n\ntwo", "\x1b[31mred"])
    def test_words_cannot_break_a_cue(self, text: str) -> None:
        told = document("vtt", row(text=text), row(4.0, 5.0))
        blocks = told.removesuffix("\n\n").split("\n\n")
        assert len(blocks) == 3
        assert all(len(block.splitlines()) == 2 and block.count("-->") == 1 for block in blocks[1:])
        assert "\x1b" not in told

    def test_where_nobody_speaks_there_is_no_cue(self) -> None:
        assert document("vtt", NOBODY) == "WEBVTT\n\n"


class TestEmotionMl:
    def read(self, *rows: dict[str, Any]) -> ElementTree.Element:
        return ElementTree.fromstring(document("emotionml", *rows))  # noqa: S314 - our own

    def test_categories_and_dimensions_are_of_the_vocabularies_that_the_document_declares(self) -> None:
        root = self.read(row())
        declared = {
            vocabulary.attrib["id"]: {item.attrib["name"] for item in vocabulary}
            for vocabulary in root.iter(f"{EMOTIONML}vocabulary")
        }
        told = {one.attrib["name"] for one in root.iter(f"{EMOTIONML}category")}
        assert told == declared[root.attrib["category-set"].removeprefix("#")] == set(LABELS)
        told = {one.attrib["name"] for one in root.iter(f"{EMOTIONML}dimension")}
        assert told == declared[root.attrib["dimension-set"].removeprefix("#")]

    def test_values_go_from_0_to_1(self) -> None:
        root = self.read(row())
        values = {one.attrib["name"]: one.attrib["value"] for one in root.iter(f"{EMOTIONML}dimension")}
        assert values == {"arousal": "1.0000", "valence": "0.0000", "dominance": "0.5000"}
        scores = {one.attrib["name"]: float(one.attrib["value"]) for one in root.iter(f"{EMOTIONML}category")}
        assert scores == row()["scores"]

    def test_only_the_class_that_was_claimed_has_a_confidence(self) -> None:
        for label in ("angry", None):
            sure = [
                one for one in self.read(row(label=label)).iter(f"{EMOTIONML}category") if "confidence" in one.attrib
            ]
            assert [one.attrib["name"] for one in sure] == ([label] if label else [])

    def test_where_it_lies_is_a_fragment_of_the_recording(self) -> None:
        (place,) = self.read(row()).iter(f"{EMOTIONML}reference")
        assert place.attrib == {"role": "expressedBy", "uri": "calls/a%20call.wav#t=1.000,3.500"}

    def test_words_are_text_whatever_they_are(self) -> None:
        root = self.read(row(text="<b>&amp;\x00\x1b"))
        (speech,) = root.iter("{urn:medusa-live:speech}speech")
        assert speech.text is not None
        assert speech.text.startswith("<b>&amp;")
        assert speech.attrib["role"] == "customer"

    def test_what_was_not_scored_is_no_emotion(self) -> None:
        assert list(self.read(row(scored=False), NOBODY).iter(f"{EMOTIONML}emotion")) == []


def test_jsonl_tells_what_could_not_be_recognised() -> None:
    lines = [json.loads(line) for line in document("jsonl", row(), error="too bad").splitlines()]
    assert lines == [row(), {"file": "calls/a call.wav", "error": "too bad"}]


class TestPicture:
    def draw(self, *rows: dict[str, Any], duration_s: float = 40.0, channels: int = 1) -> ElementTree.Element:
        peaks = np.full((channels, round(duration_s / LOUDNESS_STEP_S)), 0.5, dtype=np.float32)
        return ElementTree.fromstring(  # noqa: S314 - our own
            call_picture("a <call>", Loudness(peaks), rows, duration_s)
        )

    def texts(self, picture: ElementTree.Element) -> list[str]:
        return [element.text or "" for element in picture.iter(f"{SVG}text")]

    def bands(self, picture: ElementTree.Element, colour: str) -> list[dict[str, str]]:
        found = picture.iter(f"{SVG}rect")
        return [
            dict(box.attrib) for box in found if box.attrib["class"] == colour and box.find(f"{SVG}title") is not None
        ]

    def test_a_segment_has_the_colour_of_its_emotion_and_its_place_in_time(self) -> None:
        (early,) = self.bands(self.draw(row(0.0, 3.0)), "angry")
        (late,) = self.bands(self.draw(row(15.0, 21.0)), "angry")
        assert float(late["width"]) == pytest.approx(2 * float(early["width"]), abs=0.2)
        assert float(late["x"]) - float(early["x"]) == pytest.approx(5 * float(early["width"]), abs=0.5)

    def test_a_pointer_that_rests_on_it_shows_all_of_it(self) -> None:
        hints = [title.text or "" for title in self.draw(row()).iter(f"{SVG}title")]
        assert any(hint.startswith("angry, 1.00 to 3.50 s: well then (angry 0.65, ") for hint in hints)

    def test_a_segment_that_goes_on_in_the_next_line_is_drawn_in_both_and_its_words_once(self) -> None:
        picture = self.draw(row(28.0, 33.0))
        first, second = self.bands(picture, "angry")
        assert float(first["y"]) < float(second["y"])
        assert float(first["x"]) > float(second["x"])
        assert sum(text == "well then" for text in self.texts(picture)) == 1

    def test_the_curves_are_three(self) -> None:
        picture = self.draw(row(), row(5.0, 6.0))
        for name in ("arousal", "valence", "dominance"):
            assert sum(path.attrib["class"] == f"{name}-line" for path in picture.iter(f"{SVG}path")) == 1

    def test_words_that_find_no_room_are_cut(self) -> None:
        said = " ".join(["word"] * 100)
        texts = [text for text in self.texts(self.draw(row(text=said), row(5.0, 6.0))) if text.startswith("word")]
        assert len(texts) == 3
        assert texts[-1].endswith("…")
        assert all(len(text) < 28 for text in texts)

    def test_words_have_the_room_until_the_next(self) -> None:
        said = "a short word, and many more that were said in no time at all"
        assert said in self.texts(self.draw(row(1.0, 1.4, said), row(20.0, 21.0)))

    def test_the_legend_names_what_is_there(self) -> None:
        texts = self.texts(self.draw(row(), row(5.0, 6.0, label=None)))
        assert {"angry", "not sure", "arousal", "customer"} <= set(texts)
        assert "sad" not in texts

    @pytest.mark.parametrize(("channels", "duration_s"), [(1, 0.0), (1, 0.01), (2, 29.99), (2, 30.0), (3, 61.0)])
    def test_nothing_leaves_the_picture(self, channels: int, duration_s: float) -> None:
        rows: Sequence[dict[str, Any]] = [row(0.0, duration_s, channel=channel) for channel in range(channels)]
        picture = self.draw(*rows, duration_s=duration_s, channels=channels)
        width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
        for box in picture.iter(f"{SVG}rect"):
            assert 0 <= float(box.attrib["x"]) <= float(box.attrib["x"]) + float(box.attrib["width"]) <= width
            assert 0 <= float(box.attrib["y"]) + float(box.attrib["height"]) <= height
        for text in picture.iter(f"{SVG}text"):
            assert 0 <= float(text.attrib["y"]) <= height


class TestLoudness:
    def test_each_step_has_its_largest_deflection(self) -> None:
        samples = np.zeros((2, 16_000), dtype=np.float32)
        samples[0, 320] = -0.5
        samples[1, 15_999] = 2.0
        peaks = Loudness.of(samples, 16_000).peaks
        assert peaks.shape == (2, 50)
        assert (peaks[0, 1], peaks[0].sum()) == (0.5, 0.5)
        assert (peaks[1, 49], peaks[1].sum()) == (1.0, 1.0)

    @pytest.mark.parametrize("rate_hz", [8000, 11_025, 44_100, 12_345])
    def test_its_steps_are_as_long_at_any_rate(self, rate_hz: int) -> None:
        assert Loudness.of(np.zeros((1, rate_hz * 7), dtype=np.float32), rate_hz).peaks.shape[1] in (350, 351)

    def test_no_audio_is_no_steps(self) -> None:
        assert Loudness.of(np.zeros((1, 0), dtype=np.float32), 16_000).peaks.shape == (1, 0)


class TestFolder:
    def test_files_are_called_like_their_recordings(self, tmp_path: Path) -> None:
        recording = Path("calls/monday.wav")
        folder = ExportFolder(tmp_path / "new" / "folder", [recording], ".vtt")
        folder.write(recording, "WEBVTT\n\n")
        assert (tmp_path / "new" / "folder" / "monday.vtt").read_text() == "WEBVTT\n\n"

    def test_recordings_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        recordings = [
            Path(name) for name in ("a/x.wav", "b/x.wav", "b/x.mp3", "b/y.wav", "X.wav", "../x.wav", "/x.wav")
        ]
        folder = ExportFolder(tmp_path, recordings, ".csv")
        names = {path: folder.path(path).name for path in recordings}
        assert len({name.casefold() for name in names.values()}) == len(recordings)
        assert names[Path("b/y.wav")] == "y.csv"
        assert names[Path("a/x.wav")] == "a-x.wav.csv"
        assert all(folder.path(path).parent == tmp_path for path in recordings)

    def test_a_folder_that_cannot_be_made_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ExportError, match="cannot make the folder"):
            ExportFolder(tmp_path / "file" / "folder", [], ".csv")

    def test_a_file_that_cannot_be_written_is_said(self, tmp_path: Path) -> None:
        folder = ExportFolder(tmp_path, [Path("a.wav")], ".csv")
        (tmp_path / "a.csv").mkdir()
        with pytest.raises(ExportError, match="cannot write"):
            folder.write(Path("a.wav"), "")
