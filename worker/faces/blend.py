"""Blend a synthesized crop into the planes of its frame, inside a feathered mask that follows the jaw.

The mask is drawn in the crop, from the mesh of the face in the frame. It follows the lower outline of the face from
cheek to cheek and extends below the chin, which leaves space for an opening jaw. It fades in below the nose and fades
out before the border of the crop. The tone of the drawing is fitted to the film in the rim of the mask, and its
sharpness to that of the film's skin, because moving and resampling pixels softens them. Crop and mask are mapped to the
frame by the inverse of the transform of the crop, plane by plane. Only the box around the mask is written, and the
bytes of the planes stay the same wherever the mask is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from model.arrays import F32, F64, U8
from model.face_points import (
    JAW_OUTLINE,
    LEFT_CORNER,
    LEFT_CORNERS,
    LOWER_LIP_RINGS,
    RIGHT_CORNER,
    RIGHT_CORNERS,
    UPPER_LIP_RINGS,
)
from model.framing import Framing
from model.smoothstep import ramp
from worker.faces.crop import Transform
from worker.faces.tone import fit_tone
from worker.media.colour import ColourMatrix, split_planes, ycc_of_rgb

CHIN_EXTENSION: Final = 0.10  # how far the mask reaches below the chin, in template units
SIDE_MARGIN: Final = 0.08  # how far it stays inside the cheeks, before ears and hair; in template units
NARROW: Final = (
    0.35  # the same, at most as this share of the way to the mouth: the far cheek of a turned head is narrow
)
FACE_HEIGHT: Final = 1.5  # forehead to chin in template units
FADE_IN: Final = (-0.07, 0.085)  # around the first hidden row, in template units: from the base of the nose to the lip
TONE_Y: Final = 0.85  # the tone is matched above this template y; below it, an opening jaw moves the shadow of the chin
BORDER: Final = 0.06  # share of the crop at its left, right and lower border in which the mask fades out
LEAST_SHARE: Final = 0.4  # of its distance from the mouth that an outline point keeps with any negative padding
FEATHER: Final = 0.035  # sigma of the edge of the mask, as a share of the crop
MAX_ZOOM: Final = 4  # largest factor by which the crop is enlarged before it is mapped to the frame
SUBPIXEL_BITS: Final = 4
MAX_SHIFT: Final = 40.0  # largest change of the mean tone, in 8-bit levels
TONE_PX: Final = 96  # side to which crops are reduced before their tone is compared
GAIN: Final = (0.75, 1.33)  # smallest and largest gain of the tone
STEADY: Final = 150.0  # squared levels: keeps the gain near 1 where the rim has little contrast
OUTLIER: Final = 2.5  # mean deviations from which on a pixel does not count for the tone
MOUTH: Final = (*UPPER_LIP_RINGS[3], RIGHT_CORNERS[3], *LOWER_LIP_RINGS[3][::-1], LEFT_CORNERS[3])  # its outline
MOUTH_MARGIN: Final = 1.3  # size of the part that is not skin, in sizes of the mouth
DETAIL_PX: Final = 1.0  # sigma of the blur that separates fine detail
MAX_SHARPENING: Final = 1.2  # largest amount of fine detail that is added
TRACE: Final = 0.01  # weights and amounts below this do not matter
SOLID: Final = 0.8  # share of the mask's largest value from which on a pixel counts as drawn
OVERSHOOT: Final = 3  # how far a sharpened pixel may lie outside its neighbours' range, in 8-bit levels


Bools = npt.NDArray[np.bool_]


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
    _place(planes, np.dstack([drawn, mask * 255.0]), crop, box)


def _place(planes: U8, layers: F32, crop: SynthesizedCrop, box: tuple[int, int, int, int]) -> None:
    """Blend Y, Cb, Cr and mask (S, S, 4), all 0..255, into the part `box` of the frame."""
    transform = crop.transform
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
        if step == 1:
            skin = _skin(weight, crop.face[list(MOUTH)] - np.array([left, top], np.float32))
            warped[..., 0] = sharpen(np.asarray(warped[..., 0], np.uint8), y[top:bottom, left:right], skin)
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
    to_mouth = np.hypot(*(outline[:, None] - points[[LEFT_CORNER, RIGHT_CORNER]]).transpose(2, 0, 1)).min(axis=1)
    margin = np.minimum(SIDE_MARGIN * unit_px, NARROW * to_mouth) * (1.0 - drop)
    outward = outline - mouth
    distance = np.maximum(np.hypot(outward[:, 0], outward[:, 1]), 1e-6)
    growth = padding * FACE_HEIGHT * unit_px
    wanted = distance + (np.minimum(growth, -margin) if growth < 0 else growth - margin)
    outline = mouth + outward * (np.maximum(wanted, LEAST_SHARE * distance) / distance)[:, None]
    mask = np.zeros((size, size), np.uint8)
    fixed = np.rint((outline - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [fixed], (255.0,), cv2.LINE_AA, SUBPIXEL_BITS)
    soft = np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), FEATHER * size), np.float32)
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    grown = max(0.0, padding) * FACE_HEIGHT * unit_px / size
    # with any padding, the mask fades in inside the crop
    first, full = (framing.hidden_from + edge / framing.side for edge in FADE_IN)
    rows = ramp(at, first - min(grown, first), full - min(grown, first)) * ramp(1.0 - at, 0.0, BORDER)
    columns = ramp(at, 0.0, BORDER) * ramp(1.0 - at, 0.0, BORDER)
    soft *= rows[:, None] * columns[None, :]
    soft[soft < 1.0 / 512] = 0.0  # this changes no pixel by more than half a level
    return soft


def match_tone(drawn: F32, filmed: F32, mask: F32, framing: Framing) -> F32:
    """Give Y, Cb and Cr of the drawn crop (S, S, 3) the tone of the filmed crop.

    Gain and offset of each channel are fitted beside the mouth, in the soft edge of the mask, without pixels that show
    different things. Both are bounded.
    """
    side = min(TONE_PX, len(mask))
    small, wanted, soft = (
        np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.float32)
        for image in (drawn, filmed, mask)
    )
    rows = np.arange(side)[:, None] / side
    weight = soft * (1.0 - soft) * (rows < np.float32(framing.row(TONE_Y)))
    rim = weight > TRACE
    if float(weight[rim].sum()) < 1.0:
        return drawn
    shares = np.repeat(weight[rim][:, None], 3, axis=1)
    x, y = small[rim], wanted[rim]
    gain, offset = _bounded_line(x, y, shares)
    error = np.abs(gain * x + offset - y)
    limit = OUTLIER * (error * shares).sum(axis=0) / shares.sum(axis=0) + 1.0
    gain, offset = _bounded_line(x, y, shares * (error <= limit))
    return np.asarray(drawn * gain.astype(np.float32) + offset.astype(np.float32), np.float32)


def _bounded_line(x: F32, y: F32, shares: F32) -> tuple[F32, F32]:
    """Return gain and offset (3,) of the best line from x to y (N, 3) with weights (N, 3), bounded."""
    gain, mean_x, mean_y = fit_tone(x, y, shares, STEADY, GAIN)
    return gain, mean_x + np.clip(mean_y - mean_x, -MAX_SHIFT, MAX_SHIFT) - gain * mean_x


def sharpen(drawn: U8, filmed: U8, skin: Bools) -> U8:
    """Return drawn luma (H, W) uint8 with as much fine detail on the skin as the film has there.

    Detail is only added, up to a bound, and no pixel leaves the range of its neighbours by more than a trace: nothing
    rings. skin: (H, W) bool.
    """
    if not skin.any():
        return drawn
    exact = drawn.astype(np.float32)
    detail = np.asarray(exact - cv2.GaussianBlur(exact, (0, 0), DETAIL_PX), np.float32)
    missing = _roughness(filmed.astype(np.float32), skin) - _roughness(exact, skin)
    strength = np.clip(missing / max(_roughness(detail, skin), 1e-3), 0.0, MAX_SHARPENING)
    if strength < TRACE:
        return drawn
    near = np.ones((3, 3), np.uint8)
    low = cv2.erode(drawn, near).astype(np.float32) - OVERSHOOT
    high = cv2.dilate(drawn, near).astype(np.float32) + OVERSHOOT
    sharp = np.clip(exact + np.float32(strength) * detail, low, high)
    return np.asarray(np.clip(np.rint(sharp), 0, 255), np.uint8)


def _roughness(luma: F32, skin: Bools) -> float:
    """Return the root mean square of the Laplacian of luma (H, W) on the skin."""
    return float(np.sqrt(np.square(cv2.Laplacian(luma, cv2.CV_32F)[skin]).mean()))


def _skin(weight: F32, mouth: F32) -> Bools:
    """Return where the mask (H, W) is solid, without the mouth, whose outline is given in pixels, (N, 2)."""
    skin = (weight > SOLID * weight.max()).astype(np.uint8)
    middle = mouth.mean(axis=0)
    outline = np.rint(middle + (mouth - middle) * MOUTH_MARGIN).astype(np.int32)
    cv2.fillPoly(skin, [outline], (0.0,))
    return np.asarray(skin, bool)


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
