from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.probing.probe import Limits, find_ffmpeg, probe_video
from tests.worker.clips import portrait
from worker.faces.detect import Face, FaceDetector
from worker.faces.frame_view import PlanesView
from worker.faces.subject import Chooser, choose_subject
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
    detector: FaceDetector,
    picture: Callable[[int], np.ndarray],
    count: int,
    rate: int = 25,
    chooser: Chooser = LARGEST,
) -> list[TrackedFrame]:
    def read(first: int, last: int) -> Iterator[np.ndarray]:
        return (planes_of_rgb(picture(i), ColourMatrix.BT601) for i in range(first, last))

    reader = FrameReader(read, count, Fraction(rate), ColourMatrix.BT601)
    tracker = Tracker(detector, chooser, reader, StageTimer())
    return list(tracker.track(0, count))


def same(a: TrackedFrame, b: TrackedFrame) -> bool:
    equal = len(a.faces) == len(b.faces) and all(np.array_equal(x, y) for x, y in zip(a.faces, b.faces, strict=True))
    return a.index == b.index and equal and np.array_equal(a.planes, b.planes)


def target_of(detector: FaceDetector, picture: np.ndarray) -> Chooser:
    """Return the chooser of a clip whose sparse frames all show one picture."""
    return choose_subject("largest", [detector.detect(picture)] * 3)


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("clip", ["moving_clip", "gap_clip"])
def test_any_range_gives_what_the_whole_gives(
    clip: str, is_known: bool, detector: FaceDetector, request: pytest.FixtureRequest
) -> None:
    source = opened(request.getfixturevalue(clip))
    tracker = tracker_of(source, detector, target_of(detector, portrait()) if is_known else LARGEST)
    whole = list(tracker.track(0, source.frames))
    assert [one.index for one in whole] == list(range(source.frames))
    for first, last in ((0, 1), (7, 19), (13, 14), (25, 31), (source.frames - 9, source.frames)):
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


