"""The inside of each person's mouth, at the size of the crops: borrowed from the clip, or else modelled.

A network of 96 px paints teeth as a grey bar. The sparse frames of a clip often show the real ones, so the inside of
the mouth is cut out of the frame that shows the most teeth. The part above the gap between the rows of teeth belongs
to the skull, and the part below it to the jaw. Both are continued a little under the lips that hid the rest. If no
frame shows enough, the teeth are modelled (model/teeth.py), in the colour of this person's teeth as far as it was seen.

The interior of a person is chosen once for a clip. From frame to frame it follows the motion of the skull
(worker/faces/pose.py) and the light of the face, and nothing else, so it does not flicker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np

from model.arrays import F32, F64, U8
from model.composition import Interior
from model.face_points import (
    BELOW_NOSE,
    LEFT_CHEEK,
    LEFT_CORNERS,
    LOWER_LIP,
    LOWER_LIP_RINGS,
    RIGHT_CHEEK,
    RIGHT_CORNERS,
    UPPER_LIP,
    UPPER_LIP_RINGS,
)
from model.framing import Framing
from model.teeth import MouthPlace, model_interior
from worker.faces.crop import Transform
from worker.faces.likeness import Likeness
from worker.faces.pose import Carrier, PosedFace

REACH: Final = 0.09  # how far a layer is continued under the lips, in template units
INSET: Final = 0.004  # pixels nearer to the lips than this show lip, in template units
LIP_REACH: Final = 0.04  # how far outside the mesh may place the inner edge of a lip, in template units
SPLIT_RANGE: Final = (0.3, 0.85)  # where the upper layer may end, as a share of the opening's height
ENOUGH_TEETH: Final = 0.004  # area of teeth from which on they are borrowed, in square template units
ENOUGH_COLOUR: Final = 0.0004  # area of teeth from which on their colour is known
TONE_RANGE: Final = (0.7, 1.4)  # smallest and largest change of the light
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

    interior: in the pixels of `points`, (468, 2), the landmarks of the crop it belongs to. carrier: the rule that
    carries those. likeness: the colours of its face.
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
                candidates = [other for other in opened if other.person == face.person]
                mouths[face.person] = _mouth_of(face, candidates, framing)
        return cls(mouths)

    def for_faces(
        self, crops: U8, faces: Sequence[F32], transforms: Sequence[Transform], persons: Sequence[int]
    ) -> list[Interior | None]:
        """Return the inside of the mouth in each crop (N,P,P,3); None for a face that was not seen before.

        faces: landmarks (468, 2) of each crop in frame pixels. transforms: from the frame to each crop. persons: number
        of each crop's person.
        """
        points = [transform.apply(face) for face, transform in zip(faces, transforms, strict=True)]
        return [self._in_crop(*one) for one in zip(crops, points, persons, strict=True)]

    def _in_crop(self, crop: U8, points: F64, person: int) -> Interior | None:
        mouth = self._mouths.get(person)
        if mouth is None:
            return None
        likeness = Likeness.of(crop, points)
        if not likeness.is_same(mouth.likeness):
            return None
        rows = list(AROUND_MOUTH)
        motion = fit_affine(mouth.points[rows], mouth.carrier.carry(points)[rows].astype(np.float64))
        light = np.clip(likeness.upper.mean(axis=0) / np.maximum(mouth.likeness.upper.mean(axis=0), 1.0), *TONE_RANGE)
        return carry_interior(mouth.interior, motion, light.astype(np.float64))


def carry_interior(interior: Interior, motion: F64, light: F64) -> Interior:
    """Move an interior by an affine map (2, 3) of crop pixels and multiply its colours by the light (3,)."""
    height, width = interior.upper.shape[:2]
    x, y = (interior.left, interior.left + width), (interior.top, interior.top + height)
    corners = np.array([(x[0], y[0]), (x[1], y[0]), (x[0], y[1]), (x[1], y[1])], np.float64)
    moved = corners @ motion[:, :2].T + motion[:, 2]
    left, top = np.floor(moved.min(axis=0)).astype(int)
    right, bottom = np.ceil(moved.max(axis=0)).astype(int)
    # index of the old layer -> crop pixels -> index of the new layer
    offset = motion[:, :2] @ (interior.left + 0.5, interior.top + 0.5) + motion[:, 2] - (left + 0.5, top + 0.5)
    matrix = np.concatenate([motion[:, :2], offset[:, None]], axis=1)
    gain = (*(float(share) for share in light), 1.0)
    layers = [
        np.asarray(cv2.multiply(cv2.warpAffine(layer, matrix, (right - left, bottom - top)), gain), np.uint8)
        for layer in (interior.upper, interior.lower)
    ]
    middle = left + (right - left) / 2
    before = np.linalg.inv(motion[:, :2]) @ (np.array([middle, 0.0]) - motion[:, 2])
    lip = motion[:, :2] @ (before[0], interior.lip_y) + motion[:, 2]
    cavity = tuple(float(level) for level in np.array(interior.cavity) * light)
    return Interior(layers[0], layers[1], int(left), int(top), float(lip[1]), (cavity[0], cavity[1], cavity[2]))


def fit_affine(source: F64, target: F64) -> F64:
    """Fit an affine map (2, 3) from source (N, 2) to target (N, 2) by least squares."""
    mean, mean_target = source.mean(axis=0), target.mean(axis=0)
    a, b = source - mean, target - mean_target
    linear = np.linalg.solve(a.T @ a, a.T @ b).T
    return np.concatenate([linear, (mean_target - linear @ mean)[:, None]], axis=1)


def _mouth_of(resting: FaceCrop, opened: Sequence[FaceCrop], framing: Framing) -> _Mouth:
    """Return the inside of one person's mouth: from the open mouth that shows the most teeth, or modelled."""
    scores = [teeth_score(face.crop, np.asarray(face.landmarks, np.float64), framing) for face in opened]
    best = int(np.argmax(scores)) if scores else 0
    if scores and scores[best] >= ENOUGH_TEETH:
        chosen = opened[best]
        points = np.asarray(chosen.landmarks, np.float64)
        interior = borrow(chosen.crop, points, framing)
    else:
        chosen = resting
        points = np.asarray(chosen.landmarks, np.float64)
        interior = model_interior(mouth_place(chosen.crop, points, framing, teeth_colour(opened, framing)))
    return _Mouth(interior, points, Carrier.of(chosen), Likeness.of(chosen.crop, points))


