"""Promises are kept or named."""

from __future__ import annotations

import pytest

from model.evaluation.evaluate import ROWS, evaluate
from model.evaluation.learned_metrics import Judges
from model.evaluation.tables import rows
from model.evaluation.thresholds import PEOPLE, PUPPETS, broken, summary
from tests.model.evaluation.test_evaluate import Actor


def judged(way: str) -> list[dict]:
    return rows(evaluate([Actor(0, way), Actor(1, way)], Judges()), Judges())


def test_a_listener_keeps_every_promise() -> None:
    found = judged("listen")
    found[1]["psnr"] = found[1]["psnr"] or 99.0  # nothing differs
    assert broken(found, PUPPETS) == broken(found, PEOPLE) == []
    assert summary(found).startswith("2 clips: aperture r 1 at lag 0, width r 1, silent 0,")


@pytest.mark.parametrize(
    ("way", "measures"),
    [
        ("copy", ["silent_aperture_ratio", "with another's voice"]),
        ("late", ["aperture_r is", "aperture_lag_frames is 3, promised was -1 to 1"]),
        ("still", ["aperture_r is unknown, promised was at least 0.55", "width_r"]),
    ],
)
def test_a_broken_promise_is_named(way: str, measures: list[str]) -> None:
    found = " ".join(broken(judged(way), PEOPLE))
    for measure in measures:
        assert measure in found


def test_lips_that_close_as_often_at_open_sounds_do_not_close_at_p_b_m() -> None:
    found = judged("listen")
    found[1] |= {"bilabials_closed": 0.8, "others_closed": 0.4}
    assert broken(found, PEOPLE) == []
    found[1]["others_closed"] = 0.7
    assert broken(found, PEOPLE) == ["lips are closed at 80% of p b m and at 70% of open sounds"]


def test_rows_without_anything_break_everything() -> None:
    empty = rows([], Judges())
    assert [row["name"] for row in empty] == list(ROWS)
    found_broken = broken(empty, PUPPETS)
    assert len(found_broken) == len(PUPPETS) + 1
    assert found_broken[-1] == "with another's voice nothing is known: judge at least two clips with voices"
    assert "unknown" in summary(empty)