def jumped(i: int, cut: int, shift: float, zoom: float) -> np.ndarray:
    """Return a frame of a still person on a plain ground, who is elsewhere and larger from frame `cut` on."""
    picture = np.full((240, 320, 3), 118, np.uint8)
    picture[:, 60:260] = portrait(200, 240, shift=-40.0)
    zoom, shift = (zoom, shift) if i >= cut else (1.0, 0.0)
    matrix = np.array([[zoom, 0.0, 140 * (1 - zoom) + shift], [0.0, zoom, 120 * (1 - zoom) - shift / 2]])
    moved = cv2.warpAffine(picture, matrix, (320, 240), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(moved + np.random.default_rng(i).normal(0, 2, moved.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("cut", "shift", "zoom", "rate"),
    [
        (8, 10.0, 1.0, 25),  # on a frame that is looked at, and just beside one
        (9, 10.0, 1.0, 25),
        (11, 10.0, 1.0, 25),
        (10, 5.0, 1.0, 25),
        (10, 40.0, 1.0, 25),
        (9, 0.0, 1.1, 25),
        (11, 0.0, 1.3, 25),
        (9, 10.0, 1.0, 12),
        (11, 10.0, 1.0, 50),
    ],
)
def test_a_face_is_in_its_place_on_both_sides_of_a_jump_cut(
    detector: FaceDetector, cut: int, shift: float, zoom: float, rate: int
) -> None:
    tracked = tracked_pictures(detector, lambda i: jumped(i, cut, shift, zoom), 17, rate)
    for part in (tracked[:cut], tracked[cut:]):
        faces = np.array([one.faces[0] for one in part])
        off = np.hypot(*(faces - np.median(faces, axis=0)).transpose(2, 0, 1)).mean(axis=1)
        assert off.max() < 0.012 * float(np.hypot(*(faces[0][152] - faces[0][10])))


def test_any_range_gives_the_same_around_a_jump_cut(detector: FaceDetector) -> None:
    def read(first: int, last: int) -> Iterator[np.ndarray]:
        return (planes_of_rgb(jumped(i, 14, 10.0, 1.0), ColourMatrix.BT601) for i in range(first, last))

    tracker = Tracker(detector, LARGEST, FrameReader(read, 26, Fraction(25), ColourMatrix.BT601), StageTimer())
    whole = list(tracker.track(0, 26))
    for first, last in ((12, 14), (13, 16), (14, 15), (15, 20)):
        assert all(same(a, b) for a, b in zip(tracker.track(first, last), whole[first:last], strict=True))


def test_a_fast_head_is_followed_smoothly(detector: FaceDetector) -> None:
    tracked = tracked_pictures(detector, lambda i: portrait(shift=30.0 * np.sin(i / 3)), 24)
    x = np.array([one.faces[0][[33, 133, 362, 263], 0].mean() for one in tracked])
    off = (x - 30.0 * np.sin(np.arange(24) / 3))[3:-3]
    assert np.abs(off - np.median(off)).max() < 4.0
    assert np.abs(np.diff(off)).max() < 2.5


def test_the_face_of_a_jump_cut_that_changes_little_of_the_picture(detector: FaceDetector, shared_dir: Path) -> None:
    source = opened(shared_dir / "field_cases" / "jump_cut_shift.mp4")
    for one in tracker_of(source, detector).track(24, 36):
        (face,) = detector.detect_in(PlanesView(one.planes, source.colour))
        off = np.hypot(*(one.faces[0] - face.landmarks).T).mean() / face.height_px
        assert off < 0.01


def test_a_filmed_face_upside_down_is_tracked_the_right_way_up(detector: FaceDetector, shared_dir: Path) -> None:
    source = opened(shared_dir / "field_cases" / "face_upside_down.mp4")
    for one in tracker_of(source, detector).track(0, 10):
        assert one.faces[0][152, 1] < one.faces[0][10, 1] - 50


@pytest.mark.parametrize(("rate", "looks"), [(12, 25), (25, 8), (50, 5)])
def test_faces_are_looked_for_on_a_grid_of_time(rate: int, looks: int) -> None:
    counting = CountingDetector()
    with counting:
        tracked = tracked_pictures(counting, lambda _: portrait(), 25, rate)
        assert all(one.faces for one in tracked)
        assert counting.looks <= looks


def test_a_known_face_is_followed_between_searches_of_the_whole_frame(detector: FaceDetector) -> None:
    def picture(i: int) -> np.ndarray:
        return portrait(shift=i * 0.8)

    counting = CountingDetector()
    with counting:
        followed = tracked_pictures(counting, picture, 49, chooser=target_of(detector, portrait()))
        assert counting.looks == 3  # once a second
    searched = tracked_pictures(detector, picture, 49)
    for one, other in zip(followed, searched, strict=True):
        off = np.hypot(*(one.faces[0] - other.faces[0]).T).mean()
        assert one.is_sure and off < 0.01 * float(np.hypot(*(other.faces[0][152] - other.faces[0][10])))


def test_whoever_takes_the_place_of_a_followed_face_is_not_taken_for_it(detector: FaceDetector) -> None:
    somebody = portrait(240, 240)
    (face,) = detector.detect(somebody)
    low, high = face.landmarks.min(axis=0).astype(int), face.landmarks.max(axis=0).astype(int)
    other = somebody.copy()  # the same place, another person: the face is turned to another colour and contrast
    part = other[low[1] : high[1], low[0] : high[0]]
    part[:] = 255 - part[:, ::-1]

    def picture(i: int) -> np.ndarray:
        return somebody if i < 10 else other

    tracked = tracked_pictures(detector, picture, 20, chooser=target_of(detector, somebody))
    assert [bool(one.faces) for one in tracked[:10]] == [True] * 10
    assert not any(one.faces and one.is_sure for one in tracked[10:])


@pytest.mark.parametrize("comes_at", [7, 8, 23])
def test_somebody_who_is_hard_to_find_is_found_from_the_first_frame_on(detector: FaceDetector, comes_at: int) -> None:
    def picture(i: int) -> np.ndarray:  # only a search in quarter turns finds a face upside down
        return portrait(blank=i < comes_at)[::-1].copy()

    tracked = tracked_pictures(detector, picture, 28)
    assert [bool(one.faces) for one in tracked] == [i >= comes_at for i in range(28)]


def test_a_clip_without_a_face_is_searched_about_once_a_second() -> None:
    counting = CountingDetector()
    with counting:
        tracked = tracked_pictures(counting, lambda _: portrait(blank=True), 49)
        assert not any(one.faces for one in tracked)
        assert counting.looks == 3


def test_a_tiny_face_is_left_alone(detector: FaceDetector) -> None:
    small = portrait(640, 640)[::4, ::4]
    picture = np.full((96, 96, 3), 120, np.uint8)
    picture[:80, :80] = small[:80, :80]
    (one,) = tracked_pictures(detector, lambda _: picture, 1)
    heights = [float(np.hypot(*(face[152] - face[10]))) for face in one.faces]
    assert all(height >= 24 for height in heights)
