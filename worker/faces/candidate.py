"""Faces of sparse frames that may become references: how they compare, and which of them are chosen.

They are compared by luma and by small crops. Only those that are chosen are cut out at full size and in colour, because
that costs more than all comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np

from model.arrays import F32, F64, U8
from worker.faces.crop import Transform, extract, extract_luma
from worker.faces.detect import Face, mouth_size
from worker.faces.frame_view import MESH_SPACING_PX
from worker.faces.likeness import SMALL_PX, Likeness
from worker.faces.pose import pose_angles
from worker.media.colour import ColourMatrix

CLOSED: Final = 0.012  # lips less open than this, in face heights, count as closed
MAX_LOOKS: Final = 4  # of one person
MAX_REFERENCES: Final = 4  # of one look
NEW_POSE: Final = 10.0  # degrees from all other references of a person from which on a pose gets its own reference
APERTURE_DEGREES: Final = 250.0  # what opening costs when a reference is chosen: degrees for one face height
BLUR_DEGREES: Final = 8.0  # the same for half of the sharpness
BLOTCH_DEGREES: Final = 30.0  # the same for twice the roughness of colour
UNSEEN_ROUGHNESS: Final = 0.3  # of colour: nobody sees less, as in a grey film
EVEN: Final = 0.5  # doublings of the usual roughness of colour that count as none


@dataclass(frozen=True)
class Candidate:
    """Face of a sparse frame.

    planes: the frame, (H * 3/2, W) uint8 I420. transform: from the frame to the crop.
    """

    planes: U8
    colour: ColourMatrix
    face: Face
    transform: Transform

    @cached_property
    def landmarks(self) -> F32:
        """Return the landmarks (468, 2) in crop pixels."""
        return self.transform.apply(self.face.landmarks).astype(np.float32)

    @cached_property
    def depths(self) -> F32:
        """Return how far each point lies behind the picture, (468,) in crop pixels."""
        return np.asarray(self.face.depths * self.transform.scale, np.float32)

    @cached_property
    def aperture(self) -> float:
        """Return how open the lips are, in face heights."""
        return mouth_size(self.face.landmarks)[0] / self.face.height_px

    @cached_property
    def angles(self) -> tuple[float, float]:
        """Return yaw and pitch in degrees."""
        return pose_angles(self)

    @cached_property
    def small(self) -> U8:
        """Return the crop at SMALL_PX, uint8 RGB."""
        return extract(self.planes, self.transform.resized(SMALL_PX), self.colour, MESH_SPACING_PX)

    @cached_property
    def likeness(self) -> Likeness:
        """Return the colours of the face, read from the small crop."""
        return Likeness.of(self.small, self.landmarks * (SMALL_PX / self.transform.size))

    @cached_property
    def sharpness(self) -> float:
        """Return the mean square of the Laplacian of the luma in the lower half of the crop, which a viewer sees."""
        seen = slice(self.transform.size // 2, self.transform.size)
        edges = cv2.Laplacian(extract_luma(self.planes, self.transform, rows=seen), cv2.CV_16S)
        return cv2.norm(edges, cv2.NORM_L2SQR) / edges.size

    @cached_property
    def roughness(self) -> float:
        """Return the mean square of the Laplacian of red and blue less green in the lower half of the small crop."""
        levels = self.small[SMALL_PX // 2 :].astype(np.float32)
        colours = cv2.GaussianBlur(levels[..., ::2] - levels[..., 1:2], (0, 0), 1.0)
        return float(np.square(cv2.Laplacian(colours, cv2.CV_32F)).mean())

    def crop(self) -> U8:
        """Cut the crop (S, S, 3) uint8 RGB out of the frame."""
        return extract(self.planes, self.transform, self.colour)


def group_by_look(faces: Sequence[Candidate]) -> list[list[Candidate]]:
    """Group faces that look alike, the largest group first: shots in another light, or another person in this place."""
    looks: list[list[Candidate]] = []
    for face in faces:
        alike = next((look for look in looks if look[0].likeness.is_same(face.likeness)), None)
        if alike is None:
            looks.append([face])
        else:
            alike.append(face)
    return sorted(looks, key=len, reverse=True)[:MAX_LOOKS]


def blotches(faces: Sequence[Candidate]) -> F64:
    """Return how much blotchier than usual the colours of each face of one look are, in doublings; of most, 0.

    Some encoders give key frames patches of red and green that the frames beside them do not have. What is rougher
    because the whole face is sharper does not count.
    """
    colour = _doublings([face.roughness for face in faces], UNSEEN_ROUGHNESS)
    luma = _doublings([face.sharpness for face in faces])
    return np.clip(colour - np.clip(luma, 0.0, None) - EVEN, 0.0, None)


def _doublings(values: Sequence[float], least: float = 1e-6) -> F64:
    """Return how often the median must be doubled to give each value; what is below `least` counts as `least`."""
    positive = np.maximum(values, least)  # a face of one colour has no edges at all
    return np.asarray(np.log2(positive / np.median(positive)))


def cover_poses(faces: Sequence[Candidate]) -> list[Candidate]:
    """Return the best references of one look: the main one, then further ones for other poses."""
    if not faces:
        return []
    angles = np.array([face.angles for face in faces])
    centre = np.median(angles, axis=0)
    blur = np.clip(-_doublings([face.sharpness for face in faces]), 0.0, None) * BLUR_DEGREES
    opening = np.array([max(0.0, face.aperture - CLOSED) * APERTURE_DEGREES for face in faces])
    cost = opening + blur + blotches(faces) * BLOTCH_DEGREES
    chosen = [int(np.argmin(cost + 0.5 * np.hypot(*(angles - centre).T)))]
    while len(chosen) < MAX_REFERENCES:
        distance = np.min([np.hypot(*(angles - angles[number]).T) for number in chosen], axis=0)
        if not (distance >= NEW_POSE).any():
            break
        chosen.append(int(np.argmin(np.where(distance >= NEW_POSE, cost - 0.5 * distance, np.inf))))
    return [faces[number] for number in chosen]
