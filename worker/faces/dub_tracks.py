"""Track the faces of several dubs: each dub has a chooser of its own, and a range of source frames.

Every range is tracked as `worker.faces.track` does it, apart from the others, so a dub's faces depend on nothing but
its own range. The frames are decoded once for all of them, and the faces of a frame that several dubs look at are
detected once. Frames outside all ranges are only decoded. So are ranges whose faces an earlier job has tracked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from app.core.checks import Check
from model.arrays import I64, U8
from worker.faces.detect import Face
from worker.faces.face_finder import FaceFinder
from worker.faces.frame_view import PlanesView
from worker.faces.kept_tracks import KeptTrack, KeptTracks
from worker.faces.subject import Chooser
from worker.faces.track import BACKWARD_BYTES, FrameReader, TrackedFrame, Tracker
from worker.media.decode import Source, decode
from worker.media.stage_timer import StageTimer
from worker.media.timeline import play


@dataclass(frozen=True)
class DubRange:
    """Source frames [first, last) of a dub, its number, and the chooser of its faces."""

    number: int
    first: int
    last: int
    chooser: Chooser


@dataclass
class DubbedFrame:
    """Source frame: its number, planes (H * 3/2, W) uint8 I420, and its chosen faces by number of the dub.

    is_kept: the tracking of a later dub still has to look at the planes.
    """

    index: int
    planes: U8
    found: Mapping[int, TrackedFrame]
    is_kept: bool


def tracked_dubs(
    source: Source,
    timeline: I64,
    ranges: Sequence[DubRange],
    detector: FaceFinder,
    timer: StageTimer,
    check: Check,
    kept: KeptTracks | None = None,
) -> Iterator[DubbedFrame]:
    """Yield the source frame of each entry of a timeline, with the faces of the dubs there; raises InputError.

    kept: what earlier jobs have tracked.
    """

    def read(first: int, last: int) -> Iterator[DubbedFrame]:
        wanted = [one for one in ranges if one.first < last and first < one.last]
        tracks = [None if kept is None else kept.of(one.chooser) for one in wanted]
        shared = detector if len(wanted) < 2 else SharedDetector(detector)
        pairs = zip(wanted, tracks, strict=True)
        runs = [_Run(source, one, (first, last), shared, timer, track) for one, track in pairs]
        return _one_pass(source, (first, last), runs, timer, check)

    return play(timeline, read, max(8, BACKWARD_BYTES // (source.width * source.height * 3 // 2)))


def _one_pass(
    source: Source,
    span: tuple[int, int],
    runs: Sequence[_Run],
    timer: StageTimer,
    check: Check,
) -> Iterator[DubbedFrame]:
    """Yield the source frames [first, last) of the span with the faces of dubs."""
    first, last = span
    reaches = [run.reach for run in runs]
    start, end = min([first, *(low for low, _ in reaches)]), max([last, *(high for _, high in reaches)])
    with closing(timer.timed("decode", decode(source, start, end, check))) as decoded:
        frames = FrameBuffer(decoded, start)
        for run in runs:
            run.begin(frames)
        for index in range(first, last):
            found = {run.number: frame for run in runs if (frame := run.frame(index)) is not None}
            runs = [run for run in runs if run.last > index + 1]
            is_kept = any(run.needed_from <= index for run in runs)
            yield DubbedFrame(index, frames.get(index), found, is_kept)
            frames.forget_before(min([index + 1, *(run.needed_from for run in runs)]))


class FrameBuffer:
    """Frames that several readers go through, each at its own place; `start`: number of the first frame."""

    def __init__(self, frames: Iterator[U8], start: int) -> None:
        self._frames, self._first = frames, start
        self._held: deque[U8] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, index: int) -> U8:
        """Return a frame that is not forgotten; frames up to it are read if need be."""
        while index >= self._first + len(self._held):
            self._held.append(next(self._frames))
        return self._held[index - self._first]

    def forget_before(self, index: int) -> None:
        """Forget the frames before one that was read or comes next."""
        while self._held and self._first < index:
            self._held.popleft()
            self._first += 1


class SharedDetector:
    """Detector that remembers the faces of the newest frames for further dubs that ask for a frame of that number."""

    def __init__(self, detector: FaceFinder, frames: int = 64) -> None:
        self._detector = detector
        self._known: deque[tuple[int | None, list[Face]]] = deque(maxlen=frames)

    def detect_in(self, view: PlanesView) -> list[Face]:
        """Return the faces of a frame."""
        for number, faces in self._known:
            if number is not None and number == view.number:
                return faces
        faces = self._detector.detect_in(view)
        self._known.append((view.number, faces))
        return faces

    def follow(self, view: PlanesView, face: Face) -> Face | None:
        """Return what a face of a frame before became in this one, None if that is not sure."""
        return self._detector.follow(view, face)

    def glance(self, view: PlanesView) -> list[Face]:
        """Return the faces that are seen in one look at a frame."""
        return self._detector.glance(view)


class _Run:
    """Tracking of one dub in one pass over a span of frames, unless all its frames are known."""

    def __init__(
        self,
        source: Source,
        own: DubRange,
        span: tuple[int, int],
        detector: FaceFinder,
        timer: StageTimer,
        kept: KeptTrack | None,
    ) -> None:
        self.number, self._kept = own.number, kept
        self._first, self.last = max(own.first, span[0]), min(own.last, span[1])
        reader = FrameReader(self._read, source.frames, source.rate, source.colour)
        self._tracker = Tracker(detector, own.chooser, reader, timer)
        self._known = None if kept is None else kept.known(self._first, self.last)
        is_new = self._known is None
        self.reach = self._tracker.reach(self._first, self.last) if is_new else (self._first, self.last)
        self.needed_from = self.reach[0] if is_new else self.last  # of what is known, no frame is looked at

    def begin(self, frames: FrameBuffer) -> None:
        """Take the frames; nothing is read yet."""
        self._frames = frames
        self._tracked = self._tracker.track(self._first, self.last)

    def frame(self, index: int) -> TrackedFrame | None:
        """Return the next frame, if it has this number."""
        if not self._first <= index < self.last:
            return None
        if self._known is not None:
            one = self._known[index - self._first]
            return TrackedFrame(index, self._frames.get(index), list(one.faces), one.small, one.is_sure)
        tracked = next(self._tracked)
        if self._kept is not None:
            self._kept.add(tracked)
        return tracked

    def _read(self, first: int, last: int) -> Iterator[U8]:
        for index in range(first, last):
            self.needed_from = index + 1
            yield self._frames.get(index)
