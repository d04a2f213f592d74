"""Views of a frame for the face detector: overviews and squares in RGB, independent of the frame's pixel format."""

from __future__ import annotations

from typing import Final, Protocol

import cv2
import numpy as np

from model.arrays import U8
from worker.faces.crop import Transform, extract, extract_rgb
from worker.media.colour import ColourMatrix, rgb_of_planes, split_planes

MESH_SPACING_PX: Final = 3.0  # coarse: it is enough for the mesh, and squares are cut often


class FrameView(Protocol):
    """View of a frame of any pixel format; `width` and `height` in pixels."""

    width: int
    height: int

    def overview(self, left: int, top: int, width: int, height: int, factor: int) -> U8:
        """Return a part of the frame as RGB uint8, reduced by a factor that is 1 or even."""

    def square(self, transform: Transform) -> U8:
        """Return the crop of a transform, (S, S, 3) uint8 RGB."""


class RgbView:
    """View of an RGB frame (H, W, 3) uint8."""

    def __init__(self, rgb: U8) -> None:
        self.rgb = rgb
        self.height, self.width = rgb.shape[:2]

    def overview(self, left: int, top: int, width: int, height: int, factor: int) -> U8:
        """Return a part of the frame as RGB uint8, reduced by a factor that is 1 or even."""
        return _shrink(self.rgb[top : top + height, left : left + width], factor)

    def square(self, transform: Transform) -> U8:
        """Return the crop of a transform, (S, S, 3) uint8 RGB."""
        return extract_rgb(self.rgb, transform, MESH_SPACING_PX)


class PlanesView:
    """View of an I420 frame (H * 3/2, W) uint8; only the requested parts are converted to RGB."""

    def __init__(self, planes: U8, colour: ColourMatrix) -> None:
        self.planes, self.colour = planes, colour
        self.height, self.width = planes.shape[0] * 2 // 3, planes.shape[1]

    def overview(self, left: int, top: int, width: int, height: int, factor: int) -> U8:
        """Return a part of the frame as RGB uint8, reduced by a factor that is 1 or even."""
        y, u, v = split_planes(self.planes)
        luma = _shrink(y[top : top + height, left : left + width], factor)
        rows, columns = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
        if factor == 1:
            chroma = [cv2.resize(plane[rows, columns], luma.shape[::-1]) for plane in (u, v)]
        else:
            chroma = [_shrink(plane[rows, columns], factor // 2) for plane in (u, v)]
        small_u, small_v = (np.asarray(plane[: luma.shape[0], : luma.shape[1]], np.uint8) for plane in chroma)
        return rgb_of_planes(luma, small_u, small_v, self.colour)

    def square(self, transform: Transform) -> U8:
        """Return the crop of a transform, (S, S, 3) uint8 RGB."""
        return extract(self.planes, transform, self.colour, MESH_SPACING_PX)


def _shrink(image: U8, factor: int) -> U8:
    """Average squares of `factor` x `factor` pixels; with a large factor, only some rows of each square are read."""
    if factor == 1:
        return np.ascontiguousarray(image)
    size = (image.shape[1] // factor, image.shape[0] // factor)
    kept = image[: size[1] * factor, : size[0] * factor]
    return np.asarray(cv2.resize(kept[:: max(1, factor // 2)], size, interpolation=cv2.INTER_AREA), np.uint8)
