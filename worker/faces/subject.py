"""Choose the faces to synthesize: once per clip from a few sparse frames, then in each frame by position.

The sparse frames give one anchor for each person, which is a point of the frame. The anchors tell the faces of every
frame apart, so the choice never alternates between two people of similar size. A choice that matches nobody is an
error with its own code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
import numpy.typing as npt

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from model.arrays import I64, U8
from worker.faces.detect import Face, FaceDetector
from worker.faces.frame_view import PlanesView
from worker.media.decode import Source, sparse_frames

SPARSE_FRAMES: Final = 12
MIN_HEIGHT_PX: Final = 24.0  # smaller faces are not synthesized
LIKE_SIZE: Final = 0.6  # share of the tallest face in the frame; smaller faces are background
SAME_PERSON: Final = 0.8  # largest distance between a person's positions in two sparse frames, in face heights
REACH: Final = 2.5  # how far a person may move from the anchor, in face heights
POINT_SLACK: Final = 0.75  # how far from a face's centre `point` may lie, in face heights


@dataclass(frozen=True)
class SparseFrame:
    """Sparse frame of a clip: planes (H * 3/2, W) uint8 I420 and its faces."""

    planes: U8
    faces: list[Face]


@dataclass(frozen=True)
class Subject:
    """Person seen in the sparse frames: median centre and height in pixels, and the number of frames that show it."""

    x: float
    y: float
    height_px: float
    sightings: int


@dataclass(frozen=True)
class Chooser:
    """Rule that picks the faces to synthesize from the faces of a frame.

    every: all faces are picked. people: all people seen in the sparse frames, from left to right. target: the chosen
    person; None for all faces, or if nobody was seen. strict: no other person may replace the target.
    """

    every: bool
    people: tuple[Subject, ...] = ()
    target: Subject | None = None
    strict: bool = False

    def pick(self, faces: list[Face]) -> list[Face]:
        """Return the chosen faces of a frame: all of them, one or none."""
        if self.every or not faces:
            return faces
        if not self.strict:
            tallest = max(face.height_px for face in faces)
            likely = [face for face in faces if face.height_px >= LIKE_SIZE * tallest]
            return [min(likely, key=self._distance)]
        candidates = [face for face in faces if self._is_target(face)]
        return [min(candidates, key=self._distance)] if candidates else []

    def person_of(self, center: npt.ArrayLike) -> int:
        """Return the number of the person nearest to a point of the frame; 0 unless all faces are picked."""
        if not self.every or not self.people:
            return 0
        x, y = np.asarray(center, np.float64)
        distances = [float(np.hypot(x - person.x, y - person.y)) for person in self.people]
        return distances.index(min(distances))

    def _distance(self, face: Face) -> float:
        return 0.0 if self.target is None else _distance(face, self.target)

    def _is_target(self, face: Face) -> bool:
        if self.target is None:
            return False
        nearest = min(self.people, key=lambda person: _distance(face, person), default=self.target)
        return nearest == self.target and _distance(face, self.target) <= REACH * self.target.height_px


def choose_subject(choice: str, sparse: Iterable[list[Face]]) -> Chooser:
    """Return the Chooser for the job option `face`; raises InputError if the choice matches nobody.

    choice: `largest`, `all`, `index:N` or `point:X,Y`. sparse: the faces of each sparse frame.
    """
    kind, _, value = choice.partition(":")
    people = find_people(sparse)
    if kind == "all":
        return Chooser(True, people)
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


def find_sparse_faces(source: Source, timeline: I64, detector: FaceDetector, check: Check) -> list[SparseFrame]:
    """Find the faces in a few sparse frames of the part of the source that is shown; raises InputError."""
    sparse = sparse_frames(source, int(timeline.min()), int(timeline.max()) + 1, SPARSE_FRAMES, check)
    return [SparseFrame(planes, detector.detect_in(PlanesView(planes, source.colour))) for planes in sparse]


def find_people(sparse: Iterable[list[Face]]) -> tuple[Subject, ...]:
    """Group the faces of sparse frames by person, from left to right.

    A person in fewer than half of the frames with faces is dropped, unless everybody would be dropped.
    """
    groups: list[list[Face]] = []
    frames = 0
    for faces in sparse:
        frames += bool(faces)
        free = set(range(len(groups)))  # groups without a face of this frame
        for face in faces:
            near = [number for number in sorted(free) if _is_near(face, groups[number][-1])]
            if near:
                nearest = min(near, key=lambda number: _face_distance(face, groups[number][-1]))
                free.remove(nearest)
                groups[nearest].append(face)
            else:
                groups.append([face])
    steady = [group for group in groups if 2 * len(group) >= frames] or groups
    people = [
        Subject(
            median(float(face.center[0]) for face in group),
            median(float(face.center[1]) for face in group),
            median(face.height_px for face in group),
            len(group),
        )
        for group in steady
    ]
    return tuple(sorted(people, key=lambda person: person.x))


def _is_near(face: Face, before: Face) -> bool:
    return _face_distance(face, before) < SAME_PERSON * max(face.height_px, before.height_px)


def _face_distance(a: Face, b: Face) -> float:
    return float(np.hypot(*(a.center - b.center)))


def _distance(face: Face, person: Subject) -> float:
    return float(np.hypot(face.center[0] - person.x, face.center[1] - person.y))
