"""The inside of an open mouth: a dark cavity, the tongue, lower and upper teeth, and the shadow of the upper lip.

It is painted into the frame over the opening of the lips. Positions are in the face frame (mesh.py): upper teeth are
fixed to the skull; lower teeth and tongue move with the jaw. The widths are those of human teeth, with 1 face unit
taken as about 115 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.arrays import F64, U8
from model.corpus.puppet.warp import invert_affine
from model.smoothstep import smoothstep

# Outer edges of two incisors, the canine and two premolars of one half, from the midline outwards, in face units
_UPPER_EDGES = np.array([0.0, 0.072, 0.126, 0.185, 0.240, 0.29])
_LOWER_EDGES = np.array([0.0, 0.045, 0.095, 0.152, 0.21, 0.26])


@dataclass(frozen=True)
class MouthLook:
    """Look of a person's teeth, tongue and mouth cavity: colours as RGB 0..255, lengths in face units."""

    teeth: tuple[float, float, float] = (222.0, 212.0, 196.0)
    tongue: tuple[float, float, float] = (158.0, 78.0, 78.0)
    cavity: tuple[float, float, float] = (48.0, 18.0, 18.0)
    upper_show: float = 0.014  # how far the upper teeth reach below the line of the closed lips
    lower_show: float = 0.004  # how far the lower teeth would reach above that line behind the upper ones
    arch: float = 0.8  # curvature of the row of teeth
    tooth_width: float = 1.0
    gaps: float = 0.5  # how visible the lines between teeth are, 0..1

    @staticmethod
    def random(rng: np.random.Generator) -> MouthLook:
        """Draw the look of a person."""
        white = rng.uniform(188, 244)
        yellow = rng.uniform(0.0, 0.2)
        red = rng.uniform(0.85, 1.15)
        return MouthLook(
            teeth=(white, white * (0.97 - 0.1 * yellow), white * (0.94 - 0.6 * yellow)),
            tongue=(165 * red, rng.uniform(65, 95) * red, rng.uniform(65, 95) * red),
            cavity=(rng.uniform(25, 70), rng.uniform(8, 26), rng.uniform(8, 26)),
            upper_show=rng.uniform(0.0, 0.028),
            lower_show=rng.uniform(-0.012, 0.014),
            arch=rng.uniform(0.4, 1.3),
            tooth_width=rng.uniform(0.85, 1.12),
            gaps=rng.uniform(0.15, 0.8),
        )


@dataclass(frozen=True)
class Opening:
    """Opening of the lips in one frame, in the face frame.

    upper, lower: inner lip contours (11, 2) from corner to corner. closed_y: y of the line of the closed lips.
    middle_x: x of the midline. jaw: how far the lower teeth are below their place at rest. tongue: 0 low .. 1 raised to
    the teeth.
    """

    upper: F64
    lower: F64
    closed_y: float
    middle_x: float
    jaw: float
    tongue: float


def _lines(across: F64, edges: F64, width: float) -> F64:
    """Return how close each point is to a line between two teeth: 1 on the line, 0 far from it."""
    nearest = np.abs(np.abs(across)[..., None] - edges * width).min(axis=-1)
    return np.asarray(np.exp(-((nearest / 0.0065) ** 2)))


def _over(below: F64, colour: F64, cover: F64) -> F64:
    return np.asarray(below + (colour - below) * cover[..., None])


