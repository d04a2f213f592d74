"""Promises are kept or named."""

from __future__ import annotations

import pytest

from model.evaluate import ROWS, evaluate, rows
from model.judges import Judges
from model.promises import PEOPLE, PUPPETS, broken, summary
from tests.model.test_evaluate import Actor


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


def test_rows_without_anything_break_everything() -> None:
    empty = rows([], Judges())
    assert [row["name"] for row in empty] == list(ROWS)
    assert len(broken(empty, PUPPETS)) == len(PUPPETS)
    assert "unknown" in summary(empty)
