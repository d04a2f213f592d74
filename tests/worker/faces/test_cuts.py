from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.worker.clips import portrait
from worker.faces.cuts import Between, is_cut, leaps, movements, thumbnail
from worker.faces.detect import FaceDetector
from worker.media.colour import ColourMatrix, planes_of_rgb

HEIGHT = 100.0


def faces_at(steps: list[float]) -> list[np.ndarray]:
    """Return faces that move to the right by so many face heights at a time."""
    face = np.random.default_rng(2).uniform(0, HEIGHT, (468, 2)).astype(np.float32)
    return [face + np.array([x * HEIGHT, 0.0], np.float32) for x in np.cumsum([0.0, *steps])]


@pytest.mark.parametrize(
    ("steps", "cuts"),
    [
        ([0.0, 0.0, 0.0, 0.0], []),
        ([0.001, 0.3, 0.002, 0.0], [1]),
        ([0.001, 0.0, 0.002, 0.05], [3]),
        ([0.004, 0.01, 0.006, 0.02], []),  # noise of a small face
        ([0.05, 0.06, 0.06, 0.05], []),  # a fast head
        ([0.02, 0.05, 0.09, 0.11], []),  # and one that becomes faster
        ([0.02, 0.15, 0.02, 0.02], [1]),  # a cut in a pan
        ([0.0, 0.3, 0.3, 0.0], [1, 2]),  # there and back
        ([0.3, 0.3, 0.3, 0.3], []),
        ([0.3, 0.0], [0]),
    ],
)
def test_a_leap_stands_out_from_the_movement_beside_it(steps: list[float], cuts: list[int]) -> None:
    found = leaps(faces_at(steps), HEIGHT)
    assert [number for number, is_leap in enumerate(found) if is_leap] == cuts


def test_an_opening_mouth_is_no_movement_of_the_head() -> None:
    face = faces_at([])[0]
    open_mouth = face.copy()
    open_mouth[[13, 14, 17, 152, 61, 291]] += 20.0
    assert movements([face, open_mouth])[0] == 0.0


def planes(shift: float, turn: float = 1.0, gain: float = 1.0) -> np.ndarray:
    picture = portrait(shift=shift)
    zoomed = cv2.warpAffine(picture, np.array([[turn, 0, 0], [0, turn, 0]]), (320, 320), borderMode=cv2.BORDER_REFLECT)
    return planes_of_rgb(np.clip(zoomed * gain, 0, 255).astype(np.uint8), ColourMatrix.BT601)


@pytest.mark.parametrize(
    ("shown_at", "gain", "is_even"),
    [
        (6.0, 1.0, True),
        (6.0, 0.6, True),  # a darker frame is no other place
        (0.0, 1.0, False),  # the face has not moved yet
        (12.0, 1.0, False),  # it has moved already
    ],
)
def test_a_frame_tells_whether_its_face_is_at_the_interpolated_place(
    detector: FaceDetector, shown_at: float, gain: float, is_even: bool
) -> None:
    (face,) = detector.detect(portrait())
    moved = face.landmarks + np.array([12.0, 0.0], np.float32)
    between = Between((planes(0.0), face.landmarks), (planes(12.0), moved), face.height_px)
    middle = (face.landmarks + moved) / 2
    assert between.is_even(planes(shown_at, gain=gain), 0.5, middle) is is_even


def test_a_face_that_is_away_for_a_moment_is_seen_to_be_away(detector: FaceDetector) -> None:
    (face,) = detector.detect(portrait())
    between = Between((planes(0.0), face.landmarks), (planes(0.0), face.landmarks), face.height_px)
    assert between.is_even(planes(0.0), 0.5, face.landmarks)
    assert not between.is_even(planes(90.0), 0.5, face.landmarks)


@pytest.mark.parametrize(("before", "after", "cut"), [(20, 20, False), (20, 30, False), (20, 60, True)])
def test_a_change_of_the_whole_picture_is_a_cut(before: int, after: int, cut: bool) -> None:
    one, other = (np.full((240 * 3 // 2, 320), level, np.uint8) for level in (before, after))
    assert is_cut(thumbnail(one), thumbnail(other)) is cut