def paint_mouth(frame: U8, to_face: F64, opening: Opening, look: MouthLook, light: F64) -> None:
    """Paint the inside of the mouth over the opening of the lips, in place; closed lips stay as they are.

    frame: (H, W, 3) uint8 RGB. to_face: (2, 3) affine map from frame pixels (centres at +0.5) to the face frame. light:
    (3,) brightness of a white surface in this picture, 0..1.3.
    """
    unit_px = 1.0 / float(np.hypot(to_face[0, 0], to_face[1, 0]))
    points = np.concatenate([opening.upper, opening.lower])
    to_frame = invert_affine(to_face)
    pixels = points @ to_frame[:, :2].T + to_frame[:, 2]
    left, top = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + 2
    right, bottom = min(right, frame.shape[1]), min(bottom, frame.shape[0])
    if right <= left or bottom <= top:
        return
    columns, rows = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    x = to_face[0, 0] * columns + to_face[0, 1] * rows + to_face[0, 2]
    y = to_face[1, 0] * columns + to_face[1, 1] * rows + to_face[1, 2]
    order_up, order_low = np.argsort(opening.upper[:, 0]), np.argsort(opening.lower[:, 0])
    up = np.interp(x, opening.upper[order_up, 0], opening.upper[order_up, 1])
    low = np.interp(x, opening.lower[order_low, 0], opening.lower[order_low, 1])
    inside = (x > points[:, 0].min()) & (x < points[:, 0].max())
    half = 0.5 / unit_px
    alpha = np.clip((y - up + half) * unit_px, 0, 1) * np.clip((low - y + half) * unit_px, 0, 1) * inside
    alpha *= np.clip((low - up) * unit_px, 0, 1)
    if not alpha.any():
        return
    colour = _inner_colours(x - opening.middle_x, y, up, low, opening, look) * light
    patch = frame[top:bottom, left:right]
    mixed = patch + (colour - patch) * alpha[..., None]
    frame[top:bottom, left:right] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def _inner_colours(across: F64, y: F64, up: F64, low: F64, opening: Opening, look: MouthLook) -> F64:
    """Return the colour of each point under white light, (h, w, 3) in 0..255.

    across, y: (h, w) distance from the midline and height of each point. up, low: (h, w) height of the upper and the
    lower lip at the same x. All in the face frame.
    """
    soft = 0.006
    colour = np.broadcast_to(np.array(look.cavity, dtype=np.float64), (*y.shape, 3)).copy()
    colour *= (1.0 - 0.45 * smoothstep((0.1 - np.abs(across)) / 0.1) * smoothstep((low - up) / 0.08))[..., None]
    bed = opening.closed_y + opening.jaw
    crown = bed - 0.035 - 0.03 * opening.tongue + 1.3 * across**2
    tongue = smoothstep((y - crown + soft) / (2.5 * soft)) * smoothstep((0.17 - np.abs(across)) / 0.05)
    shade = (0.5 + 0.5 * smoothstep((y - crown) / 0.045)) * (1 - 0.18 * np.exp(-((across / 0.012) ** 2)))
    colour = _over(colour, np.array(look.tongue) * (0.6 + 0.4 * opening.tongue) * shade[..., None], tongue)
    for upper in (False, True):
        edges = _UPPER_EDGES if upper else _LOWER_EDGES
        lines = _lines(across, edges[1:] if not upper else edges, look.tooth_width)
        if upper:
            edge = opening.closed_y + look.upper_show - look.arch * across**2 - 0.006 * lines
            cover = smoothstep((edge - y + soft) / (2 * soft)) * smoothstep((y - (edge - 0.105)) / 0.02)
        else:
            edge = bed - look.lower_show + 0.3 * look.arch * across**2 + 0.004 * lines
            cover = smoothstep((y - edge + soft) / (2 * soft)) * smoothstep((edge + 0.085 - y) / 0.02)
        reach = float(edges[-1]) * look.tooth_width
        cover *= smoothstep((reach - np.abs(across)) / 0.03)
        bright = (1.0 if upper else 0.82) * (1.0 - 0.75 * smoothstep((np.abs(across) - 0.03) / (reach * 1.05)))
        bright = bright * (1 - 0.35 * look.gaps * lines)
        colour = _over(colour, np.array(look.teeth) * bright[..., None], cover)
    lip_shadow = 0.68 + 0.32 * smoothstep((y - up) / 0.022)
    depth_shadow = 0.82 + 0.18 * smoothstep((low - y) / 0.015)
    return np.asarray(colour * (lip_shadow * depth_shadow)[..., None])
