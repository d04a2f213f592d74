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
from numpy.typing import NDArray

from model.arrays import F32, U8
from model.smoothstep import ramp

VISIBLE: Final = 1 / 128  # a mask below this changes no pixel by more than a level or two; it is left out
INSIDE: Final = 0.1  # an opening is where the mask is at least this
PAD: Final = 3  # network pixels around a box that belong to it, so that enlarging needs nothing outside
# Height of the opening in a column, in network pixels at 96, up to which its inside is the network's own, and from
# which on it is the interior. Closed lips have a thin mask too: it draws the line between them.
THIN, OPEN = 1.5, 5.5
EDGE_PX: Final = 5.0  # width of the edge of the opening, in pixels of the crop
NETWORK_EDGE: Final = 2.6  # width of the edge of the network's mask, in network pixels
LIP_SHADOW: Final = 0.2  # how much darker the interior is right under the upper lip
SHADOW_REACH: Final = 1.3  # how far that shadow reaches, in network pixels


@dataclass(frozen=True)
class Layer:
    """Picture that covers a part of a crop: pixels (h,w,4) uint8 RGB and opacity; left, top: its place in pixels."""

    pixels: U8
    left: int
    top: int


@dataclass(frozen=True)
class Interior:
    """Inside of a mouth at the size of a crop, in two layers.

    upper: the upper teeth, in place. lower: lower teeth and tongue, in place when the middle of the lower lip's inner
    edge is at `lip`, x and y in pixels of the crop. cavity: colour of the depth of the mouth, RGB 0..255; it replaces
    the teeth that the network draws, and leaves its tongue.
    """

    upper: Layer
    lower: Layer
    lip: tuple[float, float]
    cavity: tuple[float, float, float]


