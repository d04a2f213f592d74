from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.affine import resize, warp

MATRIX = np.array([[0.83, 0.21, 3.4], [-0.21, 0.83, 15.7]])
SIZE = (50, 40)


def smooth(channels: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (64, 72, channels), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2.0).reshape(64, 72, channels)


def by_hand(picture: np.ndarray) -> np.ndarray:
    """Return what bilinear interpolation gives in double precision; all places lie in the picture."""
    columns, rows = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    x, y = (row[0] * columns + row[1] * rows + row[2] for row in MATRIX)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = (x - left)[..., None], (y - top)[..., None]
    exact = picture.astype(np.float64)
    upper = exact[top, left] * (1 - right) + exact[top, left + 1] * right
    lower = exact[top + 1, left] * (1 - right) + exact[top + 1, left + 1] * right
    return upper * (1 - below) + lower * below


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_pixels_are_interpolated_where_the_map_says(channels: int, dtype: type) -> None:
    picture = smooth(channels)
    moved = warp(picture.astype(dtype), MATRIX, SIZE)
    assert moved.dtype == dtype
    # a byte is rounded, and OpenCV's own kernels round the place to 1/32 of a pixel
    np.testing.assert_allclose(moved.reshape(*SIZE[::-1], channels), by_hand(picture), atol=1.0)


def test_outside_is_black_or_the_edge_repeated() -> None:
    picture = np.full((20, 20), 200, np.uint8)
    shift = np.array([[1.0, 0.0, -10.0], [0.0, 1.0, -10.0]])
    black, edge = (
        warp(picture, shift, (30, 30), border=border) for border in (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE)
    )
    assert (black[:9] == 0).all()
    assert (black[10:, 10:] == 200).all()
    assert (edge == 200).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [2, 4])
def test_a_picture_is_reduced_by_averaging(channels: int, factor: int) -> None:
    picture = smooth(channels)
    small = resize(picture, (72 // factor, 64 // factor), cv2.INTER_AREA).reshape(64 // factor, -1, channels)
    means = picture.reshape(64 // factor, factor, 72 // factor, factor, channels).mean(axis=(1, 3))
    np.testing.assert_allclose(small, means, atol=0.5)


def test_other_work_of_the_thread_stays_the_same() -> None:
    warp(smooth(1), MATRIX, SIZE)
    resize(smooth(1), SIZE)
    assert not cv2.ipp.useIPP_NotExact()
    with pytest.raises(cv2.error):
        warp(smooth(1), MATRIX[:1], SIZE)
    assert not cv2.ipp.useIPP_NotExact()
