from __future__ import annotations

import numpy as np
import pytest

from worker.faces.track import TrackedFrame
from worker.pipeline.synthesis import OutputFrame, batches


def frames(*faces: int) -> list[OutputFrame]:
    """Return frames with these numbers of faces."""
    planes, face = np.zeros((3, 2), np.uint8), np.zeros((468, 2), np.float32)
    return [
        OutputFrame(number, planes, {0: TrackedFrame(number, planes, [face] * count)})
        for number, count in enumerate(faces)
    ]


@pytest.mark.parametrize(
    ("faces", "crops", "sizes"),
    [
        ([1] * 20, 8, [8, 8, 4]),
        ([1] * 3, 1, [1, 1, 1]),
        ([0] * 25, 8, [16, 9]),
        ([3, 3, 3, 3, 3], 4, [2, 2, 1]),
        ([], 8, []),
    ],
)
def test_batches_end_with_enough_faces(faces: list[int], crops: int, sizes: list[int]) -> None:
    made = list(batches(frames(*faces), crops))
    assert [len(batch) for batch in made] == sizes
    assert [frame.number for batch in made for frame in batch] == list(range(len(faces)))