@dataclass(frozen=True)
class _Box:
    """Part of a drawing: rows and columns of the network's pixels, and the factor to the crop's."""

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
    box = _box_of(mask > VISIBLE, size // len(mask))
    if box is None:
        return shown
    opening = None if interior is None else _box_of(mask > INSIDE, box.factor)
    behind = None if opening is None else shown[opening.large].copy()
    weight = np.asarray(cv2.resize(mask[box.small], box.size), np.float32)
    drawn = np.asarray(cv2.resize(colours[box.small], box.size, interpolation=cv2.INTER_CUBIC), np.uint8)
    shown[box.large] = _blend(drawn, shown[box.large].copy(), weight)
    if interior is not None and opening is not None and behind is not None:
        inside, weight = _with_interior(colours[opening.small], mask[opening.small], opening, interior)
        shown[opening.large] = _blend(inside, behind, weight)
    return shown


def _box_of(chosen: NDArray[np.bool_], factor: int) -> _Box | None:
    """Return the box of some of the network's pixels, with some more around it; None if no pixel is chosen."""
    rows, columns = np.flatnonzero(chosen.any(axis=1)), np.flatnonzero(chosen.any(axis=0))
    if not rows.size:
        return None
    top, left = max(0, int(rows[0]) - PAD), max(0, int(columns[0]) - PAD)
    bottom, right = min(len(chosen), int(rows[-1]) + PAD + 1), min(len(chosen), int(columns[-1]) + PAD + 1)
    return _Box(top, bottom, left, right, factor)


def _with_interior(colours: U8, mask: F32, box: _Box, interior: Interior) -> tuple[U8, F32]:
    """Lay an interior over the colours (h,w,3) of a box; mask (h,w): the network's, both at the network's size.

    Returns colours and mask of the box at the size of the crop, the mask with the sharp edge of the opening.
    """
    heights = cv2.blur(mask.sum(axis=0)[None], (5, 1), borderType=cv2.BORDER_REPLICATE)[0]  # of the opening
    open_here = ramp(heights, THIN, OPEN)
    within = mask * open_here
    cavity = np.array(interior.cavity, np.float32)
    emptied = colours + (cavity - colours) * (_paleness(colours, float(cavity.mean())) * open_here)[..., None]
    drawn = np.asarray(cv2.resize(np.rint(emptied).astype(np.uint8), box.size, interpolation=cv2.INTER_CUBIC), np.uint8)
    fine = np.asarray(cv2.resize(mask, box.size, interpolation=cv2.INTER_CUBIC), np.float32)
    soft = np.asarray(cv2.resize(mask, box.size), np.float32)
    share = cv2.resize(open_here[None], (box.size[0], 1))
    drop = box.top * box.factor + _lower_edge(mask, within) * box.factor - interior.lip[1]
    for layer, down in ((interior.lower, drop), (interior.upper, 0.0)):
        place = (layer.left - box.left * box.factor, layer.top - box.top * box.factor + down)
        shift = np.array([[1.0, 0.0, place[0]], [0.0, 1.0, place[1]]])
        placed = cv2.warpAffine(layer.pixels, shift, box.size, flags=cv2.INTER_LINEAR)
        opacity = placed[..., 3] * (share / np.float32(255))
        drawn = _blend(np.ascontiguousarray(placed[..., :3]), drawn, opacity)
    shadow = _lip_shadow(fine, box.factor) * share
    dark = np.broadcast_to(np.rint(cavity).astype(np.uint8), drawn.shape)
    drawn = _blend(np.ascontiguousarray(dark), drawn, shadow)
    weight = soft + (ramp(fine, *_edge(box.factor)) - soft) * share
    return drawn, np.asarray(weight, np.float32)


def _blend(above: U8, below: U8, share: F32) -> U8:
    """Lay one picture (h,w,3) over another; share (h,w): how much of the upper one is seen, 0..1."""
    return np.asarray(cv2.blendLinear(above, below, share, 1 - share), np.uint8)


def _paleness(colours: U8, dark: float) -> F32:
    """Return how much colours (h,w,3) look like teeth, 0..1; dark: the level of the depth of the mouth.

    Teeth have little colour. The tongue has much of it, and the depth of the mouth is dark.
    """
    least, most = (np.asarray(edge(axis=2), np.float32) for edge in (colours.min, colours.max))
    dark = max(dark, 1.0)  # of a black picture too
    return ramp(least, 1.2 * dark, 2.2 * dark) * ramp(least / np.maximum(most, 1), 0.5, 0.7)


def _lower_edge(mask: F32, within: F32) -> float:
    """Return the row of the lower edge of an opening where it is highest; 0 if nothing is open.

    mask (h,w): the network's mask. within: the part of it that is open. In each column the edge lies half the height of
    the opening below its middle, which is steady even where the mask is soft.
    """
    heights = mask.sum(axis=0)
    rows = np.arange(len(mask), dtype=np.float32)[:, None] + 0.5
    edges = (mask * rows).sum(axis=0) / np.maximum(heights, 1e-3) + heights / 2
    weights = within.sum(axis=0) ** 3
    total = float(weights.sum())
    return float((edges * weights).sum()) / total if total > 0 else 0.0


def _edge(factor: int) -> tuple[float, float]:
    """Return the levels of the network's mask between which the edge of the opening lies in a crop `factor` larger."""
    half = min(0.5, 0.5 * EDGE_PX / (NETWORK_EDGE * factor))
    return 0.4 - half * 0.8, 0.4 + half


def _lip_shadow(mask: F32, factor: int) -> F32:
    """Return how much the upper lip darkens what lies inside an opening (h,w), 0..1."""
    reach = max(1, round(SHADOW_REACH * factor))
    above = np.zeros_like(mask)
    above[reach:] = mask[:-reach]
    return np.asarray(LIP_SHADOW * (1 - cv2.blur(above, (1, 2 * reach + 1))).clip(0, 1), np.float32)


@lru_cache(maxsize=8)
def _own_place(size: int) -> F32:
    """Return the index of each pixel, x and y, (size,size,2)."""
    index = np.arange(size, dtype=np.float32)
    place: F32 = np.stack(np.meshgrid(index, index), axis=2)
    place.setflags(write=False)
    return place
