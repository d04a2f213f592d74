"""Comparison of faces by their colours at the points of the mesh."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.arrays import U8
from model.framing import LOWER_FACE
from tests.worker.clips import portrait
from worker.faces.crop import extract_rgb, face_transform
from worker.faces.detect import FaceDetector
from worker.faces.likeness import Likeness, covered_mouths

SIZE = 192


def likeness(detector: FaceDetector, picture: U8) -> Likeness:
    face = detector.detect(picture)[0]
    transform = face_transform(face.landmarks, LOWER_FACE, SIZE)
    return Likeness.of(extract_rgb(picture, transform), transform.apply(face.landmarks))


def toned(gain: tuple[float, float, float], offset: float = 0.0) -> U8:
    return np.asarray(np.clip(portrait() * np.array(gain) + offset, 0, 255), np.uint8)


@pytest.mark.parametrize(
    ("picture", "same"),
    [
        (portrait(shift=7.0), True),
        (toned((0.7, 0.7, 0.7), 10.0), True),
        (toned((0.4, 0.9, 0.9)), False),
        (np.ascontiguousarray(portrait()[:, :, ::-1]), False),
    ],
)
def test_the_same_face_is_known_in_other_light(detector: FaceDetector, picture: U8, same: bool) -> None:
    assert likeness(detector, picture).is_same(likeness(detector, portrait())) == same


def test_a_smooth_patch_is_nobodys_face(detector: FaceDetector) -> None:
    picture = portrait()
    face = detector.detect(picture)[0]
    transform = face_transform(face.landmarks, LOWER_FACE, SIZE)
    points = transform.apply(face.landmarks)
    crop = extract_rgb(picture, transform)
    other = np.ascontiguousarray(crop[::-1])
    assert not Likeness.of(other, points).is_same(Likeness.of(crop, points))


def test_the_table_gives_one_face_the_tone_of_another(detector: FaceDetector) -> None:
    one, two = likeness(detector, portrait()), likeness(detector, toned((0.8, 0.75, 0.7), 12.0))
    table = one.tone_table(two)
    assert table.shape == (1, 256, 3)
    levels = np.rint(one.upper).astype(np.uint8)
    given = cv2.LUT(levels[None], table)[0].astype(np.float32)
    assert np.abs(given - two.upper).mean() < 2.5 < np.abs(one.upper - two.upper).mean()
    np.testing.assert_allclose(one.tone_table(one)[0], np.arange(256)[:, None].repeat(3, 1), atol=1)


@pytest.mark.parametrize(("free", "hidden", "expected"), [(4, 1, 1), (2, 2, 0), (1, 0, 0), (0, 0, 0), (9, 2, 2)])
def test_the_odd_ones_out_are_covered(detector: FaceDetector, free: int, hidden: int, expected: int) -> None:
    face = likeness(detector, portrait())
    hand = Likeness(face.upper, face.lower[::-1] * np.float32(0.4))
    assert covered_mouths([face] * free + [hand] * hidden) == [False] * (free + hidden - expected) + [True] * expected


def test_another_person_who_is_seen_less_often_is_not_covered(detector: FaceDetector) -> None:
    one = likeness(detector, portrait())
    rng = np.random.default_rng(0)
    other = Likeness(one.upper[::-1] * 0.8 + rng.normal(0, 4, one.upper.shape).astype(np.float32), one.lower - 60.0)
    assert not one.is_same(other)
    assert covered_mouths([one] * 10 + [other] * 2) == [False] * 12
    hand = Likeness(one.upper, one.lower - 60.0)
    assert covered_mouths([one] * 10 + [hand]) == [False] * 10 + [True]
