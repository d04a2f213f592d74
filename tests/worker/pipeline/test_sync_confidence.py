"""Which frames are looked at, and what the report says of lips and voice."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.worker.clips import portrait
from worker.faces.detect import FaceDetector, face_height
from worker.faces.people import Subject
from worker.faces.subject import Chooser
from worker.media.colour import ColourMatrix, planes_of_rgb
from worker.pipeline.sync_confidence import (
    LOW_CONFIDENCE,
    MARGIN_S,
    STRETCH_S,
    FrameChoice,
    LipReader,
    LookedAt,
    choose_frames,
    sync_confidence,
    sync_warnings,
)


def voice_of(*spoken_s: tuple[float, float], length_s: float = 30.0) -> np.ndarray:
    voice = np.random.default_rng(0).normal(0, 3, round(length_s * 16_000))
    for start_s, end_s in spoken_s:
        part = slice(round(start_s * 16_000), round(end_s * 16_000))
        voice[part] *= 1000
    return voice.astype(np.int16)


@pytest.mark.parametrize(
    ("rate", "step"), [(Fraction(25), 2), (Fraction(30000, 1001), 2), (Fraction(60), 5), (Fraction(10), 1)]
)
def test_the_stretch_is_where_people_speak(rate: Fraction, step: int) -> None:
    found = choose_frames(voice_of((2, 4), (15, 22)), (0, int(30 * rate)), rate)
    chosen = found.frames
    assert chosen.step == step and chosen.last - chosen.first == int(STRETCH_S * rate)
    assert 14.9 <= float(chosen.first / rate) <= 18.1
    assert found.from_s == pytest.approx(float(chosen.first / rate) - MARGIN_S, abs=1e-3)
    assert len(found.voice) == pytest.approx((STRETCH_S + 2 * MARGIN_S) * 16_000, abs=16_000 / float(rate) + 2)
    looked_at = [number for number in range(int(30 * rate)) if number in chosen]
    assert looked_at == list(range(chosen.first, chosen.last, step)) and len(looked_at) <= 60


def test_a_short_clip_is_looked_at_as_a_whole() -> None:
    found = choose_frames(voice_of((0, 1), length_s=2.0), (0, 75), Fraction(25))
    assert (found.frames, found.from_s, len(found.voice)) == (FrameChoice(0, 75, 2), 0.0, 32_000)
    for voice in (np.zeros(0, np.int16), np.zeros(32_000, np.int16)):
        assert choose_frames(voice, (0, 75), Fraction(25)).frames == FrameChoice(0, 75, 2)


def test_without_lips_or_voice_nothing_is_known() -> None:
    silence = LookedAt(FrameChoice(0, 100, 2), np.zeros(64_000, np.int16), 0.0)
    spoken = LookedAt(FrameChoice(0, 100, 2), voice_of((0, 4), length_s=4.0), 0.0)
    shapes = {number: [0.1 * np.sin(number)] * 8 for number in range(0, 100, 2)}
    assert sync_confidence({}, spoken, Fraction(25)) is None
    assert sync_confidence(shapes, silence, Fraction(25)) is None
    assert sync_confidence(dict(list(shapes.items())[:10]), spoken, Fraction(25)) is None
    found = sync_confidence(shapes, spoken, Fraction(25))
    assert found is not None and 0.0 <= found <= 1.0


def test_only_a_low_figure_gives_a_warning() -> None:
    assert sync_warnings(None) == sync_warnings(LOW_CONFIDENCE) == []
    (warning,) = sync_warnings(0.07)
    assert "sync confidence 0.07" in warning and "without music" in warning


def test_lips_are_read_from_the_main_person_alone(detector: FaceDetector) -> None:
    picture = portrait()
    face = detector.detect(picture)[0].landmarks
    people = (
        Subject(float(face[:, 0].mean()), float(face[:, 1].mean()), face_height(face), 9),
        Subject(9e3, 9e3, 90, 1),
    )
    planes = planes_of_rgb(picture, ColourMatrix.BT709)
    reader = LipReader(FrameChoice(0, 10, 1), detector.placed_mesh, ColourMatrix.BT709, Chooser(True, people))
    stranger = face + 5000  # as large, but elsewhere
    reader.read(0, planes, [stranger, face])
    reader.read(1, planes, [face])
    assert reader.shapes[0] == reader.shapes[1]
    reader.read(2, planes, [stranger, stranger])
    reader.read(3, planes, [])
    assert sorted(reader.shapes) == [0, 1]
