from __future__ import annotations

import cv2
import numpy as np
import pytest

from worker.faces.crop import Transform
from worker.faces.shown_area import SITES, ShownArea

FRAME_PX = (640, 360)
MASK_PX = 96
PLACES = [(0.3, 0.0, 192), (0.6, 0.04, 480), (1.2, -0.3, 288), (2.5, 1.2, 96)]  # scale, turn in radians, crop's side


def placed(scale: float, turn: float, size: int, at: tuple[float, float] = (320.0, 180.0)) -> Transform:
    """Return the transform of a crop around a point of the frame."""
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return Transform(np.concatenate([linear, (size / 2 - linear @ at)[:, None]], axis=1), size)


def soft_mask() -> np.ndarray:
    mask = np.zeros((MASK_PX, MASK_PX), np.uint8)
    cv2.ellipse(mask, (48, 60), (30, 20), 0.0, 0.0, 360.0, (255.0,), -1)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 3.4)
    return np.where(soft < 1 / 128, np.float32(0), soft)


def sites(area: ShownArea, step: int) -> np.ndarray:
    """Return the frame points (h, w, 2) of the pixels of a plane in an area."""
    x = area.left + SITES[step][0] + step * np.arange(area.width // step)
    y = area.top + SITES[step][1] + step * np.arange(area.height // step)
    return np.stack(np.meshgrid(x, y), axis=-1)


def shown_at(mask: np.ndarray, transform: Transform, points: np.ndarray) -> np.ndarray:
    """Return the value of a mask at frame points (..., 2), interpolated."""
    at = transform.apply(points.reshape(-1, 2)).reshape(points.shape) * (len(mask) / transform.size) - 0.5
    return cv2.remap(mask, at[..., 0].astype(np.float32), at[..., 1].astype(np.float32), cv2.INTER_LINEAR)


@pytest.mark.parametrize(("scale", "turn", "size"), PLACES)
@pytest.mark.parametrize("step", [1, 2])
def test_weights_are_those_of_the_mask_at_the_same_place(scale: float, turn: float, size: int, step: int) -> None:
    mask, transform = soft_mask(), placed(scale, turn, size)
    area = ShownArea.of(mask, transform, FRAME_PX)
    assert area is not None
    weights = area.weights(step)
    assert weights.max() == 255
    # a small face has few samples, and chroma may take the weight half a pixel beside it
    tolerance = 0.05 * (max(1.0, scale) if step == 1 else 1.0 + scale)
    np.testing.assert_allclose(weights / 255, shown_at(mask, transform, sites(area, step)), atol=tolerance)


@pytest.mark.parametrize(("scale", "turn", "size"), PLACES)
@pytest.mark.parametrize("at", [(320.0, 180.0), (-10.0, 100.0), (630.0, 350.0)])
def test_nothing_that_is_shown_lies_outside_the_area(
    scale: float, turn: float, size: int, at: tuple[float, float]
) -> None:
    mask, transform = soft_mask(), placed(scale, turn, size, at)
    area = ShownArea.of(mask, transform, FRAME_PX)
    assert area is not None
    edges = (area.left, area.top, area.left + area.width, area.top + area.height)
    assert all(edge % 2 == 0 for edge in edges)
    assert edges[0] >= 0 <= edges[1]
    assert edges[2] <= FRAME_PX[0]
    assert edges[3] <= FRAME_PX[1]
    whole = ShownArea(0, 0, *FRAME_PX, np.zeros((1, 1), np.uint8), 2)
    shown = shown_at(mask, transform, sites(whole, 1))
    inside = shown[area.within(1)].copy()
    assert inside.max() > 0.1
    shown[area.within(1)] = 0.0
    assert shown.max() < 0.03
    assert 0.5 * inside.size < (inside > 0).sum()  # and it is hardly larger than that


@pytest.mark.parametrize("at", [(-2000.0, 180.0), (320.0, 3000.0)])
def test_a_crop_beside_the_frame_shows_nothing(at: tuple[float, float]) -> None:
    assert ShownArea.of(soft_mask(), placed(0.6, 0.04, 480, at), FRAME_PX) is None
    assert ShownArea.of(np.zeros((MASK_PX, MASK_PX), np.float32), placed(0.6, 0.04, 480), FRAME_PX) is None


@pytest.mark.parametrize(("scale", "turn", "size"), PLACES)
@pytest.mark.parametrize("step", [1, 2])
def test_a_crop_is_moved_to_where_its_pixels_lie(scale: float, turn: float, size: int, step: int) -> None:
    transform = placed(scale, turn, size)
    area = ShownArea.of(soft_mask(), transform, FRAME_PX)
    assert area is not None
    left, top = size // 8, size // 4
    slope = 250.0 / size
    columns, rows = (slope * (np.arange(size) + 0.5) for _ in range(2))
    for axis, ramp in enumerate((np.tile(columns, (size, 1)), np.tile(rows[:, None], (1, size)))):
        part = np.rint(ramp[top:, left:]).astype(np.uint8)
        moved = area.moved(part, (left, top), transform, step)
        at = transform.apply(sites(area, step).reshape(-1, 2)).reshape(*moved.shape, 2)
        solid = area.weights(step) > 128
        np.testing.assert_allclose(moved[solid], slope * at[..., axis][solid], atol=1.1)
