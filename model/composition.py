"""Composition of a network's drawing, at the network's own size, with crops at the size of the filmed face.

It computes the same as `Drawing.compose`, which training uses, but on arrays with OpenCV. That is fifteen times as
fast for a crop of five times the network's width, because nearly all work there is moving known pixels.

The network is too coarse to draw single teeth. An `Interior` shows the inside of the mouth at the size of the crop. It
is laid over the colours within the drawn opening, whose edge is then made as sharp as filmed lips. Its upper layer
belongs to the skull and stays where it is, and its lower layer moves with the drawn lower lip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.arrays import F32, U8
from model.known_pixels import PosedReference, show_known
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
class Part:
    """Part of a crop: the network's pixels up to, not including, `bottom` and `right`; the factor to the crop's."""

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

    @property
    def small_size(self) -> tuple[int, int]:
        """Return width and height of the part of the network's picture."""
        return self.right - self.left, self.bottom - self.top

    @classmethod
    def around(cls, chosen: NDArray[np.bool_], factor: int, pad: int, top: int = 0, left: int = 0) -> Part | None:
        """Return the part around some of the network's pixels (h,w), with `pad` more; None if no pixel is chosen.

        top, left: place of the given pixels; the part stays among them.
        """
        rows, columns = np.flatnonzero(chosen.any(axis=1)), np.flatnonzero(chosen.any(axis=0))
        if not rows.size:
            return None
        first, last = max(0, int(rows[0]) - pad), min(chosen.shape[0], int(rows[-1]) + pad + 1)
        start, stop = max(0, int(columns[0]) - pad), min(chosen.shape[1], int(columns[-1]) + pad + 1)
        return cls(top + first, top + last, left + start, left + stop, factor)

    def within(self, other: Part) -> tuple[slice, slice]:
        """Return the part of the crop, counted from the first pixel of another part around it."""
        rows, columns = self.large
        top, left = other.top * self.factor, other.left * self.factor
        return slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)


