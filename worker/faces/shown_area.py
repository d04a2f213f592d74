"""Map a crop and its mask to the frame: the area of the frame that the mask shows.

The mask is smooth. So it is mapped to about as many samples as it has pixels, which also tell how large the area is,
and these are enlarged to the planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from model.affine import resize, warp
from model.arrays import F32, U8
from worker.faces.crop import Transform, invert_affine

MAX_ZOOM: Final = 4  # largest factor by which the crop is enlarged before it is mapped to the frame
SITES: Final = {1: (0.5, 0.5), 2: (0.5, 1.0)}  # frame point of the first pixel of luma and chroma, by their spacing


@dataclass(frozen=True)
class ShownArea:
    """Area of a frame, in frame pixels, all even: left, top, width, height.

    samples: (h, w) uint8 0..255, how much of the crop is shown; each stands for a square of `spacing` frame pixels,
    the first for the one in the corner of the area. The last ones may reach out of the area.
    """

    left: int
    top: int
    width: int
    height: int
    samples: U8
    spacing: int

    @classmethod
    def of(cls, mask: F32, transform: Transform, frame_px: tuple[int, int]) -> ShownArea | None:
        """Return the area that the mask (M, M) 0..1 of a crop shows in a frame; None if it shows nothing.

        frame_px: width and height of the frame.
        """
        levels = np.asarray(cv2.convertScaleAbs(mask, alpha=255.0), np.uint8)
        left, top, width, height = cv2.boundingRect(levels)
        pitch = transform.size / len(mask)
        spacing = 2 * max(1, round(pitch / transform.scale / 2))
        inverse = invert_affine(transform.matrix) / spacing  # from the crop to samples of the frame
        middle = inverse[:, :2] @ (pitch * (left + width / 2), pitch * (top + height / 2)) + inverse[:, 2]
        reach = np.abs(inverse[:, :2]) @ (pitch * (width / 2 + 1), pitch * (height / 2 + 1))
        sides = [-(-side // spacing) for side in frame_px]
        x, y = (max(0, int(edge)) for edge in middle - reach)
        size = [
            min(side, int(edge) + 1) - first for side, edge, first in zip(sides, middle + reach, (x, y), strict=True)
        ]
        if not width or min(size) < 1:
            return None
        first = ((x + 0.5) * spacing, (y + 0.5) * spacing)
        samples = _warped(
            levels, transform, (1.0 / pitch, spacing), (0, 0), first, (size[0], size[1]), cv2.BORDER_CONSTANT
        )
        left, top, width, height = cv2.boundingRect(samples)
        if not width:
            return None
        rows = slice(max(0, top - 1), top + height + 1)  # one more on each side: it fades to nothing
        columns = slice(max(0, left - 1), left + width + 1)
        samples = samples[rows, columns]
        left, top = (x + columns.start) * spacing, (y + rows.start) * spacing
        width, height = (
            min(samples.shape[1] * spacing, frame_px[0] - left),
            min(len(samples) * spacing, frame_px[1] - top),
        )
        return cls(left, top, width, height, samples, spacing)

    def within(self, step: int) -> tuple[slice, slice]:
        """Return the area's rows and columns of a plane whose pixels are `step` frame pixels apart."""
        return (
            slice(self.top // step, (self.top + self.height) // step),
            slice(self.left // step, (self.left + self.width) // step),
        )

    def weights(self, step: int) -> U8:
        """Return how much of the crop each pixel of a plane in the area shows, 0..255; step: see `within`."""
        zoom = self.spacing // step
        weights = resize(self.samples, (self.samples.shape[1] * zoom, len(self.samples) * zoom))
        return weights[: self.height // step, : self.width // step]

    def moved(self, picture: U8, corner: tuple[int, int], transform: Transform, step: int) -> U8:
        """Map a part of a crop, (h, w) or (h, w, 3), to the pixels of a plane in the area; step: see `within`.

        corner: x and y of the part's first pixel in the crop.
        """
        zoom = min(MAX_ZOOM, max(1, round(1.0 / (step * transform.scale))))
        if zoom > 1:
            picture = np.asarray(cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC), np.uint8)
        first = (self.left + SITES[step][0], self.top + SITES[step][1])
        size = (self.width // step, self.height // step)
        return _warped(picture, transform, (zoom, step), corner, first, size, cv2.BORDER_REPLICATE)


def _warped(
    picture: U8,
    transform: Transform,
    steps: tuple[float, int],
    corner: tuple[int, int],
    first: tuple[float, float],
    size: tuple[int, int],
    border: int,
) -> U8:
    """Map a part of an enlarged or reduced crop to the frame.

    steps: pixels of the picture per pixel of the crop, and frame pixels per pixel of the result. corner: x and y in the
    crop of the picture's first pixel. first: frame point of the first pixel of the result. size: width and height.
    border: of OpenCV.
    """
    zoom, step = steps
    linear = transform.matrix[:, :2]
    offset = (linear @ first + transform.matrix[:, 2] - corner) * zoom - 0.5
    matrix = np.concatenate([linear * (step * zoom), offset[:, None]], axis=1)
    return warp(picture, matrix, size, border=border)
