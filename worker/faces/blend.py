"""Blend a synthesized crop into the planes of its frame, inside a feathered mask that follows the jaw.

The mask is drawn in the crop, from the mesh of the face in the frame. It follows the lower outline of the face from
cheek to cheek and extends below the chin, which leaves space for an opening jaw. It fades in below the nose and fades
out before the border of the crop. The tone of the drawing is fitted to the film in the rim of the mask, and its
sharpness to that of the film's skin, because moving and resampling pixels softens them. Crop and mask are mapped to the
frame by the inverse of the transform of the crop, plane by plane. Only the box around the mask is written, and the
bytes of the planes stay the same wherever the mask is zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from model.arrays import F32, F64, U8
from model.composition import Part
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
from worker.media.colour import ColourMatrix, split_planes, ycc_matrix, ycc_of_rgb

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
GAIN: Final = (0.75, 1.33)  # smallest and largest gain of the tone
STEADY: Final = 150.0  # squared levels: keeps the gain near 1 where the rim has little contrast
OUTLIER: Final = 2.5  # mean deviations from which on a pixel does not count for the tone
MOUTH: Final = (*UPPER_LIP_RINGS[3], RIGHT_CORNERS[3], *LOWER_LIP_RINGS[3][::-1], LEFT_CORNERS[3])  # its outline
MOUTH_MARGIN: Final = 1.3  # size of the part that is not skin, in sizes of the mouth
DETAIL_PX: Final = 1.0  # sigma of the blur that separates fine detail
MAX_SHARPENING: Final = 1.2  # largest amount of fine detail that is added
TRACE: Final = 0.01  # weights and amounts below this do not matter
SOLID: Final = 0.8  # share of the mask's largest value from which on a pixel counts as drawn
MASK_PX: Final = 96  # largest side of the mask: it is smooth
TRACE_OF_MASK: Final = 1.0 / 512  # the mask is zero below this, which changes no pixel by more than half a level
MARGIN: Final = 2  # network pixels around what the mask shows, which enlarging it reads
OVERSHOOT: Final = 3  # how far a sharpened pixel may lie outside its neighbours' range, in 8-bit levels
_NOTHING, _OVERSHOOT = np.zeros(4), np.full(4, float(OVERSHOOT))  # scalars of OpenCV

Bools = npt.NDArray[np.bool_]
Pixels = TypeVar("Pixels", U8, F32)


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


@dataclass(frozen=True)
class FaceMask:
    """Mask of a crop: how much of the synthesized face is shown.

    weights: (M, M) float32 0..1. part: the part of the crop that it shows, with a margin; None if it shows nothing.
    """

    weights: F32
    part: Part | None

    @classmethod
    def of(cls, face: F32, transform: Transform, settings: BlendSettings) -> FaceMask:
        """Return the mask for the landmarks (468, 2) of a face in frame pixels."""
        side = min(MASK_PX, transform.size)
        points = transform.apply(face) * (side / transform.size)
        weights = mouth_mask(points, side, settings.framing, settings.padding)
        factor = transform.size // settings.network_px
        return cls(weights, Part.around(_reduced(weights, transform.size // factor) > 0, factor, MARGIN))


@dataclass(frozen=True)
class SynthesizedCrop:
    """Crop of a face before and after synthesis.

    face: landmarks (468, 2) in frame pixels. transform: from the frame to the crop. filmed, synthesized: the crop
    before and after, (S, S, 3) uint8 RGB; only the part of the mask is read.
    """

    face: F32
    transform: Transform
    filmed: U8
    synthesized: U8
    mask: FaceMask


def blend(planes: U8, crop: SynthesizedCrop, settings: BlendSettings) -> None:
    """Blend a synthesized crop into an I420 frame, (H * 3/2, W) uint8, in place."""
    transform, mask, part = crop.transform, crop.mask.weights, crop.mask.part
    box = _frame_box(mask, transform, planes.shape[1], planes.shape[0] * 2 // 3)
    if part is None or box is None or settings.strength == 0.0:
        return
    gain, offset = _tone(crop, part, settings)
    blur = 0.0
    if transform.scale * settings.network_px > transform.size:  # finer than the frame: blurred against aliasing
        blur = 0.5 * transform.scale
    drawn = _in_tone(crop.synthesized[part.large], settings.colour, gain, offset, blur)
    corner = (part.left * part.factor, part.top * part.factor)
    _place(planes, drawn, corner, np.float32(settings.strength) * mask, crop, box)


def _tone(crop: SynthesizedCrop, part: Part, settings: BlendSettings) -> tuple[F32, F32]:
    """Return gain and offset (3,) of Y, Cb and Cr that give a drawing the tone of the film beside the mouth."""
    last = int(np.ceil(settings.framing.row(TONE_Y) * settings.network_px))
    upper = replace(part, bottom=min(part.bottom, max(last, part.top + 1)))
    weights = _reduced(crop.mask.weights, crop.transform.size // part.factor)[upper.small]
    small = (
        cv2.resize(picture[upper.large], upper.small_size, interpolation=cv2.INTER_AREA)
        for picture in (crop.synthesized, crop.filmed)
    )
    drawn, filmed = (ycc_of_rgb(np.asarray(picture, np.uint8), settings.colour) for picture in small)
    return rim_tone(drawn, filmed, weights)


def _in_tone(rgb: U8, colour: ColourMatrix, gain: F32, offset: F32, blur: float) -> list[U8]:
    """Return Y, Cb and Cr of an RGB picture (h, w, 3), each (h, w) uint8, with gain and offset (3,) of each.

    blur: sigma in pixels; 0 blurs nothing.
    """
    matrix = ycc_matrix(colour) * gain[:, None]
    matrix[:, 3] += offset
    exact = rgb.astype(np.float32)
    drawn = cv2.transform(exact, matrix)
    if blur:
        drawn = cv2.GaussianBlur(drawn, (0, 0), blur)
    levels = cv2.add(drawn, _NOTHING, dtype=cv2.CV_8U)  # rounds and clips
    return [np.asarray(plane, np.uint8) for plane in cv2.split(levels)]


def _place(
    planes: U8,
    drawn: list[U8],
    corner: tuple[int, int],
    mask: F32,
    crop: SynthesizedCrop,
    box: tuple[int, int, int, int],
) -> None:
    """Blend Y, Cb and Cr (h, w) into the part `box` of the frame.

    corner: x and y of their first pixel in the crop. mask: of the whole crop, (M, M) float32.
    """
    transform = crop.transform
    y, u, v = split_planes(planes)
    for targets, levels, step, site in (((y,), drawn[:1], 1, (0.5, 0.5)), ((u, v), drawn[1:], 2, (0.5, 1.0))):
        zoom = min(MAX_ZOOM, max(1, round(1.0 / (step * transform.scale))))
        left, top, right, bottom = (edge // step for edge in box)
        size = (right - left, bottom - top)
        first = (left * step + site[0], top * step + site[1])
        weight = _frame_weights(mask, transform, step, first, size)
        rest = 1.0 - weight
        for target, picture in zip(targets, levels, strict=True):
            fine = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC) if zoom > 1 else picture
            moved = _warped(np.asarray(fine, np.uint8), transform, (zoom, step), corner, first, size)
            part = target[top:bottom, left:right]
            if step == 1:
                skin = _skin(weight, crop.face[list(MOUTH)] - np.array([left, top], np.float32))
                moved = sharpen(moved, part, skin)
            part[...] = cv2.blendLinear(moved, part, weight, rest)


def _frame_weights(
    mask: F32, transform: Transform, step: int, first: tuple[float, float], size: tuple[int, int]
) -> F32:
    """Map a mask to the frame, or to its chroma with step 2; first, size: see `_warped`.

    It is smooth, so every other pixel in both directions is enough of it for the luma.
    """
    steps = (len(mask) / transform.size, 2)
    if step == 2:
        return _warped(mask, transform, steps, (0, 0), first, size)
    half = _warped(mask, transform, steps, (0, 0), (first[0] + 0.5, first[1] + 0.5), (size[0] // 2, size[1] // 2))
    return np.asarray(cv2.resize(half, size), np.float32)


def _warped(
    picture: Pixels,
    transform: Transform,
    steps: tuple[float, int],
    corner: tuple[int, int],
    first: tuple[float, float],
    size: tuple[int, int],
) -> Pixels:
    """Map a part of an enlarged or reduced crop to the frame.

    steps: pixels of the picture per pixel of the crop, and frame pixels per pixel of the result. corner: x and y in the
    crop of the picture's first pixel. first: frame point of the first pixel of the result. size: width and height.
    """
    zoom, step = steps
    linear = transform.matrix[:, :2]
    offset = (linear @ first + transform.matrix[:, 2] - corner) * zoom - 0.5
    matrix = np.concatenate([linear * (step * zoom), offset[:, None]], axis=1)
    warped = cv2.warpAffine(picture, matrix, size, flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR)
    return np.asarray(warped, picture.dtype)


def _reduced(picture: Pixels, side: int) -> Pixels:
    """Return a square picture, reduced to a side by averaging."""
    if len(picture) == side:
        return picture
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), picture.dtype)


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
    fine = np.zeros((2 * size, 2 * size), np.uint8)  # drawing adds about half a pixel to the outline
    fixed = np.rint((2 * outline - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(fine, [fixed], (255.0,), cv2.LINE_AA, SUBPIXEL_BITS)
    mask = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(mask, (0, 0), FEATHER * size), np.float32)
    soft *= _fade(size, framing, padding)
    soft[soft < TRACE_OF_MASK] = 0.0
    return soft


@lru_cache(maxsize=8)
def _fade(size: int, framing: Framing, padding: float) -> F32:
    """Return how the mask fades in below the nose and out before the border, (size, size), as shares of 255."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    grown = max(0.0, padding) * FACE_HEIGHT / framing.side
    # with any padding, the mask fades in inside the crop
    first, full = (framing.hidden_from + edge / framing.side for edge in FADE_IN)
    rows = ramp(at, first - min(grown, first), full - min(grown, first)) * ramp(1.0 - at, 0.0, BORDER)
    columns = ramp(at, 0.0, BORDER) * ramp(1.0 - at, 0.0, BORDER)
    fade = rows[:, None] * columns[None, :] / np.float32(255)
    fade.setflags(write=False)
    return fade