def mouth_place(crop: U8, points: F64, framing: Framing, teeth: F64 | None) -> MouthPlace:
    """Return the place of the mouth in a crop with closed lips, and its light; teeth: their colour (3,) if known."""
    middle = points[[UPPER_LIP, LOWER_LIP]].mean(axis=0)
    cheeks = [_patch(crop, points[number], len(crop) * 0.03) for number in (LEFT_CHEEK, RIGHT_CHEEK)]
    across = max(1.0, float(points[RIGHT_CHEEK, 0] - points[LEFT_CHEEK, 0])) * framing.side / len(crop)
    dark, bright = (float(cheek.mean()) for cheek in cheeks)
    side = float(np.clip((bright - dark) / max(1.0, bright + dark) * 2 / across, -0.8, 0.8))
    if teeth is None:
        skin = np.maximum(1.0, (cheeks[0] + cheeks[1]) / 2)
        light = float(skin @ (0.299, 0.587, 0.114))
        cast = 0.65 + 0.35 * skin / light
        teeth = np.array([1.04, 1.0, 0.92]) * cast * (0.5 * light + 75)
    colour = tuple(float(level) for level in np.clip(teeth, 0, 235))
    unit_px = len(crop) / framing.side
    return MouthPlace(float(middle[0]), float(middle[1]), unit_px, (colour[0], colour[1], colour[2]), side)


