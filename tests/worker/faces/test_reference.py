"""The references: resting faces of the chosen person, warped onto the pose of each frame."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from model.arrays import U8
from model.composition import FilmedCrops
from model.framing import LOWER_FACE
from tests.worker.clips import portrait
from worker.faces.candidate import CLOSED, MAX_REFERENCES
from worker.faces.crop import extract, face_transform
from worker.faces.detect import Face, FaceDetector, mouth_size
from worker.faces.pose import pose_angles
from worker.faces.reference import MAX_DETAIL, ReferenceCrops, crop_size
from worker.faces.reference_face import ReferenceFace
from worker.faces.subject import SparseFrame, choose_subject
from worker.media.colour import ColourMatrix, planes_of_rgb

COLOUR = ColourMatrix.BT601
ROW = round(96 * LOWER_FACE.hidden_from)


class Shape:
    image_size = 96
    framing = LOWER_FACE
    keeps_detail = False


class DetailedShape(Shape):
    keeps_detail = True


def sparse_frame(detector: FaceDetector, rgb: U8) -> SparseFrame:
    return SparseFrame(planes_of_rgb(rgb, COLOUR), detector.detect(rgb))


def crop_of(one: SparseFrame, face: Face) -> U8:
    return extract(one.planes, face_transform(face.landmarks, LOWER_FACE, 96), COLOUR)


def choose(sparse: list[SparseFrame], choice: str = "largest") -> ReferenceCrops:
    chooser = choose_subject(choice, [frame.faces for frame in sparse])
    return ReferenceCrops.choose(sparse, Shape, COLOUR, chooser)


def reference_for(references: ReferenceCrops, frame: SparseFrame, crop: U8 | None = None) -> U8:
    face = frame.faces[0]
    transform = face_transform(face.landmarks, LOWER_FACE, 96)
    shown = crop_of(frame, face) if crop is None else crop
    return references.for_faces(references.see(FilmedCrops.of(shown[None], 96), [face.landmarks], [transform]))[0].seen


def difference(one: U8, two: U8) -> float:
    return float(np.abs(one[8:-8, 8:-8].astype(int) - two[8:-8, 8:-8]).mean())


def rolled(degrees: float, shift: float = 0.0) -> U8:
    matrix = cv2.getRotationMatrix2D((160, 160), degrees, 1.0)
    return np.asarray(
        cv2.warpAffine(portrait(shift=shift), matrix, (320, 320), borderMode=cv2.BORDER_REFLECT), np.uint8
    )


@pytest.fixture(scope="module")
def seen(detector: FaceDetector) -> SparseFrame:
    return sparse_frame(detector, portrait())


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_single_pixels_of_a_smoothed_copy_are_what_a_network_sees(factor: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    fine = cv2.resize(noise, (96 * factor, 96 * factor), interpolation=cv2.INTER_CUBIC)
    points = np.zeros((468, 2), np.float32)
    face = ReferenceFace(np.asarray(fine, np.uint8), points, points[:, 0], 0.0)
    shrunk = cv2.resize(fine, (96, 96), interpolation=cv2.INTER_AREA)
    read = face.smoothed(96)[1::3, 1::3]
    assert np.abs(read.astype(int) - shrunk).mean() < 2.5


def test_a_smiling_reference_is_closed_first_and_the_open_one_is_kept(
    detector: FaceDetector, seen: SparseFrame
) -> None:
    references = choose([seen])
    [resting], [opened] = references.resting, references.open_candidates
    filmed = crop_of(seen, seen.faces[0])
    np.testing.assert_array_equal(opened.crop, filmed)
    assert opened.aperture == resting.aperture > CLOSED
    assert mouth_size(resting.landmarks)[0] < 0.25 * mouth_size(opened.landmarks)[0]
    teeth = opened.landmarks[[13, 14]].mean(axis=0).astype(int)
    white, red = (crop[teeth[1], teeth[0]].astype(int) for crop in (filmed, resting.crop))
    assert red[0] - red[1] > white[0] - white[1] + 15  # a lip, no longer a tooth
    np.testing.assert_array_equal(resting.crop[:ROW], filmed[:ROW])


def test_the_reference_lies_on_the_face_of_each_frame(detector: FaceDetector, seen: SparseFrame) -> None:
    references = choose([seen])
    expected = references.resting[0].crop
    for later in (portrait(shift=6.0), rolled(10.0), rolled(-14.0, 3.0)):
        assert difference(reference_for(references, sparse_frame(detector, later)), expected) < 6.0


def test_the_reference_has_the_tone_of_the_frame(detector: FaceDetector, seen: SparseFrame) -> None:
    references = choose([seen])
    plain = reference_for(references, seen)
    darker = sparse_frame(detector, (portrait() * np.array([0.7, 0.75, 0.7])).astype(np.uint8))
    found = reference_for(references, darker)
    assert difference(found, (plain * np.array([0.7, 0.75, 0.7])).astype(np.uint8)) < 4.0


def test_a_face_unlike_all_references_gets_its_own_crop(detector: FaceDetector, seen: SparseFrame) -> None:
    references = choose([seen])
    other = np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8).repeat(24, axis=0).repeat(24, axis=1)
    found = reference_for(references, seen, other)
    np.testing.assert_array_equal(found[:ROW], other[:ROW])
    assert difference(found, references.resting[0].crop) > 20


def test_nobody_seen_gives_a_closed_crop_of_its_own(seen: SparseFrame) -> None:
    found = reference_for(choose([]), seen)
    np.testing.assert_array_equal(found, choose([seen]).resting[0].crop)


def test_a_covered_mouth_is_no_reference(detector: FaceDetector, seen: SparseFrame) -> None:
    covered = portrait()
    x, y = seen.faces[0].landmarks[13].astype(int)
    cv2.circle(covered, (int(x), int(y) + 8), 26, (20, 30, 90), -1)
    hidden = SparseFrame(planes_of_rgb(covered, COLOUR), seen.faces)
    sparse = [hidden, *(sparse_frame(detector, portrait(shift=shift)) for shift in (0.0, 2.0, 4.0))]
    references = choose(sparse)
    assert references.covered == pytest.approx(0.25)
    for face in [*references.resting, *references.open_candidates]:
        assert difference(face.crop, crop_of(hidden, hidden.faces[0])) > 5.0


def pair(detector: FaceDetector) -> SparseFrame:
    """Return a frame with the portrait on the left, and in other colours on the right."""
    tinted = portrait()[..., ::-1] // 2
    return sparse_frame(detector, np.ascontiguousarray(np.concatenate([portrait(), tinted], axis=1)))


@pytest.mark.parametrize(("choice", "persons"), [("index:0", {0}), ("index:1", {0}), ("all", {0, 1})])
def test_only_the_chosen_people_are_references(detector: FaceDetector, choice: str, persons: set[int]) -> None:
    frame = pair(detector)
    references = choose([frame, frame], choice)
    assert {face.person for face in references.resting} == persons
    for number, face in enumerate(frame.faces):
        alone = SparseFrame(frame.planes, [face])
        is_chosen = choice in ("all", f"index:{number}")
        own = any(difference(one.crop, crop_of(alone, face)) < 1.0 for one in references.open_candidates)
        assert own == is_chosen


def turned(face: ReferenceFace, degrees: float) -> Face:
    a = np.radians(degrees)
    points = np.concatenate([face.landmarks, face.depths[:, None]], axis=1).astype(np.float64) - [48.0, 48.0, 0.0]
    points = points @ np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]]).T
    return Face((points[:, :2] + 160).astype(np.float32), 0.9, points[:, 2].astype(np.float32))


def test_the_references_cover_the_poses_and_the_nearest_one_is_taken(seen: SparseFrame) -> None:
    [face] = choose([seen]).open_candidates
    sparse = [SparseFrame(seen.planes, [turned(face, degrees)]) for degrees in (-24, -16, -8, 0, 2, 8, 16, 24)]
    references = choose(sparse)
    assert 2 <= len(references.resting) <= MAX_REFERENCES
    yaws = [pose_angles(one)[0] for one in references.resting]
    assert max(yaws) - min(yaws) > 20
    assert abs(yaws[0] - np.median(yaws)) < 15


def test_each_look_has_its_own_reference(detector: FaceDetector, seen: SparseFrame) -> None:
    blue = sparse_frame(detector, np.asarray(portrait() * np.array([0.4, 0.9, 0.9]), np.uint8))
    references = choose([seen, seen, blue])
    assert len(references.resting) == 2
    for frame in (seen, blue):
        found = reference_for(references, frame)
        assert difference(found[:ROW], crop_of(frame, frame.faces[0])[:ROW]) < 3.0


def test_arrays_hold_everything(detector: FaceDetector) -> None:
    frame = pair(detector)
    references = choose([frame, frame], "all")
    again = ReferenceCrops.of_arrays(references.arrays(), Shape, choose_subject("all", [frame.faces]))
    assert (again.size, again.covered) == (references.size, references.covered)
    assert again.movements == references.movements and sorted(again.movements) == [0, 1]
    for one, two in zip(
        [*references.resting, *references.open_candidates], [*again.resting, *again.open_candidates], strict=True
    ):
        np.testing.assert_array_equal(one.crop, two.crop)
        np.testing.assert_array_equal(one.landmarks, two.landmarks)
        np.testing.assert_array_equal(one.depths, two.depths)
        assert (one.aperture, one.person) == (two.aperture, two.person)
    np.testing.assert_array_equal(reference_for(again, frame), reference_for(references, frame))


@pytest.mark.parametrize(
    ("zoom", "shape", "factor"),
    [
        (1, DetailedShape, 1),
        (1.25, DetailedShape, 1),
        (2, DetailedShape, 2),
        (4, DetailedShape, 4),
        (20, DetailedShape, MAX_DETAIL),
        (4, Shape, 1),
    ],
)
def test_crops_are_as_large_as_the_faces_that_were_filmed(
    detector: FaceDetector, zoom: float, shape: Any, factor: int
) -> None:
    face = detector.detect(portrait(320, 320))[0].landmarks
    side_px = 96 / face_transform(face, LOWER_FACE, 96).scale
    scaled = face * (zoom * 80 / side_px)
    assert crop_size([scaled, scaled], shape) == 96 * factor
    assert crop_size([], shape) == 96
