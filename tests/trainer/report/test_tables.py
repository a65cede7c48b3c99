from __future__ import annotations

import pytest

from trainer.bootstrap import Interval
from trainer.report.tables import Table, between, figure, points, points_between, share


def test_a_table_escapes_what_would_end_a_cell() -> None:
    table = Table(("a", "b"), (("x|y", "<z>"),))
    assert table.markdown() == "| a | b |\n| :-- | --: |\n| x\\|y | <z> |"
    assert '<th scope="row" class="word">x|y</th><td>&lt;z&gt;</td>' in table.html()


def test_words_stand_to_the_left_and_figures_to_the_right() -> None:
    table = Table(("a", "b", "c"), (("x", "y", "1"),), words=2)
    assert "| :-- | :-- | --: |" in table.markdown()
    assert '<td class="word">y</td><td>1</td>' in table.html()


def test_a_caption_says_what_it_shows() -> None:
    assert "<table><caption>Of &lt;all&gt;</caption>" in Table(("a",), (), "Of <all>").html()
    assert "caption" not in Table(("a",), ()).html()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (figure(0.66666), "0.667"),
        (figure(None), ""),
        (between(Interval(0.1, 0.25)), "0.100 to 0.250"),
        (between(None), ""),
        (share(0.7581), "75.8 %"),
        (share(None), ""),
        (points(0.0634), "+6.3"),
        (points(-0.0634), "-6.3"),
        (points(-0.0001), "0.0"),
        (points(None), ""),
        (points_between(Interval(-0.01, 0.02)), "-1.0 to +2.0"),
        (points_between(None), ""),
    ],
)
def test_how_a_figure_is_written(written: str, expected: str) -> None:
    assert written == expected
