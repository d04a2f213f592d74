from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from tests.worker.clips import portrait
from worker.faces.crop import extract, square_transform
from worker.faces.frame_view import PlanesView
from worker.media.colour import ColourMatrix, planes_of_rgb

COLOUR = ColourMatrix.BT709


@pytest.mark.parametrize("has_overview", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("center", "side"),
    [
        ((700.0, 400.0), 120.0),  # enlarged
        ((700.0, 400.0), 400.0),
        ((640.5, 350.25), 700.0),  # cut out of a reduced copy
        ((640.0, 360.0), 1600.0),
        ((30.0, 700.0), 640.0),  # beyond the edge
    ],
)
def test_a_square_shows_what_the_whole_frame_would(
    center: tuple[float, float], side: float, turns: int, has_overview: bool
) -> None:
    picture = cv2.GaussianBlur(cv2.resize(astronaut(), (1280, 720), interpolation=cv2.INTER_CUBIC), (0, 0), 4)
    planes = planes_of_rgb(picture.astype(np.uint8), COLOUR)
    view = PlanesView(planes, COLOUR)
    if has_overview:
        view.overview(0, 0, 1280, 720, 4)
    transform = square_transform(center, side, 256, turns)
    places = transform.invert(np.argwhere(np.ones((256, 256)))[:, ::-1] + 0.5)
    inside = ((places > 8) & (places < (1280 - 8, 720 - 8))).all(axis=1)  # a reduced copy has a wider edge
    off = (view.square(transform).astype(int) - extract(planes, transform, COLOUR, 1.0)).reshape(-1, 3)[inside]
    assert np.abs(off).mean() < 1.5
    assert np.abs(off.mean()) < 0.5


def test_colours_of_an_overview_are_exact_to_a_level() -> None:
    rgb = portrait(320, 180)
    shown = PlanesView(planes_of_rgb(rgb, COLOUR), COLOUR).overview(0, 0, 320, 180, 1)
    assert np.abs(shown.astype(int).mean(axis=(0, 1)) - rgb.mean(axis=(0, 1))).max() < 1.0
