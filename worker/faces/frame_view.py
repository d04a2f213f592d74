"""Views of a frame for the face detector: overviews and squares in RGB, independent of the frame's pixel format.

The networks see a few hundred pixels of a frame. So a large frame is reduced once, as far as the largest part that is
looked at allows, and overviews and squares of large faces are cut out of that reduced copy.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import cv2
import numpy as np

from model.affine import resize
from model.arrays import U8
from worker.faces.crop import Transform, extract_rgb
from worker.media.colour import OFFSET, ColourMatrix, split_planes

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
    """View of an I420 frame (H * 3/2, W) uint8; only the requested parts are converted to RGB.

    number: that of the frame in its film, if it is exactly known.
    """

    def __init__(self, planes: U8, colour: ColourMatrix, number: int | None = None) -> None:
        self.planes, self.number = planes, number
        self.height, self.width = planes.shape[0] * 2 // 3, planes.shape[1]
        self._to_rgb = np.concatenate([colour.to_rgb, -(colour.to_rgb @ OFFSET)[:, None]], axis=1)
        self._reduced: dict[tuple[int, int, int, int, int], U8] = {}

    def overview(self, left: int, top: int, width: int, height: int, factor: int) -> U8:
        """Return a part of the frame as RGB uint8, reduced by a factor that is 1 or even."""
        part = left, top, width, height, factor
        if part not in self._reduced:
            self._reduced[part] = self._reduce(*part)
        return self._reduced[part]

    def square(self, transform: Transform) -> U8:
        """Return the crop of a transform, (S, S, 3) uint8 RGB."""
        factor = max(1, int(1.0 / transform.scale + 1e-6) // 2 * 2)
        part = 0, 0, self.width, self.height, factor
        if part not in self._reduced:  # only what the square shows
            part = self._shown(transform, factor)
        linear, shift = transform.matrix[:, :2], transform.matrix[:, 2]
        reduced = np.concatenate([linear * factor, (linear @ part[:2] + shift)[:, None]], axis=1)
        return extract_rgb(self.overview(*part), Transform(reduced, transform.size), MESH_SPACING_PX)

    def _shown(self, transform: Transform, factor: int) -> tuple[int, int, int, int, int]:
        """Return the part of the frame that a crop shows, with even edges that the factor divides."""
        size, step = transform.size, max(2, factor)
        corners = transform.invert([(0, 0), (0, size), (size, 0), (size, size)])
        limits = np.array([self.width, self.height]) // step * step
        low = np.clip(np.floor(corners.min(axis=0) / step).astype(int) * step, 0, limits - step)
        high = np.clip(np.ceil(corners.max(axis=0) / step).astype(int) * step, low + step, limits)
        return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]), factor

    def _reduce(self, left: int, top: int, width: int, height: int, factor: int) -> U8:
        y, u, v = split_planes(self.planes)
        luma = _shrink(y[top : top + height, left : left + width], factor)
        rows, columns = slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2)
        if factor == 1:
            chroma = [cv2.resize(plane[rows, columns], luma.shape[::-1]) for plane in (u, v)]
        else:
            chroma = [_shrink(plane[rows, columns], factor // 2) for plane in (u, v)]
        return self._rgb([luma, *(plane[: luma.shape[0], : luma.shape[1]] for plane in chroma)])

    def _rgb(self, planes: list[Any]) -> U8:
        """Convert Y, Cb and Cr (H, W) uint8 to RGB (H, W, 3) uint8, to one level: the networks see no finer."""
        return np.asarray(cv2.transform(cv2.merge(planes), self._to_rgb), np.uint8)


def _shrink(image: U8, factor: int) -> U8:
    """Average squares of `factor` x `factor` pixels."""
    if factor == 1:
        return np.ascontiguousarray(image)
    size = (image.shape[1] // factor, image.shape[0] // factor)
    return resize(image[: size[1] * factor, : size[0] * factor], size, cv2.INTER_AREA)
