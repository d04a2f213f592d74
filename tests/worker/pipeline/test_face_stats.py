"""Warnings about faces that are hard to redraw."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from app.core.errors import ErrorCode, InputError, error_payload
from app.core.jobs import JobOptions
from tests.fake_synthesizer import FakeConfig
from worker.faces.people import Subject
from worker.faces.reference import ReferenceCrops
from worker.faces.subject import Chooser
from worker.faces.track import TrackedFrame
from worker.pipeline.dubs import Stretch
from worker.pipeline.face_stats import (
    LOW_HEIGHT_PX,
    ClipStats,
    FaceStats,
    count_faces,
    face_warnings,
    limit_warnings,
    person_warnings,
)
from worker.pipeline.synthesis import OutputFrame


@pytest.mark.parametrize(
    ("covered", "in_profile", "words"),
    [(0.0, 0.0, []), (0.05, 0.05, []), (0.25, 0.0, ["covers", "25 %"]), (0.0, 0.5, ["35 degrees", "50 %"])],
)
def test_covered_mouths_and_profiles_are_named(covered: float, in_profile: float, words: list[str]) -> None:
    references = ReferenceCrops([], [], FakeConfig(), Chooser(False), 96, (covered, in_profile))
    found = limit_warnings(references)
    assert len(found) == bool(words)
    assert all(word in found[0] for word in words)


@pytest.mark.parametrize(("height_px", "count"), [(LOW_HEIGHT_PX - 1, 1), (LOW_HEIGHT_PX, 0)])
def test_small_faces_are_named(height_px: float, count: int) -> None:
    assert len(face_warnings(FaceStats(frames=1, with_face=1, heights_px=[height_px]))) == count


@pytest.mark.parametrize(("face", "may_choose"), [("largest", False), ("all", False), ("index:1", True)])
def test_a_missing_face_that_fails_the_job_names_the_option_that_lets_it_pass(face: str, may_choose: bool) -> None:
    options = JobOptions(face=face, on_missing_face="fail")
    stretch = Stretch("", 0, options, ((0, 1),), 0.0, 1.0)
    planes = np.zeros((3, 2), np.uint8)
    frames = [OutputFrame(0, planes, {0: TrackedFrame(0, planes, [])})]
    with pytest.raises(InputError) as caught:
        list(count_faces(frames, ClipStats(dubs=[FaceStats()]), [stretch], Fraction(25)))
    assert caught.value.code is ErrorCode.FACE_NOT_FOUND
    hint = error_payload(caught.value, "synthesize")["hint"]
    assert "`on_missing_face` to `pass_through`" in hint and ("another face" in hint) is may_choose


@pytest.mark.parametrize(("unsure", "count"), [(1, 0), (30, 1)])
def test_a_doubt_about_the_person_is_told(unsure: int, count: int) -> None:
    stats = FaceStats(frames=100, with_face=100, unsure=unsure, heights_px=[200.0])
    found = face_warnings(stats)
    assert len(found) == count
    assert all("30 %" in warning for warning in found)


@pytest.mark.parametrize(("looks", "count"), [(1, 0), (2, 1)])
def test_a_person_of_two_looks_is_told(looks: int, count: int) -> None:
    person = Subject(1.0, 1.0, 100.0, 8, looks=looks)
    assert len(person_warnings(Chooser(False, (person,), person))) == count


def test_a_segment_from_before_there_were_several_voices_is_read() -> None:
    old = FaceStats(frames=3, with_face=2, heights_px=[90.0, 91.0], lip_shapes={4: [0.5, 0.25]})
    stats = ClipStats.model_validate_json(old.model_dump_json())
    stats.add(ClipStats(frames=2, dubs=[FaceStats(frames=2, with_face=2, heights_px=[92.0, 93.0])]))
    assert (stats.frames, stats.total.frames, stats.total.coverage) == (5, 5, 0.8)
    assert stats.dubs[0].lip_shapes == {4: [0.5, 0.25]}
