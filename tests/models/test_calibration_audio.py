"""Audio that a user gives for engines of reduced precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.calibration_audio import CalibrationAudio, beside_clips, single_clips
from models.errors import EngineError
from models.modalities import Modality
from models.windows import SAMPLE_RATE_HZ
from tests.fakes.bundles import tiny_clips
from tests.fakes.corpora import write_tone


def test_every_file_of_a_folder_is_cut_into_pieces(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    write_tone(tmp_path / "a.wav", seconds=17, rate_hz=8_000)
    write_tone(tmp_path / "deeper" / "b.WAV", seconds=3)
    (tmp_path / "notes.txt").write_text("no audio")
    audio = CalibrationAudio.read(tmp_path)
    assert [piece.size / SAMPLE_RATE_HZ for piece in audio.pieces] == [8, 8, 1, 3]


def test_a_quarter_is_heard_by_the_check_alone() -> None:
    recordings = [np.full(1000, number, np.float32) for number in range(9)]
    audio = CalibrationAudio.of(recordings)
    assert [piece[0] for piece in audio.held_out] == [3, 7]
    assert [piece[0] for piece in audio.measured] == [0, 1, 2, 4, 5, 6, 8]


def test_other_samples_have_another_name() -> None:
    recordings = [np.full(1000, number, np.float32) for number in range(4)]
    assert CalibrationAudio.of(recordings).sha256 == CalibrationAudio.of(recordings).sha256
    assert CalibrationAudio.of(recordings).sha256 != CalibrationAudio.of(recordings[::-1]).sha256


def test_what_is_shorter_than_a_frame_counts_for_nothing() -> None:
    with pytest.raises(EngineError, match="3 pieces of speech of up to 8 s are too few"):
        CalibrationAudio.of([np.zeros(1000, np.float32)] * 3 + [np.zeros(399, np.float32)])


def test_a_folder_that_is_none_or_holds_no_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nowhere: no such folder"):
        CalibrationAudio.read(tmp_path / "nowhere")
    with pytest.raises(EngineError, match=r"holds no audio: \.aac, .*\.wav are read"):
        CalibrationAudio.read(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", seconds=1)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(EngineError, match=r"a\.wav: is cut short.*take it out of the folder"):
        CalibrationAudio.read(tmp_path)


MODALITIES = (
    Modality("acoustic", "acoustic", "whisper-base", 512),
    Modality("prosody", "acoustic", "prosody", 52),
    Modality("text", "linguistic", "minilm-l6", 384),
)


def test_each_piece_goes_with_what_a_clip_holds_for_those_that_do_not_hear() -> None:
    pieces = [np.full(500 + number, 0.1, np.float32) for number in range(3)]
    rows = list(beside_clips(pieces, {"acoustic"}, tiny_clips(5, tokens=True), MODALITIES))
    assert [row["acoustic"].lengths.tolist() for row in rows] == [[500], [501], [502]]
    assert all(row.keys() == {"acoustic", "prosody", "text"} for row in rows)
    # Spread over all of them: those of the first clip have words and no voice.
    assert [bool(row["prosody"].lengths[0]) for row in rows].count(False) <= 1


def test_without_clips_pieces_stand_alone() -> None:
    (row,) = beside_clips([np.zeros(500, np.float32)], {"acoustic"}, None, MODALITIES)
    assert row.keys() == {"acoustic"}


def test_clips_come_one_by_one_and_unpadded() -> None:
    rows = single_clips(tiny_clips(5), MODALITIES)
    assert len(rows) == 5
    for row in rows:
        assert all(batch.sequence.shape[1] == max(1, int(batch.lengths[0])) for batch in row.values())
