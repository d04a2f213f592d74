from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut, cat

from model.framing import LOWER_FACE
from tests.worker.clips import portrait
from worker.faces.crop import face_transform, map_points
from worker.faces.detect import MIN_SCORE, DetectorPool, Face, FaceDetector
from worker.faces.frame_view import PlanesView, RgbView
from worker.faces.native_graph import Detection, FullRangeDetector
from worker.media.colour import ColourMatrix, planes_of_rgb


def test_a_face_is_found_where_it_is(detector: FaceDetector) -> None:
    (face,) = detector.detect(astronaut())
    assert face.landmarks.shape == (468, 2)
    assert 95 < face.height_px < 120
    assert face.center == pytest.approx((222, 121), abs=12)
    assert 0.5 < face.score <= 1.0


def test_planes_show_the_same_face(detector: FaceDetector) -> None:
    (expected,) = detector.detect(astronaut())
    (found,) = detector.detect_in(PlanesView(planes_of_rgb(astronaut(), ColourMatrix.BT601), ColourMatrix.BT601))
    assert np.abs(found.landmarks - expected.landmarks).max() < 2.0


def test_each_call_stands_alone(detector: FaceDetector) -> None:
    (first,) = detector.detect(astronaut())
    moved = np.roll(astronaut(), 100, axis=1)
    detector.detect(moved)
    (again,) = detector.detect(astronaut())
    assert np.array_equal(first.landmarks, again.landmarks)


@pytest.mark.parametrize("picture", [cat(), np.zeros((240, 320, 3), np.uint8), np.zeros((64, 4000, 3), np.uint8)])
def test_no_face_is_no_face(detector: FaceDetector, picture: np.ndarray) -> None:
    assert detector.detect(picture) == []


def test_faces_come_from_left_to_right(detector: FaceDetector) -> None:
    one = astronaut()[:300, 80:380]
    faces = detector.detect(np.concatenate([one, one[:, ::-1]], axis=1))
    assert len(faces) == 2
    assert faces[0].center[0] < 300 < faces[1].center[0]


