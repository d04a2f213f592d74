"""How far a person opens and spreads the lips, as the film shows it, so that the drawn lips move as far.

It cannot be heard: of two people who say the same words equally loud, one moves the lips twice as far. A few sparse
frames of a film that speaks show it well enough. A film in which nobody speaks (a still picture, a silent avatar) shows
nothing, so its person moves as people usually do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from model.arrays import F32, F64
from worker.faces.crop import RIGID, TEMPLATE, fit_similarity
from worker.faces.detect import mouth_size

USUAL_MOVEMENT: Final = (1.0, 1.0)
Movements = Mapping[int, tuple[float, float]]

# Standard deviation of aperture and width of people who speak, in template face units: the median of 18 real speakers.
USUAL: Final = (0.022, 0.018)
STILL: Final = 0.004  # lips whose aperture varies less do not speak
LEAST_FRAMES: Final = 6  # fewer frames show no range
BOUNDS: Final = ((0.85, 1.5), (0.9, 1.4))  # smallest and largest factor of opening and of spreading


def lip_movement(faces: Sequence[F32]) -> tuple[float, float]:
    """Return the factors by which one person opens and spreads the lips farther than usual.

    faces: landmarks (468, 2) of the person in sparse frames.
    """
    if len(faces) < LEAST_FRAMES:
        return USUAL_MOVEMENT
    sizes = np.array([_mouth_in_face_units(face) for face in faces])
    spread = sizes.std(axis=0)
    if spread[0] < STILL:
        return USUAL_MOVEMENT
    opening, spreading = np.clip(spread / USUAL, *np.transpose(BOUNDS))
    return float(opening), float(spreading)


def _mouth_in_face_units(face: F32) -> F64:
    """Return aperture and width of the mouth in template face units, (2,)."""
    to_template = fit_similarity(face[list(RIGID)].astype(np.float64), TEMPLATE)
    return np.array(mouth_size(face)) * float(np.hypot(to_template[0, 0], to_template[1, 0]))
