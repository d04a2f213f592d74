"""Decide whose lips move: once per clip from a few sparse frames, then for each frame by where that person was.

The sparse frames give one anchor per person, a point of the picture. Every frame's faces are told apart by the
anchors, so two people of like size never take turns. A choice that nobody answers to is an error with its own code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from model.arrays import I64
from worker.faces.detect import Face, FaceDetector
from worker.faces.frame_view import PlanesPicture
from worker.faces.reference import Sighting
from worker.media.decode import Source, glimpse

GLIMPSES: Final = 8  # sparse frames looked at
MIN_HEIGHT_PX: Final = 24.0  # smaller faces are left alone
LIKE_SIZE: Final = 0.6  # of the tallest face in the frame: smaller ones are background
SAME_PERSON: Final = 0.8  # distance between two sightings, in face heights
REACH: Final = 2.5  # how far a person may move from the anchor, in face heights
POINT_SLACK: Final = 0.75  # how far from a face's centre `point` may lie, in face heights


@dataclass(frozen=True)
class Person:
    """Someone seen in the sparse frames: mean centre (pixels), height (pixels), in how many frames."""

    x: float
    y: float
    height_px: float
    sightings: int


@dataclass(frozen=True)
class Chooser:
    """Pick the faces to synthesize out of one frame's faces.

    people: everyone seen in the sparse frames, left to right. target: the chosen one, None for all faces or where
    nobody was seen. strict: nobody else will do.
    """

    every: bool
    people: tuple[Person, ...] = ()
    target: Person | None = None
    strict: bool = False

    def pick(self, faces: list[Face]) -> list[Face]:
        """Return the chosen faces of a frame: all, one or none."""
        if self.every or not faces:
            return faces
        if not self.strict:
            tallest = max(face.height_px for face in faces)
            likely = [face for face in faces if face.height_px >= LIKE_SIZE * tallest]
            return [min(likely, key=self._distance)]
        mine = [face for face in faces if self._is_mine(face)]
        return [min(mine, key=self._distance)] if mine else []

    def _distance(self, face: Face) -> float:
        return 0.0 if self.target is None else _distance(face, self.target)

    def _is_mine(self, face: Face) -> bool:
        if self.target is None:
            return False
        nearest = min(self.people, key=lambda person: _distance(face, person), default=self.target)
        return nearest == self.target and _distance(face, self.target) <= REACH * self.target.height_px


def choose_subject(choice: str, sparse: Iterable[list[Face]]) -> Chooser:
    """Turn the option `face` into a Chooser; raises InputError where nobody answers to it.

    choice: `largest`, `all`, `index:N` or `point:X,Y`. sparse: the faces of each of a few frames.
    """
    kind, _, value = choice.partition(":")
    if kind == "all":
        return Chooser(every=True)
    people = find_people(sparse)
    if kind == "largest":
        tallest = max(people, key=lambda person: person.height_px * person.sightings, default=None)
        return Chooser(False, people, tallest)
    if not people:
        raise InputError(ErrorCode.NO_FACE_DETECTED, "No face was found in the picture.")
    if kind == "index":
        if int(value) >= len(people):
            message = f"Face {value} was asked for, counted from 0, but {len(people)} can be told apart."
            raise InputError(ErrorCode.FACE_NOT_FOUND, message)
        return Chooser(False, people, people[int(value)], strict=True)
    x, y = (float(part) for part in value.split(","))
    nearest = min(people, key=lambda person: float(np.hypot(person.x - x, person.y - y)))
    if np.hypot(nearest.x - x, nearest.y - y) > POINT_SLACK * nearest.height_px:
        raise InputError(ErrorCode.FACE_NOT_FOUND, f"There is no face at {x:g},{y:g}.")
    return Chooser(False, people, nearest, strict=True)


def look_around(source: Source, timeline: I64, detector: FaceDetector, check: Check) -> list[Sighting]:
    """Look at a few sparse frames of the part of the source that is shown; raises InputError."""
    sparse = glimpse(source, int(timeline.min()), int(timeline.max()) + 1, GLIMPSES, check)
    return [Sighting(planes, detector.detect_in(PlanesPicture(planes, source.colour))) for planes in sparse]


def find_people(sparse: Iterable[list[Face]]) -> tuple[Person, ...]:
    """Gather the faces of sparse frames into people, left to right; who is seen in few of them does not count."""
    groups: list[list[Face]] = []
    frames = 0
    for faces in sparse:
        frames += bool(faces)
        free = list(groups)
        for face in faces:
            near = [g for g in free if _gap(face, g[-1]) < SAME_PERSON * max(face.height_px, g[-1].height_px)]
            if near:
                group = min(near, key=lambda g: _gap(face, g[-1]))
                free = [g for g in free if g is not group]
                group.append(face)
            else:
                groups.append([face])
    steady = [group for group in groups if 2 * len(group) >= frames] or groups
    people = [
        Person(
            median(float(face.center[0]) for face in group),
            median(float(face.center[1]) for face in group),
            median(face.height_px for face in group),
            len(group),
        )
        for group in steady
    ]
    return tuple(sorted(people, key=lambda person: person.x))


def _gap(a: Face, b: Face) -> float:
    return float(np.hypot(*(a.center - b.center)))


def _distance(face: Face, person: Person) -> float:
    return float(np.hypot(face.center[0] - person.x, face.center[1] - person.y))
