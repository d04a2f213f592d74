from __future__ import annotations

import numpy as np
import pytest

from worker.training_data.shots import split_shots


def _frames(*shots: int) -> list[np.ndarray]:
    """Return flat frames of 96x64; each shot has a grey of its own."""
    return [np.full((96, 96), 40 + 60 * k % 200, np.uint8) for k, count in enumerate(shots) for _ in range(count)]


@pytest.mark.parametrize(
    ("shots", "longest", "most_bytes", "wanted"),
    [
        ((60,), 500, 2**30, [(0, 60)]),
        ((60, 40), 500, 2**30, [(0, 60), (60, 40)]),
        ((60, 10, 40), 500, 2**30, [(0, 60), (70, 40)]),
        ((120,), 50, 2**30, [(0, 50), (50, 50)]),
        ((120,), 500, 40 * 96 * 96, [(0, 40), (40, 40), (80, 40)]),
        ((60,), 500, 1, [(0, 25), (25, 25)]),
        ((24,), 500, 2**30, []),
        ((), 500, 2**30, []),
    ],
)
def test_shots_end_at_cuts_and_at_limits(
    shots: tuple[int, ...], longest: int, most_bytes: int, wanted: list[tuple[int, int]]
) -> None:
    assert [(shot.first, len(shot.frames)) for shot in split_shots(_frames(*shots), longest, most_bytes)] == wanted
