"""The inside of each person's mouth, at the size of the crops: borrowed from the clip, or else modelled.

A network of 96 px paints teeth as a grey bar. The sparse frames of a clip often show the real ones, so the inside of
the mouth is cut out of the frame that shows the most teeth (worker/faces/open_mouth.py). Upper teeth belong to the
skull, lower teeth to the jaw. What no frame shows is modelled (model/teeth.py), in the colour of this person's teeth as
far as it was seen.

The interior of a person is chosen once for a clip. From frame to frame it follows the motion of the skull
(worker/faces/pose.py) and the light of the face, and nothing else, so it does not flicker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import cv2
import numpy as np

from model.arrays import F64, U8
from model.face_points import (
    BELOW_NOSE,
    LEFT_CHEEK,
    LEFT_CORNERS,
    LOWER_LIDS,
    LOWER_LIP,
    LOWER_LIP_RINGS,
    RIGHT_CHEEK,
    RIGHT_CORNERS,
    UPPER_LIDS,
    UPPER_LIP,
    UPPER_LIP_RINGS,
)
from model.framing import Framing
from model.interior import Interior
from model.teeth import MouthPlace, model_lower, model_upper
from worker.faces.crop import fit_affine
from worker.faces.likeness import Likeness
from worker.faces.open_mouth import LUMA, MouthCrop, bright_colour, cut_layers, teeth_area, teeth_pixels
from worker.faces.pose import Carrier, PosedFace
from worker.faces.reference import SeenFace

ENOUGH_UPPER: Final = 0.006  # area of teeth from which on they are borrowed, in square template units
ENOUGH_LOWER: Final = 0.003  # the same for lower teeth
ENOUGH_COLOUR: Final = 0.0005  # area of teeth from which on their colour is known
TONE_RANGE: Final = (0.7, 1.4)  # smallest and largest change of the light
# Brightness of well lit teeth from that of the skin and of the eyes, fitted by eye to a dozen people who show theirs.
TEETH_OVER_SKIN, TEETH_ABOVE_SKIN, TEETH_OVER_EYES = 0.7, 30.0, 1.3
EYE_PERCENTILE: Final = 90.0  # pixels between the lids brighter than this share are white
CHEEK: Final = 0.04  # half the side of the squares that the light is read from, in template units
CAVITY: Final = (0.26, 0.13, 0.12)  # colour of the depth of the mouth, as a share of the teeth's
ENLARGED: Final = 2  # how much larger layers are kept, so that they can be read quickly
AROUND_MOUTH: Final = (*BELOW_NOSE, *UPPER_LIP_RINGS[3], LEFT_CORNERS[3], RIGHT_CORNERS[3], *LOWER_LIP_RINGS[3])


class FaceCrop(PosedFace, Protocol):
    """Crop of a face: landmarks and depths in pixels of the crop, and the number of the person."""

    @property
    def crop(self) -> U8:
        """Return the pixels, (P, P, 3) uint8 RGB."""

    @property
    def person(self) -> int:
        """Return the number of the person."""


@dataclass(frozen=True)
class _Mouth:
    """Inside of one person's mouth.

    interior: in the pixels of a crop. points: the landmarks around its mouth, (n, 2). carrier: the rule that carries
    those. likeness: the colours of the face in that crop.
    """

    interior: Interior
    points: F64
    carrier: Carrier
    likeness: Likeness


class Interiors:
    """The insides of the mouths of a clip, one for each person."""

    def __init__(self, mouths: dict[int, _Mouth]) -> None:
        self._mouths = mouths

    @classmethod
    def choose(cls, resting: Sequence[FaceCrop], opened: Sequence[FaceCrop], framing: Framing) -> Interiors:
        """Choose or model the inside of each person's mouth.

        resting: crops with closed lips, the most important one of each person first. opened: crops as filmed.
        """
        mouths: dict[int, _Mouth] = {}
        for face in resting:
            if face.person not in mouths:
                own = Likeness.of(face.crop, face.landmarks)
                alike = [
                    one
                    for one in opened
                    if one.person == face.person and own.is_same(Likeness.of(one.crop, one.landmarks))
                ]
                mouths[face.person] = _mouth_of(face, alike, framing)
        return cls(mouths)

    def for_faces(self, seen: Sequence[SeenFace]) -> list[Interior | None]:
        """Return the inside of the mouth in the crop of each face; None for a face that was not seen before."""
        return [self._in_crop(face) for face in seen]

    def _in_crop(self, seen: SeenFace) -> Interior | None:
        mouth, likeness = self._mouths.get(seen.person), seen.likeness
        if mouth is None or not likeness.is_same(mouth.likeness):
            return None
        motion = fit_affine(mouth.points, mouth.carrier.carry(seen.points).astype(np.float64))
        light = likeness.colour / np.maximum(mouth.likeness.colour, 1.0)
        return replace(mouth.interior, motion=motion, light=np.clip(light, *TONE_RANGE).astype(np.float64))


def _mouth_of(resting: FaceCrop, opened: Sequence[FaceCrop], framing: Framing) -> _Mouth:
    """Return the inside of one person's mouth: from the open mouth that shows the most teeth, or modelled."""
    mouths = [_mouth_crop(face, framing) for face in opened]
    areas = [teeth_area(mouth) for mouth in mouths]
    best = int(np.argmax(areas)) if areas else -1
    borrows = best >= 0 and areas[best] >= ENOUGH_UPPER
    face, mouth = (opened[best], mouths[best]) if borrows else (resting, _mouth_crop(resting, framing))
    place = mouth_place(mouth, teeth_colour(mouths))
    if borrows:
        upper, lower, area = cut_layers(mouth)
    else:
        upper, area = model_upper(place), 0.0
    if area < ENOUGH_LOWER:
        lower = model_lower(place)
    red, green, blue = (float(level) for level in np.array(place.teeth) * CAVITY)
    interior = Interior(upper.enlarged(ENLARGED), lower.enlarged(ENLARGED), place.lip, (red, green, blue))
    around = list(AROUND_MOUTH)
    likeness = Likeness.of(face.crop, face.landmarks)
    return _Mouth(interior, mouth.points[around], Carrier.of(face, around), likeness)


