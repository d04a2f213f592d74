"""Blend a synthesized crop into the planes of its frame, inside a feathered mask that follows the jaw.

The mask is drawn in the crop, from the mesh of the face in the frame. It follows the lower outline of the face from
cheek to cheek and extends below the chin, which leaves space for an opening jaw. It fades in below the nose and fades
out before the border of the crop. The tone of the drawing is fitted to the film in the rim of the mask, and its
sharpness to that of the film's skin, because moving and resampling pixels softens them. Crop and mask are mapped to
the area of the frame that the mask shows (`ShownArea`). Only this area is written, and the bytes of the planes stay the
same wherever the mask is zero. All pictures are bytes: only what is measured, and the blur, have floats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from model.affine import resize
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
from worker.faces.shown_area import ShownArea
from worker.faces.tone import fit_tone
from worker.media.colour import ColourMatrix, convert_bytes, split_planes, ycc_matrix, ycc_of_rgb

CHIN_EXTENSION: Final = 0.10  # how far the mask reaches below the chin, in template units
SIDE_MARGIN: Final = 0.08  # how far it stays inside the cheeks, before ears and hair; in template units
# The far cheek of a turned head is narrow: there the margin is at most this share of the way to the mouth.
NARROW: Final = 0.35
FACE_HEIGHT: Final = 1.5  # forehead to chin in template units
FADE_IN: Final = (-0.07, 0.085)  # around the first hidden row, in template units: from the base of the nose to the lip
TONE_Y: Final = 0.85  # the tone is matched above this template y; below it, an opening jaw moves the shadow of the chin
BORDER: Final = 0.06  # share of the crop at its left, right and lower border in which the mask fades out
LEAST_SHARE: Final = 0.4  # of its distance from the mouth that an outline point keeps with any negative padding
FEATHER: Final = 0.035  # sigma of the edge of the mask, as a share of the crop
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
TRACE_OF_MASK: Final = 1.0 / 128  # the mask is zero below this, which changes no pixel by more than a level or two
MARGIN: Final = 1  # network pixels around what the mask shows, which enlarging it reads
OVERSHOOT: Final = 3  # how far a sharpened pixel may lie outside its neighbours' range, in 8-bit levels
BLUR: Final = cv2.getGaussianKernel(5, DETAIL_PX, cv2.CV_32F)
_OVERSHOOT = np.full(4, float(OVERSHOOT))  # scalar of OpenCV

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

    face: landmarks (468, 2) in frame pixels. transform: from the frame to the crop. filmed: the crop before, at the
    network's size, uint8 RGB. synthesized: the crop after, (S, S, 3) uint8 RGB. Only the part of the mask is read.
    """

    face: F32
    transform: Transform
    filmed: U8
    synthesized: U8
    mask: FaceMask


def blend(planes: U8, crop: SynthesizedCrop, settings: BlendSettings) -> None:
    """Blend a synthesized crop into an I420 frame, (H * 3/2, W) uint8, in place."""
    transform, mask, part = crop.transform, crop.mask.weights, crop.mask.part
    y, u, v = split_planes(planes)
    area = ShownArea.of(np.float32(settings.strength) * mask, transform, (y.shape[1], y.shape[0]))
    if part is None or area is None:
        return
    drawn = crop.synthesized[part.large]
    if transform.scale * settings.network_px > transform.size:  # finer than the frame: blurred against aliasing
        drawn = np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.5 * transform.scale), np.uint8)
    drawn = convert_bytes(drawn, *_to_toned_ycc(crop, part, settings))
    corner = (part.left * part.factor, part.top * part.factor)
    weights, filmed = area.weights(1), y[area.within(1)]
    luma = area.moved(np.asarray(cv2.extractChannel(drawn, 0), np.uint8), corner, transform, 1)
    skin = _skin(weights, crop.face[list(MOUTH)] - np.array([area.left, area.top], np.float32))
    _mix(sharpen(luma, filmed, skin), filmed, weights)
    chroma, weights = area.moved(drawn, corner, transform, 2), area.weights(2)  # three channels are faster than two
    for channel, plane in ((1, u), (2, v)):
        _mix(np.asarray(cv2.extractChannel(chroma, channel), np.uint8), plane[area.within(2)], weights)


