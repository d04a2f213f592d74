"""The reference crop: the same face with its mouth most closed, or the crop itself if no reference is similar."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.framing import LOWER_FACE
from tests.worker.clips import portrait
from worker.faces.crop import extract, face_transform
from worker.faces.reference import MAX_DETAIL, ReferenceCrops, SparseFrame, crop_size
from worker.media.colour import ColourMatrix, planes_of_rgb

COLOUR = ColourMatrix.BT601


class Shape:
    image_size = 96
    framing = LOWER_FACE
    keeps_detail = False


class DetailedShape(Shape):
    keeps_detail = True


def sparse_frame(detector, rgb):
    return SparseFrame(planes_of_rgb(rgb, COLOUR), detector.detect(rgb))


def crop_of(one):
    return extract(one.planes, face_transform(one.faces[0].landmarks, LOWER_FACE, 96), COLOUR)


@pytest.fixture(scope="module")
def seen(detector):
    return sparse_frame(detector, portrait())


def test_the_same_face_gets_the_reference_crop(detector, seen):
    later = crop_of(sparse_frame(detector, portrait(shift=6.0)))
    reference = ReferenceCrops.choose([seen], Shape, COLOUR).for_crops(later[None])[0]
    np.testing.assert_array_equal(reference, crop_of(seen))


def test_a_different_crop_is_its_own_reference(seen):
    different = np.random.default_rng(0).integers(0, 255, (1, 96, 96, 3), np.uint8)
    different = np.repeat(np.repeat(different[:, ::24, ::24], 24, axis=1), 24, axis=2)
    np.testing.assert_array_equal(ReferenceCrops.choose([seen], Shape, COLOUR).for_crops(different), different)


def test_nobody_seen_leaves_every_crop_its_own(seen):
    crop = crop_of(seen)[None]
    np.testing.assert_array_equal(ReferenceCrops.choose([], Shape, COLOUR).for_crops(crop), crop)


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
def test_crops_are_as_large_as_the_faces_that_were_filmed(detector, zoom: float, shape: Any, factor: int) -> None:
    face = detector.detect(portrait(320, 320))[0].landmarks
    side_px = 96 / face_transform(face, LOWER_FACE, 96).scale
    scaled = face * (zoom * 80 / side_px)
    assert crop_size([scaled, scaled], shape) == 96 * factor
    assert crop_size([], shape) == 96
