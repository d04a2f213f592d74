"""The points of the face mesh agree with the lists of mediapipe."""

from __future__ import annotations

from itertools import chain

import pytest
from mediapipe.python.solutions import face_mesh_connections as mediapipe_lists

from model import face_points


@pytest.mark.parametrize(
    ("names", "points"),
    [
        (["LIPS"], {*face_points.LIP_EDGES}),
        (["FACE_OVAL"], {*face_points.FACE_OVAL}),
        (
            ["LEFT_EYE", "RIGHT_EYE"],
            {*face_points.EYE_CORNERS, *face_points.UPPER_LIDS, *face_points.LOWER_LIDS},
        ),
    ],
)
def test_contours_are_those_of_mediapipe(names: list[str], points: set[int]) -> None:
    known = chain.from_iterable(getattr(mediapipe_lists, f"FACEMESH_{name}") for name in names)
    assert points == set(chain.from_iterable(known))


def test_brows_are_points_of_mediapipe() -> None:
    known = {*mediapipe_lists.FACEMESH_LEFT_EYEBROW, *mediapipe_lists.FACEMESH_RIGHT_EYEBROW}
    assert {*face_points.LEFT_BROW, *face_points.RIGHT_BROW} < set(chain.from_iterable(known))