def teeth_colour(faces: Sequence[FaceCrop], framing: Framing) -> F64 | None:
    """Return the colour of the brightest teeth that some crops show, RGB (3,) 0..255; None if they show too little."""
    found: list[U8] = []
    area = 0.0
    for face in faces:
        points = np.asarray(face.landmarks, np.float64)
        lips = lip_contours(points, len(face.crop))
        rows = np.arange(len(face.crop))[:, None] + 0.5
        teeth = (tooth_and_lip(face.crop, points)[0] > 0.6) & (rows > lips.top) & (rows < lips.bottom)
        found.append(face.crop[teeth])
        area += float(teeth.sum()) * (framing.side / len(face.crop)) ** 2
    if area < ENOUGH_COLOUR:
        return None
    pixels = np.concatenate(found).astype(np.float64)
    light = pixels.sum(axis=1)
    return np.asarray(pixels[light >= np.percentile(light, 70)].mean(axis=0))


def _patch(crop: U8, at: F64, radius: float) -> F64:
    """Return the mean colour (3,) of the square around a point of a crop."""
    x, y = np.clip(np.rint(at).astype(int), 0, len(crop) - 1)
    reach = max(1, round(radius))
    return np.asarray(crop[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].mean(axis=(0, 1)))


@dataclass(frozen=True)
class Contours:
    """Inner edges of the lips in each column of a crop, top and bottom (w,), and the corners' x."""

    top: F64
    bottom: F64
    left: float
    right: float


def lip_contours(points: F64, width: int) -> Contours:
    """Return the inner edges of the lips in each column of a crop for its landmarks (468, 2)."""
    left, right = points[LEFT_CORNERS[0]], points[RIGHT_CORNERS[0]]
    x = np.arange(width) + 0.5
    edges = []
    for ring in (UPPER_LIP_RINGS[0], LOWER_LIP_RINGS[0]):
        line = np.concatenate([left[None], points[list(ring)], right[None]])
        order = np.argsort(line[:, 0])
        edges.append(np.interp(x, line[order, 0], line[order, 1]))
    return Contours(edges[0], np.maximum(edges[1], edges[0]), float(left[0]), float(right[0]))


def teeth_score(crop: U8, points: F64, framing: Framing) -> float:
    """Return how much of well lit teeth a crop shows, in square template units."""
    unit = len(crop) / framing.side
    lips = lip_contours(points, len(crop))
    rows = np.arange(len(crop))[:, None] + 0.5
    height = np.maximum(lips.bottom - lips.top, 1e-3)
    share = (rows - lips.top) / height
    inside = (share > 0) & (share < 1)
    if inside.sum() < 0.002 * unit**2:
        return 0.0
    teeth, _ = tooth_and_lip(crop, points)
    return float((teeth * inside * np.where(share < 0.6, 1.0, 0.4)).sum() / unit**2)


def tooth_and_lip(crop: U8, points: F64) -> tuple[F32, F32]:
    """Return how much each pixel looks like a tooth, and how much like lips, both (P,P) 0..1.

    Teeth are as bright as lips and less red; what is dark is neither.
    """
    light, red, _ = cv2.split(cv2.cvtColor(crop, cv2.COLOR_RGB2YCrCb).astype(np.float32))
    lips = np.concatenate([points[list(ring)] for ring in (*UPPER_LIP_RINGS[1:3], *LOWER_LIP_RINGS[1:3])])
    columns, rows = np.clip(np.rint(lips - 0.5).astype(int), 0, len(crop) - 1).T
    lip_light, lip_red = float(np.median(light[rows, columns])), float(np.median(red[rows, columns]))
    redness = (red - 128) / max(4.0, lip_red - 128)
    teeth = _ramp(light / lip_light, 0.6, 0.95) * _ramp(1 - redness, 0.2, 0.5)
    lip = _ramp(light / lip_light, 0.45, 0.7) * _ramp(redness, 0.6, 0.85)
    return teeth, lip


