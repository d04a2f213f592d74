"""Who speaks in each shot, and which frames that makes for each speaker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.errors import ErrorCode, InputError
from app.core.jobs import JobOptions
from model.arrays import U8
from tests.worker.clips import portrait, write_clip
from tests.worker.faces.test_track import opened
from worker.faces.detect import FaceDetector
from worker.faces.people import find_people
from worker.pipeline.dubs import Stretch
from worker.pipeline.speaking import ShotSpeaker, SpeakerFinder, find_shots, runs_of, speaker_warnings, speakers_of

SHOTS = [ShotSpeaker(10, 20, 0, True), ShotSpeaker(20, 30, None, True), ShotSpeaker(30, 50, 1, False)]


def frame(level: int) -> U8:
    return np.full((48, 32), level, np.uint8)


@pytest.mark.parametrize(
    ("levels", "shots"),
    [([50] * 5, [(7, 12)]), ([50, 50, 120, 120, 121], [(7, 9), (9, 12)]), ([0, 90, 200], [(7, 8), (8, 9), (9, 10)])],
)
def test_a_cut_begins_a_shot(levels: list[int], shots: list[tuple[int, int]]) -> None:
    assert find_shots((frame(level) for level in levels), 7) == shots


@pytest.mark.parametrize(
    ("timeline", "span", "runs"),
    [
        (range(10, 50), (0, 40), {0: [(0, 10)], 1: [(20, 40)]}),
        (range(10, 50), (5, 25), {0: [(5, 10)], 1: [(20, 25)]}),
        ([*range(10, 32), *range(10, 12)], (0, 24), {0: [(0, 10), (22, 24)], 1: [(20, 22)]}),  # loop
        (range(20, 30), (0, 10), {}),
    ],
)
def test_each_speaker_has_the_frames_of_the_shots(
    timeline: list[int], span: tuple[int, int], runs: dict[int, list[tuple[int, int]]]
) -> None:
    assert runs_of(SHOTS, np.array(timeline), span) == runs


@dataclass
class KnownSpeakers:
    shots: list[ShotSpeaker]

    def find(self, first: int, last: int) -> list[ShotSpeaker]:
        """Return the shots, whatever the frames."""
        return self.shots


def stretch(face: str, name: str = "", span: tuple[int, int] = (0, 40)) -> Stretch:
    return Stretch(name, 0, JobOptions(face=face), (span,), 0.0, 1.6)


def test_a_stretch_becomes_one_for_each_speaker() -> None:
    timeline = np.arange(10, 50)
    found, warnings = speakers_of([stretch("largest"), stretch("speaking")], timeline, KnownSpeakers(SHOTS))
    assert [(one.options.face, one.spans) for one in found] == [
        ("largest", ((0, 40),)),
        ("index:0", ((0, 10),)),
        ("index:1", ((20, 40),)),
    ]
    assert warnings == speaker_warnings(SHOTS) and len(warnings) == 2
    assert found[1].source_ranges(timeline) == [(10, 20)]


def test_where_nobody_speaks_there_is_a_warning_or_nothing_to_do() -> None:
    timeline, silent = np.arange(10, 50), KnownSpeakers([ShotSpeaker(10, 50, None, True)])
    found, warnings = speakers_of([stretch("index:0"), stretch("speaking", "segments[1]")], timeline, silent)
    assert len(found) == 1 and warnings[0].startswith("segments[1]: In 1 of 1 shots nobody's lips fit")
    with pytest.raises(InputError) as caught:
        speakers_of([stretch("speaking")], timeline, silent)
    assert caught.value.code == ErrorCode.FACE_NOT_FOUND


@pytest.fixture(scope="module")
def still_person(media_dir: Path) -> Path:
    """A shot of 1 s and a shot of 2.4 s of one person whose lips do not move."""
    frames = [portrait(shift=0.1 * i) for i in range(25)] + [portrait(shift=0.1 * i)[:, ::-1] for i in range(60)]
    return write_clip(media_dir / "shots.mp4", frames)


def test_lips_that_do_not_move_do_not_speak(still_person: Path, detector: FaceDetector) -> None:
    source = opened(still_person)
    people = find_people([detector.detect(portrait())])
    voice = np.zeros(54_400, np.int16)
    voice[1600:] = np.random.default_rng(0).normal(0, 3000, 52_800).astype(np.int16)
    short, long = SpeakerFinder(source, people, voice, detector, never_stop).find(0, 85)
    assert (short.first, short.last, short.person, short.is_sure) == (0, 25, 0, False)  # there alone
    assert (long.first, long.last, long.person) == (25, 85, None)
