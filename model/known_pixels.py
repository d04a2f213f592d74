"""Known pixels of a face: those of the crop above the first hidden row, and those of the reference below it.

The network moves them. It sees the reference in the pose of the crop at its own size. What a viewer sees is read from
the reference as it was filmed, at the places where pose and network together lead. So each pixel is resampled once, and
only where it is shown.

Both maps are smooth. They are joined on the nodes of the network's displacement and then enlarged.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.arrays import F32, U8

Bools = NDArray[np.bool_]

NOTICED: Final = 0.1  # a tone that changes levels by less is left out


@dataclass(frozen=True)
class PosedPicture:
    """Picture of a face and how it is shown in a crop. Without shift, tone and added levels it is shown as it is.

    pixels: (E,E,3) uint8 RGB; E may be larger than the side of the crop. shift (G,G,2) float32: distance from each
    place in the crop to its place in the picture, x and y, in sides of the crop. tone (1,256,3) uint8: new levels.
    added (G,G,3) float32: what is then added at each place in the crop, in levels.
    """

    pixels: U8
    shift: F32 | None = None
    tone: U8 | None = None
    added: F32 | None = None


@dataclass(frozen=True)
class PosedReference:
    """Reference in the pose of a crop.

    seen: what the network sees of it, (S,S,3) uint8 RGB. picture: what a viewer sees of it. other: a second picture
    that it is mixed with, if any. share: how much of the first one is shown, 0..1.
    """

    seen: U8
    picture: PosedPicture
    other: PosedPicture | None = None
    share: float = 1.0


@dataclass(frozen=True)
class _Places:
    """Places where a crop reads its pixels.

    nodes (H+2,H+2,2) float32: the place of each node of a displacement, x and y, in sides of the crop, with one more
    node beyond each border, so that enlarging them needs nothing else. size: side of the crop in pixels; step: pixels
    from node to node.
    """

    nodes: F32
    size: int
    step: int

    @classmethod
    def of(cls, offsets: F32, size: int) -> _Places:
        """Return the places of a network's offsets (2,H,H), which are in halves of the picture."""
        count = offsets.shape[1]
        moves = cv2.copyMakeBorder(offsets.transpose(1, 2, 0) * np.float32(0.5), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        own = (own_place(count + 2) - np.float32(0.5)) / np.float32(count)
        return cls(np.asarray(moves + own, np.float32), size, size // count)

    def look_up(self, values: F32) -> F32:
        """Return values on a grid (G,G,C) at the places, (H+2,H+2,C)."""
        field = self.nodes * np.float32(len(values)) - np.float32(0.5)
        found = cv2.remap(values, field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return np.asarray(found, np.float32)

    def enlarge(self, values: F32, rows: slice, columns: slice) -> F32:
        """Return values on the nodes (H+2,H+2,C) at the pixels of some rows and columns of the crop, (h,w,C)."""
        step = self.step
        first = [edge.start // step for edge in (rows, columns)]
        last = [-(-edge.stop // step) + 2 for edge in (rows, columns)]
        fine = cv2.resize(values[first[0] : last[0], first[1] : last[1]], None, fx=step, fy=step)
        top, left = ((node - 1) * step for node in first)
        return np.asarray(fine[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left])

    def rows_of(self, chosen: Bools, rows: slice) -> slice:
        """Return those of some rows of the crop whose values depend on the chosen rows of nodes (H+2,)."""
        step, numbers = self.step, np.flatnonzero(chosen)
        if not numbers.size:
            return slice(rows.start, rows.start)
        # node k lies at pixel (k - 1/2) * step, and reaches one step up and down
        first, last = (2 * int(numbers[0]) - 3) * step // 2, -(-(2 * int(numbers[-1]) + 1) * step // 2)
        first, last = max(rows.start, first), min(rows.stop, last)
        return slice(first, last) if first < last else slice(rows.start, rows.start)


def show_known(
    target: U8, reference: PosedReference, row: int, offsets: F32, part: tuple[slice, slice], shown: U8
) -> None:
    """Write the displaced known pixels of a part of a crop into `shown`, (h,w,3).

    target: the crop, (P,P,3) uint8. row: its first hidden row. offsets (2,H,H) float32: see `compose`; P is a multiple
    of H. part: rows and columns.
    """
    (rows, columns), at = part, _Places.of(offsets, len(target))
    places = at.nodes * np.float32(at.size) - np.float32(0.5)
    below = at.rows_of(places[..., 1].max(axis=1) > row - 1, rows)
    if below.start < below.stop:
        _read_reference(reference, at, (below, columns), shown[below.start - rows.start : below.stop - rows.start])
    above = at.rows_of(places[..., 1].min(axis=1) < row, rows)
    if above.start == above.stop:
        return
    field = at.enlarge(places, above, columns)
    filmed = _remap(target[:row], field, cv2.INTER_CUBIC)
    share = np.clip(row - field[..., 1], 0, 1)  # the pixel above the row is the crop's, that below it the reference's
    place = shown[above.start - rows.start : above.stop - rows.start]
    place[...] = cv2.blendLinear(filmed, place, share, 1 - share)


def _read_reference(reference: PosedReference, at: _Places, part: tuple[slice, slice], shown: U8) -> None:
    """Write a part of a displaced reference into `shown`, (h,w,3)."""
    _read(reference.picture, at, part, shown)
    if reference.other is not None:
        other = np.empty_like(shown)
        _read(reference.other, at, part, other)
        cv2.addWeighted(shown, reference.share, other, 1.0 - reference.share, 0.0, dst=shown)


def _read(picture: PosedPicture, at: _Places, part: tuple[slice, slice], shown: U8) -> None:
    """Write a part of a displaced picture into `shown`, (h,w,3)."""
    rows, columns = part
    side = len(picture.pixels)
    places = at.nodes if picture.shift is None else at.nodes + at.look_up(picture.shift)
    field = at.enlarge(places * np.float32(side) - np.float32(0.5), rows, columns)
    # Reading an enlarged picture linearly is nearly as sharp as cubic interpolation, and takes a third of the time.
    read = _remap(picture.pixels, field, cv2.INTER_LINEAR if side > at.size else cv2.INTER_CUBIC)
    if picture.tone is None:
        shown[...] = read
    else:
        cv2.LUT(read, picture.tone, dst=shown)
    if picture.added is not None:
        added = at.look_up(picture.added)
        lit = at.rows_of((np.abs(added) > NOTICED).any(axis=(1, 2)), rows)
        if lit.start < lit.stop:
            place = shown[lit.start - rows.start : lit.stop - rows.start]
            cv2.add(place, at.enlarge(added, lit, columns), dst=place, dtype=cv2.CV_8U)  # rounds and clips


def _remap(picture: U8, field: F32, smooth: int) -> U8:
    """Read a picture (H,W,3) at places (h,w,2), in its pixels."""
    found = cv2.remap(picture, field, None, smooth, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(found, np.uint8)


@lru_cache(maxsize=16)
def own_place(size: int, side: int | None = None) -> F32:
    """Return the place of each pixel, x and y, (size,size,2), in pixels of that picture at another side, if given."""
    zoom = (side or size) / size
    index = np.asarray((np.arange(size) + 0.5) * zoom - 0.5, np.float32)
    place: F32 = np.stack(np.meshgrid(index, index), axis=2)
    place.setflags(write=False)
    return place
