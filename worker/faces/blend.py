"""Blend a synthesized crop into the planes of its frame, inside a feathered mask that follows the jaw.

The mask is drawn in the crop, from the mesh of the face in the frame. It follows the lower outline of the face from
cheek to cheek and extends below the chin, which leaves space for an opening jaw. It fades in below the nose and fades
out before the border of the crop. Crop and mask are mapped to the frame by the inverse of the transform of the crop,
plane by plane. Only the box around the mask is written, and the bytes of the planes stay the same wherever the mask is
zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from model.arrays import F32, F64, U8
from model.face_points import JAW_OUTLINE, LEFT_CORNER, RIGHT_CORNER
from model.framing import Framing
from worker.faces.crop import Transform
from worker.media.colour import ColourMatrix, split_planes, ycc_of_rgb

CHIN_EXTENSION: Final = 0.10  # how far the mask reaches below the chin, in template units
SIDE_MARGIN: Final = 0.05  # how far it stays inside the cheeks, whose filmed outline is sharper; in template units
FACE_HEIGHT: Final = 1.5  # forehead to chin in template units
FADE_IN: Final = (-0.07, 0.085)  # around the first hidden row, in template units: from the base of the nose to the lip
TONE_Y: Final = 0.85  # the tone is matched above this template y; below it, an opening jaw moves the shadow of the chin
BORDER: Final = 0.06  # share of the crop at its left, right and lower border in which the mask fades out
FEATHER: Final = 0.035  # sigma of the edge of the mask, as a share of the crop
MAX_ZOOM: Final = 4  # largest factor by which the crop is enlarged before it is mapped to the frame
SUBPIXEL_BITS: Final = 4
MAX_SHIFT: Final = 12.0  # largest correction of the tone, in 8-bit levels


@dataclass(frozen=True)
class SynthesizedCrop:
    """Crop of a face before and after synthesis.

    face: landmarks (468, 2) in frame pixels. transform: from the frame to the crop. filmed, synthesized: the crop
    before and after, (S, S, 3) uint8 RGB.
    """

    face: F32
    transform: Transform
    filmed: U8
    synthesized: U8


@dataclass(frozen=True)
class BlendSettings:
    """Settings that all faces of a clip share.

    framing: square of the face that a crop shows. network_px: side of the network's output, at most S; the synthesized
    crop has no finer detail. strength: scale of the mask, 0..1. padding: growth of the mask, in face heights.
    """

    framing: Framing
    colour: ColourMatrix
    network_px: int
    strength: float = 1.0
    padding: float = 0.0


def blend(planes: U8, crop: SynthesizedCrop, settings: BlendSettings) -> None:
    """Blend a synthesized crop into an I420 frame, (H * 3/2, W) uint8, in place."""
    transform, framing, colour = crop.transform, settings.framing, settings.colour
    mask = mouth_mask(transform.apply(crop.face), transform.size, framing, settings.padding)
    drawn = match_tone(ycc_of_rgb(crop.synthesized, colour), ycc_of_rgb(crop.filmed, colour), mask, framing)
    mask *= np.float32(settings.strength)
    box = _frame_box(mask, transform, planes.shape[1], planes.shape[0] * 2 // 3)
    if box is None:
        return
    if transform.scale * settings.network_px > transform.size:  # finer than the frame: blurred against aliasing
        drawn = np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.5 * transform.scale), np.float32)
    _place(planes, np.dstack([drawn, mask * 255.0]), transform, box)


def _place(planes: U8, layers: F32, transform: Transform, box: tuple[int, int, int, int]) -> None:
    """Blend Y, Cb, Cr and mask (S, S, 4), all 0..255, into the part `box` of the frame."""
    zoom = min(MAX_ZOOM, max(1, round(1.0 / transform.scale)))
    levels = np.asarray(np.clip(np.rint(layers), 0, 255), np.uint8)
    fine = cv2.resize(levels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    # The mask is enlarged linearly: cubic interpolation would overshoot.
    smooth = cv2.resize(levels[..., 3], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    y, u, v = split_planes(planes)
    for targets, channels, step, site in (((y,), (0,), 1, (0.5, 0.5)), ((u, v), (1, 2), 2, (0.5, 1.0))):
        left, top, right, bottom = (edge // step for edge in box)
        # index in the box of the plane -> frame pixels -> index in the enlarged crop
        linear = transform.matrix[:, :2] * (step * zoom)
        offset = transform.matrix @ np.array([left * step + site[0], top * step + site[1], 1.0]) * zoom - 0.5
        matrix = np.concatenate([linear, offset[:, None]], axis=1)
        source = np.dstack([*(fine[..., channel] for channel in channels), smooth])
        warped = cv2.warpAffine(
            source, matrix, (right - left, bottom - top), flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        )
        weight = warped[..., -1].astype(np.float32) / 255
        rest = 1.0 - weight
        for number, plane in enumerate(targets):
            part = plane[top:bottom, left:right]
            part[...] = cv2.blendLinear(np.ascontiguousarray(warped[..., number]), part, weight, rest)


def mouth_mask(points: F64, size: int, framing: Framing, padding: float) -> F32:
    """Return the mask (size, size) float32 0..1 for landmarks (468, 2) in crop pixels; padding in face heights."""
    unit_px = size / framing.side
    outline = points[list(JAW_OUTLINE)]
    mouth = points[[LEFT_CORNER, RIGHT_CORNER]].mean(axis=0)
    drop = np.clip((outline[:, 1] - mouth[1]) / max(1.0, outline[:, 1].max() - mouth[1]), 0.0, 1.0)
    outline[:, 1] += drop * CHIN_EXTENSION * unit_px
    outward = outline - mouth
    outward /= np.maximum(np.hypot(outward[:, 0], outward[:, 1]), 1e-6)[:, None]
    outline += outward * ((padding * FACE_HEIGHT - SIDE_MARGIN * (1.0 - drop)) * unit_px)[:, None]
    mask = np.zeros((size, size), np.uint8)
    fixed = np.rint((outline - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [fixed], (255.0,), cv2.LINE_AA, SUBPIXEL_BITS)
    soft = np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), FEATHER * size), np.float32)
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    grown = max(0.0, padding) * FACE_HEIGHT * unit_px / size
    # with any padding, the mask fades in inside the crop
    first, full = (framing.hidden_from + edge / framing.side for edge in FADE_IN)
    rows = _ramp(at, first - min(grown, first), full - min(grown, first)) * _ramp(1.0 - at, 0.0, BORDER)
    columns = _ramp(at, 0.0, BORDER) * _ramp(1.0 - at, 0.0, BORDER)
    soft *= rows[:, None] * columns[None, :]
    soft[soft < 1.0 / 512] = 0.0  # this changes no pixel by more than half a level
    return soft


def match_tone(drawn: F32, filmed: F32, mask: F32, framing: Framing) -> F32:
    """Shift Y, Cb and Cr of the drawn crop (S, S, 3) to those of the filmed crop.

    The shift is measured beside the mouth, in the soft edge of the mask.
    """
    rows = np.arange(mask.shape[0])[:, None] / mask.shape[0]
    weight = mask * (1.0 - mask) * (rows < np.float32(framing.row(TONE_Y)))
    total = float(weight.sum())
    if total < 1.0:
        return drawn
    shift = ((filmed - drawn) * weight[..., None]).sum(axis=(0, 1)) / total
    return np.asarray(drawn + np.clip(shift, -MAX_SHIFT, MAX_SHIFT), np.float32)


def _ramp(at: F32, low: float, high: float) -> F32:
    """Return a smooth step: 0 up to `low`, 1 from `high` on."""
    share = np.clip((at - low) / (high - low), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share), np.float32)


def _frame_box(mask: F32, transform: Transform, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom, all even, of the part of the frame in which the mask is not zero."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    x, y = (columns[0] - 1, columns[-1] + 2), (rows[0] - 1, rows[-1] + 2)
    corners = transform.invert([(x[0], y[0]), (x[1], y[0]), (x[0], y[1]), (x[1], y[1])])
    left, top = (max(0, int(low) // 2 * 2) for low in corners.min(axis=0))
    right, bottom = (
        min(limit, (int(high) // 2 + 1) * 2) for high, limit in zip(corners.max(axis=0), (width, height), strict=True)
    )
    return (left, top, right, bottom) if right > left and bottom > top else None
