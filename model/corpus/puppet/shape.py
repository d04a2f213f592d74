"""The shape of a puppet's face at rest: lips closed, proportions changed, and points around it that do not speak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.arrays import F64
from model.corpus.puppet.mesh import INNER_LOWER, INNER_UPPER, LIPS, OVAL, POINTS, FaceFrame, jaw_weights

_LIP_GAP = 1e-3  # what is left between closed lips, so that no triangle turns over


@dataclass(frozen=True)
class Shape:
    """Change the shape of a face: gains of width and height, of the jaw's width, the chin, nose, mouth and lips."""

    width: float = 1.0
    jaw_width: float = 1.0
    chin: float = 0.0
    nose_width: float = 1.0
    mouth_width: float = 1.0
    lip_fullness: float = 1.0

    @staticmethod
    def random(rng: np.random.Generator) -> Shape:
        """Draw a shape near the picture's own."""
        gain = rng.normal(0, 1, 6).clip(-2, 2) * [0.035, 0.045, 0.025, 0.07, 0.09, 0.14] + [1, 1, 0, 1, 1.1, 1]
        return Shape(*(float(value) for value in gain))


def reshape(face: F64, shape: Shape) -> F64:
    """Change the shape of a face (468, 2)."""
    changed = face.copy()
    x, y = face[:, 0], face[:, 1]
    low = np.clip((y - 0.2) / 0.6, 0, 1)
    changed[:, 0] *= shape.width * (1 + (shape.jaw_width - 1) * low)
    changed[:, 1] += shape.chin * np.clip((y - 0.62) / 0.38, 0, 1) ** 1.5
    nose = np.exp(-((x / 0.16) ** 2) - ((y - 0.27) / 0.13) ** 2)
    changed[:, 0] *= 1 + (shape.nose_width - 1) * nose
    middle = face[13]
    mouth = np.exp(-(((x - middle[0]) / 0.34) ** 2) - ((y - middle[1]) / 0.16) ** 2)
    changed[:, 0] = middle[0] + (changed[:, 0] - middle[0]) * (1 + (shape.mouth_width - 1) * mouth)
    changed[:, 1] = middle[1] + (changed[:, 1] - middle[1]) * (1 + (shape.lip_fullness - 1) * mouth)
    return changed


def close_lips(face: F64) -> F64:
    """Bring parted lips together: the upper lip comes down a little, the jaw and lower lip come up the rest."""
    closed = face.copy()
    gap = np.maximum(face[INNER_LOWER, 1] - face[INNER_UPPER, 1] - _LIP_GAP, 0.0)
    upper, lower = LIPS.side < 0, LIPS.side > 0
    closed[LIPS.index[upper], 1] += 0.25 * gap[LIPS.column[upper]]
    closed[LIPS.index[lower], 1] -= 0.75 * gap[LIPS.column[lower]]
    others = np.ones(POINTS, bool)
    others[LIPS.index] = False
    closed[others, 1] -= 0.75 * float(gap.max()) * jaw_weights(face)[others]
    # lips that cross in the picture are laid on one line
    middle = (closed[INNER_UPPER, 1] + closed[INNER_LOWER, 1]) / 2
    for contour, side in ((INNER_UPPER, -1), (INNER_LOWER, 1)):
        closed[contour[1:-1], 1] = middle[1:-1] + side * _LIP_GAP / 2
    return closed


def surroundings(own: F64, frame: FaceFrame, width: float, height: float) -> F64:
    """Return points around the face that do not speak: two rings about its outline, and the picture's border."""
    outline = own[list(OVAL)]
    middle = outline.mean(axis=0)
    rings = [middle + (outline - middle) * scale for scale in (1.22, 1.5)]
    steps = np.linspace(0, 1, 6)
    border = [(x * width, y * height) for x in steps for y in steps if x in (0, 1) or y in (0, 1)]
    far = np.array(border) * 1.0
    outside = frame.to_face(far)
    reach = np.linalg.norm(outside - middle, axis=1) > 1.5 * np.linalg.norm(outline - middle, axis=1).max()
    return np.concatenate([*rings, outside[reach]])