def _mouth_crop(face: FaceCrop, framing: Framing) -> MouthCrop:
    return MouthCrop(face.crop, np.asarray(face.landmarks, np.float64), len(face.crop) / framing.side)


def mouth_place(mouth: MouthCrop, teeth: F64 | None) -> MouthPlace:
    """Return the place of the teeth in a crop, and their light; teeth: their colour (3,) as far as it is known."""
    points = mouth.points
    left, right = (_patch(mouth, points[number]) for number in (LEFT_CHEEK, RIGHT_CHEEK))
    across = max(0.1, float(points[RIGHT_CHEEK, 0] - points[LEFT_CHEEK, 0]) / mouth.unit_px)
    contrast = float((right - left).sum() / max(1.0, float((left + right).sum())))
    skin = np.maximum(1.0, (left + right) / 2)
    light = float(skin @ LUMA)
    # Teeth of dark and of light skin are alike. The white of the eyes tells how much light there is, unless they are
    # shut; then only the skin does.
    level = max(TEETH_OVER_SKIN * light + TEETH_ABOVE_SKIN, TEETH_OVER_EYES * _eye_light(mouth))
    cast = (0.65 + 0.35 * skin / light) * (1.04, 1.0, 0.93)
    if teeth is not None:
        seen = max(1.0, float(teeth @ LUMA))
        level = float(np.clip(seen, 0.8 * level, 1.3 * level))
        cast = (cast + np.clip(teeth / seen, 0.8 * cast, 1.2 * cast)) / 2
    red, green, blue = (float(channel) for channel in np.clip(level * cast, 0, 235))
    middle_x = float(points[[UPPER_LIP, LOWER_LIP], 0].mean())
    lip_y = float(points[LOWER_LIP, 1])
    side_light = float(np.clip(2 * contrast / across, -0.8, 0.8))
    return MouthPlace((middle_x, lip_y), mouth.unit_px, (red, green, blue), side_light)


def _eye_light(mouth: MouthCrop) -> float:
    """Return how bright the white of the eyes is, 0..255; 0 if the crop does not show the eyes."""
    grey = cv2.cvtColor(mouth.crop, cv2.COLOR_RGB2GRAY)
    inside = np.zeros_like(grey)
    half = len(UPPER_LIDS) // 2
    for eye in (slice(0, half), slice(half, None)):
        outline = mouth.points[[*list(UPPER_LIDS)[eye], *list(LOWER_LIDS)[eye][::-1]]]
        cv2.fillPoly(inside, [np.rint(outline).astype(np.int32)], (1.0,))
    return float(np.percentile(grey[inside > 0], EYE_PERCENTILE)) if inside.any() else 0.0


def teeth_colour(mouths: Sequence[MouthCrop]) -> F64 | None:
    """Return the colour of the brightest teeth that some crops show, RGB (3,) 0..255; None if they show too little."""
    pixels = [teeth_pixels(mouth) for mouth in mouths]
    area = sum(len(seen) / mouth.unit_px**2 for seen, mouth in zip(pixels, mouths, strict=True))
    return bright_colour(np.concatenate(pixels)) if area >= ENOUGH_COLOUR else None


def _patch(mouth: MouthCrop, at: F64) -> F64:
    """Return the mean colour (3,) of the square around a point of a crop."""
    x, y = np.clip(np.rint(at).astype(int), 0, len(mouth.crop) - 1)
    reach = max(1, round(CHEEK * mouth.unit_px))
    square = mouth.crop[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return np.asarray(square.mean(axis=(0, 1)), np.float64)
