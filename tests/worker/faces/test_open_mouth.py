"""Teeth of an open mouth: how many are seen, where the upper row ends, and what is cut out."""

from __future__ import annotations

import numpy as np
import pytest

from model.framing import LOWER_FACE
from tests.worker.clips import portrait
from worker.faces.closing import close_lips
from worker.faces.crop import extract_rgb, face_transform
from worker.faces.detect import FaceDetector
from worker.faces.open_mouth import MouthCrop, bright_colour, cut_layers, split_rows, teeth_area, teeth_pixels

SIZE = 192
TOOTH, GAP, LIP = 200, 40, 120


@pytest.fixture(scope="module")
def smile(detector: FaceDetector) -> MouthCrop:
    """A face that shows its upper teeth."""
    face = detector.detect(portrait())[0]
    transform = face_transform(face.landmarks, LOWER_FACE, SIZE)
    return MouthCrop(extract_rgb(portrait(), transform), transform.apply(face.landmarks), SIZE / LOWER_FACE.side)


def closed(mouth: MouthCrop) -> MouthCrop:
    crop, points = close_lips(mouth.crop, mouth.points)
    return MouthCrop(crop, points.astype(np.float64), mouth.unit_px)


def test_a_smile_shows_teeth_and_closed_lips_do_not(smile: MouthCrop) -> None:
    assert teeth_area(smile) > 0.006
    assert teeth_area(closed(smile)) < 0.1 * teeth_area(smile)


def test_teeth_are_bright_and_have_little_colour(smile: MouthCrop) -> None:
    red, green, blue = bright_colour(teeth_pixels(smile))
    assert min(red, green, blue) > 150
    assert max(red, green, blue) - min(red, green, blue) < 50


def test_the_layers_show_the_mouth_as_filmed(smile: MouthCrop) -> None:
    upper, _, lower_area = cut_layers(smile)
    height, width = upper.pixels.shape[:2]
    opaque = upper.pixels[..., 3] == 255
    filmed = smile.crop[upper.top : upper.top + height, upper.left : upper.left + width]
    edge_up, edge_low = smile.lip_edges()
    rows = np.arange(upper.top, upper.top + height)[:, None] + 0.5
    inside = opaque & (rows > edge_up[None]) & (rows < edge_low[None])
    differences = np.abs(upper.pixels[inside][:, :3].astype(int) - filmed[inside]).max(axis=1)
    assert inside.sum() > 300
    assert (differences <= 1).mean() > 0.6  # the rest were lips, which the layer leaves out
    assert upper.pixels[:, [0, -1], 3].max() < 15  # it fades out at the corners
    assert lower_area < 0.003  # her teeth are closed: what is seen are upper teeth


def rows_of_teeth(end: int, start: int) -> np.ndarray:
    """Return a crop of a mouth that is open from row 30 to row 70, with a dark gap between the rows of teeth."""
    crop = np.full((100, 60, 3), LIP, np.uint8)
    crop[30:70] = TOOTH
    crop[end:start] = GAP
    return crop


@pytest.mark.parametrize(("end", "start"), [(50, 56), (45, 60), (58, 62), (48, 70)])
def test_the_upper_row_ends_where_it_becomes_dark(end: int, start: int) -> None:
    edges = np.full(60, 30.0), np.full(60, 70.0)
    split = split_rows(rows_of_teeth(end, start), *edges, 0)
    assert np.abs(split - end).max() < 2.5


def test_closed_teeth_belong_to_the_upper_row() -> None:
    edges = np.full(60, 30.0), np.full(60, 70.0)
    np.testing.assert_array_equal(split_rows(rows_of_teeth(50, 50), *edges, 0), edges[1])
