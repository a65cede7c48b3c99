"""Audio without speech, and what is made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from benchmarks import quiet
from benchmarks.long_runs import Seconds
from benchmarks.quiet import claims_of, hear_nothing
from benchmarks.vad_signals import Signal, not_speech
from streaming.config import Settings
from streaming.recognition.recognizer import load_recognizer
from tests.fakes.recognizer import FakeRecognizer
from tests.fakes.shell import silence, speech
from tests.fakes.vad import LoudnessVad

SECONDS_OF_EACH = 4.0
"""Long enough for a ringing tone, a bar of music and several interims."""


def signal(name: str, *parts: NDArray[np.float32]) -> Signal:
    nothing = np.zeros(0, dtype=np.bool_)
    return Signal(name, np.concatenate(parts), nothing, nothing)


@contextmanager
def unseen(_description: str, _total_s: float) -> Iterator[Seconds]:
    yield lambda _seconds: None


async def test_what_is_made_of_audio_is_counted_interims_too() -> None:
    signals = [signal("nothing", silence(2.0)), signal("noise", silence(0.5), speech(2.5), silence(1.0))]

    quiet_row, loud_row = await hear_nothing(Settings(), FakeRecognizer, signals, progress=unseen, vad=LoudnessVad)

    assert (quiet_row.segments, quiet_row.transcripts, quiet_row.emotions, quiet_row.words) == (0, 0, 0, "")
    assert loud_row.segments == 1
    assert loud_row.transcripts >= 2
    assert loud_row.emotions >= 2
    assert loud_row.words.startswith("word1 word2")
    assert [claim.holds for claim in claims_of([quiet_row])] == [True, True]
    assert [claim.holds for claim in claims_of([quiet_row, loud_row])] == [False, False]


async def test_what_the_recogniser_finds_no_words_in_is_nothing() -> None:
    mute = FakeRecognizer(lambda _request: "")

    (row,) = await hear_nothing(
        Settings(), lambda: mute, [signal("noise", speech(1.0), silence(1.0))], progress=unseen, vad=LoudnessVad
    )

    assert row.segments == 1
    assert [claim.holds for claim in claims_of([row])] == [True, True]


@pytest.mark.parametrize(("hears", "code"), [(True, 1), (False, 0)])
def test_the_command_fails_where_something_was_heard(
    hears: bool, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_speech(seconds: float) -> list[Signal]:
        return [signal("tone", speech(seconds) if hears else silence(seconds))]

    monkeypatch.setattr(quiet, "not_speech", no_speech)
    monkeypatch.setattr(quiet, "load_recognizer", lambda _settings: FakeRecognizer())
    monkeypatch.setattr(quiet, "make_vad", LoudnessVad)

    done = CliRunner().invoke(quiet.main, ["--minutes", "0.05", "--json", "--out", str(tmp_path)])

    assert done.exit_code == code, done.output
    report = json.loads(done.stdout)
    assert report["benchmark"] == "quiet"
    assert [claim["holds"] for claim in report["settings"]["claims"]] == [not hears] * 2
    (file,) = tmp_path.glob("quiet-*.json")
    assert json.loads(file.read_text(encoding="utf-8")) == report


@pytest.mark.weights
async def test_nothing_is_heard_in_silence_noise_tones_and_music() -> None:
    settings = Settings()

    rows = await hear_nothing(settings, lambda: load_recognizer(settings), not_speech(SECONDS_OF_EACH), progress=unseen)

    assert len(rows) == len(not_speech(0.1))
    assert [row for row in rows if row.transcripts or row.emotions] == []
