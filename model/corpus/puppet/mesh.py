"""The face mesh as a puppet's skin: which points are lips, lids and outline, and how each follows lips and jaw.

Points are the 468 of the mediapipe face mesh; the lists below are its contours. Everything is reckoned in the face
frame: origin midway between the eyes, x to the right of the picture along the line of the eyes, y down, unit 1 from
there to the chin of the mean face (the outer corners of the eyes are 0.83 apart).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay

from model.arrays import F64, I64, Floats

EYE_SPAN = 0.83
EYES = (33, 133, 362, 263)

# Lip contours from the picture's left corner to its right one, without the corners; inner to outer.
# fmt: off
UPPER_RINGS = (
    (191, 80, 81, 82, 13, 312, 311, 310, 415),
    (183, 42, 41, 38, 12, 268, 271, 272, 407),
    (184, 74, 73, 72, 11, 302, 303, 304, 408),
    (185, 40, 39, 37, 0, 267, 269, 270, 409),
)
LOWER_RINGS = (
    (95, 88, 178, 87, 14, 317, 402, 318, 324),
    (96, 89, 179, 86, 15, 316, 403, 319, 325),
    (77, 90, 180, 85, 16, 315, 404, 320, 307),
    (146, 91, 181, 84, 17, 314, 405, 321, 375),
)
LEFT_CORNER = (78, 62, 76, 61)  # inner to outer
RIGHT_CORNER = (308, 292, 306, 291)
UPPER_LIDS = (246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398)
LOWER_LIDS = (7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382)
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
# fmt: on
CHIN = 152
POINTS = 468


def smoothstep(x: F64) -> F64:
    """Return a smooth ramp from 0 (x <= 0) to 1 (x >= 1)."""
    held = np.clip(x, 0.0, 1.0)
    return np.asarray(held * held * (3.0 - 2.0 * held))


@dataclass(frozen=True)
class FaceFrame:
    """Map the face frame to picture pixels: pixel = origin + unit * rotation @ point."""

    origin: F64
    unit_px: float
    rotation: F64

    @staticmethod
    def of(landmarks: Floats) -> FaceFrame:
        """Place the frame by the eyes of (468, 2) landmarks in pixels."""
        points = np.asarray(landmarks, np.float64)
        across = points[263] - points[33]
        span = float(np.hypot(*across))
        cosine, sine = across / span
        return FaceFrame(points[list(EYES)].mean(axis=0), span / EYE_SPAN, np.array([[cosine, -sine], [sine, cosine]]))

    def to_face(self, pixels: Floats) -> F64:
        """Map (N, 2) pixels into the face frame."""
        return np.asarray((np.asarray(pixels, np.float64) - self.origin) @ self.rotation / self.unit_px)

    def to_pixels(self, points: F64) -> F64:
        """Map (N, 2) points of the face frame into pixels."""
        return np.asarray(points @ self.rotation.T * self.unit_px + self.origin)


@dataclass(frozen=True)
class Lips:
    """Index the lip points, all (80,): index, ring 0 inner .. 3 outer, side -1 upper, 0 corner, 1 lower, column."""

    index: I64
    ring: I64
    side: I64
    column: I64  # 0 left corner .. 10 right corner

    @staticmethod
    def build() -> Lips:
        """List every lip point once."""
        rows: list[tuple[int, int, int, int]] = []
        for ring in range(4):
            rows.append((LEFT_CORNER[ring], ring, 0, 0))
            rows.append((RIGHT_CORNER[ring], ring, 0, 10))
            rows += [(point, ring, -1, column + 1) for column, point in enumerate(UPPER_RINGS[ring])]
            rows += [(point, ring, 1, column + 1) for column, point in enumerate(LOWER_RINGS[ring])]
        table = np.array(rows, dtype=np.int64)
        return Lips(*table.T)


LIPS = Lips.build()
INNER_UPPER = np.array([78, *UPPER_RINGS[0], 308])
INNER_LOWER = np.array([78, *LOWER_RINGS[0], 308])


def jaw_weights(face: F64) -> F64:
    """Return how far each point (N, 2) of the face frame follows the jaw, 0..1; lips are set apart by the caller."""
    mouth_y = float(face[INNER_UPPER].mean(axis=0)[1])
    down = smoothstep((face[:, 1] - (mouth_y - 0.1)) / 0.3)
    aside = smoothstep((np.abs(face[:, 0] - face[13, 0]) - 0.18) / 0.42)
    weights = down * (1.0 - 0.8 * aside)
    column = np.sin(np.pi * LIPS.column / 10.0)
    weights[LIPS.index] = np.where(LIPS.side > 0, 0.35 + 0.65 * column, np.where(LIPS.side < 0, 0.0, 0.3))
    return np.asarray(weights)


def lip_followers(face: F64) -> tuple[I64, F64]:
    """Return the outer lip points (K,) and how far every point follows each of them, (468, K); lip points do not."""
    outer = LIPS.index[LIPS.ring == 3]
    distance = np.linalg.norm(face[:, None] - face[outer][None], axis=2)
    near = np.exp(-((distance - distance.min(axis=1, keepdims=True)) / 0.06))
    near /= near.sum(axis=1, keepdims=True)
    fade = np.exp(-((distance.min(axis=1) / 0.17) ** 2))
    fade *= 1.0 - smoothstep((0.36 - face[:, 1]) / 0.12)  # the nose stays
    fade[LIPS.index] = 0.0
    return outer, np.asarray(near * fade[:, None])


def triangles(face: F64, extra: F64) -> I64:
    """Triangulate mesh points and `extra` ones (M, 2) with the mouth held open, so that no triangle bridges the lips.

    Returns (T, 3) indices into the stacked points, those inside the mouth first.
    """
    opened = face.copy()
    column = np.sin(np.pi * LIPS.column / 10.0)
    gap = face[INNER_LOWER, 1] - face[INNER_UPPER, 1]
    need = np.maximum(0.0, 0.12 - gap.max())
    ring_room = 0.004 * LIPS.ring
    opened[LIPS.index, 1] += np.where(LIPS.side != 0, LIPS.side * (column * need / 2 + ring_room), 0.0)
    below = (jaw_weights(face) > 0) & (face[:, 1] > face[14, 1])
    below[LIPS.index] = False
    opened[below, 1] += need / 2 * np.exp(-(((face[below, 0] - face[14, 0]) / 0.25) ** 2)) + 0.012
    found = Delaunay(np.concatenate([opened, extra])).simplices.astype(np.int64)
    inner = np.isin(found, np.concatenate([INNER_UPPER, INNER_LOWER])).all(axis=1)
    return np.concatenate([found[inner], found[~inner]])


def depth(face: F64) -> F64:
    """Return an approximate height of each point (N, 2) above the plane of the ears, in face units."""
    x, y = face[:, 0] / 0.68, (face[:, 1] - 0.25) / 0.95
    skull = 0.6 * np.sqrt(np.maximum(0.0, 1.0 - x * x - y * y))
    nose = 0.2 * np.exp(-((face[:, 0] / 0.09) ** 2)) * smoothstep((face[:, 1] + 0.05) / 0.3)
    nose *= 1.0 - smoothstep((face[:, 1] - 0.3) / 0.1)
    lips = 0.04 * np.exp(-((face[:, 0] / 0.2) ** 2) - ((face[:, 1] - 0.58) / 0.1) ** 2)
    return np.asarray(skull + nose + lips)