def rim_tone(drawn: F32, filmed: F32, mask: F32) -> tuple[F32, F32]:
    """Return gain and offset (3,) that give a drawing (h, w, 3) the tone of the film in the soft edge of a mask (h, w).

    Each channel has its own, and pixels that show different things do not count. Both are bounded.
    """
    weight = mask * (1.0 - mask)
    rim = weight > TRACE
    shares = weight[rim]
    if float(shares.sum()) < 1.0:
        return np.ones(3, np.float32), np.zeros(3, np.float32)
    shares = np.repeat(shares[None], 3, axis=0)
    x, y = (np.ascontiguousarray(picture.reshape(-1, 3).compress(rim.ravel(), axis=0).T) for picture in (drawn, filmed))
    gain, offset = _bounded_line(x, y, shares)
    error = np.abs(gain[:, None] * x + offset[:, None] - y)
    limit = OUTLIER * (error * shares).sum(axis=1) / shares.sum(axis=1) + 1.0
    return _bounded_line(x, y, shares * (error <= limit[:, None]))


def _bounded_line(x: F32, y: F32, shares: F32) -> tuple[F32, F32]:
    """Return gain and offset (3,) of the best line from x to y (3, N) with weights (3, N), bounded."""
    gain, mean_x, mean_y = fit_tone(x, y, shares, STEADY, GAIN)
    return gain, mean_x + np.clip(mean_y - mean_x, -MAX_SHIFT, MAX_SHIFT) - gain * mean_x


