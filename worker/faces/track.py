"""Track the chosen faces through a range of frames, so that any range gives what the whole clip gives.

Faces are detected on a fixed grid of frame numbers and on both sides of a cut. Between two such frames the landmarks
are interpolated. If the two frames disagree, in the number of faces or by a large movement, or if a frame between them
does not show its faces at the interpolated places, faces are detected in every frame between them. Then a short centred
window smooths each face, never across a cut, a leap or an absence. A few frames before and after the range are also
read, which makes the result local in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

import numpy as np

from app.core.checks import Check
from model.arrays import F32, I64, U8
from worker.faces.cuts import Between, is_cut, leaps, thumbnail
from worker.faces.detect import Face, FaceDetector, face_height
from worker.faces.frame_view import PlanesView
from worker.faces.subject import MIN_HEIGHT_PX, Chooser
from worker.media.colour import ColourMatrix
from worker.media.decode import Source, decode
from worker.media.stage_timer import StageTimer
from worker.media.timeline import play

GRID_S: Final = 0.16  # four frames at 25 a second
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


class FindsFaces(Protocol):
    """Detector of faces."""

    def detect_in(self, view: PlanesView) -> list[Face]:
        """Return the faces of a frame."""


@dataclass
class _WindowFrame:
    """Frame in the window: the number of its shot, and whether its faces are known."""

    frame: TrackedFrame
    shot: int
    is_known: bool = False


class Tracker:
    """Tracker of the chosen faces of one source."""

    def __init__(self, detector: FindsFaces, chooser: Chooser, reader: FrameReader, timer: StageTimer) -> None:
        self._detector, self._chooser, self._reader, self._timer = detector, chooser, reader, timer
        self._stride = max(1, int(Fraction(GRID_S) * reader.rate + Fraction(1, 1000)))
        self._radius = max(1, round(SMOOTHING_S * float(reader.rate)))

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
        for position in range(max(0, len(window) - self._radius), len(window)):
            yield from self._smoothed(window, position, first, last)

    def reach(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of frames that `track` reads."""
        start = max(0, first - self._radius) // self._stride * self._stride
        end = min(self._reader.frames, -((1 - last - self._radius) // self._stride) * self._stride + 1)
        return start, end

    def _smoothed(self, window: deque[_WindowFrame], position: int, first: int, last: int) -> Iterator[TrackedFrame]:
        """Yield the frame at a position of the window with smoothed faces, if it lies in [first, last)."""
        frame = window[position].frame
        if first <= frame.index < last:
            faces = [_smooth(face, window, position, self._radius) for face in frame.faces]
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
            if len(pending) == 1 or index % self._stride == 0 or index == end - 1:
                newest = pending[-1]
                yield from self._resolve(pending)[:-1]
                pending = [newest]
        yield from pending

    def _resolve(self, pending: list[_WindowFrame]) -> list[_WindowFrame]:
        """Detect the faces of the last frame, then interpolate or detect those of the frames before it."""
        if not pending:
            return []
        self._detect(pending[-1])
        a, b = pending[0].frame, pending[-1].frame
        between = pending[1:-1]
        pairs = _pair(a.faces, b.faces)
        placed = None if pairs is None or a.small != b.small else _interpolated(pairs, a, b, between)
        if placed is None:
            for unknown in between:
                self._detect(unknown)
            return pending
        for unknown, faces in zip(between, placed, strict=True):
            unknown.frame.faces = faces
            unknown.frame.small, unknown.is_known = a.small, True
            unknown.frame.is_sure = a.is_sure and b.is_sure
        return pending

    def _detect(self, entry: _WindowFrame) -> None:
        """Detect the chosen faces of a frame, unless they are known."""
        if entry.is_known:
            return
        entry.is_known = True
        with self._timer.time("detect"):
            faces = self._detector.detect_in(PlanesView(entry.frame.planes, self._reader.colour))
        choice = self._chooser.choose(faces)
        chosen, entry.frame.is_sure = choice.faces, choice.is_sure
        entry.frame.faces = [face.landmarks for face in chosen if face.height_px >= MIN_HEIGHT_PX]
        entry.frame.small = len(entry.frame.faces) < len(chosen)


def tracked_frames(
    source: Source, timeline: I64, detector: FaceDetector, chooser: Chooser, timer: StageTimer, check: Check
) -> Iterator[TrackedFrame]:
    """Yield the source frame of each entry of a timeline, with the chosen faces; raises InputError."""

    def read(first: int, last: int) -> Iterator[U8]:
        return timer.timed("decode", decode(source, first, last, check))

    tracker = Tracker(detector, chooser, FrameReader(read, source.frames, source.rate, source.colour), timer)
    return play(timeline, tracker.track, max(8, BACKWARD_BYTES // (source.width * source.height * 3 // 2)))


def _pair(before: list[F32], after: list[F32]) -> list[tuple[F32, F32]] | None:
    """Match the faces of two frames; return None if their number differs or if a face moved far."""
    if len(before) != len(after):
        return None
    pairs, free = [], list(range(len(after)))
    for one in before:
        nearest = min(free, key=lambda number: _distance(one, after[number]))
        moved = np.hypot(*(after[nearest] - one).T)
        if float(moved.mean()) > FAR * face_height(one):
            return None
        free.remove(nearest)
        pairs.append((one, after[nearest]))
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


def _smooth(face: F32, window: deque[_WindowFrame], position: int, radius: int) -> F32:
    """Average a face over the neighbouring frames, as many before as after, with linearly falling weights."""
    before, after = (_course(face, window, position, step, radius) for step in (-1, 1))
    cuts = leaps([*before[:0:-1], *after], face_height(face)) if len(before) + len(after) > 2 else []
    reach = min(_run_length(cuts[: len(before) - 1][::-1]), _run_length(cuts[len(before) - 1 :]))
    total, weights = face.astype(np.float64), 1.0
    for distance in range(1, reach + 1):
        weight = 1.0 - distance / (radius + 1)
        total += weight * (before[distance].astype(np.float64) + after[distance])
        weights += 2 * weight
    return np.asarray(total / weights, np.float32)


def _course(face: F32, window: deque[_WindowFrame], position: int, step: int, radius: int) -> list[F32]:
    """Return a face and what it becomes in up to `radius` frames of its shot; step: 1 forwards, -1 backwards."""
    course, shot = [face], window[position].shot
    for distance in range(1, radius + 1):
        at = position + step * distance
        found = _same_face(course[-1], window[at], shot) if 0 <= at < len(window) else None
        if found is None:
            break
        course.append(found)
    return course


def _run_length(cuts: list[bool]) -> int:
    """Return the number of steps before the first cut."""
    return cuts.index(True) if True in cuts else len(cuts)


def _same_face(face: F32, entry: _WindowFrame, shot: int) -> F32 | None:
    """Return the same face in another frame, or None if the frame is in another shot or does not show it."""
    if entry.shot != shot or not entry.frame.faces:
        return None
    nearest = min(entry.frame.faces, key=lambda other: _distance(face, other))
    return nearest if _distance(face, nearest) < SAME_FACE * face_height(face) else None


def _distance(a: F32, b: F32) -> float:
    return float(np.hypot(*(a.mean(axis=0) - b.mean(axis=0))))
