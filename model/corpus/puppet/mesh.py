"""The face mesh of a puppet: its coordinates, its lip points, and how each point follows lips and jaw.

Points are numbered as in model/face_points.py. Lengths are in the face frame: the origin is midway between the eyes, x
points to the right of the picture along the line of the eyes, y points down, and 1 is the distance from the origin to
the chin of the mean face. In these units the outer corners of the eyes are 0.83 apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay

from model.arrays import F64, I64, Floats
from model.face_points import (
    EYE_CORNERS,
    LEFT_CORNERS,
    LEFT_EYE,
    LOWER_LIP,
    LOWER_LIP_RINGS,
    RIGHT_CORNERS,
    RIGHT_EYE,
    UPPER_LIP,
    UPPER_LIP_RINGS,
)
from model.smoothstep import smoothstep

EYE_SPAN = 0.83  # distance of the outer corners of the eyes


@dataclass(frozen=True)
class FaceFrame:
    """Map from the face frame to picture pixels: pixel = origin + unit_px * rotation @ point."""

    origin: F64
    unit_px: float
    rotation: F64

    @staticmethod
    def of(landmarks: Floats) -> FaceFrame:
        """Place the frame by the eyes of (468, 2) landmarks in pixels."""
        points = np.asarray(landmarks, np.float64)
        across = points[RIGHT_EYE] - points[LEFT_EYE]
        span = float(np.hypot(*across))
        cosine, sine = across / span
        rotation = np.array([[cosine, -sine], [sine, cosine]])
        return FaceFrame(points[list(EYE_CORNERS)].mean(axis=0), span / EYE_SPAN, rotation)

    def to_face(self, pixels: Floats) -> F64:
        """Map (N, 2) pixels into the face frame."""
        return np.asarray((np.asarray(pixels, np.float64) - self.origin) @ self.rotation / self.unit_px)

    def to_pixels(self, points: F64) -> F64:
        """Map (N, 2) points of the face frame into pixels."""
        return np.asarray(points @ self.rotation.T * self.unit_px + self.origin)


@dataclass(frozen=True)
class LipPoints:
    """Table of the 80 lip points, each column (80,) int64.

    index: the number in the mesh. ring: 0 for the inner edge .. 3 for the outer edge. side: -1 for the upper lip, 0 for
    a corner, 1 for the lower lip. column: 0 for the left corner .. 10 for the right corner.
    """

    index: I64
    ring: I64
    side: I64
    column: I64

    @staticmethod
    def build() -> LipPoints:
        """List every lip point once."""
        rows: list[tuple[int, int, int, int]] = []
        for ring in range(len(UPPER_LIP_RINGS)):
            rows.append((LEFT_CORNERS[ring], ring, 0, 0))
            rows.append((RIGHT_CORNERS[ring], ring, 0, 10))
            rows += [(point, ring, -1, column) for column, point in enumerate(UPPER_LIP_RINGS[ring], start=1)]
            rows += [(point, ring, 1, column) for column, point in enumerate(LOWER_LIP_RINGS[ring], start=1)]
        table = np.array(rows, dtype=np.int64)
        return LipPoints(*table.T)


LIPS = LipPoints.build()
INNER_UPPER = np.array([LEFT_CORNERS[0], *UPPER_LIP_RINGS[0], RIGHT_CORNERS[0]])  # corner to corner
INNER_LOWER = np.array([LEFT_CORNERS[0], *LOWER_LIP_RINGS[0], RIGHT_CORNERS[0]])


def jaw_weights(face: F64) -> F64:
    """Return the share (468,) in 0..1 of the jaw's movement that each point of a face (468, 2) makes.

    Articulation moves lip points by rules of its own; their share only says how much of that movement the jaw explains.
    """
    mouth_y = float(face[INNER_UPPER].mean(axis=0)[1])
    down = smoothstep((face[:, 1] - (mouth_y - 0.1)) / 0.3)
    aside = smoothstep((np.abs(face[:, 0] - face[UPPER_LIP, 0]) - 0.18) / 0.42)
    weights = down * (1.0 - 0.8 * aside)
    column = np.sin(np.pi * LIPS.column / 10.0)
    weights[LIPS.index] = np.where(LIPS.side > 0, 0.35 + 0.65 * column, np.where(LIPS.side < 0, 0.0, 0.3))
    return np.asarray(weights)


def lip_followers(face: F64) -> tuple[I64, F64]:
    """Return which points pull the skin around the mouth, and how strongly.

    The first array (K,) holds the numbers of the outer lip points. The second, (468, K), says for every point of a face
    (468, 2) which share of the movement of each outer lip point it makes; the share of lip points is 0.
    """
    outer = LIPS.index[LIPS.ring == 3]
    distance = np.linalg.norm(face[:, None] - face[outer][None], axis=2)
    near = np.exp(-((distance - distance.min(axis=1, keepdims=True)) / 0.06))
    near /= near.sum(axis=1, keepdims=True)
    fade = np.exp(-((distance.min(axis=1) / 0.17) ** 2))
    fade *= 1.0 - smoothstep((0.36 - face[:, 1]) / 0.12)  # the nose does not move
    fade[LIPS.index] = 0.0
    return outer, np.asarray(near * fade[:, None])


def triangles(face: F64, extra: F64) -> I64:
    """Triangulate the mesh points (468, 2) together with `extra` points (M, 2).

    For the triangulation the mouth is opened, because no triangle may connect the upper lip with the lower one. Returns
    (T, 3) indices into the stacked points; triangles inside the mouth come first.
    """
    opened = face.copy()
    column = np.sin(np.pi * LIPS.column / 10.0)
    gap = face[INNER_LOWER, 1] - face[INNER_UPPER, 1]
    need = np.maximum(0.0, 0.12 - gap.max())
    ring_offset = 0.004 * LIPS.ring
    opened[LIPS.index, 1] += np.where(LIPS.side != 0, LIPS.side * (column * need / 2 + ring_offset), 0.0)
    below = (jaw_weights(face) > 0) & (face[:, 1] > face[LOWER_LIP, 1])
    below[LIPS.index] = False
    opened[below, 1] += need / 2 * np.exp(-(((face[below, 0] - face[LOWER_LIP, 0]) / 0.25) ** 2)) + 0.012
    found = Delaunay(np.concatenate([opened, extra])).simplices.astype(np.int64)
    inner = np.isin(found, np.concatenate([INNER_UPPER, INNER_LOWER])).all(axis=1)
    return np.concatenate([found[inner], found[~inner]])


def depth(face: F64) -> F64:
    """Return an approximate height (N,) of each point (N, 2) above the plane through the ears, in face units."""
    x, y = face[:, 0] / 0.68, (face[:, 1] - 0.25) / 0.95
    skull = 0.6 * np.sqrt(np.maximum(0.0, 1.0 - x * x - y * y))
    nose = 0.2 * np.exp(-((face[:, 0] / 0.09) ** 2)) * smoothstep((face[:, 1] + 0.05) / 0.3)
    nose *= 1.0 - smoothstep((face[:, 1] - 0.3) / 0.1)
    lips = 0.04 * np.exp(-((face[:, 0] / 0.2) ** 2) - ((face[:, 1] - 0.58) / 0.1) ** 2)
    return np.asarray(skull + nose + lips)
