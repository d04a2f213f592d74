"""Parts of a frame in which faces are looked for, each turned by quarter turns so that a lying face stands in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from model.arrays import F64, U8
from worker.faces.frame_view import FrameView

OVERVIEW_PX: Final = 400  # longest side of the picture given to the detector, which reduces it to 192 px
TILE_PX: Final = 640
MAX_TILES: Final = 8


@dataclass(frozen=True)
class FramePart:
    """Rectangle of a frame, in pixels, and the quarter turns to the left by which its picture is turned."""

    left: int
    top: int
    width: int
    height: int
    turns: int = 0

    def picture(self, view: FrameView) -> U8:
        """Return the part of a frame, reduced and turned, RGB uint8."""
        shown = view.overview(self.left, self.top, self.width, self.height, self._factor)
        return np.ascontiguousarray(np.rot90(shown, self.turns))

    def length_px(self, picture: U8) -> tuple[int, int]:
        """Return width and height in frame pixels of a picture of this part."""
        # The division by the factor may have cut off a remainder.
        return picture.shape[1] * self._factor, picture.shape[0] * self._factor

    def to_frame(self, points: npt.ArrayLike, picture: U8) -> F64:
        """Map points (N, 2) in frame pixels of a picture of this part to the frame."""
        x, y = np.asarray(points, np.float64).T
        width, height = self.length_px(picture)
        if self.turns == 1:
            x, y = height - y, x
        elif self.turns == 2:
            x, y = width - x, height - y
        elif self.turns == 3:
            x, y = y, width - x
        return np.stack([self.left + x, self.top + y], axis=1)

    @property
    def _factor(self) -> int:
        """Return the factor that reduces the part: 1, or even so that it divides the chroma too."""
        long_px = max(self.width, self.height)
        return 1 if long_px <= OVERVIEW_PX else 2 * -(-long_px // (2 * OVERVIEW_PX))


def whole_frame(view: FrameView, turns: int = 0) -> FramePart:
    """Return the part that is the whole frame."""
    return FramePart(0, 0, view.width, view.height, turns)


def square_part(view: FrameView, center: tuple[float, float], side: float, turns: int) -> FramePart:
    """Return the part of a frame inside a square around a point, all in frame pixels; its edges are even."""
    left, top = (max(0, int(middle - side / 2) // 2 * 2) for middle in center)
    right = min(view.width, int(center[0] + side / 2))
    bottom = min(view.height, int(center[1] + side / 2))
    return FramePart(left, top, max(2, (right - left) // 2 * 2), max(2, (bottom - top) // 2 * 2), turns)


def tiles(view: FrameView) -> list[FramePart]:
    """Cover a frame with at most MAX_TILES overlapping tiles, whose edges are even."""
    width, height = view.width, view.height
    side = TILE_PX
    while True:
        step = side - side // 4
        columns, rows = (max(1, -(-(length - side // 4) // step)) for length in (width, height))
        if columns * rows <= MAX_TILES:
            break
        side = side * 5 // 4
    tile_width, tile_height = min(side, width) // 2 * 2, min(side, height) // 2 * 2
    lefts = [(width - tile_width) * i // max(1, columns - 1) // 2 * 2 for i in range(columns)]
    tops = [(height - tile_height) * i // max(1, rows - 1) // 2 * 2 for i in range(rows)]
    return [FramePart(left, top, tile_width, tile_height) for top in tops for left in lefts]
