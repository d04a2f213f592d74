from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.probing.probe import Limits, find_ffmpeg, probe_video
from tests.worker.clips import portrait
from worker.faces.detect import Face, FaceDetector
from worker.faces.subject import Chooser
from worker.faces.track import FrameReader, TrackedFrame, Tracker
from worker.media.colour import ColourMatrix, planes_of_rgb
from worker.media.decode import Source, decode, open_source
from worker.media.stage_timer import StageTimer

LARGEST = Chooser(every=False)


def opened(path: Path) -> Source:
    return open_source(path, probe_video(path, Limits()), find_ffmpeg(None), never_stop)


def tracker_of(source: Source, detector: FaceDetector, chooser: Chooser = LARGEST) -> Tracker:
    def read(first: int, last: int) -> Iterator[np.ndarray]:
        return decode(source, first, last, never_stop)

    return Tracker(detector, chooser, FrameReader(read, source.frames, source.rate, source.colour), StageTimer())


def tracked_pictures(
    detector: FaceDetector, picture: Callable[[int], np.ndarray], count: int, rate: int = 25
) -> list[TrackedFrame]:
    def read(first: int, last: int) -> Iterator[np.ndarray]:
        return (planes_of_rgb(picture(i), ColourMatrix.BT601) for i in range(first, last))

    reader = FrameReader(read, count, Fraction(rate), ColourMatrix.BT601)
    tracker = Tracker(detector, LARGEST, reader, StageTimer())
    return list(tracker.track(0, count))


def same(a: TrackedFrame, b: TrackedFrame) -> bool:
    equal = len(a.faces) == len(b.faces) and all(np.array_equal(x, y) for x, y in zip(a.faces, b.faces, strict=True))
    return a.index == b.index and equal and np.array_equal(a.planes, b.planes)


@pytest.mark.parametrize("clip", ["moving_clip", "gap_clip"])
def test_any_range_gives_what_the_whole_gives(
    clip: str, detector: FaceDetector, request: pytest.FixtureRequest
) -> None:
    source = opened(request.getfixturevalue(clip))
    tracker = tracker_of(source, detector)
    whole = list(tracker.track(0, source.frames))
    assert [one.index for one in whole] == list(range(source.frames))
    for first, last in ((0, 1), (7, 19), (13, 14), (source.frames - 9, source.frames)):
        part = list(tracker.track(first, last))
        assert len(part) == last - first
        assert all(same(a, b) for a, b in zip(part, whole[first:last], strict=True))


def test_a_missing_face_is_missing_to_the_frame(gap_clip: Path, detector: FaceDetector) -> None:
    source = opened(gap_clip)
    found = [bool(one.faces) for one in tracker_of(source, detector).track(0, source.frames)]
    assert found == [not 14 <= i < 26 for i in range(40)]


def test_a_drifting_face_is_followed_between_the_frames_looked_at(detector: FaceDetector) -> None:
    tracked = tracked_pictures(detector, lambda i: portrait(shift=i * 1.0), 24)
    x = np.array([one.faces[0][:, 0].mean() for one in tracked])
    assert np.diff(x)[4:-4] == pytest.approx(1.0, abs=0.35)
    assert x[-1] - x[0] == pytest.approx(23.0, abs=1.5)


def test_a_still_face_does_not_tremble(detector: FaceDetector) -> None:
    rng = np.random.default_rng(0)

    def noisy(_: int) -> np.ndarray:
        return np.clip(portrait() + rng.normal(0, 4, (320, 320, 3)), 0, 255).astype(np.uint8)

    tracked = tracked_pictures(detector, noisy, 25)
    x = np.array([one.faces[0][[33, 263, 4]].mean(axis=0) for one in tracked])
    assert np.abs(np.diff(x, axis=0)).max() < 0.35


def test_a_cut_is_sharp(detector: FaceDetector) -> None:
    def picture(i: int) -> np.ndarray:
        return portrait(shift=0.0) if i < 10 else portrait(shift=-60.0)[:, ::-1]

    tracked = tracked_pictures(detector, picture, 20)
    x = [float(one.faces[0][:, 0].mean()) for one in tracked]
    assert x[:10] == pytest.approx([x[0]] * 10, abs=1.0)
    assert x[10:] == pytest.approx([x[-1]] * 10, abs=1.0)
    assert abs(x[10] - x[9]) > 15


class CountingDetector(FaceDetector):
    """Detector that counts its calls."""

    looks = 0

    def detect_in(self, view: object) -> list[Face]:
        self.looks += 1
        return super().detect_in(view)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rate", "looks"), [(12, 25), (25, 8), (50, 5)])
def test_faces_are_looked_for_on_a_grid_of_time(rate: int, looks: int) -> None:
    counting = CountingDetector()
    with counting:
        tracked = tracked_pictures(counting, lambda _: portrait(), 25, rate)
        assert all(one.faces for one in tracked)
        assert counting.looks <= looks


def test_a_tiny_face_is_left_alone(detector: FaceDetector) -> None:
    small = portrait(640, 640)[::4, ::4]
    picture = np.full((96, 96, 3), 120, np.uint8)
    picture[:80, :80] = small[:80, :80]
    (one,) = tracked_pictures(detector, lambda _: picture, 1)
    heights = [float(np.hypot(*(face[152] - face[10]))) for face in one.faces]
    assert all(height >= 24 for height in heights)
