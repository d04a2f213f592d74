"""Give the network a reference at rest, so that it follows the voice and not the lips that were filmed.

A network that is shown the very frame it has to redraw can copy the old mouth out of it. So the reference is another
crop of the same face with its lips as closed as a few sparse frames of the clip show them. Which one belongs to a crop
is judged by its upper part, which speech leaves alone; where none is like it (a head turned away, a shot that was not
seen), the crop is its own reference, with a smooth passage between. Each crop is judged by itself: local in time.

The same sparse frames say how large the faces are, and so how large crops must be to keep the detail that was filmed:
a network that composes what it draws with the crop's own pixels is given as many of them as there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np

from model.arrays import F32, U8
from model.framing import Framing
from worker.faces.crop import extract, face_transform
from worker.faces.detect import Face, mouth_size
from worker.media.colour import ColourMatrix

LIKENESS_PX: Final = (16, 8)  # to which the upper part is shrunk for comparing
ALIKE: Final = 14.0  # mean difference in 8-bit levels up to which two crops show the same face alike
MAX_DETAIL: Final = 5  # crops are at most so many times as wide as the network
SLACK: Final = 0.05  # by so much of the network's width may a crop be smaller than what was filmed
STRANGE: Final = 26.0  # from which on they do not


class CropShape(Protocol):
    """What cutting a crop takes."""

    @property
    def image_size(self) -> int:
        """Return the side in pixels."""

    @property
    def framing(self) -> Framing:
        """Return which square of the face it is."""

    @property
    def keeps_detail(self) -> bool:
        """Say whether crops may be larger than the side."""


@dataclass(frozen=True)
class Sighting:
    """One sparse frame: planes (H * 3/2, W) uint8 and its faces."""

    planes: U8
    faces: list[Face]


class RestingFaces:
    """Hold the calmest crop of each face and view; `size` is the side of all crops of the clip.

    crops: (P, P, 3) uint8 RGB each, the calmest first.
    """

    def __init__(self, crops: Sequence[U8], shape: CropShape) -> None:
        self.crops = list(crops)
        self.size = len(self.crops[0]) if self.crops else shape.image_size
        self._hidden_from = shape.framing.hidden_from
        self._likenesses = [_likeness(crop, self._hidden_from) for crop in self.crops]

    @classmethod
    def seen_in(cls, sightings: Sequence[Sighting], shape: CropShape, colour: ColourMatrix) -> RestingFaces:
        """Choose from the sparse frames."""
        seen = [(_aperture(face), one.planes, face.landmarks) for one in sightings for face in one.faces]
        size = crop_size([landmarks for _, _, landmarks in seen], shape)
        crops: list[U8] = []
        likenesses: list[F32] = []
        for _, planes, landmarks in sorted(seen, key=lambda entry: entry[0]):
            crop = extract(planes, face_transform(landmarks, shape.framing, size), colour)
            likeness = _likeness(crop, shape.framing.hidden_from)
            if all(float(np.abs(likeness - other).mean()) > ALIKE for other in likenesses):
                crops.append(crop)
                likenesses.append(likeness)
        return cls(crops, shape)

    def references(self, crops: U8) -> U8:
        """Return a reference for each crop, both (N, S, S, 3) uint8 RGB."""
        return np.stack([self._reference(crop) for crop in crops])

    def _reference(self, crop: U8) -> U8:
        likeness = _likeness(crop, self._hidden_from)
        gaps = [float(np.abs(likeness - other).mean()) for other in self._likenesses]
        if not gaps:
            return crop
        share = float(np.clip((STRANGE - min(gaps)) / (STRANGE - ALIKE), 0.0, 1.0))
        rest = self.crops[int(np.argmin(gaps))]
        return np.asarray(cv2.addWeighted(rest, share, crop, 1.0 - share, 0.0), np.uint8)


def _aperture(face: Face) -> float:
    """Return how open the lips are, in face heights."""
    return mouth_size(face.landmarks)[0] / face.height_px


def crop_size(faces: Sequence[F32], shape: CropShape) -> int:
    """Return the side of crops that keep the detail of most faces (468, 2), a multiple of the network's own."""
    if not shape.keeps_detail or not faces:
        return shape.image_size
    sides_px = [shape.image_size / face_transform(face, shape.framing, shape.image_size).scale for face in faces]
    return shape.image_size * int(np.clip(np.ceil(np.median(sides_px) / shape.image_size - SLACK), 1, MAX_DETAIL))


def _likeness(crop: U8, hidden_from: float) -> F32:
    """Return the middle of a crop's upper part, shrunk to grey levels about zero, (8, 16) float32."""
    size = crop.shape[0]
    grey = cv2.cvtColor(crop[: round(size * hidden_from), size // 8 : size - size // 8], cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, LIKENESS_PX, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - small.mean(), np.float32)
