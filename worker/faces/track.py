"""Follow the chosen faces through a range of frames, so that any range gives what the whole clip gives.

Faces are looked for on a fixed grid of frame numbers and on both sides of a cut. Between two such frames landmarks
are interpolated; where the two disagree, in who is there or by moving far, every frame between is looked at. Then a
short centred window smooths each face, never across a cut or an absence. A few frames before and after the range are
read along, which makes it all local in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import cv2
import numpy as np

from app.core.checks import Check
from model.arrays import F32, I64, U8
from model.face_points import CHIN, FOREHEAD
from worker.faces.detect import FaceDetector
from worker.faces.frame_view import PlanesPicture
from worker.faces.subject import MIN_HEIGHT_PX, Chooser
from worker.media.colour import ColourMatrix, split_planes
from worker.media.decode import Source, decode
from worker.media.stage_timer import Clock
from worker.media.timeline import play

GRID_S: Final = 0.16  # four frames at 25 a second
SMOOTHING_S: Final = 0.08  # half width of the window: longer would shorten a nod
FAR: Final = 0.08  # movement between two grid frames that is not interpolated, in face heights
SAME_FACE: Final = 0.5  # distance between a face and itself a frame later, in face heights
BACKWARD_BYTES: Final = 192 * 1024**2  # frames held to run backwards
THUMBNAIL_PX: Final = (32, 18)
CUT_LEVELS: Final = 18.0  # mean change of a thumbnail's luma that makes a cut


@dataclass
class Tracked:
    """One source frame: its number, planes (H * 3/2, W) uint8, and the landmarks (468, 2) of each chosen face."""

    index: int
    planes: U8
    faces: list[F32]
    small: bool = False  # a chosen face was there, but too small to be synthesized


@dataclass
class _Seen:
    frame: Tracked
    shot: int
    known: bool = field(default=False)


class Tracker:
    """Track the chosen faces of one source.

    read(first, last): the decoded frames of a range. frames: length of the source; rate: frames a second.
    """

    def __init__(
        self,
        detector: FaceDetector,
        chooser: Chooser,
        read: Callable[[int, int], Iterator[U8]],
        frames: int,
        rate: Fraction,
        colour: ColourMatrix,
        clock: Clock,
    ) -> None:
        self._detector, self._chooser, self._read = detector, chooser, read
        self._frames, self._colour, self._clock = frames, colour, clock
        self._stride = max(1, int(Fraction(GRID_S) * rate + Fraction(1, 1000)))
        self._radius = max(1, round(SMOOTHING_S * float(rate)))

    def track(self, first: int, last: int) -> Iterator[Tracked]:
        """Yield the frames [first, last) with the landmarks of the chosen faces."""
        start = max(0, first - self._radius) // self._stride * self._stride
        end = min(self._frames, -((1 - last - self._radius) // self._stride) * self._stride + 1)
        window: deque[_Seen] = deque()
        for seen in self._known_frames(start, end):
            window.append(seen)
            if len(window) > self._radius:
                yield from self._centre(window, len(window) - 1 - self._radius, first, last)
            if len(window) > 2 * self._radius:
                window.popleft()
        for position in range(max(0, len(window) - self._radius), len(window)):
            yield from self._centre(window, position, first, last)

    def _centre(self, window: deque[_Seen], position: int, first: int, last: int) -> Iterator[Tracked]:
        frame = window[position].frame
        if first <= frame.index < last:
            faces = [_smooth(face, window, position, self._radius) for face in frame.faces]
            yield Tracked(frame.index, frame.planes, faces, frame.small)

    def _known_frames(self, start: int, end: int) -> Iterator[_Seen]:
        """Yield frames in order, each with its faces before smoothing."""
        pending: list[_Seen] = []  # from the last frame that was looked at
        small: U8 | None = None
        shot = 0
        for index, planes in enumerate(self._read(start, end), start):
            before, small = small, thumbnail(planes)
            if before is not None and is_cut(before, small):
                shot += 1
                yield from self._resolve(pending)
                pending = []
            pending.append(_Seen(Tracked(index, planes, []), shot))
            if len(pending) == 1 or index % self._stride == 0 or index == end - 1:
                newest = pending[-1]
                yield from self._resolve(pending)[:-1]
                pending = [newest]
        yield from pending

    def _resolve(self, pending: list[_Seen]) -> list[_Seen]:
        """Look at the last frame, and find the faces of those between the first and it."""
        if not pending:
            return []
        self._look(pending[-1])
        a, b = pending[0].frame, pending[-1].frame
        between = pending[1:-1]
        pairs = _pair(a.faces, b.faces)
        if pairs is None or a.small != b.small:
            for seen in between:
                self._look(seen)
            return pending
        for seen in between:
            share = (seen.frame.index - a.index) / (b.index - a.index)
            seen.frame.faces = [(one + (two - one) * np.float32(share)) for one, two in pairs]
            seen.frame.small, seen.known = a.small, True
        return pending

    def _look(self, seen: _Seen) -> None:
        if seen.known:
            return
        seen.known = True
        with self._clock.time("detect"):
            faces = self._detector.detect_in(PlanesPicture(seen.frame.planes, self._colour))
        chosen = self._chooser.pick(faces)
        seen.frame.faces = [face.landmarks for face in chosen if face.height_px >= MIN_HEIGHT_PX]
        seen.frame.small = len(seen.frame.faces) < len(chosen)


def tracked_frames(
    source: Source, timeline: I64, detector: FaceDetector, chooser: Chooser, clock: Clock, check: Check
) -> Iterator[Tracked]:
    """Yield the frame shown at each moment of a timeline, with the chosen faces."""

    def read(first: int, last: int) -> Iterator[U8]:
        return clock.timed("decode", decode(source, first, last, check))

    tracker = Tracker(detector, chooser, read, source.frames, source.rate, source.colour, clock)
    return play(timeline, tracker.track, max(8, BACKWARD_BYTES // (source.width * source.height * 3 // 2)))


def height_px(landmarks: F32) -> float:
    """Return the distance from forehead to chin."""
    return float(np.hypot(*(landmarks[CHIN] - landmarks[FOREHEAD])))


def _pair(before: list[F32], after: list[F32]) -> list[tuple[F32, F32]] | None:
    """Match the faces of two frames, or None where they disagree or moved far."""
    if len(before) != len(after):
        return None
    pairs, free = [], list(after)
    for one in before:
        other = min(free, key=lambda two: _gap(one, two))
        moved = np.hypot(*(other - one).T)
        if float(moved.mean()) > FAR * height_px(one):
            return None
        free = [two for two in free if two is not other]
        pairs.append((one, other))
    return pairs


def _smooth(face: F32, window: deque[_Seen], position: int, radius: int) -> F32:
    """Average a face with itself in the neighbouring frames, as many before as after, weights falling linearly."""
    shot = window[position].shot
    total, weights = face.astype(np.float64), 1.0
    sides = [face, face]
    for distance in range(1, radius + 1):
        if position < distance or position + distance >= len(window):
            break
        found = [
            _same_face(side, window[at], shot)
            for side, at in zip(sides, (position - distance, position + distance), strict=True)
        ]
        if found[0] is None or found[1] is None:
            break
        weight = 1.0 - distance / (radius + 1)
        total += weight * (found[0].astype(np.float64) + found[1])
        weights += 2 * weight
        sides = [found[0], found[1]]
    return np.asarray(total / weights, np.float32)


def _same_face(face: F32, seen: _Seen, shot: int) -> F32 | None:
    if seen.shot != shot or not seen.frame.faces:
        return None
    nearest = min(seen.frame.faces, key=lambda other: _gap(face, other))
    return nearest if _gap(face, nearest) < SAME_FACE * height_px(face) else None


def _gap(a: F32, b: F32) -> float:
    return float(np.hypot(*(a.mean(axis=0) - b.mean(axis=0))))


def is_cut(before: U8, after: U8) -> bool:
    """Tell from the thumbnails of two frames that follow each other whether a cut lies between them."""
    return float(cv2.absdiff(before, after).mean()) > CUT_LEVELS


def thumbnail(planes: U8) -> U8:
    """Return the luma of a frame at 32x18 pixels."""
    luma = split_planes(planes)[0]
    step = max(1, min(luma.shape) // 160)  # every so many pixels will do for this
    return np.asarray(cv2.resize(luma[::step, ::step], THUMBNAIL_PX, interpolation=cv2.INTER_AREA), np.uint8)
