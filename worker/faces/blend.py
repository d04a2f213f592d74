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
from functools import lru_cache
from typing import Final, TypeVar

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
MASK_PX: Final = 192  # largest side of the mask: it is smooth
TRACE_OF_MASK: Final = 1.0 / 512  # the mask is zero below this, which changes no pixel by more than half a level
MARGIN_PX: Final = 4  # of a crop around what the mask shows, which enlarging it reads
OVERSHOOT: Final = 3  # how far a sharpened pixel may lie outside its neighbours' range, in 8-bit levels


Bools = npt.NDArray[np.bool_]
Pixels = TypeVar("Pixels", U8, F32)


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
    mask = face_mask(crop.face, transform, framing, settings.padding)
    box = _frame_box(mask, transform, planes.shape[1], planes.shape[0] * 2 // 3)
    if box is None or settings.strength == 0.0:
        return
    side = min(TONE_PX, transform.size)
    small = (_reduced(picture, side) for picture in (crop.synthesized, crop.filmed))
    gain, offset = rim_tone(*(ycc_of_rgb(picture, colour) for picture in small), _reduced(mask, side), framing)
    blur = 0.0
    if transform.scale * settings.network_px > transform.size:  # finer than the frame: blurred against aliasing
        blur = 0.5 * transform.scale
    part = shown_part(mask, transform.size)
    drawn = _in_tone(crop.synthesized[part], colour, gain, offset, blur)
    _place(planes, drawn, (part[1].start, part[0].start), np.float32(settings.strength) * mask, crop, box)


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
    levels = cv2.add(drawn, (0.0, 0.0, 0.0, 0.0), dtype=cv2.CV_8U)  # rounds and clips
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
    zoom = min(MAX_ZOOM, max(1, round(1.0 / transform.scale)))
    y, u, v = split_planes(planes)
    for targets, levels, step, site in (((y,), drawn[:1], 1, (0.5, 0.5)), ((u, v), drawn[1:], 2, (0.5, 1.0))):
        left, top, right, bottom = (edge // step for edge in box)
        size = (right - left, bottom - top)
        first = (left * step + site[0], top * step + site[1])
        weight = _warped(mask, transform, (len(mask) / transform.size, step), (0, 0), first, size)
        rest = 1.0 - weight
        for target, picture in zip(targets, levels, strict=True):
            fine = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC) if zoom > 1 else picture
            moved = _warped(np.asarray(fine, np.uint8), transform, (zoom, step), corner, first, size)
            part = target[top:bottom, left:right]
            if step == 1:
                skin = _skin(weight, crop.face[list(MOUTH)] - np.array([left, top], np.float32))
                moved = sharpen(moved, part, skin)
            part[...] = cv2.blendLinear(moved, part, weight, rest)


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


def face_mask(face: F32, transform: Transform, framing: Framing, padding: float) -> F32:
    """Return the mask of a crop, at a side of at most MASK_PX, for landmarks (468, 2) in frame pixels."""
    side = min(MASK_PX, transform.size)
    return mouth_mask(transform.apply(face) * (side / transform.size), side, framing, padding)


def shown_part(mask: F32, size: int) -> tuple[slice, slice]:
    """Return the rows and columns of a crop of `size` pixels that a mask (M, M), which is not all zero, shows."""
    step = size / len(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return tuple(
        slice(max(0, int(shown[0] * step - MARGIN_PX)), min(size, int(np.ceil((shown[-1] + 1) * step + MARGIN_PX))))
        for shown in (rows, columns)
    )  # type: ignore[return-value]


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
    soft = np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), FEATHER * size), np.float32)
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


def rim_tone(drawn: F32, filmed: F32, mask: F32, framing: Framing) -> tuple[F32, F32]:
    """Return gain and offset (3,) that give Y, Cb and Cr of a drawn crop (S, S, 3) the tone of the filmed crop.

    mask: (S, S) float32. Gain and offset of each channel are fitted beside the mouth, in the soft edge of the mask,
    without pixels that show different things. Both are bounded.
    """
    last = int(np.ceil(framing.row(TONE_Y) * len(mask)))
    soft = mask[:last]
    weight = soft * (1.0 - soft)
    rim = weight > TRACE
    shares = weight[rim]
    if float(shares.sum()) < 1.0:
        return np.ones(3, np.float32), np.zeros(3, np.float32)
    shares = np.repeat(shares[:, None], 3, axis=1)
    x, y = drawn[:last][rim], filmed[:last][rim]
    gain, offset = _bounded_line(x, y, shares)
    error = np.abs(gain * x + offset - y)
    limit = OUTLIER * (error * shares).sum(axis=0) / shares.sum(axis=0) + 1.0
    return _bounded_line(x, y, shares * (error <= limit))


def _bounded_line(x: F32, y: F32, shares: F32) -> tuple[F32, F32]:
    """Return gain and offset (3,) of the best line from x to y (N, 3) with weights (N, 3), bounded."""
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
    curves = [cv2.Laplacian(luma, cv2.CV_32F) for luma in (filmed.astype(np.float32), exact, soft)]
    # root mean squares of the Laplacian on the skin: of the film, of the drawing, of its detail
    wanted, there = (cv2.norm(curve, cv2.NORM_L2, chosen) / np.sqrt(count) for curve in curves[:2])
    detail = cv2.norm(curves[1], curves[2], cv2.NORM_L2, chosen) / np.sqrt(count)
    strength = float(np.clip((wanted - there) / max(detail, 1e-3), 0.0, MAX_SHARPENING))
    if strength < TRACE:
        return drawn
    sharp = cv2.addWeighted(exact, 1.0 + strength, soft, -strength, 0.0, dtype=cv2.CV_8U)
    near = np.ones((3, 3), np.uint8)
    low, high = cv2.subtract(cv2.erode(drawn, near), OVERSHOOT), cv2.add(cv2.dilate(drawn, near), OVERSHOOT)
    return np.asarray(cv2.max(cv2.min(sharp, high), low), np.uint8)


def _skin(weight: F32, mouth: F32) -> Bools:
    """Return where the mask (H, W) is solid, without the mouth, whose outline is given in pixels, (N, 2)."""
    skin = np.asarray(cv2.compare(weight, float(SOLID * weight.max()), cv2.CMP_GT), np.uint8)
    middle = mouth.mean(axis=0)
    outline = np.rint(middle + (mouth - middle) * MOUTH_MARGIN).astype(np.int32)
    cv2.fillPoly(skin, [outline], (0.0,))
    return skin > 0


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
