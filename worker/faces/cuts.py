"""Find cuts: by the whole picture, and by the face where the picture hardly changes.

A jump cut, or a zoom between two frames, may change little of the picture, but the face leaps. So between two frames
with known faces, the upper face is compared at the place that interpolation gives it, and at the places of the known
faces. If it fits better there, it does not move as interpolation says, and faces have to be looked for. Once they are
known in every frame, a leap stands out from the movement before and after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from model.arrays import F32, U8
from model.framing import Framing
from worker.faces.crop import RIGID, Transform, extract_luma, face_transform
from worker.media.colour import split_planes

THUMBNAIL_PX: Final = (32, 18)
READ_PX: Final = 96  # rows or columns that are read for it, whichever are fewer
CUT_LEVELS: Final = 18.0  # mean change of the thumbnail's luma above which there is a cut
UPPER_FACE: Final = Framing(side=1.3, center_y=-0.05)  # speech does not change it
PATCH_PX: Final = 24
PATCH_SAMPLES: Final = 5  # in a row of a pixel of a patch; more change nothing and take as long as a network
PATCH_SPACING_PX: Final = 3.0  # between them, unless the face is too large for that
STILL: Final = 0.015  # movement below which interpolation cannot be far off, in face heights
CLEARLY: Final = 0.75  # share of the difference at the interpolated place, below which a known place fits better
TRACE: Final = 0.05  # differences of patches below this do not matter; a patch has a spread of 1
ELSEWHERE: Final = 0.2  # difference of patches that lie 0.025 face heights apart
LEAP: Final = 0.025  # smallest leap of a face that is a cut, in face heights
LARGE_LEAP: Final = 0.12  # a larger one may be beside another leap, as at a flash
STANDS_OUT: Final = 2.5  # times that a leap exceeds the movement beside it


def thumbnail(planes: U8) -> U8:
    """Return the luma of a frame, reduced to 32x18 pixels, (18, 32) uint8."""
    luma = split_planes(planes)[0]
    step = max(1, min(luma.shape) // READ_PX)  # it is enough to read some of the rows and columns
    return np.asarray(cv2.resize(luma[::step, ::step], THUMBNAIL_PX, interpolation=cv2.INTER_AREA), np.uint8)


def is_cut(before: U8, after: U8) -> bool:
    """Return whether there is a cut between two successive frames, given by their thumbnails."""
    return cv2.norm(before, after, cv2.NORM_L1) / before.size > CUT_LEVELS


class Between:
    """Frames between two known places of one face: does it move from one to the other evenly?"""

    def __init__(self, first: tuple[U8, F32], last: tuple[U8, F32], height: float) -> None:
        """Take planes and landmarks (468, 2) of both frames, and the height of the face."""
        self._places = _place(first[1]), _place(last[1])
        self._patches = _patch(first[0], self._places[0]), _patch(last[0], self._places[1])
        self._change = self._patches[1] - self._patches[0]
        self._usual = max(ELSEWHERE, _difference(*self._patches))  # noise and a changing face make it larger
        self._is_still = float(movements([first[1], last[1]])[0]) < STILL * height

    def is_even(self, planes: U8, share: float, face: F32) -> bool:
        """Return whether a frame shows the face at its interpolated place; share: of the way between both frames."""
        expected = self._patches[0] + np.float32(share) * self._change
        patch = _patch(planes, _place(face))
        off = min(_difference(patch, one) for one in (expected, *self._patches))
        if off > self._usual:
            return False
        if self._is_still or off < TRACE:
            return True
        stays = min(_difference(_patch(planes, at), one) for at, one in zip(self._places, self._patches, strict=True))
        return stays > CLEARLY * off


def movements(faces: Sequence[F32]) -> F32:
    """Return how far a head moves from each of N landmarks (468, 2) to the next, (N - 1,); the lips do not count."""
    rigid = np.array([face[list(RIGID)] for face in faces])
    moved = rigid[1:] - rigid[:-1]
    return np.asarray(np.hypot(moved[..., 0], moved[..., 1]).mean(axis=1), np.float32)


def leaps(faces: Sequence[F32], height: float) -> list[bool]:
    """Return which steps between the landmarks (468, 2) of successive frames are cuts; height: of the face."""
    steps = (movements(faces) / height).tolist()
    found = []
    for number, step in enumerate(steps):
        others = sorted(steps[:number] + steps[number + 1 :])
        usual = others[(len(others) - 1) // 2 if step > LARGE_LEAP else -1] if others else 0.0
        found.append(step > max(LEAP, STANDS_OUT * usual))
    return found


def _place(face: F32) -> Transform:
    """Return the transform to the patch of an upper face."""
    return face_transform(face, UPPER_FACE, PATCH_PX)


def _patch(planes: U8, place: Transform) -> F32:
    """Return the luma of an upper face, (24, 24) float32 with mean 0 and spread 1: light does not count."""
    spacing_px = max(PATCH_SPACING_PX, 1.0 / (place.scale * PATCH_SAMPLES))
    luma = extract_luma(planes, place, spacing_px)
    mean, spread = (float(value[0, 0]) for value in cv2.meanStdDev(luma))
    return (luma - np.float32(mean)) / np.float32(max(spread, 4.0))


def _difference(one: F32, other: F32) -> float:
    return cv2.norm(one, other, cv2.NORM_L1) / one.size
