from __future__ import annotations

import numpy as np
import pytest

from model.runs import find_runs


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("", []),
        ("...", []),
        ("###", [(0, 3)]),
        ("#..##.#", [(0, 1), (3, 5), (6, 7)]),
        (".##.", [(1, 3)]),
    ],
)
def test_runs_are_found(flags: str, wanted: list[tuple[int, int]]) -> None:
    found = find_runs(np.array([flag == "#" for flag in flags], bool))
    assert found.shape == (len(wanted), 2) and [tuple(run) for run in found.tolist()] == wanted
