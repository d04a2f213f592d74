"""Stubble, moustaches and beards for puppets, since the faces at hand have none and many mouths are framed by one."""

from __future__ import annotations

import cv2
import numpy as np

from model.arrays import U8, Floats
from model.corpus.puppet.mesh import LEFT_CORNER, LOWER_RINGS, RIGHT_CORNER, UPPER_RINGS, FaceFrame

_UPPER_LIP = (LEFT_CORNER[3], *UPPER_RINGS[3], RIGHT_CORNER[3])
_LOWER_LIP = (RIGHT_CORNER[3], *reversed(LOWER_RINGS[3]), LEFT_CORNER[3])
_MOUSTACHE = (*_UPPER_LIP, 322, 391, 393, 164, 167, 165, 92)
_JAW = (58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288)
_BEARD = (*_JAW, 434, 432, *_LOWER_LIP, 212, 214)
_GOATEE = (176, 148, 152, 377, 400, 421, 314, 17, 84, 201)
_BROWS = (105, 107, 334, 336)


def grow_beard(picture: U8, landmarks: Floats, rng: np.random.Generator) -> U8:
    """Return the picture (H, W, 3) uint8 RGB with facial hair in the colour of the brows, lips left free."""
    points = np.asarray(landmarks, np.float64)
    unit_px = FaceFrame.of(points).unit_px
    zones = [(_MOUSTACHE, _BEARD), (_MOUSTACHE,), (_MOUSTACHE, _GOATEE), (_BEARD,)][
        rng.choice(4, p=[0.6, 0.2, 0.12, 0.08])
    ]
    mask = np.zeros(picture.shape[:2], np.uint8)
    for zone in zones:
        cv2.fillPoly(mask, [np.round(points[list(zone)]).astype(np.int32)], (255,))
    cover = cv2.GaussianBlur(mask, (0, 0), max(0.8, 0.035 * unit_px)).astype(np.float32) / 255
    lips = np.zeros_like(mask)
    cv2.fillPoly(lips, [np.round(points[[*_UPPER_LIP, *_LOWER_LIP[1:-1]]]).astype(np.int32)], (255,))
    cover *= 1 - cv2.GaussianBlur(lips, (0, 0), max(0.5, 0.008 * unit_px)).astype(np.float32) / 255
    strands = rng.standard_normal(picture.shape[:2]).astype(np.float32)
    soft = cv2.GaussianBlur(strands, (0, 0), sigmaX=max(0.5, 0.004 * unit_px), sigmaY=max(0.8, 0.012 * unit_px))
    dense = np.clip(0.75 + 0.3 * soft / max(1e-6, float(np.std(soft))), 0, 1.2)
    thickness = rng.choice([rng.uniform(0.12, 0.3), rng.uniform(0.45, 0.85)])
    brows = points[list(_BROWS)].astype(int).clip(0, np.array(picture.shape[1::-1]) - 1)
    colour = picture[brows[:, 1], brows[:, 0]].astype(np.float32).min(axis=0) * rng.uniform(0.35, 0.8)
    if rng.random() < 0.12:  # grey
        colour = np.full(3, rng.uniform(120, 185), np.float32)
    alpha = np.clip(cover * dense * thickness, 0, 0.92)[..., None]
    return np.asarray(picture + (colour - picture) * alpha, np.uint8)
