"""The inside of a person's mouth: borrowed from a smile or modelled, and carried with the head and its light."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.face_points import LEFT_CORNERS, LOWER_LIP_RINGS, RIGHT_CORNERS, UPPER_LIP_RINGS
from model.framing import LOWER_FACE
from model.interior import Interior
from tests.worker.clips import portrait
from worker.faces.crop import Transform, extract_rgb, face_transform, fit_affine
from worker.faces.detect import Face, FaceDetector
from worker.faces.interior import Interiors
from worker.faces.likeness import Likeness
from worker.faces.reference import SeenFace
from worker.faces.reference_face import ReferenceFace

SIZE = 192


@pytest.fixture(scope="module")
def face(detector: FaceDetector) -> Face:
    """A face that shows its teeth."""
    return detector.detect(portrait())[0]


def placed(face: Face) -> Transform:
    return face_transform(face.landmarks, LOWER_FACE, SIZE)


@pytest.fixture(scope="module")
def smile(face: Face) -> ReferenceFace:
    transform = placed(face)
    crop, depths = extract_rgb(portrait(), transform), face.depths * np.float32(transform.scale)
    return ReferenceFace(crop, transform.apply(face.landmarks).astype(np.float32), depths, 0.1)


def inside(interiors: Interiors, face: Face, crop: np.ndarray, person: int = 0) -> Interior | None:
    points = placed(face).apply(face.landmarks)
    return interiors.for_faces([SeenFace(crop, points, Likeness.of(crop, points), person)])[0]


def difference(smile: ReferenceFace, interior: Interior) -> float:
    """Return by how much the opaque part of the upper layer differs from the film inside the lips, in levels."""
    shown = interior.read(interior.upper, (0.0, 0.0), (SIZE, SIZE))
    mouth = np.zeros((SIZE, SIZE), np.uint8)
    ring = [LEFT_CORNERS[0], *UPPER_LIP_RINGS[0], RIGHT_CORNERS[0], *reversed(LOWER_LIP_RINGS[0])]
    cv2.fillPoly(mouth, [np.rint(smile.landmarks[ring]).astype(np.int32)], (1,))
    seen = mouth.astype(bool) & (shown[..., 3] > 250)
    assert seen.sum() > 100
    return float(np.abs(shown[..., :3] - smile.crop.astype(int))[seen].mean())


def test_teeth_are_borrowed_from_a_smile_and_lie_where_they_were_filmed(face: Face, smile: ReferenceFace) -> None:
    interiors = Interiors.choose([smile.with_closed_lips()], [smile], LOWER_FACE)
    found = inside(interiors, face, smile.crop)
    assert found is not None
    assert difference(smile, found) < 17


def test_teeth_are_modelled_where_none_were_filmed(face: Face, smile: ReferenceFace) -> None:
    resting = smile.with_closed_lips()
    found = inside(Interiors.choose([resting], [resting], LOWER_FACE), face, smile.crop)
    assert found is not None
    assert difference(smile, found) > 25
    skin = smile.crop[SIZE // 3 : SIZE // 2].mean()
    upper = found.read(found.upper, (0.0, 0.0), (SIZE, SIZE))
    teeth = upper[upper[..., 3] > 250][:, :3]
    assert 0.6 * skin < np.percentile(teeth.mean(axis=1), 90) < 1.3 * skin


def test_a_face_that_was_not_seen_before_has_no_interior(face: Face, smile: ReferenceFace) -> None:
    interiors = Interiors.choose([smile.with_closed_lips()], [smile], LOWER_FACE)
    assert inside(interiors, face, smile.crop, person=1) is None
    assert inside(interiors, face, np.ascontiguousarray(smile.crop[::-1])) is None
    assert inside(Interiors.choose([], [], LOWER_FACE), face, smile.crop) is None


def test_an_interior_takes_the_light_of_the_face(face: Face, smile: ReferenceFace) -> None:
    interiors = Interiors.choose([smile.with_closed_lips()], [smile], LOWER_FACE)
    bright, dark = (inside(interiors, face, cv2.convertScaleAbs(smile.crop, alpha=gain)) for gain in (1.0, 0.85))
    assert bright is not None and dark is not None
    np.testing.assert_allclose(dark.light / bright.light, 0.85, atol=0.03)


def test_an_interior_moves_with_the_skull(face: Face, smile: ReferenceFace) -> None:
    interiors = Interiors.choose([smile.with_closed_lips()], [smile], LOWER_FACE)
    points = placed(face).apply(face.landmarks)
    likeness = Likeness.of(smile.crop, points)
    still, moved = interiors.for_faces([SeenFace(smile.crop, points + by, likeness, 0) for by in (0.0, [3.0, -2.0])])
    assert still is not None and moved is not None
    np.testing.assert_allclose(moved.moved_lip - still.moved_lip, [3.0, -2.0], atol=0.01)


def test_the_best_affine_map_is_found() -> None:
    wanted = np.array([[1.1, 0.2, 5.0], [-0.1, 0.9, -3.0]])
    points = np.random.default_rng(1).uniform(0, 100, (30, 2))
    np.testing.assert_allclose(fit_affine(points, points @ wanted[:, :2].T + wanted[:, 2]), wanted, atol=1e-9)
