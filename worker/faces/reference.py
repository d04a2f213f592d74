"""Choose the reference crops of a clip: crops with the mouth at rest, so that the network follows the voice.

A network that is shown the frame it has to redraw can copy the old mouth from it. The reference is therefore another
crop of the same face, with its lips as closed as in any of a few sparse frames of the clip. Which reference belongs to
a crop is decided by the upper part of the crop, which does not move in speech. If no reference is similar (the head is
turned away, the shot was not among the sparse frames), the crop is its own reference; between these two cases the
reference changes smoothly. Each crop is judged alone, so the result is local in time.

The sparse frames also show how large the faces are, and how large crops must be to keep the filmed detail. A network
that composes its output with the pixels of the crop gets crops of that size.
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

THUMBNAIL_PX: Final = (16, 8)  # width and height of the reduced upper part that is compared
SIMILAR: Final = 14.0  # mean difference in 8-bit levels up to which two crops show the same face in the same view
DIFFERENT: Final = 26.0  # mean difference from which on they do not
MAX_DETAIL: Final = 5  # largest width of crops, in widths of the network
SLACK: Final = 0.05  # how much smaller than the filmed face a crop may be, in widths of the network


class CropShape(Protocol):
    """Shape of the crops that a network takes."""

    @property
    def image_size(self) -> int:
        """Return the side of the network's crops in pixels."""

    @property
    def framing(self) -> Framing:
        """Return which square of the face a crop shows."""

    @property
    def keeps_detail(self) -> bool:
        """Return whether crops may be larger than `image_size` by a whole factor, and keep their detail."""


@dataclass(frozen=True)
class SparseFrame:
    """Sparse frame of a clip: planes (H * 3/2, W) uint8 I420 and its faces."""

    planes: U8
    faces: list[Face]


class ReferenceCrops:
    """Reference crops of a clip, one for each face and view.

    crops: (P, P, 3) uint8 RGB each, the most closed mouth first. size: side of all crops of the clip in pixels.
    """

    def __init__(self, crops: Sequence[U8], shape: CropShape) -> None:
        self.crops = list(crops)
        self.size = len(self.crops[0]) if self.crops else shape.image_size
        self._hidden_from = shape.framing.hidden_from
        self._thumbnails = [_thumbnail(crop, self._hidden_from) for crop in self.crops]

    @classmethod
    def choose(cls, sparse: Sequence[SparseFrame], shape: CropShape, colour: ColourMatrix) -> ReferenceCrops:
        """Choose the reference crops from the sparse frames of a clip."""
        seen = [(_aperture(face), frame.planes, face.landmarks) for frame in sparse for face in frame.faces]
        size = crop_size([landmarks for _, _, landmarks in seen], shape)
        crops: list[U8] = []
        thumbnails: list[F32] = []
        for _, planes, landmarks in sorted(seen, key=lambda entry: entry[0]):
            crop = extract(planes, face_transform(landmarks, shape.framing, size), colour)
            thumbnail = _thumbnail(crop, shape.framing.hidden_from)
            if all(_difference(thumbnail, other) > SIMILAR for other in thumbnails):
                crops.append(crop)
                thumbnails.append(thumbnail)
        return cls(crops, shape)

    def for_crops(self, crops: U8) -> U8:
        """Return the reference of each crop, both (N, S, S, 3) uint8 RGB."""
        return np.stack([self._for_crop(crop) for crop in crops])

    def _for_crop(self, crop: U8) -> U8:
        thumbnail = _thumbnail(crop, self._hidden_from)
        differences = [_difference(thumbnail, other) for other in self._thumbnails]
        if not differences:
            return crop
        share = float(np.clip((DIFFERENT - min(differences)) / (DIFFERENT - SIMILAR), 0.0, 1.0))
        nearest = self.crops[int(np.argmin(differences))]
        return np.asarray(cv2.addWeighted(nearest, share, crop, 1.0 - share, 0.0), np.uint8)


def crop_size(faces: Sequence[F32], shape: CropShape) -> int:
    """Return the side of crops that keep the detail of most faces (468, 2), a multiple of the network's side."""
    if not shape.keeps_detail or not faces:
        return shape.image_size
    sides_px = [shape.image_size / face_transform(face, shape.framing, shape.image_size).scale for face in faces]
    return shape.image_size * int(np.clip(np.ceil(np.median(sides_px) / shape.image_size - SLACK), 1, MAX_DETAIL))


def _aperture(face: Face) -> float:
    """Return how open the lips are, in face heights."""
    return mouth_size(face.landmarks)[0] / face.height_px


def _thumbnail(crop: U8, hidden_from: float) -> F32:
    """Return the middle of the upper part of a crop, reduced to grey levels with mean zero, (8, 16) float32."""
    size = crop.shape[0]
    grey = cv2.cvtColor(crop[: round(size * hidden_from), size // 8 : size - size // 8], cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, THUMBNAIL_PX, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small - small.mean(), np.float32)


def _difference(a: F32, b: F32) -> float:
    """Return the mean absolute difference of two thumbnails, in 8-bit levels."""
    return float(np.abs(a - b).mean())
