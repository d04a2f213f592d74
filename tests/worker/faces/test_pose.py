"""The pose of a head: points carried from one view to another, and the map of the pixels between the two."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.arrays import F32
from model.face_points import CHIN, LEFT_CORNER, LIP_EDGES, LOWER_LIP_RINGS, RIGHT_CORNER
from model.known_pixels import own_place
from tests.worker.clips import portrait
from worker.faces.detect import Face, FaceDetector
from worker.faces.pose import NODES, Carrier, carry, pose_angles, warp_shift

SIZE = 192
MOUTH = [*LIP_EDGES, CHIN]


@pytest.fixture(scope="module")
def face(detector: FaceDetector) -> Face:
    """A portrait's face."""
    return detector.detect(portrait())[0]


def turned(face: Face, yaw: float, pitch: float) -> Face:
    """Return a face turned by degrees, a little larger and elsewhere in the picture."""
    a, b = np.radians([yaw, pitch])
    about_y = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    points = np.concatenate([face.landmarks, face.depths[:, None]], axis=1).astype(np.float64)
    middle = points.mean(axis=0)
    moved = (points - middle) @ (about_x @ about_y).T * 1.2 + middle + np.array([20.0, -9.0, 0.0])
    return Face(moved[:, :2].astype(np.float32), face.score, moved[:, 2].astype(np.float32))


def opened(face: Face) -> F32:
    """Return the landmarks of a face with its lower lip and chin moved down by a tenth of its height."""
    landmarks = face.landmarks.copy()
    landmarks[[CHIN, *sum(LOWER_LIP_RINGS, ())], 1] += 0.1 * face.height_px
    return landmarks


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (15, 0), (-25, 0), (0, 12), (20, -10)])
def test_the_resting_mouth_is_carried_into_the_pose_of_a_talking_head(face: Face, yaw: float, pitch: float) -> None:
    view = turned(face, yaw, pitch)
    carried = carry(face, opened(view))
    error = np.linalg.norm(carried - view.landmarks, axis=1) / view.height_px
    assert error[MOUTH].max() < 0.03
    assert error.mean() < 0.01


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (15, 0), (-25, 0), (0, 12), (20, -10)])
def test_the_turn_is_measured_in_degrees(face: Face, yaw: float, pitch: float) -> None:
    view = turned(face, yaw, pitch)
    assert Carrier.of(face).turn(opened(view)) == pytest.approx((yaw, pitch), abs=5.0)
    before, after = pose_angles(face), pose_angles(view)
    assert (after[0] - before[0], after[1] - before[1]) == pytest.approx((yaw, pitch), abs=5.0)


def test_a_face_is_carried_onto_itself(face: Face) -> None:
    np.testing.assert_allclose(carry(face, face.landmarks), face.landmarks, atol=0.01 * face.height_px)


def in_crop(points: F32) -> F32:
    """Return points moved and scaled so that they fill most of a crop of SIZE pixels."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.asarray((points - (low + high) / 2) * (0.8 * SIZE / (high - low).max()) + SIZE / 2, np.float32)


@pytest.mark.parametrize(("yaw", "tolerance"), [(0, 0.01), (15, 0.015), (-20, 0.03)])
def test_the_map_leads_each_point_to_its_place_in_the_reference(face: Face, yaw: float, tolerance: float) -> None:
    there, here = in_crop(face.landmarks), in_crop(turned(face, yaw, 0).landmarks)
    shift = warp_shift(here, there, SIZE)
    assert shift.shape == (NODES, NODES, 2) and shift.dtype == np.float32
    found = cv2.resize(shift, (SIZE, SIZE)) * SIZE + own_place(SIZE)
    lookup = cv2.remap(found, here[:, None, 0] - 0.5, here[:, None, 1] - 0.5, cv2.INTER_LINEAR)[:, 0] + 0.5
    inner = [*LIP_EDGES, LEFT_CORNER, RIGHT_CORNER]
    assert np.linalg.norm(lookup - there, axis=1)[inner].max() < tolerance * SIZE
    across, along = np.diff(found, axis=1)[:-1], np.diff(found, axis=0)[:, :-1]
    assert (across[..., 0] * along[..., 1] - across[..., 1] * along[..., 0]).min() > 0.05


def test_a_map_between_equal_points_moves_nothing(face: Face) -> None:
    points = in_crop(face.landmarks)
    np.testing.assert_allclose(warp_shift(points, points, SIZE), 0.0, atol=1e-5)
