"""Close the lips in a crop, with the mesh of its own face: for people who show their teeth in every frame.

Each column of the crop between the corners of the mouth is squeezed on its own: the upper lip moves down and the lower
lip moves up until their inner edges meet, so nothing of the mouth's inside remains. Both lips keep their height. The
skin above and below gives way, up to the nose and down to the chin, which stay where they are.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from model.arrays import F32, F64, U8, Floats
from model.face_points import (
    BELOW_NOSE,
    CHIN,
    LEFT_CORNERS,
    LOWER_LIP_RINGS,
    RIGHT_CORNERS,
    UPPER_LIP_RINGS,
)

UPPER_SHARE: Final = 0.3  # share of the gap by which the upper lip moves; the lower lip moves by the rest
OVERLAP: Final = 0.12  # how far the inner edge of each lip is hidden, in its heights: the mesh often lies on the teeth
SOFT: Final = 0.04  # sigma over which neighbouring columns are smoothed, in widths of the mouth
SHADE: Final = 0.20  # how much darker the line between the lips is
LINE: Final = 0.012  # half height of that line, in widths of the mouth


def close_lips(crop: U8, points: Floats) -> tuple[U8, F32]:
    """Return a crop (S, S, 3) uint8 RGB and its landmarks (468, 2), in crop pixels, with the lips closed."""
    size = len(crop)
    edges = _Edges(np.asarray(points, np.float64), size)
    y = np.arange(size)[:, None] + 0.5
    source = _source_rows(edges, np.broadcast_to(y, (size, size)))
    columns = np.broadcast_to(np.arange(size, dtype=np.float32), (size, size))
    rows = (source - 0.5).astype(np.float32)
    closed = cv2.remap(crop, np.ascontiguousarray(columns), rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    line = np.exp(-(((y - edges.meet) / (LINE * edges.width)) ** 2)) * edges.openness
    shaded = closed * (1.0 - SHADE * line[..., None])
    return np.asarray(np.rint(shaded), np.uint8), edges.moved(np.asarray(points, np.float64))


class _Edges:
    """Edges of the lips in each column of a crop, (S,) each, in crop pixels.

    top, bottom: where the skin no longer moves. upper, lower: outer edges of the lips. gap: between the inner edges.
    inner: the inner edge of the upper lip. meet: where the lips will meet. openness: 0..1, 0 beyond the corners.
    """

    def __init__(self, points: F64, size: int) -> None:
        at = np.arange(size) + 0.5
        left, right = points[list(LEFT_CORNERS)].mean(axis=0), points[list(RIGHT_CORNERS)].mean(axis=0)
        self.width = max(float(np.hypot(*(right - left))), 1.0)
        rings = [
            _along(points[[LEFT_CORNERS[ring], *row[ring], RIGHT_CORNERS[ring]]], at)
            for row, ring in ((UPPER_LIP_RINGS, 3), (UPPER_LIP_RINGS, 0), (LOWER_LIP_RINGS, 0), (LOWER_LIP_RINGS, 3))
        ]
        self.upper, self.inner, inner_lower, self.lower = (_soft(ring, SOFT * self.width) for ring in rings)
        corners = points[[LEFT_CORNERS[0], RIGHT_CORNERS[0]], 0]
        inside = (at > corners.min()) & (at < corners.max())
        self.gap = _soft(np.where(inside, np.maximum(rings[2] - rings[1], 0.0), 0.0), SOFT * self.width)
        self.openness = np.clip(self.gap / (0.03 * self.width), 0.0, 1.0)
        self.meet = self.inner + UPPER_SHARE * self.gap
        self.upper_height = np.maximum(self.inner - self.upper, 1.0)
        self.lower_height = np.maximum(self.lower - inner_lower, 1.0)
        nose = float(points[list(BELOW_NOSE), 1].max())
        self.top = np.minimum(np.full(size, nose), self.upper - 2.0)
        self.bottom = np.maximum(np.full(size, float(points[CHIN, 1])), self.lower + 4.0)

    @property
    def down(self) -> F64:
        """Return by how many pixels the upper lip moves down."""
        return np.asarray(UPPER_SHARE * self.gap + OVERLAP * self.upper_height * self.openness)

    @property
    def up(self) -> F64:
        """Return by how many pixels the lower lip moves up."""
        return np.asarray((1.0 - UPPER_SHARE) * self.gap + OVERLAP * self.lower_height * self.openness)

    def moved(self, points: F64) -> F32:
        """Return landmarks (468, 2) with those of the lips moved."""
        closed = points.astype(np.float32)
        for rings, move in (
            (UPPER_LIP_RINGS, UPPER_SHARE * self.gap),
            (LOWER_LIP_RINGS, -self.gap + UPPER_SHARE * self.gap),
        ):
            numbers = [number for ring in rings for number in ring]
            column = np.clip(points[numbers, 0].astype(int), 0, len(self.gap) - 1)
            closed[numbers, 1] += move[column].astype(np.float32)
        return closed


def _source_rows(edges: _Edges, y: F64) -> F64:
    """Return, for each pixel, the row of the open mouth that it shows, (S, S)."""
    above = y < edges.meet
    lip_top = edges.meet - edges.upper_height  # of the closed mouth
    lip_bottom = edges.meet + edges.lower_height
    rise = _smooth((y - edges.top) / np.maximum(lip_top - edges.top, 1.0))
    fall = _smooth((edges.bottom - y) / np.maximum(edges.bottom - lip_bottom, 1.0))
    return np.asarray(np.where(above, y - rise * edges.down, y + fall * edges.up))


def _along(ring: F64, at: F64) -> F64:
    """Return the height of a half ring of lip points (N, 2) at each x of `at`."""
    order = np.argsort(ring[:, 0], kind="stable")
    return np.asarray(np.interp(at, ring[order, 0], ring[order, 1]))


def _soft(values: F64, sigma: float) -> F64:
    """Smooth values over neighbouring columns."""
    return np.asarray(cv2.GaussianBlur(values[None], (0, 0), max(sigma, 0.5), borderType=cv2.BORDER_REPLICATE)[0])


def _smooth(at: F64) -> F64:
    """Return a smooth step from 0 (at <= 0) to 1 (at >= 1)."""
    share = np.clip(at, 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))
