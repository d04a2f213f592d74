"""Lips that are apart are closed; all else stays where it is."""

from __future__ import annotations

import numpy as np
import pytest

from model.arrays import F64, U8
from model.face_points import BELOW_NOSE, CHIN, LOWER_LIP_RINGS, UPPER_LIP_RINGS
from model.framing import LOWER_FACE
from tests.worker.clips import portrait
from worker.faces.closing import close_lips
from worker.faces.crop import extract_rgb, face_transform
from worker.faces.detect import FaceDetector, mouth_size
from worker.faces.frame_view import RgbView

SIZE = 192


@pytest.fixture(scope="module")
def smile(detector: FaceDetector) -> tuple[U8, F64]:
    """The crop of a face that shows its teeth, and its landmarks."""
    face = detector.detect(portrait())[0]
    transform = face_transform(face.landmarks, LOWER_FACE, SIZE)
    return extract_rgb(portrait(), transform), transform.apply(face.landmarks)


def test_the_mesh_finds_closed_lips(detector: FaceDetector, smile: tuple[U8, F64]) -> None:
    crop, points = smile
    closed, moved = close_lips(crop, points)
    again = detector.fit_mesh(RgbView(closed), (SIZE / 2, SIZE * 0.4), 1.7 * SIZE, 1.0)
    assert again is not None
    before, after = mouth_size(points)[0], mouth_size(again.landmarks)[0]
    assert after < 0.35 * before
    assert mouth_size(moved)[0] < 0.25 * before


def test_nose_and_chin_stay_and_lips_keep_their_height(smile: tuple[U8, F64]) -> None:
    crop, points = smile
    closed, moved = close_lips(crop, points)
    nose, chin = int(points[list(BELOW_NOSE), 1].min()), int(points[CHIN, 1]) + 2
    np.testing.assert_array_equal(closed[:nose], crop[:nose])
    np.testing.assert_array_equal(closed[chin:], crop[chin:])
    for rings in (UPPER_LIP_RINGS, LOWER_LIP_RINGS):
        heights = [abs(at[rings[3][4], 1] - at[rings[0][4], 1]) for at in (points, moved)]
        assert heights[1] == pytest.approx(heights[0], abs=0.02 * SIZE)


def test_lips_that_are_closed_stay_as_they_are(smile: tuple[U8, F64]) -> None:
    crop, points = smile
    shut = points.copy()
    for upper, lower in zip(UPPER_LIP_RINGS[0], LOWER_LIP_RINGS[0], strict=True):
        shut[lower] = shut[upper]
    closed, moved = close_lips(crop, shut)
    np.testing.assert_array_equal(closed, crop)
    np.testing.assert_allclose(moved, shut, atol=1e-3)
