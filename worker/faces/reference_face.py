"""A face that serves as a reference: its crop, copies of it that can be read quickly, and its way into other crops."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np

from model.arrays import F32, U8
from model.known_pixels import own_place
from worker.faces.candidate import CLOSED, Candidate
from worker.faces.closing import close_lips
from worker.faces.likeness import Likeness
from worker.faces.pose import Carrier, warp_shift

ENLARGED: Final = 2  # how much larger a reference is kept, so that it can be read quickly
SMOOTHED: Final = 3  # size of the copy of a reference from which the network's is read, in sizes of the network; odd


@dataclass(frozen=True)
class ReferenceFace:
    """Crop of a face with its mesh.

    crop: (P, P, 3) uint8 RGB. landmarks: landmarks (468, 2) float32 in crop pixels. depths: (468,) float32 in crop
    pixels, greater for points farther away. aperture: opening of the lips as filmed, in face heights. person: number of
    the person, from left to right; 0 if only one is redrawn.
    """

    crop: U8
    landmarks: F32
    depths: F32
    aperture: float
    person: int = 0

    @classmethod
    def of(cls, face: Candidate, person: int) -> ReferenceFace:
        """Cut a face out of its sparse frame."""
        return cls(face.crop(), face.landmarks, face.depths, face.aperture, person)

    @cached_property
    def carrier(self) -> Carrier:
        """Return the rule that carries the points of this face into other crops."""
        return Carrier.of(self)

    @cached_property
    def likeness(self) -> Likeness:
        """Return the colours of the face."""
        return Likeness.of(self.crop, self.landmarks)

    @cached_property
    def enlarged(self) -> U8:
        """Return the crop at ENLARGED times its size, (E, E, 3), to be read linearly."""
        size = (ENLARGED * len(self.crop), ENLARGED * len(self.crop))
        return np.asarray(cv2.resize(self.crop, size, interpolation=cv2.INTER_CUBIC), np.uint8)

    @cached_property
    def _copies(self) -> dict[int, U8]:
        """Return the copies that `smoothed` has made, by size."""
        return {}

    def smoothed(self, size: int) -> U8:
        """Return a copy from which single pixels may be read at a network's size, (SMOOTHED * size, ..., 3).

        Each of its pixels is the mean of the square that one of the network's covers, against aliasing.
        """
        if size not in self._copies:
            side = SMOOTHED * size
            resampling = cv2.INTER_AREA if side < len(self.crop) else cv2.INTER_CUBIC
            fine = cv2.resize(self.crop, (side, side), interpolation=resampling)
            smooth = cv2.blur(fine, (SMOOTHED, SMOOTHED)) if len(self.crop) > size else fine
            self._copies[size] = np.asarray(smooth, np.uint8)
        return self._copies[size]

    def shift_to(self, points: F32) -> F32:
        """Return how far the places of a crop with these landmarks (468, 2) are from those of the face; see pose.py."""
        return warp_shift(self.carrier.carry(points), self.landmarks, len(self.crop))

    def seen_by_network(self, shift: F32, size: int) -> U8:
        """Return the face, moved by a shift of `shift_to`, as a network of some size sees it, (size, size, 3)."""
        picture = self.smoothed(size)
        field = cv2.resize(shift, (size, size)) * np.float32(len(picture)) + own_place(size, len(picture))
        seen = cv2.remap(picture, field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return np.asarray(seen, np.uint8)

    def with_closed_lips(self) -> ReferenceFace:
        """Return the face with its lips closed; a face whose lips are closed stays as it is."""
        if self.aperture < CLOSED:
            return self
        crop, points = close_lips(self.crop, self.landmarks)
        return ReferenceFace(crop, points, self.depths, self.aperture, self.person)
