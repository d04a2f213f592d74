"""Modelled teeth and tongue, for a mouth that was never filmed open.

Teeth are drawn from the widths of human teeth, one by one, with rounded lower edges and shading of their own, at the
size of the crop. Lengths are in template face units (model/framing.py), with 1 unit taken as about 115 mm. The upper
row is fixed to the skull; most of it is hidden by the upper lip. The lower row and the tongue belong to the jaw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from model.arrays import F32, U8
from model.composition import Interior

FINER: Final = 3  # samples for each pixel of the crop, in both directions
# One half of a row from the midline outwards, as seen from the front: two incisors, the canine, two premolars. Outer
# edge; length of the crown; how much higher the lower edge lies than that of the first incisor; how far its corners are
# rounded; how broad the flat part of the edge is (exponent).
UPPER: Final = (
    (0.072, 0.092, 0.000, 0.011, 4.0),
    (0.127, 0.080, 0.010, 0.012, 3.0),
    (0.178, 0.088, 0.004, 0.020, 1.7),
    (0.220, 0.074, 0.014, 0.016, 1.8),
    (0.255, 0.066, 0.020, 0.014, 2.0),
)
LOWER: Final = (
    (0.046, 0.080, 0.000, 0.006, 4.0),
    (0.095, 0.080, 0.002, 0.008, 3.5),
    (0.146, 0.084, -0.002, 0.016, 1.8),
    (0.188, 0.072, 0.010, 0.014, 2.0),
    (0.222, 0.066, 0.016, 0.014, 2.0),
)
UPPER_SHOW: Final = 0.020  # how far the upper incisors reach below the line of the closed lips
LOWER_SHOW: Final = 0.012  # how far the lower incisors reach above the inner edge of the lower lip
TONGUE_SHOW: Final = 0.040  # the same for the back of the tongue
ARCH: Final = 0.45  # how the row rises towards the sides: this times the square of the distance from the midline
GUM: Final = (0.62, 0.36, 0.34)  # colour under white light, 0..1
TONGUE: Final = (0.52, 0.27, 0.26)
ABOVE, BELOW = 0.10, 0.17  # reach of the layers above and below the line of the closed lips
SIDE: Final = 0.26


@dataclass(frozen=True)
class MouthPlace:
    """Place of a mouth in a crop, in pixels, and what lights it.

    middle_x: x of the midline. closed_y: height of the line of the closed lips in the middle. unit_px: pixels of one
    template unit. teeth: colour of well lit teeth, RGB 0..255. side_light: how much brighter the right side of the
    picture is than the left, as a share, over one unit.
    """

    middle_x: float
    closed_y: float
    unit_px: float
    teeth: tuple[float, float, float]
    side_light: float = 0.0


def model_interior(place: MouthPlace) -> Interior:
    """Draw the inside of a mouth."""
    unit = place.unit_px
    left, top = int(place.middle_x - SIDE * unit), int(place.closed_y - ABOVE * unit)
    width, height = int(np.ceil(2 * SIDE * unit)), int(np.ceil((ABOVE + BELOW) * unit))
    across = (np.arange(width * FINER, dtype=np.float32) + 0.5) / FINER + left - place.middle_x
    down = (np.arange(height * FINER, dtype=np.float32) + 0.5) / FINER + top - place.closed_y
    x, y = np.meshgrid(across / unit, down / unit)
    white = np.array(place.teeth, np.float32) * (1 + place.side_light * x[..., None])
    soft = 0.5 / unit
    layers = [
        _row(x, UPPER_SHOW - y, white, UPPER, soft),
        _over(_tongue(x, y, white), _row(x, y + LOWER_SHOW, white * np.float32(0.8), LOWER, soft)),
    ]
    pixels = [cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA) for layer in layers]
    upper, lower = (_levels(layer) for layer in pixels)
    cavity = tuple(float(level) for level in np.array(place.teeth) * (0.26, 0.13, 0.12))
    return Interior(upper, lower, left, top, place.closed_y, (cavity[0], cavity[1], cavity[2]))


def _row(x: F32, up: F32, white: F32, teeth: tuple[tuple[float, ...], ...], soft: float) -> F32:
    """Draw one row of teeth with its gum. Returns (h,w,4): colours 0..255, multiplied by opacity, and opacity 0..1.

    x: distance from the midline. up: distance from the edge of the incisors towards the gum. white: (h,w,3).
    """
    side, inner = np.abs(x), 0.0
    cover, shade = np.zeros_like(x), np.ones_like(x)
    gum_line = np.full_like(x, 0.05)
    for number, (outer, length, rise, corner, breadth) in enumerate(teeth):
        half = (outer - inner) / 2
        u = (side - (inner + outer) / 2) / half  # -1..1 across the tooth
        within = np.abs(u) <= 1
        edge = rise + ARCH * side**2 + corner * np.abs(u) ** breadth
        tooth = _step(up - edge, soft + 0.002)
        cover = np.where(within, tooth, cover)
        along = np.clip((up - edge) / length, 0, 1)
        # Round across, a little translucent at the edge, darker towards the gum and in the gap to the next tooth.
        round_off = 1 - 0.07 * u**2 - 0.10 * np.abs(u) ** 8 - 0.16 * np.clip((np.abs(u) - 0.9) / 0.1, 0, 1)
        light = round_off * (0.93 + 0.07 * _step(along - 0.12, 0.12)) * (1 - 0.10 * along**2)
        light *= 1 + 0.02 * ((number * 7) % 3 - 1)
        shade = np.where(within, light, shade)
        gum_line = np.where(within, length + ARCH * side**2 - 0.012 * (1 - np.sqrt(np.clip(1 - u**2, 0, 1))), gum_line)
        inner = outer
    depth = 1 - 0.72 * _step(side - 0.145, 0.095)
    gum = _step(up - gum_line, 0.004)[..., None]
    warm = np.stack([np.ones_like(x), 1 - 0.05 * depth * 0 - 0.04 * (1 - shade), 1 - 0.12 * (1 - shade)], axis=2)
    colour = white * warm * shade[..., None]
    colour = colour + (white * np.array(GUM, np.float32) - colour) * gum
    cover = cover * _step(inner - side, 0.012)
    return np.dstack([colour * depth[..., None] * cover[..., None], cover]).astype(np.float32)


def _tongue(x: F32, y: F32, white: F32) -> F32:
    """Draw the tongue behind the lower teeth; returns the same as `_row`."""
    crown = -TONGUE_SHOW + 1.6 * x**2
    cover = _step(y - crown, 0.014) * _step(0.17 - np.abs(x), 0.03)
    light = 0.45 + 0.40 * np.clip((y - crown) / 0.05, 0, 1) - 0.10 * np.exp(-((x / 0.014) ** 2))
    colour = white * np.array(TONGUE, np.float32) * light[..., None]
    return np.dstack([colour * cover[..., None], cover]).astype(np.float32)


def _over(below: F32, above: F32) -> F32:
    """Lay one layer over another; both are multiplied by their opacity."""
    return np.asarray(above + below * (1 - above[..., 3:]), np.float32)


def _levels(layer: F32) -> U8:
    """Convert a layer that is multiplied by its opacity 0..1 to RGB and opacity, (h,w,4) uint8."""
    opacity = layer[..., 3:]
    colour = layer[..., :3] / np.maximum(opacity, 1e-3)
    return np.asarray(np.clip(np.rint(np.dstack([colour, opacity * 255])), 0, 255), np.uint8)


def _step(distance: F32, soft: float) -> F32:
    """Return a smooth step from 0 to 1 where a distance passes 0, `soft` wide to both sides."""
    share = np.clip(distance / (2 * soft) + 0.5, 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
