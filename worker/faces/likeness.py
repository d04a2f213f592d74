"""Compare crops by the meshes of their faces: is it the same face, does something cover its mouth, what is its tone?

Colours are read at points of the mesh, so neither the pose of the head nor an open jaw counts as a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import hypot
from typing import Final

import cv2
import numpy as np

from model.arrays import F32, F64, U8, Floats
from worker.faces.tone import fit_tone

# Points of plain skin above the base of the nose, without lids, and below it, without lips.
# fmt: off
UPPER: Final = (
    3, 6, 24, 27, 30, 34, 45, 50, 56, 102, 112, 115, 118, 121, 124, 129, 133, 139, 168, 189, 195, 198, 217, 225, 228,
    231, 236, 245, 252, 255, 258, 261, 265, 277, 281, 330, 340, 343, 346, 349, 352, 357, 360, 366, 372, 412, 417, 420,
    440, 446, 449, 452, 463, 467,
)
LOWER: Final = (
    18, 43, 83, 106, 138, 164, 167, 170, 175, 182, 187, 194, 200, 202, 206, 208, 211, 213, 215, 262, 287, 322, 364, 369,
    393, 395, 406, 411, 418, 422, 426, 428, 431, 433, 435,
)
# fmt: on
SMALL_PX: Final = 96  # side to which crops are reduced before they are read
BLUR_PX: Final = 1.5
CORRELATION: Final = 0.70  # of the upper faces' brightness, below which two crops show different faces
TINT: Final = 15.0  # difference of the upper faces' colour from which on they do, in 8-bit levels
UNLIKE: Final = 20.0  # mean difference of the lower faces, in 8-bit levels, from which on something covers one of them
ALONE: Final = 0.25  # share of the agreements of the other faces, below which a lower face counts as covered
STEADY: Final = 100.0  # squared levels: keeps the gain near 1 where the upper face has little contrast
GAIN: Final = (0.6, 1.6)  # smallest and largest gain of the tone
OUTLIER: Final = 2.5  # median deviations from which on a point does not count for the tone


@dataclass(frozen=True)
class Likeness:
    """Colours of a face: of the upper face (54, 3) and of the skin of the lower face (35, 3), float32 RGB levels."""

    upper: F32
    lower: F32

    @classmethod
    def of(cls, crop: U8, points: Floats) -> Likeness:
        """Read a crop (S, S, 3) uint8 RGB at the points of its mesh (468, 2), in crop pixels."""
        colours = colours_at(crop, np.asarray(points)[[*UPPER, *LOWER]])
        return cls(colours[: len(UPPER)], colours[len(UPPER) :])

    def is_same(self, other: Likeness) -> bool:
        """Return whether both upper faces are those of the same person in similar light."""
        correlation = float((self._contrast * other._contrast).sum())
        red, green, blue = (self.colour - other.colour).tolist()
        return correlation >= CORRELATION and hypot(red - green, blue - green) < TINT

    @cached_property
    def colour(self) -> F32:
        """Return the mean colour of the upper face, (3,) RGB levels."""
        return np.asarray(self.upper.mean(axis=0))

    @cached_property
    def _contrast(self) -> F32:
        """Return the brightness of the points of the upper face, (54,) with mean 0 and length 1."""
        brightness = self.upper.mean(axis=1) - self.upper.mean()
        return np.asarray(brightness / (np.linalg.norm(brightness) + 1e-6), np.float32)

    def tone_table(self, wanted: Likeness) -> U8:
        """Return the levels (1, 256, 3) uint8 that give each channel of this face the tone of another one.

        Gain and offset are fitted to the upper faces without outliers, such as a moving highlight; the gain is bounded.
        """
        x, y = (np.ascontiguousarray(face.upper.T, np.float64) for face in (self, wanted))
        gain, offset = _line(x, y, np.ones_like(x))
        error = np.abs(gain[:, None] * x + offset[:, None] - y)
        usual = np.sort(error, axis=1)[:, error.shape[1] // 2]
        gain, offset = _line(x, y, (error <= OUTLIER * usual[:, None] + 1.0).astype(np.float64))
        levels = np.arange(256)[None, :, None] * gain + offset
        return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def _line(x: F64, y: F64, weight: F64) -> tuple[F64, F64]:
    """Return gain and offset (3,) of the best line from x to y, (3, n) with weights (3, n)."""
    gain, mean_x, mean_y = fit_tone(x, y, weight, STEADY, GAIN)
    return gain, mean_y - gain * mean_x


def colours_at(picture: U8, points: Floats) -> F32:
    """Return the colours of a picture (S, S, 3) uint8 RGB around points (n, 2) in its pixels, (n, 3) float32 levels.

    The picture is reduced and blurred first, so that its size and its grain do not matter.
    """
    small = cv2.resize(picture, (SMALL_PX, SMALL_PX), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), BLUR_PX)
    at = (np.asarray(points, np.float32) * np.float32(SMALL_PX / len(picture)) - 0.5)[:, None]
    levels = cv2.remap(smooth, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(levels, np.float32)[:, 0]


def covered_mouths(faces: Sequence[Likeness]) -> list[bool]:
    """Return for each of several faces of one person whether something covers its mouth.

    A hand or a microphone makes a lower face unlike those of the other frames that show the same upper face.
    """
    if not faces:
        return []
    lower = np.array([face.lower - face.colour for face in faces])
    same = np.eye(len(faces), dtype=bool)
    for (number, one), (other_number, other) in combinations(enumerate(faces), 2):
        same[number, other_number] = same[other_number, number] = one.is_same(other)
    near = np.array([np.abs(lower - one).mean(axis=(1, 2)) < UNLIKE for one in lower])
    agreements = (same & near).sum(axis=1) - 1
    most = np.where(same, agreements, 0).max(axis=1)
    return [bool(number < ALONE * best) for number, best in zip(agreements, most, strict=True)]
