"""Stubble, moustaches and beards for puppets: the source faces have none, but many filmed mouths do."""

from __future__ import annotations

import cv2
import numpy as np

from model.arrays import U8, Floats
from model.corpus.puppet.mesh import FaceFrame
from model.face_points import (
    BELOW_NOSE,
    CHIN_PATCH,
    JAW_OUTLINE,
    LEFT_BROW,
    LEFT_CORNER,
    LEFT_OF_CHIN,
    LOWER_LIP_RINGS,
    RIGHT_BROW,
    RIGHT_CORNER,
    RIGHT_OF_CHIN,
    UPPER_LIP_RINGS,
)

# Outlines of the zones that hair covers.
_UPPER_LIP = (LEFT_CORNER, *UPPER_LIP_RINGS[3], RIGHT_CORNER)
_LOWER_LIP = (RIGHT_CORNER, *reversed(LOWER_LIP_RINGS[3]), LEFT_CORNER)
_MOUSTACHE = (*_UPPER_LIP, *BELOW_NOSE)
_JAW = tuple(reversed(JAW_OUTLINE[3:-3]))  # below the ears
_BEARD = (*_JAW, *RIGHT_OF_CHIN, *_LOWER_LIP, *LEFT_OF_CHIN)
_GOATEE = CHIN_PATCH
_BROWS = (*LEFT_BROW[1:], *RIGHT_BROW[:2])  # the inner parts


def grow_beard(picture: U8, landmarks: Floats, rng: np.random.Generator) -> U8:
    """Return the picture (H, W, 3) uint8 RGB with facial hair in the colour of the brows; the lips stay free.

    landmarks: (468, 2) in pixels of the picture.
    """
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
    thickness = rng.choice([rng.uniform(0.12, 0.3), rng.uniform(0.45, 0.85)])  # stubble, or a full beard
    brows = points[list(_BROWS)].astype(int).clip(0, np.array(picture.shape[1::-1]) - 1)
    colour = picture[brows[:, 1], brows[:, 0]].astype(np.float32).min(axis=0) * rng.uniform(0.35, 0.8)
    if rng.random() < 0.12:  # grey
        colour = np.full(3, rng.uniform(120, 185), np.float32)
    alpha = np.clip(cover * dense * thickness, 0, 0.92)[..., None]
    return np.asarray(picture + (colour - picture) * alpha, np.uint8)
