"""Track the chosen faces through a range of frames, so that any range gives what the whole clip gives.

Faces are detected on a fixed grid of frame numbers and on both sides of a cut. Between two such frames the landmarks
are interpolated. If the two frames disagree, in the number of faces or by a large movement, or if a frame between them
does not show its faces at the interpolated places, faces are detected in every frame between them. Then a short centred
window smooths each face, never across a cut, a leap or an absence. A few frames before and after the range are also
read, which makes the result local in time.

The whole frame is searched about once a second, at fixed frame numbers, and after a cut. In between, a chosen face that
is surely the right one is only followed: its mesh is fitted around its last place. As soon as it is not sure, the whole
frame is searched again. Where a search found nobody, frames are only glanced at until the next search. If that one
finds somebody, the frames before it are searched after all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np

from app.core.checks import Check
from model.arrays import F32, I64, U8
from worker.faces.cuts import Between, is_cut, leaps, thumbnail
from worker.faces.detect import Face, face_height
from worker.faces.face_finder import FaceFinder
from worker.faces.frame_view import PlanesView
from worker.faces.subject import MIN_HEIGHT_PX, Choice, Chooser
from worker.media.colour import ColourMatrix
from worker.media.decode import Source, decode
from worker.media.stage_timer import StageTimer
from worker.media.timeline import play

GRID_S: Final = 0.16  # four frames at 25 a second
SEARCH_GRIDS: Final = 6  # grid frames from one search of the whole frame to the next
WAITING_BYTES: Final = 48 * 1024**2  # of frames that wait for the next search
SMOOTHING_S: Final = 0.08  # half width of the window; a longer window would flatten a nod
FAR: Final = 0.08  # movement between two grid frames above which nothing is interpolated, in face heights
SAME_FACE: Final = 0.5  # largest distance between a face and itself a frame later, in face heights
BACKWARD_BYTES: Final = 192 * 1024**2  # of frames in memory to play backwards


@dataclass
class TrackedFrame:
    """Source frame: its number, planes (H * 3/2, W) uint8 I420, and the landmarks (468, 2) of each chosen face."""

    index: int
    planes: U8
    faces: list[F32]
    small: bool = False  # a chosen face is too small to be synthesized
    is_sure: bool = True  # the faces are clearly those of the chosen people


@dataclass(frozen=True)
class FrameReader:
    """Frames of a source, and how to read them.

    read(first, last): the decoded frames of a range, (H * 3/2, W) uint8 I420 each. frames: length of the source. rate:
    frames per second.
    """

    read: Callable[[int, int], Iterator[U8]]
    frames: int
    rate: Fraction
    colour: ColourMatrix


@dataclass
class _WindowFrame:
    """Frame in the window: the number of its shot, and whether its faces are known.

    centers: of its faces. followed: the chosen face, if it may be followed into the next frame. is_empty: the frame was
    searched and shows nobody.
    """

    frame: TrackedFrame
    shot: int
    is_known: bool = False
    centers: list[F32] = field(default_factory=list)
    followed: Face | None = None
    is_empty: bool = False

    def set_choice(self, choice: Choice, followed: Face | None) -> None:
        """Note the chosen faces of the frame; those that are too small are left out."""
        self.set_faces([face.landmarks for face in choice.faces if face.height_px >= MIN_HEIGHT_PX])
        self.frame.small = len(self.frame.faces) < len(choice.faces)
        self.frame.is_sure = choice.is_sure
        self.followed = followed

    def set_faces(self, faces: list[F32]) -> None:
        """Note the faces of the frame."""
        self.is_known = True
        self.frame.faces = faces
        self.centers = [face.mean(axis=0) for face in faces]


class Tracker:
    """Tracker of the chosen faces of one source."""

    def __init__(self, detector: FaceFinder, chooser: Chooser, reader: FrameReader, timer: StageTimer) -> None:
        self._detector, self._chooser, self._reader, self._timer = detector, chooser, reader, timer
        self._stride = max(1, int(Fraction(GRID_S) * reader.rate + Fraction(1, 1000)))
        self._radius = max(1, round(SMOOTHING_S * float(reader.rate)))
        self._search = SEARCH_GRIDS * self._stride  # frames from one search of the whole frame to the next

    def track(self, first: int, last: int) -> Iterator[TrackedFrame]:
        """Yield the frames [first, last) with the landmarks of the chosen faces."""
        start, end = self.reach(first, last)
        window: deque[_WindowFrame] = deque()
        for known in self._known_frames(start, end):
            window.append(known)
            if len(window) > self._radius:
                yield from self._smoothed(window, len(window) - 1 - self._radius, first, last)
            if len(window) > 2 * self._radius:
                window.popleft()
            if known.frame.index == last - 1 + self._radius:
                return  # more is read only where the next search decides
        for position in range(max(0, len(window) - self._radius), len(window)):
            yield from self._smoothed(window, position, first, last)

    def reach(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of frames that `track` may read."""
        start = max(0, first - self._radius) // self._search * self._search
        end = min(self._reader.frames, -((1 - last - self._radius) // self._search) * self._search + 1)
        return start, end

    def _smoothed(self, window: deque[_WindowFrame], position: int, first: int, last: int) -> Iterator[TrackedFrame]:
        """Yield the frame at a position of the window with smoothed faces, if it lies in [first, last)."""
        frame = window[position].frame
        if first <= frame.index < last:
            faces = [_smooth(number, window, position, self._radius) for number in range(len(frame.faces))]
            yield TrackedFrame(frame.index, frame.planes, faces, frame.small, frame.is_sure)

    def _known_frames(self, start: int, end: int) -> Iterator[_WindowFrame]:
        """Yield the frames [start, end) in order, each with its faces before smoothing."""
        pending: list[_WindowFrame] = []  # from the last frame whose faces were detected
        small: U8 | None = None
        shot = 0
        for index, planes in enumerate(self._reader.read(start, end), start):
            before, small = small, thumbnail(planes)
            if before is not None and is_cut(before, small):
                shot += 1
                yield from self._resolve(pending)
                pending = []
            pending.append(_WindowFrame(TrackedFrame(index, planes, []), shot))
            is_looked_at = len(pending) == 1 or index % self._stride == 0 or index == end - 1
            if is_looked_at and not self._may_wait(pending, index == end - 1):
                newest = pending[-1]
                yield from self._resolve(pending)[:-1]
                pending = [newest]
        yield from self._resolve(pending)

    def _may_wait(self, pending: list[_WindowFrame], is_last: bool) -> bool:
        """Return whether the last frame need not be searched yet, because the first one and a glance show nobody."""
        newest = pending[-1].frame
        grids = max(1, min(SEARCH_GRIDS, WAITING_BYTES // (newest.planes.nbytes * self._stride)))
        if is_last or not pending[0].is_empty or newest.index % self._search % (grids * self._stride) == 0:
            return False
        with self._timer.time("detect"):
            return not self._detector.glance(PlanesView(newest.planes, self._reader.colour, newest.index))

    def _resolve(self, pending: list[_WindowFrame]) -> list[_WindowFrame]:
        """Detect the faces of the last frame, then interpolate or detect those of the frames before it."""
        if len(pending) < 2:
            for one in pending:
                self._detect(one, None)
            return pending
        if pending[0].is_empty:
            self._detect(pending[-1], None)
            if not pending[-1].is_empty:  # somebody came while frames were only glanced at
                waited = [at for at, one in enumerate(pending) if at and one.frame.index % self._stride == 0]
                for begin, until in pairwise([0, *(at for at in waited if at < len(pending) - 1), len(pending) - 1]):
                    self._fill(pending[begin : until + 1])
                return pending
        return self._fill(pending)

    def _fill(self, pending: list[_WindowFrame]) -> list[_WindowFrame]:
        """Detect the faces of the last frame, then interpolate or detect those between it and the first one."""
        self._detect(pending[-1], pending[0])
        a, b = pending[0].frame, pending[-1].frame
        between = pending[1:-1]
        pairs = _pair(pending[0], pending[-1])
        placed = None if pairs is None or a.small != b.small else _interpolated(pairs, a, b, between)
        if placed is None:
            for before, unknown in pairwise(pending[:-1]):
                self._detect(unknown, before)
            return pending
        for unknown, faces in zip(between, placed, strict=True):
            unknown.set_faces(faces)
            unknown.frame.small, unknown.frame.is_sure = a.small, a.is_sure and b.is_sure
        return pending

    def _detect(self, entry: _WindowFrame, before: _WindowFrame | None) -> None:
        """Detect the chosen faces of a frame, unless they are known; before: the known frame before it in its shot."""
        if entry.is_known:
            return
        view = PlanesView(entry.frame.planes, self._reader.colour, entry.frame.index)
        with self._timer.time("detect"):
            if before is not None and before.followed is not None and entry.frame.index % self._search:
                face = self._detector.follow(view, before.followed)
                if face is not None and self._chooser.keeps(face):
                    entry.set_choice(Choice([face]), face)
                    return
            faces = self._detector.detect_in(view)
        choice = self._chooser.choose(faces)
        kept = len(choice.faces) == 1 and choice.is_sure and self._chooser.keeps(choice.faces[0])
        entry.set_choice(choice, choice.faces[0] if kept else None)
        entry.is_empty = not faces


def tracked_frames(
    source: Source, timeline: I64, detector: FaceFinder, chooser: Chooser, timer: StageTimer, check: Check
) -> Iterator[TrackedFrame]:
    """Yield the source frame of each entry of a timeline, with the chosen faces; raises InputError."""

    def read(first: int, last: int) -> Iterator[U8]:
        return timer.timed("decode", decode(source, first, last, check))

    tracker = Tracker(detector, chooser, FrameReader(read, source.frames, source.rate, source.colour), timer)
    return play(timeline, tracker.track, max(8, BACKWARD_BYTES // (source.width * source.height * 3 // 2)))


def _pair(before: _WindowFrame, after: _WindowFrame) -> list[tuple[F32, F32]] | None:
    """Match the faces of two frames; return None if their number differs or if a face moved far."""
    if len(before.centers) != len(after.centers):
        return None
    pairs, free = [], list(range(len(after.centers)))
    for one, center in zip(before.frame.faces, before.centers, strict=True):
        nearest = min(free, key=lambda number: _distance(center, after.centers[number]))
        moved = np.hypot(*(after.frame.faces[nearest] - one).T)
        if float(moved.mean()) > FAR * face_height(one):
            return None
        free.remove(nearest)
        pairs.append((one, after.frame.faces[nearest]))
    return pairs


def _interpolated(
    pairs: list[tuple[F32, F32]], a: TrackedFrame, b: TrackedFrame, between: list[_WindowFrame]
) -> list[list[F32]] | None:
    """Return the faces of the frames between two known ones; None if a frame does not show them there."""
    tests = [Between((a.planes, one), (b.planes, two), face_height(one)) for one, two in pairs] if between else []
    placed = []
    for unknown in between:
        share = (unknown.frame.index - a.index) / (b.index - a.index)
        faces = [(one + (two - one) * np.float32(share)) for one, two in pairs]
        pictured = zip(tests, faces, strict=True)
        if not all(test.is_even(unknown.frame.planes, share, face) for test, face in pictured):
            return None
        placed.append(faces)
    return placed


def _smooth(number: int, window: deque[_WindowFrame], position: int, radius: int) -> F32:
    """Average a face over the neighbouring frames, as many before as after, with linearly falling weights."""
    face = window[position].frame.faces[number]
    before, after = (_course(number, window, position, step, radius) for step in (-1, 1))
    cuts = leaps([*before[:0:-1], *after], face_height(face)) if len(before) + len(after) > 2 else []
    reach = min(_run_length(cuts[: len(before) - 1][::-1]), _run_length(cuts[len(before) - 1 :]))
    total, weights = face.astype(np.float64), 1.0
    for distance in range(1, reach + 1):
        weight = 1.0 - distance / (radius + 1)
        total += weight * (before[distance].astype(np.float64) + after[distance])
        weights += 2 * weight
    return np.asarray(total / weights, np.float32)


def _course(number: int, window: deque[_WindowFrame], position: int, step: int, radius: int) -> list[F32]:
    """Return a face and what it becomes in up to `radius` frames of its shot; step: 1 forwards, -1 backwards."""
    here = window[position]
    course, center = [here.frame.faces[number]], here.centers[number]
    for distance in range(1, radius + 1):
        at = position + step * distance
        found = _same_face(course[-1], center, window[at], here.shot) if 0 <= at < len(window) else None
        if found is None:
            break
        course.append(window[at].frame.faces[found])
        center = window[at].centers[found]
    return course


def _run_length(cuts: list[bool]) -> int:
    """Return the number of steps before the first cut."""
    return cuts.index(True) if True in cuts else len(cuts)


def _same_face(face: F32, center: F32, entry: _WindowFrame, shot: int) -> int | None:
    """Return the number of the same face in another frame; None if that is of another shot or does not show it."""
    if entry.shot != shot or not entry.centers:
        return None
    distances = [_distance(center, other) for other in entry.centers]
    nearest = distances.index(min(distances))
    return nearest if distances[nearest] < SAME_FACE * face_height(face) else None


def _distance(a: F32, b: F32) -> float:
    return float(np.hypot(*(a - b)))
