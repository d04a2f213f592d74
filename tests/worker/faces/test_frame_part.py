from __future__ import annotations

import numpy as np
import pytest

from worker.faces.frame_part import FramePart, square_part, tiles, whole_frame
from worker.faces.frame_view import PlanesView, RgbView
from worker.media.colour import ColourMatrix, planes_of_rgb

SPOT = (130, 70)  # x, y of a white square of 4 px in a grey frame


def spotted(width: int = 320, height: int = 240) -> np.ndarray:
    rgb = np.full((height, width, 3), 60, np.uint8)
    rgb[SPOT[1] : SPOT[1] + 4, SPOT[0] : SPOT[0] + 4] = 255
    return rgb


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("size", [(320, 240), (1000, 500)])
@pytest.mark.parametrize("corner", [(0, 0), (100, 40)])
def test_what_a_turned_picture_shows_is_placed_in_the_frame(
    turns: int, size: tuple[int, int], corner: tuple[int, int]
) -> None:
    rgb = spotted(*size)
    part = FramePart(*corner, size[0] - corner[0], size[1] - corner[1], turns)
    for view in (RgbView(rgb), PlanesView(planes_of_rgb(rgb, ColourMatrix.BT601), ColourMatrix.BT601)):
        picture = part.picture(view)
        rows, columns = np.nonzero(picture[..., 1] > 0.6 * picture.max())
        factor = part.length_px(picture)[0] / picture.shape[1]
        seen = np.array([[columns.mean() + 0.5, rows.mean() + 0.5]]) * factor
        assert part.to_frame(seen, picture)[0] == pytest.approx((SPOT[0] + 2, SPOT[1] + 2), abs=0.6 * factor)


def test_a_quarter_turn_is_to_the_left() -> None:
    rgb = np.zeros((20, 40, 3), np.uint8)
    rgb[:, 20:] = 200
    picture = whole_frame(RgbView(rgb), 1).picture(RgbView(rgb))
    assert picture.shape == (40, 20, 3) and picture[:20].min() == 200 and picture[20:].max() == 0


@pytest.mark.parametrize(("center", "side"), [((160.0, 120.0), 80.0), ((3.0, 3.0), 81.0), ((318.0, 239.0), 40.0)])
def test_a_square_stays_inside_the_frame(center: tuple[float, float], side: float) -> None:
    part = square_part(RgbView(spotted()), center, side, 1)
    assert 0 <= part.left < part.left + part.width <= 320 and 0 <= part.top < part.top + part.height <= 240
    assert all(edge % 2 == 0 for edge in (part.left, part.top, part.width, part.height))


def test_tiles_cover_the_frame() -> None:
    view = RgbView(np.zeros((1080, 1920, 3), np.uint8))
    covered = np.zeros((1080, 1920), bool)
    for part in tiles(view):
        covered[part.top : part.top + part.height, part.left : part.left + part.width] = True
    assert covered.all()
