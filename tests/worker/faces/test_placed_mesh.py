"""The mesh reads a face whose place is known as the detector does."""

from __future__ import annotations

import numpy as np
import pytest

from model.face_points import LIP_EDGES
from model.framing import LOWER_FACE
from tests.worker.clips import portrait
from worker.faces.crop import face_transform
from worker.faces.detect import FaceDetector
from worker.faces.lips import read_lips
from worker.faces.placed_mesh import SQUARE_PX
from worker.media.colour import ColourMatrix, planes_of_rgb


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_lips_are_read_where_the_detector_sees_them(shift: float, detector: FaceDetector) -> None:
    frame = portrait(shift=shift)
    face = detector.detect(frame)[0].landmarks
    planes = planes_of_rgb(frame, ColourMatrix.BT709)
    lips = read_lips(detector.placed_mesh, planes, ColourMatrix.BT709, face)
    assert lips is not None and lips.shape == (40, 2)
    transform = face_transform(face, LOWER_FACE, 96)
    seen = transform.apply(face[list(LIP_EDGES)]) * LOWER_FACE.side / 96 + (LOWER_FACE.left, LOWER_FACE.top)
    assert np.abs(lips - seen).mean() < 0.03
    again = read_lips(detector.placed_mesh, planes, ColourMatrix.BT709, face)
    assert again is not None and np.array_equal(lips, again), "calls are independent"


def test_a_square_without_a_face_has_no_landmarks(detector: FaceDetector) -> None:
    assert detector.placed_mesh.fit(np.full((SQUARE_PX, SQUARE_PX, 3), 128, np.uint8)) is None
