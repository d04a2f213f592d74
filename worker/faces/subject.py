"""Choose the faces to synthesize: once per clip from sparse frames, then in each frame by who it is.

The sparse frames tell who is in the clip: how each person looks, and where. In every frame the faces are compared with
these people, so the voice stays with the chosen person after a cut or a pan, and never goes to somebody else. A choice
that matches nobody is an error with its own code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError
from model.arrays import I64, U8
from worker.faces.detect import Face, FaceDetector
from worker.faces.frame_view import PlanesView
from worker.faces.pattern import OTHER, SAME
from worker.faces.people import ELSEWHERE, NEAR, Match, Subject, find_everybody, match_people
from worker.media.decode import Source
from worker.media.sparse import sparse_frames, sparse_numbers

SPARSE_FRAMES: Final = 24
LONG_S: Final = 120.0  # length of a clip from which on each sparse frame must be sought
LONG_SPARSE_FRAMES: Final = 20  # of such a clip
LOOK_THREADS: Final = 2  # one network searches a frame while another one fits the mesh of the frame before
MORE_SPARSE_FRAMES: Final = 48  # in a second search, when the first one found no face
LEAST_SPARSE_FRAMES: Final = 8  # of large pictures
SPARSE_BYTES: Final = 256 * 1024**2  # of sparse frames in memory
MIN_HEIGHT_PX: Final = 24.0  # smaller faces are not synthesized
LIKE_SIZE: Final = 0.6  # share of the tallest face in the frame; smaller faces are background
REACH: Final = 2.5  # how far a person may be from the usual place, in face heights
POINT_SLACK: Final = 0.75  # how far from a face's centre `point` may lie, in face heights
CLEARLY: Final = 0.05  # by how much the patterns of two people must differ from a face to tell them apart


@dataclass(frozen=True)
class SparseFrame:
    """Sparse frame of a clip: planes (H * 3/2, W) uint8 I420, its faces, and the number of the source frame."""

    planes: U8
    faces: list[Face]
    number: int = 0


@dataclass(frozen=True)
class Choice:
    """Chosen faces of a frame; is_sure: they are clearly those of the chosen people."""

    faces: list[Face]
    is_sure: bool = True


@dataclass(frozen=True)
class Chooser:
    """Rule that picks the faces to synthesize from the faces of a frame.

    every: all faces are picked. people: all people seen in the sparse frames, from left to right. target: the chosen
    person; None for all faces, or if nobody was seen. strict: only the target itself is picked, however unlikely it is
    that another face is somebody else. passers_by: people who are not counted, and never picked.
    """

    every: bool
    people: tuple[Subject, ...] = ()
    target: Subject | None = None
    strict: bool = False
    passers_by: tuple[Subject, ...] = ()

    def pick(self, faces: list[Face]) -> list[Face]:
        """Return the chosen faces of a frame: all of them, one or none."""
        return self.choose(faces).faces

    def choose(self, faces: list[Face]) -> Choice:
        """Return the chosen faces of a frame, and whether they are surely the right ones."""
        if self.every or not faces:
            return Choice(faces)
        if self.target is None:  # nobody is known: the largest face
            return Choice([] if self.strict else [max(faces, key=lambda face: face.height_px)])
        everybody = [self.target, *(one for one in (*self.people, *self.passers_by) if one is not self.target)]
        found = match_people(faces, everybody, elsewhere=self._elsewhere)
        match = found.get(0)
        if match is None:
            return Choice([])
        face = faces[match.face]
        is_stranger = match.difference > SAME and match.apart > NEAR
        if is_stranger and not self.strict and face.height_px < LIKE_SIZE * max(one.height_px for one in faces):
            return Choice([])  # somebody in the background who is a little like the target
        is_odd = is_stranger or match.difference >= OTHER
        return Choice([face], not is_odd and not self._is_doubtful(face, match, everybody[1:]))

    def keeps(self, face: Face) -> bool:
        """Return whether the face that was chosen shortly before is surely the chosen one again."""
        if self.every or self.target is None:
            return False
        choice = self.choose([face])
        return bool(choice.faces) and choice.is_sure

    @property
    def _elsewhere(self) -> float:
        """Return the difference of the target's pattern from which on a face in another place is somebody else's."""
        return ELSEWHERE if self.strict else OTHER

    def _is_doubtful(self, face: Face, match: Match, others: Sequence[Subject]) -> bool:
        """Return whether somebody else fits a face as well, by the pattern and by the place."""
        for other in others:
            place = match_people([face], [other], elsewhere=self._elsewhere).get(0)
            if (
                place is not None
                and place.apart <= match.apart + NEAR
                and place.difference < match.difference + CLEARLY
            ):
                return True
        return False

    def person_of(self, center: npt.ArrayLike) -> int:
        """Return the number of the person nearest to a point of the frame; 0 unless all faces are picked."""
        if not self.every or not self.people:
            return 0
        x, y = np.asarray(center, np.float64)
        distances = [float(np.hypot(x - person.x, y - person.y)) for person in self.people]
        return distances.index(min(distances))

    def facts(self) -> dict[str, Any]:
        """Return everything in a form that JSON can hold."""
        return {
            "every": self.every,
            "people": [person.facts() for person in self.people],
            "target": next((at for at, person in enumerate(self.people) if person is self.target), None),
            "strict": self.strict,
            "passers_by": [person.facts() for person in self.passers_by],
        }

    @classmethod
    def of_facts(cls, facts: dict[str, Any]) -> Chooser:
        """Return what `facts` gave; in plans of earlier versions the target is a person and no number."""
        people = tuple(Subject.of_facts(person) for person in facts["people"])
        passers_by = tuple(Subject.of_facts(person) for person in facts.get("passers_by", ()))
        number = facts["target"]
        if isinstance(number, dict):
            number = facts["people"].index(number)
        target = None if number is None else people[number]
        return cls(facts["every"], people, target, facts["strict"], passers_by)


def choose_subject(choice: str, sparse: Iterable[list[Face]]) -> Chooser:
    """Return the Chooser for the job option `face`; raises InputError if the choice matches nobody.

    choice: `largest`, `all`, `index:N` or `point:X,Y`. sparse: the faces of each sparse frame.
    """
    kind, _, value = choice.partition(":")
    people, passers_by = find_everybody(sparse)
    if kind == "all":
        return Chooser(True, people)
    if kind == "largest":
        tallest = max(people, key=lambda person: person.height_px * person.sightings, default=None)
        return Chooser(False, people, tallest, passers_by=passers_by)
    if not people:
        raise InputError(ErrorCode.NO_FACE_DETECTED, "No face was found in the picture.")
    if kind == "index":
        if int(value) >= len(people):
            message = f"Face {value} was asked for, counted from 0, but {len(people)} can be told apart."
            raise InputError(ErrorCode.FACE_NOT_FOUND, message)
        return Chooser(False, people, people[int(value)], strict=True, passers_by=passers_by)
    x, y = (float(part) for part in value.split(","))
    everybody = (*people, *passers_by)
    nearest = min(everybody, key=lambda person: _distance((person.x, person.y, person.height_px), x, y))
    if _distance((nearest.x, nearest.y, nearest.height_px), x, y) > POINT_SLACK:  # nobody is usually there
        nearest = min(everybody, key=lambda person: _nearest_place(person, x, y))
    if _nearest_place(nearest, x, y) > POINT_SLACK:
        raise InputError(ErrorCode.FACE_NOT_FOUND, f"There is no face at {x:g},{y:g}.")
    return Chooser(False, everybody, nearest, strict=True)


def find_sparse_faces(
    source: Source, timeline: I64, detector: FaceDetector, check: Check, most: int = SPARSE_FRAMES
) -> list[SparseFrame]:
    """Find the faces in sparse frames of the part of the source that is shown; frames without a face are left out.

    most: how many frames with faces are wanted. If none of them shows a face, more frames are searched. Raises
    InputError.
    """
    first, last = int(timeline.min()), int(timeline.max()) + 1
    fitting = fitting_frames(source)
    usual = LONG_SPARSE_FRAMES if last - first > LONG_S * source.rate else SPARSE_FRAMES
    most = min(usual, fitting, most)
    found: list[SparseFrame] = []
    searched: set[int] = set()

    def faces_in(number: int, planes: U8) -> list[Face]:
        check()  # frames are read faster than they are looked at, so many may wait
        return [] if number in searched else detector.detect_in(PlanesView(planes, source.colour))

    def see(number: int, planes: U8) -> Future[list[Face]]:
        return threads.submit(faces_in, number, planes)

    with ThreadPoolExecutor(LOOK_THREADS, "see") as threads:
        for count in (most, MORE_SPARSE_FRAMES):
            for frame in _searched_frames(source, (first, last), count, fitting, see, check):
                searched.add(frame.number)
                if frame.faces:
                    found.append(frame)
                if len(found) == most:
                    break
            if found or last - first <= most:
                break
    return found


def fitting_frames(source: Source) -> int:
    """Return the number of sparse frames for which there is memory."""
    return max(LEAST_SPARSE_FRAMES, SPARSE_BYTES // (source.width * source.height * 3 // 2))


def _searched_frames(
    source: Source,
    span: tuple[int, int],
    count: int,
    fitting: int,
    see: Callable[[int, U8], Future[list[Face]]],
    check: Check,
) -> Iterator[SparseFrame]:
    """Yield up to `count` sparse frames of the span [first, last) with the faces that `see` will find.

    fitting: the number of frames for which there is memory; the span is read in as many parts as that takes.
    """
    first, last = span
    parts = -(-min(count, last - first) // fitting)
    edges = [first + (last - first) * part // parts for part in range(parts + 1)]
    counts = [count * (part + 1) // parts - count * part // parts for part in range(parts)]
    for (begin, end), share in zip(pairwise(edges), counts, strict=True):
        numbers = sparse_numbers(begin, end, share)
        for number, (planes, faces) in zip(numbers, sparse_frames(source, numbers, end, see, check), strict=False):
            yield SparseFrame(planes, faces.result(), number)


def _nearest_place(person: Subject, x: float, y: float) -> float:
    return min(_distance(place, x, y) for place in person.places)


def _distance(place: tuple[float, float, float], x: float, y: float) -> float:
    """Return how far a point is from a face with this centre and height, in face heights."""
    return float(np.hypot(place[0] - x, place[1] - y)) / place[2]
