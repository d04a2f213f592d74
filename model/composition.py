"""Composition of a network's drawing, at the network's own size, with crops at the size of the filmed face.

It computes the same as `Drawing.compose`, which training uses, but on arrays with OpenCV. That is fifteen times as
fast for a crop of five times the network's width, because nearly all work there is moving known pixels.

The network is too coarse to draw single teeth. An `Interior` shows the inside of the mouth at the size of the crop. It
is laid over the colours within the drawn opening, whose edge is then made as sharp as filmed lips. Its upper layer
belongs to the skull and stays where it is, and its lower layer moves with the drawn lower lip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from model.arrays import F32, U8

VISIBLE: Final = 1 / 512  # a mask below this changes no pixel by more than half a level
PAD: Final = 3  # network pixels around the mask that are read with it, so that enlarging needs nothing outside
# Height of the opening in a column, in network pixels at 96, up to which its inside is the network's own, and from
# which on it is the interior. Closed lips have a thin mask too: it draws the line between them.
THIN, OPEN = 1.4, 3.6
EDGE_PX: Final = 2.0  # width of the edge of the opening, in pixels of the crop
NETWORK_EDGE: Final = 2.6  # width of the edge of the network's mask, in network pixels
LIP_SHADOW: Final = 0.2  # how much darker the interior is right under the upper lip
SHADOW_REACH: Final = 0.014  # how far that shadow reaches, as a share of the crop


@dataclass(frozen=True)
class Interior:
    """Inside of a mouth at the size of a crop, in two layers.

    upper, lower: (h,w,4) uint8 RGB and opacity. left, top: place of both layers in the crop, in pixels. lip_y: height
    of the middle of the lower lip's inner edge in the crop, in pixels, for which `lower` is in place. cavity: colour of
    the depth of the mouth, RGB 0..255; it replaces the teeth that the network draws, and leaves its tongue.
    """

    upper: U8
    lower: U8
    left: int
    top: int
    lip_y: float
    cavity: tuple[float, float, float]


@dataclass(frozen=True)
class _Box:
    """Part of a drawing that is visible: rows and columns of the network's pixels, and the factor to the crop's."""

    top: int
    bottom: int
    left: int
    right: int
    factor: int

    @property
    def small(self) -> tuple[slice, slice]:
        """Return the part of the network's picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def large(self) -> tuple[slice, slice]:
        """Return the part of the crop."""
        factor = self.factor
        return slice(self.top * factor, self.bottom * factor), slice(self.left * factor, self.right * factor)

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the part of the crop."""
        return (self.right - self.left) * self.factor, (self.bottom - self.top) * self.factor


def shrink(crops: U8, size: int) -> U8:
    """Shrink crops by averaging, (N,P,P,3) uint8 -> (N,size,size,3) uint8; P is a multiple of size."""
    if crops.shape[1] == size:
        return crops
    small = np.empty((len(crops), size, size, 3), np.uint8)
    for crop, place in zip(crops, small, strict=True):
        cv2.resize(crop, (size, size), dst=place, interpolation=cv2.INTER_AREA)
    return small


def compose(
    target: U8,
    reference: U8,
    hidden_from: float,
    offsets: F32,
    colours: U8,
    mask: F32,
    interior: Interior | None = None,
) -> U8:
    """Displace the known pixels and blend in the colours and the interior.

    target, reference (P,P,3) uint8: the known pixels are those of the target above the first hidden row, and those of
    the reference below it. hidden_from: that row, as a share of the height. offsets (2,H,H) float32: distance from each
    pixel to its source, x and y, in halves of the picture. colours (S,S,3) uint8; mask (S,S) float32 in 0..1, how much
    of the colours is shown; P is a multiple of S. interior: what is shown over the colours inside the opening. Returns
    (P,P,3) uint8.
    """
    size = len(target)
    row = round(size * hidden_from)
    known = np.concatenate([target[:row], reference[row:]])
    field = cv2.resize(np.ascontiguousarray(offsets.transpose(1, 2, 0)), (size, size)) * np.float32(size / 2)
    field += _own_place(size)
    moved = cv2.remap(known, field, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    shown = np.asarray(moved, np.uint8)
    box = _visible_box(mask, size // len(mask))
    if box is None:
        return shown
    weight = np.asarray(cv2.resize(mask[box.small], box.size), np.float32)
    drawn = np.asarray(cv2.resize(colours[box.small], box.size, interpolation=cv2.INTER_CUBIC), np.uint8)
    if interior is not None:
        drawn, weight = _with_interior(drawn, mask[box.small], box, interior)
    part = np.ascontiguousarray(shown[box.large])
    shown[box.large] = cv2.blendLinear(drawn, part, weight, 1 - weight)
    return shown


def _visible_box(mask: F32, factor: int) -> _Box | None:
    """Return the part of a mask that is visible, with some pixels around it; None if nothing is."""
    visible = mask > VISIBLE
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if not rows.size:
        return None
    top, left = max(0, int(rows[0]) - PAD), max(0, int(columns[0]) - PAD)
    bottom, right = min(len(mask), int(rows[-1]) + PAD + 1), min(len(mask), int(columns[-1]) + PAD + 1)
    return _Box(top, bottom, left, right, factor)


def _with_interior(colours: U8, small: F32, box: _Box, interior: Interior) -> tuple[U8, F32]:
    """Lay an interior over the colours (h,w,3) of a box; small: the network's mask there.

    Returns the colours and the mask (h,w) with the sharp edge of the opening.
    """
    width, height = box.size
    mask = np.asarray(cv2.resize(small, box.size, interpolation=cv2.INTER_CUBIC), np.float32).clip(0, 1)
    heights = mask.sum(axis=0) / box.factor  # of the opening, in network pixels
    heights = cv2.blur(heights[None], (4 * box.factor + 1, 1), borderType=cv2.BORDER_REPLICATE)[0]
    share = _ramp(heights, THIN, OPEN)
    sharp = _ramp(mask, *_edge(box.factor))
    weight = np.asarray(mask + (sharp - mask) * share, np.float32)
    under = colours.astype(np.float32)
    # Teeth are pale: their least channel is bright. That of a tongue is dark.
    cavity = np.array(interior.cavity, np.float32)
    pale = _ramp(under.min(axis=2, keepdims=True), 1.5 * float(cavity.mean()), 3.5 * float(cavity.mean()))
    inside = under + (cavity - under) * pale
    middle = mask * np.square(share)
    total = float(middle.sum())
    if total < 1.0:
        return colours, weight
    # The lower edge of the opening in each column: half its height below its centre.
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5
    centre = (mask * rows).sum(axis=0) / np.maximum(mask.sum(axis=0), 1e-3)
    edge = centre + heights * (box.factor / 2)
    columns = middle.sum(axis=0)
    columns = columns * columns * columns
    lip_y = float((edge * columns).sum() / columns.sum()) + box.top * box.factor
    for layer, drop in ((interior.lower, lip_y - interior.lip_y), (interior.upper, 0.0)):
        shift = np.array(
            [
                [1.0, 0.0, interior.left - box.left * box.factor],
                [0.0, 1.0, interior.top - box.top * box.factor + drop],
            ]
        )
        placed = cv2.warpAffine(layer, shift, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
        inside += (placed[..., :3] - inside) * (placed[..., 3:] / 255)
    inside *= _lip_shadow(mask, width / 0.6)[..., None]
    drawn = under + (inside - under) * share[None, :, None]
    return np.asarray(np.clip(np.rint(drawn), 0, 255), np.uint8), weight


def _edge(factor: int) -> tuple[float, float]:
    """Return the levels of the network's mask between which the edge of the opening lies in a crop `factor` larger."""
    half = min(0.5, 0.5 * EDGE_PX / (NETWORK_EDGE * factor))
    return 0.4 - half * 0.8, 0.4 + half


def _lip_shadow(mask: F32, crop_px: float) -> F32:
    """Return the light (h,w) 0..1 inside an opening (h,w), less under the upper lip."""
    reach = max(1, round(SHADOW_REACH * crop_px))
    above = np.zeros_like(mask)
    above[reach:] = mask[:-reach]
    above = cv2.blur(above, (1, 2 * reach + 1))
    return np.asarray(1 - LIP_SHADOW * (1 - above), np.float32)


def _ramp(values: F32, low: float, high: float) -> F32:
    """Return a smooth step: 0 up to `low`, 1 from `high` on."""
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share), np.float32)


@lru_cache(maxsize=8)
def _own_place(size: int) -> F32:
    """Return the index of each pixel, x and y, (size,size,2)."""
    index = np.arange(size, dtype=np.float32)
    place: F32 = np.stack(np.meshgrid(index, index), axis=2)
    place.setflags(write=False)
    return place
