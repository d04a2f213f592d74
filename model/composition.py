"""Composition of a network's drawing, at the network's own size, with crops at the size of the filmed face.

It computes the same as `Drawing.compose`, which training uses, but on arrays with OpenCV. That is fifteen times as
fast for a crop of five times the network's width, because nearly all work there is moving known pixels.

Colours are blended in where the network's mask has a spot, and only there: most of a face is known pixels.

The network is too coarse to draw single teeth. An `Interior` shows the inside of the mouth at the size of the crop. It
is laid over the colours within the drawn opening, whose edge is then made as sharp as filmed lips. Its lower layer
moves with the drawn lower lip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.arrays import F32, F64, U8
from model.interior import Interior
from model.known_pixels import PosedReference, show_known
from model.smoothstep import ramp

VISIBLE: Final = 1 / 128  # a mask below this changes no pixel by more than a level or two; it is left out
PAD: Final = 2  # network pixels around a spot that belong to it, so that enlarging needs nothing outside
# Height of the opening in a column, in network pixels at 96, up to which its inside is the network's own, and from
# which on it is the interior. Closed lips have a thin mask too: it draws the line between them. What the network draws
# into a narrow opening is a grey bar, so the interior begins soon.
THIN, OPEN = 1.5, 3.5
EDGE_PX: Final = 5.0  # width of the edge of the opening, in pixels of the crop
NETWORK_EDGE: Final = 2.6  # width of the edge of the network's mask, in network pixels
LIP_SHADOW: Final = 0.2  # how much darker the interior is right under the upper lip
SHADOW_REACH: Final = 1.3  # how far that shadow reaches, in network pixels


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

    def common(self, other: Part) -> Part | None:
        """Return what two parts of the same crop have in common; None if that is nothing."""
        top, bottom = max(self.top, other.top), min(self.bottom, other.bottom)
        left, right = max(self.left, other.left), min(self.right, other.right)
        return Part(top, bottom, left, right, self.factor) if top < bottom and left < right else None

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


@dataclass(frozen=True)
class FilmedCrops:
    """N crops of faces as filmed.

    seen: what the network sees of them, (N,S,S,3) uint8 RGB. pixels: what a viewer sees of them, (N,P,P,3) uint8 RGB, P
    a multiple of S; below the first hidden row they may hold anything.
    """

    seen: U8
    pixels: U8

    @classmethod
    def of(cls, crops: U8, size: int) -> FilmedCrops:
        """Return crops (N,P,P,3) for a network of some size."""
        return cls(shrink(crops, size), crops)

    def some(self, part: slice) -> FilmedCrops:
        """Return some of the crops."""
        return FilmedCrops(self.seen[part], self.pixels[part])


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
    of the colours is shown; P is a multiple of S. Returns the part of `look`, (h,w,3) uint8.
    """
    side, look = len(mask), look or Look()
    interior, part = look.interior, look.part or Part(0, side, 0, side, len(target) // side)
    width, height = part.size
    shown = np.empty((height, width, 3), np.uint8)
    show_known(target, reference, round(len(target) * hidden_from), offsets, part.large, shown)
    spots = _Spot.all_of(mask, part.factor)
    mouth = None if interior is None else _nearest(spots, interior.moved_lip)
    for spot in spots:
        box = spot.box.common(part)
        if box is not None:
            drawn, weight = _draw(colours, spot, box, interior if spot is mouth else None)
            place = box.within(part)
            shown[place] = _blend(drawn, shown[place], weight)
    return shown


@dataclass(frozen=True)
class _Spot:
    """Spot of the network's mask, apart from all others.

    The mask has a spot where the mouth is open, and often small ones where the background or the clothes moved. box:
    around the spot, with PAD more. weights: the mask in the box, without other spots, (h,w) 0..1.
    """

    box: Part
    weights: F32

    @classmethod
    def all_of(cls, mask: F32, factor: int) -> list[_Spot]:
        """Return the spots of a mask (S,S)."""
        near = cv2.dilate((mask > VISIBLE).view(np.uint8), np.ones((2 * PAD + 1, 2 * PAD + 1), np.uint8))
        _, numbers, boxes, _ = cv2.connectedComponentsWithStats(near)
        spots = []
        for number, (left, top, width, height, _) in enumerate(boxes[1:].tolist(), 1):
            box = Part(top, top + height, left, left + width, factor)
            spots.append(cls(box, mask[box.small] * (numbers[box.small] == number)))
        return spots

    def weights_in(self, box: Part) -> F32:
        """Return the weights in a part of the box."""
        top, left = self.box.top, self.box.left
        return self.weights[box.top - top : box.bottom - top, box.left - left : box.right - left]


def _nearest(spots: Sequence[_Spot], lip: F64) -> _Spot | None:
    """Return the spot that is nearest above or below a point of the crop, x and y; None if there is no such spot."""

    def distance(spot: _Spot) -> float:
        rows = spot.box.large[0]
        return float(max(rows.start - lip[1], lip[1] - rows.stop, 0.0))

    crossed = (spot for spot in spots if spot.box.large[1].start <= lip[0] < spot.box.large[1].stop)
    return min(crossed, key=distance, default=None)


def _draw(colours: U8, spot: _Spot, box: Part, interior: Interior | None) -> tuple[U8, F32]:
    """Return colours and weights of a spot in a part of its box at the size of the crop, (h,w,3) and (h,w).

    colours: the network's, (S,S,3). interior: shown in the spot as far as it is open.
    """
    small, weights = colours[box.small], spot.weights_in(box)
    soft = np.asarray(cv2.resize(weights, box.size), np.float32)
    opening = None if interior is None else _Opening.of(spot)
    if interior is None or opening is None:
        return _enlarged(small, box), soft
    open_here = opening.open_here[box.left - spot.box.left : box.right - spot.box.left]
    share = np.asarray(cv2.resize(open_here[None], (box.size[0], 1)), np.float32)
    cavity = interior.lit_cavity
    emptied = small + (cavity - small) * (_paleness(small, float(cavity.mean())) * open_here)[..., None]
    drawn = _enlarged(np.rint(emptied).astype(np.uint8), box)
    drop = opening.lip * box.factor - interior.moved_lip[1]
    for layer, down in ((interior.lower, drop), (interior.upper, 0.0)):
        inside = interior.read(layer, (box.left * box.factor, box.top * box.factor - down), box.size)
        opacity = inside[..., 3] * (share / np.float32(255))
        drawn = _blend(np.asarray(cv2.cvtColor(inside, cv2.COLOR_RGBA2RGB), np.uint8), drawn, opacity)
    fine = np.asarray(cv2.resize(weights, box.size, interpolation=cv2.INTER_CUBIC), np.float32)
    dark = _enlarged(np.rint(cavity).astype(np.uint8)[None, None], box)
    drawn = _blend(dark, drawn, _lip_shadow(fine, box.factor) * share)
    return drawn, soft + (ramp(fine, *_edge(box.factor)) - soft) * share


def _enlarged(small: U8, box: Part) -> U8:
    """Return pixels of the network at the size of the crop."""
    return np.asarray(cv2.resize(small, box.size, interpolation=cv2.INTER_CUBIC), np.uint8)


@dataclass(frozen=True)
class _Opening:
    """Opening of a mouth. open_here: how much of it each column of its spot shows, (w,) 0..1.

    lip: row of the lower lip's inner edge where the opening is highest, in network pixels.
    """

    open_here: F32
    lip: float

    @classmethod
    def of(cls, spot: _Spot) -> _Opening | None:
        """Return the opening that a spot shows; None if it shows none."""
        weights = spot.weights
        heights = cv2.blur(weights.sum(axis=0)[None], (5, 1), borderType=cv2.BORDER_REPLICATE)[0]
        open_here = ramp(heights, THIN, OPEN)
        return cls(open_here, spot.box.top + _lower_edge(weights, weights * open_here)) if open_here.any() else None


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