def borrow(crop: U8, points: F64, framing: Framing) -> Interior:
    """Cut the inside of an open mouth out of a crop (P,P,3) uint8 with landmarks (468,2) in its pixels."""
    size = len(crop)
    unit = size / framing.side
    lips = lip_contours(points, size)
    reach, inset = REACH * unit, max(0.5, INSET * unit)
    left, right = int(lips.left), int(np.ceil(lips.right))
    top, bottom = int(lips.top[left:right].min() - reach), int(np.ceil(lips.bottom[left:right].max() + reach))
    top, bottom = max(0, top), min(size, bottom)
    columns = slice(left, right)
    up, low = _between_lips(tooth_and_lip(crop, points)[1], lips, columns, LIP_REACH * unit)
    up, low = up + inset, low - inset
    low = np.maximum(low, up)
    split = split_rows(crop, up, low, left)
    rows = np.arange(top, bottom)[:, None] + 0.5
    x = np.broadcast_to(np.arange(left, right, dtype=np.float32), (bottom - top, right - left))
    feather = max(1.0, 0.01 * unit)
    ends = np.clip((low - up) / (0.02 * unit), 0, 1)
    ends = cv2.blur(ends[None].astype(np.float32), (max(3, int(0.03 * unit)) | 1, 1))[0]
    layers = []
    for upper in (True, False):
        source = np.clip(rows, up, None) if upper else np.clip(rows, None, low)
        source = np.asarray(np.clip(source, up, low) - 0.5, np.float32)
        colour = cv2.remap(crop, x, source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        near = np.clip((split - rows if upper else rows - split) / (2 * feather) + 0.5, 0, 1)
        far = np.clip(1 - (up - rows if upper else rows - low) / reach, 0, 1)
        alpha = near * np.minimum(1, far * 1.5) * ends
        layers.append(np.dstack([colour, np.rint(alpha * 255).astype(np.uint8)]))
    middle = slice((right - left) * 3 // 8, (right - left) * 5 // 8)
    lip_y = float(lips.bottom[columns][middle].mean())
    skin = float(np.median(cv2.cvtColor(crop[size // 3 :], cv2.COLOR_RGB2GRAY)))
    return Interior(layers[0], layers[1], left, top, lip_y, (0.26 * skin, 0.13 * skin, 0.12 * skin))


def _between_lips(lip: F32, lips: Contours, columns: slice, reach: float) -> tuple[F64, F64]:
    """Move the inner edges of the lips inwards, as far as there are still lips, by up to `reach` pixels."""
    edges = []
    for edge, inwards in ((lips.top[columns], 1.0), (lips.bottom[columns], -1.0)):
        steps = np.arange(0.0, reach, 0.5)
        x = np.broadcast_to(np.arange(columns.start, columns.stop, dtype=np.float32), (len(steps), len(edge)))
        rows = np.asarray(edge + inwards * steps[:, None] - 0.5, np.float32)
        seen = cv2.remap(lip, x, rows, cv2.INTER_LINEAR)
        is_lip = np.cumprod(seen > 0.5, axis=0)
        moved = is_lip.sum(axis=0).astype(np.float32) * 0.5
        wide = max(3, len(edge) // 12) | 1
        moved = np.asarray([np.median(moved[max(0, k - wide) : k + wide + 1]) for k in range(len(moved))])
        edges.append(edge + inwards * moved)
    middle = (edges[0] + edges[1]) / 2
    return np.minimum(edges[0], middle), np.maximum(edges[1], middle)


def _ramp(values: F32, low: float, high: float) -> F32:
    """Return a smooth step: 0 up to `low`, 1 from `high` on."""
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share), np.float32)


def split_rows(crop: U8, up: F64, low: F64, left: int) -> F64:
    """Return the row in each column where the upper layer ends: the darkest between the rows of teeth."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
    shares = np.linspace(*SPLIT_RANGE, 23)
    x = np.broadcast_to(np.arange(left, left + len(up), dtype=np.float32), (len(shares), len(up)))
    y = np.asarray(up + (low - up) * shares[:, None] - 0.5, np.float32)
    profile = cv2.remap(grey, x, y, cv2.INTER_LINEAR).astype(np.float64)
    profile = cv2.blur(profile, (max(3, len(up) // 8) | 1, 1))
    profile += 12 * np.square(shares - 0.6)[:, None] / 0.09
    best = shares[np.argmin(profile, axis=0)]
    thick = (low - up) ** 2 + 1e-3
    t = np.linspace(-1, 1, len(up))
    fit = np.polynomial.polynomial.polyfit(t, best, 2, w=np.sqrt(thick))
    share = np.clip(np.polynomial.polynomial.polyval(t, fit), *SPLIT_RANGE)
    return np.asarray(up + (low - up) * share)
