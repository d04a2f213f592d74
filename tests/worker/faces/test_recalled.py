"""What a detector remembers of the frames of a film, and that it is exactly what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from app.core.storage.cache import Cache, Entry
from model.arrays import U8
from tests.worker.clips import portrait
from worker.faces.crop import Transform
from worker.faces.detect import Face, FaceDetector
from worker.faces.frame_view import PlanesView
from worker.faces.kept_blocks import BLOCK_FRAMES
from worker.faces.recalled import RecallingDetector, arrays_of_faces, faces_of_arrays
from worker.media.colour import ColourMatrix, planes_of_rgb

JOB = "1" * 32
COLOUR = ColourMatrix.for_height(320)


class Asked:
    """Detector that notes what it was asked."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector, self.asked = detector, list[str]()

    def detect_in(self, view: PlanesView) -> list[Face]:
        self.asked.append(f"detect {view.number}")
        return self._detector.detect_in(view)

    def glance(self, view: PlanesView) -> list[Face]:
        self.asked.append(f"glance {view.number}")
        return self._detector.glance(view)

    def follow(self, view: PlanesView, face: Face) -> Face | None:
        self.asked.append(f"follow {view.number}")
        return self._detector.follow(view, face)


@pytest.fixture
def asked(detector: FaceDetector) -> Asked:
    return Asked(detector)


@pytest.fixture
def entry_of(tmp_path: Path) -> Callable[[int], Entry]:
    cache = Cache(tmp_path / "cache", 10**8, 0).of_job("", JOB)
    return lambda block: cache.entry("faces", block)


def planes(number: int) -> U8:
    return planes_of_rgb(portrait(shift=number % 40, blank=number == 3), COLOUR)


def view_of(number: int | None) -> PlanesView:
    return PlanesView(planes(number or 0), COLOUR, number)


def same(one: Face | None, other: Face | None) -> bool:
    """Return whether two faces are equal bit by bit."""
    if one is None or other is None:
        return one is other
    for name in (field.name for field in fields(Face)):
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, Transform) and isinstance(b, Transform):
            if a.size != b.size or a.matrix.tobytes() != b.matrix.tobytes():
                return False
        elif isinstance(a, np.ndarray):
            if a.dtype != b.dtype or a.tobytes() != b.tobytes():
                return False
        elif a != b:
            return False
    return True


def ask_all(finder: RecallingDetector | Asked, numbers: tuple[int, ...]) -> list[Face | None]:
    answers: list[Face | None] = []
    for number in numbers:
        found = finder.detect_in(view_of(number))
        answers += [*found, *finder.glance(view_of(number))]
        answers += [finder.follow(view_of(number + 1), face) for face in found]
    return answers


def test_the_second_job_asks_nobody_and_gets_the_same_bits(asked: Asked, entry_of: Callable[[int], Entry]) -> None:
    numbers = (0, 2, 3, BLOCK_FRAMES - 1, BLOCK_FRAMES, 5 * BLOCK_FRAMES, 9 * BLOCK_FRAMES, 1)
    plain = ask_all(asked, numbers)
    assert len(plain) > len(numbers) and asked.asked
    for is_known in (False, True):
        asked.asked.clear()
        with RecallingDetector(asked, entry_of) as finder:
            answers = ask_all(finder, numbers)
        assert bool(asked.asked) != is_known
        assert len(answers) == len(plain) and all(map(same, answers, plain))


def test_another_face_to_follow_is_another_question(asked: Asked, entry_of: Callable[[int], Entry]) -> None:
    with RecallingDetector(asked, entry_of) as finder:
        (one,), (other,) = finder.detect_in(view_of(4)), finder.detect_in(view_of(5))
        followed = [finder.follow(view_of(6), face) for face in (one, other, one)]
    assert asked.asked == ["detect 4", "detect 5", "follow 6", "follow 6"]
    assert same(followed[0], followed[2])


def test_segments_add_to_each_other(asked: Asked, entry_of: Callable[[int], Entry]) -> None:
    with RecallingDetector(asked, entry_of) as one, RecallingDetector(asked, entry_of) as other:
        one.detect_in(view_of(8))
        other.detect_in(view_of(9))
    asked.asked.clear()
    with RecallingDetector(asked, entry_of) as finder:
        finder.detect_in(view_of(8))
        finder.detect_in(view_of(9))
    assert asked.asked == []


def test_a_frame_whose_number_is_not_known_is_always_looked_at(asked: Asked, entry_of: Callable[[int], Entry]) -> None:
    with RecallingDetector(asked, entry_of) as finder:
        finder.detect_in(view_of(None))
        finder.detect_in(view_of(None))
    assert asked.asked == ["detect None"] * 2 and entry_of(0).get() is None


def test_a_job_that_fails_keeps_nothing(asked: Asked, entry_of: Callable[[int], Entry]) -> None:
    with pytest.raises(InterruptedError), RecallingDetector(asked, entry_of) as finder:
        finder.detect_in(view_of(1))
        raise InterruptedError
    assert entry_of(0).get() is None


@pytest.mark.parametrize("content", [b"", b"no file of arrays", b"PK\x03\x04 nor this"])
def test_an_entry_of_no_use_is_found_anew(asked: Asked, entry_of: Callable[[int], Entry], content: bytes) -> None:
    def write(path: Path) -> None:
        path.write_bytes(content)

    entry_of(0).put(write)
    with RecallingDetector(asked, entry_of) as finder:
        assert len(finder.detect_in(view_of(1))) == 1
    assert asked.asked == ["detect 1"]


def face(seed: int, *, has_pattern: bool, square: Transform | None) -> Face:
    random = np.random.default_rng(seed)
    landmarks, depths = (random.standard_normal(shape).astype(np.float32) for shape in ((468, 2), 468))
    pattern = random.standard_normal((2, 162)).astype(np.float32) if has_pattern else None  # shaped as by pattern_of
    return Face(landmarks, float(random.random()), depths, pattern, square)


TURNED = Transform(np.array([[0.0, 1 / 3, 5.0], [-1 / 3, 0.0, 1e-9]]), 256)


@pytest.mark.parametrize(
    "faces",
    [
        [],
        [face(1, has_pattern=False, square=None)],
        [
            face(1, has_pattern=True, square=TURNED),
            face(2, has_pattern=False, square=None),
        ],
        [face(3, has_pattern=True, square=Transform(np.eye(2, 3), 192)), face(4, has_pattern=True, square=None)],
    ],
)
def test_faces_are_kept_bit_by_bit(faces: list[Face]) -> None:
    again = faces_of_arrays(arrays_of_faces(faces))
    assert len(again) == len(faces) and all(map(same, faces, again))
