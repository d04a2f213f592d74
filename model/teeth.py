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

from model.arrays import F32
from model.interior import Layer
from model.smoothstep import step

FINER: Final = 3  # samples for each pixel of the crop, in both directions
SOFTNESS_PX: Final = 0.8  # sigma of the blur of a layer: few films are sharp in every pixel
# One half of a row from the midline outwards, as seen from the front: two incisors, the canine, two premolars. Outer
# edge; length of the crown; how much higher the lower edge lies than that of the first incisor; how far its corners are
# rounded; how broad the flat part of the edge is (exponent).
UPPER: Final = (
    (0.072, 0.092, 0.000, 0.008, 4.0),
    (0.127, 0.080, 0.007, 0.009, 3.0),
    (0.178, 0.088, 0.003, 0.015, 1.8),
    (0.220, 0.074, 0.010, 0.012, 1.9),
    (0.255, 0.066, 0.014, 0.011, 2.0),
)
LOWER: Final = (
    (0.046, 0.080, 0.000, 0.006, 4.0),
    (0.095, 0.080, 0.002, 0.008, 3.5),
    (0.146, 0.084, -0.002, 0.016, 1.8),
    (0.188, 0.072, 0.010, 0.014, 2.0),
    (0.222, 0.066, 0.016, 0.014, 2.0),
)
UPPER_SHOW: Final = 0.017  # how far the upper incisors reach below the line of the closed lips
LOWER_SHOW: Final = 0.012  # how far the lower incisors reach above the inner edge of the lower lip
TONGUE_SHOW: Final = 0.040  # the same for the back of the tongue
ARCH: Final = 0.45  # how the row rises towards the sides: this times the square of the distance from the midline
GUM: Final = (0.62, 0.36, 0.34)  # colour under white light, 0..1
TONGUE: Final = (0.52, 0.27, 0.26)
LOWER_LIGHT: Final = 0.8  # light on the lower teeth, as a share of that on the upper ones
ABOVE, BELOW, SIDE = 0.10, 0.17, 0.26  # reach of a layer above, below and beside the middle of the lips


@dataclass(frozen=True)
class MouthPlace:
    """Place of a mouth in a crop, in pixels, and what lights it.

    lip: x of the midline and y of the lower lip's inner edge there. unit_px: pixels of one template unit. teeth: colour
    of well lit teeth, RGB 0..255. side_light: how much brighter the right side of the picture is than the left, as a
    share, over one unit.
    """

    lip: tuple[float, float]
    unit_px: float
    teeth: tuple[float, float, float]
    side_light: float = 0.0


@dataclass(frozen=True)
class _Canvas:
    """Samples of a layer: distance right of the midline and below the lips, (h,w) in template units, and white light.

    white: colour of well lit teeth at each sample, (h,w,3) 0..255. left, top: place in the crop, in pixels. size: width
    and height in pixels.
    """

    x: F32
    y: F32
    white: F32
    left: int
    top: int
    size: tuple[int, int]

    @classmethod
    def at(cls, place: MouthPlace) -> _Canvas:
        unit = place.unit_px
        left, top = int(place.lip[0] - SIDE * unit), int(place.lip[1] - ABOVE * unit)
        width, height = int(np.ceil(2 * SIDE * unit)), int(np.ceil((ABOVE + BELOW) * unit))
        across = (np.arange(width * FINER) + 0.5) / FINER + left - place.lip[0]
        down = (np.arange(height * FINER) + 0.5) / FINER + top - place.lip[1]
        x, y = (part.astype(np.float32) for part in np.meshgrid(across / unit, down / unit))
        white = np.array(place.teeth, np.float32) * (1 + np.float32(place.side_light) * x[..., None])
        return cls(x, y, white, left, top, (width, height))

    def layer(self, drawn: F32) -> Layer:
        """Return a drawing (h,w,4), multiplied by its opacity 0..1, as a layer of the crop's pixels."""
        pixels = cv2.resize(drawn, self.size, interpolation=cv2.INTER_AREA)
        pixels = cv2.GaussianBlur(pixels, (0, 0), SOFTNESS_PX)
        opacity = pixels[..., 3:]
        colour = pixels[..., :3] / np.maximum(opacity, 1e-3)
        levels = np.clip(np.rint(np.dstack([colour, opacity * 255])), 0, 255)
        return Layer(np.asarray(levels, np.uint8), self.left, self.top)


def model_upper(place: MouthPlace) -> Layer:
    """Draw the upper teeth of a mouth whose lips are closed."""
    canvas = _Canvas.at(place)
    soft = 0.5 / place.unit_px
    return canvas.layer(_row(canvas.x, UPPER_SHOW - canvas.y, canvas.white, UPPER, soft))


def model_lower(place: MouthPlace) -> Layer:
    """Draw the lower teeth and the tongue of a mouth."""
    canvas = _Canvas.at(place)
    soft = 0.5 / place.unit_px
    teeth = _row(canvas.x, canvas.y + LOWER_SHOW, canvas.white * np.float32(LOWER_LIGHT), LOWER, soft)
    tongue = _tongue(canvas.x, canvas.y, canvas.white)
    return canvas.layer(np.asarray(teeth + tongue * (1 - teeth[..., 3:]), np.float32))


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
        tooth = step(up - edge, soft + 0.002)
        cover = np.where(within, tooth, cover)
        along = np.clip((up - edge) / length, 0, 1)
        # Round across, a little translucent at the edge, darker towards the gum and in the gap to the next tooth.
        round_off = 1 - 0.06 * u**2 - 0.08 * np.abs(u) ** 8 - 0.09 * np.clip((np.abs(u) - 0.88) / 0.12, 0, 1)
        gloss = 0.05 * np.exp(-(((u + 0.15) / 0.4) ** 2) - ((along - 0.3) / 0.2) ** 2)
        light = (round_off + gloss) * (0.94 + 0.06 * step(along - 0.1, 0.1)) * (1 - 0.10 * along**2)
        light *= 1 + 0.02 * ((number * 7) % 3 - 1)
        shade = np.where(within, light, shade)
        gum_line = np.where(within, length + ARCH * side**2 - 0.012 * (1 - np.sqrt(np.clip(1 - u**2, 0, 1))), gum_line)
        inner = outer
    gum = step(up - gum_line, 0.004)[..., None]
    colour = white * _red_shade(shade)
    colour = colour + (white * np.array(GUM, np.float32) - colour) * gum
    colour = colour * _red_shade(1 - 0.7 * step(side - 0.14, 0.1))  # deeper in the mouth
    cover = cover * step(inner - side, 0.012)
    return np.dstack([colour * cover[..., None], cover]).astype(np.float32)


def _red_shade(light: F32) -> F32:
    """Return the colour (h,w,3) of a light (h,w) 0..1 inside a mouth, where dark places get light from red ones."""
    return np.dstack([light, light**1.12, light**1.16]).astype(np.float32)


def _tongue(x: F32, y: F32, white: F32) -> F32:
    """Draw the tongue behind the lower teeth; returns the same as `_row`."""
    crown = -TONGUE_SHOW + 1.6 * x**2
    cover = step(y - crown, 0.014) * step(0.17 - np.abs(x), 0.03)
    light = 0.45 + 0.40 * np.clip((y - crown) / 0.05, 0, 1) - 0.10 * np.exp(-((x / 0.014) ** 2))
    colour = white * np.array(TONGUE, np.float32) * light[..., None]
    return np.dstack([colour * cover[..., None], cover]).astype(np.float32)
