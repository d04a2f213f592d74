"""Tracked faces are kept bit by bit, and a range that is known is not looked at again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.storage.cache import Cache, Entry
from model.arrays import I64
from tests.worker.faces.test_track import opened
from worker.faces.detect import Face, FaceDetector
from worker.faces.dub_tracks import DubbedFrame, DubRange, tracked_dubs
from worker.faces.frame_view import PlanesView
from worker.faces.kept_blocks import BLOCK_FRAMES
from worker.faces.kept_tracks import KeptTracks
from worker.faces.subject import Chooser
from worker.faces.track import TrackedFrame
from worker.media.decode import Source
from worker.media.stage_timer import StageTimer

LARGEST, ALL = Chooser(every=False), Chooser(every=True)
TWO_DUBS = [DubRange(0, 0, 31, ALL), DubRange(1, 25, 60, LARGEST)]
ONE_DUB = [DubRange(0, 0, 60, LARGEST)]
Places = Callable[[str, int], Entry]


@dataclass
class CountingDetector:
    """Detector that counts how often it is asked."""

    detector: FaceDetector
    looks: int = field(default=0)

    def detect_in(self, view: PlanesView) -> list[Face]:
        self.looks += 1
        return self.detector.detect_in(view)

    def follow(self, view: PlanesView, face: Face) -> Face | None:
        self.looks += 1
        return self.detector.follow(view, face)

    def glance(self, view: PlanesView) -> list[Face]:
        self.looks += 1
        return self.detector.glance(view)


@pytest.fixture
def entry_of(tmp_path: Path) -> Places:
    cache = Cache(tmp_path / "cache", 10**8, 0).of_job("", "1" * 32)
    return lambda rule, block: cache.entry("tracks", rule, block)


@pytest.fixture
def counting(detector: FaceDetector) -> CountingDetector:
    return CountingDetector(detector)


def tracked(
    source: Source, counting: CountingDetector, ranges: list[DubRange], shown: I64, entry_of: Places | None
) -> list[DubbedFrame]:
    """Return the frames of a job; entry_of: the cache, if it has one."""
    counting.looks = 0
    if entry_of is None:
        return list(tracked_dubs(source, shown, ranges, counting, StageTimer(), never_stop))
    with KeptTracks(entry_of) as kept:
        return list(tracked_dubs(source, shown, ranges, counting, StageTimer(), never_stop, kept))


def bits(frame: DubbedFrame) -> object:
    """Return all that a frame tells."""
    found = {
        number: (one.index, one.small, one.is_sure, [face.tobytes() for face in one.faces])
        for number, one in frame.found.items()
    }
    return frame.index, frame.planes.tobytes(), found


FORWARDS, BACK_AND_FORTH = np.arange(60), np.concatenate([np.arange(60), np.arange(58, 20, -1)])


@pytest.mark.parametrize("ranges", [ONE_DUB, TWO_DUBS])
@pytest.mark.parametrize("shown", [FORWARDS, BACK_AND_FORTH, np.arange(20, 45)])
def test_known_frames_are_the_same_and_nothing_is_looked_at(
    moving_clip: Path, counting: CountingDetector, entry_of: Places, ranges: list[DubRange], shown: I64
) -> None:
    source = opened(moving_clip)
    plain = list(map(bits, tracked(source, counting, ranges, shown, None)))
    looks = counting.looks
    tracked(source, counting, ranges, FORWARDS, entry_of)
    assert looks > 0 and counting.looks > 0
    assert list(map(bits, tracked(source, counting, ranges, shown, entry_of))) == plain
    assert counting.looks == 0


def test_what_is_known_in_part_is_tracked_again_and_completed(
    moving_clip: Path, counting: CountingDetector, entry_of: Places
) -> None:
    source = opened(moving_clip)
    plain = list(map(bits, tracked(source, counting, ONE_DUB, FORWARDS, None)))
    for shown in (np.arange(10, 30), np.arange(25, 50)):
        tracked(source, counting, ONE_DUB, shown, entry_of)
        assert counting.looks > 0
    for is_known in (False, True):
        assert list(map(bits, tracked(source, counting, ONE_DUB, FORWARDS, entry_of))) == plain
        assert (counting.looks == 0) == is_known
    tracked(source, counting, [DubRange(0, 0, 60, ALL)], FORWARDS, entry_of)
    assert counting.looks > 0, "another rule picks other faces"


def test_frames_without_faces_and_with_several_are_kept(entry_of: Places) -> None:
    random, planes = np.random.default_rng(1), np.zeros((3, 2), np.uint8)
    frames = [
        TrackedFrame(number, planes, list(random.random((count, 468, 2), np.float32)), small, is_sure)
        for number, count, small, is_sure in [
            (BLOCK_FRAMES - 2, 0, True, True),
            (BLOCK_FRAMES - 1, 2, False, False),
            (BLOCK_FRAMES, 1, False, True),
            (BLOCK_FRAMES + 1, 0, False, True),
        ]
    ]
    with KeptTracks(entry_of) as kept:
        for frame in frames:
            kept.of(ALL).add(frame)
    with KeptTracks(entry_of) as kept:
        found = kept.of(ALL).known(BLOCK_FRAMES - 2, BLOCK_FRAMES + 2)
        assert kept.of(ALL).known(BLOCK_FRAMES - 3, BLOCK_FRAMES) is None
        assert kept.of(LARGEST).known(BLOCK_FRAMES, BLOCK_FRAMES + 1) is None
    assert found is not None
    for one, frame in zip(found, frames, strict=True):
        assert (one.small, one.is_sure) == (frame.small, frame.is_sure)
        assert [face.tobytes() for face in one.faces] == [face.tobytes() for face in frame.faces]


@pytest.mark.parametrize("content", [b"", b"no file of arrays"])
def test_a_damaged_block_is_tracked_again(
    moving_clip: Path, counting: CountingDetector, entry_of: Places, content: bytes
) -> None:
    source = opened(moving_clip)
    plain = list(map(bits, tracked(source, counting, ONE_DUB, FORWARDS, entry_of)))

    def write(path: Path) -> None:
        path.write_bytes(content)

    entry_of(json.dumps(LARGEST.facts()), 0).put(write)
    assert list(map(bits, tracked(source, counting, ONE_DUB, FORWARDS, entry_of))) == plain
    assert counting.looks > 0