def _mix(drawn: U8, filmed: U8, weights: U8) -> None:
    """Blend drawn pixels (h, w) into filmed ones in place; weights (h, w), 0..255: share of the drawn ones."""
    shares = (cv2.multiply(drawn, weights, scale=1 / 255), cv2.multiply(filmed, 255 - weights, scale=1 / 255))
    filmed[...] = cv2.add(*shares)


def _to_toned_ycc(crop: SynthesizedCrop, part: Part, settings: BlendSettings) -> tuple[F32, F32]:
    """Return the affine map (3, 4) from R, G, B to Y, Cb, Cr that gives a drawing the film's tone beside the mouth.

    Also returns the drawing's mean colour (3,).
    """
    last = int(np.ceil(settings.framing.row(TONE_Y) * settings.network_px))
    upper = replace(part, bottom=min(part.bottom, max(last, part.top + 1)))
    weights = _reduced(crop.mask.weights, crop.transform.size // part.factor)[upper.small]
    drawn, filmed = resize(crop.synthesized[upper.large], upper.small_size, cv2.INTER_AREA), crop.filmed[upper.small]
    gain, offset = rim_tone(ycc_of_rgb(drawn, settings.colour), ycc_of_rgb(filmed, settings.colour), weights)
    matrix = ycc_matrix(settings.colour) * gain[:, None]
    matrix[:, 3] += offset
    return matrix, np.array(cv2.mean(drawn)[:3], np.float32)


def _reduced(picture: Pixels, side: int) -> Pixels:
    """Return a square picture, reduced to a side by averaging."""
    if len(picture) == side:
        return picture
    return resize(picture, (side, side), cv2.INTER_AREA)


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
    left, top, width, height = cv2.boundingRect(chosen)
    box = slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)
    curves = [cv2.Laplacian(luma[box].astype(np.float32), cv2.CV_32F) for luma in (filmed, drawn)]
    # root mean squares of the Laplacian on the skin: of the film, of the drawing, of its detail
    wanted, there = (cv2.norm(curve, cv2.NORM_L2, chosen[box]) / np.sqrt(count) for curve in curves)
    if wanted <= there:
        return drawn
    soft = np.asarray(cv2.sepFilter2D(drawn, cv2.CV_32F, BLUR, BLUR), np.float32)
    curve = cv2.Laplacian(soft[box], cv2.CV_32F)
    detail = cv2.norm(curves[1], curve, cv2.NORM_L2, chosen[box]) / np.sqrt(count)
    strength = min((wanted - there) / max(detail, 1e-3), MAX_SHARPENING)
    if strength < TRACE:
        return drawn
    sharp = cv2.addWeighted(drawn, 1.0 + strength, soft, -strength, 0.0, dtype=cv2.CV_8U)
    near = np.ones((3, 3), np.uint8)
    low, high = cv2.subtract(cv2.erode(drawn, near), _OVERSHOOT), cv2.add(cv2.dilate(drawn, near), _OVERSHOOT)
    return np.asarray(cv2.max(cv2.min(sharp, high), low), np.uint8)


def _skin(weights: U8, mouth: F32) -> Bools:
    """Return where the mask (H, W) is solid, without the mouth, whose outline is given in pixels, (N, 2)."""
    skin = (weights > int(SOLID * weights.max())).view(np.uint8)
    middle = mouth.mean(axis=0)
    outline = np.rint(middle + (mouth - middle) * MOUTH_MARGIN).astype(np.int32)
    cv2.fillPoly(skin, [outline], (0.0,))
    return skin.view(np.bool_)
