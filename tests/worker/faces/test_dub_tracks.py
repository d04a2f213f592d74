"""Several dubs are tracked in one pass as each would be alone."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from app.core.checks import never_stop
from tests.worker.clips import portrait
from tests.worker.faces.test_track import opened, same, tracker_of
from worker.faces.detect import Face, FaceDetector
from worker.faces.dub_tracks import DubbedFrame, DubRange, FrameBuffer, SharedDetector, tracked_dubs
from worker.faces.frame_view import PlanesView
from worker.faces.subject import Chooser
from worker.media.colour import ColourMatrix, planes_of_rgb
from worker.media.decode import Source
from worker.media.stage_timer import StageTimer

COLOUR = ColourMatrix.BT709
LARGEST, ALL = Chooser(every=False), Chooser(every=True)
RANGES = [DubRange(0, 0, 31, ALL), DubRange(1, 31, 40, LARGEST), DubRange(2, 25, 50, LARGEST)]


@dataclass
class CountingDetector:
    """Detector that counts the frames in which it looks for faces."""

    detector: FaceDetector
    looked_at: list[bytes] = field(default_factory=list)

    def detect_in(self, view: PlanesView) -> list[Face]:
        """Return the faces of a frame."""
        self.looked_at.append(view.planes[::8, ::8].tobytes())
        return self.detector.detect_in(view)

    def follow(self, view: PlanesView, face: Face) -> Face | None:
        """Return what a face became."""
        return self.detector.follow(view, face)

    def glance(self, view: PlanesView) -> list[Face]:
        """Return the faces that are easily seen."""
        return self.detector.glance(view)


def tracked(
    source: Source, detector: CountingDetector | FaceDetector, ranges: list[DubRange], timeline: np.ndarray
) -> Iterator[DubbedFrame]:
    return tracked_dubs(source, timeline, ranges, detector, StageTimer(), never_stop)


def test_each_dub_is_tracked_as_if_it_were_alone(moving_clip: Path, detector: FaceDetector) -> None:
    source, counting = opened(moving_clip), CountingDetector(detector)
    frames = list(tracked(source, counting, RANGES, np.arange(60)))
    assert [frame.index for frame in frames] == list(range(60))
    for one in RANGES:
        alone = list(tracker_of(source, detector, one.chooser).track(one.first, one.last))
        found = [frame.found[one.number] for frame in frames if one.number in frame.found]
        assert [frame.index for frame in found] == list(range(one.first, one.last))
        assert all(same(a, b) for a, b in zip(found, alone, strict=True))
        assert all(np.array_equal(frame.planes, frames[frame.index].planes) for frame in found)
    assert all(not frame.found for frame in frames[50:])
    # no frame twice, and none far outside of the dubs
    assert len(counting.looked_at) == len(set(counting.looked_at)) <= 18
    assert [frame.index for frame in frames if frame.is_kept] == list(range(31))


@pytest.mark.parametrize(("first", "last"), [(0, 9), (27, 33), (45, 60), (52, 60)])
def test_any_part_has_the_faces_of_the_whole(moving_clip: Path, detector: FaceDetector, first: int, last: int) -> None:
    source = opened(moving_clip)
    whole = list(tracked(source, detector, RANGES, np.arange(60)))[first:last]
    part = list(tracked(source, detector, RANGES, np.arange(first, last)))
    for a, b in zip(whole, part, strict=True):
        assert a.index == b.index and a.found.keys() == b.found.keys()
        assert all(same(a.found[number], b.found[number]) for number in a.found)


def test_frames_outside_of_all_dubs_are_only_decoded(moving_clip: Path, detector: FaceDetector) -> None:
    counting = CountingDetector(detector)
    frames = list(tracked(opened(moving_clip), counting, [], np.arange(90)))
    assert len(frames) == 90 and counting.looked_at == []
    assert not any(frame.is_kept or frame.found for frame in frames)


def test_a_shared_detector_looks_once_and_keeps_no_picture(detector: FaceDetector) -> None:
    counting = CountingDetector(detector)
    shared = SharedDetector(counting)
    planes = planes_of_rgb(portrait(), COLOUR)
    (first,), (again,) = (shared.detect_in(PlanesView(planes, COLOUR, 5)) for _ in range(2))
    assert again is first and len(counting.looked_at) == 1
    for number in (6, None, None):
        assert len(shared.detect_in(PlanesView(planes, COLOUR, number))) == 1
    assert len(counting.looked_at) == 4
    picture = weakref.ref(planes)
    del planes
    assert picture() is None


def test_a_buffer_holds_only_what_is_needed() -> None:
    frames = (np.full((3, 2), index, np.uint8) for index in range(5, 20))
    buffer = FrameBuffer(frames, 5)
    assert buffer.get(8)[0, 0] == 8 and buffer.get(5)[0, 0] == 5
    buffer.forget_before(7)
    assert buffer.get(7)[0, 0] == 7 and len(buffer) == 2
    buffer.forget_before(30)
    assert len(buffer) == 0 and buffer.get(9)[0, 0] == 9
