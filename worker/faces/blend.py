"""Put a synthesized crop back into the planes of its frame, inside a feathered mask that follows the jaw.

The mask is drawn in the crop, from the mesh of the frame's own face: its lower outline from cheek to cheek, longer
below the chin so that an opening jaw has room, fading in below the nose and out before the crop's border. Crop and
mask are brought to the frame by the inverse of the crop's transform, plane by plane; only the box around the mask is
touched, and where the mask is zero the planes keep their very bytes.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from model.arrays import F32, F64, U8
from model.face_points import JAW_OUTLINE, LEFT_CORNER, RIGHT_CORNER
from model.framing import Framing
from worker.faces.crop import Transform
from worker.media.colour import ColourMatrix, split_planes, ycc_of_rgb

CHIN_ROOM: Final = 0.10  # how far the mask reaches below the chin, in template units
SIDE_MARGIN: Final = 0.05  # how far it stays inside the cheeks, whose outline is sharper as filmed
FACE_HEIGHT: Final = 1.5  # forehead to chin in template units
FADE_IN: Final = (-0.07, 0.085)  # about the first hidden row, in template units: from the base of the nose to the lip
TONE_Y: Final = 0.85  # tone is matched above this template y: below it an opening jaw moves the chin's shadow
BORDER: Final = 0.06  # share of the crop at its left, right and lower border where the mask fades out
FEATHER: Final = 0.035  # sigma of the mask's edge, as a share of the crop
MAX_ZOOM: Final = 4  # the crop is enlarged smoothly this far before it is placed
SUBPIXEL_BITS: Final = 4
MAX_SHIFT: Final = 12.0  # the most by which tone is matched, in 8-bit levels


def blend(
    planes: U8,
    face: F32,
    transform: Transform,
    filmed: U8,
    synthesized: U8,
    framing: Framing,
    colour: ColourMatrix,
    *,
    drawn_px: int,
    strength: float = 1.0,
    padding: float = 0.0,
) -> None:
    """Blend one synthesized crop into an I420 frame in place.

    planes: (H * 3/2, W) uint8. face: (468, 2) landmarks in frame pixels. filmed, synthesized: (S, S, 3) uint8 RGB, the
    crop before and after. drawn_px: the network's own size, at most S: nothing it drew is finer. strength 0..1 scales
    the mask; padding grows it, in face heights.
    """
    mask = mouth_mask(transform.apply(face), transform.size, framing, padding)
    drawn = match_tone(ycc_of_rgb(synthesized, colour), ycc_of_rgb(filmed, colour), mask, framing)
    mask *= np.float32(strength)
    box = _frame_box(mask, transform, planes.shape[1], planes.shape[0] * 2 // 3)
    if box is None:
        return
    if transform.scale * drawn_px > transform.size:  # drawn finer than the frame can show: nothing may alias
        drawn = np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.5 * transform.scale), np.float32)
    _put(planes, np.dstack([drawn, mask * 255.0]), transform, box)


def _put(planes: U8, layers: F32, transform: Transform, box: tuple[int, int, int, int]) -> None:
    """Blend Y, Cb, Cr and mask (S, S, 4), all 0..255, into the frame's part `box`."""
    zoom = min(MAX_ZOOM, max(1, round(1.0 / transform.scale)))
    levels = np.asarray(np.clip(np.rint(layers), 0, 255), np.uint8)
    fine = cv2.resize(levels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    smooth = cv2.resize(levels[..., 3], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)  # no overshoot
    y, u, v = split_planes(planes)
    for targets, channels, step, site in (((y,), (0,), 1, (0.5, 0.5)), ((u, v), (1, 2), 2, (0.5, 1.0))):
        left, top, right, bottom = (edge // step for edge in box)
        # index of the plane's box -> frame pixels -> index of the enlarged crop
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
    """Draw the mask (size, size) float32 0..1 for landmarks (468, 2) in crop pixels."""
    unit_px = size / framing.side
    outline = points[list(JAW_OUTLINE)]
    mouth = points[[LEFT_CORNER, RIGHT_CORNER]].mean(axis=0)
    drop = np.clip((outline[:, 1] - mouth[1]) / max(1.0, outline[:, 1].max() - mouth[1]), 0.0, 1.0)
    outline[:, 1] += drop * CHIN_ROOM * unit_px
    away = outline - mouth
    away /= np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-6)[:, None]
    outline += away * ((padding * FACE_HEIGHT - SIDE_MARGIN * (1.0 - drop)) * unit_px)[:, None]
    mask = np.zeros((size, size), np.uint8)
    fixed = np.rint((outline - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [fixed], (255.0,), cv2.LINE_AA, SUBPIXEL_BITS)
    soft = np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), FEATHER * size), np.float32)
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    grown = max(0.0, padding) * FACE_HEIGHT * unit_px / size
    # however much it grows, it fades in inside the crop
    first, full = (framing.hidden_from + edge / framing.side for edge in FADE_IN)
    rows = _ramp(at, first - min(grown, first), full - min(grown, first)) * _ramp(1.0 - at, 0.0, BORDER)
    columns = _ramp(at, 0.0, BORDER) * _ramp(1.0 - at, 0.0, BORDER)
    soft *= rows[:, None] * columns[None, :]
    soft[soft < 1.0 / 512] = 0.0  # less than half a level of the largest difference
    return soft


def match_tone(drawn: F32, filmed: F32, mask: F32, framing: Framing) -> F32:
    """Shift Y, Cb, Cr of the drawn crop (S, S, 3) to the filmed one's where the mask fades beside the mouth."""
    rows = np.arange(mask.shape[0])[:, None] / mask.shape[0]
    weight = mask * (1.0 - mask) * (rows < np.float32(framing.row(TONE_Y)))
    total = float(weight.sum())
    if total < 1.0:
        return drawn
    shift = ((filmed - drawn) * weight[..., None]).sum(axis=(0, 1)) / total
    return np.asarray(drawn + np.clip(shift, -MAX_SHIFT, MAX_SHIFT), np.float32)


def _ramp(at: F32, low: float, high: float) -> F32:
    share = np.clip((at - low) / (high - low), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share), np.float32)


def _frame_box(mask: F32, transform: Transform, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Return left, top, right, bottom, all even, of the frame's part in which the mask is not zero."""
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
