"""Candidates for references: they are compared as their full crops would be, at a fraction of the cost."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from model.arrays import U8
from model.face_points import LOWER_LIP
from model.framing import LOWER_FACE
from tests.worker.clips import portrait
from worker.faces.candidate import Candidate, blotches, cover_poses, group_by_look
from worker.faces.crop import face_transform
from worker.faces.detect import Face, FaceDetector
from worker.faces.likeness import Likeness
from worker.media.colour import ColourMatrix, planes_of_rgb

COLOUR = ColourMatrix.BT601


@pytest.fixture(scope="module")
def face(detector: FaceDetector) -> Face:
    [found] = detector.detect(portrait())
    return found


def candidate(rgb: U8, face: Face, size: int = 192) -> Candidate:
    return Candidate(planes_of_rgb(rgb, COLOUR), COLOUR, face, face_transform(face.landmarks, LOWER_FACE, size))


def blurred(sigma: float) -> U8:
    return np.asarray(cv2.GaussianBlur(portrait(), (0, 0), sigma), np.uint8)


@pytest.mark.parametrize("size", [96, 192, 480])
def test_a_candidate_is_compared_as_its_full_crop_would_be(face: Face, size: int) -> None:
    one = candidate(portrait(), face, size)
    full = Likeness.of(one.crop(), one.landmarks)
    for part in ("upper", "lower"):
        off = np.abs(getattr(one.likeness, part) - getattr(full, part))
        assert off.mean() < 1.0, f"{part} {off.mean():.2f}"
        assert off.max() < 6.0, f"{part} {off.max():.2f}"


def test_sharpness_is_that_of_the_lower_half_of_the_full_crop(face: Face) -> None:
    one, soft = candidate(portrait(), face), candidate(blurred(2.0), face)
    seen = [cv2.cvtColor(each.crop()[96:], cv2.COLOR_RGB2GRAY) for each in (one, soft)]
    edges = [cv2.Laplacian(picture, cv2.CV_32F) for picture in seen]
    ratio = float(np.square(edges[0]).mean() / np.square(edges[1]).mean())
    assert ratio > 2
    assert one.sharpness / soft.sharpness == pytest.approx(ratio, rel=0.4)


@pytest.mark.parametrize(
    ("pictures", "gaps", "best"),
    [((0.0, 2.0, 2.0), (0, 0, 0), 0), ((2.0, 0.0, 0.0), (0, 0, 30), 1), ((0.0, 0.0, 0.0), (20, 20, 0), 2)],
    ids=["sharp", "closed and sharp", "closed"],
)
def test_the_main_reference_is_sharp_and_its_lips_are_closed(
    face: Face, pictures: tuple[float, ...], gaps: tuple[int, ...], best: int
) -> None:
    faces = []
    for sigma, gap in zip(pictures, gaps, strict=True):
        landmarks = face.landmarks.copy()
        landmarks[LOWER_LIP, 1] += gap
        faces.append(candidate(blurred(sigma) if sigma else portrait(), replace(face, landmarks=landmarks)))
    assert cover_poses(faces)[0] is faces[best]


def patchy(rgb: U8, levels: float) -> U8:
    """Return a picture with patches of red and green that leave its luma as it is."""
    noise = np.random.default_rng(1).standard_normal((rgb.shape[0] // 6 + 1, rgb.shape[1] // 6 + 1)).astype(np.float32)
    patches = cv2.resize(noise, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(rgb + levels * patches * np.array([0.587, -0.299, 0.0]) / 0.587, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("number", [3, 7])
def test_a_face_with_patches_of_colour_is_no_reference(face: Face, number: int) -> None:
    faces = []
    for place in range(number):
        landmarks = face.landmarks.copy()
        landmarks[LOWER_LIP, 1] += place and 4  # the first one has its lips closed, but is patchy
        picture = portrait() if place else patchy(portrait(), 12.0)
        faces.append(candidate(picture, replace(face, landmarks=landmarks)))
    assert blotches(faces)[0] > 0.5 and not blotches(faces)[1:].any()
    assert cover_poses(faces)[0] is faces[1]


def test_what_is_sharper_has_no_patches(face: Face) -> None:
    soft, sharp = candidate(blurred(2.0), face), candidate(portrait(), face)
    assert not blotches([soft, soft, soft, sharp]).any()
    assert not blotches([sharp, sharp, soft]).any()


def test_a_grey_film_has_no_patches(face: Face) -> None:
    grey = np.repeat(cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    faces = [candidate(picture, face) for picture in (grey, grey, grey, patchy(grey, 0.8))]
    assert faces[0].roughness == 0 < faces[-1].roughness
    assert not blotches(faces).any()


def test_faces_that_look_alike_are_grouped_and_the_largest_group_comes_first(face: Face) -> None:
    blue = np.asarray(portrait() * np.array([0.4, 0.9, 0.9]), np.uint8)
    faces = [candidate(picture, face) for picture in (blue, portrait(), portrait())]
    assert group_by_look(faces) == [faces[1:], faces[:1]]
    assert cover_poses([]) == []


def test_lower_halves_of_one_colour_are_compared_without_a_warning(face: Face) -> None:
    flat = portrait().copy()
    flat[int(face.landmarks[LOWER_LIP, 1]) - 40 :] = 90
    faces = [candidate(picture, face) for picture in (flat, flat, portrait())]
    assert [one.sharpness > 0 for one in faces] == [False, False, True]
    assert cover_poses(faces) == faces[:1]
