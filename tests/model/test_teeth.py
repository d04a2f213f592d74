"""Modelled teeth: a row of single teeth, of the same shape at every size, in the light of the face."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from model.interior import Layer
from model.teeth import UPPER, UPPER_SHOW, MouthPlace, model_lower, model_upper

PLACE = MouthPlace((240.0, 300.0), 340.0, (210.0, 200.0, 188.0))


def at(layer: Layer, place: MouthPlace, x: float, y: float) -> np.ndarray:
    """Return the pixel of a layer at a place beside and below the middle of the lips, in template units."""
    column, row = int(place.lip[0] + x * place.unit_px) - layer.left, int(place.lip[1] + y * place.unit_px) - layer.top
    return layer.pixels[row, column].astype(int)


def test_upper_teeth_reach_below_the_lips_and_lower_teeth_above() -> None:
    upper, lower = model_upper(PLACE), model_lower(PLACE)
    assert at(upper, PLACE, 0.03, UPPER_SHOW - 0.012)[3] == 255
    assert at(upper, PLACE, 0.03, UPPER_SHOW + 0.02)[3] == 0
    assert at(lower, PLACE, 0.02, 0.01)[3] == 255
    assert at(lower, PLACE, 0.02, -0.06)[3] == 0


def test_teeth_are_single_and_not_white() -> None:
    upper = model_upper(PLACE)
    row = int(PLACE.lip[1] - 0.01 * PLACE.unit_px) - upper.top
    light = upper.pixels[row, :, :3].sum(axis=1).astype(float)
    centre = PLACE.lip[0] - upper.left
    for edge in (0.0, UPPER[0][0], UPPER[1][0]):  # a soft dark line between two teeth, but no black one
        at_gap = int(centre + edge * PLACE.unit_px)
        gap = light[at_gap - 4 : at_gap + 5].min()
        reach = int(0.03 * PLACE.unit_px)
        tooth = light[at_gap - reach : at_gap + reach].max()
        assert 0.6 * tooth < gap < 0.95 * tooth
    assert upper.pixels[..., :3].max() < 235


def test_teeth_are_darker_and_redder_towards_the_corners() -> None:
    upper = model_upper(PLACE)
    front, side = at(upper, PLACE, 0.035, 0.0)[:3], at(upper, PLACE, 0.22, -0.03)[:3]
    assert side.sum() < 0.6 * front.sum()
    assert side[0] / side[2] > front[0] / front[2]


@pytest.mark.parametrize("unit_px", [69.0, 137.0, 206.0])
def test_teeth_have_the_same_shape_at_every_size(unit_px: float) -> None:
    place = replace(PLACE, unit_px=unit_px)
    small, large = model_upper(place), model_upper(PLACE)
    height, width = small.pixels.shape[:2]
    shrunk = cv2.resize(large.pixels, (width, height), interpolation=cv2.INTER_AREA)
    seen = np.abs(shrunk[..., :3].astype(int) - small.pixels[..., :3])[
        (shrunk[..., 3] > 250) & (small.pixels[..., 3] > 250)
    ]
    assert seen.mean() < 12


def test_light_from_one_side_is_seen_on_the_teeth() -> None:
    lit = model_upper(replace(PLACE, side_light=0.6))
    right, left = at(lit, PLACE, 0.1, 0.0)[:3].sum(), at(lit, PLACE, -0.1, 0.0)[:3].sum()
    assert right > 1.08 * left