@dataclass(frozen=True)
class Look:
    """What is wanted of a composition: the part of the crop, None for all of it, and the inside of the mouth, if known.

    The interior is shown over the colours inside the opening.
    """

    interior: Interior | None = None
    part: Part | None = None


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
    reference: PosedReference,
    hidden_from: float,
    offsets: F32,
    colours: U8,
    mask: F32,
    look: Look | None = None,
) -> U8:
    """Displace the known pixels and blend in the colours and the interior.

    target (P,P,3) uint8: the known pixels are those of the target above the first hidden row, and those of the
    reference below it. hidden_from: that row, as a share of the height. offsets (2,H,H) float32: distance from each
    pixel to its source, x and y, in halves of the picture. colours (S,S,3) uint8; mask (S,S) float32 in 0..1, how much
    of the colours is shown; P is a multiple of S. Returns (P,P,3) uint8, which is black outside the part of `look`.
    """
    side, look = len(mask), look or Look()
    interior, part = look.interior, look.part or Part(0, side, 0, side, len(target) // side)
    crop = np.zeros(target.shape, np.uint8)
    shown = crop[part.large]
    show_known(target, reference, round(len(target) * hidden_from), offsets, part.large, shown)
    box = Part.around(mask[part.small] > VISIBLE, part.factor, PAD, part.top, part.left)
    if box is None:
        return crop
    opening = None if interior is None else _Opening.of(mask, part)
    behind = None if opening is None else shown[opening.box.within(part)].copy()
    weight = np.asarray(cv2.resize(mask[box.small], box.size), np.float32)
    drawn = np.asarray(cv2.resize(colours[box.small], box.size, interpolation=cv2.INTER_CUBIC), np.uint8)
    place = box.within(part)
    shown[place] = _blend(drawn, shown[place], weight)
    if interior is not None and opening is not None and behind is not None:
        inside, weight = _with_interior(colours, mask, opening, interior)
        shown[opening.box.within(part)] = _blend(inside, behind, weight)
    return crop


@dataclass(frozen=True)
class _Opening:
    """Opening of a mouth. box: around what an interior changes. open_here: how much of it each column shows, (w,) 0..1.

    lip: row of the lower lip's inner edge where the opening is highest, in network pixels.
    """

    box: Part
    open_here: F32
    lip: float

    @classmethod
    def of(cls, mask: F32, part: Part) -> _Opening | None:
        """Return the opening that the network's mask (S,S) shows in a part; None if it shows none."""
        whole = Part.around(mask > INSIDE, part.factor, PAD)
        if whole is None:
            return None
        inside = mask[whole.small]
        heights = cv2.blur(inside.sum(axis=0)[None], (5, 1), borderType=cv2.BORDER_REPLICATE)[0]
        open_here = ramp(heights, THIN, OPEN)
        columns = np.flatnonzero(open_here)
        if not columns.size:
            return None
        top, bottom = max(whole.top, part.top), min(whole.bottom, part.bottom)
        left = max(whole.left + int(columns[0]) - PAD, whole.left, part.left)
        right = min(whole.left + int(columns[-1]) + PAD + 1, whole.right, part.right)
        if top >= bottom or left >= right:
            return None
        box, lip = Part(top, bottom, left, right, part.factor), whole.top + _lower_edge(inside, inside * open_here)
        return cls(box, open_here[left - whole.left : right - whole.left], lip)


def _with_interior(colours: U8, mask: F32, opening: _Opening, interior: Interior) -> tuple[U8, F32]:
    """Lay an interior over the colours of an opening; colours (S,S,3) and mask (S,S): the network's.

    Returns colours and mask of the opening's box at the size of the crop, the mask with a sharp edge.
    """
    box, open_here = opening.box, opening.open_here
    colours, mask = colours[box.small], mask[box.small]
    cavity = np.array(interior.cavity, np.float32)
    emptied = colours + (cavity - colours) * (_paleness(colours, float(cavity.mean())) * open_here)[..., None]
    drawn = np.asarray(cv2.resize(np.rint(emptied).astype(np.uint8), box.size, interpolation=cv2.INTER_CUBIC), np.uint8)
    fine = np.asarray(cv2.resize(mask, box.size, interpolation=cv2.INTER_CUBIC), np.float32)
    soft = np.asarray(cv2.resize(mask, box.size), np.float32)
    share = np.asarray(cv2.resize(open_here[None], (box.size[0], 1)), np.float32)
    drop = opening.lip * box.factor - interior.lip[1]
    for layer, down in ((interior.lower, drop), (interior.upper, 0.0)):
        _lay(layer, layer.left - box.left * box.factor, layer.top - box.top * box.factor + down, drawn, share)
    shadow = _lip_shadow(fine, box.factor)
    shadow *= share
    dark = np.empty_like(drawn)
    dark[...] = np.rint(cavity)
    drawn = _blend(dark, drawn, shadow)
    weight = ramp(fine, *_edge(box.factor))
    weight -= soft
    weight *= share
    weight += soft
    return drawn, weight


def _lay(layer: Layer, left: int, top: float, picture: U8, share: F32) -> None:
    """Lay a layer over a picture (h,w,3) in place.

    left, top: place of the layer's first pixel in the picture. share (1,w): how much of the layer each column shows.
    """
    height, width = layer.pixels.shape[:2]
    whole = int(np.floor(top))
    first, last = max(0, whole), min(len(picture), whole + height + 1)
    start, stop = max(0, left), min(picture.shape[1], left + width)
    if first >= last or start >= stop:
        return
    shift = np.array([[1.0, 0.0, left - start], [0.0, 1.0, top - first]])
    placed = cv2.warpAffine(layer.pixels, shift, (stop - start, last - first), flags=cv2.INTER_LINEAR)
    opacity = placed[..., 3] * (share[:, start:stop] / np.float32(255))
    under = picture[first:last, start:stop]
    under[...] = _blend(np.asarray(cv2.cvtColor(placed, cv2.COLOR_RGBA2RGB), np.uint8), under, opacity)


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
