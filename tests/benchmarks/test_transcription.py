"""The comparison with plain faster-whisper."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.spoken_clips import Clip, CorpusFormatError, load_clips
from benchmarks.transcription import compare, main, plain_text

CLIPS = Path(__file__).parents[1] / "data" / "librispeech"


def clip(words: str, seconds: float = 1.0) -> Clip:
    return Clip(Path("nowhere.flac"), np.zeros(round(16_000 * seconds), np.float32), words)


def always(text: str):  # type: ignore[no-untyped-def]
    def transcribe(clips: Sequence[Clip]) -> list[str]:
        return [text] * len(clips)

    return transcribe


def test_text_is_compared_without_case_and_punctuation() -> None:
    assert plain_text("Well, I don’t — know!") == "well i don't know"  # noqa: RUF001 - an apostrophe


def test_every_way_gets_a_row_over_all_clips() -> None:
    clips = [clip("one two", 2.0) for _ in range(50)]

    right, wrong = compare(clips, {"right": always("One, two."), "wrong": always("one three")})

    assert (right.clips, right.audio_s, right.wer) == (50, 100.0, 0.0)
    assert wrong.wer == 0.5


def test_only_repeats_the_speaker_did_not_make_are_counted() -> None:
    twice = "tear down the fence tear down the fence"

    (row,) = compare([clip(twice), clip("tear down the fence")], {"echo": always(twice)})

    assert row.repeating == 1


def test_clips_are_read_with_their_words() -> None:
    (first,) = load_clips(CLIPS, 1)

    assert first.reference == "you don't mean that you thought me so silly"
    assert len(first.samples) == 45_360


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), ("", "lists no clips"), ("a.flac no tab\n", r"refs.tsv:1: expected a path, a tab")],
)
def test_a_corpus_of_another_form_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "refs.tsv").write_text(content)

    with pytest.raises(CorpusFormatError, match=message):
        load_clips(tmp_path)


def test_a_wrong_corpus_is_one_line_on_stderr(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--corpus", str(tmp_path)])

    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.weights
def test_the_comparison_runs_with_real_weights() -> None:
    result = CliRunner().invoke(main, ["--corpus", str(CLIPS), "--clips", "4", "--json"])

    report = json.loads(result.stdout)
    rows = {row["transcriber"]: row for row in report["results"]}
    analyze, alone, batched, plain = (
        rows[name] for name in ("medusa analyze", "its transcriber", "its transcriber, batches of 8", "faster-whisper")
    )
    assert report["machine"]["cores"] >= 1
    assert alone["wer"] == batched["wer"]
    # 35 words: two points, which hold over a hundred clips, would be less than one of them.
    assert max(analyze["wer"], alone["wer"]) <= plain["wer"] + 0.05
    assert rows["medusa analyze --jobs 1"]["wer"] == analyze["wer"]
    assert alone["cpu_s"] < plain["cpu_s"]
    assert analyze["repeating"] == alone["repeating"] == 0
