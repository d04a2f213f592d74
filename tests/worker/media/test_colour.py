from __future__ import annotations

import numpy as np
import pytest

from worker.media.colour import ColourMatrix, planes_of_rgb, rgb_of_planes, split_planes, ycc_of_rgb


@pytest.mark.parametrize("colour", list(ColourMatrix))
def test_there_and_back_again_loses_rounding_only(colour: ColourMatrix) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    ycc = np.rint(ycc_of_rgb(rgb, colour)).astype(np.uint8)
    back = rgb_of_planes(ycc[..., 0], ycc[..., 1], ycc[..., 2], colour)
    assert np.abs(back.astype(int) - rgb).max() <= 3


@pytest.mark.parametrize("colour", list(ColourMatrix))
@pytest.mark.parametrize(("level", "luma"), [(0, 16), (255, 235), (128, 126)])
def test_greys_have_the_luma_of_limited_range_and_no_colour(colour: ColourMatrix, level: int, luma: int) -> None:
    ycc = ycc_of_rgb(np.full((2, 2, 3), level, np.uint8), colour)
    assert np.allclose(ycc, [luma, 128, 128], atol=0.5)


def test_the_matrices_differ_where_it_matters() -> None:
    green = np.full((1, 1, 3), (0, 255, 0), np.uint8)
    luma = {colour: float(ycc_of_rgb(green, colour)[0, 0, 0]) for colour in ColourMatrix}
    assert luma[ColourMatrix.BT709] - luma[ColourMatrix.BT601] > 25


@pytest.mark.parametrize(("height", "width"), [(64, 48), (63, 48), (64, 47), (601, 33)])
def test_pictures_become_even_planes(height: int, width: int) -> None:
    rgb = np.full((height, width, 3), (200, 80, 40), np.uint8)
    planes = planes_of_rgb(rgb, ColourMatrix.BT709)
    y, u, v = split_planes(planes)
    even = (height + height % 2, width + width % 2)
    assert y.shape == even
    assert u.shape == v.shape == (even[0] // 2, even[1] // 2)
    expected = np.rint(ycc_of_rgb(rgb[:1, :1], ColourMatrix.BT709)[0, 0])
    for plane, value in zip((y, u, v), expected, strict=True):
        assert (plane == value).all()


@pytest.mark.parametrize(("height", "colour"), [(592, ColourMatrix.BT601), (719, ColourMatrix.BT601)])
def test_untagged_pictures_go_by_height(height: int, colour: ColourMatrix) -> None:
    assert ColourMatrix.for_height(height) is colour
    assert ColourMatrix.for_height(720) is ColourMatrix.BT709
