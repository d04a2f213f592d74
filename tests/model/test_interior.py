"""The inside of a mouth follows the motion and the light of another crop."""

import numpy as np
import pytest

from model.interior import Interior, Layer

DARK = (40, 15, 15)


def spot(x: int, y: int) -> Layer:
    """Return a layer with a small spot in the middle of a pixel, counted from the layer's own first one."""
    pixels = np.zeros((40, 60, 4), np.uint8)
    pixels[y - 1 : y + 2, x - 1 : x + 2] = (200, 100, 50, 255)
    return Layer(pixels, 70, 80)


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize(
    "motion",
    [
        [[1, 0, 0], [0, 1, 0]],
        [[1, 0, 7.5], [0, 1, -3.25]],
        [[1.1, 0, 4], [0, 0.9, 2]],
        [[0.98, -0.17, 20], [0.17, 0.98, -15]],
    ],
)
def test_layers_and_the_lip_of_an_interior_move_alike(motion: list[list[float]], zoom: int) -> None:
    layer = spot(20, 15).enlarged(zoom)
    moved = Interior(layer, layer, (90.5, 95.5), DARK, np.array(motion))
    opacity = moved.read(layer, (60.0, 50.5), (80, 90))[..., 3].astype(float)
    rows, columns = np.mgrid[:90, :80] + 0.5
    centre = [(columns * opacity).sum() / opacity.sum() + 60.0, (rows * opacity).sum() / opacity.sum() + 50.5]
    np.testing.assert_allclose(moved.moved_lip, centre, atol=0.05)


def test_an_interior_takes_the_light() -> None:
    layer = spot(20, 15)
    lit = Interior(layer, layer, (90.5, 95.5), (50.0, 20.0, 20.0), light=np.array([0.5, 1.1, 2.0]))
    seen = lit.read(layer, (70.0, 80.0), (60, 40))
    np.testing.assert_array_equal(seen[15, 20], [100, 110, 100, 255])
    np.testing.assert_allclose(lit.lit_cavity, [25, 22, 40])
