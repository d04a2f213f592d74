"""The shape of a puppet's face at rest: closed lips, changed proportions, and fixed points around the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.arrays import F64
from model.corpus.puppet.mesh import INNER_LOWER, INNER_UPPER, LIPS, FaceFrame, jaw_weights
from model.face_points import FACE_OVAL, POINTS, UPPER_LIP

_LIP_GAP = 1e-3  # between closed lips, in face units: without it a triangle could turn over


@dataclass(frozen=True)
class Shape:
    """Changes to the proportions of a face.

    chin: how far the chin moves down, in face units. All others are factors, 1 for no change.
    """

    width: float = 1.0
    jaw_width: float = 1.0
    chin: float = 0.0
    nose_width: float = 1.0
    mouth_width: float = 1.0
    lip_fullness: float = 1.0

    @staticmethod
    def random(rng: np.random.Generator) -> Shape:
        """Draw a shape near that of the picture."""
        gain = rng.normal(0, 1, 6).clip(-2, 2) * [0.035, 0.045, 0.025, 0.07, 0.09, 0.14] + [1, 1, 0, 1, 1.1, 1]
        return Shape(*(float(value) for value in gain))


def reshape(face: F64, shape: Shape) -> F64:
    """Return a face (468, 2), in the face frame, with changed proportions."""
    changed = face.copy()
    x, y = face[:, 0], face[:, 1]
    low = np.clip((y - 0.2) / 0.6, 0, 1)
    changed[:, 0] *= shape.width * (1 + (shape.jaw_width - 1) * low)
    changed[:, 1] += shape.chin * np.clip((y - 0.62) / 0.38, 0, 1) ** 1.5
    nose = np.exp(-((x / 0.16) ** 2) - ((y - 0.27) / 0.13) ** 2)
    changed[:, 0] *= 1 + (shape.nose_width - 1) * nose
    middle = face[UPPER_LIP]
    mouth = np.exp(-(((x - middle[0]) / 0.34) ** 2) - ((y - middle[1]) / 0.16) ** 2)
    changed[:, 0] = middle[0] + (changed[:, 0] - middle[0]) * (1 + (shape.mouth_width - 1) * mouth)
    changed[:, 1] = middle[1] + (changed[:, 1] - middle[1]) * (1 + (shape.lip_fullness - 1) * mouth)
    return changed


def close_lips(face: F64) -> F64:
    """Return a face (468, 2) with its lips together.

    The upper lip moves down by a quarter of the gap; jaw and lower lip move up by the rest.
    """
    closed = face.copy()
    gap = np.maximum(face[INNER_LOWER, 1] - face[INNER_UPPER, 1] - _LIP_GAP, 0.0)
    upper, lower = LIPS.side < 0, LIPS.side > 0
    closed[LIPS.index[upper], 1] += 0.25 * gap[LIPS.column[upper]]
    closed[LIPS.index[lower], 1] -= 0.75 * gap[LIPS.column[lower]]
    others = np.ones(POINTS, bool)
    others[LIPS.index] = False
    closed[others, 1] -= 0.75 * float(gap.max()) * jaw_weights(face)[others]
    # Lips that cross in the picture are brought to one line.
    middle = (closed[INNER_UPPER, 1] + closed[INNER_LOWER, 1]) / 2
    for contour, side in ((INNER_UPPER, -1), (INNER_LOWER, 1)):
        closed[contour[1:-1], 1] = middle[1:-1] + side * _LIP_GAP / 2
    return closed


def surroundings(own: F64, frame: FaceFrame, width: float, height: float) -> F64:
    """Return points around a face that speech does not move, (M, 2) in the face frame.

    They lie on two rings around the outline of the face `own` (468, 2), and on the border of the picture, which is
    width x height pixels large.
    """
    outline = own[list(FACE_OVAL)]
    middle = outline.mean(axis=0)
    rings = [middle + (outline - middle) * scale for scale in (1.22, 1.5)]
    steps = np.linspace(0, 1, 6)
    border = [(x * width, y * height) for x in steps for y in steps if x in (0, 1) or y in (0, 1)]
    far = np.array(border) * 1.0
    outside = frame.to_face(far)
    reach = np.linalg.norm(outside - middle, axis=1) > 1.5 * np.linalg.norm(outline - middle, axis=1).max()
    return np.concatenate([*rings, outside[reach]])
