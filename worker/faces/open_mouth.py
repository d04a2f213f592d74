"""Read a crop of an open mouth: where its teeth are, how many it shows, and their pixels as layers.

The inside lies between the inner edges of the lips, which the mesh gives to a pixel or two; lips that are still seen
there are left out by their colour. In each column the upper row of teeth ends where it becomes dark below it. Without
such a gap the teeth are closed, and all belongs to the upper row. Each layer is continued under the lip that hid the
rest of it, by repeating its last row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np

from model.arrays import F32, F64, U8, Floats
from model.face_points import LEFT_CORNERS, LOWER_LIP_RINGS, RIGHT_CORNERS, UPPER_LIP_RINGS
from model.interior import Layer
from model.smoothstep import ramp

LUMA: Final = (0.299, 0.587, 0.114)
REACH: Final = 0.09  # how far a layer is continued under the lips, in template units
INSET: Final = 0.004  # pixels nearer to the lips than this show lip, in template units
LIP_REACH: Final = 0.04  # how far outside the mesh may place the inner edge of a lip, in template units
LEAST_OPENING: Final = 0.02  # columns less open than this show nothing, in template units
SIDE_FADE: Final = 0.10  # how wide a layer fades out at each corner of the mouth, as a share of its width
SPLIT_RANGE: Final = (0.25, 0.95)  # where the upper row may end, as a share of the opening's height
GAP: Final = 0.06  # how much darker than the teeth on both sides a gap between the rows is at least
FALL: Final = 0.5  # share of the fall from tooth to gap at which the tooth ends
TOOTH: Final = 0.6  # likeness from which on a pixel counts for the colour of the teeth
BRIGHT_PERCENTILE: Final = 70.0  # teeth brighter than this share of them are well lit


@dataclass(frozen=True)
class MouthCrop:
    """Crop of a face with its landmarks.

    crop: (P,P,3) uint8 RGB. points: landmarks (468,2) in its pixels. unit_px: pixels of one template unit.
    """

    crop: U8
    points: F64
    unit_px: float

    @property
    def columns(self) -> slice:
        """Return the columns between the inner corners of the mouth."""
        corners = self.points[[LEFT_CORNERS[0], RIGHT_CORNERS[0]], 0]
        left, right = max(0, int(corners.min())), min(len(self.crop), int(np.ceil(corners.max())))
        return slice(left, max(right, left + 1))

    def lip_edges(self) -> tuple[F64, F64]:
        """Return the inner edges of upper and lower lip in each of the columns, as the mesh gives them."""
        columns = self.columns
        at = np.arange(columns.start, columns.stop) + 0.5
        edges = []
        for ring in (UPPER_LIP_RINGS[0], LOWER_LIP_RINGS[0]):
            line = self.points[[LEFT_CORNERS[0], *ring, RIGHT_CORNERS[0]]]
            order = np.argsort(line[:, 0], kind="stable")
            edges.append(np.interp(at, line[order, 0], line[order, 1]))
        return edges[0], np.maximum(edges[0], edges[1])

    @cached_property
    def tooth_and_lip(self) -> tuple[F32, F32]:
        """Return how much each pixel looks like a tooth, and how much like lips, both (P,P) float32 0..1.

        Teeth are about as bright as the lips and less red; what is dark is neither.
        """
        light, red, _ = cv2.split(cv2.cvtColor(self.crop, cv2.COLOR_RGB2YCrCb).astype(np.float32))
        lips = self.points[
            [number for rings in (UPPER_LIP_RINGS, LOWER_LIP_RINGS) for ring in rings[1:3] for number in ring]
        ]
        columns, rows = np.clip(np.rint(lips - 0.5).astype(int), 0, len(self.crop) - 1).T
        lip_light, lip_red = float(np.median(light[rows, columns])), float(np.median(red[rows, columns]))
        redness = (red - 128) / max(4.0, lip_red - 128)
        brightness = light / max(1.0, lip_light)
        tooth = ramp(brightness, 0.6, 0.95) * ramp(1 - redness, 0.2, 0.5)
        lip = ramp(brightness, 0.45, 0.7) * ramp(redness, 0.6, 0.85)
        return tooth, lip


def teeth_area(mouth: MouthCrop) -> float:
    """Return how much of well lit teeth a crop shows, in square template units; upper teeth count more."""
    up, low = mouth.lip_edges()
    tooth, _ = mouth.tooth_and_lip
    share = (np.arange(len(mouth.crop))[:, None] + 0.5 - up) / np.maximum(low - up, 1e-3)
    weight = np.where((share > 0) & (share < 1), np.where(share < 0.6, 1.0, 0.4), 0.0)
    return float((tooth[:, mouth.columns] * weight).sum()) / mouth.unit_px**2


def teeth_pixels(mouth: MouthCrop) -> U8:
    """Return the pixels of the teeth in a crop, (n,3) uint8 RGB."""
    up, low = mouth.lip_edges()
    rows = np.arange(len(mouth.crop))[:, None] + 0.5
    seen = (mouth.tooth_and_lip[0][:, mouth.columns] > TOOTH) & (rows > up) & (rows < low)
    return np.asarray(mouth.crop[:, mouth.columns][seen], np.uint8)


def bright_colour(pixels: U8) -> F64:
    """Return the mean colour (3,) of the brighter ones of some pixels (n,3)."""
    light = pixels @ np.array(LUMA)
    return np.asarray(pixels[light >= np.percentile(light, BRIGHT_PERCENTILE)].mean(axis=0), np.float64)


def cut_layers(mouth: MouthCrop) -> tuple[Layer, Layer, float]:
    """Cut the upper and the lower layer of the inside out of a crop; also return the area of the lower teeth.

    The area is in square template units.
    """
    tooth, lip = mouth.tooth_and_lip
    unit, columns = mouth.unit_px, mouth.columns
    up, low = _between_lips(lip, mouth)
    split = split_rows(mouth.crop, up, low, columns.start)
    opening = np.clip((low - up) / (LEAST_OPENING * unit), 0, 1)
    at = (np.arange(len(up)) + 0.5) / len(up)
    sides = ramp(np.minimum(at, 1 - at).astype(np.float32), 0.0, SIDE_FADE)
    faint = cv2.blur((opening * sides).astype(np.float32)[None], (max(3, int(0.03 * unit)) | 1, 1))[0]
    reach = REACH * unit
    top, bottom = max(0, int(up.min() - reach)), min(len(mouth.crop), int(np.ceil(low.max() + reach)))
    rows = np.arange(top, bottom)[:, None] + 0.5
    soft = max(1.0, 0.01 * unit)
    below = np.clip((rows - split) / soft + 0.5, 0, 1)
    layers = []
    for shown, beyond in ((1 - below, up - rows), (below, rows - low)):
        source = np.asarray(np.clip(rows, up, low) - 0.5, np.float32)
        x = np.broadcast_to(np.arange(columns.start, columns.stop, dtype=np.float32), source.shape)
        colour = cv2.remap(mouth.crop, x, source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        opacity = shown * np.clip(1.5 * (1 - beyond / reach), 0, 1) * faint
        pixels = np.dstack([colour, np.rint(opacity * 255).astype(np.uint8)])
        layers.append(Layer(np.asarray(pixels, np.uint8), columns.start, top))
    inside = (rows > split) & (rows < low)
    lower_area = float((tooth[top:bottom, columns] * inside).sum()) / unit**2
    return layers[0], layers[1], lower_area


def split_rows(crop: U8, up: F64, low: F64, left: int) -> F64:
    """Return the row in each column at which the upper row of teeth ends.

    up, low: edges of the lips in each column from `left` on. Without a gap between the rows, it ends at the lower lip.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    shares = np.linspace(0.02, 1.0, 50)
    x = np.broadcast_to(np.arange(left, left + len(up), dtype=np.float32), (len(shares), len(up)))
    y = np.asarray(up + (low - up) * shares[:, None] - 0.5, np.float32)
    profile = np.asarray(cv2.remap(grey, x, y, cv2.INTER_LINEAR), np.float64)
    profile = np.asarray(cv2.blur(profile, (max(3, len(up) // 8) | 1, 1)), np.float64)
    middle = np.median(profile[:, len(up) // 3 : 2 * len(up) // 3 + 1], axis=1)
    allowed = (shares >= SPLIT_RANGE[0]) & (shares <= SPLIT_RANGE[1])
    darkest = int(np.argmin(np.where(allowed, middle, np.inf)))
    tooth, beyond = float(middle[:darkest].max(initial=0.0)), float(middle[darkest + 1 :].max(initial=0.0))
    if middle[darkest] > (1 - GAP) * min(tooth, beyond):
        return low
    # In each column: the gap near that place, and above it the first row that is dark after the brightest one.
    near = allowed & (np.abs(shares - shares[darkest]) < 0.25)
    gaps = np.argmin(np.where(near[:, None], profile, np.inf), axis=0)
    ends = np.array([_fall(profile[: gap + 1, column]) for column, gap in enumerate(gaps)])
    share = _fit_parabola(shares[ends], low - up)
    return np.asarray(up + (low - up) * np.clip(share, *SPLIT_RANGE))


def _fall(levels: F64) -> int:
    """Return where levels, of which the last is the darkest, have fallen from the brightest by the share FALL."""
    brightest = int(np.argmax(levels))
    fallen = levels[brightest:] <= levels[-1] + (1 - FALL) * (levels[brightest] - levels[-1])
    return brightest + int(np.argmax(fallen))


def _fit_parabola(values: Floats, weights: F64) -> F64:
    """Return the parabola over equally spaced places that fits values (n,) best."""
    at = np.linspace(-1.0, 1.0, len(values))
    root = np.sqrt(np.maximum(weights, 1e-3))
    terms = np.stack([np.ones_like(at), at, at * at], axis=1)
    weighted = terms * root[:, None]
    solution = np.linalg.solve(weighted.T @ weighted + 1e-6 * np.eye(3), weighted.T @ (values * root))
    return np.asarray(terms @ solution)


def _between_lips(lip: F32, mouth: MouthCrop) -> tuple[F64, F64]:
    """Return the inner edges of the lips in each column, moved inwards as long as there are lips."""
    columns, reach = mouth.columns, LIP_REACH * mouth.unit_px
    inset = max(0.5, INSET * mouth.unit_px)
    steps = np.arange(0.0, reach, 0.5)
    edges = []
    for edge, inwards in zip(mouth.lip_edges(), (1.0, -1.0), strict=True):
        x = np.broadcast_to(np.arange(columns.start, columns.stop, dtype=np.float32), (len(steps), len(edge)))
        rows = np.asarray(edge + inwards * steps[:, None] - 0.5, np.float32)
        is_lip = np.cumprod(cv2.remap(lip, x, rows, cv2.INTER_LINEAR) > 0.5, axis=0)
        edges.append(edge + inwards * (_median(is_lip.sum(axis=0) * 0.5) + inset))
    middle = (edges[0] + edges[1]) / 2
    return np.minimum(edges[0], middle), np.maximum(edges[1], middle)


def _median(values: Floats) -> F64:
    """Return the running median of values (n,), over a sixth of them."""
    reach = max(1, len(values) // 12)
    return np.array([np.median(values[max(0, at - reach) : at + reach + 1]) for at in range(len(values))])
