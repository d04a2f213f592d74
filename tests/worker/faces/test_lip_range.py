"""How far a person moves the lips, measured in sparse frames."""

from __future__ import annotations

import numpy as np
import pytest

from model.face_points import LEFT_CORNER, LOWER_LIP, RIGHT_CORNER, UPPER_LIP
from worker.faces.crop import RIGID, TEMPLATE
from worker.faces.lip_range import BOUNDS, USUAL, lip_movement


def _face(opening: float, width: float, scale: float) -> np.ndarray:
    """Return a mesh on the template, with a mouth of this size in template face units; scale: pixels of one unit."""
    mesh = np.zeros((468, 2))
    mesh[list(RIGID)] = TEMPLATE
    mesh[[UPPER_LIP, LOWER_LIP]] = [(0, 0.6 - opening / 2), (0, 0.6 + opening / 2)]
    mesh[[LEFT_CORNER, RIGHT_CORNER]] = [(-width / 2, 0.6), (width / 2, 0.6)]
    return (mesh * scale + (300, 200)).astype(np.float32)


def _faces(openings: np.ndarray, widths: np.ndarray, scale: float = 80.0) -> list[np.ndarray]:
    """Return faces whose mouths have these sizes, in template face units."""
    return [_face(opening, width, scale) for opening, width in zip(openings, widths, strict=True)]


def _wave(deviation: float, count: int = 16) -> np.ndarray:
    """Return values with this standard deviation."""
    wave = np.sin(np.arange(count) * 2 * np.pi * 3 / count)
    return wave / wave.std() * deviation


@pytest.mark.parametrize(
    ("opening", "spreading", "wanted"),
    [
        (USUAL[0], USUAL[1], (1.0, 1.0)),
        (USUAL[0] * 1.3, USUAL[1] * 0.95, (1.3, 0.95)),
        (USUAL[0] * 4, USUAL[1] * 0.1, (BOUNDS[0][1], BOUNDS[1][0])),
        (USUAL[0] * 0.4, USUAL[1] * 9, (BOUNDS[0][0], BOUNDS[1][1])),
    ],
)
def test_lips_move_as_far_as_filmed_within_bounds(
    opening: float, spreading: float, wanted: tuple[float, float]
) -> None:
    faces = _faces(0.1 + _wave(opening), 0.5 + _wave(spreading))
    assert lip_movement(faces) == pytest.approx(wanted, rel=0.02)


def test_the_size_of_the_face_does_not_matter() -> None:
    near, far = (_faces(0.1 + _wave(0.03), 0.5 + _wave(0.02), scale) for scale in (40.0, 400.0))
    assert lip_movement(near) == pytest.approx(lip_movement(far), rel=1e-3)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_few_frames_show_no_range(count: int) -> None:
    assert lip_movement(_faces(0.1 + _wave(0.05)[:count], 0.5 + _wave(0.05)[:count])) == (1.0, 1.0)


def test_who_does_not_speak_moves_as_usual() -> None:
    assert lip_movement(_faces(0.02 + _wave(0.001), 0.5 + _wave(0.001))) == (1.0, 1.0)