def sharpen(drawn: U8, filmed: U8, skin: Bools) -> U8:
    """Return drawn luma (H, W) uint8 with as much fine detail on the skin as the film has there.

    Detail is only added, up to a bound, and no pixel leaves the range of its neighbours by more than a trace: nothing
    rings. skin: (H, W) bool.
    """
    chosen = skin.view(np.uint8)
    count = cv2.countNonZero(chosen)
    if not count:
        return drawn
    exact = drawn.astype(np.float32)
    soft = cv2.GaussianBlur(exact, (0, 0), DETAIL_PX)
    left, top, width, height = cv2.boundingRect(chosen)
    box = slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)
    curves = [cv2.Laplacian(luma, cv2.CV_32F) for luma in (filmed[box].astype(np.float32), exact[box], soft[box])]
    # root mean squares of the Laplacian on the skin: of the film, of the drawing, of its detail
    wanted, there = (cv2.norm(curve, cv2.NORM_L2, chosen[box]) / np.sqrt(count) for curve in curves[:2])
    detail = cv2.norm(curves[1], curves[2], cv2.NORM_L2, chosen[box]) / np.sqrt(count)
    strength = float(np.clip((wanted - there) / max(detail, 1e-3), 0.0, MAX_SHARPENING))
    if strength < TRACE:
        return drawn
    sharp = cv2.addWeighted(exact, 1.0 + strength, soft, -strength, 0.0, dtype=cv2.CV_8U)
    near = np.ones((3, 3), np.uint8)
    low, high = cv2.subtract(cv2.erode(drawn, near), _OVERSHOOT), cv2.add(cv2.dilate(drawn, near), _OVERSHOOT)
    return np.asarray(cv2.max(cv2.min(sharp, high), low), np.uint8)


def _skin(weight: F32, mouth: F32) -> Bools:
    """Return where the mask (H, W) is solid, without the mouth, whose outline is given in pixels, (N, 2)."""
    skin = (weight > SOLID * weight.max()).astype(np.uint8)
    middle = mouth.mean(axis=0)
    outline = np.rint(middle + (mouth - middle) * MOUTH_MARGIN).astype(np.int32)
    cv2.fillPoly(skin, [outline], (0.0,))
    return np.asarray(skin > 0)


def _frame_box(mask: F32, transform: Transform, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom, all even, of the part of the frame in which the mask is not zero."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    step = transform.size / len(mask)
    x, y = ((float(shown[0] - 1) * step, float(shown[-1] + 2) * step) for shown in (columns, rows))
    corners = transform.invert([(x[0], y[0]), (x[1], y[0]), (x[0], y[1]), (x[1], y[1])])
    left, top = (max(0, int(low) // 2 * 2) for low in corners.min(axis=0))
    right, bottom = (
        min(limit, (int(high) // 2 + 1) * 2) for high, limit in zip(corners.max(axis=0), (width, height), strict=True)
    )
    return (left, top, right, bottom) if right > left and bottom > top else None
