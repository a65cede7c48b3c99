from __future__ import annotations

import struct
import sys

import pytest

from tests.fakes.evaluations import measurement
from trainer.breakdown import PartScores
from trainer.canvas import DARK, LIGHT, Theme, drawing, readable_on
from trainer.errors import TrainerError
from trainer.report.pictures import confusion_picture, speakers_picture
from trainer.report.sections import Picture, sections_of

MEASURED = measurement()
PICTURES = [picture for section in sections_of(MEASURED) for picture in section.pictures]


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize("picture", PICTURES, ids=[picture.file for picture in PICTURES])
def test_every_picture_is_of_a_readable_size_and_other_on_a_dark_page(picture: Picture) -> None:
    light = picture.draw(LIGHT)
    width, height = size_of(light)
    assert width > 500
    assert height > 200
    assert picture.draw(DARK) != light


def test_the_same_figures_give_the_same_bytes() -> None:
    assert confusion_picture(MEASURED.ensemble, LIGHT) == confusion_picture(MEASURED.ensemble, LIGHT)


def test_a_picture_of_very_many_speakers_does_not_grow_without_end() -> None:
    parts = tuple(PartScores(f"s{i}", 5, 3, i / 1000, i / 1000) for i in range(1000))
    assert size_of(speakers_picture(parts, LIGHT))[1] < 1600


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_digits_stand_out_from_their_cells(theme: Theme) -> None:
    assert readable_on((1.0, 1.0, 1.0, 1.0)) == LIGHT.ink
    assert readable_on((0.0, 0.0, 0.0, 1.0)) == DARK.ink
    assert theme.ink != theme.paper


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(TrainerError, match=r"install medusa-live\[train\]"), drawing(LIGHT, 1, 1):
        pass