def test_a_small_face_in_a_large_picture_is_found_in_a_tile(detector: FaceDetector) -> None:
    small = cv2.resize(astronaut(), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    picture = np.full((1080, 1920, 3), 90, np.uint8)
    picture[300 : 300 + small.shape[0], 1200 : 1200 + small.shape[1]] = small
    (face,) = detector.detect(picture)
    assert face.center == pytest.approx((1200 + 89, 300 + 48), abs=8)


def test_the_upright_crop_of_a_tilted_head_is_the_crop_of_the_upright_head(detector: FaceDetector) -> None:
    (upright,) = detector.detect(astronaut())
    matrix = cv2.getRotationMatrix2D((222.0, 121.0), 20.0, 1.0)
    (tilted,) = detector.detect(cv2.warpAffine(astronaut(), matrix, (512, 512)).astype(np.uint8))
    a, b = (face_transform(face.landmarks, LOWER_FACE, 96) for face in (upright, tilted))
    turn = np.degrees(np.arctan2(b.matrix[1, 0], b.matrix[0, 0]) - np.arctan2(a.matrix[1, 0], a.matrix[0, 0]))
    assert turn == pytest.approx(20.0, abs=2.5)
    assert b.scale == pytest.approx(a.scale, rel=0.05)


def turned(rgb: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture turned to the right about its middle, and the map (2, 3) of its points."""
    height, width = rgb.shape[:2]
    side = int(np.hypot(height, width))
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0), np.float64)
    matrix[:, 2] += (side / 2 - width / 2, side / 2 - height / 2)
    return cv2.warpAffine(rgb, matrix, (side, side), borderValue=(110, 110, 110)).astype(np.uint8), matrix


def misplaced(face: Face, upright: Face, matrix: np.ndarray) -> float:
    """Return the mean distance of a face from a turned upright one, in face heights."""
    return float(np.hypot(*(face.landmarks - map_points(upright.landmarks, matrix)).T).mean()) / upright.height_px


@pytest.mark.parametrize("degrees", [45, 60, 75, 90, 105, 120, 135, 150, 180, 210, 225, 240, 270, 300, 315])
def test_a_turned_face_is_found_the_right_way_up(detector: FaceDetector, degrees: int) -> None:
    picture = astronaut()[:300, 80:380]
    (upright,) = detector.detect(picture)
    rgb, matrix = turned(picture, degrees)
    (face,) = detector.detect(rgb)
    assert misplaced(face, upright, matrix) < 0.06
    (other,) = detector.detect_in(PlanesView(planes_of_rgb(rgb, ColourMatrix.BT601), ColourMatrix.BT601))
    assert misplaced(other, upright, matrix) < 0.06


def test_a_lying_face_in_a_large_picture_is_found(detector: FaceDetector) -> None:
    large = cv2.resize(astronaut(), (1024, 1024)).astype(np.uint8)
    (upright,) = detector.detect(large)
    picture = np.full((1080, 1920, 3), 90, np.uint8)
    picture[20:1044, 700:1724] = np.rot90(large, -1)
    (face,) = detector.detect(picture)
    quarter = np.array([[0.0, -1.0, 700 + 1024], [1.0, 0.0, 20]])
    assert misplaced(face, upright, quarter) < 0.06


class CountingFullRange(FullRangeDetector):
    """Detector that counts its calls."""

    calls = 0

    def find(self, picture: np.ndarray) -> list[Detection]:
        self.calls += 1
        return super().find(picture)


def test_an_upright_face_is_looked_at_once() -> None:
    with FaceDetector() as own:
        own._detector.close()
        counting = own._detector = CountingFullRange(MIN_SCORE)
        assert own.detect(astronaut()[:300, 80:380])
        assert counting.calls == 1


@pytest.mark.parametrize("turns", [0, 2])
def test_a_face_is_followed_to_its_new_place(detector: FaceDetector, turns: int) -> None:
    def view(shift: int, level: float = 1.0) -> RgbView:
        moved = np.roll(astronaut()[:300, 60:400], shift, axis=1)
        return RgbView(np.ascontiguousarray(np.rot90((moved * level).astype(np.uint8), turns)))

    face, expected = (detector.detect_in(view(shift))[0] for shift in (0, 4))
    found = detector.follow(view(4), face)
    assert found is not None
    assert np.hypot(*(found.landmarks - expected.landmarks).T).mean() < 0.01 * face.height_px
    again = detector.follow(view(8), found)
    assert again is not None
    assert abs(again.landmarks[:, 0] - face.landmarks[:, 0]).mean() == pytest.approx(8, abs=1.0)
    assert detector.follow(view(60), face) is None, "it has moved far"
    assert detector.follow(view(0, 0.0), face) is None, "it is gone"
    assert detector.follow(view(4), replace(face, square=None)) is None, "it was doubtful"


@pytest.mark.parametrize("level", [10, 110, 170, 240])
@pytest.mark.parametrize("from_point", [195, 1, 0])  # bridge of the nose, its tip, upper lip
def test_an_upright_face_with_a_covered_mouth_stays_upright(
    detector: FaceDetector, level: int, from_point: int
) -> None:
    picture = astronaut()[:300, 80:380].copy()
    (bare,) = detector.detect(picture)
    (left, _), (right, bottom) = bare.landmarks.min(axis=0).astype(int), bare.landmarks.max(axis=0).astype(int)
    picture[int(bare.landmarks[from_point, 1]) : bottom, left:right] = level
    assert all(face.landmarks[10, 1] < face.landmarks[152, 1] for face in detector.detect(picture))


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [0, 45, 90, 135, 180, 225, 270, 315])
def test_hardly_any_of_many_faces_is_found_the_wrong_way_up(
    detector: FaceDetector, shared_dir: Path, degrees: int
) -> None:
    found = []
    for path in sorted((shared_dir / "media" / "faces").glob("*.jpg"))[::4]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        upright = max(detector.detect(picture), key=lambda face: face.height_px)
        rgb, matrix = turned(picture, degrees)
        found.append(min((misplaced(face, upright, matrix) for face in detector.detect(rgb)), default=None))
    assert sum(one is not None and one < 0.08 for one in found) >= 0.95 * len(found)
    assert sum(one is not None and one > 0.15 for one in found) <= 0.03 * len(found)


def test_real_pictures_of_two_people(detector: FaceDetector, shared_dir: Path) -> None:
    rgb = np.asarray(Image.open(shared_dir / "media" / "clips" / "two_people.jpg").convert("RGB"))
    assert len(detector.detect(rgb)) == 2


def test_a_lent_detector_is_lent_again_and_closed_at_the_end() -> None:
    with DetectorPool() as pool:
        with pool.borrow() as first:
            pass
        with pool.borrow() as again, pool.borrow() as other:
            assert again is first and other is not first
    with pytest.raises(RuntimeError, match="StartRun"):  # a closed graph takes no pictures
        first.detect(np.zeros((96, 96, 3), np.uint8))


def test_a_detector_is_not_lent_again_after_an_error() -> None:
    with DetectorPool() as pool:
        with pytest.raises(KeyError), pool.borrow() as first:
            raise KeyError
        with pool.borrow() as second:
            assert second is not first


def test_several_threads_find_what_one_finds(detector: FaceDetector) -> None:
    pictures = [portrait(shift=shift) for shift in range(0, 24, 2)]
    expected = [detector.detect(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(detector.detect, pictures))
    assert [len(faces) for faces in found] == [len(faces) for faces in expected]
    for faces, others in zip(found, expected, strict=True):
        for face, other in zip(faces, others, strict=True):
            np.testing.assert_array_equal(face.landmarks, other.landmarks)
            assert face.score == other.score
